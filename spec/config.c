/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node's configuration: the tables of its keys, one per section of node.yaml, and the reading
 * of one file over what stands already. The same tables fill the defaults and write the dump. What
 * concerns files and several keys is in config_load.c and config_check.c.
 */
#include "spec/config_field.h"

#include <string.h>
#include "base/text.h"

enum { MS_MAX_DAYS = 3650, ARENA_BYTES = 128 << 20 };
#define MS_MAX (UINT64_C(86400000) * MS_MAX_DAYS)

#define BOOL(s, m, d)                                                                     \
	{                                                                                 \
		.key = #m, .kind = FIELD_BOOL, FIELD_AT(struct config_##s, m), .def = (d) \
	}
#define TEXT(s, m, k, check, d)                                                 \
	{                                                                       \
		.key = (k), .kind = FIELD_TEXT, FIELD_AT(struct config_##s, m), \
		.flags = FIELD_INLINE, .text = (check), .def_text = (d)         \
	}
#define NUMBER(s, m, least, most, d)                                                             \
	{                                                                                        \
		.key = #m, .kind = FIELD_NUMBER, FIELD_AT(struct config_##s, m), .min = (least), \
		.max = (most), .def = (d)                                                        \
	}
#define DURATION(s, m, k, least, d)                                                 \
	{                                                                           \
		.key = (k), .kind = FIELD_DURATION, FIELD_AT(struct config_##s, m), \
		.min = (least), .max = MS_MAX, .def = (d)                           \
	}
#define CHOICE(s, m, list, d)                                                                     \
	{                                                                                         \
		.key = #m, .kind = FIELD_CHOICE, FIELD_AT(struct config_##s, m), .names = (list), \
		.def = (uint64_t)(d)                                                              \
	}
#define SECTION(s, m, t)                                                       \
	{                                                                      \
		.key = #m, .kind = FIELD_SECTION, FIELD_AT(s, m), .table = (t) \
	}
#define LIST(s, m, item_, most)                                                          \
	{                                                                                \
		.key = #m, .kind = FIELD_LIST, .offset = offsetof(struct config_##s, m), \
		.flags = FIELD_INLINE, .item = (item_),                                  \
		.stride = sizeof(((struct config_##s *)0)->m[0]), .cap = (most),         \
		.count_offset = offsetof(struct config_##s, m##_count)                   \
	}
#define OWN(k, r, p)                                                   \
	{                                                              \
		.key = (k), .kind = FIELD_OWN, .read = (r), .put = (p) \
	}

static const struct field path_item = {.kind = FIELD_TEXT,
				       .size = CONFIG_URL_BYTES,
				       .flags = FIELD_INLINE,
				       .min = 1,
				       .text = config_value_url_path};
static const struct field url_item = {.kind = FIELD_TEXT,
				      .size = CONFIG_URL_BYTES,
				      .flags = FIELD_INLINE,
				      .min = 1,
				      .text = config_value_url};
static const struct field word_item = {
	.kind = FIELD_TEXT, .size = CONFIG_URL_BYTES, .flags = FIELD_INLINE, .min = 1};
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
static const struct field addr_item = OWN(NULL, config_value_addr, config_value_put_addr);
static const struct field prefix_item = OWN(NULL, config_value_prefix, config_value_put_prefix);

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
	TEXT(node, name, "name", config_value_label, ""),
	TEXT(node, zone, "zone", config_value_label, "default"),
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
	OWN("advertise", config_value_advertise, config_value_put_advertise),
	SECTION(struct config_node, reserve, &reserve_table),
	/* Below 2^31, and above what passwd entries use. */
	NUMBER(node, uid_base, 1000, INT32_MAX - CONFIG_UIDS, 790000),
	LIST(node, env, &variable_item, CONFIG_ENV_MAX),
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
	LIST(listeners, http, &addr_item, CONFIG_LISTENERS_MAX),
	LIST(listeners, https, &addr_item, CONFIG_LISTENERS_MAX),
	OWN("admin", read_admin, put_admin),
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
		LIST(dataplane, interfaces, &interface_item, CONFIG_INTERFACES_MAX);
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
	LIST(dataplane, vips, &prefix_item, CONFIG_VIPS_MAX),
	CHOICE(dataplane, uplink, uplinks, CONFIG_UPLINK_AUTO),
	CHOICE(dataplane, mode, modes, CONFIG_XDP_AUTO),
	OWN("interfaces", read_interfaces, put_interfaces),
	NUMBER(dataplane, max_flows, 1024, 16777216, 262144),
};
static const struct field_table dataplane_table = {.what = "dataplane",
						   FIELD_TABLE(dataplane_fields)};

static const char *const tls_versions[] = {"1.2", "1.3", NULL};

static const struct field acme_fields[] = {
	BOOL(acme, enabled, false),
	TEXT(acme, directory, "directory", config_value_url_or_empty, ""),
	TEXT(acme, email, "email", NULL, ""),
};
static const struct field_table acme_table = {.what = "acme", FIELD_TABLE(acme_fields)};

static const struct field tls_fields[] = {
	CHOICE(tls, minimum_version, tls_versions, CONFIG_TLS_1_2),
	TEXT(tls, certificates, "certificates", config_value_file, "/etc/zlayer/tls"),
	SECTION(struct config_tls, acme, &acme_table),
	BOOL(tls, self_signed, true),
	DURATION(tls, expiry_warning_ms, "expiry_warning", 0, UINT64_C(14) * 86400000),
};
static const struct field_table tls_table = {.what = "tls", FIELD_TABLE(tls_fields)};

static const struct field cluster_fields[] = {
	LIST(cluster, join, &word_item, CONFIG_JOIN_MAX),
	BOOL(cluster, encrypt, true),
	DURATION(cluster, suspect_after_ms, "suspect_after", 100, 1000),
	DURATION(cluster, dead_after_ms, "dead_after", 100, 3000),
	DURATION(cluster, reschedule_after_ms, "reschedule_after", 0, 2000),
};
static const struct field_table cluster_table = {.what = "cluster", FIELD_TABLE(cluster_fields)};

static const char *const orders[] = {"start-first", "stop-first", NULL};
static const char *const failures[] = {"rollback", "pause", NULL};

static const struct field deploy_fields[] = {
	CHOICE(deploy, order, orders, DOC_ORDER_START_FIRST),
	NUMBER(deploy, max_unavailable, 0, 1000, 0),
	NUMBER(deploy, max_surge, 0, 1000, 1),
	DURATION(deploy, health_timeout_ms, "health_timeout", 1000, 60000),
	DURATION(deploy, drain_timeout_ms, "drain_timeout", 0, 30000),
	DURATION(deploy, monitor_ms, "monitor", 0, 10000),
	CHOICE(deploy, on_failure, failures, DOC_UPDATE_ROLLBACK),
	NUMBER(deploy, keep_revisions, 1, 1000, 10),
};
static const struct field_table deploy_table = {.what = "deploy", FIELD_TABLE(deploy_fields)};

/* ---- runtime, proxy ---- */

static bool
read_mirror(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	static const struct field list = LIST(mirror, urls, &url_item, CONFIG_MIRROR_URLS_MAX);
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

static const struct field mirror_item = OWN(NULL, read_mirror, put_mirror);

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
	DURATION(gc, keep_images_ms, "keep_images", 0, UINT64_C(72) * 3600000),
};
static const struct field_table gc_table = {.what = "gc", FIELD_TABLE(gc_fields)};

static const struct field runtime_fields[] = {
	TEXT(runtime, state, "state", config_value_file, "/var/lib/zlayer"),
	TEXT(runtime, cgroup_parent, "cgroup_parent", config_value_cgroup, "auto"),
	{.key = "mirrors",
	 .kind = FIELD_MAP,
	 .offset = offsetof(struct config_runtime, mirrors),
	 .flags = FIELD_INLINE,
	 .item = &mirror_item,
	 .stride = sizeof(struct config_mirror),
	 .cap = CONFIG_MIRRORS_MAX,
	 .count_offset = offsetof(struct config_runtime, mirrors_count),
	 .name_size = CONFIG_URL_BYTES},
	TEXT(runtime, seccomp, "seccomp", config_value_seccomp, "default"),
	BOOL(runtime, no_new_privileges, true),
	SECTION(struct config_runtime, gc, &gc_table),
};
static const struct field_table runtime_table = {.what = "runtime", FIELD_TABLE(runtime_fields)};

static const struct field proxy_fields[] = {
	OWN("workers", config_value_workers, config_value_put_workers),
};
static const struct field_table proxy_table = {.what = "proxy", FIELD_TABLE(proxy_fields)};

/* ---- logs, metrics, tracing, dashboard, gitops ---- */

static const char *const formats[] = {"auto", "text", "json", NULL};
static const char *const levels[] = {"debug", "info", "warn", "error", NULL};

#define RATIO(s, m, k, d)                                                                   \
	{                                                                                   \
		.key = (k), .kind = FIELD_RATIO, FIELD_AT(struct config_##s, m), .def = (d) \
	}

static const struct field access_fields[] = {
	BOOL(access, enabled, true),
	RATIO(access, sample_ppm, "sample", 1000000),
	LIST(access, exclude_paths, &path_item, CONFIG_EXCLUDE_MAX),
};
static const struct field_table access_table = {.what = "access", FIELD_TABLE(access_fields)};

static const struct field containers_fields[] = {
	{.key = "max_size",
	 .kind = FIELD_SIZE,
	 FIELD_AT(struct config_container_logs, max_size_bytes),
	 .min = 4096,
	 .max = UINT64_C(1) << 50,
	 .def = 10 << 20},
	NUMBER(container_logs, max_files, 1, 1000, 3),
};
static const struct field_table containers_table = {.what = "containers",
						    FIELD_TABLE(containers_fields)};

static const char *const forward_types[] = {"fluent", "syslog", NULL};

static const struct field forward_fields[] = {
	{.key = "type",
	 .kind = FIELD_CHOICE,
	 FIELD_AT(struct config_forward, type),
	 .names = forward_types,
	 .flags = FIELD_REQUIRED},
	{.key = "address",
	 .kind = FIELD_TEXT,
	 FIELD_AT(struct config_forward, address),
	 .flags = FIELD_INLINE | FIELD_REQUIRED,
	 .min = 1},
};
static const struct field_table forward_table = {.what = "forward", FIELD_TABLE(forward_fields)};
static const struct field forward_item = {.kind = FIELD_SECTION, .table = &forward_table};

static const struct field logs_fields[] = {
	CHOICE(logs, format, formats, LOG_FORMAT_AUTO),
	CHOICE(logs, level, levels, LOG_INFO),
	SECTION(struct config_logs, access, &access_table),
	SECTION(struct config_logs, containers, &containers_table),
	LIST(logs, forward, &forward_item, CONFIG_FORWARD_MAX),
};
static const struct field_table logs_table = {.what = "logs", FIELD_TABLE(logs_fields)};

static const struct field metrics_fields[] = {
	BOOL(metrics, enabled, true),
	BOOL(metrics, per_replica, true),
	NUMBER(metrics, max_series_per_service, 10, 100000, 200),
	BOOL(metrics, exemplars, true),
};
static const struct field_table metrics_table = {.what = "metrics", FIELD_TABLE(metrics_fields)};

static const char *const propagates[] = {"w3c", "none", NULL};

static const struct field tracing_fields[] = {
	TEXT(tracing, endpoint, "endpoint", config_value_url_or_empty, ""),
	RATIO(tracing, sample_ppm, "sample", 10000),
	CHOICE(tracing, propagate, propagates, CONFIG_PROPAGATE_W3C),
};
static const struct field_table tracing_table = {.what = "tracing", FIELD_TABLE(tracing_fields)};

static const char *const dashboard_auths[] = {"token", "none", NULL};

static const struct field dashboard_fields[] = {
	BOOL(dashboard, enabled, true),
	CHOICE(dashboard, auth, dashboard_auths, CONFIG_DASHBOARD_TOKEN),
};
static const struct field_table dashboard_table = {.what = "dashboard",
						   FIELD_TABLE(dashboard_fields)};

static const char *const gitops_modes[] = {"apply", "report", NULL};

static const struct field gitops_fields[] = {
	{.key = "url",
	 .kind = FIELD_TEXT,
	 FIELD_AT(struct config_gitops, url),
	 .flags = FIELD_INLINE | FIELD_REQUIRED,
	 .min = 1},
	TEXT(gitops, ref, "ref", NULL, "main"),
	TEXT(gitops, path, "path", NULL, ""),
	DURATION(gitops, interval_ms, "interval", 1000, 60000),
	CHOICE(gitops, mode, gitops_modes, CONFIG_GITOPS_APPLY),
};
static const struct field_table gitops_table = {.what = "gitops", FIELD_TABLE(gitops_fields)};
static const struct field gitops_item = {.kind = FIELD_SECTION, .table = &gitops_table};

/* ---- the file ---- */

static const struct field top_fields[] = {
	SECTION(struct config, node, &node_table),
	SECTION(struct config, listen, &listen_table),
	SECTION(struct config, dataplane, &dataplane_table),
	SECTION(struct config, tls, &tls_table),
	SECTION(struct config, cluster, &cluster_table),
	SECTION(struct config, deploy, &deploy_table),
	SECTION(struct config, runtime, &runtime_table),
	SECTION(struct config, proxy, &proxy_table),
	SECTION(struct config, logs, &logs_table),
	SECTION(struct config, metrics, &metrics_table),
	SECTION(struct config, tracing, &tracing_table),
	SECTION(struct config, dashboard, &dashboard_table),
	{.key = "gitops",
	 .kind = FIELD_LIST,
	 .offset = offsetof(struct config, gitops),
	 .flags = FIELD_INLINE,
	 .item = &gitops_item,
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
