/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Heads on their way through the proxy: RFC 9110 7.6, RFC 6455 4, RFC 8441.
 *
 * Dropped from requests: hop-by-hop fields and those that Connection names, Forwarded and
 * X-Forwarded-* (written anew from what we know), X-Real-IP, X-Request-Id, Expect (answered here),
 * Host and framing (written anew), and fields whose name with underscores for hyphens would be one
 * that we interpret: some backends read both alike.
 *
 * Dropped from answers: hop-by-hop fields, those that Connection names, framing.
 */

#include "proxy/forward.h"

#include <string.h>
#include "wire/http1_write.h"

static bool
is_ours(enum header_id id)
{
	switch (id) {
	case HEADER_HOST:
	case HEADER_CONTENT_LENGTH:
	case HEADER_EXPECT:
	case HEADER_FORWARDED:
	case HEADER_X_FORWARDED_FOR:
	case HEADER_X_FORWARDED_HOST:
	case HEADER_X_FORWARDED_PORT:
	case HEADER_X_FORWARDED_PROTO:
	case HEADER_X_REAL_IP:
	case HEADER_X_REQUEST_ID:
		return true;
	default:
		return header_is_hop(id);
	}
}

/* "Transfer_Encoding", "X_Forwarded_For" ... */
static bool
is_lookalike(const char *name, size_t length)
{
	char copy[64];

	if (length > sizeof(copy) || !memchr(name, '_', length))
		return false;
	for (size_t i = 0; i < length; i++)
		copy[i] = name[i] == '_' ? '-' : name[i];
	return header_lookup(copy, length) != HEADER_OTHER;
}

/* Whether a Connection field of this message names the field. */
static bool
is_named(const char *text, const struct http_field *fields, size_t count, const char *name,
	 size_t length)
{
	for (size_t i = 0; i < count; i++) {
		const char *item;
		size_t at = 0, n;

		if (fields[i].id != HEADER_CONNECTION)
			continue;
		while (header_list_next(text + fields[i].value, fields[i].value_length, &at, &item,
					&n)) {
			size_t k = 0;

			if (n != length)
				continue;
			while (k < n && (item[k] | 0x20) == (name[k] | 0x20))
				k++;
			if (k == n)
				return true;
		}
	}
	return false;
}

static struct http_span
mark(const struct http1_writer *w, size_t back, size_t length)
{
	return (struct http_span){(uint32_t)((size_t)(w->at - w->start) - back), (uint32_t)length};
}

/* HTTP/2 clients may split Cookie (RFC 9113 8.2.3); HTTP/1.1 has one. */
static void
put_cookies(struct http1_writer *w, const struct forward_request *r)
{
	bool first = true;

	for (size_t i = 0; i < r->count; i++) {
		const struct http_field *f = &r->fields[i];

		if (f->id != HEADER_COOKIE)
			continue;
		if (first)
			http1_write_raw(w, "cookie: ", 8);
		else
			http1_write_raw(w, "; ", 2);
		http1_write_raw(w, r->text + f->value, f->value_length);
		first = false;
	}
	if (!first)
		http1_write_raw(w, "\r\n", 2);
}

static void
put_fields(struct http1_writer *w, const struct forward_request *r, struct forward_spans *spans)
{
	for (size_t i = 0; i < r->count; i++) {
		const struct http_field *f = &r->fields[i];
		const char *name = r->text + f->name;

		if (is_ours((enum header_id)f->id) || f->id == HEADER_COOKIE ||
		    is_lookalike(name, f->name_length) ||
		    (r->connection_names &&
		     is_named(r->text, r->fields, r->count, name, f->name_length)))
			continue;
		http1_write_field(w, name, f->name_length, r->text + f->value, f->value_length);
		if (f->id == HEADER_USER_AGENT && http1_write_ok(w))
			spans->agent = mark(w, f->value_length + 2u, f->value_length);
	}
	put_cookies(w, r);
}

static void
put_target(struct http1_writer *w, const struct forward_request *r, const struct route *route,
	   struct forward_spans *spans)
{
	const char *path = r->path;
	size_t length = r->path_length;
	const char *at;

	http1_write_raw(w, " ", 1);
	at = w->at;
	if (r->asterisk) {
		path = "*";
		length = 1;
	} else if (route->row.flags & MSG_ROUTE_STRIP_PATH && route->path_length > 1) {
		path += route->path_length;
		length -= route->path_length;
		if (length == 0) {
			path = "/";
			length = 1;
		}
	}
	http1_write_raw(w, path, length);
	if (r->query) {
		http1_write_raw(w, "?", 1);
		http1_write_raw(w, r->query, r->query_length);
	}
	spans->path = (struct http_span){(uint32_t)(at - w->start), (uint32_t)(w->at - at)};
	http1_write_raw(w, " HTTP/1.1\r\n", 11);
}

static void
put_host(struct http1_writer *w, const struct forward_request *r, struct forward_spans *spans)
{
	/* A request of HTTP/1.0 may have none. */
	const char *host = r->authority.length ? r->text + r->authority.at : "localhost";
	size_t length = r->authority.length ? r->authority.length : 9;

	http1_write_field(w, "host", 4, host, length);
	if (http1_write_ok(w))
		spans->host = mark(w, length + 2, length);
	http1_write_field(w, "x-forwarded-host", 16, host, length);
}

