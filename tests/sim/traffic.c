/* SPDX-License-Identifier: Apache-2.0 */
/* A mean over nodes and time: it finds what storms or grows, not what is said in a moment. */
#include "tests/sim/traffic.h"

void
traffic_check(struct sim *s, const struct traffic_budget *budget)
{
	uint64_t most = s->plan->quiet ? budget->quiet_bytes_per_s : budget->bytes_per_s;
	uint64_t bytes = 0, starts = 0, seconds = s->now_ns / SIM_S + 1;

	for (uint32_t n = 0; n < s->plan->nodes; n++) {
		bytes += s->nodes[n].sent_bytes + s->nodes[n].stream_bytes;
		starts += s->nodes[n].boot;
	}
	bytes /= seconds * s->plan->nodes;
	most += starts * budget->start_bytes / seconds;
	if (bytes > most)
		sim_fail(s, "budget", 0, "%llu bytes per second and node; the budget is %llu",
			 (unsigned long long)bytes, (unsigned long long)most);
}
