/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_HTTP1_BODY_H
#define WIRE_HTTP1_BODY_H

/*
 * Decoder of an HTTP/1.1 message body (RFC 9112 6 and 7): gives spans of what it was fed, copies
 * nothing (trailers excepted).
 *
 *	http1_body_init(&body, framing, content_length, NULL);
 *	while (length > 0 || !done) {
 *		r = http1_body_feed(&body, data, length, &used, &span, &span_length);
 *		data += used, length -= used;
 *		HTTP1_BODY_DATA: span is body; HTTP1_BODY_MORE: everything was eaten;
 *		HTTP1_BODY_END: the message is over, what is left in data is the next one;
 *		HTTP1_BODY_BAD: body.error
 *	}
 *
 * A body of length 0 is over at the first call. At the end of the connection call
 * http1_body_finish: false means that the message was cut.
 * Threading: a plain value.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "wire/http1.h"

enum http1_body_result { HTTP1_BODY_MORE, HTTP1_BODY_DATA, HTTP1_BODY_END, HTTP1_BODY_BAD };

enum {
	HTTP1_CHUNK_EXT_MAX = 256,    /* bytes of extensions on one chunk line */
	HTTP1_CHUNK_EXT_TOTAL = 4096, /* of one message */
	HTTP1_TRAILER_BYTES_MAX = 8192,
	HTTP1_TRAILERS_MAX = 32,
};

struct http1_body {
	enum http1_framing framing;
	enum http1_error error;
	uint8_t state;
	bool ended;
	uint64_t left;      /* of the length, or of the current chunk */
	uint32_t digits;    /* of the chunk size */
	uint32_t ext_bytes; /* of this chunk line */
	uint32_t ext_total; /* of the message */
	uint32_t trailer_bytes;
	uint32_t trailer_count;
	uint8_t name_length; /* of the trailer field being read; beyond name: too long to matter */
	char name[31];
	struct buf *trailers; /* NULL: checked and dropped */
};

/* trailers: borrowed; gets "name: value\r\n" lines of the trailer section, or NULL to drop them.
 * Trailer fields that frame or route a message are refused (RFC 9110 6.5.1). */
void http1_body_init(struct http1_body *body, enum http1_framing framing, uint64_t content_length,
		     struct buf *trailers);
enum http1_body_result http1_body_feed(struct http1_body *body, const char *data, size_t length,
				       size_t *used_out, const char **span_out,
				       size_t *span_length_out);
/* The peer closed: true when that is a proper end. */
bool http1_body_finish(const struct http1_body *body);
/* True for a field that must not be in a trailer. */
bool http1_body_trailer_forbidden(enum header_id id);

#endif
