/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_PROFILE_LEASE_H
#define TESTS_SIM_PROFILE_LEASE_H

/* Leases and firings: scheduler/tenure.c, scheduler/firing.c (docs/simulation.md). */

#include "tests/sim/sim.h"

const struct sim_profile *profile_lease(void);

#endif
