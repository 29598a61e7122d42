/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots under sequence locks. The writer makes the slot's sequence odd, stores, makes it even; a
 * reader copies and accepts only if the sequence was even and the same before and after. A writer
 * that was killed in between leaves an odd sequence: that slot is unreadable until the successor's
 * segment comes, and a request or answer that was never whole was never there.
 */

#include "ring/ring_slots.h"

#include <assert.h>
#include "ring/word.h"

enum {
	SLOTS_TRIES = 64,
	SLOTS_ID_BITS = 12, /* RING_SLOTS_MAX */
	SLOTS_BYTES_SHIFT = 48,
};

_Static_assert(RING_SLOTS_MAX <= 1 << SLOTS_ID_BITS, "an id names every slot");
_Static_assert(RING_BODY_MAX < 1 << 16, "a length fits its bits");

void
ring_slots_init(struct ring_slots *s, void *area, uint32_t count, uint32_t body_bytes)
{
	char *at = area;

	s->control = area;
	s->heads = (struct layout_slot *)(void *)(at + LAYOUT_LINE);
	s->bodies = (uint64_t *)(void *)(at + layout_slots_bodies(count));
	s->count = count;
	s->body_bytes = body_bytes;
}

void
ring_slots_view_init(struct ring_slots_view *v, const void *area, uint32_t count,
		     uint32_t body_bytes)
{
	const char *at = area;

	v->control = area;
	v->heads = (const struct layout_slot *)(const void *)(at + LAYOUT_LINE);
	v->bodies = (const uint64_t *)(const void *)(at + layout_slots_bodies(count));
	v->count = count;
	v->body_bytes = body_bytes;
}

uint32_t
ring_slots_of_id(uint64_t id)
{
	return (uint32_t)(id & ((1 << SLOTS_ID_BITS) - 1));
}

void
ring_slots_write(struct ring_slots *s, uint32_t slot, const struct layout_slot *head,
		 const void *body, size_t bytes)
{
	struct layout_slot *to = &s->heads[slot];
	uint64_t sequence = to->sequence;

	assert(slot < s->count && bytes <= s->body_bytes);
	word_store(&to->sequence, sequence + 1);
	word_store(&to->id, head->id);
	word_store(&to->meta, head->meta | (uint64_t)bytes << SLOTS_BYTES_SHIFT);
	word_store(&to->deadline, head->deadline);
	word_write(s->bodies + slot * (word_round(s->body_bytes) / 8), body, bytes);
	word_store(&to->sequence, sequence + 2);
}

void
ring_slots_clear(struct ring_slots *s, uint32_t slot)
{
	ring_slots_write(s, slot, &(struct layout_slot){0}, NULL, 0);
}

static size_t
read_once(const struct ring_slots_view *v, uint32_t slot, struct layout_slot *head, void *body)
{
	const struct layout_slot *from = &v->heads[slot];
	size_t bytes;

	head->meta = word_load(&from->meta);
	head->deadline = word_load(&from->deadline);
	bytes = head->meta >> SLOTS_BYTES_SHIFT;
	if (bytes <= v->body_bytes)
		word_read(body, v->bodies + slot * (word_round(v->body_bytes) / 8),
			  word_round(bytes) / 8);
	return bytes;
}

enum ring_status
ring_slots_read(const struct ring_slots_view *v, uint32_t slot, uint64_t id,
		struct layout_slot *head_out, size_t *bytes_out, void *body)
{
	const struct layout_slot *from = &v->heads[slot];

	assert(slot < v->count);
	for (unsigned i = 0; i < SLOTS_TRIES; i++) {
		uint64_t sequence = word_load(&from->sequence);

		if ((sequence & 1) != 0) {
			word_pause();
			continue;
		}
		head_out->id = word_load(&from->id);
		if (head_out->id == id)
			*bytes_out = read_once(v, slot, head_out, body);
		if (word_load(&from->sequence) != sequence)
			continue;
		head_out->sequence = sequence;
		if (head_out->id != id)
			return RING_EMPTY;
		return *bytes_out <= v->body_bytes ? RING_OK : RING_BAD;
	}
	return RING_AGAIN;
}
