/* SPDX-License-Identifier: Apache-2.0 */

/*
 * HTTP/2 sessions (RFC 9113, WebSocket by RFC 8441).
 *
 * Answer bytes of a request wait in a buffer of its own until the session pulls them into frames;
 * a large piece that just arrived is pulled straight from the read buffer, and only what the
 * windows do not allow is copied. Frames of all requests of a connection are written together at
 * the end of the loop turn. When the socket is behind, nothing is pulled; then the buffers fill and
 * the replicas are paused.
 */

#include "proxy/session_h2.h"

#include <string.h>
#include "base/mem.h"
#include "proxy/downstream.h"
#include "proxy/stream.h"
#include "proxy/worker.h"
#include "wire/h2.h"

enum {
	OUT_MAX = 4 << 20,
	DIRECT_BYTES = 4096,
	FINAL_GOAWAY_MS = 1000,
};

/* One request of the connection. */
struct exchange {
	struct downstream *c;
	struct h2_stream *h2;  /* NULL: closed */
	struct stream *stream; /* NULL: ended */
	struct buf out;
	size_t out_at; /* pulled of it */
	const char *direct;
	size_t direct_length;
	bool ended;   /* the answer is complete */
	bool in_call; /* begin() is on the stack: free later */
	bool tunnel;
};

struct session_h2 {
	struct h2 *h2;
	bool feeding; /* h2_feed or h2_pull is on the stack */
	bool over;    /* close when all is written */
	bool drained; /* the notice is out */
	bool final;
	bool busy;            /* had requests when the deadline was set */
	size_t live;          /* requests whose answer is not complete yet */
	uint64_t moved, mark; /* bytes of bodies, both ways; as of when the deadline was set */
};

/* ---- the stream's operations ---- */

static size_t
waiting(const struct exchange *x)
{
	return x->out.length - x->out_at + x->direct_length;
}

static void
forget(struct exchange *x)
{
	if (x->h2 || x->stream || x->in_call)
		return;
	buf_fini(&x->out);
	mem_free(x);
}

static void
offer(struct exchange *x)
{
	if (x->h2)
		h2_offer(x->h2, waiting(x), x->ended);
	downstream_mark_dirty(x->c);
}

static void
on_interim(void *session, unsigned status, const struct h2_header *fields, size_t count)
{
	struct exchange *x = session;

	if (x->h2 && h2_inform(x->h2, status, fields, count) == 0)
		downstream_mark_dirty(x->c);
}

static bool
keeps_field(const struct h2_header *f, bool tunnel)
{
	enum header_id id = header_lookup(f->name, f->name_length);

	/* RFC 8441 5: there is no key to answer. */
	return id != HEADER_UPGRADE && !(tunnel && id == HEADER_SEC_WEBSOCKET_ACCEPT);
}

/* At the end of `digits`. */
static size_t
put_number(uint64_t v, char digits[20])
{
	size_t n = 0;

	do {
		digits[20 - ++n] = (char)('0' + v % 10);
		v /= 10;
	} while (v > 0);
	return n;
}

static void
on_answer(void *session, const struct stream_answer *a)
{
	struct exchange *x = session;
	struct h2_header *fields = x->c->w->fields;
	char digits[20];
	size_t count = 0;

	if (!x->h2)
		return;
	for (size_t i = 0; i < a->count && count < FORWARD_FIELDS_MAX; i++) {
		if (keeps_field(&a->fields[i], a->tunnel))
			fields[count++] = a->fields[i];
	}
	if (a->has_length) {
		size_t n = put_number(a->length, digits);

		fields[count++] =
			(struct h2_header){"content-length", 14, digits + sizeof(digits) - n, n};
	}
	x->tunnel = a->tunnel;
	(void)h2_respond(x->h2, a->tunnel ? 200 : a->status, fields, count, a->has_body);
	downstream_mark_dirty(x->c);
}

static void
flush(struct downstream *c)
{
	struct session_h2 *h = c->session.h2;

	while (c->state == DOWNSTREAM_OPEN && downstream_pending(c) <= WORKER_HIGH_BYTES) {
		size_t n;

		h->feeding = true;
		n = h2_pull(h->h2, c->w->pull, sizeof(c->w->pull));
		h->feeding = false;
		if (n == 0)
			break;
		downstream_write(c, c->w->pull, n);
	}
}

