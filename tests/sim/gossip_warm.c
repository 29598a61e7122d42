/* SPDX-License-Identifier: Apache-2.0 */
/* The one place of the simulator that reaches into a core. */
#include "tests/sim/gossip_warm.h"

#include <assert.h>
#include "scheduler/gossip/core.h"
#include "scheduler/gossip/member.h"
#include "scheduler/gossip/mesh.h"
#include "scheduler/gossip/space.h"

enum { FIRST = 1 };

void
gossip_warm_file(struct gossip *g)
{
	g->life.found = true;
	g->life.durable = FIRST - 1;
}

void
gossip_warm(struct gossip *g)
{
	assert(core_incarnation(g->status[g->self_at]) == FIRST);
	for (size_t at = 0; at < g->count; at++) {
		if (at == g->self_at)
			continue;
		member_set_status(g, at, core_status(FIRST, GOSSIP_ALIVE));
		mesh_change(g, g->ids[at], true);
	}
	g->joined = true;
	/* Of whom nothing is held but that he lives, no namespace has begun. */
	assert(space_of(g, g->self_at)->count == 0);
	space_set_version(g, g->self_at, 0);
	g->log_first = g->log_next;
}
