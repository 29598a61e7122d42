/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables, the readers' side: a private copy that follows the producer's table.
 *
 * A look takes three steps. Stage: under the sequence lock, rows whose version is newer than the
 * copy's are copied aside. Check: if the sequence has not moved, what was staged is one snapshot;
 * its keys must be distinct, and memory for applying it is made. Apply: nothing can fail any more;
 * the copy is changed first and the differences are told afterwards, so that a callback that looks
 * at other rows sees the new state. A row that moved to another slot is a change, not a removal.
 *
 * A producer that is always busy, or that died inside a transaction, costs a bounded number of
 * tries. Nothing that the segment says is used as an index or a length before it was compared with
 * the checked geometry.
 */

#include "ring/ring_segment.h"

#include <assert.h>
#include <string.h>
#include "base/mem.h"
#include "ring/word.h"

enum {
	COPY_TRIES = 8,      /* snapshots that turned out torn */
	COPY_PAUSES = 1000,  /* while a transaction is open */
	STAGE_KEPT = 1 << 16 /* bytes that stay allocated between looks */
};

void
ring_table_reader_init(struct ring_reader *r)
{
	for (size_t i = 0; i < r->layout.tables_count; i++) {
		struct ring_copy *c = &r->copies[i];
		const char *area = r->memory + r->places.tables[i];

		c->layout = &r->layout.tables[i];
		c->control = (const struct layout_table *)(const void *)area;
		c->heads = (const struct layout_row *)(const void *)(area + LAYOUT_LINE);
		c->rows_shared =
			(const uint64_t *)(const void *)(area + layout_table_rows(c->layout));
	}
}

static void
stage_fini(struct ring_stage *s)
{
	mem_free(s->items);
	mem_free(s->rows);
	ring_index_fini(&s->seen);
	*s = (struct ring_stage){0};
}

void
ring_table_reader_fini(struct ring_reader *r)
{
	for (size_t i = 0; i < r->layout.tables_count; i++) {
		mem_free(r->copies[i].slots);
		mem_free(r->copies[i].rows);
		ring_index_fini(&r->copies[i].index);
	}
	stage_fini(&r->stage);
}

static const struct ring_copy *
find(const struct ring_reader *r, uint16_t table)
{
	for (size_t i = 0; i < r->layout.tables_count; i++)
		if (r->layout.tables[i].table == table)
			return &r->copies[i];
	return NULL;
}

/* ---- stage ---- */

static bool
stage_reserve(struct ring_stage *s, size_t count, size_t stride)
{
	size_t items = s->items_capacity == 0 ? 16 : s->items_capacity;
	size_t rows = s->rows_capacity == 0 ? 1024 : s->rows_capacity;
	void *larger;

	while (items < count)
		items *= 2;
	while (rows < count * stride)
		rows *= 2;
	if (items != s->items_capacity) {
		larger = mem_resize(MEM_RING, s->items, items, sizeof(s->items[0]));
		if (larger == NULL)
			return false;
		s->items = larger;
		s->items_capacity = items;
	}
	if (rows != s->rows_capacity) {
		larger = mem_resize(MEM_RING, s->rows, rows, 1);
		if (larger == NULL)
			return false;
		s->rows = larger;
		s->rows_capacity = rows;
	}
	return true;
}

/* A row of the producer's size becomes one of the reader's: cut, or padded with zeros. */
static void
copy_row(const struct ring_copy *c, uint32_t slot, char *to)
{
	const uint64_t *from = c->rows_shared + (size_t)slot * (c->layout->row_bytes / 8);
	size_t bytes = c->layout->row_bytes < c->stride ? c->layout->row_bytes : c->stride;

	word_read(to, from, bytes / 8);
	memset(to + bytes, 0, c->stride - bytes);
	memset(to + c->row_bytes, 0, c->stride - c->row_bytes);
}

/* Adds the rows that are newer than version `since`. The high-water mark never goes back, neither
 * between snapshots nor between two looks at one: what was staged before lies below it. */