static void
keep_direct(struct exchange *x)
{
	if (x->direct_length > 0)
		buf_put(&x->out, x->direct, x->direct_length);
	x->direct = NULL;
	x->direct_length = 0;
}

static struct stream *
leave_stream(struct exchange *x)
{
	struct stream *s = x->stream;

	if (s)
		x->c->session.h2->live--;
	x->stream = NULL;
	return s;
}

static void
fail(struct exchange *x)
{
	struct stream *s = leave_stream(x);

	if (s)
		stream_cancel(s);
	if (x->h2)
		h2_reset(x->h2, H2_INTERNAL_ERROR);
	downstream_mark_dirty(x->c);
}

static void
on_data(void *session, const char *data, size_t length)
{
	struct exchange *x = session;
	struct session_h2 *h = x->c->session.h2;

	if (length < DIRECT_BYTES || h->feeding || waiting(x) > 0) {
		buf_put(&x->out, data, length);
		offer(x);
	} else {
		x->direct = data;
		x->direct_length = length;
		offer(x);
		x->in_call = true;
		flush(x->c);
		x->in_call = false;
		keep_direct(x);
	}
	if (!buf_ok(&x->out))
		fail(x);
	forget(x);
}

static void
on_end(void *session, const struct h2_header *trailers, size_t count)
{
	struct exchange *x = session;

	(void)leave_stream(x);
	x->ended = true;
	if (x->h2 && count > 0)
		(void)h2_stream_trailers(x->h2, trailers, count);
	offer(x);
	forget(x);
}

static void
on_abort(void *session)
{
	struct exchange *x = session;

	(void)leave_stream(x);
	if (x->h2)
		h2_reset(x->h2, H2_INTERNAL_ERROR);
	downstream_mark_dirty(x->c);
	forget(x);
}

static size_t
on_pending(void *session)
{
	const struct exchange *x = session;

	return waiting(x);
}

static void
on_consumed(void *session, size_t bytes)
{
	struct exchange *x = session;

	if (!x->h2)
		return;
	h2_consume(x->h2, bytes);
	downstream_mark_dirty(x->c);
}

static const struct stream_ops ops = {on_interim, on_answer,  on_data,    on_end,
				      on_abort,   on_pending, on_consumed};

/* ---- the library's callbacks ---- */

static void
describe(struct downstream *c, const struct h2_request *q, struct forward_request *r)
{
	*r = (struct forward_request){
		.text = q->text,
		.fields = q->fields,
		.count = q->count,
		.method = q->method,
		.method_name = q->method_name,
		.authority = q->authority,
		.path = "/",
		.path_length = 1,
		.body = q->has_length ? FORWARD_LENGTH
			: q->end      ? FORWARD_NO_BODY
				      : FORWARD_CHUNKED,
		.content_length = q->content_length,
		.tls = c->secure,
		.websocket = q->method == HTTP_CONNECT && q->protocol.length == 9 &&
			     memcmp(q->text + q->protocol.at, "websocket", 9) == 0,
		.h2 = true,
		.client = c->peer,
		.client_text = c->peer_text,
		.protocol = 20,
	};
	if (r->websocket)
		r->body = FORWARD_NO_BODY;
}

static bool
take_path(const struct h2_request *q, struct forward_request *r, char *out, size_t cap)
{
	const char *path = q->text + q->path.at;
	const char *mark = memchr(path, '?', q->path.length);
	size_t length = mark ? (size_t)(mark - path) : q->path.length, normal;

	if (length == 0)
		return true; /* CONNECT */
	if (length == 1 && path[0] == '*') {
		r->asterisk = true;
		return r->method == HTTP_OPTIONS;
	}
	if (mark) {
		r->query = mark + 1;
		r->query_length = q->path.length - length - 1;
	}
	r->path = path;
	r->path_length = length;
	if (url_path_normalise(path, length, out, cap, &normal) != URL_PATH_OK)
		return false;
	r->path = out;
	r->path_length = normal;
	return true;
}

