/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_RING_INDEX_H
#define RING_RING_INDEX_H

/*
 * From a row's key to its slot: open addressing without tombstones, hashed with SipHash under a
 * random key of its own (keys of rows may come from outside). Private memory, one owner.
 * Room is made beforehand, so that adding cannot fail in the middle of a change.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring_index_item {
	uint64_t key; /* 0: free */
	uint32_t slot;
	uint32_t pad_;
};

struct ring_index {
	struct ring_index_item *items;
	size_t capacity; /* power of two, or 0 */
	size_t count;
	uint64_t secret[2];
};

/* Zeroed memory is an empty index. */
void ring_index_fini(struct ring_index *index);
void ring_index_clear(struct ring_index *index); /* keeps the memory */
/* Room for that many keys in all. False: out of memory, nothing changed. */
bool ring_index_reserve(struct ring_index *index, size_t keys) __attribute__((warn_unused_result));
bool ring_index_get(const struct ring_index *index, uint64_t key, uint32_t *slot_out);
/* Adds or replaces; key not 0. True when it is new. */
bool ring_index_put(struct ring_index *index, uint64_t key, uint32_t slot);
void ring_index_remove(struct ring_index *index, uint64_t key);

#endif
