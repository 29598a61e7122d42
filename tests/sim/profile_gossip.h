/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_PROFILE_GOSSIP_H
#define TESTS_SIM_PROFILE_GOSSIP_H

/* The profile "gossip": scheduler/gossip in the simulator, and the rules it must keep. */

#include "scheduler/gossip/gossip.h"
#include "tests/sim/sim.h"

/* What STEP_LOCAL carries to a simulated node (what), with struct profile_gossip_put as its data,
 * followed by the value of a put. */
enum profile_gossip_act {
	PROFILE_GOSSIP_PUT = 1,
	PROFILE_GOSSIP_DROP,
	PROFILE_GOSSIP_LEAVE, /* no data */
};

struct profile_gossip_put {
	uint64_t id;
	uint16_t type;
	uint16_t pad_[3];
};

const struct sim_profile *profile_gossip(void);
/* Without acts and checks, and all know all from the start: for measuring. Copy it to add a check.
 */
const struct sim_profile *profile_gossip_bare(void);
/* Likewise, but nobody knows more than the roster: all join at once. */
const struct sim_profile *profile_gossip_cold(void);
/* The core within what sim_core() gives. */
struct gossip *profile_gossip_core(void *core);
bool profile_gossip_has_left(void *core);

#endif
