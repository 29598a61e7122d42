/* SPDX-License-Identifier: Apache-2.0 */
/* The one place of the simulator that reaches into a core. */
#include "tests/sim/gossip_warm.h"

#include "scheduler/gossip/core.h"
#include "scheduler/gossip/member.h"
#include "scheduler/gossip/mesh.h"

void
gossip_warm(struct gossip *g)
{
	for (size_t at = 0; at < g->count; at++) {
		if (at == g->self_at)
			continue;
		member_set_status(g, at, core_status(1, GOSSIP_ALIVE));
		mesh_change(g, g->ids[at], true);
	}
	g->joined = true;
}
