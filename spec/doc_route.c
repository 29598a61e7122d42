/* SPDX-License-Identifier: Apache-2.0 */
/* What stands beside the services: externals, routes, tunnels. */
#include "spec/doc_field.h"

#include <string.h>

/* ---- externals ---- */

static bool
read_backend(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	struct addr *addr = section;

	if (n == NULL || !field_is_text(ctx, n, "an address with a port"))
		return false;
	if (addr_parse(n->text, addr) && addr->port != 0)
		return true;
	field_diag(ctx, n, "invalid-address", NULL,
		   "\"%.60s\" is not an address with a port, as 10.0.0.5:8080 or [fd00::5]:8080",
		   n->text);
	return false;
}

static void
put_backend(struct emit *e, const char *key, const void *section)
{
	char text[ADDR_TEXT_BYTES];

	addr_put(section, text, sizeof(text));
	emit_text(e, key, text);
}

static const struct field backend_item = {
	.kind = FIELD_OWN, .read = read_backend, .put = put_backend};

static const struct field external_fields[] = {
	{.key = "backends",
	 .kind = FIELD_LIST,
	 FIELD_AT(struct doc_external, backends),
	 .flags = FIELD_REQUIRED | FIELD_OPTIONAL,
	 .item = &backend_item,
	 .stride = sizeof(struct addr),
	 .cap = DOC_LIST_MAX,
	 .count_offset = offsetof(struct doc_external, backends_count)},
	DOC_LIST(struct doc_external, endpoints, "endpoints", &doc_endpoint_item, doc_endpoint,
		 DOC_ENDPOINTS_MAX),
	DOC_SECTION(struct doc_external, health, "health", &doc_health_table, FIELD_OPTIONAL),
};

static void
check_external(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	const struct doc_external *x = section;
	const struct yaml_node *backends = n == NULL ? NULL : yaml_node_get(n, "backends");

	if (backends != NULL && backends->kind == YAML_LIST && backends->count == 0)
		field_diag(ctx, backends, "missing-key", NULL, "at least one backend is wanted");
	if (x->health.check.node != NULL && x->health.check.type == DOC_CHECK_COMMAND)
		field_diag(ctx, x->health.check.node, "invalid-choice", NULL,
			   "an external has no container to run a command in: use tcp or http");
}

const struct field_table doc_external_table = {
	.what = "an external",
	FIELD_TABLE(external_fields),
	.has_node = true,
	.check = check_external,
};

/* ---- routes ---- */

static const struct field target_fields[] = {
	DOC_TEXT(struct doc_route_target, service, "service", doc_text_label, FIELD_REQUIRED),
	DOC_TEXT(struct doc_route_target, endpoint, "endpoint", doc_text_label, FIELD_OPTIONAL),
	{.key = "weight",
	 .kind = FIELD_NUMBER,
	 FIELD_AT(struct doc_route_target, weight),
	 .flags = FIELD_REQUIRED,
	 .max = 100},
};

static const struct field_table target_table = {
	.what = "a target", FIELD_TABLE(target_fields), .has_node = true};
static const struct field target_item = {.kind = FIELD_SECTION, .table = &target_table};

static const struct field mirror_fields[] = {
	DOC_TEXT(struct doc_mirror, service, "service", doc_text_label, FIELD_REQUIRED),
	{.key = "percent",
	 .kind = FIELD_PERCENT,
	 FIELD_AT(struct doc_mirror, percent),
	 .max = 100,
	 .def = 100},
};

static const struct field_table mirror_table = {
	.what = "mirror", FIELD_TABLE(mirror_fields), .has_node = true};

static const struct field sticky_fields[] = {
	DOC_TEXT(struct doc_sticky, cookie, "cookie", doc_text_token, FIELD_OPTIONAL),
	DOC_TEXT(struct doc_sticky, header, "header", doc_text_token, FIELD_OPTIONAL),
	{.key = "client_ip",
	 .kind = FIELD_BOOL,
	 FIELD_AT(struct doc_sticky, client_ip),
	 .flags = FIELD_OPTIONAL},
};

static void
check_sticky(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	const struct doc_sticky *s = section;
	int given = (s->cookie != NULL) + (s->header != NULL) + s->client_ip;

	if (n != NULL && given != 1)
		field_diag(ctx, n, "invalid-choice", NULL,
			   "exactly one of cookie, header and client_ip is wanted");
}

static const struct field_table sticky_table = {
	.what = "sticky", FIELD_TABLE(sticky_fields), .has_node = true, .check = check_sticky};

static const struct field feedback_fields[] = {
	DOC_BOOL(struct doc_feedback, enabled, "enabled", true),
	{.key = "percent",
	 .kind = FIELD_PERCENT,
	 FIELD_AT(struct doc_feedback, percent),
	 .max = 100,
	 .def = 100},
};

static const struct field_table feedback_table = {
	.what = "feedback", FIELD_TABLE(feedback_fields), .has_node = true};

static const struct field route_fields[] = {
	DOC_TEXT(struct doc_route, host, "host", doc_text_host, FIELD_OPTIONAL),
	{.key = "url_prefix",
	 .kind = FIELD_TEXT,
	 FIELD_AT(struct doc_route, url_prefix),
	 .text = doc_text_url_path,
	 .def_text = "/",
	 .min = 1,
	 .max = DOC_TEXT_MAX},
	{.key = "targets",
	 .kind = FIELD_LIST,
	 FIELD_AT(struct doc_route, targets),
	 .flags = FIELD_REQUIRED,
	 .item = &target_item,
	 .stride = sizeof(struct doc_route_target),
	 .cap = 64,
	 .count_offset = offsetof(struct doc_route, targets_count)},
	DOC_SECTION(struct doc_route, mirror, "mirror", &mirror_table, FIELD_OPTIONAL),
	DOC_SECTION(struct doc_route, sticky, "sticky", &sticky_table, FIELD_OPTIONAL),
	DOC_SECTION(struct doc_route, feedback, "feedback", &feedback_table, FIELD_OPTIONAL),
};

const struct field_table doc_route_table = {
	.what = "a route", FIELD_TABLE(route_fields), .has_node = true};

/* ---- tunnels ---- */

static const char *const tunnel_protocols[] = {"tcp", "udp", NULL};

#define PORT(m, k)                                                                      \
	{                                                                               \
		.key = (k), .kind = FIELD_NUMBER, FIELD_AT(struct doc_tunnel, m),       \
		.flags = FIELD_REQUIRED, .min = 1, .max = 65535, .code = "invalid-port" \
	}

static const struct field tunnel_fields[] = {
	DOC_TEXT(struct doc_tunnel, from, "from", doc_text_label, FIELD_REQUIRED),
	DOC_TEXT(struct doc_tunnel, to, "to", doc_text_label, FIELD_REQUIRED),
	PORT(local_port, "local_port"),
	PORT(remote_port, "remote_port"),
	DOC_CHOICE(struct doc_tunnel, protocol, "protocol", tunnel_protocols, DOC_TUNNEL_TCP),
	DOC_CHOICE(struct doc_tunnel, expose, "expose", doc_field_exposes, DOC_EXPOSE_INTERNAL),
};

const struct field_table doc_tunnel_table = {
	.what = "a tunnel", FIELD_TABLE(tunnel_fields), .has_node = true};
