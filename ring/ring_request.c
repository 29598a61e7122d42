/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests and answers. A request is a slot of the asker's segment, its answer the slot of the same
 * number in the answerer's. An id is
 *
 *   bits 63-48  the asker's generation, its lower 16 bits
 *   bits 47-12  a count
 *   bits 11-0   the slot
 *
 * so that both sides find the slot at once, and an answer to a former request of the same slot, or
 * to one of a former generation, is never taken for another's.
 *
 * Who looks for requests reads one counter first; only if it moved are the heads of the used slots
 * scanned. The reader remembers per slot which id it has given: a restarted answerer has forgotten,
 * and is given all that stand, so whoever answers must be able to do a thing twice.
 *
 * Deadlines are the asker's to keep: a slot stays until it is released. A reader only skips what is
 * late already.
 */

#include "ring/ring_segment.h"

#include <assert.h>
#include "base/mem.h"
#include "ring/word.h"

enum {
	ID_SLOT_BITS = 12,
	ID_COUNT_BITS = 36,
	META_INDEX = 16, /* shifts in the meta word of a request */
	META_OP = 32,
};

static uint64_t
target(uint16_t role, uint16_t index)
{
	return role | (uint64_t)index << META_INDEX;
}

/* ---- asking ---- */

bool
ring_ask_writer_init(struct ring_writer *w)
{
	struct ring_ask_writer *a = &w->asks;
	uint32_t slots = w->layout.request_slots;

	if (slots == 0)
		return true;
	ring_slots_init(&a->slots, w->memory + w->places.requests, slots,
			w->layout.request_body_bytes);
	a->ids = mem_array(MEM_RING, slots, sizeof(a->ids[0]));
	a->free = mem_array(MEM_RING, slots, sizeof(a->free[0]));
	if (a->ids == NULL || a->free == NULL)
		return false;
	while (a->free_count < slots) {
		a->free[a->free_count] = slots - 1 - a->free_count;
		a->free_count++;
	}
	return true;
}

void
ring_ask_writer_fini(struct ring_writer *w)
{
	mem_free(w->asks.ids);
	mem_free(w->asks.free);
}

static uint64_t
next_id(struct ring_ask_writer *a, uint32_t generation, uint32_t slot)
{
	uint64_t count_max = ((uint64_t)1 << ID_COUNT_BITS) - 1;

	a->sequence = a->sequence == count_max ? 1 : a->sequence + 1;
	return (uint64_t)generation << (ID_SLOT_BITS + ID_COUNT_BITS) |
	       a->sequence << ID_SLOT_BITS | slot;
}

static void
count_change(struct ring_ask_writer *a)
{
	word_store(&a->slots.control->changes, ++a->changes);
}

enum ring_status
ring_ask(struct ring_writer *w, uint16_t to_role, uint16_t to_index, uint16_t op,
	 uint64_t deadline_mono_ns, const void *body, size_t bytes, uint64_t *id_out)
{
	struct ring_ask_writer *a = &w->asks;
	struct layout_slot head;
	uint32_t slot;

	assert(a->ids != NULL && bytes <= a->slots.body_bytes);
	if (a->free_count == 0)
		return RING_FULL;
	slot = a->free[--a->free_count];
	head = (struct layout_slot){
		.id = next_id(a, w->layout.generation, slot),
		.meta = target(to_role, to_index) | (uint64_t)op << META_OP,
		.deadline = deadline_mono_ns,
	};
	ring_slots_write(&a->slots, slot, &head, body, bytes);
	a->ids[slot] = head.id;
	if (slot >= a->high_water) {
		a->high_water = slot + 1;
		word_store(&a->slots.control->high_water, a->high_water);
	}
	count_change(a);
	*id_out = head.id;
	return RING_OK;
}

void
ring_ask_release(struct ring_writer *w, uint64_t id)
{
	struct ring_ask_writer *a = &w->asks;
	uint32_t slot = ring_slots_of_id(id);

	if (slot >= w->layout.request_slots || id == 0 || a->ids[slot] != id)
		return;
	a->ids[slot] = 0;
	a->free[a->free_count++] = slot;
	ring_slots_clear(&a->slots, slot);
	count_change(a);
}

/* ---- being asked ---- */

void
ring_request_reader_init(struct ring_reader *r)
{
	if (r->places.requests != 0)
		ring_slots_view_init(&r->requests.slots, r->memory + r->places.requests,
				     r->layout.request_slots, r->layout.request_body_bytes);
}

void
ring_request_reader_fini(struct ring_reader *r)
{
	mem_free(r->requests.given);
}

/* RING_OK: there may be something in the slots from q->at on. */
static enum ring_status
begin_scan(struct ring_request_reader *q, uint16_t role, uint16_t index)
{
	if (q->role != role || q->index != index) {
		q->role = role;
		q->index = index;
		q->changes_seen = 0;
		q->scanning = false;
	}
	if (q->scanning)
		return RING_OK;
	q->changes_scanned = word_load(&q->slots.control->changes);
	if (q->changes_scanned == q->changes_seen)
		return RING_EMPTY;
	if (q->given == NULL)
		q->given = mem_array(MEM_RING, q->slots.count, sizeof(q->given[0]));
	if (q->given == NULL)
		return RING_NO_MEM;
	q->scanning = true;
	q->at = 0;
	return RING_OK;
}

static bool
id_holds(const struct ring_reader *r, uint64_t id, uint32_t slot)
{
	return ring_slots_of_id(id) == slot &&
	       id >> (ID_SLOT_BITS + ID_COUNT_BITS) == (r->layout.generation & 0xffff);
}

