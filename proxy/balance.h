/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_BALANCE_H
#define PROXY_BALANCE_H

/*
 * Which replica a request goes to, and what is known of each: latency, load, failures. I/O-free:
 * time and randomness come in. Replicas that are draining get nothing new; ones that failed lately
 * are passed over while others are there (passive ejection), and so are those of nodes in doubt.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/world.h"
#include "ring/msg.h"

enum {
	BALANCE_FAILURES = 5,     /* in a row, until ejection */
	BALANCE_EJECT_MS = 30000, /* times the number of ejections */
	BALANCE_EJECT_MAX_MS = 300000,
	BALANCE_EJECT_PERCENT_MAX = 10, /* of a service's replicas at a time, but one always */
	BALANCE_UNREACHABLE_MS = 1000,  /* after a refused connection; doubled for each in a row */
	BALANCE_TRIED_MAX = 8,
};

struct balance_replica {
	uint64_t ewma_ns; /* of the time until an answer begins; 0: not known yet */
	uint32_t in_flight;
	uint32_t upgraded; /* of those */
	uint32_t failures; /* in a row */
	uint32_t ejections;
	uint64_t avoid_until_ms;
	uint64_t ejected_until_ms;
	bool draining;
	bool doubted; /* its node does not answer just now */
};

/* The index of the chosen one, or -1 when there is none. tried: replicas that this request was sent
 * to before; avoided while others are there. turn: the service's counter for round robin. */
int balance_choose(struct balance_replica *const *replicas, size_t count, enum msg_balance how,
		   const struct balance_replica *const *tried, size_t tried_count,
		   const struct world *world, uint64_t now_ms, uint64_t *turn);

void balance_begin(struct balance_replica *r);
void balance_end(struct balance_replica *r);
/* An answer began after this time. */
void balance_answered(struct balance_replica *r, uint64_t latency_ns);
/* Whether one is left that a request may as well go to, which was sent to `tried` and waits there.
 */
bool balance_has_other(struct balance_replica *const *replicas, size_t count,
		       const struct balance_replica *const *tried, size_t tried_count,
		       const struct balance_replica *waits, uint64_t now_ms);

/* How many more of these may be ejected: what fails everywhere is no fault of one replica, and
 * those that are left must carry the load. Never the last one that takes requests. */
size_t balance_spare(struct balance_replica *const *replicas, size_t count, uint64_t now_ms);
/* It could not be connected to, died, or answered 502..504. True: it is ejected now. spare: of its
 * service, as above. */
bool balance_failed(struct balance_replica *r, bool unreachable, size_t spare, uint64_t now_ms);

#endif
