/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PLACE_CLAIM_H
#define SCHEDULER_PLACE_CLAIM_H

/*
 * A claim: "I, this node, run slot N of that service". Only the node writes it, after it is
 * journaled; the others hear of it by gossip, as one entry of CLAIM_BYTES under its number, little
 * endian:
 *
 *   0 service u64   8 slot u32   12 revision u32   16 epoch u64   24 node u32
 *   28 state u8     29 flags u8 (0)   30 reason u16   32 number u64
 */

#include <stdbool.h>
#include <stdint.h>

enum { CLAIM_BYTES = 40 };

enum claim_state {
	CLAIM_STARTING = 1,
	CLAIM_READY,   /* in balancing */
	CLAIM_UNREADY, /* was ready, or ended and is started again: still this node's */
	CLAIM_FAILED,  /* this node gives it up: it is to be placed on another one */
	CLAIM_LEAVING, /* drains and stops; the entry goes when nothing is left */
};

/* Why a claim is told to leave. In RETIRE, and the reason of one that is leaving. */
enum claim_retire {
	CLAIM_RETIRE_UPDATE = 1, /* another revision has taken its slot */
	CLAIM_RETIRE_SCALE,      /* its slot is no longer wanted */
	CLAIM_RETIRE_MOVED,      /* another node has it: this one no longer fits */
	CLAIM_RETIRE_DUPLICATE,  /* two nodes have it, and the other one goes before */
	CLAIM_RETIRE_REMOVED,    /* the service is no more */
	CLAIM_RETIRE_FAILED,     /* the node gave it up */
	CLAIM_RETIRE_DEADLINE,   /* the node's own: its drain is over */
	CLAIM_RETIRE_END_,
};

struct claim {
	uint64_t service;
	uint32_t slot; /* from 0 */
	uint32_t revision;
	uint64_t epoch; /* of a lease; 0: needs none */
	uint32_t node;
	uint8_t state;   /* enum claim_state */
	uint8_t flags;   /* 0 */
	uint16_t reason; /* FAILED: the node's own number; LEAVING: enum claim_retire */
	uint64_t number; /* of this claim on its node: never used again, not 0 */
};

void claim_encode(const struct claim *c, uint8_t out[CLAIM_BYTES]);
/* False when no node would write it. */
bool claim_decode(const uint8_t in[CLAIM_BYTES], struct claim *out);

/* The hash key of a slot; every revision of it has the same, so that it likes to stay. */
uint64_t claim_key(uint64_t service, uint32_t slot);
/* Of two claims to one slot and revision: whether a goes before b. A total order, the same on all
 * nodes: higher epoch, then ready, then rendezvous score (all weights equal), then lower node id,
 * then lower number. */
bool claim_before(const struct claim *a, const struct claim *b);
const char *claim_state_name(enum claim_state state);
const char *claim_retire_name(enum claim_retire reason);

#endif
