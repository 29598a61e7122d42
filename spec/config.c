/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node's configuration: the tables of its keys, one per section of node.yaml, and the reading
 * of one file over what stands already. The same tables fill the defaults and write the dump. What
 * concerns files and several keys is in config_load.c and config_check.c.
 */
#include "spec/config_field.h"

#include <string.h>
#include "base/text.h"

enum { ARENA_BYTES = 128 << 20 };

static const struct field url_item = {.kind = FIELD_TEXT,
				      .size = CONFIG_URL_BYTES,
				      .flags = FIELD_INLINE,
				      .min = 1,
				      .text = config_value_url};
static const struct field address_item = {.kind = FIELD_TEXT,
					  .size = CONFIG_URL_BYTES,
					  .flags = FIELD_INLINE,
					  .min = 1,
					  .text = config_value_address};
static const struct field variable_item = {.kind = FIELD_TEXT,
					   .size = CONFIG_NAME_BYTES,
					   .flags = FIELD_INLINE,
					   .min = 1,
					   .text = config_value_variable};
static const struct field interface_item = {.kind = FIELD_TEXT,
					    .size = CONFIG_NAME_BYTES,
					    .flags = FIELD_INLINE,
					    .min = 1,
					    .text = config_value_interface};
static const struct field addr_item = CONFIG_OWN(NULL, config_value_addr, config_value_put_addr);
static const struct field prefix_item =
	CONFIG_OWN(NULL, config_value_prefix, config_value_put_prefix);

/* ---- node ---- */

static const struct field reserve_fields[] = {
	{.key = "cpu",
	 .kind = FIELD_CORES,
	 FIELD_AT(struct config_reserve, cpu_milli),
	 .max = 1024000,
	 .def = 250},
	{.key = "memory",
	 .kind = FIELD_SIZE,
	 FIELD_AT(struct config_reserve, memory_bytes),
	 .min = 1024,
	 .max = UINT64_C(1) << 50,
	 .def = UINT64_C(256) << 20},
};
static const struct field_table reserve_table = {.what = "reserve", FIELD_TABLE(reserve_fields)};

static const struct field label_item = {
	.kind = FIELD_TEXT, FIELD_AT(struct config_label, value), .flags = FIELD_INLINE};

static const struct field node_fields[] = {
	CONFIG_TEXT(node, name, "name", config_value_label, ""),
	CONFIG_TEXT(node, zone, "zone", config_value_label, "default"),
	{.key = "labels",
	 .kind = FIELD_MAP,
	 .offset = offsetof(struct config_node, labels),
	 .flags = FIELD_INLINE,
	 .item = &label_item,
	 .stride = sizeof(struct config_label),
	 .cap = CONFIG_LABELS_MAX,
	 .count_offset = offsetof(struct config_node, labels_count),
	 .name = config_value_label_key,
	 .name_size = CONFIG_NAME_BYTES},
	CONFIG_OWN("advertise", config_value_advertise, config_value_put_advertise),
	CONFIG_SECTION(struct config_node, reserve, &reserve_table),
	/* Below 2^31, and above what passwd entries use. */
	CONFIG_NUMBER(node, uid_base, 1000, INT32_MAX - CONFIG_UIDS, 790000),
	CONFIG_LIST(node, env, &variable_item, CONFIG_ENV_MAX),
};
static const struct field_table node_table = {.what = "node", FIELD_TABLE(node_fields)};

/* ---- listen ---- */

#define LISTEN(m)                                                       \
	{                                                               \
		.key = #m, .kind = FIELD_OWN, .read = config_value_##m, \
		.put = config_value_put_##m                             \
	}

static bool
read_admin(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	(void)section;
	if (n == NULL)
		return true;
	if (field_is_text(ctx, n, "unix") && strcmp(n->text, "unix") == 0)
		return true;
	field_diag(ctx, n, "invalid-choice", NULL,
		   "the command line always talks over the unix socket: only \"unix\"");
	return false;
}

static void
put_admin(struct emit *e, const char *key, const void *section)
{
	(void)section;
	emit_text(e, key, "unix");
}

