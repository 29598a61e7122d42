/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One stream as its user has it: the answer's head, how much of a body can be had, trailers, and
 * the window of the request. A stream that has nothing to send is deferred, and resumed by
 * h2_offer(). No stream ever waits for memory: an allocation that fails resets that stream.
 */

#include "wire/h2_private.h"

#include <assert.h>
#include <string.h>
#include "base/mem.h"

/* ---- what it is ---- */

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

void
h2_reset(struct h2_stream *s, enum h2_code code)
{
	s->asked = true;
	nghttp2.nghttp2_submit_rst_stream(s->h->session, NGHTTP2_FLAG_NONE, s->id, (uint32_t)code);
}

/* ---- fields ---- */

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

static void
put_field(nghttp2_nv *nv, const struct h2_header *f, uint8_t flags)
{
	union {
		const char *in;
		uint8_t *out;
	} name = {f->name}, value = {f->value};

	*nv = (nghttp2_nv){name.out, value.out, f->name_length, f->value_length, flags};
}

static size_t
put_head(nghttp2_nv *nv, unsigned status, char digits[3], const struct h2_header *fields,
	 size_t count)
{
	static uint8_t status_name[] = ":status";

	digits[0] = (char)('0' + status / 100 % 10);
	digits[1] = (char)('0' + status / 10 % 10);
	digits[2] = (char)('0' + status % 10);
	nv[0] = (nghttp2_nv){status_name, (uint8_t *)digits, 7, 3, NGHTTP2_NV_FLAG_NONE};
	assert(count < H2_ENGINE_NV);
	for (size_t i = 0; i < count; i++)
		put_field(&nv[i + 1], &fields[i],
			  is_volatile(&fields[i]) ? NGHTTP2_NV_FLAG_NO_INDEX
						  : NGHTTP2_NV_FLAG_NONE);
	return count + 1;
}

static int
send_trailers(struct h2_stream *s)
{
	nghttp2_nv nv[H2_FIELDS_MAX];

	for (size_t i = 0; i < s->trailers_count; i++)
		put_field(&nv[i], &s->trailers[i], NGHTTP2_NV_FLAG_NONE);
	return nghttp2.nghttp2_submit_trailer(s->h->session, s->id, nv, s->trailers_count);
}

/* ---- the answer ---- */

/* The library asks for so many bytes, which it gets later (on_send_data in h2.c). */
static ssize_t
on_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length, uint32_t *flags,
	nghttp2_data_source *source, void *user)
{
	struct h2_stream *s = source->ptr;
	size_t n = length < s->available ? length : s->available;

	(void)session;
	(void)id;
	(void)buf;
	(void)user;
	if (n == 0 && !s->last) {
		s->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (!s->last || n < s->available)
		return (ssize_t)n;
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	if (s->has_trailers) {
		*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
		if (send_trailers(s))
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	return (ssize_t)n;
}

int
h2_inform(struct h2_stream *s, unsigned status, const struct h2_header *fields, size_t count)
{
	nghttp2_nv *nv = s->h->engine->nv;
	char digits[3];
	size_t n = put_head(nv, status, digits, fields, count);

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
	size_t n = put_head(nv, status, digits, fields, count);
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
