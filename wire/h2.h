/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_H2_H
#define WIRE_H2_H

/*
 * The server side of one HTTP/2 connection (RFC 9113, RFC 8441) without transport, clock or memory
 * for bodies: bytes in, bytes out, and streams with callbacks. nghttp2 does framing, HPACK and the
 * stream states; h2_guard.h stands in front of it.
 *
 * Back pressure: request bytes are given once; the window reopens only when the user says that it
 * consumed them (h2_consume). Answer bytes stay with the user, who announces how many are there
 * (h2_offer) and is asked for exactly so many when they can be sent.
 *
 * Rules: h2_feed and h2_pull must not be called from a callback; h2_free neither. All other calls
 * may. A stream is valid until its `closed` callback returns.
 * Threading: an engine and its connections belong to one thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "wire/h2_guard.h"
#include "wire/http.h"

struct h2_engine; /* per process: the library's options, memory of header blocks */
struct h2;        /* a connection */
struct h2_stream;

enum {
	H2_STREAMS_MAX = 100,
	H2_BLOCK_BYTES_MAX = 32768, /* header list, decoded */
	H2_FIELDS_MAX = 100,
	H2_STREAM_WINDOW = 262144,
	H2_CONNECTION_WINDOW = 1048576, /* so this is the most request data held per connection */
};

/* RFC 9113 7 */
enum h2_code {
	H2_NO_ERROR = 0,
	H2_PROTOCOL_ERROR = 1,
	H2_INTERNAL_ERROR = 2,
	H2_FLOW_CONTROL_ERROR = 3,
	H2_STREAM_CLOSED = 5,
	H2_FRAME_SIZE_ERROR = 6,
	H2_REFUSED_STREAM = 7,
	H2_CANCEL = 8,
	H2_CONNECT_ERROR = 10,
	H2_ENHANCE_YOUR_CALM = 11,
	H2_HTTP_1_1_REQUIRED = 13,
};

/* Everything points into memory that is valid during the callback only. */
struct h2_request {
	const char *text; /* what the spans and fields are offsets of */
	struct http_span method_name;
	struct http_span scheme;
	struct http_span authority; /* of :authority, else of Host; may be empty */
	struct http_span path;      /* :path as sent; empty for CONNECT without :protocol */
	struct http_span protocol;  /* RFC 8441 */
	enum http_method method;
	const struct http_field *fields; /* without pseudo-fields and Host */
	size_t count;
	bool end;      /* no body follows */
	bool too_long; /* more than the limits allow: fields are cut, answer 431 */
	bool has_length;
	uint64_t content_length;
};

struct h2_handler {
	/* A new request: set its user with h2_stream_set_user. */
	void (*request)(void *arg, struct h2_stream *s, const struct h2_request *request);
	/* Body bytes; h2_consume(s, length) sooner or later. */
	void (*data)(void *arg, struct h2_stream *s, const uint8_t *data, size_t length);
	/* Trailers of the request (end follows). */
	void (*trailers)(void *arg, struct h2_stream *s, const char *text,
			 const struct http_field *fields, size_t count);
	/* The request is complete. */
	void (*end)(void *arg, struct h2_stream *s);
	/* Copy exactly `length` of the offered bytes to out. Called within h2_pull. */
	void (*pull)(void *arg, struct h2_stream *s, uint8_t *out, size_t length);
	/* The stream is gone: code H2_NO_ERROR when both sides were complete. by_peer: reset by it.
	 */
	void (*closed)(void *arg, struct h2_stream *s, uint32_t code, bool by_peer);
};

struct h2_header {
	const char *name; /* lower case */
	size_t name_length;
	const char *value;
	size_t value_length;
};

int h2_engine_new(struct h2_engine **out, struct err *err) MUST_CHECK; /* opens libnghttp2 */
void h2_engine_free(struct h2_engine *e);

/* NULL: out of memory. limits NULL: the default. */
struct h2 *h2_new(struct h2_engine *e, const struct h2_handler *handler, void *arg,
		  const struct h2_guard_limits *limits, uint64_t now_ms);
/* Streams that are left are closed (callback) with H2_CANCEL. */
void h2_free(struct h2 *h);

/* false: the connection is over; write what h2_pull still gives (a GOAWAY), then close. */
bool h2_feed(struct h2 *h, const uint8_t *data, size_t length, uint64_t now_ms);
/* Fills up to cap bytes of output and gives how many; cap >= H2_PULL_MIN makes progress certain. */
enum { H2_PULL_MIN = 16384 + 9 };
size_t h2_pull(struct h2 *h, uint8_t *out, size_t cap);
bool h2_wants_write(const struct h2 *h);
/* Nothing more will come or go: close the transport when the output is written. */
bool h2_done(const struct h2 *h);
/* Why the guard or the library ended it: an h2_code, H2_NO_ERROR when it did not. */
uint32_t h2_error(const struct h2 *h);

size_t h2_streams(const struct h2 *h); /* open now */
/* Premature resets counted so far: by the peer, and by us for its faults. */
uint32_t h2_resets(const struct h2 *h);

/* GOAWAY in two steps: notice first (the peer may have requests under way), a round trip later the
 * final one; the streams go on. */
void h2_drain_notice(struct h2 *h);
void h2_drain_final(struct h2 *h);
/* Ends the connection with this code after what is queued. */
void h2_terminate(struct h2 *h, enum h2_code code);

void h2_stream_set_user(struct h2_stream *s, void *user);
void *h2_stream_user(const struct h2_stream *s);
int32_t h2_stream_id(const struct h2_stream *s);

void h2_consume(struct h2_stream *s, size_t bytes);
/* 1xx. */
int h2_inform(struct h2_stream *s, unsigned status, const struct h2_header *fields, size_t count);
/* The answer's head; when has_body the bytes come by h2_offer. -1: out of memory (the stream is
 * reset). */
int h2_respond(struct h2_stream *s, unsigned status, const struct h2_header *fields, size_t count,
	       bool has_body);
/* `available` bytes in all can be pulled now; `last`: none will be added. Call again when more
 * came. */
void h2_offer(struct h2_stream *s, size_t available, bool last);
/* Trailers, to be given before the h2_offer with `last`. Copied. */
int h2_stream_trailers(struct h2_stream *s, const struct h2_header *fields, size_t count);
/* True when the answer is complete (all was pulled). */
bool h2_stream_answered(const struct h2_stream *s);
void h2_reset(struct h2_stream *s, enum h2_code code);

#endif
