/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_PROFILE_CELLS_H
#define TESTS_SIM_PROFILE_CELLS_H

/* scheduler/cells in each node: regions of cells of nodes, all gossip with it. */

#include "scheduler/cells/cells.h"
#include "tests/sim/sim.h"

struct profile_cells_shape {
	uint32_t nodes;
	uint32_t cells;   /* node n is in cell 1 + (n - 1) % cells */
	uint32_t regions; /* and that in region 1 + (cell - 1) % regions */
};

enum profile_cells_act {
	PROFILE_CELLS_FACTS = 1, /* struct facts */
};

const struct sim_profile *profile_cells(void);
/* For benchmarks: that shape, everybody knows everybody of his cell at the start, no rules. */
const struct sim_profile *profile_cells_bare(const struct profile_cells_shape *shape);

struct cells *profile_cells_core(void *core);
struct cells_place profile_cells_place(const struct profile_cells_shape *shape, uint32_t node);

#endif
