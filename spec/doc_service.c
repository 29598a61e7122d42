/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A service: its own keys, and what several of its sections must agree on (schedule and rtype,
 * health and endpoints, targets of storage). Other services are the business of doc_graph.c and
 * doc_edge.c.
 */
#include "spec/doc_field.h"

#include <string.h>

static const char *const rtypes[] = {"service", "job", "cron", NULL};
static const char *const pulls[] = {"always", "newer", "if_not_present", "never", NULL};

/* ---- cron ---- */

static const char *const overlaps[] = {"forbid", "allow", "replace", NULL};
static const char *const catch_ups[] = {"last", "all", "none", NULL};
static const char *const on_losses[] = {"skip", "retry", NULL};

static const struct field cron_fields[] = {
	DOC_CHOICE(struct doc_cron, overlap, "overlap", overlaps, DOC_OVERLAP_FORBID),
	DOC_CHOICE(struct doc_cron, catch_up, "catch_up", catch_ups, DOC_CATCH_UP_LAST),
	DOC_CHOICE(struct doc_cron, on_loss, "on_loss", on_losses, DOC_ON_LOSS_SKIP),
};

static const struct field_table cron_table = {
	.what = "cron", FIELD_TABLE(cron_fields), .has_node = true};

/* ---- image, command ---- */

static bool
check_image_name(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	struct image_ref ref;
	enum image_ref_status status = image_ref_parse(*text, &ref);

	if (status == IMAGE_REF_OK)
		return true;
	field_diag(ctx, n, "invalid-image", NULL, "\"%.200s\" is not an image: %s", *text,
		   image_ref_why(status));
	return false;
}

static const struct field image_fields[] = {
	DOC_TEXT(struct doc_image, name, "name", check_image_name, FIELD_REQUIRED),
	DOC_CHOICE(struct doc_image, pull_policy, "pull_policy", pulls, DOC_PULL_IF_NOT_PRESENT),
};

static void
check_image(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	struct doc_image *image = section;

	(void)ctx;
	if (n != NULL && image->name != NULL)
		(void)image_ref_parse(image->name, &image->ref);
}

static const struct field_table image_table = {
	.what = "image",
	FIELD_TABLE(image_fields),
	.has_node = true,
	.check = check_image,
};

#define WORDS(m, has)                                                                         \
	{                                                                                     \
		.key = #m, .kind = FIELD_LIST, FIELD_AT(struct doc_command, m.items),         \
		.item = &doc_field_text, .stride = sizeof(const char *), .cap = DOC_LIST_MAX, \
		.count_offset = offsetof(struct doc_command, m.count),                        \
		.has_offset = offsetof(struct doc_command, has)                               \
	}

static const struct field command_fields[] = {
	WORDS(entrypoint, has_entrypoint),
	WORDS(args, has_args),
	DOC_TEXT(struct doc_command, workdir, "workdir", doc_text_file, FIELD_OPTIONAL),
};

static const struct field_table command_table = {
	.what = "command", FIELD_TABLE(command_fields), .has_node = true};

/* ---- devices ---- */

static const struct field device_fields[] = {
	DOC_TEXT(struct doc_device, path, "path", doc_text_file, FIELD_REQUIRED),
	DOC_BOOL(struct doc_device, read, "read", true),
	DOC_BOOL(struct doc_device, write, "write", true),
	DOC_BOOL(struct doc_device, mknod, "mknod", false),
};

static const struct field_table device_table = {
	.what = "a device", FIELD_TABLE(device_fields), .has_node = true};
static const struct field device_item = {.kind = FIELD_SECTION, .table = &device_table};

/* ---- logs ---- */

static const struct field logs_fields[] = {
	{.key = "max_size",
	 .kind = FIELD_SIZE,
	 FIELD_AT(struct doc_logs, max_size_bytes),
	 .min = 4096,
	 .max = DOC_SIZE_MAX,
	 .def = 10 << 20},
	DOC_NUMBER(struct doc_logs, max_files, "max_files", 1, 64, 3),
};

static const struct field_table logs_table = {
	.what = "logs", FIELD_TABLE(logs_fields), .has_node = true};

void
doc_set_log_defaults(struct doc *doc, uint64_t max_size_bytes, uint32_t max_files)
{
	for (size_t i = 0; i < doc->services_count; i++) {
		struct doc_logs *logs = &doc->services[i].logs;

		if (!doc_given(logs->node, "max_size"))
			logs->max_size_bytes = max_size_bytes;
		if (!doc_given(logs->node, "max_files"))
			logs->max_files = max_files;
	}
}

/* ---- the service ---- */

