/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_TOY_H
#define TESTS_SIM_TOY_H

/* A small protocol to try the simulator on: every node owns a counter, keeps it on its disk, and
 * all learn all counters. It uses every input and action there is, and can be made wrong. */

#include "tests/sim/sim.h"

enum toy_bug {
	TOY_HASTY = 1,      /* tells others before its disk has it */
	TOY_FORGETFUL = 2,  /* a stall of more than 3 s makes it forget its counter */
	TOY_CHANGEABLE = 4, /* acts otherwise in every second life of the process's allocations */
	TOY_DEAF = 8,       /* learns from datagrams only, and not from each */
	TOY_REPEATING = 16, /* gives a token twice */
	TOY_ABORTS = 32,    /* at its third raise */
};

struct sim_profile toy_profile(unsigned *bugs);
uint64_t toy_value(void *core, uint32_t owner);

#endif
