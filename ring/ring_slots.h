/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_RING_SLOTS_H
#define RING_RING_SLOTS_H

/*
 * An area of slots in shared memory, each under a sequence lock of its own: what requests and
 * answers are made of. Geometry comes checked from ring/layout.h.
 */

#include <stddef.h>
#include <stdint.h>
#include "ring/layout.h"

struct ring_slots {
	struct layout_slots *control;
	struct layout_slot *heads;
	uint64_t *bodies;
	uint32_t count;
	uint32_t body_bytes;
};

struct ring_slots_view {
	const struct layout_slots *control;
	const struct layout_slot *heads;
	const uint64_t *bodies;
	uint32_t count;
	uint32_t body_bytes;
};

void ring_slots_init(struct ring_slots *s, void *area, uint32_t count, uint32_t body_bytes);
void ring_slots_view_init(struct ring_slots_view *v, const void *area, uint32_t count,
			  uint32_t body_bytes);

/* A request's and an answer's id name their slot, so that the asker finds the answer at once. */
uint32_t ring_slots_of_id(uint64_t id);

/* Fills a slot; head->sequence is ignored, the length goes into the upper bits of head->meta. */
void ring_slots_write(struct ring_slots *s, uint32_t slot, const struct layout_slot *head,
		      const void *body, size_t bytes);
void ring_slots_clear(struct ring_slots *s, uint32_t slot);

/* Copies a slot. RING_EMPTY: it does not hold `id`; RING_AGAIN: it was changing all the time;
 * RING_BAD: its length lies. body has room for the area's body_bytes, rounded up to words. */
enum ring_status ring_slots_read(const struct ring_slots_view *v, uint32_t slot, uint64_t id,
				 struct layout_slot *head_out, size_t *bytes_out, void *body);

#endif
