/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filled in whole questions, so that a slow asker loses no part of one: what is left of the time
 * since the last fill counts at the next. A clock that stands still or goes back gives nothing.
 */
#include "overlay/allowance.h"

enum { SECOND_NS = 1000000000, EACH_NS = SECOND_NS / ALLOWANCE_RATE };

bool
allowance_take(struct allowance *a, uint64_t now_ns)
{
	uint64_t more = now_ns > a->filled_ns ? (now_ns - a->filled_ns) / EACH_NS : 0;

	if (a->filled_ns == 0 || more >= ALLOWANCE_BURST) {
		a->left = ALLOWANCE_BURST;
		a->filled_ns = now_ns;
	} else if (more > 0) {
		a->left = a->left + more < ALLOWANCE_BURST ? a->left + more : ALLOWANCE_BURST;
		a->filled_ns += more * EACH_NS;
	}
	if (a->left == 0)
		return false;
	a->left--;
	return true;
}
