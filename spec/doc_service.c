/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A service: its own keys, and what several of its sections must agree on (schedule and rtype,
 * health and endpoints, targets of storage). Other services are the business of doc_graph.c and
 * doc_edge.c.
 */
#include "spec/doc_field.h"

#include <ctype.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/sandbox.h"
#include "base/text.h"

static const char *const rtypes[] = {"service", "job", "cron", NULL};
static const char *const pulls[] = {"always", "newer", "if_not_present", "never", NULL};

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

/* ---- capabilities ---- */

static bool
add_capability(struct field_ctx *ctx, const struct yaml_node *n, uint64_t *mask)
{
	int cap;

	if (!field_is_text(ctx, n, "a capability"))
		return false;
	if (strcasecmp(n->text, "ALL") == 0) {
		*mask = DOC_CAPS_ALL;
		return true;
	}
	cap = sandbox_cap_parse(n->text);
	if (cap < 0 || cap > 62) {
		field_diag(ctx, n, "invalid-capability", NULL,
			   "\"%.40s\" is not a capability, as NET_BIND_SERVICE or ALL", n->text);
		return false;
	}
	*mask |= UINT64_C(1) << cap;
	return true;
}

static bool
read_caps(struct field_ctx *ctx, const struct yaml_node *n, uint64_t *mask)
{
	*mask = 0;
	if (n == NULL)
		return true;
	if (n->kind != YAML_LIST) {
		field_diag(ctx, n, "wrong-type", NULL, "is %s; a list is wanted",
			   yaml_node_kind_name(n));
		return false;
	}
	for (const struct yaml_node *c = n->first; c != NULL; c = c->next)
		add_capability(ctx, c, mask);
	return true;
}

static void
put_caps(struct emit *e, const char *key, uint64_t mask)
{
	if (mask == 0)
		return;
	emit_list(e, key);
	if (mask == DOC_CAPS_ALL) {
		emit_text(e, NULL, "ALL");
	} else {
		for (int cap = 0; cap < 63; cap++) {
			if (mask >> cap & 1)
				emit_text(e, NULL, sandbox_cap_name(cap));
		}
	}
	emit_end(e);
}

static bool
read_cap_add(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	return read_caps(ctx, n, &((struct doc_service *)section)->cap_add);
}

static bool
read_cap_drop(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	return read_caps(ctx, n, &((struct doc_service *)section)->cap_drop);
}

static void
put_cap_add(struct emit *e, const char *key, const void *section)
{
	put_caps(e, key, ((const struct doc_service *)section)->cap_add);
}

static void
put_cap_drop(struct emit *e, const char *key, const void *section)
{
	put_caps(e, key, ((const struct doc_service *)section)->cap_drop);
}

/* ---- words with several forms ---- */

static bool
read_stop_signal(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	struct doc_service *s = section;
	const char *name;
	uint64_t number;

	s->stop_signal = SIGTERM;
	if (n == NULL)
		return true;
	if (!field_is_text(ctx, n, "a signal"))
		return false;
	name = text_starts(n->text, "SIG") ? n->text + 3 : n->text;
	for (int i = 1; i < NSIG; i++) {
		if (sigabbrev_np(i) != NULL && strcmp(sigabbrev_np(i), name) == 0) {
			s->stop_signal = i;
			return true;
		}
	}
	if (text_u64(n->text, 64, &number) && number > 0) {
		s->stop_signal = (int)number;
		return true;
	}
	field_diag(ctx, n, "invalid-signal", NULL, "\"%.40s\" is not a signal, as TERM or 15",
		   n->text);
	return false;
}

static void
put_stop_signal(struct emit *e, const char *key, const void *section)
{
	int number = ((const struct doc_service *)section)->stop_signal;
	char text[16];

	if (sigabbrev_np(number) != NULL) {
		emit_text(e, key, sigabbrev_np(number));
		return;
	}
	snprintf(text, sizeof(text), "%d", number);
	emit_raw(e, key, text);
}

static bool
read_word_or_file(struct field_ctx *ctx, const struct yaml_node *n, const char *const *words,
		  int file_value, int *kind_out, const char **file_out)
{
	char known[128] = "";

	if (!field_is_text(ctx, n, "a word or a path"))
		return false;
	for (int i = 0; words[i] != NULL; i++) {
		size_t used = strlen(known);

		if (strcmp(words[i], n->text) == 0) {
			*kind_out = i;
			return true;
		}
		text_format(known + used, sizeof(known) - used, "%s%s", i == 0 ? "" : ", ",
			    words[i]);
	}
	if (n->text[0] == '/') {
		*kind_out = file_value;
		*file_out = n->text;
		return doc_text_file(ctx, n, file_out);
	}
	field_diag(ctx, n, "invalid-choice", NULL,
		   "\"%.40s\" is not one of %s, and not an absolute path", n->text, known);
	return false;
}

/* In the order of enum doc_runtime, and of enum doc_seccomp. */
static const char *const runtimes[] = {"builtin", "crun", "runc", "exec", NULL};
static const char *const seccomps[] = {"default", "unconfined", NULL};

static bool
read_runtime(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	struct doc_service *s = section;
	int kind = 0;
	bool good;

	s->runtime = DOC_RUNTIME_BUILTIN;
	if (n == NULL)
		return true;
	good = read_word_or_file(ctx, n, runtimes, 4, &kind, &s->runtime_path);
	s->runtime = kind == 4   ? DOC_RUNTIME_PATH
		     : kind == 3 ? DOC_RUNTIME_EXEC
				 : (enum doc_runtime)kind;
	return good;
}

