/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_REPLAY_H
#define OVERLAY_WG_REPLAY_H

/*
 * Which counters of a sender were seen: each once, and none that is older than the window (RFC
 * 6479: a ring of words, of which the one being entered is cleared as a whole, so that nothing is
 * ever shifted). To be asked only after the packet was found to be genuine.
 * Threading: one owner at a time.
 */

#include <stdbool.h>
#include <stdint.h>

enum {
	REPLAY_BITS = 8192,
	REPLAY_WINDOW = REPLAY_BITS - 64, /* counters that may overtake each other */
};

/* None greater is ever taken, nor sent: REJECT-AFTER-MESSAGES. */
#define REPLAY_COUNTER_MAX (UINT64_MAX - REPLAY_BITS)

struct replay {
	uint64_t next; /* one above the greatest seen */
	uint64_t seen[REPLAY_BITS / 64];
};

void replay_init(struct replay *r);
/* True: new, and taken note of. */
bool replay_take(struct replay *r, uint64_t counter);

#endif