/* RING_EMPTY: nothing to give in this slot. */
static enum ring_status
take_request(struct ring_reader *r, uint32_t slot, uint64_t mono_ns, struct ring_request *out)
{
	struct ring_request_reader *q = &r->requests;
	const struct layout_slot *shared = &q->slots.heads[slot];
	uint64_t id = word_load(&shared->id);
	struct layout_slot head;
	enum ring_status status;
	size_t bytes = 0;

	if (id == 0 || id == q->given[slot] ||
	    (uint32_t)word_load(&shared->meta) != target(q->role, q->index))
		return RING_EMPTY;
	status = ring_slots_read(&q->slots, slot, id, &head, &bytes, out->body);
	if (status != RING_OK)
		return status == RING_AGAIN ? RING_EMPTY : status;
	if (!id_holds(r, id, slot))
		return RING_BAD;
	if ((uint32_t)head.meta != target(q->role, q->index))
		return RING_EMPTY;
	q->given[slot] = id;
	if (head.deadline <= mono_ns)
		return RING_EMPTY;
	out->id = id;
	out->role = r->layout.role;
	out->index = r->layout.index;
	out->op = (uint16_t)(head.meta >> META_OP);
	out->pad_ = 0;
	out->bytes = (uint32_t)bytes;
	out->deadline_mono_ns = head.deadline;
	return RING_OK;
}

/* RING_EMPTY: the scan is at its end. */
static enum ring_status
scan(struct ring_reader *r, uint64_t mono_ns, struct ring_request *out)
{
	struct ring_request_reader *q = &r->requests;
	uint64_t high_water = word_load(&q->slots.control->high_water);
	enum ring_status status;

	if (high_water > q->slots.count)
		return RING_BAD;
	while (q->at < high_water) {
		status = take_request(r, q->at++, mono_ns, out);
		if (status != RING_EMPTY)
			return status;
	}
	q->scanning = false;
	q->changes_seen = q->changes_scanned;
	return RING_EMPTY;
}

/* A scan that began before this call may have passed a slot that was filled since: once more. */
enum ring_status
ring_request_next(struct ring_reader *r, uint16_t role, uint16_t index, uint64_t mono_ns,
		  struct ring_request *out)
{
	enum ring_status status = RING_EMPTY;

	if (r->places.requests == 0)
		return RING_EMPTY;
	for (unsigned i = 0; i < 2 && status == RING_EMPTY; i++) {
		status = begin_scan(&r->requests, role, index);
		if (status != RING_OK)
			return status;
		status = scan(r, mono_ns, out);
	}
	return status;
}

/* ---- answering ---- */

static bool
find_answers(const struct ring_layout *l, uint16_t role, uint16_t index, uint64_t id, size_t *out)
{
	for (size_t i = 0; i < l->answers_count; i++) {
		if (l->answers[i].role != role)
			continue;
		*out = i;
		return index < l->answers[i].instances &&
		       ring_slots_of_id(id) < l->answers[i].slots;
	}
	return false;
}

/* Generations and counts both wrap around. */
static bool
is_older(uint64_t id, uint64_t than)
{
	uint16_t generations = (uint16_t)((than >> (ID_SLOT_BITS + ID_COUNT_BITS)) -
					  (id >> (ID_SLOT_BITS + ID_COUNT_BITS)));
	uint64_t counts = ((than >> ID_SLOT_BITS) - (id >> ID_SLOT_BITS)) &
			  (((uint64_t)1 << ID_COUNT_BITS) - 1);

	if (generations != 0)
		return generations < 0x8000;
	return counts != 0 && counts < (uint64_t)1 << (ID_COUNT_BITS - 1);
}

/* Nobody waits for the answer to a request that a newer one has followed in its slot, and it must
 * not take the place of the newer one's answer before that was read. */
enum ring_status
ring_answer(struct ring_writer *w, uint16_t role, uint16_t index, uint64_t id, uint16_t status,
	    const void *body, size_t bytes)
{
	struct ring_slots slots;
	size_t area;
	uint64_t held;

	if (id == 0 || !find_answers(&w->layout, role, index, id, &area))
		return RING_BAD;
	ring_slots_init(&slots,
			w->memory + w->places.answers[area] +
				w->places.answers_stride[area] * index,
			w->layout.answers[area].slots, w->layout.answers[area].body_bytes);
	held = slots.heads[ring_slots_of_id(id)].id;
	if (held != 0 && is_older(id, held))
		return RING_OK;
	ring_slots_write(&slots, ring_slots_of_id(id),
			 &(struct layout_slot){.id = id, .meta = status}, body, bytes);
	return RING_OK;
}

enum ring_status
ring_answer_get(struct ring_reader *r, uint16_t role, uint16_t index, uint64_t id,
		struct ring_answer *out)
{
	struct ring_slots_view view;
	struct layout_slot head;
	enum ring_status status;
	size_t area, bytes = 0;

	if (id == 0 || !find_answers(&r->layout, role, index, id, &area))
		return RING_EMPTY;
	ring_slots_view_init(
		&view, r->memory + r->places.answers[area] + r->places.answers_stride[area] * index,
		r->layout.answers[area].slots, r->layout.answers[area].body_bytes);
	status = ring_slots_read(&view, ring_slots_of_id(id), id, &head, &bytes, out->body);
	if (status != RING_OK)
		return status;
	out->id = id;
	out->status = (uint16_t)head.meta;
	out->pad_ = 0;
	out->bytes = (uint32_t)bytes;
	return RING_OK;
}
