/* SPDX-License-Identifier: Apache-2.0 */

/*
 * HTTP/1.1 sessions (RFC 9112).
 *
 * A request's head is parsed where it was read; only when it is incomplete it is copied and parsed
 * on. While a request is under way its body goes to the stream, and what follows it is kept until
 * the answer is complete; more than 64 KiB of that stops reading. Answers are written with a length
 * or in chunks; to HTTP/1.0 until the close.
 *
 * A request that is malformed is answered and the connection ends: nobody knows where the next
 * message would begin. So does one whose answer came before its body was read.
 */

#include "proxy/session_h1.h"

#include <string.h>
#include "base/mem.h"
#include "proxy/downstream.h"
#include "proxy/stream.h"
#include "proxy/worker.h"
#include "wire/http1_body.h"
#include "wire/http1_write.h"

enum { KEPT_MAX = 4 << 20 };

struct session_h1 {
	struct stream *stream;   /* NULL: between two requests */
	struct http1_head *head; /* of a head that came in pieces */
	struct buf kept;         /* input not used yet */
	struct buf trailers;
	struct http1_body body;
	size_t unconsumed; /* body bytes that the stream holds */
	bool running;      /* process() is on the stack */
	bool request_done;
	bool answer_done;
	bool answer_begun;
	bool chunked; /* the answer */
	bool keep;    /* the connection after this request */
	bool http10;
	bool tunnel;
	bool eof;
	bool draining;
};

static void process_kept(struct downstream *c);

/* ---- between two requests ---- */

static void
wait_for_request(struct downstream *c)
{
	struct session_h1 *h = c->session.h1;

	if (h->kept.length > 0)
		downstream_deadline(c, WORKER_HEADER_MS);
	else
		downstream_deadline(c, h->draining ? WORKER_LINGER_MS : WORKER_KEEP_ALIVE_MS);
}

static void
next_request(struct downstream *c)
{
	struct session_h1 *h = c->session.h1;

	h->stream = NULL;
	h->request_done = h->answer_done = h->answer_begun = h->tunnel = false;
	h->unconsumed = 0;
	if (h->eof && h->kept.length == 0) {
		downstream_finish(c);
		return;
	}
	downstream_resume(c);
	if (!downstream_open(c))
		return;
	wait_for_request(c);
	if (h->kept.length > 0)
		process_kept(c);
}

/* The answer is written; what becomes of the connection? */
static void
answered(struct downstream *c)
{
	struct session_h1 *h = c->session.h1;

	h->stream = NULL;
	h->answer_done = true;
	if (!h->keep || !h->request_done || h->tunnel)
		downstream_finish(c);
	else
		next_request(c);
}

/* ---- the stream's operations ---- */

static void
put_fields(struct http1_writer *w, const struct h2_header *fields, size_t count)
{
	for (size_t i = 0; i < count; i++)
		http1_write_field(w, fields[i].name, fields[i].name_length, fields[i].value,
				  fields[i].value_length);
}

static void
on_interim(void *session, unsigned status, const struct h2_header *fields, size_t count)
{
	struct downstream *c = session;
	struct http1_writer w;

	if (c->session.h1->http10)
		return;
	http1_write_init(&w, c->w->scratch, sizeof(c->w->scratch));
	http1_write_status(&w, status);
	put_fields(&w, fields, count);
	http1_write_end(&w);
	downstream_write(c, c->w->scratch, http1_write_length(&w));
}

static void
put_framing(struct downstream *c, struct http1_writer *w, const struct stream_answer *a)
{
	struct session_h1 *h = c->session.h1;

	h->chunked = a->has_body && !a->has_length && !h->http10 && !a->tunnel;
	if (a->tunnel) {
		http1_write_raw(w, "connection: Upgrade\r\nupgrade: websocket\r\n", 41);
		return;
	}
	if (a->has_length)
		http1_write_header_u(w, "content-length", a->length);
	else if (h->chunked)
		http1_write_raw(w, "transfer-encoding: chunked\r\n", 28);
	else if (a->has_body)
		h->keep = false;
	/* An answer before the end of the request: the rest is not worth waiting for. */
	if (h->draining || !h->request_done)
		h->keep = false;
	if (!h->keep)
		http1_write_raw(w, "connection: close\r\n", 19);
	else if (h->http10)
		http1_write_raw(w, "connection: keep-alive\r\n", 24);
}