static void
begin(struct exchange *x, const struct h2_request *q)
{
	struct forward_request r;
	bool ok;

	describe(x->c, q, &r);
	ok = q->too_long || take_path(q, &r, x->c->w->path, sizeof(x->c->w->path));
	x->in_call = true;
	if (q->too_long)
		stream_refuse(x->stream, &r, &reply_header_too_large);
	else if (!ok)
		stream_refuse(x->stream, &r, &reply_bad_path);
	else
		stream_begin(x->stream, &r,
			     http_field_find(q->fields, q->count, HEADER_EXPECT) != NULL);
	x->in_call = false;
	forget(x);
}

static void
on_request(void *arg, struct h2_stream *s, const struct h2_request *q)
{
	struct downstream *c = arg;
	struct exchange *x = mem_zalloc(MEM_PROXY, sizeof(*x));

	if (x) {
		x->c = c;
		x->h2 = s;
		buf_init(&x->out, MEM_PROXY, OUT_MAX);
		x->stream = stream_new(c->w, &ops, x);
	}
	if (!x || !x->stream) {
		mem_free(x);
		h2_reset(s, H2_REFUSED_STREAM);
		return;
	}
	c->session.h2->live++;
	h2_stream_set_user(s, x);
	account_streams(&c->w->account, c->secure, 1);
	begin(x, q);
}

static void
on_body(void *arg, struct h2_stream *s, const uint8_t *data, size_t length)
{
	struct downstream *c = arg;
	struct exchange *x = h2_stream_user(s);

	c->session.h2->moved += length;
	if (x && x->stream) {
		stream_body(x->stream, (const char *)data, length);
		return;
	}
	h2_consume(s, length);
	/* The answer is complete; the rest of the request is not wanted (RFC 9113 8.1). */
	if (x && h2_stream_answered(s))
		h2_reset(s, H2_NO_ERROR);
}

static void
on_trailers(void *arg, struct h2_stream *s, const char *text, const struct http_field *fields,
	    size_t count)
{
	struct exchange *x = h2_stream_user(s);
	struct buf lines;

	(void)arg;
	if (!x || !x->stream)
		return;
	buf_init(&lines, MEM_PROXY, H2_BLOCK_BYTES_MAX);
	for (size_t i = 0; i < count; i++) {
		if (http1_body_trailer_forbidden((enum header_id)fields[i].id))
			continue;
		buf_put(&lines, text + fields[i].name, fields[i].name_length);
		buf_puts(&lines, ": ");
		buf_put(&lines, text + fields[i].value, fields[i].value_length);
		buf_puts(&lines, "\r\n");
	}
	if (buf_ok(&lines))
		stream_body_end(x->stream, (const char *)lines.data, lines.length);
	else
		fail(x);
	buf_fini(&lines);
}

static void
on_request_end(void *arg, struct h2_stream *s)
{
	struct exchange *x = h2_stream_user(s);

	(void)arg;
	if (x && x->stream)
		stream_body_end(x->stream, NULL, 0);
}

static void
on_pull(void *arg, struct h2_stream *s, uint8_t *out, size_t length)
{
	struct exchange *x = h2_stream_user(s);
	struct downstream *c = arg;
	size_t queued = x->out.length - x->out_at, n = length < queued ? length : queued;

	c->session.h2->moved += length;
	if (n > 0)
		memcpy(out, x->out.data + x->out_at, n);
	x->out_at += n;
	if (x->out_at == x->out.length) {
		buf_reset(&x->out);
		x->out_at = 0;
	}
	if (length > n) {
		memcpy(out + n, x->direct, length - n);
		x->direct += length - n;
		x->direct_length -= length - n;
	}
	if (x->stream)
		stream_writable(x->stream);
}

static void
on_closed(void *arg, struct h2_stream *s, uint32_t code, bool by_peer)
{
	struct downstream *c = arg;
	struct exchange *x = h2_stream_user(s);
	struct stream *stream;

	if (!x)
		return;
	account_streams(&c->w->account, c->secure, -1);
	if (code != H2_NO_ERROR)
		account_reset(&c->w->account, by_peer, code);
	x->h2 = NULL;
	stream = leave_stream(x);
	if (stream)
		stream_cancel(stream);
	forget(x);
}