static const struct field listen_fields[] = {
	CONFIG_LIST(listeners, http, &addr_item, CONFIG_LISTENERS_MAX),
	CONFIG_LIST(listeners, https, &addr_item, CONFIG_LISTENERS_MAX),
	CONFIG_OWN("admin", read_admin, put_admin),
	LISTEN(api),
	LISTEN(metrics),
	LISTEN(gossip),
	LISTEN(overlay),
	LISTEN(vxlan),
	LISTEN(store),
};
static const struct field_table listen_table = {.what = "listen", FIELD_TABLE(listen_fields)};

/* ---- dataplane, tls, cluster, deploy ---- */

static const char *const uplinks[] = {"auto", "off", NULL};
static const char *const modes[] = {"auto", "native", "generic", "off", NULL};

static bool
read_interfaces(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	static const struct field list =
		CONFIG_LIST(dataplane, interfaces, &interface_item, CONFIG_INTERFACES_MAX);
	static const struct field_table table = {.what = "interfaces", .fields = &list, .count = 1};
	struct config_dataplane *d = section;

	if (n == NULL || (n->kind == YAML_TEXT && strcmp(n->text, "auto") == 0)) {
		d->interfaces_count = 0;
		d->interfaces_auto = true;
		return true;
	}
	if (n->kind != YAML_LIST) {
		field_diag(ctx, n, "wrong-type", NULL, "\"auto\" or a list of names is wanted");
		return false;
	}
	d->interfaces_auto = false;
	if (n->parent != NULL)
		field_read_one(ctx, &table, n, section);
	return true;
}

static void
put_interfaces(struct emit *e, const char *key, const void *section)
{
	const struct config_dataplane *d = section;

	if (d->interfaces_auto) {
		emit_text(e, key, "auto");
		return;
	}
	emit_list(e, key);
	for (uint32_t i = 0; i < d->interfaces_count; i++)
		emit_text(e, NULL, d->interfaces[i].text);
	emit_end(e);
}

static const struct field dataplane_fields[] = {
	CONFIG_LIST(dataplane, vips, &prefix_item, CONFIG_VIPS_MAX),
	CONFIG_CHOICE(dataplane, uplink, uplinks, CONFIG_UPLINK_AUTO),
	CONFIG_CHOICE(dataplane, mode, modes, CONFIG_XDP_AUTO),
	CONFIG_OWN("interfaces", read_interfaces, put_interfaces),
	CONFIG_NUMBER(dataplane, max_flows, 1024, 16777216, 262144),
};
static const struct field_table dataplane_table = {.what = "dataplane",
						   FIELD_TABLE(dataplane_fields)};

static const char *const tls_versions[] = {"1.2", "1.3", NULL};

static const struct field acme_fields[] = {
	CONFIG_BOOL(acme, enabled, false),
	CONFIG_TEXT(acme, directory, "directory", config_value_url_or_empty, ""),
	CONFIG_TEXT(acme, email, "email", NULL, ""),
};
static const struct field_table acme_table = {.what = "acme", FIELD_TABLE(acme_fields)};

static const struct field tls_fields[] = {
	CONFIG_CHOICE(tls, minimum_version, tls_versions, CONFIG_TLS_1_2),
	CONFIG_TEXT(tls, certificates, "certificates", config_value_file, "/etc/zlayer/tls"),
	CONFIG_SECTION(struct config_tls, acme, &acme_table),
	CONFIG_BOOL(tls, self_signed, true),
	CONFIG_DURATION(tls, expiry_warning_ms, "expiry_warning", 0, UINT64_C(14) * 86400000),
};
static const struct field_table tls_table = {.what = "tls", FIELD_TABLE(tls_fields)};

static const struct field cluster_fields[] = {
	CONFIG_LIST(cluster, join, &address_item, CONFIG_JOIN_MAX),
	CONFIG_BOOL(cluster, encrypt, true),
	CONFIG_DURATION(cluster, suspect_after_ms, "suspect_after", 100, 1000),
	CONFIG_DURATION(cluster, dead_after_ms, "dead_after", 100, 3000),
	CONFIG_DURATION(cluster, reschedule_after_ms, "reschedule_after", 0, 2000),
	CONFIG_DURATION(cluster, replace_after_ms, "replace_after", 10000, 600000),
};
static const struct field_table cluster_table = {.what = "cluster", FIELD_TABLE(cluster_fields)};