static const struct field extra_host_item = {.kind = FIELD_TEXT,
					     FIELD_AT(struct doc_pair, value),
					     .text = doc_word_extra_host,
					     .min = 1};

static const struct field service_fields[] = {
	DOC_CHOICE(struct doc_service, rtype, "rtype", rtypes, DOC_RTYPE_SERVICE),
	{.key = "schedule",
	 .kind = FIELD_TEXT,
	 FIELD_AT(struct doc_service, schedule),
	 .flags = FIELD_OPTIONAL,
	 .min = 1,
	 .max = DOC_SCHEDULE_BYTES - 1},
	DOC_SECTION(struct doc_service, cron, "cron", &cron_table, 0),
	DOC_SECTION(struct doc_service, image, "image", &image_table, FIELD_REQUIRED),
	DOC_SECTION(struct doc_service, command, "command", &command_table, FIELD_OPTIONAL),
	DOC_SECTION(struct doc_service, resources, "resources", &doc_resources_table,
		    FIELD_OPTIONAL),
	DOC_MAP(struct doc_service, env, "env", &doc_env_item, doc_env, DOC_LIST_MAX,
		doc_text_variable),
	DOC_SECTION(struct doc_service, network, "network", &doc_network_table, 0),
	DOC_LIST(struct doc_service, endpoints, "endpoints", &doc_endpoint_item, doc_endpoint,
		 DOC_ENDPOINTS_MAX),
	DOC_SECTION(struct doc_service, scale, "scale", &doc_scale_table, 0),
	DOC_LIST(struct doc_service, depends, "depends", &doc_depend_item, doc_depend, 64),
	DOC_SECTION(struct doc_service, health, "health", &doc_health_table, FIELD_OPTIONAL),
	DOC_SECTION(struct doc_service, init, "init", &doc_init_table, FIELD_OPTIONAL),
	DOC_SECTION(struct doc_service, errors, "errors", &doc_errors_table, 0),
	DOC_SECTION(struct doc_service, placement, "node", &doc_placement_table, 0),
	{.key = "node_mode", .kind = FIELD_OWN, .flags = FIELD_ALIAS, .read = doc_placement_mode},
	{.key = "node_selector",
	 .kind = FIELD_OWN,
	 .flags = FIELD_ALIAS,
	 .read = doc_placement_selector},
	DOC_LIST(struct doc_service, devices, "devices", &device_item, doc_device, 64),
	{.key = "cap_add",
	 .alias = "capabilities",
	 .kind = FIELD_OWN,
	 .read = doc_word_cap_add,
	 .put = doc_word_put_cap_add},
	{.key = "cap_drop",
	 .kind = FIELD_OWN,
	 .read = doc_word_cap_drop,
	 .put = doc_word_put_cap_drop},
	DOC_BOOL(struct doc_service, privileged, "privileged", false),
	{.key = "storage",
	 .alias = "volumes",
	 .kind = FIELD_LIST,
	 FIELD_AT(struct doc_service, storage),
	 .flags = FIELD_OPTIONAL,
	 .item = &doc_storage_item,
	 .stride = sizeof(struct doc_storage),
	 .cap = 128,
	 .count_offset = offsetof(struct doc_service, storage_count)},
	DOC_SECTION(struct doc_service, update, "update", &doc_update_table, 0),
	DOC_TEXT(struct doc_service, hostname, "hostname", doc_word_hostname, FIELD_OPTIONAL),
	DOC_TEXT(struct doc_service, user, "user", doc_word_user, FIELD_OPTIONAL),
	DOC_PAIRS(struct doc_service, labels, "labels", doc_text_label_key),
	{.key = "stop_signal",
	 .kind = FIELD_OWN,
	 .read = doc_word_stop_signal,
	 .put = doc_word_put_stop_signal},
	DOC_DURATION(struct doc_service, stop_grace_period_ms, "stop_grace_period", 0, 10000),
	DOC_BOOL(struct doc_service, read_only_root_fs, "read_only_root_fs", false),
	DOC_PAIRS(struct doc_service, sysctls, "sysctls", doc_word_sysctl),
	{.key = "extra_hosts",
	 .kind = FIELD_MAP,
	 FIELD_AT(struct doc_service, extra_hosts.items),
	 .flags = FIELD_OPTIONAL,
	 .item = &extra_host_item,
	 .stride = sizeof(struct doc_pair),
	 .cap = DOC_LIST_MAX,
	 .count_offset = offsetof(struct doc_service, extra_hosts.count),
	 .name_offset = offsetof(struct doc_pair, key),
	 .name = doc_text_host},
	{.key = "seccomp",
	 .kind = FIELD_OWN,
	 .read = doc_word_seccomp,
	 .put = doc_word_put_seccomp},
	{.key = "runtime",
	 .kind = FIELD_OWN,
	 .read = doc_word_runtime,
	 .put = doc_word_put_runtime},
	DOC_SECTION(struct doc_service, logs, "logs", &logs_table, 0),
	{.key = "gpu",
	 .kind = FIELD_NUMBER,
	 FIELD_AT(struct doc_service, gpu),
	 .flags = FIELD_OPTIONAL,
	 .max = 64},
	{.key = "wasm",
	 .kind = FIELD_BOOL,
	 FIELD_AT(struct doc_service, wasm),
	 .flags = FIELD_OPTIONAL},
	DOC_TEXT(struct doc_service, isolation, "isolation", NULL, FIELD_OPTIONAL),
	DOC_TEXT(struct doc_service, platform, "platform", NULL, FIELD_OPTIONAL),
};

