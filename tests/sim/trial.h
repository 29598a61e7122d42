/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_TRIAL_H
#define TESTS_SIM_TRIAL_H

/*
 * One plan, run to its verdict: first the faults with the rules that hold always, then none (but
 * what lasts for ever) until all has settled, within the plan's bound. And the making of a smaller
 * plan that fails in the same way.
 */

#include "tests/sim/sim.h"

struct trial {
	struct sim_failure failure;
	uint64_t hash;
	uint64_t ns;         /* simulated */
	uint64_t settled_ns; /* after the faults had ended */
	uint64_t steps, events, datagrams, sent_bytes;
	uint32_t nodes;
};

void trial_run(const struct plan *plan, const struct sim_profile *profile, FILE *trace,
	       struct trial *out);
/* Runs it twice; traces that differ are a failure of the check "determinism". */
void trial_run_twice(const struct plan *plan, const struct sim_profile *profile, struct trial *out);

/* Whether a plan fails as wanted; the runner puts a process of its own behind it. */
typedef bool trial_fails_fn(const struct plan *plan, void *data);

/* Marks items as dropped, as many as can be with `fails` still true; at most that many tries. Gives
 * the number of tries. */
unsigned trial_minimise(struct plan *plan, trial_fails_fn *fails, void *data, unsigned tries_max);

#endif
