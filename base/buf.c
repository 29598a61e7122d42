/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building output and reading input, byte by byte and without one pointer sum outside this file.
 * Both are sticky: what failed once stays failed and does nothing more, so that a writer or a
 * parser reads as a list with one check at its end.
 *
 * A buf that holds memory always has one byte more than it may be filled with, so that the NUL of
 * buf_cstr and of vsnprintf has its place even at the cap.
 */
#include "base/buf.h"

#include <assert.h>
#include <endian.h>
#include <stdio.h>
#include <string.h>
#include "base/arena.h"

enum { CAPACITY_MIN = 64 };

static const uint32_t null_text = UINT32_MAX;

void
buf_init(struct buf *b, enum mem_tag tag, size_t cap_bytes)
{
	assert(cap_bytes < SIZE_MAX / 2);
	*b = (struct buf){.tag = tag, .cap_bytes = cap_bytes};
}

void
buf_fini(struct buf *b)
{
	mem_free(b->data);
	b->data = NULL;
	b->length = 0;
	b->capacity = 0;
}

void
buf_reset(struct buf *b)
{
	b->length = 0;
	b->failed = false;
}

bool
buf_ok(const struct buf *b)
{
	return !b->failed;
}

uint8_t *
buf_reserve(struct buf *b, size_t more)
{
	size_t need;
	size_t capacity = b->capacity ? b->capacity : CAPACITY_MIN;
	uint8_t *data;

	if (b->failed)
		return NULL;
	if (more > b->cap_bytes - b->length) {
		b->failed = true;
		return NULL;
	}
	need = b->length + more + 1;
	if (need <= b->capacity)
		return b->data + b->length;
	while (capacity < need)
		capacity *= 2;
	if (capacity > b->cap_bytes + 1)
		capacity = b->cap_bytes + 1;
	data = mem_resize(b->tag, b->data, capacity, 1);
	if (!data) {
		b->failed = true;
		return NULL;
	}
	b->data = data;
	b->capacity = capacity;
	return b->data + b->length;
}

void
buf_commit(struct buf *b, size_t written)
{
	assert(b->length + written < b->capacity || written == 0);
	b->length += written;
}

void
buf_put(struct buf *b, const void *data, size_t bytes)
{
	uint8_t *at = buf_reserve(b, bytes);

	if (!at || !bytes)
		return;
	memcpy(at, data, bytes);
	buf_commit(b, bytes);
}

void
buf_puts(struct buf *b, const char *text)
{
	buf_put(b, text, strlen(text));
}

void
buf_putc(struct buf *b, char c)
{
	buf_put(b, &c, 1);
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	buf_vprintf(b, fmt, args);
	va_end(args);
}

void
buf_vprintf(struct buf *b, const char *fmt, va_list args)
{
	va_list again;
	uint8_t *at;
	int n;

	va_copy(again, args);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0) {
		b->failed = true;
		return;
	}
	at = buf_reserve(b, (size_t)n);
	if (!at)
		return;
	vsnprintf((char *)at, (size_t)n + 1, fmt, args);
	buf_commit(b, (size_t)n);
}

void
buf_u8(struct buf *b, uint8_t v)
{
	buf_put(b, &v, sizeof(v));
}

void
buf_u16(struct buf *b, uint16_t v)
{
	v = htole16(v);
	buf_put(b, &v, sizeof(v));
}

void
buf_u32(struct buf *b, uint32_t v)
{
	v = htole32(v);
	buf_put(b, &v, sizeof(v));
}

void
buf_u64(struct buf *b, uint64_t v)
{
	v = htole64(v);
	buf_put(b, &v, sizeof(v));
}

void
buf_blob(struct buf *b, const void *data, size_t bytes)
{
	if (bytes >= null_text) {
		b->failed = true;
		return;
	}
	buf_u32(b, (uint32_t)bytes);
	buf_put(b, data, bytes);
}

void
buf_text(struct buf *b, const char *text)
{
	if (text)
		buf_blob(b, text, strlen(text));
	else
		buf_u32(b, null_text);
}

void
buf_consume(struct buf *b, size_t bytes)
{
	assert(bytes <= b->length);
	if (!bytes)
		return;
	b->length -= bytes;
	memmove(b->data, b->data + bytes, b->length);
}

const char *
buf_cstr(struct buf *b)
{
	if (b->failed || !b->length)
		return "";
	b->data[b->length] = '\0';
	return (const char *)b->data;
}

void
cursor_init(struct cursor *c, const void *data, size_t bytes)
{
	assert(data || !bytes);
	/* A successful read of nothing is not NULL. */
	c->at = data ? data : (const uint8_t *)"";
	c->end = c->at + bytes;
	c->failed = false;
}

size_t
cursor_left(const struct cursor *c)
{
	return c->failed ? 0 : (size_t)(c->end - c->at);
}

bool
cursor_ok(const struct cursor *c)
{
	return !c->failed;
}

bool
cursor_done(const struct cursor *c)
{
	return !c->failed && c->at == c->end;
}

static void
cursor_get(struct cursor *c, void *out, size_t bytes)
{
	const void *at = cursor_take(c, bytes);

	if (at)
		memcpy(out, at, bytes);
	else
		memset(out, 0, bytes);
}

uint8_t
cursor_u8(struct cursor *c)
{
	uint8_t v;

	cursor_get(c, &v, sizeof(v));
	return v;
}

uint16_t
cursor_u16(struct cursor *c)
{
	uint16_t v;

	cursor_get(c, &v, sizeof(v));
	return le16toh(v);
}

uint32_t
cursor_u32(struct cursor *c)
{
	uint32_t v;

	cursor_get(c, &v, sizeof(v));
	return le32toh(v);
}

uint64_t
cursor_u64(struct cursor *c)
{
	uint64_t v;

	cursor_get(c, &v, sizeof(v));
	return le64toh(v);
}

uint16_t
cursor_be16(struct cursor *c)
{
	uint16_t v;

	cursor_get(c, &v, sizeof(v));
	return be16toh(v);
}

uint32_t
cursor_be32(struct cursor *c)
{
	uint32_t v;

	cursor_get(c, &v, sizeof(v));
	return be32toh(v);
}

const void *
cursor_take(struct cursor *c, size_t bytes)
{
	const uint8_t *at = c->at;

	if (c->failed || bytes > (size_t)(c->end - c->at)) {
		c->failed = true;
		return NULL;
	}
	c->at += bytes;
	return at;
}

const void *
cursor_blob(struct cursor *c, size_t max, size_t *bytes_out)
{
	uint32_t bytes = cursor_u32(c);
	const void *at;

	*bytes_out = 0;
	if (bytes == null_text || bytes > max)
		c->failed = true;
	at = cursor_take(c, bytes);
	if (at)
		*bytes_out = bytes;
	return at;
}

char *
cursor_text(struct cursor *c, size_t max, struct arena *a)
{
	uint32_t bytes = cursor_u32(c);
	const char *at;
	char *copy;

	if (c->failed || bytes == null_text)
		return NULL;
	if (bytes > max)
		c->failed = true;
	at = cursor_take(c, bytes);
	if (!at)
		return NULL;
	if (memchr(at, '\0', bytes)) {
		c->failed = true;
		return NULL;
	}
	copy = arena_strndup(a, at, bytes);
	if (!copy)
		c->failed = true;
	return copy;
}
