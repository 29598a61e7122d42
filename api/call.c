/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests as handlers see them, answers, and questions to other roles. Errors leave as RFC 9457
 * problems made of struct err: type, title, status, detail, and code, where, why, fix.
 */
#include "api/call.h"

#include <string.h>
#include "api/hold.h"
#include "api/route.h"
#include "base/text.h"
#include "spec/problem.h"
#include "wire/http1_write.h"
#include "wire/url.h"
#include "wire/ws.h"

struct ask {
	struct call *call;
	call_answer_fn done;
};

/* ---- life ---- */

struct call *
call_new(struct conn *c)
{
	struct call *call = mem_zalloc(MEM_API, sizeof(*call));

	if (!call)
		return NULL;
	call->server = c->server;
	call->conn = c;
	c->call = call;
	buf_init(&call->body, MEM_API, CALL_BODY_MAX);
	return call;
}

void
call_ref(struct call *call)
{
	call->asks++;
}

static void
free_when_done(struct call *call)
{
	if (call->conn || call->asks > 0)
		return;
	buf_fini(&call->body);
	mem_free(call);
}

void
call_unref(struct call *call)
{
	call->asks--;
	free_when_done(call);
}

static void
drop_stream(struct call *call)
{
	void (*drop)(struct call *) = call->stream_free;

	call->stream_free = NULL;
	call->on_drained = NULL;
	if (drop)
		drop(call);
}

void
call_abandon(struct call *call)
{
	call_ref(call);
	call->conn = NULL;
	hold_drop(call);
	drop_stream(call);
	call_unref(call);
}

/* The answer is out: the connection goes on. */
static void
complete(struct call *call)
{
	struct conn *c = call->conn;

	call_ref(call);
	drop_stream(call);
	call->conn = NULL;
	call->open = false;
	if (c)
		conn_finish(c);
	call_unref(call);
}

bool
call_is_stream(const struct call *call)
{
	return call->open;
}

void
call_drained(struct call *call)
{
	call_ref(call);
	if (call->on_drained)
		call->on_drained(call);
	call_unref(call);
}

static void
say_leaving(struct call *call, bool asked)
{
	struct err err = {0};

	if (!asked) {
		err_set(&err, ERR_UNREACHABLE, "this process is about to leave");
		err_fix(&err, "try again in a moment");
	} else {
		call->refused_inside = true;
		err_set(&err, ERR_UNREACHABLE, "this process left before the answer was there");
		err_why(&err, "what was asked for may have been done");
		err_fix(&err, "look, and ask again if it was not");
	}
	call_problem(call, &err);
}

void
call_stop(struct call *call)
{
	if (call->raw && call->on_stop)
		call->on_stop(call);
	else if (call->endless && call->open)
		call_end(call);
	else if (call->endless && !call->answered)
		say_leaving(call, false);
}

void
call_cut(struct call *call)
{
	hold_drop(call);
	if (call->raw)
		call_stop(call);
	else if (!call->answered)
		say_leaving(call, call->asks > 0);
}

void
call_handle(struct call *call)
{
	call_ref(call);
	call->route->handle(call);
	if (call->server->stopping && call->conn)
		call_stop(call);
	call_unref(call);
}

/* ---- the request ---- */

static void
copy_header(const struct http1_head *head, const char *data, enum header_id id, char *out,
	    size_t cap)
{
	size_t length;
	const char *value = http1_head_value(head, data, id, &length);

	out[0] = 0;
	if (value && length < cap)
		text_ncopy(out, cap, value, length);
}

static void
refuse(struct call *call, unsigned status, enum err_kind kind, const char *what)
{
	err_set(&call->refused, kind, "%s", what);
	call->refused_status = status;
}

static void
find_route(struct call *call, const struct http1_head *head, const char *data)
{
	const char *path = data + head->url.path.at;
	enum http_method method = head->method == HTTP_HEAD ? HTTP_GET : head->method;

	call->head_only = head->method == HTTP_HEAD;
	call->route = route_find(method, path, head->url.path.length, call->param, call->allow,
				 sizeof(call->allow));
	if (!call->route && call->allow[0])
		refuse(call, 405, ERR_UNSUPPORTED, "this path does not take that method");
	else if (!call->route)
		refuse(call, 404, ERR_NOT_FOUND, "there is no such path");
}

