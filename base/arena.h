/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

/*
 * Memory that is freed all at once: one per request, document or tick. Grows by chunks up to a hard
 * cap. Overflow is sticky: after the first failed allocation every further one gives NULL and
 * arena_ok() is false, so a builder may check once at its end (but must not write through NULL).
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include "base/mem.h"

struct arena_chunk;

struct arena {
	struct arena_chunk *chunk; /* newest */
	size_t used_bytes;         /* handed out, all chunks */
	size_t cap_bytes;
	enum mem_tag tag;
	bool failed;
};

/* No allocation until the first use. cap_bytes: the most that may be handed out. */
void arena_init(struct arena *a, enum mem_tag tag, size_t cap_bytes);
void arena_fini(struct arena *a);
/* Frees all but keeps the first chunk; clears the sticky failure. */
void arena_reset(struct arena *a);
bool arena_ok(const struct arena *a);

/* Aligned to 16 bytes, zeroed; arena_bytes is unaligned and not zeroed (text). */
void *arena_alloc(struct arena *a, size_t bytes) __attribute__((warn_unused_result));
void *arena_array(struct arena *a, size_t count, size_t bytes) __attribute__((warn_unused_result));
char *arena_bytes(struct arena *a, size_t bytes) __attribute__((warn_unused_result));
char *arena_strdup(struct arena *a, const char *text) __attribute__((warn_unused_result));
char *arena_strndup(struct arena *a, const char *text, size_t length)
	__attribute__((warn_unused_result));
char *arena_printf(struct arena *a, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), warn_unused_result));

#define arena_new(a, type) ((type *)arena_alloc((a), sizeof(type)))

#endif
