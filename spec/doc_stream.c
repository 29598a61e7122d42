/* SPDX-License-Identifier: Apache-2.0 */
/* What an endpoint may carry besides its address: stream, limits, auth, balance, tunnel. */
#include "spec/doc_field.h"

#include <string.h>
#include "base/text.h"

/* ---- stream ---- */

static const char *const stream_checks[] = {"none", "tcp_connect", "udp_probe", NULL};

static void
check_stream_health(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	static const char *const probe_keys[] = {"request", "expect", NULL};
	static const char *const required[] = {"request", NULL};
	const struct doc_stream_health *h = section;

	if (n == NULL)
		return;
	if (h->type == DOC_STREAM_UDP_PROBE)
		field_require(ctx, n, required, "by a udp_probe");
	else
		field_refuse(ctx, n, probe_keys, "it belongs to a udp_probe");
}

static bool
shows_stream_health(const void *section, const char *key)
{
	const struct doc_stream_health *h = section;

	return h->type != DOC_STREAM_NO_CHECK || strcmp(key, "type") == 0;
}

#define PROBE_TEXT(m, k)                                                               \
	{                                                                              \
		.key = (k), .kind = FIELD_TEXT, FIELD_AT(struct doc_stream_health, m), \
		.flags = FIELD_OPTIONAL, .min = 1, .max = DOC_PROBE_MAX                \
	}

static const struct field stream_health_fields[] = {
	DOC_CHOICE(struct doc_stream_health, type, "type", stream_checks, DOC_STREAM_NO_CHECK),
	PROBE_TEXT(request, "request"),
	PROBE_TEXT(expect, "expect"),
};

static const struct field_table stream_health_table = {
	.what = "a health check of a stream",
	FIELD_TABLE(stream_health_fields),
	.has_node = true,
	.check = check_stream_health,
	.shows = shows_stream_health,
};

static const struct field stream_fields[] = {
	DOC_BOOL(struct doc_stream, tls, "tls", false),
	DOC_BOOL(struct doc_stream, proxy_protocol, "proxy_protocol", false),
	DOC_DURATION(struct doc_stream, session_timeout_ms, "session_timeout", 1000, 60000),
	DOC_SECTION(struct doc_stream, health_check, "health_check", &stream_health_table,
		    FIELD_OPTIONAL),
};

const struct field_table doc_stream_table = {
	.what = "stream",
	FIELD_TABLE(stream_fields),
	.has_node = true,
};

/* ---- limits ---- */

static bool
read_prefix(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	struct addr single;
	char text[ADDR_TEXT_BYTES];

	if (n == NULL || !field_is_text(ctx, n, "a prefix"))
		return false;
	if (addr_parse_prefix(n->text, section))
		return true;
	if (addr_parse_ip(n->text, &single)) {
		addr_put_ip(&single, text, sizeof(text));
		field_diag(ctx, n, "invalid-prefix", NULL,
			   "\"%.60s\" is not a prefix; did you mean %s/%d?", n->text, text,
			   addr_is_v4(&single) ? 32 : 128);
		return false;
	}
	field_diag(ctx, n, "invalid-prefix", NULL,
		   "\"%.60s\" is not a prefix, as 10.0.0.0/8 (the bits behind it are zero)",
		   n->text);
	return false;
}

static void
put_prefix(struct emit *e, const char *key, const void *section)
{
	char text[ADDR_TEXT_BYTES];

	addr_put_prefix(section, text, sizeof(text));
	emit_text(e, key, text);
}

static const struct field prefix_item = {.kind = FIELD_OWN, .read = read_prefix, .put = put_prefix};

#define PREFIXES(m, k)                                                                \
	{                                                                             \
		.key = (k), .kind = FIELD_LIST, FIELD_AT(struct doc_limits, m.items), \
		.flags = FIELD_OPTIONAL, .item = &prefix_item,                        \
		.stride = sizeof(struct addr_prefix), .cap = DOC_LIST_MAX,            \
		.count_offset = offsetof(struct doc_limits, m.count)                  \
	}