void
call_begin(struct call *call, const struct http1_head *head, const char *data)
{
	struct conn *c = call->conn;

	call->old = head->minor == 0;
	copy_header(head, data, HEADER_IF_MATCH, call->if_match, sizeof(call->if_match));
	copy_header(head, data, HEADER_LAST_EVENT_ID, call->last_event_id,
		    sizeof(call->last_event_id));
	copy_header(head, data, HEADER_SEC_WEBSOCKET_KEY, call->websocket_key,
		    sizeof(call->websocket_key));
	call->is_websocket = head->upgrade_websocket;
	find_route(call, head, data);
	if (head->url.query.length >= sizeof(call->query)) {
		refuse(call, 414, ERR_LIMIT, "the query is too long");
	} else {
		memcpy(call->query, data + head->url.query.at, head->url.query.length);
		call->query_length = head->url.query.length;
	}
	if (!server_allow(call->server, c->user)) {
		refuse(call, 429, ERR_LIMIT, "too many requests");
		err_why(&call->refused, "a user may make %d a second, and %d at once", SERVER_RATE,
			SERVER_BURST);
		err_fix(&call->refused, "ask again in a second; GET /v1/events/stream tells of "
					"changes as they come");
	} else if (mem_used(MEM_API) > SERVER_MEMORY_MAX)
		refuse(call, 503, ERR_LIMIT, "this process is at its limit of memory");
	if (head->framing == HTTP1_NO_BODY)
		return;
	if (!call->refused.kind && call->route->body == ROUTE_NO_BODY)
		refuse(call, 400, ERR_INVALID, "this request takes no body");
	if (!call->refused.kind && call->route->body == ROUTE_BODY && head->has_length &&
	    head->content_length > CALL_BODY_MAX)
		refuse(call, 413, ERR_LIMIT, "the body is too large: at most 1 MiB");
	if (call->refused.kind)
		call_problem_status(call, &call->refused, call->refused_status);
	else if (call->route->body == ROUTE_STREAM && hold_may_go(call))
		call_handle(call);
}

void
call_body(struct call *call, const char *data, size_t bytes)
{
	struct err err = {0};

	if (call->on_body) {
		call->on_body(call, data, bytes);
		return;
	}
	buf_put(&call->body, data, bytes);
	if (buf_ok(&call->body))
		return;
	err_set(&err, ERR_LIMIT, "the body is too large: at most 1 MiB");
	call_problem_status(call, &err, 413);
}

void
call_body_end(struct call *call)
{
	call_ref(call);
	if (call->refused.kind)
		call_problem_status(call, &call->refused, call->refused_status);
	else if (call->on_body_end)
		call->on_body_end(call);
	else if (hold_may_go(call))
		call_handle(call);
	call_unref(call);
}

size_t
call_raw(struct call *call, uint8_t *data, size_t bytes)
{
	return call->on_raw ? call->on_raw(call, data, bytes) : bytes;
}

static void
bad_query(struct call *call, const char *name, const char *wants)
{
	struct err err = {0};

	err_set(&err, ERR_INVALID, "the query's \"%s\" is wrong", name);
	err_fix(&err, "%s", wants);
	call_problem(call, &err);
}

bool
call_query(struct call *call, const char *name, char *out, size_t cap)
{
	long n = url_query_get(call->query, call->query_length, name, out, cap);

	if (n >= 0)
		return true;
	out[0] = 0;
	if (n == -1)
		return false;
	bad_query(call, name, "a text of the usual length, percent-encoded");
	return true;
}

bool
call_query_bool(struct call *call, const char *name, bool *out)
{
	char text[16];

	if (!call_query(call, name, text, sizeof(text)))
		return true;
	if (call->answered)
		return false;
	*out = strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
	if (*out || strcmp(text, "false") == 0 || strcmp(text, "0") == 0)
		return true;
	bad_query(call, name, "true or false");
	return false;
}

