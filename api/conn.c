/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection's machine. Reading stops while the buffer is full or the handler says so; a peer
 * that leaves in the middle is noticed because reading goes on while a handler works. A request is
 * taken only when the answer to the one before it has been handed over. After an error whose
 * request was not read to its end the connection is closed, as RFC 9112 9.6 wants.
 */
#include "api/conn.h"

#include <string.h>
#include <unistd.h>
#include "api/call.h"
#include "api/leave.h"
#include "api/route.h"
#include "base/log.h"

static void process(struct conn *c);
static void start_reading(struct conn *c);

/* ---- deadlines ---- */

static void
on_timer(uv_timer_t *timer)
{
	conn_close(timer->data);
}

static void
arm(struct conn *c)
{
	uint64_t ms = 0;

	if (c->closing)
		return;
	if (c->writing || c->state == CONN_END)
		ms = CONN_STALL_MS;
	else if (c->state == CONN_BODY && !c->paused)
		ms = CONN_STALL_MS;
	else if (c->state == CONN_HEAD && (c->in_length > 0 || c->requests == 0))
		ms = CONN_HEAD_MS;
	else if (c->state == CONN_HEAD)
		ms = c->server->stopping ? c->server->linger_ms : CONN_IDLE_MS;
	if (ms)
		uv_timer_start(&c->timer, on_timer, ms, 0);
	else
		uv_timer_stop(&c->timer);
}

/* ---- the end ---- */

static void
on_closed(uv_handle_t *handle)
{
	struct conn *c = handle->data;

	if (--c->handles > 0)
		return;
	buf_fini(&c->out);
	buf_fini(&c->sending);
	mem_free(c);
}

void
conn_close(struct conn *c)
{
	if (c->closing)
		return;
	c->closing = true;
	list_remove(&c->link);
	c->server->conns_count--;
	c->user->conns--;
	if (c->call) {
		struct call *call = c->call;

		c->call = NULL;
		call_abandon(call);
	}
	uv_close((uv_handle_t *)&c->pipe, on_closed);
	uv_close((uv_handle_t *)&c->timer, on_closed);
	leave_look(c->server);
}

void
conn_stop(struct conn *c)
{
	if (c->state == CONN_RAW)
		return;
	if (c->call)
		call_stop(c->call);
	else
		arm(c);
}

void
conn_stop_raw(struct conn *c)
{
	if (c->state == CONN_RAW)
		call_stop(c->call);
}

void
conn_cut(struct conn *c)
{
	if (c->call)
		call_cut(c->call);
	if (!c->writing || c->state != CONN_END)
		conn_close(c);
}

/* ---- writing ---- */

static void send_more(struct conn *c);

static void
on_written(uv_write_t *write, int status)
{
	struct conn *c = write->data;

	c->writing = false;
	buf_reset(&c->sending);
	if (c->closing)
		return;
	if (status < 0) {
		conn_close(c);
		return;
	}
	send_more(c);
	if (c->closing)
		return;
	if (!c->writing && c->state == CONN_END) {
		conn_close(c);
		return;
	}
	arm(c);
	if (c->call && conn_pending(c) < CONN_HIGH)
		call_drained(c->call);
}

static void
send_more(struct conn *c)
{
	struct buf empty = c->sending;

	if (c->writing || c->closing || c->out.length == 0)
		return;
	c->sending = c->out;
	c->out = empty;
	uv_buf_t b = uv_buf_init((char *)c->sending.data, (unsigned)c->sending.length);
	c->write.data = c;
	if (uv_write(&c->write, (uv_stream_t *)&c->pipe, &b, 1, on_written) < 0) {
		conn_close(c);
		return;
	}
	c->writing = true;
	arm(c);
}

void
conn_write(struct conn *c, const void *data, size_t bytes)
{
	if (c->closing)
		return;
	buf_put(&c->out, data, bytes);
	if (!buf_ok(&c->out)) {
		conn_close(c);
		return;
	}
	send_more(c);
}

size_t
conn_pending(const struct conn *c)
{
	return c->out.length + c->sending.length;
}

/* ---- one request after the other ---- */

void
conn_finish(struct conn *c)
{
	c->call = NULL;
	if (c->closing)
		return;
	if (c->state != CONN_WAIT || c->close_after || c->eof ||
	    ++c->requests >= CONN_REQUESTS_MAX) {
		c->state = CONN_END;
		if (!c->writing)
			conn_close(c);
		else
			arm(c);
		return;
	}
	c->state = CONN_HEAD;
	c->paused = false;
	arm(c);
	process(c);
}

void
conn_upgrade(struct conn *c)
{
	c->state = CONN_RAW;
	c->close_after = true;
	arm(c);
	process(c);
}

void
conn_pause(struct conn *c, bool on)
{
	if (c->closing || c->paused == on)
		return;
	c->paused = on;
	arm(c);
	if (!on)
		process(c);
}

static void
consume(struct conn *c, size_t bytes)
{
	c->in_length -= bytes;
	memmove(c->in, c->in + bytes, c->in_length);
}

static void
bad_request(struct conn *c, enum http1_error error)
{
	struct err err = {0};
	struct call *call = call_new(c);

	c->close_after = true;
	c->state = CONN_END;
	if (!call) {
		conn_close(c);
		return;
	}
	err_set(&err, ERR_INVALID, "this is not a proper HTTP request: %s",
		http1_error_text(error));
	call_problem_status(call, &err, http1_error_status(error));
}

