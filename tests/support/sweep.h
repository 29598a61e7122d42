/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_SWEEP_H
#define TESTS_SUPPORT_SWEEP_H

/*
 * Runs a block with the first, the second, the third ... allocation failing, until a run in which
 * none was made to fail; after each run all memory must be back.
 *
 *   sweep_each(s) {
 *           struct thing *t = thing_new();
 *
 *           assert_int_equal(t == NULL, sweep_failed());
 *           thing_free(t);
 *   }
 *
 * Do not leave the block with return, break or goto: the next allocation would still fail. A block
 * that survives a failure (because it can do without) is fine.
 */

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"

enum { SWEEP_RUNS_MAX = 100000 };

struct sweep {
	int64_t run; /* allocations that succeed before the one that fails */
	size_t used_bytes;
};

#define sweep_each(s) \
	for (struct sweep s = {.run = -1, .used_bytes = mem_used_all()}; sweep_next_(&s);)

/* Whether an allocation of this run was made to fail so far. */
static inline bool
sweep_failed(void)
{
	return mem_failures() > 0;
}

static inline bool
sweep_next_(struct sweep *s)
{
	bool failed = sweep_failed();

	mem_fail_after(-1);
	if (mem_used_all() != s->used_bytes) {
		fprintf(stderr,
			"sweep: with allocation %" PRId64 " failing, %zu bytes became %zu\n",
			s->run, s->used_bytes, mem_used_all());
		abort();
	}
	if (s->run >= 0 && !failed)
		return false;
	if (++s->run > SWEEP_RUNS_MAX) {
		fprintf(stderr, "sweep: no end after %d runs\n", SWEEP_RUNS_MAX);
		abort();
	}
	mem_fail_after(s->run);
	return true;
}

#endif
