/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A wheel of milliseconds: an event goes into the unsorted list of its slot, and only the slot
 * whose time has come is sorted, in a small heap that stays in the cache. What lies beyond one turn
 * of the wheel waits in a heap of its own. Events are named by index, so nothing is ordered by
 * address.
 */
#include "tests/sim/queue.h"

#include <assert.h>
#include <string.h>
#include "base/mem.h"

enum { NONE = UINT32_MAX, ROOM_MIN = 256 };

static const uint32_t class_bytes[PARCEL_CLASSES] = {64, 256, 1280, 0}; /* 0: as large as it is */

/* ---- parcels ---- */

struct parcel *
parcel_new(struct parcels *pool, const void *data, size_t bytes)
{
	struct parcel *p;
	uint32_t class = 0;

	while (class_bytes[class] != 0 && class_bytes[class] < bytes)
		class ++;
	p = pool->unused[class];
	if (p && class_bytes[class] != 0) {
		pool->unused[class] = p->next;
	} else {
		p = mem_alloc(MEM_BASE,
			      sizeof(*p) + (class_bytes[class] ? class_bytes[class] : bytes));
		assert(p);
	}
	p->next = NULL;
	p->refs = 1;
	p->class = class;
	p->bytes = (uint32_t)bytes;
	if (bytes > 0)
		memcpy(p->data, data, bytes);
	pool->held++;
	return p;
}

struct parcel *
parcel_ref(struct parcel *p)
{
	p->refs++;
	return p;
}

void
parcel_put(struct parcels *pool, struct parcel *p)
{
	if (!p || --p->refs > 0)
		return;
	pool->held--;
	if (class_bytes[p->class] == 0) {
		mem_free(p);
		return;
	}
	p->next = pool->unused[p->class];
	pool->unused[p->class] = p;
}

void
parcel_fini(struct parcels *pool)
{
	for (size_t i = 0; i < PARCEL_CLASSES; i++)
		while (pool->unused[i]) {
			struct parcel *p = pool->unused[i];

			pool->unused[i] = p->next;
			mem_free(p);
		}
}

/* ---- heaps ---- */

static bool
before(const struct queue_entry *a, const struct queue_entry *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void
heap_push(struct queue_heap *h, struct queue_entry entry)
{
	size_t i = h->count++;

	if (i == h->room) {
		h->room = h->room ? h->room * 2 : ROOM_MIN;
		h->items = mem_resize(MEM_BASE, h->items, h->room, sizeof(h->items[0]));
		assert(h->items);
	}
	for (; i > 0 && before(&entry, &h->items[(i - 1) / 2]); i = (i - 1) / 2)
		h->items[i] = h->items[(i - 1) / 2];
	h->items[i] = entry;
}

static struct queue_entry
heap_shift(struct queue_heap *h)
{
	struct queue_entry top = h->items[0], last = h->items[--h->count];
	size_t i = 0, child;

	for (; (child = 2 * i + 1) < h->count; i = child) {
		if (child + 1 < h->count && before(&h->items[child + 1], &h->items[child]))
			child++;
		if (!before(&h->items[child], &last))
			break;
		h->items[i] = h->items[child];
	}
	h->items[i] = last;
	return top;
}

/* ---- the wheel ---- */

static uint64_t
slot_of(uint64_t at)
{
	return at >> QUEUE_SLOT_SHIFT;
}

void
sim_queue_init(struct queue *q)
{
	memset(q, 0, sizeof(*q));
	q->unused = NONE;
	for (size_t i = 0; i < QUEUE_SLOTS; i++)
		q->slots[i] = NONE;
}

void
sim_queue_fini(struct queue *q)
{
	mem_free(q->events);
	mem_free(q->near.items);
	mem_free(q->far.items);
	memset(q, 0, sizeof(*q));
}

static uint32_t
take_unused(struct queue *q)
{
	uint32_t index, room;

	if (q->unused == NONE) {
		room = q->room ? q->room * 2 : ROOM_MIN;
		q->events = mem_resize(MEM_BASE, q->events, room, sizeof(q->events[0]));
		assert(q->events);
		for (uint32_t i = room; i-- > q->room;) {
			q->events[i].next = q->unused;
			q->unused = i;
		}
		q->room = room;
	}
	index = q->unused;
	q->unused = q->events[index].next;
	return index;
}

static void
place(struct queue *q, struct queue_entry entry)
{
	uint64_t slot = slot_of(entry.at);

	if (slot <= q->slot) {
		heap_push(&q->near, entry);
	} else if (slot < q->slot + QUEUE_SLOTS) {
		uint32_t *head = &q->slots[slot % QUEUE_SLOTS];

		q->events[entry.event].next = *head;
		*head = entry.event;
	} else {
		heap_push(&q->far, entry);
	}
}

struct event *
sim_queue_add(struct queue *q, uint64_t at, uint8_t kind)
{
	uint32_t index = take_unused(q);
	struct event *e = &q->events[index];

	*e = (struct event){.at = at, .order = q->order++, .kind = kind};
	q->count++;
	place(q, (struct queue_entry){at, e->order, index});
	return e;
}

/* Goes on to the next slot that has events. */
static void
advance(struct queue *q)
{
	while (q->near.count == 0) {
		uint32_t *head, at;

		if (q->count == q->far.count) /* the wheel is empty: no need to turn it */
			q->slot = slot_of(q->far.items[0].at);
		else
			q->slot++;
		while (q->far.count > 0 && slot_of(q->far.items[0].at) < q->slot + QUEUE_SLOTS)
			place(q, heap_shift(&q->far));
		head = &q->slots[q->slot % QUEUE_SLOTS];
		for (at = *head, *head = NONE; at != NONE; at = q->events[at].next)
			heap_push(&q->near,
				  (struct queue_entry){q->events[at].at, q->events[at].order, at});
	}
}

uint64_t
sim_queue_next_at(struct queue *q)
{
	if (q->count == 0)
		return UINT64_MAX;
	advance(q);
	return q->near.items[0].at;
}

bool
sim_queue_take(struct queue *q, struct event *out)
{
	uint32_t index;

	if (q->count == 0)
		return false;
	advance(q);
	index = heap_shift(&q->near).event;
	*out = q->events[index];
	q->events[index].next = q->unused;
	q->unused = index;
	q->count--;
	return true;
}

uint64_t
sim_queue_count(const struct queue *q)
{
	return q->count;
}