static void
take_head(struct conn *c)
{
	struct call *call = call_new(c);

	if (!call) {
		conn_close(c);
		return;
	}
	if (!c->head.keep_alive)
		c->close_after = true;
	http1_body_init(&c->body, c->head.framing, c->head.content_length, NULL);
	c->state = CONN_BODY;
	arm(c);
	call_begin(call, &c->head, (const char *)c->in);
	if (c->closing)
		return;
	consume(c, c->head.head_bytes);
	if (c->call && c->head.expect_continue && c->head.framing != HTTP1_NO_BODY)
		conn_write(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
}

/* True to go on. */
static bool
process_head(struct conn *c)
{
	if (c->in_length == 0)
		return false;
	http1_head_init(&c->head, HTTP1_REQUEST, NULL);
	switch (http1_head_parse(&c->head, (const char *)c->in, c->in_length)) {
	case HTTP1_MORE:
		return false;
	case HTTP1_BAD:
		bad_request(c, c->head.error);
		return false;
	case HTTP1_DONE:
		break;
	}
	take_head(c);
	return !c->closing;
}

static bool
process_body(struct conn *c)
{
	const char *span;
	size_t used, length;

	if (c->paused)
		return false;
	enum http1_body_result r =
		http1_body_feed(&c->body, (const char *)c->in, c->in_length, &used, &span, &length);
	bool more = true;
	switch (r) {
	case HTTP1_BODY_DATA:
		call_body(c->call, span, length);
		break;
	case HTTP1_BODY_END:
		c->state = CONN_WAIT;
		consume(c, used);
		arm(c);
		call_body_end(c->call);
		return !c->closing;
	case HTTP1_BODY_MORE:
		more = false;
		break;
	case HTTP1_BODY_BAD: {
		struct err err = {0};

		c->close_after = true;
		err_set(&err, ERR_INVALID, "the request's body is not proper HTTP: %s",
			http1_error_text(c->body.error));
		call_problem_status(c->call, &err, http1_error_status(c->body.error));
		return false;
	}
	}
	if (c->closing)
		return false;
	consume(c, used);
	return more;
}

static bool
process_raw(struct conn *c)
{
	if (c->paused || c->in_length == 0)
		return false;
	size_t used = call_raw(c->call, c->in, c->in_length);
	if (c->closing)
		return false;
	consume(c, used);
	return used > 0;
}

static void
process(struct conn *c)
{
	bool more = true;

	if (c->busy)
		return;
	c->busy = true;
	while (more && !c->closing) {
		switch (c->state) {
		case CONN_HEAD:
			more = process_head(c);
			break;
		case CONN_BODY:
			more = process_body(c);
			break;
		case CONN_RAW:
			more = process_raw(c);
			break;
		case CONN_WAIT:
		case CONN_END:
			more = false;
			break;
		}
	}
	c->busy = false;
	if (!c->closing)
		start_reading(c);
}

/* ---- reading ---- */

static void
on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *b)
{
	struct conn *c = handle->data;

	(void)suggested;
	*b = uv_buf_init((char *)c->in + c->in_length, (unsigned)(sizeof(c->in) - c->in_length));
}

static void
peer_left(struct conn *c)
{
	c->eof = true;
	c->reading = false;
	uv_read_stop((uv_stream_t *)&c->pipe);
	if (c->state == CONN_HEAD && c->writing) {
		c->state = CONN_END;
		return;
	}
	/* Half a request, nothing under way, or a stream that nobody reads any more. */
	if (c->state != CONN_WAIT || (c->call && call_is_stream(c->call)))
		conn_close(c);
}

static void
on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
	struct conn *c = stream->data;

	(void)b;
	if (n == 0)
		return;
	if (n < 0) {
		if (n == UV_ENOBUFS && c->in_length == sizeof(c->in)) {
			uv_read_stop(stream);
			c->reading = false;
			return;
		}
		if (n == UV_EOF && c->state == CONN_END && c->writing) {
			c->reading = false;
			uv_read_stop(stream);
			return;
		}
		peer_left(c);
		return;
	}
	if (c->state == CONN_END) { /* what comes after an error is thrown away */
		c->in_length = 0;
		return;
	}
	/* The deadline of a head runs from its first byte. */
	bool begun = c->state == CONN_HEAD && c->in_length > 0;
	c->in_length += (size_t)n;
	if (!begun)
		arm(c);
	process(c);
	if (!c->closing && c->in_length == sizeof(c->in)) {
		uv_read_stop(stream);
		c->reading = false;
	}
}

static void
start_reading(struct conn *c)
{
	if (c->reading || c->eof || c->in_length == sizeof(c->in))
		return;
	c->reading = uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read) == 0;
}

void
conn_new(struct server *s, int fd, struct server_user *user, uint32_t pid)
{
	uv_loop_t *loop = station_loop(s->station);
	struct conn *c = mem_zalloc(MEM_API, sizeof(*c));

	if (!c) {
		close(fd);
		return;
	}
	c->server = s;
	c->user = user;
	c->pid = pid;
	c->handles = 2;
	buf_init(&c->out, MEM_API, CONN_OUT_MAX);
	buf_init(&c->sending, MEM_API, CONN_OUT_MAX);
	uv_pipe_init(loop, &c->pipe, 0);
	uv_timer_init(loop, &c->timer);
	c->pipe.data = c;
	c->timer.data = c;
	list_push(&s->conns, &c->link);
	s->conns_count++;
	user->conns++;
	if (uv_pipe_open(&c->pipe, fd) < 0) {
		close(fd);
		conn_close(c);
		return;
	}
	arm(c);
	start_reading(c);
}
