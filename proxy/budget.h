/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_BUDGET_H
#define PROXY_BUDGET_H

/*
 * How many requests of a service may be sent again: a share of those that came in the last ten
 * seconds, and a few in any case, so that a service with little traffic has its retries too. When
 * replicas fail one after the other, retries would else multiply the load of those that are left.
 * I/O-free. Threading: one owner. Zeroed memory is an empty budget.
 */

#include <stdbool.h>
#include <stdint.h>

enum {
	BUDGET_WINDOW_S = 10,
	BUDGET_RETRY_PERCENT_MAX = 20, /* of the window's requests */
	BUDGET_RETRY_FREE_MAX = 32,    /* a window, whatever the traffic */
};

struct budget {
	uint64_t second; /* of the newest slot */
	uint32_t requests[BUDGET_WINDOW_S];
	uint32_t retries[BUDGET_WINDOW_S];
};

/* A request came. */
void budget_request(struct budget *b, uint64_t now_ms);
/* Whether one may be sent again; counted when it may. */
bool budget_retry(struct budget *b, uint64_t now_ms);

#endif
