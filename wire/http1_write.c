/* SPDX-License-Identifier: Apache-2.0 */

/* Writer of HTTP/1.1 heads and chunk heads (RFC 9112). Whoever composes a message is responsible
 * for what it means; this file is responsible that no value breaks out of its line. */

#include "wire/http1_write.h"

#include <string.h>

void
http1_write_init(struct http1_writer *w, void *memory, size_t cap)
{
	w->at = w->start = memory;
	w->end = w->start + cap;
	w->failed = false;
}

size_t
http1_write_length(const struct http1_writer *w)
{
	return w->failed ? 0 : (size_t)(w->at - w->start);
}

bool
http1_write_ok(const struct http1_writer *w)
{
	return !w->failed;
}

static bool
room(struct http1_writer *w, size_t bytes)
{
	if (w->failed || (size_t)(w->end - w->at) < bytes)
		w->failed = true;
	return !w->failed;
}

static void
put(struct http1_writer *w, const char *text, size_t length)
{
	if (length > 0)
		memcpy(w->at, text, length);
	w->at += length;
}

void
http1_write_raw(struct http1_writer *w, const char *text, size_t length)
{
	if (room(w, length))
		put(w, text, length);
}

void
http1_write_request(struct http1_writer *w, const char *method, size_t method_length,
		    const char *target, size_t target_length)
{
	if (!header_is_token(method, method_length) || target_length == 0)
		w->failed = true;
	for (size_t i = 0; i < target_length; i++) {
		if ((unsigned char)target[i] <= 0x20 || target[i] == 0x7f)
			w->failed = true;
	}
	if (!room(w, method_length + target_length + sizeof("  HTTP/1.1\r\n")))
		return;
	put(w, method, method_length);
	put(w, " ", 1);
	put(w, target, target_length);
	put(w, " HTTP/1.1\r\n", 11);
}

void
http1_write_status(struct http1_writer *w, unsigned status)
{
	const char *reason = http_reason(status);
	char digits[4] = {(char)('0' + status / 100 % 10), (char)('0' + status / 10 % 10),
			  (char)('0' + status % 10), ' '};
	size_t length = strlen(reason);

	if (!room(w, 15 + length))
		return;
	put(w, "HTTP/1.1 ", 9);
	put(w, digits, 4);
	put(w, reason, length);
	put(w, "\r\n", 2);
}

void
http1_write_field(struct http1_writer *w, const char *name, size_t name_length, const char *value,
		  size_t value_length)
{
	if (!header_is_token(name, name_length) || !header_is_value(value, value_length))
		w->failed = true;
	if (!room(w, name_length + value_length + 4))
		return;
	put(w, name, name_length);
	put(w, ": ", 2);
	put(w, value, value_length);
	put(w, "\r\n", 2);
}

void
http1_write_header(struct http1_writer *w, const char *name, const char *value)
{
	http1_write_field(w, name, strlen(name), value, strlen(value));
}

void
http1_write_header_u(struct http1_writer *w, const char *name, uint64_t value)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value > 0);
	http1_write_field(w, name, strlen(name), digits + at, sizeof(digits) - at);
}

void
http1_write_end(struct http1_writer *w)
{
	http1_write_raw(w, "\r\n", 2);
}

size_t
http1_write_chunk_head(uint64_t length, char out[HTTP1_CHUNK_HEAD_MAX])
{
	static const char digits[] = "0123456789abcdef";
	unsigned shift = 60;
	size_t put_bytes = 0;

	while (shift > 0 && length >> shift == 0)
		shift -= 4;
	for (;; shift -= 4) {
		out[put_bytes++] = digits[length >> shift & 15];
		if (shift == 0)
			break;
	}
	out[put_bytes++] = '\r';
	out[put_bytes++] = '\n';
	return put_bytes;
}
