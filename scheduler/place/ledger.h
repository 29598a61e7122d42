/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PLACE_LEDGER_H
#define SCHEDULER_PLACE_LEDGER_H

/*
 * What this node has promised and claimed: it alone decides, so nothing is ever given twice. An
 * offer becomes a promise (kept for LEDGER_PROMISE_MS) or a refusal with its reasons; an award
 * turns the promise into a claim, which counts when its record in the journal is durable; a claim
 * ends when the runtime says that nothing is left of it. Resources are held from promise to end,
 * also while the journal is in doubt.
 *
 * A part of the core placement.h, which gives it inputs and room for actions: no I/O, no clock.
 * After a restart it adopts what the journal names; containers that no claim names are told as
 * orphans. Threading: one owner.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/heap.h"
#include "base/list.h"
#include "scheduler/place/fit.h"
#include "scheduler/place/placemsg.h"
#include "scheduler/step.h"

enum {
	LEDGER_PROMISE_MS = 5000,
	LEDGER_CLAIMS_MAX = 4096,      /* and promises, of one node */
	LEDGER_BYTES_MAX = 240 * 1024, /* of the journal when it is written anew */
	LEDGER_RETRY_MS = 1000,        /* after the journal could not be written */
};

/* STEP_TELL: see enum placement_tell, which these are a part of. */
enum ledger_tell { LEDGER_TELL_CLAIM = 1, LEDGER_TELL_UNCLAIM, LEDGER_TELL_STOP };

enum ledger_phase {
	LEDGER_PROMISED = 1,
	LEDGER_WRITING,  /* awarded, the journal is being written */
	LEDGER_DOUBTFUL, /* awarded, and it could not be: taken back when that is durable */
	LEDGER_HELD,
	LEDGER_ENDING, /* nothing is left of it; given back when the journal says so */
};

/* One promise or claim. */
struct ledger_item {
	struct list link;         /* as they came */
	struct list due;          /* has something to tell */
	struct ledger_item *same; /* the next one of its slot */
	struct heap_item timer;
	enum ledger_phase phase;
	uint64_t offer; /* 0: adopted */
	struct claim claim;
	uint32_t cpu_milli;
	uint64_t memory_bytes;
	enum fleet_mode mode;
	bool log;      /* the journal does not know of its state yet */
	bool tell;     /* others do not */
	bool stop;     /* the runtime does not know that it ends */
	bool named;    /* in by_slot */
	bool excluded; /* from the journal that is being written anew */
	size_t takes_count;
	uint64_t takes[];
};

struct ledger {
	struct fleet *fleet;
	uint32_t self;
	uint16_t file;
	struct map by_offer;
	struct map by_number;
	struct map by_slot; /* of service and slot: the first one */
	struct list items;
	size_t items_count;
	struct list due;
	struct heap timers;
	size_t exclusives; /* items that bear nothing beside them */
	uint64_t cpu_used_milli;
	uint64_t memory_used_bytes;
	uint64_t runs_cpu_milli; /* of these, without a claim */
	uint64_t runs_memory_bytes;
	/* For prices: what reserves nothing still weighs something. */
	uint64_t cpu_weight_milli;
	uint64_t memory_weight_bytes;
	uint64_t next_number;
	uint64_t rewrites;
	uint64_t rewrite_token; /* of the journal as a whole; 0: none under way */
	bool rewrite;           /* is wanted */
	uint64_t rewrite_at_ns; /* not before */
	size_t journal_bytes;   /* of all items, written anew */
	size_t journal_records; /* in the file, about */
	bool cordoned;
	bool draining;
	bool drained;
	uint64_t drain_until_ns;
};

void ledger_init(struct ledger *l, struct fleet *fleet, uint32_t self, uint16_t file);
void ledger_fini(struct ledger *l);

/* The journal as it was found; before anything else. -1: out of memory. */
int ledger_load(struct ledger *l, const void *data, size_t bytes)
	__attribute__((warn_unused_result));

/* A message of a coordinator. Needs room for LEDGER_STEP_ACTIONS actions. */
void ledger_message(struct ledger *l, uint32_t from, const struct placemsg *m, uint64_t now_ns,
		    struct step_actions *out);
void ledger_disk_done(struct ledger *l, uint64_t token, bool good, uint64_t now_ns);
/* What the node's other parts say. Unknown numbers are harmless. */
/* Nothing is left of it. Needs room as a message does. */
void ledger_ended(struct ledger *l, uint64_t number, struct step_actions *out);
void ledger_state(struct ledger *l, uint64_t number, enum claim_state state, uint16_t reason);
/* What is in use here beside all claims, in cores (milli) and bytes: instead of what was said last.
 */
void ledger_runs(struct ledger *l, uint64_t cpu_milli, uint64_t memory_bytes);
void ledger_cordon(struct ledger *l, bool cordoned);
/* until_ns 0: no more. */
void ledger_drain(struct ledger *l, uint64_t until_ns);
/* Promises that ran out, the drain's end, writes, tells: until nothing is due or no room is left
 * (true: there is more). */
bool ledger_work(struct ledger *l, uint64_t now_ns, struct step_actions *out);
/* When time alone changes something; UINT64_MAX: never. */
uint64_t ledger_due_ns(const struct ledger *l);

enum { LEDGER_STEP_ACTIONS = 4 };

/* NULL when there is no such claim. */
const struct ledger_item *ledger_claim(const struct ledger *l, uint64_t number);
uint32_t ledger_cpu_free_milli(const struct ledger *l);
uint64_t ledger_memory_free_bytes(const struct ledger *l);

#endif
