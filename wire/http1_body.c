/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Bodies of HTTP/1.1 messages: by length, chunked, or until the end of the connection (RFC 9112 6,
 * 7.1). Data is handed out as spans of the input, so a body costs no copy and no memory; the few
 * bytes between chunks are read by a state machine one at a time, so that every split of the input
 * means the same.
 *
 * Refused: chunk sizes with whitespace, signs or more than 16 digits, sizes beyond 2^62, bare line
 * feeds, long or endless extensions, trailers that would frame, route or authenticate.
 */

#include "wire/http1_body.h"

#include <string.h>

enum state {
	STATE_LENGTH,
	STATE_UNTIL_CLOSE,
	STATE_SIZE,
	STATE_EXT,
	STATE_SIZE_LF,
	STATE_CHUNK,
	STATE_CHUNK_CR,
	STATE_CHUNK_LF,
	STATE_TRAILER_START,
	STATE_TRAILER_NAME,
	STATE_TRAILER_VALUE,
	STATE_TRAILER_LF,
	STATE_LAST_LF,
	STATE_END,
	STATE_BAD,
};

void
http1_body_init(struct http1_body *body, enum http1_framing framing, uint64_t content_length,
		struct buf *trailers)
{
	memset(body, 0, sizeof(*body));
	body->framing = framing;
	body->trailers = trailers;
	switch (framing) {
	case HTTP1_NO_BODY:
		body->state = STATE_END;
		break;
	case HTTP1_LENGTH:
		body->left = content_length;
		body->state = content_length > 0 ? STATE_LENGTH : STATE_END;
		break;
	case HTTP1_CHUNKED:
		body->state = STATE_SIZE;
		break;
	case HTTP1_UNTIL_CLOSE:
	case HTTP1_TUNNEL:
		body->state = STATE_UNTIL_CLOSE;
		break;
	}
	body->ended = body->state == STATE_END;
}

bool
http1_body_trailer_forbidden(enum header_id id)
{
	switch (id) {
	case HEADER_AUTHORIZATION:
	case HEADER_CONTENT_ENCODING:
	case HEADER_CONTENT_LENGTH:
	case HEADER_CONTENT_RANGE:
	case HEADER_CONTENT_TYPE:
	case HEADER_COOKIE:
	case HEADER_EXPECT:
	case HEADER_FORWARDED:
	case HEADER_HOST:
	case HEADER_MAX_FORWARDS:
	case HEADER_SET_COOKIE:
	case HEADER_TRAILER:
	case HEADER_X_FORWARDED_FOR:
	case HEADER_X_FORWARDED_HOST:
	case HEADER_X_FORWARDED_PORT:
	case HEADER_X_FORWARDED_PROTO:
		return true;
	default:
		return header_is_hop(id);
	}
}

static bool
fail(struct http1_body *body, enum http1_error error)
{
	body->error = error;
	body->state = STATE_BAD;
	return false;
}

