/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_HTTP1_WRITE_H
#define WIRE_HTTP1_WRITE_H

/*
 * Writes HTTP/1.1 messages into flat memory. Overflow and forbidden bytes (CR, LF, NUL in a name or
 * value, spaces in a target) set the sticky `failed`; check once at the end.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "wire/http.h"

struct http1_writer {
	char *at;
	char *start;
	char *end;
	bool failed;
};

void http1_write_init(struct http1_writer *w, void *memory, size_t cap);
size_t http1_write_length(const struct http1_writer *w); /* 0 when failed */
bool http1_write_ok(const struct http1_writer *w);

/* "GET /path HTTP/1.1\r\n" */
void http1_write_request(struct http1_writer *w, const char *method, size_t method_length,
			 const char *target, size_t target_length);
/* "HTTP/1.1 200 OK\r\n" */
void http1_write_status(struct http1_writer *w, unsigned status);
void http1_write_field(struct http1_writer *w, const char *name, size_t name_length,
		       const char *value, size_t value_length);
/* NUL-terminated texts. */
void http1_write_header(struct http1_writer *w, const char *name, const char *value);
void http1_write_header_u(struct http1_writer *w, const char *name, uint64_t value);
/* Bytes as they are: constants such as "connection: close\r\n". */
void http1_write_raw(struct http1_writer *w, const char *text, size_t length);
void http1_write_end(struct http1_writer *w); /* the empty line */

enum { HTTP1_CHUNK_HEAD_MAX = 18 };
/* "1f4\r\n" before that many bytes, which "\r\n" follows; gives the bytes written. length > 0. */
size_t http1_write_chunk_head(uint64_t length, char out[HTTP1_CHUNK_HEAD_MAX]);
/* The last chunk without trailers is "0\r\n\r\n". */

#endif
