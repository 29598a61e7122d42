/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

/* Intrusive binary heap of deadlines: smallest `at` first, ties by insertion order (so that a
 * simulation is deterministic). Items know their place and can be removed at any time. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/mem.h"

struct heap_item {
	uint64_t at;
	uint64_t order;
	size_t index; /* SIZE_MAX when not in a heap: set by heap_item_init */
};

struct heap {
	struct heap_item **items;
	size_t count;
	size_t capacity;
	uint64_t order;
	enum mem_tag tag;
};

void heap_init(struct heap *h, enum mem_tag tag);
void heap_fini(struct heap *h);
void heap_item_init(struct heap_item *item);
bool heap_contains(const struct heap_item *item);
/* Adds, or moves when it is there already. -1: out of memory. */
int heap_set(struct heap *h, struct heap_item *item, uint64_t at)
	__attribute__((warn_unused_result));
void heap_remove(struct heap *h, struct heap_item *item); /* harmless when not there */
struct heap_item *heap_peek(const struct heap *h);        /* NULL when empty */
struct heap_item *heap_pop(struct heap *h);

#endif
