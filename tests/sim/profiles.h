/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_PROFILES_H
#define TESTS_SIM_PROFILES_H

/* What can be simulated, by name. */

#include "tests/sim/sim.h"

/* NULL: the first one. Gives NULL when there is none of that name. */
const struct sim_profile *profiles_find(const char *name);
/* "a|b" */
const char *profiles_names(void);

#endif