static void
on_answer(void *session, const struct stream_answer *a)
{
	struct downstream *c = session;
	struct session_h1 *h = c->session.h1;
	struct http1_writer w;

	h->answer_begun = true;
	/* An upgrade that was not accepted leaves an ordinary request without a body. */
	if (!a->tunnel && h->body.framing == HTTP1_TUNNEL)
		h->request_done = true;
	http1_write_init(&w, c->w->scratch, sizeof(c->w->scratch));
	http1_write_status(&w, a->status);
	put_fields(&w, a->fields, a->count);
	put_framing(c, &w, a);
	http1_write_end(&w);
	if (!http1_write_ok(&w)) {
		downstream_close(c); /* a name or value that could not be written safely */
		return;
	}
	h->tunnel = a->tunnel;
	downstream_write(c, c->w->scratch, http1_write_length(&w));
	if (a->tunnel)
		process_kept(c);
}

static void
on_data(void *session, const char *data, size_t length)
{
	struct downstream *c = session;
	char head[HTTP1_CHUNK_HEAD_MAX];

	if (!c->session.h1->chunked) {
		downstream_write(c, data, length);
		return;
	}
	downstream_write(c, head, http1_write_chunk_head(length, head));
	downstream_write(c, data, length);
	downstream_write(c, "\r\n", 2);
}

static void
on_end(void *session, const struct h2_header *trailers, size_t count)
{
	struct downstream *c = session;
	struct http1_writer w;

	if (c->session.h1->chunked) {
		http1_write_init(&w, c->w->scratch, sizeof(c->w->scratch));
		http1_write_raw(&w, "0\r\n", 3);
		put_fields(&w, trailers, count);
		http1_write_end(&w);
		downstream_write(c, c->w->scratch, http1_write_length(&w));
	}
	if (downstream_open(c))
		answered(c);
}

static void
on_abort(void *session)
{
	struct downstream *c = session;

	/* A cut answer must look cut: no last chunk, no close_notify. */
	c->session.h1->stream = NULL;
	downstream_flush_stage(c->w);
	downstream_close(c);
}

static size_t
on_pending(void *session)
{
	return downstream_pending(session);
}

static void
on_consumed(void *session, size_t bytes)
{
	struct downstream *c = session;
	struct session_h1 *h = c->session.h1;

	h->unconsumed -= bytes;
	if (!h->eof && h->unconsumed <= WORKER_LOW_BYTES && h->kept.length <= WORKER_HIGH_BYTES &&
	    downstream_open(c))
		downstream_resume(c);
}

static const struct stream_ops ops = {on_interim, on_answer,  on_data,    on_end,
				      on_abort,   on_pending, on_consumed};

/* ---- requests ---- */

static void
describe(struct downstream *c, const struct http1_head *head, const char *data,
	 struct forward_request *r)
{
	*r = (struct forward_request){
		.text = data,
		.fields = head->fields,
		.count = head->count,
		.method = head->method,
		.method_name = head->method_name,
		.authority = head->authority,
		.path = "/",
		.path_length = 1,
		.body = head->framing == HTTP1_CHUNKED ? FORWARD_CHUNKED
			: head->has_length             ? FORWARD_LENGTH
						       : FORWARD_NO_BODY,
		.content_length = head->content_length,
		.tls = c->secure,
		.websocket = head->upgrade_websocket && head->method == HTTP_GET &&
			     head->framing == HTTP1_NO_BODY,
		.connection_names = head->connection_names,
		.asterisk = head->url.form == URL_ASTERISK,
		.client = c->peer,
		.client_text = c->peer_text,
		.protocol = head->minor == 1 ? 11 : 10,
	};
	if (head->url.has_query) {
		r->query = data + head->url.query.at;
		r->query_length = head->url.query.length;
	}
}

/* The path, normalised into out; false: refused, and it is as it came. */
static bool
take_path(const struct http1_head *head, const char *data, struct forward_request *r, char *out,
	  size_t cap)
{
	const struct http_span *path = &head->url.path;
	size_t length;

	if (path->length == 0)
		return true; /* "*", an authority, or "http://host" */
	r->path = data + path->at;
	r->path_length = path->length;
	if (url_path_normalise(data + path->at, path->length, out, cap, &length) != URL_PATH_OK)
		return false;
	r->path = out;
	r->path_length = length;
	return true;
}