static const struct h2_handler handler = {on_request,     on_body, on_trailers,
					  on_request_end, on_pull, on_closed};

/* ---- the connection ---- */

/* All is answered, and the client neither takes the rest nor ends its requests. */
static bool
is_stalled(const struct session_h2 *h)
{
	return h->busy && h->live == 0 && h->moved == h->mark;
}

static void
set_deadline(struct downstream *c)
{
	struct session_h2 *h = c->session.h2;
	bool stalled = is_stalled(h);

	h->busy = h2_streams(h->h2) > 0;
	h->mark = h->moved;
	if (h->drained)
		downstream_deadline(c, FINAL_GOAWAY_MS);
	else if (!h->busy)
		downstream_deadline(c, WORKER_H2_IDLE_MS);
	else if (!stalled) /* else pings would put it off for ever */
		downstream_deadline(c, WORKER_STALL_MS);
}

void
session_h2_flush(struct downstream *c)
{
	struct session_h2 *h = c->session.h2;

	if (c->state != DOWNSTREAM_OPEN)
		return;
	flush(c);
	if (c->state != DOWNSTREAM_OPEN)
		return;
	if ((h->over && !h2_wants_write(h->h2)) || h2_done(h->h2))
		downstream_finish(c);
}

static void
input(struct downstream *c, const uint8_t *data, size_t length)
{
	struct session_h2 *h = c->session.h2;
	bool ok;

	h->feeding = true;
	ok = h2_feed(h->h2, data, length, worker_now_ms(c->w));
	h->feeding = false;
	h->over = h->over || !ok;
	if (!ok && h2_error(h->h2) != H2_NO_ERROR)
		account_rejected(&c->w->account, NULL,
				 h2_error(h->h2) == H2_ENHANCE_YOUR_CALM ? "h2_flood"
									 : "h2_protocol");
	downstream_mark_dirty(c);
	set_deadline(c);
}

static void
eof(struct downstream *c)
{
	downstream_close(c);
}

static void
writable(struct downstream *c)
{
	downstream_mark_dirty(c);
}

static void
timeout(struct downstream *c)
{
	struct session_h2 *h = c->session.h2;

	if (h->drained && !h->final) {
		h->final = true;
		h2_drain_final(h->h2);
		downstream_deadline(c, FINAL_GOAWAY_MS);
	} else if (h2_streams(h->h2) > 0 && !is_stalled(h)) {
		h->busy = true;
		h->mark = h->moved;
		downstream_deadline(c, WORKER_STALL_MS);
	} else if (h2_streams(h->h2) == 0 && h->busy && !h->drained) {
		h->busy = false; /* idle from now on */
		downstream_deadline(c, WORKER_H2_IDLE_MS);
	} else {
		h2_terminate(h->h2, H2_NO_ERROR);
		h->over = true;
	}
	downstream_mark_dirty(c);
}

/* A notice first: requests may be under way to us. The final word comes a while later. */
static void
drain(struct downstream *c)
{
	struct session_h2 *h = c->session.h2;

	if (h->drained)
		return;
	h->drained = true;
	h2_drain_notice(h->h2);
	set_deadline(c);
	downstream_mark_dirty(c);
}

static void
closed(struct downstream *c)
{
	struct session_h2 *h = c->session.h2;

	/* Not while the library is on the stack: then free_session does it. */
	if (!h->feeding) {
		h2_free(h->h2);
		h->h2 = NULL;
	}
}

static void
free_session(struct downstream *c)
{
	struct session_h2 *h = c->session.h2;

	h2_free(h->h2);
	mem_free(h);
}

bool
session_h2_open(struct downstream *c)
{
	static const struct session_ops session = {input, eof,    writable,    timeout,
						   drain, closed, free_session};
	struct session_h2 *h = mem_zalloc(MEM_PROXY, sizeof(*h));

	if (!h)
		return false;
	h->h2 = h2_new(c->w->h2, &handler, c, NULL, worker_now_ms(c->w));
	if (!h->h2) {
		mem_free(h);
		return false;
	}
	c->session.h2 = h;
	c->ops = &session;
	if (c->w->draining)
		drain(c);
	set_deadline(c);
	downstream_mark_dirty(c);
	return true;
}