static int
hex_digit(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
size_byte(struct http1_body *body, unsigned char c)
{
	int digit = hex_digit(c);

	if (digit >= 0) {
		if (++body->digits > 16 || body->left >> 58)
			return fail(body, HTTP1_BAD_CHUNK);
		body->left = body->left << 4 | (uint64_t)digit;
		return true;
	}
	if (body->digits == 0)
		return fail(body, HTTP1_BAD_CHUNK);
	if (c == '\r')
		body->state = STATE_SIZE_LF;
	else if (c == ';')
		body->state = STATE_EXT;
	else
		return fail(body, HTTP1_BAD_CHUNK);
	return true;
}

static bool
ext_byte(struct http1_body *body, unsigned char c)
{
	if (c == '\r') {
		body->state = STATE_SIZE_LF;
		return true;
	}
	if ((c < 0x20 && c != '\t') || c == 0x7f || ++body->ext_bytes > HTTP1_CHUNK_EXT_MAX ||
	    ++body->ext_total > HTTP1_CHUNK_EXT_TOTAL)
		return fail(body, HTTP1_BAD_CHUNK);
	return true;
}

static bool
size_end(struct http1_body *body, unsigned char c)
{
	if (c != '\n')
		return fail(body, HTTP1_BAD_CHUNK);
	body->state = body->left > 0 ? STATE_CHUNK : STATE_TRAILER_START;
	body->digits = 0;
	body->ext_bytes = 0;
	return true;
}

/* A byte of the trailer section that belongs to a field line. */
static bool
keep_trailer(struct http1_body *body, unsigned char c)
{
	if (++body->trailer_bytes > HTTP1_TRAILER_BYTES_MAX)
		return fail(body, HTTP1_BAD_TRAILER);
	if (body->trailers) {
		buf_putc(body->trailers, (char)c);
		if (!buf_ok(body->trailers))
			return fail(body, HTTP1_BAD_TRAILER);
	}
	return true;
}

static bool
trailer_name_byte(struct http1_body *body, unsigned char c)
{
	if (c == ':') {
		if (body->name_length <= sizeof(body->name) &&
		    http1_body_trailer_forbidden(header_lookup(body->name, body->name_length)))
			return fail(body, HTTP1_BAD_TRAILER);
		body->state = STATE_TRAILER_VALUE;
		return keep_trailer(body, c);
	}
	if (!header_is_token_char(c))
		return fail(body, HTTP1_BAD_TRAILER);
	if (body->name_length < sizeof(body->name))
		body->name[body->name_length++] = (char)c;
	else
		body->name_length = sizeof(body->name) + 1; /* longer than any name that matters */
	return keep_trailer(body, c);
}

static bool
trailer_start_byte(struct http1_body *body, unsigned char c)
{
	if (c == '\r') {
		body->state = STATE_LAST_LF;
		return true;
	}
	if (c == ':' || ++body->trailer_count > HTTP1_TRAILERS_MAX)
		return fail(body, HTTP1_BAD_TRAILER);
	body->name_length = 0;
	body->state = STATE_TRAILER_NAME;
	return trailer_name_byte(body, c);
}

static bool
trailer_value_byte(struct http1_body *body, unsigned char c)
{
	if (c == '\r')
		body->state = STATE_TRAILER_LF;
	else if ((c < 0x20 && c != '\t') || c == 0x7f)
		return fail(body, HTTP1_BAD_TRAILER);
	return keep_trailer(body, c);
}

/* One byte outside of data; false when it is refused. */
static bool
step(struct http1_body *body, unsigned char c)
{
	switch ((enum state)body->state) {
	case STATE_SIZE:
		return size_byte(body, c);
	case STATE_EXT:
		return ext_byte(body, c);
	case STATE_SIZE_LF:
		return size_end(body, c);
	case STATE_CHUNK_CR:
		body->state = STATE_CHUNK_LF;
		return c == '\r' || fail(body, HTTP1_BAD_CHUNK);
	case STATE_CHUNK_LF:
		body->state = STATE_SIZE;
		return c == '\n' || fail(body, HTTP1_BAD_CHUNK);
	case STATE_TRAILER_START:
		return trailer_start_byte(body, c);
	case STATE_TRAILER_NAME:
		return trailer_name_byte(body, c);
	case STATE_TRAILER_VALUE:
		return trailer_value_byte(body, c);
	case STATE_TRAILER_LF:
		body->state = STATE_TRAILER_START;
		return c == '\n' ? keep_trailer(body, c) : fail(body, HTTP1_BAD_TRAILER);
	case STATE_LAST_LF:
		body->state = STATE_END;
		body->ended = c == '\n';
		return c == '\n' || fail(body, HTTP1_BAD_CHUNK);
	default:
		return false;
	}
}

static bool
in_data(const struct http1_body *body)
{
	return body->state == STATE_LENGTH || body->state == STATE_CHUNK ||
	       body->state == STATE_UNTIL_CLOSE;
}

static size_t
take_data(struct http1_body *body, size_t length)
{
	if (body->state == STATE_UNTIL_CLOSE)
		return length;
	if (length > body->left)
		length = (size_t)body->left;
	body->left -= length;
	if (body->left == 0) {
		body->ended = body->state == STATE_LENGTH;
		body->state = body->ended ? STATE_END : STATE_CHUNK_CR;
	}
	return length;
}

enum http1_body_result
http1_body_feed(struct http1_body *body, const char *data, size_t length, size_t *used_out,
		const char **span_out, size_t *span_length_out)
{
	size_t at = 0;

	*used_out = 0;
	*span_length_out = 0;
	while (at < length && body->state != STATE_END && body->state != STATE_BAD) {
		if (in_data(body)) {
			*span_out = data + at;
			*span_length_out = take_data(body, length - at);
			*used_out = at + *span_length_out;
			return HTTP1_BODY_DATA;
		}
		if (!step(body, (unsigned char)data[at++]))
			break;
	}
	*used_out = at;
	if (body->state == STATE_BAD)
		return HTTP1_BODY_BAD;
	return body->state == STATE_END ? HTTP1_BODY_END : HTTP1_BODY_MORE;
}

bool
http1_body_finish(const struct http1_body *body)
{
	return body->state == STATE_END || body->state == STATE_UNTIL_CLOSE;
}
