/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The step of a node in a world of cells: an input goes to the tier that it is for (mux.c), then,
 * when nothing of the tiers is left to do and it is time, gates and summaries are looked at
 * (gates.c, view.c). One timer for all.
 */
#include "scheduler/cells/inside.h"

#include <assert.h>
#include "base/mem.h"
#include "scheduler/place/rendezvous.h"

static void
begin_with_seeds(struct cells *c)
{
	for (size_t i = 0; i < c->config.seeds_count; i++) {
		const struct cells_place *p = &c->config.seeds[i].place;

		if (p->region != c->config.place.region)
			gates_unit(c, 2, p->region);
		else if (p->cell != c->config.place.cell)
			gates_unit(c, 1, p->cell);
	}
}

int
cells_new(const struct cells_config *config, struct cells **out)
{
	struct cells *c = mem_zalloc(MEM_SCHEDULER, sizeof(*c));

	assert(config->self != 0 && config->where && config->place.cell != 0 &&
	       config->place.region != 0);
	if (!c)
		return -1;
	c->config = *config;
	c->timer_ns = c->look_ns = CELLS_NEVER;
	c->tiers[1].own = config->place.cell;
	c->tiers[2].own = config->place.region;
	for (unsigned i = 0; i < CELLS_TIERS; i++)
		c->tiers[i].timer_ns = CELLS_NEVER;
	for (unsigned i = 1; i < CELLS_TIERS; i++) {
		if (!gates_unit(c, i, c->tiers[i].own)) {
			cells_free(c);
			return -1;
		}
	}
	if (!mux_open(c, 0)) {
		cells_free(c);
		return -1;
	}
	begin_with_seeds(c);
	*out = c;
	return 0;
}

void
cells_free(struct cells *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < CELLS_TIERS; i++) {
		gossip_free(c->tiers[i].gossip);
		for (size_t at = 0; at < c->tiers[i].count; at++)
			mem_free(c->tiers[i].units[at].summary);
		mem_free(c->tiers[i].units);
	}
	mem_free(c);
}

/* ---- the own cell ---- */

enum gossip_result
cells_roster_add(struct cells *c, uint32_t node)
{
	return gossip_roster_add(c->tiers[0].gossip, node);
}

enum gossip_result
cells_roster_remove(struct cells *c, uint32_t node)
{
	return gossip_roster_remove(c->tiers[0].gossip, node);
}

enum gossip_result
cells_facts(struct cells *c, const struct facts *f)
{
	uint8_t data[FACTS_BYTES_MAX];
	size_t bytes = summary_facts_encode(f, data);

	return gossip_put(c->tiers[0].gossip, CELLS_FACTS, 1, data, bytes);
}

/* ---- reading ---- */

const struct gossip *
cells_gossip(const struct cells *c, unsigned tier)
{
	assert(tier < CELLS_TIERS);
	return c->tiers[tier].leaving ? NULL : c->tiers[tier].gossip;
}

struct gossip *
cells_gossip_own(struct cells *c)
{
	return c->tiers[0].gossip;
}

size_t
cells_units(const struct cells *c, unsigned tier)
{
	assert(tier == 1 || tier == 2);
	return c->tiers[tier].count;
}

void
cells_unit_at(const struct cells *c, unsigned tier, size_t index, struct cells_unit *out)
{
	const struct unit *u = &c->tiers[tier].units[index];

	assert(index < cells_units(c, tier));
	*out = (struct cells_unit){
		.unit = u->id,
		.state = u->state,
		.record = u->record,
		.summary = u->summary,
	};
}

const struct cells_counters *
cells_counters(const struct cells *c)
{
	return &c->counters;
}

static long
choose(const struct cells *c, unsigned tier, const struct choice_ask *ask)
{
	const struct tier *t = &c->tiers[tier];
	struct choice_unit units[CELLS_UNITS_MAX];

	for (size_t i = 0; i < t->count; i++)
		units[i] = (struct choice_unit){
			.unit = t->units[i].id,
			.lost = t->units[i].state != CELLS_LIVE,
			.summary = t->units[i].summary,
		};
	return choice_make(units, t->count, ask);
}

bool
cells_choose(const struct cells *c, const struct choice_ask *ask, struct cells_choice *out)
{
	long region, cell;

	*out = (struct cells_choice){0};
	if (!cells_gossip(c, 1))
		return false;
	region = choose(c, 2, ask);
	if (region < 0)
		return false;
	out->region = c->tiers[2].units[region].id;
	if (out->region != c->config.place.region)
		return true;
	cell = choose(c, 1, ask);
	if (cell < 0)
		return false;
	out->cell = c->tiers[1].units[cell].id;
	return true;
}

/* ---- between the files ---- */

bool
cells_is_of(const struct cells *c, uint32_t node, unsigned tier, uint32_t unit)
{
	struct cells_place place;

	if (!c->config.where(c->config.arg, node, &place))
		return false;
	if (tier == 2)
		return place.region == unit;
	return place.cell == unit && place.region == c->config.place.region;
}

uint64_t
cells_random(struct cells *c, uint64_t salt)
{
	return rendezvous_mix(rendezvous_mix(c->config.seed, c->now_ns), salt);
}

void
cells_look_in(struct cells *c, uint64_t in_ns)
{
	if (c->now_ns + in_ns < c->look_ns)
		c->look_ns = c->now_ns + in_ns;
}

/* ---- the step ---- */

static void
set_timer(struct cells *c)
{
	uint64_t at = c->look_ns;

	for (unsigned i = 0; i < CELLS_TIERS; i++)
		if (c->tiers[i].gossip && c->tiers[i].timer_ns < at)
			at = c->tiers[i].timer_ns;
	if (at < c->now_ns)
		at = c->now_ns;
	if (at == c->timer_ns)
		return;
	if (!step_actions_room(c->out, 1, 0)) {
		c->out->more = true;
		return;
	}
	step_add(c->out, STEP_SET_TIMER, NULL, 0)->at_ns = at;
	c->timer_ns = at;
}

void
cells_step(struct cells *c, const struct step_input *in, struct step_actions *out)
{
	c->out = out;
	if (in->now_ns > c->now_ns)
		c->now_ns = in->now_ns;
	if (in->kind == STEP_TIMER)
		c->timer_ns = CELLS_NEVER;
	if (in->kind == STEP_START) {
		c->started = true;
		cells_look_in(c, 0);
	}
	mux_input(c, in);
	if (in->kind == STEP_MORE || in->kind == STEP_TIMER)
		mux_go_on(c);
	if (c->started && c->look_ns <= c->now_ns && out->count == 0 && !mux_busy(c))
		gates_look(c);
	/* A look wants an empty list. */
	out->more |= mux_busy(c) || (c->started && c->look_ns <= c->now_ns);
	if (c->started)
		set_timer(c);
	c->out = NULL;
}