static void
begin_request(struct downstream *c, const struct http1_head *head, const char *data)
{
	struct session_h1 *h = c->session.h1;
	struct forward_request r;
	bool path_ok;

	describe(c, head, data, &r);
	path_ok = take_path(head, data, &r, c->w->path, sizeof(c->w->path));
	h->keep = head->keep_alive;
	h->http10 = head->minor == 0;
	h->request_done = head->framing == HTTP1_NO_BODY && !r.websocket;
	h->answer_done = h->answer_begun = h->chunked = h->tunnel = false;
	buf_reset(&h->trailers);
	http1_body_init(&h->body, r.websocket ? HTTP1_TUNNEL : head->framing, head->content_length,
			&h->trailers);
	h->stream = stream_new(c->w, &ops, c);
	if (!h->stream) {
		downstream_close(c);
		return;
	}
	downstream_deadline(c, WORKER_STALL_MS);
	if (path_ok)
		stream_begin(h->stream, &r, head->expect_continue);
	else
		stream_refuse(h->stream, &r, &reply_bad_path);
}

/* Answered here, because there is no request to route. */
static void
refuse(struct downstream *c, const struct reply *why)
{
	struct session_h1 *h = c->session.h1;
	struct forward_request r = {
		.text = "", .path = "", .tls = c->secure, .client = c->peer, .protocol = 11};

	h->keep = false;
	h->http10 = false;
	h->answer_begun = false;
	h->stream = stream_new(c->w, &ops, c);
	if (h->stream)
		stream_refuse(h->stream, &r, why);
	else
		downstream_close(c);
}

static void
refuse_head(struct downstream *c, enum http1_error error)
{
	const struct reply why = {http1_error_status(error), http1_error_text(error), "malformed",
				  0};

	refuse(c, &why);
}

static void
forget_head(struct session_h1 *h)
{
	mem_free(h->head);
	h->head = NULL;
}

/* Gives how many bytes were used; all that is not must be kept. */
static size_t
take_head(struct downstream *c, const char *data, size_t length)
{
	struct session_h1 *h = c->session.h1;
	struct http1_head *head = h->head ? h->head : &c->w->head;
	enum http1_result r;
	size_t used;

	if (!h->head)
		http1_head_init(head, HTTP1_REQUEST, NULL);
	r = http1_head_parse(head, data, length);
	if (r == HTTP1_MORE) {
		/* Parsed on from here when more came. */
		if (!h->head)
			h->head = mem_dup(MEM_PROXY, head, sizeof(*head));
		return 0;
	}
	if (r == HTTP1_BAD) {
		refuse_head(c, head->error);
		forget_head(h);
		return length;
	}
	used = head->head_bytes;
	begin_request(c, head, data);
	forget_head(h);
	return used;
}

static size_t
take_body(struct downstream *c, const char *data, size_t length)
{
	struct session_h1 *h = c->session.h1;
	const char *span = NULL;
	size_t used, span_length;
	enum http1_body_result r =
		http1_body_feed(&h->body, data, length, &used, &span, &span_length);

	if (r == HTTP1_BODY_BAD) {
		struct stream *s = h->stream;

		h->stream = NULL;
		stream_cancel(s);
		if (h->answer_begun)
			downstream_close(c);
		else
			refuse_head(c, h->body.error);
		return length;
	}
	if (r == HTTP1_BODY_DATA) {
		h->unconsumed += span_length;
		stream_body(h->stream, span, span_length);
	}
	if (h->body.ended && !h->request_done) {
		h->request_done = true;
		if (h->stream)
			stream_body_end(h->stream, (const char *)h->trailers.data,
					h->trailers.length);
	}
	return used;
}

/* Uses what it can of the input; gives how much that was. */
static size_t
process(struct downstream *c, const char *data, size_t length)
{
	struct session_h1 *h = c->session.h1;
	size_t at = 0;

	h->running = true;
	while (at < length && c->state == DOWNSTREAM_OPEN) {
		if (!h->stream) {
			size_t used = take_head(c, data + at, length - at);

			if (used == 0)
				break;
			at += used;
		} else if (h->tunnel || (!h->request_done && h->body.framing != HTTP1_TUNNEL)) {
			at += take_body(c, data + at, length - at);
		} else {
			break;
		}
	}
	h->running = false;
	return c->state == DOWNSTREAM_OPEN ? at : length;
}

