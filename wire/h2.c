/* SPDX-License-Identifier: Apache-2.0 */

/*
 * HTTP/2 server sessions on nghttp2, RFC 9113 and 8441.
 *
 * In: bytes pass the guard, then the library; its callbacks become the handler's. Out: the library
 * writes frames, and asks for DATA when windows allow it; with NO_COPY the payload goes from the
 * user's memory straight behind the frame head in the output: one copy. A stream that has nothing
 * to send is deferred, and resumed by h2_offer().
 *
 * Errors of one stream reset it; errors of the connection queue a GOAWAY and h2_feed() says false.
 * Resets that the peer provoked are counted with those it sent (h2_guard.h). No stream ever waits
 * for memory: an allocation that fails resets that stream.
 */

#include "wire/h2.h"

#include <assert.h>
#include <string.h>
#include "base/list.h"
#include "base/mem.h"
#include "wire/h2_block.h"
#include "wire/nghttp2.h"

enum {
	BLOCKS_KEPT = 8,
	NV_MAX = H2_FIELDS_MAX + 28,
	ACKS_MAX = 10000, /* more than one read can ask for: the guard is to say so first */
};

struct h2_engine {
	nghttp2_option *option;
	nghttp2_session_callbacks *callbacks;
	nghttp2_mem memory;
	struct h2_block *blocks;
	size_t blocks_count;
	nghttp2_nv nv[NV_MAX]; /* of the call under way */
};

struct h2 {
	struct h2_engine *engine;
	nghttp2_session *session;
	const struct h2_handler *handler;
	void *arg;
	struct list streams;
	size_t streams_count;
	struct h2_block *block; /* being collected; NULL when none is */
	struct h2_guard guard;
	uint32_t error;
	bool failed; /* nothing more is read */
	bool dead;   /* nothing more is written either */
	/* output of the h2_pull under way */
	uint8_t *out;
	size_t out_at, out_cap;
	const uint8_t *rest; /* the library's, until its next frame */
	size_t rest_length;
};

struct h2_stream {
	struct list in_connection;
	struct h2 *h;
	void *user;
	int32_t id;
	bool announced;
	bool deferred;
	bool last;
	bool answered;
	bool asked; /* the user reset it */
	bool peer_reset;
	bool has_trailers;
	size_t available;
	size_t unconsumed;
	struct h2_header *trailers;
	size_t trailers_count;
};

/* ---- memory ---- */

static void *
hook_malloc(size_t size, void *arg)
{
	(void)arg;
	return mem_alloc(MEM_LIBRARY, size);
}

static void
hook_free(void *p, void *arg)
{
	(void)arg;
	mem_free(p);
}

static void *
hook_calloc(size_t count, size_t size, void *arg)
{
	(void)arg;
	return mem_array(MEM_LIBRARY, count, size);
}

static void *
hook_realloc(void *p, size_t size, void *arg)
{
	(void)arg;
	return mem_resize(MEM_LIBRARY, p, 1, size);
}

static struct h2_block *
take_block(struct h2_engine *e)
{
	struct h2_block *b = e->blocks;

	if (!b)
		return h2_block_new();
	e->blocks = b->next;
	e->blocks_count--;
	return b;
}

static void
give_block(struct h2_engine *e, struct h2_block *b)
{
	if (!b)
		return;
	if (e->blocks_count == BLOCKS_KEPT) {
		h2_block_free(b);
		return;
	}
	h2_block_reset(b);
	b->next = e->blocks;
	e->blocks = b;
	e->blocks_count++;
}

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
		h->block = take_block(h->engine);
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
	give_block(h->engine, b);
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

