/* SPDX-License-Identifier: Apache-2.0 */

/*
 * HTTP/2 server sessions on nghttp2, RFC 9113 and 8441.
 *
 * In: bytes pass the guard, then the library; its callbacks become the handler's. Out: the library
 * writes frames, and asks for DATA when windows allow it; with NO_COPY the payload goes from the
 * user's memory straight behind the frame head in the output: one copy.
 *
 * Errors of one stream reset it; errors of the connection queue a GOAWAY and h2_feed() says false.
 * Resets that the peer provoked are counted with those it sent (h2_guard.h).
 */

#include "wire/h2_private.h"

#include <assert.h>
#include <string.h>
#include "base/mem.h"

/* ---- failing ---- */

static void
fail(struct h2 *h, uint32_t code)
{
	if (h->failed)
		return;
	h->failed = true;
	h->error = code;
	if (nghttp2.nghttp2_session_terminate_session(h->session, code) != 0)
		h->dead = true;
}

static void
count_reset(struct h2 *h)
{
	if (h2_guard_reset(&h->guard) != H2_GUARD_OK && !h->failed) {
		/* Not from inside a callback: h2_feed and h2_pull look at error. */
		h->error = H2_ENHANCE_YOUR_CALM;
	}
}

static void
fail_if_asked(struct h2 *h)
{
	if (h->error != H2_NO_ERROR && !h->failed)
		fail(h, h->error);
}

/* ---- the library's callbacks ---- */

static struct h2_stream *
stream_new(struct h2 *h, int32_t id)
{
	struct h2_stream *s = mem_zalloc(MEM_WIRE, sizeof(*s));

	if (!s)
		return NULL;
	s->h = h;
	s->id = id;
	if (nghttp2.nghttp2_session_set_stream_user_data(h->session, id, s) != 0) {
		mem_free(s);
		return NULL;
	}
	list_push(&h->streams, &s->in_connection);
	h->streams_count++;
	return s;
}

static void
stream_free(struct h2_stream *s)
{
	list_remove(&s->in_connection);
	s->h->streams_count--;
	mem_free(s->trailers);
	mem_free(s);
}

static int
on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct h2 *h = user;

	(void)session;
	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	if (!h->block)
		h->block = h2_engine_take_block(h->engine);
	if (!h->block)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	h2_block_reset(h->block);
	if (frame->headers.cat == NGHTTP2_HCAT_REQUEST && !stream_new(h, frame->hd.stream_id))
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	return 0;
}

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
	  size_t name_length, const uint8_t *value, size_t value_length, uint8_t flags, void *user)
{
	struct h2 *h = user;

	(void)session;
	(void)flags;
	if (frame->hd.type != NGHTTP2_HEADERS || !h->block)
		return 0;
	if (h2_block_add(h->block, (const char *)name, name_length, (const char *)value,
			 value_length))
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	return 0;
}

/* A field that the library would drop in silence: the stream is reset instead. */
static int
on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		  size_t name_length, const uint8_t *value, size_t value_length, uint8_t flags,
		  void *user)
{
	(void)session;
	(void)frame;
	(void)name;
	(void)name_length;
	(void)value;
	(void)value_length;
	(void)flags;
	(void)user;
	return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static void
headers_done(struct h2 *h, const nghttp2_frame *frame, struct h2_stream *s)
{
	struct h2_block *b = h->block;
	struct h2_request request;

	h->block = NULL;
	if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
		if (b->bad)
			nghttp2.nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, s->id,
							  H2_PROTOCOL_ERROR);
		else if (s->announced)
			h->handler->trailers(h->arg, s, (const char *)b->text.data, b->fields,
					     b->count);
	} else if (h2_block_request(b, &request)) {
		request.end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
		s->announced = true;
		h->handler->request(h->arg, s, &request);
	} else {
		nghttp2.nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, s->id,
						  H2_PROTOCOL_ERROR);
	}
	h2_engine_give_block(h->engine, b);
}

