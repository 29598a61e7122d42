/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An endpoint: protocol, ports, host and path, and which of its other keys go with that protocol.
 * What concerns two endpoints is checked in doc_edge.c.
 */
#include "spec/doc_field.h"

#include <string.h>

static const char *const protocols[] = {"http", "https", "tcp", "udp", "websocket", NULL};

#define PORT(m, k, f)                                                                             \
	{                                                                                         \
		.key = (k), .kind = FIELD_NUMBER, FIELD_AT(struct doc_endpoint, m), .flags = (f), \
		.min = 1, .max = 65535, .code = "invalid-port"                                    \
	}

static const struct field endpoint_fields[] = {
	DOC_TEXT(struct doc_endpoint, name, "name", doc_text_label, FIELD_REQUIRED),
	{.key = "protocol",
	 .kind = FIELD_CHOICE,
	 FIELD_AT(struct doc_endpoint, protocol),
	 .names = protocols,
	 .flags = FIELD_REQUIRED},
	PORT(port, "port", FIELD_REQUIRED),
	PORT(target_port, "target_port", FIELD_OPTIONAL),
	DOC_TEXT(struct doc_endpoint, host, "host", doc_text_host, FIELD_OPTIONAL),
	DOC_TEXT(struct doc_endpoint, path, "path", doc_text_url_path, FIELD_OPTIONAL),
	DOC_BOOL(struct doc_endpoint, strip_path, "strip_path", false),
	DOC_CHOICE(struct doc_endpoint, expose, "expose", doc_field_exposes, DOC_EXPOSE_INTERNAL),
	DOC_SECTION(struct doc_endpoint, stream, "stream", &doc_stream_table, FIELD_OPTIONAL),
	DOC_SECTION(struct doc_endpoint, limits, "limits", &doc_limits_table, FIELD_OPTIONAL),
	DOC_SECTION(struct doc_endpoint, auth, "auth", &doc_auth_table, FIELD_OPTIONAL),
	{.key = "balance", .kind = FIELD_OWN, .read = doc_balance_read, .put = doc_balance_put},
	DOC_SECTION(struct doc_endpoint, tunnel, "tunnel", &doc_endpoint_tunnel_table,
		    FIELD_OPTIONAL),
};

static void
check_stream(struct field_ctx *ctx, const struct doc_endpoint *e)
{
	static const char *const tls[] = {"tls", NULL};
	static const char *const check[] = {"health_check", NULL};
	const struct doc_stream *s = &e->stream;
	bool udp = e->protocol == DOC_PROTOCOL_UDP;

	if (s->node == NULL)
		return;
	if (udp && s->tls)
		field_refuse(ctx, s->node, tls, "udp has no tls");
	if ((udp && s->health_check.type == DOC_STREAM_TCP_CONNECT) ||
	    (!udp && s->health_check.type == DOC_STREAM_UDP_PROBE))
		field_refuse(ctx, s->node, check,
			     udp ? "udp has udp_probe" : "tcp has tcp_connect");
}

static void
check_packets(struct field_ctx *ctx, const struct yaml_node *n, const struct doc_endpoint *e)
{
	static const char *const http_only[] = {"path", "strip_path", "auth", NULL};
	static const char *const host[] = {"host", NULL};
	static const char *const http_limits[] = {"rps", "burst", "body", "header", NULL};
	static const char *const balance[] = {"balance", NULL};

	field_refuse(ctx, n, http_only, "it belongs to http, https and websocket");
	if (!e->stream.tls)
		field_refuse(ctx, n, host,
			     "it belongs to http, https, websocket, and tcp with stream.tls");
	if (e->limits.node != NULL)
		field_refuse(ctx, e->limits.node, http_limits,
			     "it belongs to http, https and websocket");
	if (e->balance.kind != DOC_BALANCE_P2C && e->balance.kind != DOC_BALANCE_ROUND_ROBIN &&
	    e->balance.kind != DOC_BALANCE_LEAST_CONN &&
	    e->balance.kind != DOC_BALANCE_HASH_CLIENT_IP)
		field_refuse(ctx, n, balance, "a header or cookie needs http");
	check_stream(ctx, e);
}

static void
check_endpoint(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	struct doc_endpoint *e = section;
	const struct yaml_node *stream = n == NULL ? NULL : yaml_node_get(n, "stream");
	const struct yaml_node *protocol = n == NULL ? NULL : yaml_node_get(n, "protocol");
	bool packets = e->protocol == DOC_PROTOCOL_TCP || e->protocol == DOC_PROTOCOL_UDP;

	if (e->target_port == 0)
		e->target_port = e->port;
	if (e->path == NULL && !packets && !doc_given(n, "path"))
		e->path = "/";
	if (n == NULL || protocol == NULL)
		return;
	if (packets)
		check_packets(ctx, n, e);
	if (!packets && stream != NULL)
		field_diag(ctx, stream, "stream-on-http", NULL,
			   "belongs to tcp and udp; this endpoint is %s",
			   doc_protocol_name(e->protocol));
}

static bool
shows_endpoint(const void *section, const char *key)
{
	const struct doc_endpoint *e = section;
	bool packets = e->protocol == DOC_PROTOCOL_TCP || e->protocol == DOC_PROTOCOL_UDP;

	return !packets || strcmp(key, "strip_path") != 0;
}

static const char *const advice[][2] = {
	{"published", "port is what the edge listens on, target_port is inside the container"},
	{"target", "target_port is the port inside the container"},
	{"container_port", "target_port is the port inside the container"},
	{"domain", "host is the name that is served"},
	{"hostname", "host is the name that is served"},
	{"public", "write expose: public"},
	{"tls", "write protocol: https; for tcp: stream: {tls: true}"},
	{NULL, NULL},
};

const struct field_table doc_endpoint_table = {
	.what = "an endpoint",
	FIELD_TABLE(endpoint_fields),
	.has_node = true,
	.advice = advice,
	.check = check_endpoint,
	.shows = shows_endpoint,
};

const struct field doc_endpoint_item = {.kind = FIELD_SECTION, .table = &doc_endpoint_table};

const char *
doc_protocol_name(enum doc_protocol v)
{
	return protocols[v];
}
