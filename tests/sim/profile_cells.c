/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cells of one to a few dozen nodes in up to three regions. Each node says facts that the observer
 * gives it, and others now and then; the observer sums up what is true and compares.
 *
 *   foreign    nothing of a node of another cell is ever told in a cell's own gossip; in the others
 *              only what gates may say (each step)
 *   gates      in the end the gates of a cell are its first live nodes by rendezvous, those of a
 *              region the first of those that speak for its cells, and nobody else is one
 *   summaries  each gate of a cell holds of each cell of its region that is not gone, and of each
 *              region, the summary that is true, and holds the others to be lost
 *   choice     all gates choose the same region, those of one region the same cell
 *   budget     payload per second and node
 */
#include "tests/sim/profile_cells.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "scheduler/place/rendezvous.h"
#include "tests/sim/gossip_warm.h"
#include "tests/sim/traffic.h"

enum {
	FILE_LIFE = 1,
	CELLS_MAX = 12,
	REGIONS_MAX = 3,
	SEEDS_OF = 3, /* nodes of each other cell that a node is given, in a benchmark */
	LABELS = 6,
	SERVICES = 24,
	ASKS = 12,
	BYTES_PER_S = 192 * 1024,
	QUIET_BYTES_PER_S = 16 * 1024,
	START_BYTES = 2048, /* for each node, at each start of one */
};

struct core {
	struct cells *cells;
	struct profile_cells_shape shape;
	struct cells_seed *seeds;
	bool warm;
};

/* ---- the shape ---- */

struct cells_place
profile_cells_place(const struct profile_cells_shape *shape, uint32_t node)
{
	uint32_t cell = (node - 1) % shape->cells;

	return (struct cells_place){.cell = 1 + cell, .region = 1 + cell % shape->regions};
}

static struct profile_cells_shape
shape_of(uint64_t seed, uint32_t nodes)
{
	struct draw d = draw_of(seed, 91);
	struct profile_cells_shape s = {.nodes = nodes};
	uint32_t most = nodes < CELLS_MAX ? nodes : CELLS_MAX;

	/* Some cells of one node; mostly of more. */
	if (draw_below(&d, 4) && most > 3)
		most = most / 2;
	s.cells = (uint32_t)draw_between(&d, 2, most);
	s.regions = (uint32_t)draw_between(&d, 1, REGIONS_MAX);
	if (s.regions > s.cells)
		s.regions = s.cells;
	return s;
}

static bool
where(void *arg, uint32_t node, struct cells_place *out)
{
	const struct profile_cells_shape *shape = arg;

	if (node == 0 || node > shape->nodes)
		return false;
	*out = profile_cells_place(shape, node);
	return true;
}

/* ---- the core ---- */

static size_t
make_seeds(struct core *c, struct cells_place place)
{
	size_t count = 0;

	/* In a benchmark a few of each cell will do. */
	c->seeds = mem_array(MEM_BASE, c->warm ? c->shape.cells * SEEDS_OF : c->shape.nodes,
			     sizeof(*c->seeds));
	assert(c->seeds);
	for (uint32_t node = 1;
	     node <= c->shape.nodes && !(c->warm && node > c->shape.cells * SEEDS_OF); node++) {
		uint32_t cell = (node - 1) % c->shape.cells;
		struct cells_place p = profile_cells_place(&c->shape, node);

		if (p.cell == place.cell ||
		    (c->warm && p.region != place.region && cell / c->shape.regions >= 2))
			continue;
		c->seeds[count++] = (struct cells_seed){node, p};
	}
	if (count > 0)
		c->seeds = mem_resize(MEM_BASE, c->seeds, count, sizeof(*c->seeds));
	assert(c->seeds);
	return count;
}

