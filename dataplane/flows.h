/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_FLOWS_H
#define DATAPLANE_FLOWS_H

/*
 * How many flows are pinned at each address and port, as a gauge. The kernel's tables are walked
 * through bit by bit, and only while there can be any. Threading: one owner.
 */

#include <stddef.h>
#include "base/addr.h"
#include "base/metric.h"
#include "dataplane/lb.h"
#include "dataplane/services.h"

enum {
	FLOWS_PLACES_MAX = 256, /* addresses with a port that are shown */
	FLOWS_BATCHES = 8,      /* of LB_FLOWS_BATCH, in one turn */
};

struct flows;

/* NULL: out of memory. */
struct flows *flows_new(void);
/* Once a second or so: goes on with a walk, and shows what it has found at its end. */
void flows_turn(struct flows *f, struct lb *lb, const struct services *s,
		const struct addr *addresses, size_t addresses_count, struct metric_page *page);
/* Nothing is balanced any more: no series is shown. */
void flows_stop(struct flows *f, struct metric_page *page);

#endif
