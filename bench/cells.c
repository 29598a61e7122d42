/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cells of a region and regions of the world, in the simulator: every figure is simulated. Cells of
 * so many nodes, 40 cells to a region, on the LAN of bench/lan.h; at the start all of a cell
 * know all of it, and nothing of the others.
 *
 *   ready    until each gate holds a summary of each cell of its region and of each region
 *   bytes    payload per second and node over 20 s without news, streams too; and of a gate
 *   memory   of a core
 *
 * bench-cells [--json] [--nodes 1000,10000] [--cell 250]
 */
#include <inttypes.h>
#include "base/mem.h"
#include "bench/bench.h"
#include "bench/lan.h"
#include "tests/sim/profile_cells.h"

enum { CELLS_OF_REGION = 40, MEASURED_S = 20, READY_S_MAX = 120, CALM_S = 25 };

static bool json;

static void
row(const struct profile_cells_shape *shape, const char *name, const char *unit, double value,
    const char *target)
{
	if (json)
		printf("{\"bench\":\"cells\",\"simulated\":true,\"nodes\":%u,\"cells\":%u,"
		       "\"regions\":%u,\"row\":\"%s\",\"unit\":\"%s\",\"ours\":%.4g}\n",
		       shape->nodes, shape->cells, shape->regions, name, unit, value);
	else
		printf("%6u nodes %4u cells %2u regions  %-18s %12.4g  %-15s %s\n", shape->nodes,
		       shape->cells, shape->regions, name, value, unit, target);
	fflush(stdout);
}

static struct cells *
core_of(const struct sim *s, uint32_t node)
{
	void *core = sim_core(s, node);

	return core ? profile_cells_core(core) : NULL;
}

static uint32_t
cells_of_region(const struct profile_cells_shape *shape, uint32_t region)
{
	return (shape->cells - region) / shape->regions + 1;
}

static bool
knows(const struct cells *c, unsigned tier, uint32_t wanted)
{
	uint32_t known = 0;

	for (size_t i = 0; i < cells_units(c, tier); i++) {
		struct cells_unit u;

		cells_unit_at(c, tier, i, &u);
		known += u.state == CELLS_LIVE && u.summary;
	}
	return known >= wanted;
}

static bool
ready(const struct sim *s, const struct profile_cells_shape *shape)
{
	for (uint32_t node = 1; node <= shape->nodes; node++) {
		const struct cells *c = core_of(s, node);
		uint32_t region = profile_cells_place(shape, node).region;

		if (!c)
			return false;
		if (cells_gossip(c, 1) &&
		    (!knows(c, 1, cells_of_region(shape, region)) || !knows(c, 2, shape->regions)))
			return false;
	}
	return true;
}

static void
count(const struct sim *s, const struct profile_cells_shape *shape, uint64_t *all, uint64_t *gates)
{
	*all = *gates = 0;
	for (uint32_t node = 1; node <= shape->nodes; node++) {
		uint64_t bytes = s->nodes[node - 1].sent_bytes + s->nodes[node - 1].stream_bytes;

		*all += bytes;
		if (cells_gossip(core_of(s, node), 1))
			*gates += bytes;
	}
}

static uint32_t
gates(const struct sim *s, const struct profile_cells_shape *shape)
{
	uint32_t found = 0;

	for (uint32_t node = 1; node <= shape->nodes; node++)
		found += cells_gossip(core_of(s, node), 1) != NULL;
	return found;
}

static struct profile_cells_shape
shape_of(uint32_t nodes, uint32_t cell)
{
	struct profile_cells_shape shape = {.nodes = nodes, .cells = (nodes + cell - 1) / cell};

	shape.regions = (shape.cells + CELLS_OF_REGION - 1) / CELLS_OF_REGION;
	return shape;
}

static bool
measure(const struct profile_cells_shape *shape)
{
	const struct plan plan = lan_plan(shape->nodes, LAN_AT_ONCE_NS);
	struct sim *s = sim_new(&plan, profile_cells_bare(shape));
	const struct facts facts = {.cpu_milli = 8000,
				    .cpu_free_milli = 8000,
				    .memory_mib = 16384,
				    .memory_free_mib = 16384,
				    .open = true};
	uint64_t before[2], after[2];
	bool all = false;

	for (uint32_t node = 1; node <= shape->nodes; node++)
		sim_local_in(s, node, SIM_S, PROFILE_CELLS_FACTS, 0, &facts, sizeof(facts));
	while (!all && s->now_ns < READY_S_MAX * SIM_S && !s->failure.failed) {
		sim_run(s, s->now_ns + SIM_S);
		all = ready(s, shape);
	}
	row(shape, all ? "ready" : "NOT READY", "s", (double)s->now_ns / 1e9, "");
	sim_run(s, s->now_ns + CALM_S * SIM_S);
	count(s, shape, &before[0], &before[1]);
	sim_run(s, s->now_ns + MEASURED_S * SIM_S);
	count(s, shape, &after[0], &after[1]);
	row(shape, "bytes", "per s and node",
	    (double)(after[0] - before[0]) / MEASURED_S / shape->nodes,
	    "within 20 % of each other");
	row(shape, "bytes of a gate", "per s",
	    (double)(after[1] - before[1]) / MEASURED_S / (gates(s, shape) ? gates(s, shape) : 1),
	    "");
	row(shape, "memory of a core", "KiB", (double)mem_used(MEM_SCHEDULER) / shape->nodes / 1024,
	    "");
	sim_free(s);
	return all;
}

int
main(int argc, char **argv)
{
	const char *sizes = "1000,10000";
	uint32_t cell = 250;
	bool all = true;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			json = true;
		} else if (strcmp(argv[i], "--nodes") == 0 && i + 1 < argc) {
			sizes = argv[++i];
		} else if (strcmp(argv[i], "--cell") == 0 && i + 1 < argc) {
			cell = (uint32_t)strtoul(argv[++i], NULL, 10);
		} else {
			fprintf(stderr, "usage: bench-cells [--json] [--nodes 1000,10000] "
					"[--cell 250]\n");
			return 2;
		}
	}
	while (*sizes) {
		char *end;
		uint32_t nodes = (uint32_t)strtoul(sizes, &end, 10);
		struct profile_cells_shape shape;

		if (cell < 2 || cell > 16000 || nodes < 2 * cell || nodes > 200000) {
			fprintf(stderr, "bench-cells: cells of 2 to 16000 nodes, two at least, "
					"200000 nodes at most\n");
			return 2;
		}
		shape = shape_of(nodes, cell);
		if (shape.regions > CELLS_UNITS_MAX) {
			fprintf(stderr, "bench-cells: %u regions, of %d at most\n", shape.regions,
				CELLS_UNITS_MAX);
			return 2;
		}
		all &= measure(&shape);
		sizes = *end == ',' ? end + 1 : end;
	}
	return all ? 0 : 1;
}