static int
on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct h2 *h = user;
	struct h2_stream *s;

	if (frame->hd.stream_id == 0)
		return 0;
	s = nghttp2.nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (!s)
		return 0;
	if (frame->hd.type == NGHTTP2_RST_STREAM) {
		s->peer_reset = true;
		if (!s->answered)
			count_reset(h);
		return 0;
	}
	if (frame->hd.type == NGHTTP2_HEADERS && h->block)
		headers_done(h, frame, s);
	if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
	    frame->hd.flags & NGHTTP2_FLAG_END_STREAM && s->announced && !s->asked)
		h->handler->end(h->arg, s);
	return 0;
}

static int
on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
	      size_t length, void *user)
{
	struct h2 *h = user;
	struct h2_stream *s = nghttp2.nghttp2_session_get_stream_user_data(session, id);

	(void)flags;
	if (!s || !s->announced) {
		nghttp2.nghttp2_session_consume(session, id, length);
		return 0;
	}
	s->unconsumed += length;
	h->handler->data(h->arg, s, data, length);
	return 0;
}

static int
on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	struct h2 *h = user;
	struct h2_stream *s = nghttp2.nghttp2_session_get_stream_user_data(session, id);

	if (!s)
		return 0;
	if (s->unconsumed > 0)
		nghttp2.nghttp2_session_consume(session, id, s->unconsumed);
	if (s->announced)
		h->handler->closed(h->arg, s, code, s->peer_reset);
	stream_free(s);
	return 0;
}

static int
on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct h2 *h = user;
	struct h2_stream *s;

	if (frame->hd.type != NGHTTP2_RST_STREAM)
		return 0;
	s = nghttp2.nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (!s || !s->asked)
		count_reset(h);
	return 0;
}

static int
on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t length,
	     nghttp2_data_source *source, void *user)
{
	struct h2 *h = user;
	struct h2_stream *s = source->ptr;

	(void)session;
	assert(frame->data.padlen == 0);
	if (h->out_cap - h->out_at < 9 + length)
		return NGHTTP2_ERR_WOULDBLOCK;
	memcpy(h->out + h->out_at, head, 9);
	h->out_at += 9;
	if (length > 0)
		h->handler->pull(h->arg, s, h->out + h->out_at, length);
	h->out_at += length;
	s->available -= length;
	s->answered = s->last && s->available == 0;
	h2_guard_sent(&h->guard, length);
	return 0;
}

void
h2_set_callbacks(nghttp2_session_callbacks *c)
{
	nghttp2.nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
	nghttp2.nghttp2_session_callbacks_set_on_header_callback(c, on_header);
	nghttp2.nghttp2_session_callbacks_set_on_invalid_header_callback(c, on_invalid_header);
	nghttp2.nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame_recv);
	nghttp2.nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data_chunk);
	nghttp2.nghttp2_session_callbacks_set_on_stream_close_callback(c, on_stream_close);
	nghttp2.nghttp2_session_callbacks_set_on_frame_send_callback(c, on_frame_send);
	nghttp2.nghttp2_session_callbacks_set_send_data_callback(c, on_send_data);
}

/* ---- connection ---- */

static int
submit_settings(struct h2 *h)
{
	static const nghttp2_settings_entry entries[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS_MAX},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_BLOCK_BYTES_MAX},
		{NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
		{NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
	};

	if (nghttp2.nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, entries,
					    sizeof(entries) / sizeof(entries[0])))
		return -1;
	return nghttp2.nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0,
							     H2_CONNECTION_WINDOW);
}

struct h2 *
h2_new(struct h2_engine *e, const struct h2_handler *handler, void *arg,
       const struct h2_guard_limits *limits, uint64_t now_ms)
{
	struct h2 *h = mem_zalloc(MEM_WIRE, sizeof(*h));

	if (!h)
		return NULL;
	h->engine = e;
	h->handler = handler;
	h->arg = arg;
	list_init(&h->streams);
	h2_guard_init(&h->guard, limits, now_ms);
	if (nghttp2.nghttp2_session_server_new3(&h->session, e->callbacks, h, e->option,
						&e->memory)) {
		mem_free(h);
		return NULL;
	}
	if (submit_settings(h)) {
		h2_free(h);
		return NULL;
	}
	return h;
}