static void *
start(const struct sim_core_config *config)
{
	const struct profile_cells_shape *given = config->profile;
	struct core *c = mem_zalloc(MEM_BASE, sizeof(*c));
	struct cells_config own = {
		.self = config->node,
		.seed = config->seed,
		.file = FILE_LIFE,
		.where = where,
		.gossip = {.wire = config->wire},
	};

	assert(c);
	c->shape = given ? *given : shape_of(config->plan_seed, config->nodes);
	c->warm = given != NULL;
	own.place = profile_cells_place(&c->shape, config->node);
	own.arg = &c->shape;
	own.seeds_count = make_seeds(c, own.place);
	own.seeds = c->seeds;
	if (cells_new(&own, &c->cells) < 0)
		assert(!"memory");
	for (uint32_t node = own.place.cell; node <= c->shape.nodes; node += c->shape.cells)
		if (cells_roster_add(c->cells, node) == GOSSIP_NO_MEMORY)
			assert(!"memory");
	return c;
}

static void
step(void *core, const struct step_input *in, struct step_actions *out)
{
	struct core *c = core;
	struct facts f;

	if (in->kind == STEP_LOCAL && in->what == PROFILE_CELLS_FACTS) {
		assert(in->bytes == sizeof(f));
		memcpy(&f, in->data, sizeof(f));
		if (cells_facts(c->cells, &f) == GOSSIP_NO_MEMORY)
			assert(!"memory");
	}
	if (in->kind == STEP_START && c->warm)
		gossip_warm_file(cells_gossip_own(c->cells));
	cells_step(c->cells, in, out);
	if (in->kind == STEP_START && c->warm)
		gossip_warm(cells_gossip_own(c->cells));
}

static void
free_core(void *core)
{
	struct core *c = core;

	cells_free(c->cells);
	mem_free(c->seeds);
	mem_free(c);
}

struct cells *
profile_cells_core(void *core)
{
	return ((struct core *)core)->cells;
}

/* ---- what is true ---- */

struct observer {
	struct profile_cells_shape shape;
	struct facts *facts; /* of node n at n - 1 */
	struct draw draw;
	/* Made for each look in the end, by cell and region from 1. */
	struct summary cells[CELLS_MAX + 1];
	struct summary regions[REGIONS_MAX + 1];
	uint32_t cell_gates[CELLS_MAX + 1][SUMMARY_GATES];
	uint32_t region_gates[REGIONS_MAX + 1][SUMMARY_GATES];
	/* Counted here, not by the core's own sums. */
	uint64_t cell_free[CELLS_MAX + 1];
	uint64_t region_free[REGIONS_MAX + 1];
};

static uint64_t
label(uint64_t number)
{
	return rendezvous_mix(number, 17);
}

static uint64_t
service(uint64_t number)
{
	return rendezvous_mix(number, 19);
}

static void
draw_facts(struct draw *d, struct facts *f)
{
	uint32_t cpu = 1000u << draw_below(d, 6), memory = 1024u << draw_below(d, 6);

	*f = (struct facts){
		.cpu_milli = cpu,
		.cpu_free_milli = (uint32_t)draw_between(d, 0, cpu),
		.memory_mib = memory,
		.memory_free_mib = (uint32_t)draw_between(d, 0, memory),
		.open = draw_below(d, 5) > 0,
		.labels_count = (size_t)draw_below(d, 3),
		.services_count = (size_t)draw_below(d, 4),
	};
	for (size_t i = 0; i < f->labels_count; i++)
		f->labels[i] = label(draw_below(d, LABELS));
	for (size_t i = 0; i < f->services_count; i++)
		f->services[i] = service(draw_below(d, SERVICES));
	f->replicas = (uint32_t)f->services_count;
}

static void *
observer_new(struct sim *s)
{
	struct observer *o = mem_zalloc(MEM_BASE, sizeof(*o));

	assert(o);
	o->shape = shape_of(s->plan->seed, s->plan->nodes);
	o->draw = draw_of(s->plan->seed, 92);
	o->facts = mem_array(MEM_BASE, s->plan->nodes, sizeof(o->facts[0]));
	assert(o->facts);
	for (uint32_t n = 0; n < s->plan->nodes; n++)
		draw_facts(&o->draw, &o->facts[n]);
	return o;
}

static void
observer_free(void *observer)
{
	struct observer *o = observer;

	mem_free(o->facts);
	mem_free(o);
}

static void
turned(void *observer, struct sim *s, uint32_t node, bool up)
{
	struct observer *o = observer;

	if (up)
		sim_local(s, node, PROFILE_CELLS_FACTS, 0, &o->facts[node - 1],
			  sizeof(o->facts[0]));
}

