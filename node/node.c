/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node: puts the parts together and reacts to what they tell, to signals and to time. How it
 * starts and ends is in node_open.c, its configuration in node_config.c, what it reads of its roles
 * in node_row.c.
 */
#include "node/node.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "node/desk.h"
#include "node/node_private.h"
#include "node/notify.h"
#include "node/publish.h"
#include "node/retired.h"
#include "node/upgrade.h"

enum { CERTS_TICKS = 10, USAGE_TICKS = 5, LISTEN_TICKS_MAX = 30, TICK_MS = 1000 };

static const int signal_numbers[NODE_SIGNALS] = {SIGTERM, SIGINT, SIGHUP, SIGUSR2};

/* ---- what roles ask for ---- */

void
node_certificates_changed(void *arg)
{
	struct node *n = arg;
	struct list *it, *tmp;

	list_each (it, tmp, supervise_units(n->supervise)) {
		struct unit *u = container_of(it, struct unit, link);

		if (u->role->role == ROLE_SIGNER && u->member)
			desk_certificates(u->member, n->certs);
	}
}

static void
resolvers_changed(struct node *n)
{
	struct list *it, *tmp;

	list_each (it, tmp, supervise_units(n->supervise)) {
		struct unit *u = container_of(it, struct unit, link);

		if (u->role->role == ROLE_OVERLAY && u->member)
			resolver_send_file(u->member);
	}
}

static void
role_asked(void *arg, struct hub_member *m, const struct leash_message *message, int *fds,
	   size_t count)
{
	struct node *n = arg;

	(void)count;
	if (message->kind == LEASH_FAILED) {
		unit_failed(hub_owner(m), fds[0]);
		return;
	}
	desk_asked(&(struct desk){n->inst.data_fd, n->config.runtime.registries,
				  &n->config.store.etcd, n->logins},
		   m, message, fds);
}

static void
role_ready(void *arg, struct hub_member *m, uint64_t landlock_abi)
{
	(void)arg;
	unit_ready(hub_owner(m), landlock_abi);
}

static void
role_broken(void *arg, struct hub_member *m, const char *why)
{
	struct node *n = arg;

	supervise_broken(n->supervise, hub_owner(m), why);
}

void
node_open_listeners(struct node *n)
{
	bool changed = listeners_open(&n->listeners);

	n->listen_wait = n->listen_wait ? n->listen_wait * 2 : 1;
	if (n->listen_wait > LISTEN_TICKS_MAX)
		n->listen_wait = LISTEN_TICKS_MAX;
	n->listen_due = listeners_all_up(&n->listeners) ? 0 : n->ticks + n->listen_wait;
	if (!changed)
		return;
	publish_listeners(n->own, &n->listeners);
	if (n->supervise)
		supervise_listeners(n->supervise);
	hub_kick(n->hub);
}

/* ---- ports of endpoints ---- */

static void
port_gone(void *arg, const char *name, const struct addr *addr)
{
	struct node *n = arg;
	struct leash_message message;
	struct list *it, *tmp;

	leash_init(&message, LEASH_UNLISTEN);
	message.from_role = ROLE_NODE;
	message.addr = *addr;
	text_copy(message.name, sizeof(message.name), name);
	list_each (it, tmp, supervise_units(n->supervise)) {
		struct unit *u = container_of(it, struct unit, link);

		if (u->role->role == ROLE_PROXY && u->member)
			hub_send(u->member, &message, NULL, 0);
	}
}

void
node_plan_streams(struct node *n)
{
	if (!n->streams.known)
		return;
	listeners_streams(&n->listeners, &n->config, n->streams.ports, n->streams.count, port_gone,
			  n);
	n->listen_wait = 0;
	node_open_listeners(n);
	publish_listeners(n->own, &n->listeners);
	hub_kick(n->hub);
}

static void
scheduler_stirred(void *arg, struct ring_reader *scheduler)
{
	struct node *n = arg;

	if (!n->stopping && streams_sync(&n->streams, scheduler))
		node_plan_streams(n);
}

const struct hub_events node_hub_events = {role_ready, role_broken, role_asked, scheduler_stirred};

/* ---- what the supervisor tells ---- */