/* The field that is wrong, as long as the text stands in the file as it is read. */
static struct yaml_node
wrong_field(const struct yaml_node *schedule, const struct cron_error *error)
{
	struct yaml_node at = *schedule;
	size_t quote = at.plain ? 0 : 1;

	if (error->bytes == 0 || at.pos.width != at.bytes + 2 * quote)
		return at;
	at.pos.col += (uint32_t)(quote + error->offset);
	at.pos.width = (uint32_t)error->bytes;
	return at;
}

static void
check_schedule(struct field_ctx *ctx, const struct yaml_node *n, struct doc_service *s)
{
	const struct yaml_node *schedule = yaml_node_get(n, "schedule");
	struct cron_error error;

	if (s->rtype == DOC_RTYPE_CRON && schedule == NULL)
		field_diag(ctx, n, "cron-without-schedule",
			   "add schedule, as \"0 0 3 * * * *\" (each day at 3:00 UTC)",
			   "rtype cron needs a schedule");
	if (s->rtype != DOC_RTYPE_CRON && schedule != NULL)
		field_diag(ctx, schedule, "schedule-without-cron", NULL,
			   "is for rtype cron; this is a %s", rtypes[s->rtype]);
	if (s->rtype != DOC_RTYPE_CRON && s->cron.node != NULL)
		field_diag(ctx, s->cron.node, "misplaced-key", NULL,
			   "is for rtype cron; this is a %s", rtypes[s->rtype]);
	if (s->schedule == NULL || cron_parse(s->schedule, &s->times, &error) == 0)
		return;
	struct yaml_node at = wrong_field(schedule, &error);
	field_diag(ctx, &at, "invalid-cron", NULL, "%s", error.text);
}

static bool
is_http(enum doc_protocol p)
{
	return p == DOC_PROTOCOL_HTTP || p == DOC_PROTOCOL_HTTPS || p == DOC_PROTOCOL_WEBSOCKET;
}

static void
fill_check_port(struct field_ctx *ctx, struct doc_service *s)
{
	struct doc_check *c = &s->health.check;
	bool http = c->type == DOC_CHECK_HTTP;

	if (c->node == NULL || c->port != 0 || c->type == DOC_CHECK_COMMAND)
		return;
	if (http && (c->url == NULL || c->url[0] != '/'))
		return;
	for (size_t i = 0; i < s->endpoints_count && c->port == 0; i++) {
		const struct doc_endpoint *e = &s->endpoints[i];

		if (http ? is_http(e->protocol) : e->protocol != DOC_PROTOCOL_UDP)
			c->port = e->target_port;
	}
	if (c->port == 0)
		field_diag(ctx, c->node, "health-without-endpoint",
			   "give the check a port, or the service an endpoint",
			   "a %s check asks the port of the first %s endpoint, and there is none",
			   http ? "http" : "tcp", http ? "http" : "tcp");
}

static void
check_targets(struct field_ctx *ctx, const struct doc_service *s)
{
	for (size_t i = 0; i < s->storage_count; i++) {
		const struct doc_storage *a = &s->storage[i];

		for (size_t k = 0; k < i && a->target != NULL; k++) {
			const struct doc_storage *b = &s->storage[k];

			if (b->target != NULL && strcmp(a->target, b->target) == 0)
				field_diag(ctx, yaml_node_get(a->node, "target"),
					   "duplicate-target", NULL,
					   "something else is mounted at %.80s", a->target);
		}
	}
}