bool
call_query_u64(struct call *call, const char *name, uint64_t max, uint64_t *out)
{
	char text[32];

	if (!call_query(call, name, text, sizeof(text)))
		return true;
	if (call->answered)
		return false;
	if (text_u64(text, max, out))
		return true;
	bad_query(call, name, "a whole number");
	return false;
}

bool
call_query_time(struct call *call, const char *name, int64_t *out)
{
	char text[48];

	if (!call_query(call, name, text, sizeof(text)))
		return true;
	if (call->answered)
		return false;
	if (text_untime(text, out))
		return true;
	bad_query(call, name, "a time as in RFC 3339: 2026-11-22T02:00:00Z");
	return false;
}

/* ---- the answer ---- */

enum { HEAD_BYTES = 2048 };

static void
put_common(struct http1_writer *w, const struct call *call)
{
	http1_write_header(w, "cache-control", "no-store");
	if (call->conn && call->server->stopping)
		call->conn->close_after = true; /* it is told, so it may be done */
	if (call->conn && call->conn->close_after)
		http1_write_raw(w, "connection: close\r\n", 19);
	else if (call->old)
		http1_write_raw(w, "connection: keep-alive\r\n", 24);
}

void
call_reply(struct call *call, unsigned status, const char *type, const char *extra,
	   const void *data, size_t bytes)
{
	char memory[HEAD_BYTES];
	struct http1_writer w;

	if (!call->conn || call->answered)
		return;
	call->answered = true;
	http1_write_init(&w, memory, sizeof(memory));
	http1_write_status(&w, status);
	if (type)
		http1_write_header(&w, "content-type", type);
	http1_write_header_u(&w, "content-length", bytes);
	put_common(&w, call);
	if (extra)
		http1_write_raw(&w, extra, strlen(extra));
	http1_write_end(&w);
	call_ref(call);
	conn_write(call->conn, memory, http1_write_length(&w));
	if (call->conn && bytes > 0 && !call->head_only)
		conn_write(call->conn, data, bytes);
	complete(call);
	call_unref(call);
}

void
call_json(struct call *call, unsigned status, const char *extra, struct buf *b)
{
	struct err err = {0};

	if (buf_ok(b)) {
		buf_putc(b, '\n');
		call_reply(call, status, "application/json", extra, b->data, b->length);
	} else {
		err_set(&err, ERR_LIMIT, "the answer is too large");
		call_problem_status(call, &err, 503);
	}
	buf_fini(b);
}

static void
problem(struct call *call, const struct err *err, unsigned status, const struct buf *diagnostics)
{
	char extra[128] = "";
	struct buf b;
	struct json j;

	buf_init(&b, MEM_API, CALL_BODY_MAX);
	json_init(&j, &b);
	problem_put(&j, err, status);
	if (diagnostics)
		json_raw(&j, "diagnostics", (const char *)diagnostics->data, diagnostics->length);
	json_end(&j);
	if (status == 405)
		text_format(extra, sizeof(extra), "allow: %s\r\n", call->allow);
	else if ((status == 429 || status == 503) && !call->refused_inside)
		text_copy(extra, sizeof(extra), "retry-after: 1\r\n");
	call_reply(call, status, "application/problem+json", extra, b.data, b.length);
	buf_fini(&b);
}

void
call_problem_status(struct call *call, const struct err *err, unsigned status)
{
	problem(call, err, status, NULL);
}

void
call_problem(struct call *call, const struct err *err)
{
	problem(call, err, (unsigned)err_kind_http(err->kind), NULL);
}

void
call_damaged(struct call *call, const char *whose)
{
	struct err err = {0};

	err_set(&err, ERR_CORRUPT, "the %s's answer does not hold", whose);
	call_problem(call, &err);
}

bool
call_answer_begin(struct call *call, const char *whose, bool holds, size_t max, struct buf *b,
		  struct json *j)
{
	if (!holds) {
		call_damaged(call, whose);
		return false;
	}
	buf_init(b, MEM_API, max);
	json_init(j, b);
	json_object(j, NULL);
	return true;
}

