/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunks in a list, newest first. Small requests are cut from the newest chunk; each new chunk is
 * twice as large as the one before it, up to CHUNK_MAX. A request that is large beside a chunk gets
 * a chunk of its own, placed behind the newest, so that the room left in the newest is not lost:
 * the waste stays below one chunk plus a constant per large block.
 *
 * The cap counts what is handed out, with alignment: not the chunks' own overhead.
 *
 * Under the address sanitizer what is not handed out is poisoned: it sees a write past the newest
 * block and a use after arena_reset.
 */
#include "base/arena.h"

#include <assert.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#if __has_include(<sanitizer/asan_interface.h>)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#endif

enum { ALIGN = 16, CHUNK_MIN = 1008, CHUNK_MAX = 64 * 1024 };

struct arena_chunk {
	struct arena_chunk *older;
	size_t size;
	size_t used;
	bool first;
	alignas(ALIGN) char data[];
};

void
arena_init(struct arena *a, enum mem_tag tag, size_t cap_bytes)
{
	*a = (struct arena){.tag = tag, .cap_bytes = cap_bytes};
}

void
arena_fini(struct arena *a)
{
	struct arena_chunk *older;

	for (struct arena_chunk *c = a->chunk; c; c = older) {
		older = c->older;
		mem_free(c);
	}
	a->chunk = NULL;
	a->used_bytes = 0;
}

void
arena_reset(struct arena *a)
{
	struct arena_chunk *older;

	for (struct arena_chunk *c = a->chunk; c; c = older) {
		older = c->older;
		if (!c->first) {
			mem_free(c);
			continue;
		}
		c->older = NULL;
		c->used = 0;
		a->chunk = c;
		ASAN_POISON_MEMORY_REGION(c->data, c->size);
	}
	a->used_bytes = 0;
	a->failed = false;
}

bool
arena_ok(const struct arena *a)
{
	return !a->failed;
}

static struct arena_chunk *
chunk_new(struct arena *a, size_t size)
{
	struct arena_chunk *c = mem_alloc(a->tag, sizeof(*c) + size);

	if (!c)
		return NULL;
	c->older = NULL;
	c->size = size;
	c->used = 0;
	c->first = !a->chunk;
	ASAN_POISON_MEMORY_REGION(c->data, size);
	return c;
}

/* A chunk with at least `bytes` free, which take() then cuts. */
static struct arena_chunk *
chunk_for(struct arena *a, size_t bytes)
{
	struct arena_chunk *newest = a->chunk;
	struct arena_chunk *c;
	size_t size = CHUNK_MIN;

	if (newest && newest->size - newest->used >= bytes)
		return newest;
	while (newest && size <= newest->size && size < CHUNK_MAX)
		size *= 2;
	if (newest && bytes > size / 4) {
		c = chunk_new(a, bytes);
		if (!c)
			return NULL;
		c->older = newest->older;
		newest->older = c;
		return c;
	}
	c = chunk_new(a, bytes > size ? bytes : size);
	if (!c)
		return NULL;
	c->older = newest;
	a->chunk = c;
	return c;
}

static char *
take(struct arena *a, size_t bytes, size_t align)
{
	struct arena_chunk *c = a->chunk;
	size_t pad = c ? -c->used & (align - 1) : 0;
	char *p;

	if (a->failed)
		return NULL;
	if (bytes > SIZE_MAX / 2 || a->used_bytes > a->cap_bytes ||
	    bytes + pad > a->cap_bytes - a->used_bytes) {
		a->failed = true;
		return NULL;
	}
	c = chunk_for(a, bytes + pad);
	if (!c) {
		a->failed = true;
		return NULL;
	}
	if (c->used == 0)
		pad = 0;
	p = c->data + c->used + pad;
	c->used += bytes + pad;
	a->used_bytes += bytes + pad;
	ASAN_UNPOISON_MEMORY_REGION(p, bytes);
	return p;
}

void *
arena_alloc(struct arena *a, size_t bytes)
{
	void *p = take(a, bytes, ALIGN);

	if (p)
		memset(p, 0, bytes);
	return p;
}

void *
arena_array(struct arena *a, size_t count, size_t bytes)
{
	size_t total;

	if (__builtin_mul_overflow(count, bytes, &total)) {
		a->failed = true;
		return NULL;
	}
	return arena_alloc(a, total);
}

char *
arena_bytes(struct arena *a, size_t bytes)
{
	return take(a, bytes, 1);
}

char *
arena_strdup(struct arena *a, const char *text)
{
	return arena_strndup(a, text, SIZE_MAX);
}

char *
arena_strndup(struct arena *a, const char *text, size_t length)
{
	size_t n = length == SIZE_MAX ? strlen(text) : strnlen(text, length);
	char *copy = arena_bytes(a, n + 1);

	if (!copy)
		return NULL;
	memcpy(copy, text, n);
	copy[n] = '\0';
	return copy;
}

char *
arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list args;
	char *out;
	int n;

	va_start(args, fmt);
	n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (n < 0) {
		a->failed = true;
		return NULL;
	}
	out = arena_bytes(a, (size_t)n + 1);
	if (!out)
		return NULL;
	va_start(args, fmt);
	vsnprintf(out, (size_t)n + 1, fmt, args);
	va_end(args);
	return out;
}
