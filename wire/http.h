/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_HTTP_H
#define WIRE_HTTP_H

/* What HTTP/1.1 and HTTP/2 share (RFC 9110): methods, reasons, dates, and how a field is kept. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "wire/header.h"

enum http_method {
	HTTP_OTHER, /* a valid token, but none of these */
	HTTP_GET,
	HTTP_HEAD,
	HTTP_POST,
	HTTP_PUT,
	HTTP_DELETE,
	HTTP_CONNECT,
	HTTP_OPTIONS,
	HTTP_TRACE,
	HTTP_PATCH,
	HTTP_METHODS_,
};

/* A piece of a message: offsets from the message's first byte, in whoever's buffer holds it. */
struct http_span {
	uint32_t at;
	uint32_t length;
};

struct http_field {
	uint32_t name;
	uint32_t value;
	uint32_t value_length;
	uint16_t name_length;
	uint16_t id; /* enum header_id */
};

/* Case-sensitive, as methods are. */
enum http_method http_method_of(const char *text, size_t length);
const char *http_method_name(enum http_method method); /* "OTHER" for HTTP_OTHER: a metric label */
/* RFC 9110 9.2.2: may be sent again when the first try may have been seen. */
bool http_method_idempotent(enum http_method method);
/* The registered phrase; "Unknown" for a status without one. */
const char *http_reason(unsigned status);

enum { HTTP_DATE_BYTES = 30 };
/* IMF-fixdate, NUL-terminated: "Sun, 06 Nov 1994 08:49:37 GMT". */
void http_date(int64_t unix_seconds, char out[HTTP_DATE_BYTES]);

/* First field with this id, or NULL. */
const struct http_field *http_field_find(const struct http_field *fields, size_t count,
					 enum header_id id);

#endif