static ssize_t
on_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length, uint32_t *flags,
	nghttp2_data_source *source, void *user)
{
	struct h2_stream *s = source->ptr;
	size_t n = length < s->available ? length : s->available;

	(void)id;
	(void)buf;
	(void)user;
	if (n == 0 && !s->last) {
		s->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (s->last && n == s->available) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (s->has_trailers) {
			nghttp2_nv nv[H2_FIELDS_MAX];

			for (size_t i = 0; i < s->trailers_count; i++) {
				union {
					const char *in;
					uint8_t *out;
				} name = {s->trailers[i].name}, value = {s->trailers[i].value};

				nv[i] = (nghttp2_nv){
					name.out, value.out, s->trailers[i].name_length,
					s->trailers[i].value_length, NGHTTP2_NV_FLAG_NONE};
			}
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			if (nghttp2.nghttp2_submit_trailer(session, s->id, nv, s->trailers_count))
				return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		}
	}
	return (ssize_t)n;
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

/* ---- engine ---- */

static void
set_callbacks(nghttp2_session_callbacks *c)
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

int
h2_engine_new(struct h2_engine **out, struct err *err)
{
	struct h2_engine *e;

	if (dl_load_nghttp2(err))
		return -1;
	e = mem_zalloc(MEM_WIRE, sizeof(*e));
	if (!e)
		return err_set(err, ERR_NO_MEMORY, "cannot set HTTP/2 up");
	e->memory = (nghttp2_mem){NULL, hook_malloc, hook_free, hook_calloc, hook_realloc};
	if (nghttp2.nghttp2_option_new(&e->option) ||
	    nghttp2.nghttp2_session_callbacks_new(&e->callbacks)) {
		h2_engine_free(e);
		return err_set(err, ERR_NO_MEMORY, "cannot set HTTP/2 up");
	}
	nghttp2.nghttp2_option_set_no_auto_window_update(e->option, 1);
	nghttp2.nghttp2_option_set_max_deflate_dynamic_table_size(e->option, 4096);
	nghttp2.nghttp2_option_set_max_outbound_ack(e->option, ACKS_MAX);
	nghttp2.nghttp2_option_set_max_settings(e->option, 32);
	set_callbacks(e->callbacks);
	*out = e;
	return 0;
}

void
h2_engine_free(struct h2_engine *e)
{
	if (!e)
		return;
	while (e->blocks) {
		struct h2_block *b = e->blocks;

		e->blocks = b->next;
		h2_block_free(b);
	}
	if (e->option)
		nghttp2.nghttp2_option_del(e->option);
	if (e->callbacks)
		nghttp2.nghttp2_session_callbacks_del(e->callbacks);
	mem_free(e);
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
	give_block(h->engine, h->block);
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
h2_ping(struct h2 *h)
{
	if (!h->dead)
		nghttp2.nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, NULL);
}

void
h2_terminate(struct h2 *h, enum h2_code code)
{
	fail(h, (uint32_t)code);
}

/* ---- streams ---- */

void
h2_stream_set_user(struct h2_stream *s, void *user)
{
	s->user = user;
}

void *
h2_stream_user(const struct h2_stream *s)
{
	return s->user;
}

int32_t
h2_stream_id(const struct h2_stream *s)
{
	return s->id;
}

void
h2_consume(struct h2_stream *s, size_t bytes)
{
	assert(bytes <= s->unconsumed);
	s->unconsumed -= bytes;
	nghttp2.nghttp2_session_consume(s->h->session, s->id, bytes);
}

/* Fields that differ from answer to answer would only wash useful ones out of the HPACK table. */
static bool
is_volatile(const struct h2_header *f)
{
	switch (header_lookup(f->name, f->name_length)) {
	case HEADER_AGE:
	case HEADER_CONTENT_LENGTH:
	case HEADER_CONTENT_RANGE:
	case HEADER_DATE:
	case HEADER_ETAG:
	case HEADER_EXPIRES:
	case HEADER_LAST_MODIFIED:
	case HEADER_LOCATION:
	case HEADER_SET_COOKIE:
	case HEADER_X_REQUEST_ID:
		return true;
	default:
		return false;
	}
}

static size_t
put_nv(nghttp2_nv *nv, unsigned status, char digits[3], const struct h2_header *fields,
       size_t count)
{
	static uint8_t status_name[] = ":status";

	digits[0] = (char)('0' + status / 100 % 10);
	digits[1] = (char)('0' + status / 10 % 10);
	digits[2] = (char)('0' + status % 10);
	nv[0] = (nghttp2_nv){status_name, (uint8_t *)digits, 7, 3, NGHTTP2_NV_FLAG_NONE};
	assert(count < NV_MAX);
	for (size_t i = 0; i < count; i++) {
		union {
			const char *in;
			uint8_t *out;
		} name = {fields[i].name}, value = {fields[i].value};

		nv[i + 1] = (nghttp2_nv){
			name.out, value.out, fields[i].name_length, fields[i].value_length,
			is_volatile(&fields[i]) ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE};
	}
	return count + 1;
}

int
h2_inform(struct h2_stream *s, unsigned status, const struct h2_header *fields, size_t count)
{
	nghttp2_nv *nv = s->h->engine->nv;
	char digits[3];
	size_t n = put_nv(nv, status, digits, fields, count);

	return nghttp2.nghttp2_submit_headers(s->h->session, NGHTTP2_FLAG_NONE, s->id, NULL, nv, n,
					      NULL) == 0
		       ? 0
		       : -1;
}

int
h2_respond(struct h2_stream *s, unsigned status, const struct h2_header *fields, size_t count,
	   bool has_body)
{
	nghttp2_nv *nv = s->h->engine->nv;
	char digits[3];
	size_t n = put_nv(nv, status, digits, fields, count);
	nghttp2_data_provider provider = {.source.ptr = s, .read_callback = on_read};

	s->answered = !has_body;
	if (nghttp2.nghttp2_submit_response(s->h->session, s->id, nv, n,
					    has_body ? &provider : NULL) == 0)
		return 0;
	h2_reset(s, H2_INTERNAL_ERROR);
	return -1;
}

void
h2_offer(struct h2_stream *s, size_t available, bool last)
{
	s->available = available;
	s->last = last;
	if (s->deferred && (available > 0 || last)) {
		s->deferred = false;
		/* Fails for a stream that is about to close: nothing is lost then. */
		(void)nghttp2.nghttp2_session_resume_data(s->h->session, s->id);
	}
}

int
h2_stream_trailers(struct h2_stream *s, const struct h2_header *fields, size_t count)
{
	size_t bytes = count * sizeof(*fields);
	char *text;

	if (count > H2_FIELDS_MAX)
		count = H2_FIELDS_MAX;
	for (size_t i = 0; i < count; i++)
		bytes += fields[i].name_length + fields[i].value_length;
	mem_free(s->trailers);
	s->has_trailers = false;
	s->trailers = mem_alloc(MEM_WIRE, bytes + 1);
	if (!s->trailers)
		return -1;
	text = (char *)(s->trailers + count);
	for (size_t i = 0; i < count; i++) {
		s->trailers[i] = fields[i];
		s->trailers[i].name = memcpy(text, fields[i].name, fields[i].name_length);
		text += fields[i].name_length;
		s->trailers[i].value = memcpy(text, fields[i].value, fields[i].value_length);
		text += fields[i].value_length;
	}
	s->trailers_count = count;
	s->has_trailers = count > 0;
	return 0;
}

bool
h2_stream_answered(const struct h2_stream *s)
{
	return s->answered;
}

void
h2_reset(struct h2_stream *s, enum h2_code code)
{
	s->asked = true;
	nghttp2.nghttp2_submit_rst_stream(s->h->session, NGHTTP2_FLAG_NONE, s->id, (uint32_t)code);
}