static void
process_spawned(void *arg, struct unit *u)
{
	struct node *n = arg;

	if (u->role->role == ROLE_SIGNER)
		desk_signer(n->inst.data_fd, u->member, n->certs);
	if (u->role->role == ROLE_OVERLAY) {
		resolver_send_sockets(u->member);
		resolver_send_file(u->member);
		wgdev_tell(n->wgdev, u->member);
	}
}

static void
all_settled(void *arg)
{
	struct node *n = arg;

	log_event(LOG_INFO, "the node is up", log_s("instance", n->inst.name),
		  log_s("data", n->inst.data_path), LOG_END);
	notify_send("READY=1\nSTATUS=all processes are up");
	n->announced = true;
}

static void
etcd_stopped(void *arg)
{
	struct node *n = arg;

	uv_stop(&n->loop);
}

/* Last: the schedulers of this and other nodes call it. */
static void
all_stopped(void *arg)
{
	struct node *n = arg;

	etcd_stop(n->etcd, etcd_stopped, n);
}

const struct supervise_events node_supervise_events = {
	.settled = all_settled,
	.spawned = process_spawned,
	.stopped = all_stopped,
};

/* ---- signals and time ---- */

static void
stop(struct node *n)
{
	if (!n->stopping)
		notify_send("STOPPING=1");
	/* Asked for again, and the roles have left: it is etcd that is waited for. */
	if (n->stopping && list_empty(supervise_units(n->supervise)))
		etcd_stop(n->etcd, etcd_stopped, n);
	n->stopping = true;
	supervise_stop(n->supervise);
}

/* The next program begins by reading the configuration: with a wrong one there would be no node. */
static bool
may_upgrade(struct node *n)
{
	struct err err = {0};
	struct config *config = NULL;

	n->upgrade_waits = supervise_in_between(n->supervise);
	if (n->stopping || n->upgrade_waits)
		return false;
	if (node_config_read(n, &config, &err) == 0) {
		mem_free(config);
		return true;
	}
	log_event(LOG_ERROR, "no upgrade: the running program goes on", LOG_END);
	node_config_keep(n, &err);
	return false;
}

static void
upgrade(struct node *n)
{
	struct err err = {0};

	if (!may_upgrade(n))
		return;
	struct upgrade *up = mem_alloc(MEM_NODE, sizeof(*up));
	if (!up)
		goto out;
	notify_reloading();
	if (retired_save(n->inst.run_fd, ring_writer_metrics(n->own), &err) < 0)
		log_err(LOG_WARN, "counters of node are lost in this upgrade", &err);
	upgrade_fill(up, &n->inst, &n->env, supervise_units(n->supervise));
	wgdev_put(n->wgdev, up);
	log_event(LOG_INFO, "running the program again", LOG_END);
	if (upgrade_exec(up, n->argc, n->argv, &err) < 0)
		log_err(LOG_ERROR, "no upgrade: the running program goes on", &err);
	notify_send("READY=1");
out:
	mem_free(up);
}

static void
signal_event(uv_signal_t *handle, int number)
{
	struct node *n = handle->data;

	switch (number) {
	case SIGHUP:
		node_config_reload(n);
		break;
	case SIGUSR2:
		upgrade(n);
		break;
	default:
		stop(n);
		break;
	}
}

/* ---- sealed traffic ---- */

static void
tell_overlay(struct node *n)
{
	struct list *it, *tmp;

	list_each (it, tmp, supervise_units(n->supervise)) {
		struct unit *u = container_of(it, struct unit, link);

		if (u->role->role == ROLE_OVERLAY && u->member)
			wgdev_tell(n->wgdev, u->member);
	}
}

static void
plan_sealed(struct node *n)
{
	if (n->listeners.sealed == wgdev_takes_sockets(n->wgdev))
		return;
	n->listeners.sealed = wgdev_takes_sockets(n->wgdev);
	listeners_plan(&n->listeners, &n->config);
	n->listen_wait = 0;
	node_open_listeners(n);
	publish_listeners(n->own, &n->listeners);
	hub_kick(n->hub);
}

static void tick_sealed(struct node *n);

