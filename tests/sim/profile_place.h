/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_PROFILE_PLACE_H
#define TESTS_SIM_PROFILE_PLACE_H

/* The profile "place": scheduler/place upon scheduler/gossip in the simulator, with a store that
 * all nodes follow and a runtime that starts and stops what is claimed. */

#include "tests/sim/sim.h"

const struct sim_profile *profile_place(void);

#endif
