/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration in force: read at the start and with SIGHUP, handed to all roles in a sealed
 * file. What is wrong is refused whole, and the one before stays.
 */
#include "node/node_private.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "node/notify.h"
#include "node/publish.h"
#include "ring/metrics.h"

int
node_config_seal(struct node *n, const struct config *config, struct err *err)
{
	int fd = fd_memfd_sealed("config", config, sizeof(*config));

	if (fd < 0)
		return err_sys(err, errno, "cannot pass the configuration on");
	fd_close(&n->config_fd);
	n->config_fd = fd;
	n->env.config_fd = fd;
	return 0;
}

void
node_config_log(const struct node *n)
{
	struct log_config config = {
		.level = n->config.logs.level,
		.format = n->config.logs.format,
		.fd = STDERR_FILENO,
		.component = "node",
	};

	publish_name(&n->config, config.node, sizeof(config.node));
	log_setup(&config);
}

static void
add_reloads(struct node *n, bool ok, uint64_t count)
{
	struct metric_labels labels = {0};

	metric_label(&labels, "result", ok ? "success" : "failure");
	metric_add(metrics_get(ring_writer_metrics(n->own), METRICS_CONFIG_RELOADS, &labels),
		   count);
}

static void
took_config(struct node *n)
{
	metric_set(metrics_get(ring_writer_metrics(n->own), METRICS_CONFIG_LAST_RELOAD, NULL),
		   world_wall_ns() / 1000000000);
}

/* The start reads the configuration too. */
void
node_config_begin(struct node *n)
{
	add_reloads(n, true, 0);
	add_reloads(n, false, 0);
	took_config(n);
}

static void
count_reload(struct node *n, bool ok)
{
	add_reloads(n, ok, 1);
	if (ok)
		took_config(n);
}

static int
take_over(struct node *n, const struct config *config, struct err *err)
{
	struct leash_message message;
	bool folder = !text_equal(config->tls.certificates, n->config.tls.certificates);

	if (node_config_seal(n, config, err) < 0)
		return -1;
	n->config = *config;
	node_config_log(n);
	leash_init(&message, LEASH_CONFIG);
	message.from_role = ROLE_NODE;
	message.a = (uint64_t)config->logs.level + 1;
	message.b = (uint64_t)config->logs.format;
	hub_send_all(n->hub, &message, &n->config_fd, 1);
	listeners_plan(&n->listeners, &n->config);
	n->listen_wait = 0;
	node_open_listeners(n);
	node_plan_streams(n);
	publish_listeners(n->own, &n->listeners);
	publish_node(n->own, &n->inst, &n->config, n->cgroup.mode);
	hub_kick(n->hub);
	if (folder) {
		certs_free(n->certs);
		n->certs = certs_new(&n->loop, n->config.tls.certificates,
				     node_certificates_changed, n);
		node_certificates_changed(n);
	}
	return 0;
}

int
node_config_read(struct node *n, struct config **out, struct err *err)
{
	struct config *config = mem_alloc(MEM_NODE, sizeof(*config));

	if (!config)
		return err_set(err, ERR_NO_MEMORY, "no memory to read the configuration");
	if (options_config(&n->options, true, config, err) < 0) {
		mem_free(config);
		return -1;
	}
	*out = config;
	return 0;
}

void
node_config_keep(struct node *n, const struct err *err)
{
	log_err(LOG_ERROR, "the configuration is wrong; the old one stays", err);
	notify_send("READY=1\nSTATUS=the configuration is wrong; the old one stays");
	publish_config_error(n->own, err);
	hub_kick(n->hub);
	count_reload(n, false);
}

/* What of node.yaml names a prefix, and another one than is in force. `is`: NULL, nobody says. */
static bool
is_another(const struct addr_prefix *wanted, const struct addr_prefix *was,
	   const struct addr_prefix *is)
{
	const struct addr_prefix *now = is ? is : was;

	return wanted->bits &&
	       (wanted->bits != now->bits || !addr_equal_ip(&wanted->base, &now->base));
}

/* Addresses of containers that run, and what the other nodes know of them, are of the prefix that
 * the node began with: a role that took another one in between would cut them off. */
static int
refuse_others(const char *key, const char *why, struct err *err)
{
	err_set(err, ERR_CONFLICT,
		"overlay.%s: the addresses of containers are not changed while "
		"the node runs",
		key);
	err_why(err, "%s", why);
	return err_fix(err, "systemctl restart zlayer, then zlayer restart each deployment that "
			    "has replicas here; or take the key back");
}

static int
check_prefixes(struct node *n, const struct config *config, struct err *err)
{
	const struct config_overlay *wanted = &config->overlay, *was = &n->config.overlay;
	const struct msg_prefix *is = node_row_prefix(n);
	char text[ADDR_TEXT_BYTES], why[2 * ADDR_TEXT_BYTES];
	const char *key =
		is_another(&wanted->prefix4, &was->prefix4, is ? &is->v4 : NULL)   ? "prefix4"
		: is_another(&wanted->prefix6, &was->prefix6, is ? &is->v6 : NULL) ? "prefix6"
										   : NULL;

	if (!key)
		return 0;
	addr_put_prefix(text_equal(key, "prefix4") ? &wanted->prefix4 : &wanted->prefix6, text,
			sizeof(text));
	text_format(why, sizeof(why), "%s is not the prefix that this node has now", text);
	return refuse_others(key, why, err);
}

/* A wider network, which has this node's prefix, too, changes nothing here. */
static int
check_network(struct node *n, const struct config *config, struct err *err)
{
	const struct config_overlay *wanted = &config->overlay;
	const struct msg_prefix *is = node_row_prefix(n);
	char network[ADDR_TEXT_BYTES], own[ADDR_TEXT_BYTES], why[3 * ADDR_TEXT_BYTES];

	if (!wanted->network.bits || wanted->prefix4.bits || !is ||
	    addr_in_prefix(&is->v4.base, &wanted->network))
		return 0;
	addr_put_prefix(&wanted->network, network, sizeof(network));
	addr_put_prefix(&is->v4, own, sizeof(own));
	text_format(why, sizeof(why), "%s, which this node has now, is not of %s", own, network);
	return refuse_others("network", why, err);
}

void
node_config_reload(struct node *n)
{
	struct err err = {0};
	struct config *config = NULL;

	if (n->stopping)
		return;
	notify_reloading();
	if (node_config_read(n, &config, &err) < 0 || check_prefixes(n, config, &err) < 0 ||
	    check_network(n, config, &err) < 0 || take_over(n, config, &err) < 0) {
		node_config_keep(n, &err);
	} else {
		log_event(LOG_INFO, "the configuration was read again", LOG_END);
		notify_send("READY=1\nSTATUS=the configuration was read again");
		count_reload(n, true);
	}
	mem_free(config);
}
