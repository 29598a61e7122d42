/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PLACE_PLACEMENT_H
#define SCHEDULER_PLACE_PLACEMENT_H

/*
 * Placement on one node, as a core (scheduler/step.h): the node's ledger and the services that it
 * coordinates. docs/placement.md says how it works as a whole.
 *
 * Inputs: STEP_FILE (PLACEMENT_FILE, when it exists) and STEP_START; STEP_DATAGRAM with the
 * messages of placemsg.h, of a node that is authenticated; TIMER, MORE, DISK_DONE; STEP_LOCAL with
 * `what` of enum placement_local. What was heard of nodes, services and claims is written into the
 * fleet, which calls placement_changed; then PLACEMENT_FLEET lets out what that began.
 *
 * What it sends to its own node comes back as a datagram from it: the shell sees to that.
 *
 * Actions: SEND, SET_TIMER, APPEND and REPLACE of the file, and STEP_TELL as below.
 */

#include "scheduler/place/coordinator.h"
#include "scheduler/place/claimlog.h"
#include "scheduler/place/ledger.h"

enum {
	PLACEMENT_FILE = 32,
	PLACEMENT_LOAD_MS = 500, /* what is free is told no more often */
};

enum placement_local {
	PLACEMENT_FLEET = 1,
	PLACEMENT_RUNNING, /* data: u64 numbers, of every container there is; after START */
	PLACEMENT_STATE,   /* token: number; status: enum claim_state; data: u16 reason, or none.
			      Or data: u16 reason, u16 state, and no status */
	PLACEMENT_ENDED,   /* token: number: nothing is left of it */
	PLACEMENT_CORDON,  /* token: 1, or 0 for the end of it */
	PLACEMENT_DRAIN,   /* token: now_ns at which it ends; 0: no drain */
	PLACEMENT_RUNS,    /* token: cores, data: u64 memory, that are in use without a claim */
};

enum placement_tell {
	PLACEMENT_CLAIM = LEDGER_TELL_CLAIM, /* token: number; data: CLAIM_BYTES. To be gossiped;
				when STARTING, to be run */
	PLACEMENT_UNCLAIM = LEDGER_TELL_UNCLAIM, /* token: number: its entry is to be dropped */
	PLACEMENT_STOP = LEDGER_TELL_STOP,       /* token: number; data: u8 enum claim_retire. To be
						    drained and ended */
	PLACEMENT_ORPHAN, /* token: number: a container that no claim names; to be ended */
	PLACEMENT_LOAD,   /* data: u32 cpu_free_milli, u32 0, u64 memory_free. To be gossiped */
};

struct placement {
	struct fleet *fleet;
	uint32_t self;
	struct ledger ledger;
	struct coordinator coordinator;
	bool started;
	/* The journal could not be taken in for want of memory: nothing is promised or ended by
	 * this process, another one has to be started. */
	bool lost;
	bool load_told;
	uint32_t cpu_told_milli;
	uint64_t memory_told_bytes;
	uint64_t load_due_ns;
	uint64_t timer_ns; /* as set */
	uint64_t bad;      /* datagrams that were not understood */
	uint64_t *running; /* of PLACEMENT_RUNNING, not looked at yet */
	size_t running_count;
	size_t running_at;
};

/* The fleet outlives it, and is the caller's to fill. */
void placement_init(struct placement *p, struct fleet *fleet, uint32_t self, uint64_t seed);
void placement_fini(struct placement *p);
void placement_step(struct placement *p, const struct step_input *in, struct step_actions *out);
/* For fleet_on_change, with the placement as argument. */
void placement_changed(void *placement, struct fleet_service *service);

#endif
