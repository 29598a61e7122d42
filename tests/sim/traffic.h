/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_TRAFFIC_H
#define TESTS_SIM_TRAFFIC_H

/* What nodes may say, datagrams and streams, in bytes of payload, over a whole run. */

#include "tests/sim/sim.h"

struct traffic_budget {
	uint64_t bytes_per_s;       /* and node */
	uint64_t quiet_bytes_per_s; /* the same when nothing happens (plan.quiet) */
	uint64_t start_bytes;       /* more per node, for each start of one */
};

/* Breaks of it go to sim_fail as "budget". */
void traffic_check(struct sim *s, const struct traffic_budget *budget);

#endif