static const char *const orders[] = {"start-first", "stop-first", NULL};
static const char *const failures[] = {"rollback", "pause", NULL};

static const struct field deploy_fields[] = {
	CONFIG_CHOICE(deploy, order, orders, DOC_ORDER_START_FIRST),
	CONFIG_NUMBER(deploy, max_unavailable, 0, 1000, 0),
	CONFIG_NUMBER(deploy, max_surge, 0, 1000, 1),
	CONFIG_DURATION(deploy, health_timeout_ms, "health_timeout", 1000, 60000),
	CONFIG_DURATION(deploy, drain_timeout_ms, "drain_timeout", 0, 30000),
	CONFIG_DURATION(deploy, monitor_ms, "monitor", 0, 10000),
	CONFIG_CHOICE(deploy, on_failure, failures, DOC_UPDATE_ROLLBACK),
	CONFIG_NUMBER(deploy, keep_revisions, 1, 1000, 10),
};
static const struct field_table deploy_table = {.what = "deploy", FIELD_TABLE(deploy_fields)};

/* ---- runtime, proxy ---- */

static bool
read_mirror(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	static const struct field list =
		CONFIG_LIST(mirror, urls, &url_item, CONFIG_MIRROR_URLS_MAX);
	static const struct field_table table = {.what = "mirrors", .fields = &list, .count = 1};

	if (n != NULL)
		field_read_one(ctx, &table, n, section);
	return true;
}

static void
put_mirror(struct emit *e, const char *key, const void *section)
{
	const struct config_mirror *m = section;

	emit_list(e, key);
	for (uint32_t i = 0; i < m->urls_count; i++)
		emit_text(e, NULL, m->urls[i].text);
	emit_end(e);
}

static const struct field mirror_item = CONFIG_OWN(NULL, read_mirror, put_mirror);

static const struct field gc_fields[] = {
	{.key = "disk_high",
	 .kind = FIELD_PERCENT,
	 FIELD_AT(struct config_gc, disk_high_percent),
	 .min = 1,
	 .max = 100,
	 .def = 85},
	{.key = "disk_low",
	 .kind = FIELD_PERCENT,
	 FIELD_AT(struct config_gc, disk_low_percent),
	 .min = 1,
	 .max = 100,
	 .def = 70},
	CONFIG_DURATION(gc, keep_images_ms, "keep_images", 0, UINT64_C(72) * 3600000),
};
static const struct field_table gc_table = {.what = "gc", FIELD_TABLE(gc_fields)};

static const struct field runtime_fields[] = {
	CONFIG_TEXT(runtime, state, "state", config_value_file, "/var/lib/zlayer"),
	CONFIG_TEXT(runtime, cgroup_parent, "cgroup_parent", config_value_cgroup, "auto"),
	{.key = "mirrors",
	 .kind = FIELD_MAP,
	 .offset = offsetof(struct config_runtime, mirrors),
	 .flags = FIELD_INLINE,
	 .item = &mirror_item,
	 .stride = sizeof(struct config_mirror),
	 .cap = CONFIG_MIRRORS_MAX,
	 .count_offset = offsetof(struct config_runtime, mirrors_count),
	 .name_size = CONFIG_URL_BYTES},
	CONFIG_TEXT(runtime, registries, "registries", config_value_file, "/etc/zlayer/registries"),
	CONFIG_TEXT(runtime, seccomp, "seccomp", config_value_seccomp, "default"),
	CONFIG_BOOL(runtime, no_new_privileges, true),
	CONFIG_SECTION(struct config_runtime, gc, &gc_table),
};
static const struct field_table runtime_table = {.what = "runtime", FIELD_TABLE(runtime_fields)};

