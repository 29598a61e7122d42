/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_COUNTS_H
#define DATAPLANE_COUNTS_H

/*
 * The balancer's counters as metrics. The maps outlive this process: the first look only notes what
 * a predecessor has counted, each later one adds what has come since. Threading: the loop's.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/metric.h"
#include "dataplane/lb.h"
#include "dataplane/program.h"
#include "dataplane/services.h"
#include "ring/msg.h"

/* The interfaces that programs stand on: the kernel counts by number, metrics by name. */
struct counts_links {
	uint32_t count;
	char names[MSG_EDGE_LINKS][16];
	uint32_t ifindexes[MSG_EDGE_LINKS];
};

struct counts {
	struct program_time root, uplink;
	bool begun;
	struct edge_count links[EDGE_LINKS * EDGE_VERDICTS];
	__u64 drops[EDGE_LINKS * EDGE_REASONS];
	struct edge_count backs[EDGE_BACKS];
};

void counts_init(struct counts *c);
/* The maps are gone: the next look is a first one. */
void counts_forget(struct counts *c);
void counts_look(struct counts *c, struct lb *lb, struct services *services,
		 const struct counts_links *links, struct metric_page *page);

#endif