static void
do_act(void *observer, struct sim *s, uint32_t node, uint64_t number)
{
	struct observer *o = observer;
	struct draw d = draw_of(number, 1);

	draw_facts(&d, &o->facts[node - 1]);
	sim_local(s, node, PROFILE_CELLS_FACTS, 0, &o->facts[node - 1], sizeof(o->facts[0]));
}

/* ---- each step ---- */

static void
check_tell(struct observer *o, struct sim *s, uint32_t node, const struct step_action *a,
	   const uint8_t *data)
{
	struct cells_place own = profile_cells_place(&o->shape, node), other;
	unsigned tier = a->what >> 8;
	struct gossip_tell_entry e;

	other = profile_cells_place(&o->shape, a->node);
	if (tier == 0 && other.cell != own.cell)
		sim_fail(s, "foreign", node, "is told of node %u of cell %u; it is of cell %u",
			 a->node, other.cell, own.cell);
	if (tier == 1 && other.region != own.region)
		sim_fail(s, "foreign", node, "is told in region %u of node %u of region %u",
			 own.region, a->node, other.region);
	if ((a->what & 0xff) != GOSSIP_ENTRY || tier == 0)
		return;
	memcpy(&e, data, sizeof(e));
	if (e.bytes > SUMMARY_BYTES_MAX)
		sim_fail(s, "foreign", node, "is told %u bytes of node %u, beyond a summary",
			 e.bytes, a->node);
}

static void
check_step(void *observer, struct sim *s, uint32_t node, const struct step_input *in,
	   const struct step_actions *out)
{
	(void)in;
	for (size_t i = 0; i < out->count; i++)
		if (out->items[i].kind == STEP_TELL)
			check_tell(observer, s, node, &out->items[i],
				   out->data + out->items[i].offset);
}

/* ---- in the end ---- */

static struct cells *
live_core(struct sim *s, uint32_t node)
{
	void *core = sim_core(s, node);

	return core ? profile_cells_core(core) : NULL;
}

static uint64_t
rank(uint32_t unit, uint32_t node)
{
	return rendezvous_mix(rendezvous_seed(node), unit);
}

static void
consider(uint32_t gates[SUMMARY_GATES], uint32_t unit, uint32_t node)
{
	size_t at = SUMMARY_GATES;

	while (at > 0 && (gates[at - 1] == 0 || rank(unit, node) < rank(unit, gates[at - 1])))
		at--;
	for (size_t i = SUMMARY_GATES; i-- > at + 1;)
		gates[i] = gates[i - 1];
	if (at < SUMMARY_GATES)
		gates[at] = node;
}

static void
find_truth(struct observer *o, struct sim *s)
{
	const struct record none = {0};

	memset(o->cell_gates, 0, sizeof(o->cell_gates));
	memset(o->region_gates, 0, sizeof(o->region_gates));
	memset(o->cell_free, 0, sizeof(o->cell_free));
	memset(o->region_free, 0, sizeof(o->region_free));
	for (uint32_t i = 1; i <= o->shape.cells; i++)
		summary_begin(&o->cells[i], &none);
	for (uint32_t i = 1; i <= o->shape.regions; i++) {
		summary_begin(&o->regions[i], &none);
		o->regions[i].cells = 0;
	}
	for (uint32_t node = 1; node <= o->shape.nodes; node++) {
		uint32_t cell = profile_cells_place(&o->shape, node).cell;

		if (!live_core(s, node))
			continue;
		summary_add_node(&o->cells[cell], &o->facts[node - 1]);
		consider(o->cell_gates[cell], cell, node);
		if (o->facts[node - 1].open) {
			o->cell_free[cell] += o->facts[node - 1].cpu_free_milli;
			o->region_free[1 + (cell - 1) % o->shape.regions] +=
				o->facts[node - 1].cpu_free_milli;
		}
	}
	for (uint32_t cell = 1; cell <= o->shape.cells; cell++) {
		uint32_t region = profile_cells_place(&o->shape, cell).region;

		if (o->cell_gates[cell][0] == 0)
			continue;
		summary_add(&o->regions[region], &o->cells[cell]);
		consider(o->region_gates[region], region, o->cell_gates[cell][0]);
	}
}