static void
put_ours(struct http1_writer *w, const struct forward_request *r, const char *id,
	 struct forward_spans *spans)
{
	http1_write_header(w, "x-forwarded-for", r->client_text);
	http1_write_header(w, "x-forwarded-proto", r->tls ? "https" : "http");
	http1_write_header(w, "x-request-id", id);
	if (http1_write_ok(w))
		spans->id = mark(w, strlen(id) + 2, strlen(id));
	if (r->body == FORWARD_LENGTH)
		http1_write_header_u(w, "content-length", r->content_length);
	else if (r->body == FORWARD_CHUNKED)
		http1_write_raw(w, "transfer-encoding: chunked\r\n", 28);
}

static void
put_upgrade(struct http1_writer *w, const struct forward_request *r, const char *ws_key)
{
	http1_write_raw(w, "connection: Upgrade\r\nupgrade: websocket\r\n", 41);
	if (!r->h2)
		return;
	http1_write_header(w, "sec-websocket-key", ws_key);
	if (!http_field_find(r->fields, r->count, HEADER_SEC_WEBSOCKET_VERSION))
		http1_write_header(w, "sec-websocket-version", "13");
}

size_t
forward_put_request(const struct forward_request *r, const struct route *route, const char *id,
		    const char *ws_key, char *out, size_t cap, struct forward_spans *spans)
{
	struct http1_writer w;

	memset(spans, 0, sizeof(*spans));
	http1_write_init(&w, out, cap);
	if (r->websocket)
		http1_write_raw(&w, "GET", 3);
	else
		http1_write_raw(&w, r->text + r->method_name.at, r->method_name.length);
	put_target(&w, r, route, spans);
	put_host(&w, r, spans);
	put_fields(&w, r, spans);
	put_ours(&w, r, id, spans);
	if (r->websocket)
		put_upgrade(&w, r, ws_key);
	http1_write_end(&w);
	return http1_write_length(&w);
}

static struct http_span
put_word(char *out, size_t cap, size_t *at, const char *text, size_t length)
{
	struct http_span span = {(uint32_t)*at, 0};

	if (length > cap - *at)
		length = cap - *at;
	if (length > 0)
		memcpy(out + *at, text, length);
	span.length = (uint32_t)length;
	*at += length;
	return span;
}

size_t
forward_put_words(const struct forward_request *r, char *out, size_t cap,
		  struct forward_spans *spans)
{
	const struct http_field *agent = http_field_find(r->fields, r->count, HEADER_USER_AGENT);
	size_t at = 0;

	memset(spans, 0, sizeof(*spans));
	if (r->authority.length > 0)
		spans->host =
			put_word(out, cap, &at, r->text + r->authority.at, r->authority.length);
	spans->path = r->asterisk ? put_word(out, cap, &at, "*", 1)
				  : put_word(out, cap, &at, r->path, r->path_length);
	if (agent)
		spans->agent = put_word(out, cap, &at, r->text + agent->value, agent->value_length);
	return at;
}

static void
add(struct forward_answer *a, const char *name, size_t name_length, const char *value,
    size_t value_length)
{
	a->fields[a->count++] = (struct h2_header){name, name_length, value, value_length};
}

int
forward_answer_fields(const struct http1_head *head, const char *data, const char *id, bool hsts,
		      int64_t now_s, struct forward_answer *out)
{
	bool dated = false;

	out->count = 0;
	if (head->count > FORWARD_FIELDS_MAX - 4)
		return -1;
	for (uint32_t i = 0; i < head->count; i++) {
		const struct http_field *f = &head->fields[i];
		const char *name = data + f->name;

		if (header_is_hop((enum header_id)f->id) || f->id == HEADER_CONTENT_LENGTH ||
		    f->id == HEADER_X_REQUEST_ID ||
		    (head->connection_names &&
		     is_named(data, head->fields, head->count, name, f->name_length)))
			continue;
		dated = dated || f->id == HEADER_DATE;
		if (f->id == HEADER_STRICT_TRANSPORT_SECURITY)
			hsts = false;
		add(out, name, f->name_length, data + f->value, f->value_length);
	}
	if (!dated) {
		http_date(now_s, out->date);
		add(out, "date", 4, out->date, HTTP_DATE_BYTES - 1);
	}
	if (hsts)
		add(out, "strict-transport-security", 25, "max-age=31536000", 16);
	add(out, "x-request-id", 12, id, strlen(id));
	return 0;
}

void
forward_id(const struct world *world, char out[FORWARD_ID_BYTES])
{
	static const char digits[] = "0123456789abcdef";
	uint64_t ms = (uint64_t)(world->wall_ns / 1000000);
	uint8_t raw[16];
	size_t put = 0;

	world_random(world, raw, sizeof(raw));
	for (int i = 0; i < 6; i++)
		raw[i] = (uint8_t)(ms >> (40 - 8 * i));
	raw[6] = (uint8_t)((raw[6] & 0x0f) | 0x70);
	raw[8] = (uint8_t)((raw[8] & 0x3f) | 0x80);
	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			out[put++] = '-';
		out[put++] = digits[raw[i] >> 4];
		out[put++] = digits[raw[i] & 15];
	}
	out[put] = '\0';
}