void
h2_free(struct h2 *h)
{
	struct list *it, *tmp;

	if (!h)
		return;
	list_each (it, tmp, &h->streams) {
		struct h2_stream *s = container_of(it, struct h2_stream, in_connection);

		s->asked = true;
		if (s->announced)
			h->handler->closed(h->arg, s, H2_CANCEL, false);
		stream_free(s);
	}
	h2_engine_give_block(h->engine, h->block);
	nghttp2.nghttp2_session_del(h->session);
	mem_free(h);
}

bool
h2_feed(struct h2 *h, const uint8_t *data, size_t length, uint64_t now_ms)
{
	enum h2_guard_verdict verdict;

	if (h->failed || h->dead)
		return false;
	verdict = h2_guard_feed(&h->guard, data, length, now_ms);
	if (verdict != H2_GUARD_OK) {
		fail(h, verdict == H2_GUARD_CALM ? H2_ENHANCE_YOUR_CALM : H2_PROTOCOL_ERROR);
		return false;
	}
	if (nghttp2.nghttp2_session_mem_recv(h->session, data, length) < 0) {
		h->failed = h->dead = true;
		h->error = H2_PROTOCOL_ERROR;
		return false;
	}
	fail_if_asked(h);
	return !h->failed && nghttp2.nghttp2_session_want_read(h->session);
}

static void
put_rest(struct h2 *h)
{
	size_t n = h->out_cap - h->out_at;

	if (n > h->rest_length)
		n = h->rest_length;
	memcpy(h->out + h->out_at, h->rest, n);
	h->out_at += n;
	h->rest += n;
	h->rest_length -= n;
}

size_t
h2_pull(struct h2 *h, uint8_t *out, size_t cap)
{
	h->out = out;
	h->out_at = 0;
	h->out_cap = cap;
	if (h->rest_length > 0)
		put_rest(h);
	fail_if_asked(h);
	while (!h->dead && h->rest_length == 0 && h->out_at < cap) {
		ssize_t n = nghttp2.nghttp2_session_mem_send(h->session, &h->rest);

		if (n < 0)
			h->dead = h->failed = true;
		if (n <= 0)
			break;
		h->rest_length = (size_t)n;
		put_rest(h);
	}
	fail_if_asked(h);
	return h->out_at;
}

bool
h2_wants_write(const struct h2 *h)
{
	return h->rest_length > 0 || (!h->dead && nghttp2.nghttp2_session_want_write(h->session));
}

bool
h2_done(const struct h2 *h)
{
	if (h->rest_length > 0)
		return false;
	return h->dead || (!nghttp2.nghttp2_session_want_write(h->session) &&
			   !nghttp2.nghttp2_session_want_read(h->session));
}

uint32_t
h2_error(const struct h2 *h)
{
	return h->error;
}

size_t
h2_streams(const struct h2 *h)
{
	return h->streams_count;
}

uint32_t
h2_resets(const struct h2 *h)
{
	return h->guard.resets;
}

void
h2_drain_notice(struct h2 *h)
{
	if (!h->dead)
		nghttp2.nghttp2_submit_shutdown_notice(h->session);
}

void
h2_drain_final(struct h2 *h)
{
	if (!h->dead)
		nghttp2.nghttp2_submit_goaway(
			h->session, NGHTTP2_FLAG_NONE,
			nghttp2.nghttp2_session_get_last_proc_stream_id(h->session), H2_NO_ERROR,
			NULL, 0);
}

void
h2_terminate(struct h2 *h, enum h2_code code)
{
	fail(h, (uint32_t)code);
}
