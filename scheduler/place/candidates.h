/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PLACE_CANDIDATES_H
#define SCHEDULER_PLACE_CANDIDATES_H

/*
 * The nodes to ask for a slot: those that fit as far as is known, the best by rendezvous on what
 * they have in all (never on live load: otherwise everything would move). With spread `node` one
 * that has n replicas of the service already counts (1 + n)^2 times as far; with `zone` the zone's
 * part of all replicas counts with its fourth power, and the node's own singly; a preferred label
 * that is lacking counts four times. Nodes that are rather to have one (fleet_service.rather) and
 * have none are the only candidates as long as one of them fits.
 */

#include <stddef.h>
#include <stdint.h>
#include "scheduler/place/fit.h"

enum { CANDIDATES_MAX = 32 };

struct candidate {
	struct fleet_node *node;
	uint64_t score;
	uint32_t load; /* as last heard, in thousandths of what it has */
};

struct candidates {
	struct candidate items[CANDIDATES_MAX]; /* best first */
	size_t count;
};

/* Up to k nodes, none of `except` (ids). The fleet is refreshed; marks the service. */
void candidates_find(struct fleet *f, struct fleet_service *s, uint32_t slot, size_t k,
		     const uint32_t *except, size_t except_count, struct candidates *out);
/* Likewise of those that can write the store. */
void candidates_find_writers(struct fleet *f, struct fleet_service *s, uint32_t slot, size_t k,
			     struct candidates *out);
/* The best `count` by load, as far as it is known, come to the front; among equals the order of
 * scores decides. */
void candidates_rank(struct candidates *c, size_t count);

#endif