void
call_problem_diags(struct call *call, const struct err *err, const struct buf *diagnostics)
{
	problem(call, err, (unsigned)err_kind_http(err->kind), diagnostics);
}

/* ---- streams ---- */

void
call_stream(struct call *call, const char *type)
{
	char memory[HEAD_BYTES];
	struct http1_writer w;

	if (!call->conn || call->answered)
		return;
	call->answered = true;
	call->open = true;
	if (call->old)
		call->conn->close_after = true;
	http1_write_init(&w, memory, sizeof(memory));
	http1_write_status(&w, 200);
	http1_write_header(&w, "content-type", type);
	if (!call->old)
		http1_write_header(&w, "transfer-encoding", "chunked");
	put_common(&w, call);
	http1_write_end(&w);
	conn_write(call->conn, memory, http1_write_length(&w));
}

bool
call_room(const struct call *call)
{
	return call->conn && conn_pending(call->conn) < CONN_HIGH;
}

void
call_write(struct call *call, const void *data, size_t bytes)
{
	char head[HTTP1_CHUNK_HEAD_MAX];

	if (!call->conn || bytes == 0 || call->head_only)
		return;
	if (call->raw || call->old) {
		conn_write(call->conn, data, bytes);
		return;
	}
	struct conn *c = call->conn;
	buf_put(&c->out, head, http1_write_chunk_head(bytes, head));
	buf_put(&c->out, data, bytes);
	conn_write(c, "\r\n", 2);
}

void
call_end(struct call *call)
{
	if (!call->open)
		return;
	call_ref(call);
	if (call->conn && !call->raw && !call->old && !call->head_only)
		conn_write(call->conn, "0\r\n\r\n", 5);
	complete(call);
	call_unref(call);
}

void
call_upgrade(struct call *call)
{
	char memory[HEAD_BYTES], accept[WS_ACCEPT_BYTES];
	struct http1_writer w;

	if (!call->conn || call->answered ||
	    !ws_accept(call->websocket_key, strlen(call->websocket_key), accept))
		return;
	call->answered = true;
	call->open = true;
	call->raw = true;
	http1_write_init(&w, memory, sizeof(memory));
	http1_write_status(&w, 101);
	http1_write_raw(&w, "connection: Upgrade\r\nupgrade: websocket\r\n", 41);
	http1_write_header(&w, "sec-websocket-accept", accept);
	http1_write_end(&w);
	conn_write(call->conn, memory, http1_write_length(&w));
	if (call->conn)
		conn_upgrade(call->conn);
}

void
call_pause(struct call *call, bool on)
{
	if (call->conn)
		conn_pause(call->conn, on);
}

/* ---- questions ---- */

static void
answered(void *arg, int status, const struct err *err, const void *body, size_t bytes, int *fds,
	 size_t count)
{
	struct ask *ask = arg;
	struct call *call = ask->call;

	call->refused_inside = status != 0;
	if (call->conn && status == ERR_CONFLICT && call->if_match[0])
		call_problem_status(call, err, 412);
	else if (call->conn && status != 0)
		call_problem(call, err);
	else if (call->conn)
		ask->done(call, body, bytes, fds, count);
	mem_free(ask);
	call_unref(call);
}

void
call_ask(struct call *call, uint16_t role, uint16_t op, const void *body, size_t bytes,
	 const int *fds, size_t count, uint64_t timeout_ms, call_answer_fn done)
{
	struct err err = {0};
	struct ask *ask = mem_alloc(MEM_API, sizeof(*ask));

	if (!ask) {
		err_set(&err, ERR_NO_MEMORY, "out of memory");
		call_problem(call, &err);
		return;
	}
	*ask = (struct ask){.call = call, .done = done};
	if (station_ask(call->server->station, role, 0, op, body, bytes, fds, count, timeout_ms,
			answered, ask, &err) < 0) {
		mem_free(ask);
		call_problem_status(call, &err, 503);
		return;
	}
	call_ref(call);
}
