/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_PLACE_CORE_H
#define TESTS_SIM_PLACE_CORE_H

/*
 * One simulated node with two cores: gossip, and placement whose fleet follows what gossip tells.
 * STEP_TELL of placement leave it as they are (enum placement_tell) and come back as PLACE_TOLD
 * when they are carried out; those of gossip end here.
 */

#include "scheduler/place/placement.h"
#include "tests/sim/sim.h"

enum {
	PLACE_CPU_MILLI = 4000, /* of each node */
	PLACE_SERVICES = 4,
	PLACE_SERVICE_CPU_MILLI = 500,
};

/* What STEP_LOCAL carries (what). */
enum place_act {
	PLACE_SPECS = 100, /* struct place_specs: the store's copy is now this */
	PLACE_STATE,       /* token: number; data: u8 enum claim_state */
	PLACE_ENDED,       /* token: number */
	PLACE_RUNNING,     /* data: u64 numbers */
	PLACE_DRAIN,       /* data: u64 ns until it ends what has not moved; 0: no drain */
	PLACE_STUCK,       /* data: u8 it cannot write the store (any more) */
	PLACE_TOLD, /* a STEP_TELL was carried out. token: as there; data: struct place_told */
};

struct place_spec {
	uint32_t revision;
	uint32_t replicas;
};

/* Of services 1 to PLACE_SERVICES. */
struct place_specs {
	uint64_t version; /* an older copy is not taken */
	struct place_spec services[PLACE_SERVICES];
};

struct place_told {
	uint16_t what;
	uint8_t data[CLAIM_BYTES];
};

extern const struct sim_core_calls place_core_calls;

#endif
