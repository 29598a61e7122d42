/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_ALLOWANCE_H
#define OVERLAY_ALLOWANCE_H

/*
 * How much one asker may ask: so many questions a second, and at most so many at once after a rest
 * (a token bucket). All zero is a full one.
 * Threading: plain values.
 */

#include <stdbool.h>
#include <stdint.h>

enum {
	ALLOWANCE_RATE = 2000, /* questions a second */
	ALLOWANCE_BURST = 4000,
};

struct allowance {
	uint64_t left;
	uint64_t filled_ns; /* 0: never used */
};

/* now_ns: monotonic, above 0. False: too much. */
bool allowance_take(struct allowance *a, uint64_t now_ns);

#endif
