/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PLACE_FIT_H
#define SCHEDULER_PLACE_FIT_H

/*
 * Whether a node can take a slot of a service, as far as is known, and every reason why not. Pure:
 * reads the fleet. The node itself has the last word (ledger.h) with the same reasons.
 */

#include <stdbool.h>
#include <stdint.h>
#include "scheduler/place/fleet.h"

enum fit_reason {
	FIT_DEAD = 1u << 0,
	FIT_SUSPECT = 1u << 1,
	FIT_CORDONED = 1u << 2,
	FIT_DRAINING = 1u << 3,
	FIT_PLATFORM = 1u << 4,
	FIT_LABEL = 1u << 5,
	FIT_TAINT = 1u << 6,
	FIT_NEED = 1u << 7,  /* a device or volume is not there */
	FIT_KEEP = 1u << 8,  /* the volume with the data is on another node */
	FIT_TAKEN = 1u << 9, /* a port or volume is in use */
	FIT_CPU = 1u << 10,
	FIT_MEMORY = 1u << 11,
	FIT_DEDICATED = 1u << 12, /* it has another replica of it */
	FIT_EXCLUSIVE = 1u << 13, /* it runs something that bears no other */
	FIT_OCCUPIED = 1u << 14, /* the service wants a node for itself, and this one runs others */
	FIT_GAVE_UP = 1u << 15,  /* this node has given this slot up */
	/* Only in answers. */
	FIT_UNKNOWN = 1u << 16, /* the node has not got this revision yet, or has a newer one */
	FIT_EXPIRED = 1u << 17, /* the promise is no more */
	FIT_JOURNAL = 1u << 18, /* the node could not write its journal */
	FIT_FULL = 1u << 19,    /* as many promises or claims as one node may have */
	FIT_SILENT = 1u << 20,  /* it did not answer */
	FIT_STORE = 1u << 21,   /* what lives with a lease, and it cannot ask the store for one */
	FIT_ALL_ = (1u << 22) - 1,
};

/* Reasons for which a claim that is there leaves again. */
enum {
	FIT_MOVES = FIT_DRAINING | FIT_PLATFORM | FIT_LABEL | FIT_TAINT | FIT_NEED | FIT_STORE,
};

struct fit {
	uint32_t reasons; /* 0: it fits */
	uint32_t cpu_free_milli;
	uint64_t memory_free_bytes;
	/* Which, for the reason that says so: index into the service's labels, needs, keeps, takes;
	 * taint: into the node's. */
	uint16_t label;
	uint16_t taint;
	uint16_t need;
	uint16_t keep;
	uint16_t taken;
	uint32_t keeper; /* KEEP: node that has it */
};

/* What is the same for all nodes of a search. */
struct fit_ask {
	const struct fleet *fleet;
	const struct fleet_service *service;
	uint32_t slot;
	uint64_t kept; /* bit per keep of the service that some node has */
};

void fit_ask(struct fit_ask *ask, const struct fleet *f, const struct fleet_service *s,
	     uint32_t slot);
/* All reasons, without the numbers. */
uint32_t fit_reasons(const struct fit_ask *ask, const struct fleet_node *n);

/* Those that come from the service and the node's facts alone. */
uint32_t fit_facts(const struct fleet_service *s, const struct fleet_node *n);
/* Those for which a claim on that node has to leave it. */
uint32_t fit_moves(const struct fleet_service *s, const struct fleet_node *n);
/* All of them, with the numbers. */
void fit_node(const struct fleet *f, const struct fleet_service *s, uint32_t slot,
	      const struct fleet_node *n, struct fit *out);

#endif
