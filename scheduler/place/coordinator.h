/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PLACE_COORDINATOR_H
#define SCHEDULER_PLACE_COORDINATOR_H

/*
 * The services that this node coordinates: for each the first by rendezvous of the live nodes, so
 * that all nodes share the work. It offers a missing slot to the best two candidates by load,
 * awards the cheaper promise, and widens the search when they refuse (4, 8, 16 candidates); then
 * the service is pending, with every node's reason, until something changes or its time has come.
 *
 * Nothing of it needs to survive: slots.h derives what is to be done from spec and claims. Who
 * takes a service over waits one gossip round, so that claims under way are heard of. What two
 * coordinators do at the same time heals (claim_before).
 *
 * Or all of that is decided elsewhere (coordinator_asked): then it finds nodes for the slots it is
 * asked for, by whomever, and tells the claims to leave that it is told to; slots.h is not used.
 *
 * A part of the core placement.h: no I/O, no clock, no randomness but its seed.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/heap.h"
#include "scheduler/place/candidates.h"
#include "scheduler/place/placemsg.h"
#include "scheduler/place/slots.h"
#include "scheduler/step.h"

enum {
	COORDINATOR_ROUND_MS = 2000, /* a new one waits so long */
	COORDINATOR_WINDOW = 64,     /* slots of a service that are offered at a time */
	COORDINATOR_ATTEMPTS_MAX = 4096,
	COORDINATOR_LOOK_MS = 20,    /* changes of a service that is being placed are gathered */
	COORDINATOR_ASK_MS = 150,    /* an answer is awaited so long, then it is asked again; */
	COORDINATOR_ASKS_MAX = 4,    /* so often */
	COORDINATOR_TRIES = 16,      /* nodes asked for a slot; */
	COORDINATOR_TRIES_MAX = 32,  /* of a service with constraints */
	COORDINATOR_RETRY_MS = 1000, /* pending: the first wait; doubles up to */
	COORDINATOR_RETRY_MAX_MS = 30000,
	COORDINATOR_TELL_MS =
		2000,             /* asked: what nodes have of needed things is awaited so long, */
	COORDINATOR_TOLD_MS = 50, /* and looked at so often */
	COORDINATOR_CHANGE_MS = 500, /* changes of nodes wake the pending ones no more often */
	COORDINATOR_REFUSALS_MAX = 32,
	COORDINATOR_UNKNOWN_MS = 30000, /* a service that the store does not have is removed */
	COORDINATOR_DOUBT_MS = 2000,    /* a claim that gossip does not tell of is asked for */
};

/* What a node answered last; kept for explanations while the service is pending. */
struct coordinator_refusal {
	uint32_t node;
	struct fit fit;
};

/* A slot that is wanted, made as that revision says; asked only while the spec is of it. */
struct coordinator_slot {
	uint32_t slot;
	uint32_t revision;
	uint64_t since_ns; /* as it was asked for first */
};

/* A claim that is to leave. */
struct coordinator_parting {
	struct list link;
	uint32_t node;
	uint64_t number;
	enum claim_retire why;
	uint32_t winner;
	uint64_t told_ns; /* 0: not yet */
};

struct coordinator_work {
	struct list link;
	struct list look; /* in coordinator.looks */
	bool whole;       /* is to be looked at as a whole, not only its queue */
	uint64_t looked_ns;
	struct fleet_service *service;
	struct heap_item timer;
	struct list attempts;
	size_t attempts_count;
	uint64_t since_ns; /* may act from then on */
	uint32_t *queue;   /* slots to place */
	size_t queue_count;
	size_t queue_at;
	size_t queue_room;
	bool waits;             /* pending: no node for some slot */
	uint32_t waits_reasons; /* of all nodes, together */
	uint32_t waits_ms;
	uint64_t waits_until_ns;
	uint64_t unknown_ns; /* since when the store does not have it; 0 */
	struct slots_count counted;
	struct coordinator_slot *asks; /* asked mode: in the order of asking */
	size_t asks_count;
	size_t asks_room;
	struct coordinator_refusal refusals[COORDINATOR_REFUSALS_MAX];
	size_t refusals_count;
	size_t refusals_next;
};

struct coordinator_counters {
	uint64_t offers, promises, rejects, silent, awards, claimed, releases, retires, pending,
		doubts;
	uint64_t waits; /* each time that no node took what was asked for */
};

struct coordinator {
	struct fleet *fleet;
	uint32_t self;
	uint64_t start_ns;
	uint64_t next_offer; /* drawn at the start */
	struct list touched; /* services */
	struct list works;
	struct list looks;
	size_t works_count;
	struct map attempts; /* by offer */
	size_t attempts_count;
	struct heap work_timers;
	struct heap attempt_timers;
	struct slots slots;
	bool asked;           /* slots are decided elsewhere */
	struct list partings; /* then */
	bool wake;            /* nodes changed: those that are pending try again */
	uint64_t woken_ns;    /* last */
	uint64_t again_ns;    /* memory was short: everything is looked at then; UINT64_MAX */
	struct coordinator_counters counters;
};

void coordinator_init(struct coordinator *c, struct fleet *fleet, uint32_t self, uint64_t seed);
void coordinator_fini(struct coordinator *c);
void coordinator_start(struct coordinator *c, uint64_t now_ns);
/* From the beginning on: slots are asked for (below). */
void coordinator_asked(struct coordinator *c);
/* Wants a node for that slot; again is harmless. Work begins with the next step, when the service's
 * spec is of that revision. It is over, and no longer among the work's asks, when its claim is in
 * the fleet. -1: out of memory, or the fleet does not know the service. */
int coordinator_ask(struct coordinator *c, uint64_t service, uint32_t slot, uint32_t revision,
		    uint64_t now_ns) __attribute__((warn_unused_result));
/* Not wanted any more; a claim may come of it all the same. */
void coordinator_unask(struct coordinator *c, uint64_t service, uint32_t slot, uint32_t revision);
/* Tells a claim of the fleet to leave, until it does or its node is dead. winner: the node that has
 * its slot instead, of which its own node must have heard as ready; 0: none. -1: out of memory. */
int coordinator_retire(struct coordinator *c, uint32_t node, uint64_t number, enum claim_retire why,
		       uint32_t winner) __attribute__((warn_unused_result));
/* As fleet_changed_fn; NULL: nodes. */
void coordinator_touch(struct coordinator *c, struct fleet_service *service);
/* An answer: PROMISE, REJECT, CLAIMED. */
void coordinator_message(struct coordinator *c, uint32_t from, const struct placemsg *m,
			 uint64_t now_ns, struct step_actions *out);
/* All that is due, until nothing is or no room is left (true: there is more). */
bool coordinator_work(struct coordinator *c, uint64_t now_ns, struct step_actions *out);
uint64_t coordinator_due_ns(const struct coordinator *c);

/* Actions that one message may lead to. */
enum { COORDINATOR_STEP_ACTIONS = 2 };

/* NULL when this node does not coordinate it. */
const struct coordinator_work *coordinator_of(const struct coordinator *c, uint64_t service);
/* Why this node is not taken now: as known here, or as it answered itself. */
void coordinator_why(const struct coordinator *c, const struct fleet_service *s,
		     const struct fleet_node *n, struct fit *out);

#endif