static void
soon_event(uv_timer_t *timer)
{
	struct node *n = timer->data;

	if (!n->stopping)
		tick_sealed(n);
}

/* A node in no cluster has nobody to send to. While the scheduler is away it is as it was. */
static void
tick_sealed(struct node *n)
{
	const struct msg_cluster *row =
		node_row(n, ROLE_SCHEDULER, MSG_TABLE_CLUSTER, sizeof(struct msg_cluster));

	/* Before there are other sockets: overlay closes those it has. */
	if (row && wgdev_choose(n->wgdev, row->self != 0, &n->config))
		tell_overlay(n);
	if (row)
		plan_sealed(n);
	if (wgdev_tick(n->wgdev, &n->config, &n->listeners))
		tell_overlay(n);
	if (wgdev_due_ms(n->wgdev))
		uv_timer_start(&n->soon, soon_event, wgdev_due_ms(n->wgdev), 0);
}

static void
tick_event(uv_timer_t *timer)
{
	struct node *n = timer->data;

	n->ticks++;
	ring_writer_heartbeat(n->own, world_mono_ns());
	bool usage = n->ticks % USAGE_TICKS == 1;
	supervise_tick(n->supervise, usage);
	if (n->listen_due && n->ticks >= n->listen_due && !n->stopping)
		node_open_listeners(n);
	if (n->upgrade_waits)
		upgrade(n);
	if (n->wgdev && !n->stopping)
		tick_sealed(n);
	if (n->outside && !n->stopping)
		outside_tick(n->outside, &n->config, node_row_prefix(n), node_row_peers(n),
			     &n->sealed);
	if (n->edge && !n->stopping)
		edge_tick(n->edge, &n->config, node_row_datapath(n));
	if (n->etcd)
		etcd_tick(n->etcd, &n->config, node_row_order(n));
	if (n->certs && n->ticks % CERTS_TICKS == 0)
		certs_tick(n->certs);
	if (resolver_changed(&n->resolver))
		resolvers_changed(n);
	if (usage && n->etcd)
		etcd_usage(n->etcd);
	if (usage)
		usage_update(ring_writer_metrics(n->own), role_name(ROLE_NODE), &n->usage);
	if (notify_watchdog_ms())
		notify_send("WATCHDOG=1");
}

static void
attend(struct node *n)
{
	sigset_t all;

	for (int i = 0; i < NODE_SIGNALS; i++) {
		uv_signal_init(&n->loop, &n->signals[i]);
		n->signals[i].data = n;
		uv_signal_start(&n->signals[i], signal_event, signal_numbers[i]);
	}
	/* An upgrade comes here with them blocked. */
	sigfillset(&all);
	sigprocmask(SIG_UNBLOCK, &all, NULL);
	uv_timer_init(&n->loop, &n->tick);
	n->tick.data = n;
	/* The first one at once: after an upgrade roles read node's tables anew. */
	uv_timer_start(&n->tick, tick_event, 0, TICK_MS);
	uv_timer_init(&n->loop, &n->soon);
	n->soon.data = n;
}

/* ---- serve ---- */

/* Listeners, leashes, segments: more than the usual soft limit. */
static void
raise_limit(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
}

int
node_serve(int argc, char **argv, const unsigned *roles, size_t count)
{
	static struct node n = {.config_fd = -1, .fabric = -1};
	struct err err = {0};

	upgrade_remember();
	raise_limit();
	signal(SIGPIPE, SIG_IGN);
	n.argc = argc;
	n.argv = argv;
	if (options_parse(argc, argv, &n.options, &err) < 0)
		goto fail;
	if (n.options.help) {
		options_usage();
		return 0;
	}
	if (options_config(&n.options, false, &n.config, &err) < 0)
		goto fail;
	node_config_log(&n);
	uv_loop_init(&n.loop);
	attend(&n);
	if (node_open(&n, roles, count, &err) < 0)
		goto fail;
	uv_run(&n.loop, UV_RUN_DEFAULT);
	node_close(&n);
	uv_run(&n.loop, UV_RUN_NOWAIT);
	return 0;
fail:
	err_print(&err, "zlayer", stderr);
	return err_kind_exit(err.kind);
}
