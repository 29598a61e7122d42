/* SPDX-License-Identifier: Apache-2.0 */

/* Budgets of retries: a slot for each second of the window, reused when its second comes again. */

#include "proxy/budget.h"

static void
move_on(struct budget *b, uint64_t now_ms)
{
	uint64_t now = now_ms / 1000;

	/* A clock that stands or goes back keeps the newest slot. */
	for (unsigned i = 0; b->second < now && i < BUDGET_WINDOW_S; i++) {
		/* After a long silence only the slots that are still looked at are emptied. */
		b->second = now - b->second > BUDGET_WINDOW_S ? now - BUDGET_WINDOW_S + 1
							      : b->second + 1;
		b->requests[b->second % BUDGET_WINDOW_S] = 0;
		b->retries[b->second % BUDGET_WINDOW_S] = 0;
	}
}

static uint64_t
sum(const uint32_t slots[BUDGET_WINDOW_S])
{
	uint64_t n = 0;

	for (unsigned i = 0; i < BUDGET_WINDOW_S; i++)
		n += slots[i];
	return n;
}

void
budget_request(struct budget *b, uint64_t now_ms)
{
	move_on(b, now_ms);
	b->requests[b->second % BUDGET_WINDOW_S]++;
}

bool
budget_retry(struct budget *b, uint64_t now_ms)
{
	move_on(b, now_ms);
	if (sum(b->retries) >=
	    BUDGET_RETRY_FREE_MAX + sum(b->requests) * BUDGET_RETRY_PERCENT_MAX / 100)
		return false;
	b->retries[b->second % BUDGET_WINDOW_S]++;
	return true;
}
