/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PLACE_SLOTS_H
#define SCHEDULER_PLACE_SLOTS_H

/*
 * What is to be done for one service, from its spec and the claims as they are: which slots to
 * place, which claims to tell to leave. Pure and level-triggered: no progress is remembered, so a
 * successor goes on where the former coordinator stopped. What is kept:
 *
 *  - a claim that fits and is of the wanted revision stays where it is, whatever else is better;
 *  - start-first: a slot's old claim leaves only when the new one is ready and has stayed so for
 *    the monitor window; replacements exist beyond the replicas only up to `surge`;
 *  - an old claim leaves before the new one is there (stop-first, or no surge) only while at least
 *    replicas - unavailable slots stay ready without it;
 *  - of two claims to one slot the one that goes before wins (claim_before), and the other leaves
 *    only when the winner is ready, after a grace.
 */

#include "scheduler/place/fit.h"

enum {
	SLOTS_GRACE_MS = 5000, /* of the loser of two claims */
	SLOTS_ASK_MS = 1000,   /* between two orders to leave */
};

enum slots_verb {
	SLOTS_PLACE = 1, /* slot */
	SLOTS_RETIRE,    /* claim, why, winner */
	/* As RETIRE, but nothing has its slot yet: only when a node for it is in sight. */
	SLOTS_MAKE_ROOM,
};

struct slots_item {
	enum slots_verb verb;
	uint32_t slot;
	struct fleet_claim *claim;
	enum claim_retire why;
	uint32_t winner; /* node, or 0 */
};

struct slots_count {
	uint32_t filled;  /* slots with a claim that will do */
	uint32_t ready;   /* slots with any ready claim */
	uint32_t missing; /* slots with no claim that stays */
};

struct slots {
	struct slots_item *items;
	size_t count;
	size_t room;
	/* One of each slot, while it works. */
	struct slots_slot *slots;
	size_t slots_room;
	uint64_t due_ns; /* when time alone changes something; UINT64_MAX */
	struct slots_count counted;
};

void slots_init(struct slots *s);
void slots_fini(struct slots *s);
/* placing: slots under way (sorted), which count as claims to come; may be NULL. -1: out of memory,
 * nothing is in the list. */
int slots_decide(struct slots *s, struct fleet_service *service, const uint32_t *placing,
		 size_t placing_count, uint64_t now_ns) __attribute__((warn_unused_result));

#endif
