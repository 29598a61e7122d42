/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_LAN_H
#define BENCH_LAN_H

/* The simulated LAN of the benchmarks: 50 to 250 us between two nodes and an exponential jitter of
 * 50 us, clocks off by up to 100 ppm, all started within spread_ns. Where all know all at the start
 * they start within LAN_AT_ONCE_NS: who starts later than the others ask for him is suspected. */

#include "tests/sim/sim.h"

#define LAN_AT_ONCE_NS SIM_MS

static inline struct plan
lan_plan(uint32_t nodes, uint64_t spread_ns)
{
	return (struct plan){
		.seed = nodes,
		.nodes = nodes,
		.safety_ns = 3600 * SIM_S,
		.spread_ns = spread_ns,
		.rate_max_ppb = 100000,
		.socket_bytes = 212992,
		.wire_low = 1,
		.wire_high = 1,
		.link = {.near_ns = 50000, .spread_ns = 200000, .jitter_ns = 50000, .zones = 1},
	};
}

#endif
