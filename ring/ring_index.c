/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hash index of a table, on both sides of the ring. At most half of the places are taken, so a
 * probe is short; removal moves the followers up instead of leaving marks (Knuth, volume 3, 6.4,
 * algorithm R), so an index that lives as long as its process does not silt up.
 */

#include "ring/ring_index.h"

#include <assert.h>
#include <string.h>
#include "base/map.h"
#include "base/mem.h"
#include "base/world.h"

enum { INDEX_MIN = 16 };

static size_t
home(const struct ring_index *index, uint64_t key)
{
	return map_siphash(index->secret, &key, sizeof(key)) & (index->capacity - 1);
}

/* The place of the key, or the free place where it belongs. */
static size_t
probe(const struct ring_index *index, uint64_t key)
{
	size_t at = home(index, key);

	while (index->items[at].key != 0 && index->items[at].key != key)
		at = (at + 1) & (index->capacity - 1);
	return at;
}

void
ring_index_fini(struct ring_index *index)
{
	mem_free(index->items);
	*index = (struct ring_index){0};
}

void
ring_index_clear(struct ring_index *index)
{
	if (index->count > 0)
		memset(index->items, 0, index->capacity * sizeof(index->items[0]));
	index->count = 0;
}

bool
ring_index_reserve(struct ring_index *index, size_t keys)
{
	struct ring_index larger = {.capacity = INDEX_MIN};
	struct world world;

	if (keys <= index->capacity / 2)
		return true;
	while (larger.capacity / 2 < keys)
		larger.capacity *= 2;
	larger.items = mem_array(MEM_RING, larger.capacity, sizeof(larger.items[0]));
	if (larger.items == NULL)
		return false;
	world_real(&world);
	world_random(&world, larger.secret, sizeof(larger.secret));
	for (size_t i = 0; i < index->capacity; i++)
		if (index->items[i].key != 0)
			ring_index_put(&larger, index->items[i].key, index->items[i].slot);
	mem_free(index->items);
	*index = larger;
	return true;
}

bool
ring_index_get(const struct ring_index *index, uint64_t key, uint32_t *slot_out)
{
	size_t at;

	if (index->count == 0 || key == 0)
		return false;
	at = probe(index, key);
	*slot_out = index->items[at].slot;
	return index->items[at].key == key;
}

bool
ring_index_put(struct ring_index *index, uint64_t key, uint32_t slot)
{
	size_t at;
	bool added;

	assert(key != 0 && index->count < index->capacity);
	at = probe(index, key);
	added = index->items[at].key == 0;
	index->items[at] = (struct ring_index_item){.key = key, .slot = slot};
	index->count += added;
	return added;
}

void
ring_index_remove(struct ring_index *index, uint64_t key)
{
	size_t mask = index->capacity - 1;
	size_t hole, at, from;

	if (index->count == 0)
		return;
	hole = probe(index, key);
	if (index->items[hole].key == 0)
		return;
	for (at = (hole + 1) & mask; index->items[at].key != 0; at = (at + 1) & mask) {
		from = home(index, index->items[at].key);
		/* May move up unless its home lies behind the hole. */
		if (((at - from) & mask) >= ((at - hole) & mask)) {
			index->items[hole] = index->items[at];
			hole = at;
		}
	}
	index->items[hole] = (struct ring_index_item){0};
	index->count--;
}