static void
check_placement(struct field_ctx *ctx, const struct yaml_node *n)
{
	static const char *const names[][2] = {{"node_mode", "mode"},
					       {"node_selector", "selector"}};

	for (size_t i = 0; i < 2; i++) {
		const struct yaml_node *alias = yaml_node_get(n, names[i][0]);
		const struct yaml_node *node = yaml_node_get(n, "node");

		if (alias != NULL && node != NULL && yaml_node_get(node, names[i][1]) != NULL)
			field_diag(ctx, alias, "duplicate-key", NULL,
				   "means the same as node.%s, which is given too", names[i][1]);
	}
}

/* Names lead to ready replicas only: what others in the deployment ask of it wakes nobody. */
static void
check_sleep(struct field_ctx *ctx, const struct doc_service *s)
{
	const struct yaml_node *min =
		s->scale.node == NULL ? NULL : yaml_node_get(s->scale.node, "min");

	if (min == NULL || s->scale.mode != DOC_SCALE_ADAPTIVE || s->scale.min > 0 ||
	    s->scale.max == 0)
		return;
	for (size_t i = 0; i < s->endpoints_count; i++) {
		if (s->endpoints[i].expose == DOC_EXPOSE_PUBLIC)
			return;
	}
	field_diag(ctx, min, "never-woken",
		   "give an endpoint expose: public, or let min be 1 or more",
		   "is 0: a request to a public endpoint wakes it, and there is none");
}

static bool
is_run(const struct doc_service *s)
{
	return s->rtype != DOC_RTYPE_SERVICE;
}

/* A run has no size. What says no more than that there is one of it does no harm. */
static void
check_size(struct field_ctx *ctx, const struct doc_service *s)
{
	bool one = s->scale.mode == DOC_SCALE_FIXED && s->scale.replicas == 1;

	if (!is_run(s) || s->scale.node == NULL || one)
		return;
	field_diag(ctx, s->scale.node, "not-for-runs",
		   s->rtype == DOC_RTYPE_CRON
			   ? "take scale away; cron: {overlap: allow} lets runs overlap"
			   : "take scale away; each zlayer job run makes one",
		   "belongs to services: a %s has no size", rtypes[s->rtype]);
}

/* Two of a number never live at once: so the old one has to go first. */
static void
check_unique(struct field_ctx *ctx, const struct doc_service *s)
{
	const struct yaml_node *unique =
		s->scale.node == NULL ? NULL : yaml_node_get(s->scale.node, "unique");

	if (!s->scale.unique || unique == NULL)
		return;
	if (is_run(s))
		field_diag(ctx, unique, "not-for-runs", NULL,
			   "belongs to services: a run is made once (cron.on_loss, cron.overlap)");
	else if (doc_given(s->update.node, "order") && s->update.order == DOC_ORDER_START_FIRST)
		field_diag(ctx, unique, "unique-starts-first",
			   "take update.order away, or write stop-first",
			   "contradicts update.order: start-first, with which two run for a while");
}

static void
check_service(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	struct doc_service *s = section;

	if (n == NULL)
		return;
	check_schedule(ctx, n, s);
	check_targets(ctx, s);
	check_placement(ctx, n);
	check_sleep(ctx, s);
	check_size(ctx, s);
	check_unique(ctx, s);
	fill_check_port(ctx, s);
	if (!doc_given(s->update.node, "order"))
		s->update.order = doc_placement_order(s, s->update.order);
}

static const char *const advice[][2] = {
	{"ports", "write endpoints: [{name, protocol, port, target_port, expose}]"},
	{"expose", "write endpoints: [{name, protocol, port, expose: internal}]"},
	{"replicas", "write scale: {mode: fixed, replicas: N}"},
	{"environment", "the key is env, a map of names to values"},
	{"healthcheck", "the key is health"},
	{"depends_on", "the key is depends, a list of {service, condition}"},
	{"restart", "the key is errors: {on_panic: {action: restart}}"},
	{"entrypoint", "write command: {entrypoint: [...]}"},
	{"args", "write command: {args: [...]}"},
	{"working_dir", "write command: {workdir: ...}"},
	{"networks", "the key is network; services of a deployment see each other by themselves"},
	{"deploy", "write scale, resources, update and node instead"},
	{"build", "images are built elsewhere; write image: {name: ...}"},
	{"cpu", "write resources: {cpu: ...}"},
	{"memory", "write resources: {memory: ...}"},
	{NULL, NULL},
};

static bool
shows(const void *section, const char *key)
{
	const struct doc_service *s = section;

	return s->rtype == DOC_RTYPE_CRON || strcmp(key, "cron") != 0;
}

const struct field_table doc_service_table = {
	.what = "a service",
	FIELD_TABLE(service_fields),
	.has_node = true,
	.advice = advice,
	.check = check_service,
	.shows = shows,
};
