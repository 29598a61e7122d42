/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The allocator of the whole program. Each block carries its size and tag in a header in front of
 * it, so that freeing needs neither and the counters are exact. The header is 16 bytes, which keeps
 * malloc's alignment. A marker in it turns a foreign or twice-freed pointer into an abort.
 *
 * What it does not do: pool, cache or retry. The C library's allocator is good at that, and the
 * sanitizers see each block.
 */
#include "base/mem.h"

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MARK_LIVE = 0x6d656d31, MARK_FREED = 0x66726565 };

struct header {
	size_t bytes;
	uint32_t tag;
	uint32_t mark;
};

static_assert(sizeof(struct header) % alignof(max_align_t) == 0, "blocks keep malloc's alignment");

/* A cache line each: subsystems with threads of their own do not share one. */
static struct {
	alignas(64) atomic_size_t bytes;
} used[MEM_TAGS_];

static _Atomic int64_t fail_after = -1;
static _Atomic uint64_t failures;

static const char *const tag_names[MEM_TAGS_] = {
	[MEM_BASE] = "base",
	[MEM_RING] = "ring",
	[MEM_WIRE] = "wire",
	[MEM_SPEC] = "spec",
	[MEM_DATAPLANE] = "dataplane",
	[MEM_PROXY] = "proxy",
	[MEM_RUNTIME] = "runtime",
	[MEM_SCHEDULER] = "scheduler",
	[MEM_OVERLAY] = "overlay",
	[MEM_OBSERVABILITY] = "observability",
	[MEM_API] = "api",
	[MEM_NODE] = "node",
	[MEM_CLI] = "cli",
	[MEM_LIBRARY] = "library",
};

static bool
must_fail(void)
{
	if (atomic_load_explicit(&fail_after, memory_order_relaxed) < 0)
		return false;
	if (atomic_fetch_sub(&fail_after, 1) != 0)
		return false;
	atomic_fetch_add(&failures, 1);
	return true;
}

static void
count_add(uint32_t tag, size_t bytes)
{
	atomic_fetch_add_explicit(&used[tag].bytes, bytes, memory_order_relaxed);
}

static void
count_sub(uint32_t tag, size_t bytes)
{
	atomic_fetch_sub_explicit(&used[tag].bytes, bytes, memory_order_relaxed);
}

static bool
too_large(size_t bytes)
{
	return bytes > (size_t)PTRDIFF_MAX - sizeof(struct header);
}

static void *
adopt(struct header *h, enum mem_tag tag, size_t bytes)
{
	if (!h)
		return NULL;
	h->bytes = bytes;
	h->tag = (uint32_t)tag;
	h->mark = MARK_LIVE;
	count_add(h->tag, bytes);
	return h + 1;
}

static struct header *
header_of(void *p)
{
	struct header *h = (struct header *)p - 1;

	assert(h->mark == MARK_LIVE);
	assert(h->tag < MEM_TAGS_);
	return h;
}

void *
mem_alloc(enum mem_tag tag, size_t bytes)
{
	assert(tag < MEM_TAGS_);
	if (must_fail() || too_large(bytes))
		return NULL;
	return adopt(malloc(sizeof(struct header) + bytes), tag, bytes);
}

void *
mem_zalloc(enum mem_tag tag, size_t bytes)
{
	assert(tag < MEM_TAGS_);
	if (must_fail() || too_large(bytes))
		return NULL;
	return adopt(calloc(1, sizeof(struct header) + bytes), tag, bytes);
}

void *
mem_array(enum mem_tag tag, size_t count, size_t bytes)
{
	size_t total;

	if (__builtin_mul_overflow(count, bytes, &total))
		return NULL;
	return mem_zalloc(tag, total);
}

void *
mem_resize(enum mem_tag tag, void *p, size_t count, size_t bytes)
{
	struct header *old;
	struct header *h;
	uint32_t old_tag;
	size_t old_bytes;
	size_t total;

	if (__builtin_mul_overflow(count, bytes, &total))
		return NULL;
	if (!p)
		return mem_alloc(tag, total);
	if (must_fail() || too_large(total))
		return NULL;
	old = header_of(p);
	old_tag = old->tag;
	old_bytes = old->bytes;
	h = realloc(old, sizeof(*h) + total);
	if (!h)
		return NULL;
	h->bytes = total;
	count_add(old_tag, total);
	count_sub(old_tag, old_bytes);
	return h + 1;
}

char *
mem_strdup(enum mem_tag tag, const char *text)
{
	return mem_dup(tag, text, strlen(text) + 1);
}

char *
mem_strndup(enum mem_tag tag, const char *text, size_t length)
{
	size_t n = strnlen(text, length);
	char *copy = mem_alloc(tag, n + 1);

	if (!copy)
		return NULL;
	memcpy(copy, text, n);
	copy[n] = '\0';
	return copy;
}

void *
mem_dup(enum mem_tag tag, const void *data, size_t bytes)
{
	void *copy = mem_alloc(tag, bytes);

	if (copy && bytes)
		memcpy(copy, data, bytes);
	return copy;
}

void
mem_free(void *p)
{
	struct header *h;

	if (!p)
		return;
	h = header_of(p);
	count_sub(h->tag, h->bytes);
	h->mark = MARK_FREED;
	/* Else the store above is dead to the compiler. */
	__asm__ volatile("" ::"r"(h) : "memory");
	free(h);
}

void
mem_free_zero(void *p)
{
	if (!p)
		return;
	mem_wipe(p, header_of(p)->bytes);
	mem_free(p);
}

size_t
mem_used(enum mem_tag tag)
{
	assert(tag < MEM_TAGS_);
	return atomic_load_explicit(&used[tag].bytes, memory_order_relaxed);
}

size_t
mem_used_all(void)
{
	size_t sum = 0;

	for (unsigned tag = 0; tag < MEM_TAGS_; tag++)
		sum += mem_used((enum mem_tag)tag);
	return sum;
}

const char *
mem_tag_name(enum mem_tag tag)
{
	assert(tag < MEM_TAGS_);
	return tag_names[tag];
}

void
mem_fail_after(int64_t allocations)
{
	atomic_store(&failures, 0);
	atomic_store(&fail_after, allocations);
}

uint64_t
mem_failures(void)
{
	return atomic_load(&failures);
}

void
mem_wipe(void *p, size_t bytes)
{
	if (bytes)
		explicit_bzero(p, bytes);
}

void
mem_free_ref(void *pointer_to_pointer)
{
	void *p;

	memcpy(&p, pointer_to_pointer, sizeof(p));
	mem_free(p);
}