static bool
among(const uint32_t gates[SUMMARY_GATES], uint32_t node)
{
	for (size_t i = 0; i < SUMMARY_GATES; i++)
		if (gates[i] == node)
			return true;
	return false;
}

/* Who is no gate of a unit that lives has no part in a tier. */
static bool
roster_settled(const struct observer *o, const struct gossip *g, uint32_t node, unsigned tier,
	       char *why, size_t cap)
{
	for (size_t i = 0; g && i < gossip_members(g); i++) {
		struct cells_place p;
		struct gossip_member m;
		const uint32_t *gates;

		gossip_member_at(g, i, &m);
		p = profile_cells_place(&o->shape, m.node);
		gates = tier == 1 ? o->cell_gates[p.cell] : o->region_gates[p.region];
		if (gates[0] == 0 || among(gates, m.node))
			continue;
		snprintf(why, cap, "node %u has node %u in tier %u, which is no gate", node, m.node,
			 tier);
		return false;
	}
	return true;
}

static bool
gates_settled(void *observer, struct sim *s, char *why, size_t cap)
{
	struct observer *o = observer;

	find_truth(o, s);
	for (uint32_t node = 1; node <= o->shape.nodes; node++) {
		struct cells_place p = profile_cells_place(&o->shape, node);
		struct cells *c = live_core(s, node);
		bool is[2], should[2];

		if (!c)
			continue;
		for (unsigned i = 0; i < 2; i++)
			is[i] = cells_gossip(c, i + 1) != NULL;
		should[0] = among(o->cell_gates[p.cell], node);
		should[1] = among(o->region_gates[p.region], node);
		for (unsigned i = 0; i < 2; i++)
			if (is[i] != should[i]) {
				snprintf(why, cap, "node %u is %s gate of its %s", node,
					 is[i] ? "a" : "no", i ? "region" : "cell");
				return false;
			}
		for (unsigned i = 1; i <= 2; i++)
			if (!roster_settled(o, cells_gossip(c, i), node, i, why, cap))
				return false;
	}
	return true;
}

static bool
same(const struct summary *a, const struct summary *truth)
{
	struct summary x = *a;

	x.record = truth->record;
	return memcmp(&x, truth, sizeof(x)) == 0;
}

static bool
unit_settled(const struct observer *o, uint32_t node, unsigned tier, const struct cells_unit *u,
	     char *why, size_t cap)
{
	const struct summary *truth = tier == 1 ? &o->cells[u->unit] : &o->regions[u->unit];
	const uint32_t *gates = tier == 1 ? o->cell_gates[u->unit] : o->region_gates[u->unit];
	uint64_t cpu_free = tier == 1 ? o->cell_free[u->unit] : o->region_free[u->unit];
	const char *what = tier == 1 ? "cell" : "region";

	if (gates[0] == 0) {
		if (u->state != CELLS_LIVE)
			return true;
		snprintf(why, cap, "node %u holds %s %u as live; nobody of it is", node, what,
			 u->unit);
		return false;
	}
	if (u->state != CELLS_LIVE)
		snprintf(why, cap, "node %u holds %s %u as lost", node, what, u->unit);
	else if (memcmp(u->record.gates, gates, sizeof(u->record.gates)) != 0)
		snprintf(why, cap,
			 "node %u knows of %s %u in round %llu gates %u %u %u, not %u %u %u", node,
			 what, u->unit, (unsigned long long)u->record.round, u->record.gates[0],
			 u->record.gates[1], u->record.gates[2], gates[0], gates[1], gates[2]);
	else if (!u->summary)
		snprintf(why, cap, "node %u has no summary of %s %u", node, what, u->unit);
	else if (!same(u->summary, truth) || u->summary->cpu_free_milli != cpu_free)
		snprintf(why, cap, "node %u has a summary of %s %u with %u nodes; there are %u",
			 node, what, u->unit, u->summary->nodes, truth->nodes);
	else
		return true;
	return false;
}

