/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

/*
 * The only caller of malloc in our code. Counts bytes per subsystem (a tag), checks every
 * multiplication, and can be told to fail: mem_fail_after(n) lets n allocations succeed and fails
 * the next one (then succeeds again), so that a test can run a function with failure 0, 1, 2 ...
 * until it succeeds. NULL means out of memory and is for the caller to handle; running out of
 * memory ends a request or refuses a deployment, never a process that serves.
 * Threading: thread-safe; the failure countdown is per process.
 */

#include <stddef.h>
#include <stdint.h>

enum mem_tag {
	MEM_BASE,
	MEM_RING,
	MEM_WIRE,
	MEM_SPEC,
	MEM_DATAPLANE,
	MEM_PROXY,
	MEM_RUNTIME,
	MEM_SCHEDULER,
	MEM_OVERLAY,
	MEM_OBSERVABILITY,
	MEM_API,
	MEM_NODE,
	MEM_CLI,
	MEM_LIBRARY, /* hooks handed to libraries */
	MEM_TAGS_,
};

void *mem_alloc(enum mem_tag tag, size_t bytes) __attribute__((malloc, warn_unused_result));
void *mem_zalloc(enum mem_tag tag, size_t bytes) __attribute__((malloc, warn_unused_result));
/* count * bytes, zeroed; NULL on overflow. */
void *mem_array(enum mem_tag tag, size_t count, size_t bytes) __attribute__((warn_unused_result));
/* As realloc for count * bytes: the old block stays valid when NULL is returned. p may be NULL,
 * but then the block belongs to `tag`; otherwise it keeps its tag. */
void *mem_resize(enum mem_tag tag, void *p, size_t count, size_t bytes)
	__attribute__((warn_unused_result));
char *mem_strdup(enum mem_tag tag, const char *text) __attribute__((malloc, warn_unused_result));
char *mem_strndup(enum mem_tag tag, const char *text, size_t length)
	__attribute__((malloc, warn_unused_result));
void *mem_dup(enum mem_tag tag, const void *data, size_t bytes)
	__attribute__((malloc, warn_unused_result));
void mem_free(void *p);
/* Overwrites the block before freeing it. */
void mem_free_zero(void *p);

/* Bytes in use by a tag, and by all; a name for metrics. */
size_t mem_used(enum mem_tag tag);
size_t mem_used_all(void);
const char *mem_tag_name(enum mem_tag tag);

/* Test support, compiled in always (one relaxed load per allocation). Negative: never fail. */
void mem_fail_after(int64_t allocations);
/* Number of allocations that were made to fail since the last mem_fail_after. */
uint64_t mem_failures(void);

/* Explicit zeroing the compiler may not drop. */
void mem_wipe(void *p, size_t bytes);

/* Frees through a pointer when the variable leaves scope: `defer_free char *s = ...;` */
void mem_free_ref(void *pointer_to_pointer);
#define defer_free __attribute__((cleanup(mem_free_ref)))

#endif
