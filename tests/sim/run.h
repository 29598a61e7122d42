/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_RUN_H
#define TESTS_SIM_RUN_H

/*
 * Many seeds, in processes of their own: a core that aborts or never ends is a failure of its seed
 * and no end of the run. Each failure is printed with the line that repeats it and the smallest
 * plan found that fails in the same way.
 */

#include "tests/sim/trial.h"

struct run_options {
	const struct sim_profile *profile;
	uint64_t from;    /* the first seed */
	uint64_t seeds;   /* how many */
	uint64_t seconds; /* of faults, simulated */
	uint32_t nodes;   /* 0: drawn */
	uint32_t kinds;   /* bits of the faults that may be drawn */
	unsigned jobs;
	unsigned failures_max; /* stop after so many */
	bool once;             /* do not run each seed twice */
	bool minimise;
	bool quiet; /* no words but of failures */
};

struct run_result {
	uint64_t done; /* seeds */
	uint64_t failed;
	uint64_t node_ns; /* simulated, each run counted */
	uint64_t cpu_ns;
	uint64_t first_failed;      /* seed */
	struct sim_failure failure; /* of it */
	bool interrupted;
};

void run_seeds(const struct run_options *options, struct run_result *out);
/* One plan, with what remains of it, in words. */
void run_one(const struct run_options *options, const char *only, FILE *trace, struct trial *out);

#endif