#define LIMIT(m, k)                                                               \
	{                                                                         \
		.key = (k), .kind = FIELD_NUMBER, FIELD_AT(struct doc_limits, m), \
		.flags = FIELD_OPTIONAL, .min = 1, .max = 100000000               \
	}
#define LIMIT_SIZE(m, k, most)                                                  \
	{                                                                       \
		.key = (k), .kind = FIELD_SIZE, FIELD_AT(struct doc_limits, m), \
		.flags = FIELD_OPTIONAL, .min = 1024, .max = (most)             \
	}

static const struct field limits_fields[] = {
	LIMIT(rps, "rps"),
	LIMIT(burst, "burst"),
	LIMIT_SIZE(body_bytes, "body", DOC_SIZE_MAX),
	LIMIT_SIZE(header_bytes, "header", 1 << 20),
	LIMIT(concurrent, "concurrent"),
	PREFIXES(allow, "allow"),
	PREFIXES(deny, "deny"),
};

static void
check_limits(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	static const char *const needs_rps[] = {"burst", NULL};
	const struct doc_limits *l = section;

	if (n != NULL && l->burst != 0 && l->rps == 0 && yaml_node_get(n, "rps") == NULL)
		field_refuse(ctx, n, needs_rps, "it goes with rps");
}

const struct field_table doc_limits_table = {
	.what = "limits",
	FIELD_TABLE(limits_fields),
	.has_node = true,
	.check = check_limits,
};

/* ---- auth ---- */

static const struct field jwt_fields[] = {
	DOC_TEXT(struct doc_jwt, secret, "secret", doc_text_secret, FIELD_REQUIRED),
	DOC_PAIRS(struct doc_jwt, claims, "claims", NULL),
};

static const struct field_table jwt_table = {
	.what = "jwt", FIELD_TABLE(jwt_fields), .has_node = true};

static const struct field auth_fields[] = {
	DOC_SECTION(struct doc_auth, jwt, "jwt", &jwt_table, FIELD_OPTIONAL),
	DOC_TEXT(struct doc_auth, basic, "basic", doc_text_secret, FIELD_OPTIONAL),
};

static void
check_auth(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	(void)section;
	if (n == NULL || (yaml_node_get(n, "jwt") != NULL) != (yaml_node_get(n, "basic") != NULL))
		return;
	field_diag(ctx, n, "invalid-auth", NULL, "exactly one of jwt and basic is wanted");
}

const struct field_table doc_auth_table = {
	.what = "auth",
	FIELD_TABLE(auth_fields),
	.has_node = true,
	.check = check_auth,
};

/* ---- balance ---- */

struct balance_map {
	const struct yaml_node *node;
	int hash;
	int sticky;
	const char *name;
};

static const char *const hash_names[] = {"none", "header", "cookie", "client_ip", NULL};
static const char *const sticky_names[] = {"none", "cookie", NULL};

static const struct field balance_fields[] = {
	DOC_CHOICE(struct balance_map, hash, "hash", hash_names, 0),
	DOC_CHOICE(struct balance_map, sticky, "sticky", sticky_names, 0),
	DOC_TEXT(struct balance_map, name, "name", doc_text_token, FIELD_OPTIONAL),
};

static const struct field_table balance_table = {
	.what = "balance", FIELD_TABLE(balance_fields), .has_node = true};

static const char *const words[] = {"p2c", "round_robin", "least_conn", NULL};