static void
settle(struct downstream *c)
{
	struct session_h1 *h = c->session.h1;

	if (c->state != DOWNSTREAM_OPEN)
		return;
	if (!buf_ok(&h->kept)) {
		downstream_close(c);
		return;
	}
	if (h->stream && (h->unconsumed > WORKER_HIGH_BYTES || h->kept.length > WORKER_HIGH_BYTES))
		downstream_pause(c);
}

static void
process_kept(struct downstream *c)
{
	struct session_h1 *h = c->session.h1;
	size_t used;

	if (h->running || h->kept.length == 0)
		return;
	used = process(c, (const char *)h->kept.data, h->kept.length);
	buf_consume(&h->kept, used);
	if (h->kept.length == 0) {
		buf_fini(&h->kept);
		buf_init(&h->kept, MEM_PROXY, KEPT_MAX);
	}
	settle(c);
}

static void
input(struct downstream *c, const uint8_t *bytes, size_t length)
{
	struct session_h1 *h = c->session.h1;
	const char *data = (const char *)bytes;
	bool had_head = h->stream || h->kept.length > 0;
	size_t used;

	if (h->kept.length > 0) {
		buf_put(&h->kept, data, length);
		if (buf_ok(&h->kept))
			process_kept(c);
		settle(c);
		return;
	}
	used = process(c, data, length);
	if (used < length)
		buf_put(&h->kept, data + used, length - used);
	/* The head's deadline runs from its first byte and is never moved. */
	if (!had_head && !h->stream && c->state == DOWNSTREAM_OPEN && h->kept.length > 0)
		downstream_deadline(c, WORKER_HEADER_MS);
	settle(c);
}

static void
eof(struct downstream *c)
{
	struct session_h1 *h = c->session.h1;

	h->eof = true;
	if (!h->stream) {
		downstream_finish(c);
		return;
	}
	if (h->tunnel) {
		stream_body_end(h->stream, NULL, 0);
		return;
	}
	/* A plain client may close its side and wait for the answer. One that leaves in the middle
	 * of its request, or over TLS, is gone. */
	if (!h->request_done || c->tls)
		downstream_close(c);
}

static void
writable(struct downstream *c)
{
	if (c->session.h1->stream)
		stream_writable(c->session.h1->stream);
}

static const struct reply slow_head = {408, "the request's header came too slowly", "slow_header",
				       0};

static void
timeout(struct downstream *c)
{
	struct session_h1 *h = c->session.h1;

	if (h->stream) {
		downstream_deadline(c, WORKER_STALL_MS);
		return;
	}
	if (h->kept.length == 0) {
		downstream_finish(c);
		return;
	}
	refuse(c, &slow_head);
}

static void
drain(struct downstream *c)
{
	struct session_h1 *h = c->session.h1;

	h->draining = true;
	if (!h->stream && h->kept.length == 0)
		downstream_deadline(c, WORKER_LINGER_MS);
}

static void
closed(struct downstream *c)
{
	struct session_h1 *h = c->session.h1;
	struct stream *s = h->stream;

	h->stream = NULL;
	if (s)
		stream_cancel(s);
}

static void
free_session(struct downstream *c)
{
	struct session_h1 *h = c->session.h1;

	buf_fini(&h->kept);
	buf_fini(&h->trailers);
	forget_head(h);
	mem_free(h);
}

bool
session_h1_open(struct downstream *c)
{
	static const struct session_ops session = {input, eof,    writable,    timeout,
						   drain, closed, free_session};
	struct session_h1 *h = mem_zalloc(MEM_PROXY, sizeof(*h));

	if (!h)
		return false;
	buf_init(&h->kept, MEM_PROXY, KEPT_MAX);
	buf_init(&h->trailers, MEM_PROXY, HTTP1_TRAILER_BYTES_MAX);
	c->session.h1 = h;
	c->ops = &session;
	h->draining = c->w->draining;
	downstream_deadline(c, WORKER_HEADER_MS);
	return true;
}