static const struct field proxy_fields[] = {
	CONFIG_OWN("workers", config_value_workers, config_value_put_workers),
};
static const struct field_table proxy_table = {.what = "proxy", FIELD_TABLE(proxy_fields)};

/* ---- the file ---- */

static const struct field top_fields[] = {
	CONFIG_SECTION(struct config, node, &node_table),
	CONFIG_SECTION(struct config, listen, &listen_table),
	CONFIG_SECTION(struct config, dataplane, &dataplane_table),
	CONFIG_SECTION(struct config, overlay, &config_overlay),
	CONFIG_SECTION(struct config, tls, &tls_table),
	CONFIG_SECTION(struct config, cluster, &cluster_table),
	CONFIG_SECTION(struct config, store, &config_store),
	CONFIG_SECTION(struct config, deploy, &deploy_table),
	CONFIG_SECTION(struct config, runtime, &runtime_table),
	CONFIG_SECTION(struct config, proxy, &proxy_table),
	CONFIG_SECTION(struct config, logs, &config_observe_logs),
	CONFIG_SECTION(struct config, metrics, &config_observe_metrics),
	CONFIG_SECTION(struct config, tracing, &config_observe_tracing),
	CONFIG_SECTION(struct config, dashboard, &config_observe_dashboard),
	{.key = "gitops",
	 .kind = FIELD_LIST,
	 .offset = offsetof(struct config, gitops),
	 .flags = FIELD_INLINE,
	 .item = &config_observe_gitops,
	 .stride = sizeof(struct config_gitops),
	 .cap = CONFIG_GITOPS_MAX,
	 .count_offset = offsetof(struct config, gitops_count)},
};

const struct field_table config_field_table = {.what = "the configuration",
					       FIELD_TABLE(top_fields)};

void
config_defaults(struct config *out)
{
	static const char *const listeners[2][2] = {{"0.0.0.0:80", "[::]:80"},
						    {"0.0.0.0:443", "[::]:443"}};
	struct field_ctx ctx = {0};

	memset(out, 0, sizeof(*out));
	out->magic = CONFIG_MAGIC;
	out->abi = CONFIG_ABI;
	out->bytes = sizeof(*out);
	field_read(&ctx, &config_field_table, NULL, out);
	for (size_t i = 0; i < 2; i++) {
		(void)addr_parse(listeners[0][i], &out->listen.http[i]);
		(void)addr_parse(listeners[1][i], &out->listen.https[i]);
	}
	out->listen.http_count = 2;
	out->listen.https_count = 2;
}

int
config_parse(const char *text, size_t bytes, const char *file, struct config *out,
	     struct diag_list *diags)
{
	size_t before = diag_count(diags);
	struct yaml_node *root;
	struct arena arena;

	arena_init(&arena, MEM_SPEC, ARENA_BYTES);
	diag_list_file(diags, file, text, bytes);
	if (!config_value_is_blank(text, bytes)) {
		struct field_ctx ctx = {.arena = &arena, .diags = diags, .keep = true};

		root = yaml_parse(text, bytes, &arena, diags);
		if (root != NULL) {
			field_read(&ctx, &config_field_table, root, out);
			config_available_check(out, root, diags);
		}
	}
	diag_list_file_end(diags);
	arena_fini(&arena);
	return diag_count(diags) == before && !diags->no_memory ? 0 : -1;
}

static void
dump(const struct config *c, struct buf *out, bool is_json)
{
	struct emit e;

	emit_init(&e, out, is_json);
	field_put(&e, &config_field_table, c);
	emit_finish(&e);
}

void
config_dump_yaml(const struct config *c, struct buf *out)
{
	dump(c, out, false);
}

void
config_dump_json(const struct config *c, struct buf *out)
{
	dump(c, out, true);
}

void
config_update_defaults(const struct config *c, struct doc_update *out)
{
	*out = (struct doc_update){
		.order = c->deploy.order,
		.max_surge = c->deploy.max_surge,
		.max_unavailable = c->deploy.max_unavailable,
		.drain_ms = c->deploy.drain_timeout_ms,
		.monitor_ms = c->deploy.monitor_ms,
		.on_failure = c->deploy.on_failure,
	};
}