static enum ring_status
stage_rows(const struct ring_copy *c, struct ring_stage *s, uint64_t since,
	   uint32_t *high_water_inout)
{
	uint64_t high_water = word_load(&c->control->high_water);

	if (high_water > c->layout->rows_max || high_water < *high_water_inout)
		return RING_BAD;
	/* Rows that are small there and padded here. */
	if (high_water * c->stride > LAYOUT_AREA_MAX)
		return RING_BAD;
	*high_water_inout = (uint32_t)high_water;
	for (uint32_t slot = 0; slot < high_water; slot++) {
		struct ring_staged *item;

		if (word_load(&c->heads[slot].version) <= since)
			continue;
		if (!stage_reserve(s, s->count + 1, c->stride))
			return RING_NO_MEM;
		item = &s->items[s->count];
		*item = (struct ring_staged){
			.key = word_load(&c->heads[slot].key),
			.slot = slot,
		};
		if (item->key != 0)
			copy_row(c, slot, s->rows + s->count * c->stride);
		s->count++;
	}
	return RING_OK;
}

/*
 * Gives the sequence of the snapshot that was staged. When a transaction came in between, only what
 * it changed is staged again (after the older state of the same row): a large table with a busy
 * producer is not copied from the beginning each time.
 */
static enum ring_status
stage_snapshot(const struct ring_copy *c, struct ring_stage *s, uint64_t *sequence_out,
	       uint32_t *high_water_out)
{
	unsigned tries = 0, pauses = 0;
	uint64_t since = c->sequence / 2;

	s->count = 0;
	*high_water_out = c->high_water;
	while (tries < COPY_TRIES && pauses < COPY_PAUSES) {
		uint64_t sequence = word_load(&c->control->sequence);
		enum ring_status status;

		if (sequence == c->sequence)
			return RING_EMPTY;
		if (sequence < c->sequence)
			return RING_BAD;
		if ((sequence & 1) != 0) {
			word_pause();
			pauses++;
			continue;
		}
		status = stage_rows(c, s, since, high_water_out);
		if (status != RING_OK)
			return status;
		*sequence_out = sequence;
		if (word_load(&c->control->sequence) == sequence)
			return RING_OK;
		since = sequence / 2;
		tries++;
	}
	return RING_AGAIN;
}

/* ---- check ---- */

static bool
copy_reserve(struct ring_copy *c, uint32_t high_water)
{
	size_t capacity = c->capacity == 0 ? 16 : c->capacity;
	struct ring_copy_slot *slots;
	char *rows;

	while (capacity < high_water)
		capacity *= 2;
	if (!ring_index_reserve(&c->index, high_water))
		return false;
	if (capacity == c->capacity)
		return true;
	slots = mem_resize(MEM_RING, c->slots, capacity, sizeof(slots[0]));
	if (slots == NULL)
		return false;
	c->slots = slots;
	rows = mem_resize(MEM_RING, c->rows, capacity, c->stride);
	if (rows == NULL)
		return false;
	c->rows = rows;
	memset(slots + c->capacity, 0, (capacity - c->capacity) * sizeof(slots[0]));
	c->capacity = capacity;
	return true;
}

/* Of several states of a row the last one is kept. */
static void
drop_superseded(struct ring_copy *c, struct ring_stage *s)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->count; i++)
		c->slots[s->items[i].slot].staged = i;
	for (size_t i = 0; i < s->count; i++) {
		if (c->slots[s->items[i].slot].staged != i)
			continue;
		if (kept != i) {
			s->items[kept] = s->items[i];
			memcpy(s->rows + kept * c->stride, s->rows + i * c->stride, c->stride);
		}
		kept++;
	}
	s->count = kept;
}

/* No key may stand twice: neither among the staged rows nor in a slot that stays as it is. */
static enum ring_status
check_keys(struct ring_copy *c, struct ring_stage *s, uint64_t sequence)
{
	uint32_t other;

	ring_index_clear(&s->seen);
	if (!ring_index_reserve(&s->seen, s->count))
		return RING_NO_MEM;
	for (size_t i = 0; i < s->count; i++) {
		c->slots[s->items[i].slot].staged = sequence;
		if (s->items[i].key != 0 && !ring_index_put(&s->seen, s->items[i].key, 0))
			return RING_BAD;
	}
	for (size_t i = 0; i < s->count; i++)
		if (ring_index_get(&c->index, s->items[i].key, &other) &&
		    c->slots[other].staged != sequence)
			return RING_BAD;
	return RING_OK;
}