static void
put_runtime(struct emit *e, const char *key, const void *section)
{
	const struct doc_service *s = section;

	emit_text(e, key,
		  s->runtime == DOC_RUNTIME_PATH   ? s->runtime_path
		  : s->runtime == DOC_RUNTIME_EXEC ? "exec"
						   : runtimes[s->runtime]);
}

static bool
read_seccomp(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	struct doc_service *s = section;
	int kind = 0;
	bool good;

	s->seccomp = DOC_SECCOMP_DEFAULT;
	if (n == NULL)
		return true;
	good = read_word_or_file(ctx, n, seccomps, DOC_SECCOMP_FILE, &kind, &s->seccomp_file);
	s->seccomp = (enum doc_seccomp)kind;
	return good;
}

static void
put_seccomp(struct emit *e, const char *key, const void *section)
{
	const struct doc_service *s = section;

	emit_text(e, key, s->seccomp == DOC_SECCOMP_FILE ? s->seccomp_file : seccomps[s->seccomp]);
}

/* ---- texts of a service ---- */

static bool
check_user(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				   "_.-";
	size_t user = strspn(*text, good), group;

	group = (*text)[user] == ':' ? strspn(*text + user + 1, good) : 0;
	if (user > 0 && strlen(*text) <= 128 &&
	    ((*text)[user] == '\0' || (group > 0 && (*text)[user + 1 + group] == '\0')))
		return true;
	field_diag(ctx, n, "invalid-user", NULL,
		   "\"%.40s\" is not a user: a name or number, with :group if wanted", *text);
	return false;
}

static bool
check_hostname(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	if (!doc_text_host(ctx, n, text))
		return false;
	if ((*text)[0] != '*' && strlen(*text) <= 64)
		return true;
	field_diag(ctx, n, "invalid-host", NULL, "\"%.80s\" is not a host's name: at most 64 bytes",
		   *text);
	return false;
}

static bool
check_sysctl(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	static const char *const allowed[] = {"net.",       "kernel.msg", "kernel.sem",
					      "kernel.shm", "fs.mqueue.", NULL};

	for (size_t i = 0; allowed[i] != NULL; i++) {
		if (text_starts(*text, allowed[i]) && strstr(*text, "..") == NULL &&
		    strchr(*text, '/') == NULL)
			return true;
	}
	field_diag(ctx, n, "invalid-sysctl", NULL,
		   "\"%.80s\" is not a sysctl of a container: net.*, kernel.msg*, kernel.sem, "
		   "kernel.shm*, fs.mqueue.*",
		   *text);
	return false;
}

static bool
check_extra_host(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	struct addr addr;

	if (addr_parse_ip(*text, &addr))
		return true;
	field_diag(ctx, n, "invalid-address", NULL, "\"%.60s\" is not an IP address", *text);
	return false;
}

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
	DOC_NUMBER(struct doc_logs, max_files, "max_files", 1, 1000, 3),
};

static const struct field_table logs_table = {
	.what = "logs", FIELD_TABLE(logs_fields), .has_node = true};

/* ---- the service ---- */

static const struct field extra_host_item = {
	.kind = FIELD_TEXT, FIELD_AT(struct doc_pair, value), .text = check_extra_host, .min = 1};

static const struct field service_fields[] = {
	DOC_CHOICE(struct doc_service, rtype, "rtype", rtypes, DOC_RTYPE_SERVICE),
	DOC_TEXT(struct doc_service, schedule, "schedule", NULL, FIELD_OPTIONAL),
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
	 .read = read_cap_add,
	 .put = put_cap_add},
	{.key = "cap_drop", .kind = FIELD_OWN, .read = read_cap_drop, .put = put_cap_drop},
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
	DOC_TEXT(struct doc_service, hostname, "hostname", check_hostname, FIELD_OPTIONAL),
	DOC_TEXT(struct doc_service, user, "user", check_user, FIELD_OPTIONAL),
	DOC_PAIRS(struct doc_service, labels, "labels", doc_text_label_key),
	{.key = "stop_signal", .kind = FIELD_OWN, .read = read_stop_signal, .put = put_stop_signal},
	DOC_DURATION(struct doc_service, stop_grace_period_ms, "stop_grace_period", 0, 10000),
	DOC_BOOL(struct doc_service, read_only_root_fs, "read_only_root_fs", false),
	DOC_PAIRS(struct doc_service, sysctls, "sysctls", check_sysctl),
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
	{.key = "seccomp", .kind = FIELD_OWN, .read = read_seccomp, .put = put_seccomp},
	{.key = "runtime", .kind = FIELD_OWN, .read = read_runtime, .put = put_runtime},
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
	if (s->schedule == NULL || cron_parse(s->schedule, &s->cron, &error) == 0)
		return;
	field_diag(ctx, schedule, "invalid-cron", NULL, "%s", error.text);
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

static void
check_service(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	struct doc_service *s = section;

	if (n == NULL)
		return;
	check_schedule(ctx, n, s);
	check_targets(ctx, s);
	check_placement(ctx, n);
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

const struct field_table doc_service_table = {
	.what = "a service",
	FIELD_TABLE(service_fields),
	.has_node = true,
	.advice = advice,
	.check = check_service,
};

const char *
doc_rtype_name(enum doc_rtype v)
{
	return rtypes[v];
}

const char *
doc_pull_name(enum doc_pull v)
{
	return pulls[v];
}
