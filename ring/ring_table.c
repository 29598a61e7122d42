/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables, the producer's side. A table is an array of row heads {key, version}, kept together so
 * that a reader finds what changed by a short scan, and an array of rows. One sequence lock covers
 * both: the first change of a transaction makes the sequence odd, the commit makes it even; half of
 * it is the table's version, and each row remembers the version that changed it last. A removed row
 * keeps its version with key 0, and a slot that is used again gets a newer one, so a reader that
 * slept through it sees another key than the one it remembers and knows that the old row is gone.
 *
 * Finding a row is the producer's own matter: a private index, private free slots. A transaction in
 * which nothing differs from what is there leaves no trace.
 */

#include "ring/ring_segment.h"

#include <assert.h>
#include <string.h>
#include "base/mem.h"
#include "ring/word.h"

void
ring_table_writer_init(struct ring_writer *w)
{
	for (size_t i = 0; i < w->layout.tables_count; i++) {
		struct ring_table_writer *t = &w->tables[i];
		char *area = w->memory + w->places.tables[i];

		t->layout = &w->layout.tables[i];
		t->control = (struct layout_table *)(void *)area;
		t->heads = (struct layout_row *)(void *)(area + LAYOUT_LINE);
		t->rows = (uint64_t *)(void *)(area + layout_table_rows(t->layout));
		t->sequence = 2;
		word_store(&t->control->sequence, t->sequence);
	}
}

void
ring_table_writer_fini(struct ring_writer *w)
{
	for (size_t i = 0; i < w->layout.tables_count; i++) {
		ring_index_fini(&w->tables[i].index);
		mem_free(w->tables[i].free);
	}
}

static const struct ring_table_writer *
find_const(const struct ring_writer *w, uint16_t table)
{
	for (size_t i = 0; i < w->layout.tables_count; i++)
		if (w->layout.tables[i].table == table)
			return &w->tables[i];
	assert(!"a table that this segment has");
	return NULL;
}

static struct ring_table_writer *
find(struct ring_writer *w, uint16_t table)
{
	return &w->tables[find_const(w, table) - w->tables];
}

static uint64_t *
row_of(const struct ring_table_writer *t, uint32_t slot)
{
	return t->rows + (size_t)slot * (t->layout->row_bytes / 8);
}

static void
lock(struct ring_table_writer *t)
{
	if ((t->sequence & 1) == 0)
		word_store(&t->control->sequence, ++t->sequence);
}

static void
unlock(struct ring_table_writer *t)
{
	if ((t->sequence & 1) != 0)
		word_store(&t->control->sequence, ++t->sequence);
}

static void
stamp(struct ring_table_writer *t, uint32_t slot, uint64_t key)
{
	word_store(&t->heads[slot].key, key);
	word_store(&t->heads[slot].version, (t->sequence + 1) / 2);
}

/* Room for every slot in use to become free, so that removing cannot fail. */
static bool
reserve_free(struct ring_table_writer *t)
{
	size_t capacity = t->free_capacity == 0 ? 16 : t->free_capacity * 2;
	uint32_t *larger;

	if (t->high_water < t->free_capacity)
		return true;
	larger = mem_resize(MEM_RING, t->free, capacity, sizeof(larger[0]));
	if (larger == NULL)
		return false;
	t->free = larger;
	t->free_capacity = capacity;
	return true;
}

static enum ring_status
take_slot(struct ring_table_writer *t, uint32_t *slot_out)
{
	if (t->free_count == 0 && t->high_water == t->layout->rows_max)
		return RING_FULL;
	if (!ring_index_reserve(&t->index, t->index.count + 1) || !reserve_free(t))
		return RING_NO_MEM;
	if (t->free_count > 0) {
		*slot_out = t->free[--t->free_count];
		return RING_OK;
	}
	*slot_out = t->high_water++;
	lock(t);
	word_store(&t->control->high_water, t->high_water);
	return RING_OK;
}

void
ring_table_begin(struct ring_writer *w, uint16_t table)
{
	struct ring_table_writer *t = find(w, table);

	assert(!t->open);
	t->open = true;
}

void
ring_table_commit(struct ring_writer *w, uint16_t table)
{
	struct ring_table_writer *t = find(w, table);

	assert(t->open);
	t->open = false;
	unlock(t);
}

uint64_t
ring_table_own_version(const struct ring_writer *w, uint16_t table)
{
	return find_const(w, table)->sequence / 2;
}

enum ring_status
ring_table_set(struct ring_writer *w, uint16_t table, uint64_t key, const void *row,
	       bool *changed_out)
{
	struct ring_table_writer *t = find(w, table);
	size_t bytes = t->layout->row_bytes;
	enum ring_status status;
	uint32_t slot;
	bool known;

	assert(key != 0);
	known = ring_index_get(&t->index, key, &slot);
	if (changed_out != NULL)
		*changed_out = false;
	if (known && memcmp(row_of(t, slot), row, bytes) == 0)
		return RING_OK;
	if (!known) {
		status = take_slot(t, &slot);
		if (status != RING_OK)
			return status;
		ring_index_put(&t->index, key, slot);
	}
	lock(t);
	word_write(row_of(t, slot), row, bytes);
	stamp(t, slot, key);
	if (!t->open)
		unlock(t);
	if (changed_out != NULL)
		*changed_out = true;
	return RING_OK;
}

bool
ring_table_remove(struct ring_writer *w, uint16_t table, uint64_t key)
{
	struct ring_table_writer *t = find(w, table);
	uint32_t slot;

	if (!ring_index_get(&t->index, key, &slot))
		return false;
	ring_index_remove(&t->index, key);
	t->free[t->free_count++] = slot;
	lock(t);
	stamp(t, slot, 0);
	if (!t->open)
		unlock(t);
	return true;
}

const void *
ring_table_own(const struct ring_writer *w, uint16_t table, uint64_t key)
{
	const struct ring_table_writer *t = find_const(w, table);
	uint32_t slot;

	return ring_index_get(&t->index, key, &slot) ? row_of(t, slot) : NULL;
}
