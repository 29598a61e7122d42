/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CELLS_CHOICE_H
#define SCHEDULER_CELLS_CHOICE_H

/*
 * Which unit (cell or region) a service belongs to, from summaries alone: who holds the same
 * summaries chooses the same. Weighted rendezvous over what the units have in all, so that a unit
 * that comes takes only its share and one that goes loses only what it had.
 *
 * Hysteresis: who runs the service already keeps it as long as it is there and has the labels, full
 * or not. That is read from the summaries, so nobody has to remember anything. Filters that are
 * full (thousands of services in one cell) say of everybody that he runs it: then the rendezvous
 * decides alone.
 *
 * A summary is about: the unit that was chosen has the last word (its own placement, with reasons).
 * Pure. Threading: none.
 */

#include "scheduler/cells/summary.h"

enum { CHOICE_LABELS_MAX = 8 };

struct choice_ask {
	uint64_t service; /* its id, well mixed or not */
	uint32_t replicas;
	uint32_t cpu_milli, memory_mib; /* of each */
	uint64_t labels[CHOICE_LABELS_MAX];
	size_t labels_count;
};

enum choice_reason {
	CHOICE_LOST = 1u << 0,  /* nobody of it answers */
	CHOICE_LABEL = 1u << 1, /* no node of it has a label that is asked for */
	CHOICE_ROOM = 1u << 2,  /* not room for so many */
};

struct choice_unit {
	uint32_t unit;
	bool lost;
	const struct summary *summary; /* NULL: nothing is known yet; as lost */
};

/* Why not; 0: it may be chosen. */
unsigned choice_reasons(const struct choice_unit *u, const struct choice_ask *ask);
/* Index of the unit, or -1 when none may be chosen. The order of units does not matter. */
long choice_make(const struct choice_unit *units, size_t count, const struct choice_ask *ask);

#endif
