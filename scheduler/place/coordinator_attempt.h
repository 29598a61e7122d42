/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PLACE_COORDINATOR_ATTEMPT_H
#define SCHEDULER_PLACE_COORDINATOR_ATTEMPT_H

/* Between coordinator.c and coordinator_attempt.c: one slot on its way to a node.
 *
 *   OFFERING -> (a promise, the other answered or is late) -> AWARDING -> claimed, and over
 *      ^  all asked have refused                     |
 *      +---------------------------------------------+ the promise is no more
 *                                                    +-> LOST: the award is not answered; the
 *                                                        claim may be there, gossip will tell
 */

#include "scheduler/place/coordinator.h"

enum { ATTEMPT_ASKS = 2 };

enum attempt_phase { ATTEMPT_OFFERING = 1, ATTEMPT_AWARDING, ATTEMPT_LOST };

enum ask_state { ASK_NONE, ASK_WAITS, ASK_PROMISED };

struct attempt_ask {
	enum ask_state state;
	uint64_t offer;
	uint32_t node;
	uint32_t price;
	bool counted; /* in the fleet, as asked for */
	uint32_t cpu_milli;
	uint64_t memory_bytes;
};

struct coordinator_attempt {
	struct list link; /* of the work */
	struct heap_item timer;
	struct coordinator_work *work;
	uint32_t slot;
	uint32_t revision;
	enum attempt_phase phase;
	unsigned sends; /* of what is waited for */
	struct attempt_ask asks[ATTEMPT_ASKS];
	uint32_t tried[COORDINATOR_TRIES_MAX];
	size_t tried_count;
};

enum attempt_result {
	ATTEMPT_GOES_ON,
	ATTEMPT_PLACED,
	ATTEMPT_REFUSED, /* by all that may be asked */
	ATTEMPT_UNKNOWN, /* look at the claims again */
};

/* Begins with the first offers. NULL: *result says ATTEMPT_REFUSED, or ATTEMPT_UNKNOWN when out of
 * memory. Needs room for two actions, as all of these. */
struct coordinator_attempt *coordinator_attempt_new(struct coordinator *c,
						    struct coordinator_work *w, uint32_t slot,
						    uint64_t now_ns, struct step_actions *out,
						    enum attempt_result *result);
/* Lets go of what was promised, where there is room to say so (out may be NULL). */
void coordinator_attempt_free(struct coordinator *c, struct coordinator_attempt *a,
			      struct step_actions *out);
enum attempt_result coordinator_attempt_answer(struct coordinator *c, struct coordinator_attempt *a,
					       uint32_t from, const struct placemsg *m,
					       uint64_t now_ns, struct step_actions *out);
enum attempt_result coordinator_attempt_timer(struct coordinator *c, struct coordinator_attempt *a,
					      uint64_t now_ns, struct step_actions *out);

#endif
