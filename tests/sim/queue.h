/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_QUEUE_H
#define TESTS_SIM_QUEUE_H

/*
 * What will happen, in the order of time; what happens at the same nanosecond happens in the order
 * in which it was added. Parcels are the bytes that travel: counted references, freed when the last
 * one is put back.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct parcel {
	struct parcel *next;
	uint32_t refs;
	uint32_t class;
	uint32_t bytes;
	uint8_t data[];
};

enum { PARCEL_CLASSES = 4 };

struct parcels {
	struct parcel *unused[PARCEL_CLASSES];
	uint64_t held; /* not yet put back */
};

struct parcel *parcel_new(struct parcels *pool, const void *data, size_t bytes);
struct parcel *parcel_ref(struct parcel *p);
void parcel_put(struct parcels *pool, struct parcel *p); /* NULL is fine */
void parcel_fini(struct parcels *pool);

struct event {
	uint64_t at;
	uint64_t order;
	uint32_t next; /* in a slot, or among the unused */
	uint8_t kind;  /* the simulation's own, as are all further fields */
	uint8_t side;
	uint16_t what;
	int16_t status;
	uint32_t node;
	uint32_t peer;
	uint64_t number;
	struct parcel *parcel;
};

struct queue_entry {
	uint64_t at;
	uint64_t order;
	uint32_t event;
};

struct queue_heap {
	struct queue_entry *items;
	size_t count;
	size_t room;
};

enum { QUEUE_SLOTS = 8192, QUEUE_SLOT_SHIFT = 20 }; /* slots of about a millisecond */

struct queue {
	struct event *events;
	uint32_t room;
	uint32_t unused; /* head of a list */
	uint64_t order;
	uint64_t count;
	uint64_t slot;               /* the one whose events are in `near` */
	struct queue_heap near;      /* up to and with that slot */
	struct queue_heap far;       /* beyond the wheel */
	uint32_t slots[QUEUE_SLOTS]; /* heads of lists, in no order */
};

void sim_queue_init(struct queue *q);
void sim_queue_fini(struct queue *q);
/* Valid until the next call. `at` before the last one taken counts as that one. */
struct event *sim_queue_add(struct queue *q, uint64_t at, uint8_t kind);
/* UINT64_MAX when empty. */
uint64_t sim_queue_next_at(struct queue *q);
/* The first one; false when empty. */
bool sim_queue_take(struct queue *q, struct event *out);
uint64_t sim_queue_count(const struct queue *q);

#endif
