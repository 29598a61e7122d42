/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SKEW_H
#define TESTS_SIM_SKEW_H

/* A node's clock beside the true time of the simulation: where it began, how fast it goes, and
 * jumps forward. It never goes back. */

#include <stdint.h>

struct skew {
	int32_t rate_ppb;  /* faster than the true time by so many billionths; at most +-5 % */
	uint64_t true_ns;  /* at this true time ... */
	uint64_t local_ns; /* ... it showed this */
};

void skew_init(struct skew *s, uint64_t true_ns, uint64_t local_ns, int32_t rate_ppb);
uint64_t skew_local(const struct skew *s, uint64_t true_ns);
/* The first true time at which the clock shows at least that; UINT64_MAX stays. */
uint64_t skew_true(const struct skew *s, uint64_t local_ns);
void skew_jump(struct skew *s, uint64_t true_ns, uint64_t forward_ns);

#endif