static bool
read_balance_word(struct field_ctx *ctx, const struct yaml_node *n, struct doc_balance *b)
{
	static const char *const all[] = {"p2c",  "round_robin", "least_conn",
					  "hash", "sticky",      NULL};
	const char *near;

	for (unsigned i = 0; words[i] != NULL; i++) {
		if (strcmp(words[i], n->text) == 0) {
			b->kind = (enum doc_balance_kind)i;
			return true;
		}
	}
	near = text_nearest(n->text, all);
	field_diag(ctx, n, "invalid-choice", NULL,
		   "\"%.40s\" is not one of p2c, round_robin, least_conn, {hash: "
		   "header|cookie|client_ip}, {sticky: cookie}%s%s%s",
		   n->text, near == NULL ? "" : "; did you mean \"", near == NULL ? "" : near,
		   near == NULL ? "" : "\"?");
	return false;
}

static bool
read_balance_map(struct field_ctx *ctx, const struct yaml_node *n, struct doc_balance *b)
{
	static const char *const name_key[] = {"name", NULL};
	struct balance_map map = {0};

	field_read(ctx, &balance_table, n, &map);
	if ((yaml_node_get(n, "hash") != NULL) == (yaml_node_get(n, "sticky") != NULL)) {
		field_diag(ctx, n, "invalid-choice", NULL,
			   "exactly one of hash and sticky is wanted");
		return false;
	}
	b->name = map.name;
	if (map.sticky != 0) {
		b->kind = DOC_BALANCE_STICKY_COOKIE;
		if (b->name == NULL)
			b->name = "zlayer";
		return true;
	}
	b->kind = (enum doc_balance_kind)(DOC_BALANCE_HASH_HEADER +
					  (map.hash > 0 ? map.hash - 1 : 0));
	if (b->kind == DOC_BALANCE_HASH_CLIENT_IP)
		field_refuse(ctx, n, name_key, "it goes with header and cookie");
	else if (map.hash != 0)
		field_require(ctx, n, name_key, "with header and cookie");
	return true;
}

bool
doc_balance_read(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	struct doc_balance *b = &((struct doc_endpoint *)section)->balance;

	b->node = n;
	b->kind = DOC_BALANCE_P2C;
	if (n == NULL)
		return true;
	if (n->kind == YAML_MAP)
		return read_balance_map(ctx, n, b);
	return field_is_text(ctx, n, "a word or a map") && read_balance_word(ctx, n, b);
}

void
doc_balance_put(struct emit *e, const char *key, const void *section)
{
	const struct doc_balance *b = &((const struct doc_endpoint *)section)->balance;

	if (b->kind <= DOC_BALANCE_LEAST_CONN) {
		emit_text(e, key, words[b->kind]);
		return;
	}
	emit_map(e, key);
	if (b->kind == DOC_BALANCE_STICKY_COOKIE)
		emit_text(e, "sticky", "cookie");
	else
		emit_text(e, "hash", hash_names[b->kind - DOC_BALANCE_HASH_HEADER + 1]);
	if (b->name != NULL)
		emit_text(e, "name", b->name);
	emit_end(e);
}

/* ---- tunnel ---- */

static const struct field access_fields[] = {
	DOC_BOOL(struct doc_tunnel_access, enabled, "enabled", false),
	DOC_DURATION(struct doc_tunnel_access, max_ttl_ms, "max_ttl", 1000, 3600000),
	DOC_BOOL(struct doc_tunnel_access, audit, "audit", true),
};

static const struct field_table access_table = {
	.what = "access", FIELD_TABLE(access_fields), .has_node = true};

static const struct field endpoint_tunnel_fields[] = {
	DOC_BOOL(struct doc_endpoint_tunnel, enabled, "enabled", false),
	{.key = "remote_port",
	 .kind = FIELD_NUMBER,
	 FIELD_AT(struct doc_endpoint_tunnel, remote_port),
	 .flags = FIELD_OPTIONAL,
	 .min = 1,
	 .max = 65535,
	 .code = "invalid-port"},
	DOC_SECTION(struct doc_endpoint_tunnel, access, "access", &access_table, FIELD_OPTIONAL),
};

const struct field_table doc_endpoint_tunnel_table = {
	.what = "tunnel", FIELD_TABLE(endpoint_tunnel_fields), .has_node = true};
