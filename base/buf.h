/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

/*
 * buf: a growing byte buffer with a hard cap and sticky failure, for building output.
 * cursor: a bounds-checked reader over bytes that somebody else owns, for parsing input. A read
 * past the end sets the sticky `failed` and gives zeros; check once at the end.
 * Threading: one owner.
 */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/mem.h"

struct buf {
	uint8_t *data;
	size_t length;
	size_t capacity;
	size_t cap_bytes; /* the most it may grow to */
	enum mem_tag tag;
	bool failed;
};

void buf_init(struct buf *b, enum mem_tag tag, size_t cap_bytes);
void buf_fini(struct buf *b);
/* Length 0 and not failed; memory is kept. */
void buf_reset(struct buf *b);
bool buf_ok(const struct buf *b);
/* Makes room for `more` bytes; gives where they go, or NULL (failed is set). buf_commit then adds
 * to the length what was really written. */
uint8_t *buf_reserve(struct buf *b, size_t more);
void buf_commit(struct buf *b, size_t written);
void buf_put(struct buf *b, const void *data, size_t bytes);
void buf_puts(struct buf *b, const char *text);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list args)
	__attribute__((format(printf, 2, 0)));
/* Little-endian integers, and a u32 length followed by the bytes. */
void buf_u8(struct buf *b, uint8_t v);
void buf_u16(struct buf *b, uint16_t v);
void buf_u32(struct buf *b, uint32_t v);
void buf_u64(struct buf *b, uint64_t v);
void buf_blob(struct buf *b, const void *data, size_t bytes);
void buf_text(struct buf *b, const char *text); /* as buf_blob; NULL is written as length 2^32-1 */
/* Drops bytes from the front (moves the rest). */
void buf_consume(struct buf *b, size_t bytes);
/* NUL-terminated view (the NUL is not counted); "" when it failed. */
const char *buf_cstr(struct buf *b);

struct cursor {
	const uint8_t *at;
	const uint8_t *end;
	bool failed;
};

void cursor_init(struct cursor *c, const void *data, size_t bytes);
size_t cursor_left(const struct cursor *c);
bool cursor_ok(const struct cursor *c);
/* True when all was read and nothing failed. */
bool cursor_done(const struct cursor *c);
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_u16(struct cursor *c); /* little-endian */
uint32_t cursor_u32(struct cursor *c);
uint64_t cursor_u64(struct cursor *c);
uint16_t cursor_be16(struct cursor *c);
uint32_t cursor_be32(struct cursor *c);
/* Borrows `bytes` bytes of the input; NULL on failure. */
const void *cursor_take(struct cursor *c, size_t bytes);
/* A u32 length and the bytes (borrowed). Fails when longer than max. */
const void *cursor_blob(struct cursor *c, size_t max, size_t *bytes_out);

struct arena;
/* A text written by buf_text: copied into the arena, NUL-terminated; an embedded NUL fails. NULL
 * for a NULL that was written, and on failure. */
char *cursor_text(struct cursor *c, size_t max, struct arena *a);

#endif