/* ---- apply ---- */

static void
apply(struct ring_copy *c, struct ring_stage *s)
{
	for (size_t i = 0; i < s->count; i++) {
		struct ring_staged *item = &s->items[i];

		item->key_before = c->slots[item->slot].key;
		if (item->key_before != 0 && item->key_before != item->key)
			ring_index_remove(&c->index, item->key_before);
	}
	for (size_t i = 0; i < s->count; i++) {
		struct ring_staged *item = &s->items[i];
		char *row = c->rows + item->slot * (size_t)c->stride;
		const char *staged = s->rows + i * c->stride;

		c->slots[item->slot].key = item->key;
		if (item->key == 0)
			continue;
		item->changed =
			item->key != item->key_before || memcmp(row, staged, c->stride) != 0;
		memcpy(row, staged, c->stride);
		ring_index_put(&c->index, item->key, item->slot);
	}
}

static void
tell(const struct ring_copy *c, const struct ring_stage *s, ring_change_fn change, void *arg)
{
	uint32_t slot;

	for (size_t i = 0; i < s->count; i++) {
		const struct ring_staged *item = &s->items[i];

		if (item->key_before != 0 && !ring_index_get(&c->index, item->key_before, &slot))
			change(arg, item->key_before, NULL);
	}
	for (size_t i = 0; i < s->count; i++)
		if (s->items[i].changed)
			change(arg, s->items[i].key,
			       c->rows + s->items[i].slot * (size_t)c->stride);
}

static enum ring_status
sync_copy(struct ring_copy *c, struct ring_stage *s, ring_change_fn change, void *arg)
{
	uint32_t high_water = 0;
	uint64_t sequence = 0;
	enum ring_status status = stage_snapshot(c, s, &sequence, &high_water);

	if (status != RING_OK)
		return status;
	if (!copy_reserve(c, high_water))
		return RING_NO_MEM;
	drop_superseded(c, s);
	status = check_keys(c, s, sequence);
	if (status != RING_OK)
		return status;
	apply(c, s);
	c->sequence = sequence;
	c->high_water = high_water;
	if (change != NULL)
		tell(c, s, change, arg);
	return RING_OK;
}

enum ring_status
ring_table_sync(struct ring_reader *r, uint16_t table, uint32_t row_bytes, ring_change_fn change,
		void *arg)
{
	const struct ring_copy *found = find(r, table);
	enum ring_status status;
	struct ring_copy *c;

	if (found == NULL)
		return RING_EMPTY;
	c = &r->copies[found - r->copies];
	assert(row_bytes > 0 && row_bytes <= RING_ROW_MAX);
	assert(c->row_bytes == 0 || c->row_bytes == row_bytes);
	c->row_bytes = row_bytes;
	c->stride = (uint32_t)word_round(row_bytes);
	status = sync_copy(c, &r->stage, change, arg);
	if (r->stage.rows_capacity > STAGE_KEPT ||
	    r->stage.items_capacity * sizeof(r->stage.items[0]) > STAGE_KEPT)
		stage_fini(&r->stage);
	return status;
}

const void *
ring_table_get(const struct ring_reader *r, uint16_t table, uint64_t key)
{
	const struct ring_copy *c = find(r, table);
	uint32_t slot;

	if (c == NULL || !ring_index_get(&c->index, key, &slot))
		return NULL;
	return c->rows + slot * (size_t)c->stride;
}

void
ring_table_each(const struct ring_reader *r, uint16_t table,
		bool (*visit)(void *arg, uint64_t key, const void *row), void *arg)
{
	const struct ring_copy *c = find(r, table);

	if (c == NULL)
		return;
	for (size_t i = 0; i < c->high_water; i++)
		if (c->slots[i].key != 0 && !visit(arg, c->slots[i].key, c->rows + i * c->stride))
			return;
}

uint64_t
ring_table_version(const struct ring_reader *r, uint16_t table)
{
	const struct ring_copy *c = find(r, table);

	return c == NULL ? 0 : c->sequence / 2;
}