static bool
summaries_settled(void *observer, struct sim *s, char *why, size_t cap)
{
	struct observer *o = observer;

	for (uint32_t node = 1; node <= o->shape.nodes; node++) {
		struct cells *c = live_core(s, node);
		size_t lived[3] = {0};

		if (!c || !cells_gossip(c, 1))
			continue;
		for (unsigned tier = 1; tier <= 2; tier++)
			for (size_t i = 0; i < cells_units(c, tier); i++) {
				struct cells_unit u;

				cells_unit_at(c, tier, i, &u);
				if (!unit_settled(o, node, tier, &u, why, cap))
					return false;
				lived[tier] += u.state == CELLS_LIVE;
			}
		for (uint32_t i = 1; i <= o->shape.regions; i++)
			lived[2] -= o->region_gates[i][0] != 0;
		if (lived[2] != 0) {
			snprintf(why, cap, "node %u does not know all regions", node);
			return false;
		}
	}
	return true;
}

static struct choice_ask
draw_ask(struct draw *d)
{
	struct choice_ask ask = {
		.service = service(draw_below(d, 2 * SERVICES)),
		.replicas = (uint32_t)draw_between(d, 1, 4),
		.cpu_milli = (uint32_t)draw_between(d, 100, 4000),
		.memory_mib = (uint32_t)draw_between(d, 64, 4096),
		.labels_count = (size_t)draw_below(d, 2),
	};

	ask.labels[0] = label(draw_below(d, LABELS));
	return ask;
}

static void
check_choices(void *observer, struct sim *s)
{
	struct observer *o = observer;

	for (unsigned i = 0; i < ASKS; i++) {
		struct choice_ask ask = draw_ask(&o->draw);
		struct cells_choice first[REGIONS_MAX + 1] = {0};
		uint32_t by[REGIONS_MAX + 1] = {0}, any = 0;

		for (uint32_t node = 1; node <= o->shape.nodes; node++) {
			uint32_t region = profile_cells_place(&o->shape, node).region;
			struct cells *c = live_core(s, node);
			struct cells_choice made;

			if (!c || !cells_gossip(c, 1))
				continue;
			cells_choose(c, &ask, &made);
			if (by[region] == 0)
				first[region] = made;
			by[region] = by[region] ? by[region] : node;
			if (any == 0)
				any = node;
			if (made.region !=
				    first[profile_cells_place(&o->shape, any).region].region ||
			    made.cell != first[region].cell)
				sim_fail(s, "choice", node,
					 "chooses cell %u of region %u; node %u chooses cell %u "
					 "of region %u",
					 made.cell, made.region, by[region], first[region].cell,
					 first[profile_cells_place(&o->shape, any).region].region);
		}
	}
}

static void
check_budget(void *observer, struct sim *s)
{
	(void)observer;
	traffic_check(s, &(struct traffic_budget){BYTES_PER_S, QUIET_BYTES_PER_S, START_BYTES});
}

static const struct sim_core_calls calls = {start, step, free_core};

const struct sim_profile *
profile_cells(void)
{
	static const struct sim_check checks[] = {
		{.name = "gates", .step = check_step, .settled = gates_settled},
		{.name = "summaries", .settled = summaries_settled},
		{.name = "choice", .end = check_choices},
		{.name = "budget", .end = check_budget},
	};
	static const struct sim_profile profile = {
		.name = "cells",
		.core = &calls,
		.wish = {.nodes_max = 96,
			 .acts_per_minute = 60,
			 .bound_ns = 120 * SIM_S,
			 .disk = true,
			 .wire_low = 1,
			 .wire_high = 2},
		.observer_new = observer_new,
		.observer_free = observer_free,
		.act = do_act,
		.turned = turned,
		.checks = checks,
		.check_count = sizeof(checks) / sizeof(checks[0]),
	};

	return &profile;
}

const struct sim_profile *
profile_cells_bare(const struct profile_cells_shape *shape)
{
	static struct profile_cells_shape kept;
	static const struct sim_profile profile = {
		.name = "cells-bare", .core = &calls, .data = &kept};

	kept = *shape;
	return &profile;
}
