/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Summaries: what the gossip of a tier says of its units is read as a whole at each look, and what
 * this node has to say is put when it is time. A gate that speaks says the own unit's; one that
 * does not takes back what it said when it did, as soon as its successor has said it. The speaker
 * of a region says in its region what it knows of all regions, so that each gate of a cell can
 * choose.
 *
 * Of two summaries of one unit the one with the newer record counts. When nobody of a unit lives
 * in the gossip for CELLS_LOST_MS, it is lost; what it said last is kept.
 */
#include "scheduler/cells/inside.h"

#include "base/mem.h"
#include "base/mutant.h"

static bool
is_live(const struct gossip *g, uint32_t node)
{
	struct gossip_member m;

	return gossip_member(g, node, &m) && (m.state == GOSSIP_ALIVE || m.state == GOSSIP_SUSPECT);
}

/* Without memory it is as not heard: the next look finds it again. */
void
view_keep(struct cells *c, struct unit *u, const struct summary *s)
{
	if (!u->summary)
		u->summary = mem_alloc(MEM_SCHEDULER, sizeof(*u->summary));
	if (u->summary)
		*u->summary = *s;
	else
		cells_look_in(c, CELLS_HELLO_MS * CELLS_MS);
}

static void
read_summary(struct cells *c, unsigned tier, const struct gossip_entry *e)
{
	struct summary s;
	struct unit *u;

	if (!summary_decode(e->value, e->bytes, &s) || s.record.unit != e->id) {
		c->counters.malformed++;
		return;
	}
	if (e->node != s.record.gates[0] || !cells_is_of(c, e->node, tier, s.record.unit)) {
		c->counters.lies++;
		return;
	}
	gates_hear_record(c, tier, &s.record, (int)tier);
	u = gates_unit(c, tier, s.record.unit);
	if (!u)
		return;
	if (u->summary && summary_record_newer(&u->summary->record, &s.record)) {
		u->behind |= is_live(c->tiers[tier].gossip, e->node);
		return;
	}
	u->said |= is_live(c->tiers[tier].gossip, e->node);
	view_keep(c, u, &s);
}

static void
read_entries(struct cells *c, unsigned tier)
{
	struct gossip_walk walk = {0};
	struct gossip_entry e;
	struct record r;

	while (gossip_each(c->tiers[tier].gossip, &walk, &e)) {
		if (e.type == CELLS_SUMMARY) {
			read_summary(c, tier, &e);
		} else if (e.type == CELLS_GATES2 && tier == 1) {
			if (summary_record_decode(e.value, e.bytes, &r))
				gates_hear_record(c, 2, &r, 1);
			else
				c->counters.malformed++;
		}
	}
}

static void
judge(struct cells *c, unsigned tier, struct unit *u)
{
	const struct gossip *g = c->tiers[tier].gossip;
	bool live = u->id == c->tiers[tier].own;

	for (size_t i = 0; i < SUMMARY_GATES && !live; i++)
		live = u->record.gates[i] != 0 && is_live(g, u->record.gates[i]);
	if (live) {
		u->silent_ns = 0;
		u->state = CELLS_LIVE;
		return;
	}
	if (u->silent_ns == 0)
		u->silent_ns = c->now_ns;
	if (c->now_ns - u->silent_ns >= CELLS_LOST_MS * CELLS_MS)
		u->state = MUTANT(128, u->state, CELLS_LOST);
	else
		cells_look_in(c, u->silent_ns + CELLS_LOST_MS * CELLS_MS - c->now_ns);
}

void
view_read(struct cells *c, unsigned tier)
{
	struct tier *t = &c->tiers[tier];

	for (size_t i = 0; i < t->count; i++)
		t->units[i].behind = t->units[i].said = false;
	read_entries(c, tier);
	for (size_t i = 0; i < t->count; i++)
		judge(c, tier, &t->units[i]);
}

/* ---- saying ---- */

static void
sum_up_cell(struct cells *c, struct summary *s)
{
	const struct gossip *g = c->tiers[0].gossip;

	for (size_t i = 0; i < gossip_members(g); i++) {
		struct gossip_member m;
		struct gossip_entry e;
		struct facts f;

		gossip_member_at(g, i, &m);
		if (MUTANT(129, false, m.state != GOSSIP_ALIVE && m.state != GOSSIP_SUSPECT) ||
		    !gossip_get(g, m.node, CELLS_FACTS, 1, &e))
			continue;
		if (summary_facts_decode(e.value, e.bytes, &f))
			summary_add_node(s, &f);
		else
			c->counters.malformed++;
	}
}

static void
sum_up_region(struct cells *c, struct summary *s)
{
	struct tier *t = &c->tiers[1];

	s->cells = 0;
	for (size_t i = 0; i < t->count; i++)
		if (t->units[i].summary && MUTANT(130, true, t->units[i].state == CELLS_LIVE))
			summary_add(s, t->units[i].summary);
}

static void
put(struct cells *c, unsigned tier, uint16_t type, const struct summary *s)
{
	uint8_t data[SUMMARY_BYTES_MAX] = {0};
	struct tier *t = &c->tiers[tier];
	size_t bytes = summary_encode(s, data);

	if (c->config.gossip.wire > SUMMARY_VERSION) {
		data[0] = (uint8_t)c->config.gossip.wire;
		bytes = SUMMARY_BYTES_MAX;
	}
	if (gossip_put(t->gossip, type, s->record.unit, data, bytes) == GOSSIP_OK)
		t->local = true;
}

static void
drop(struct cells *c, unsigned tier, uint16_t type, uint32_t unit)
{
	struct tier *t = &c->tiers[tier];

	if (gossip_drop(t->gossip, type, unit) == GOSSIP_OK)
		t->local = true;
}

/* The speaker of a region to its cells' gates. */
static void
relay(struct cells *c)
{
	const struct tier *t = &c->tiers[2];

	if (!c->tiers[1].gossip || c->tiers[1].leaving)
		return;
	for (size_t i = 0; i < t->count; i++) {
		const struct unit *u = &t->units[i];

		if (u->summary && u->state == CELLS_LIVE)
			put(c, 1, CELLS_RELAY, u->summary);
		else
			drop(c, 1, CELLS_RELAY, u->id);
	}
}

static void
take_back(struct cells *c, unsigned tier, uint16_t type, uint32_t successor)
{
	const struct gossip *g = c->tiers[tier].gossip;
	struct gossip_walk mine = {.node = c->config.self}, theirs = {.node = successor};
	struct gossip_entry e;
	bool said = false;

	if (successor == 0 || successor == c->config.self || !is_live(g, successor))
		return;
	while (gossip_each(g, &theirs, &e))
		said |= e.type == type;
	if (!said)
		return;
	while (gossip_each(g, &mine, &e))
		if (e.type == type) {
			drop(c, tier, type, (uint32_t)e.id);
			mine = (struct gossip_walk){.node = c->config.self};
		}
}

void
view_say(struct cells *c, unsigned tier)
{
	struct tier *t = &c->tiers[tier];
	struct unit *own = gates_unit(c, tier, t->own);
	struct summary s;

	if (!t->speaker) {
		take_back(c, tier, CELLS_SUMMARY, t->gates[0]);
		return;
	}
	if (!own || own->record.gates[0] != c->config.self ||
	    (!t->urgent && t->said_ns != 0 && c->now_ns < t->said_ns + CELLS_SAY_MS * CELLS_MS))
		return;
	t->said_ns = c->now_ns;
	t->urgent = false;
	summary_begin(&s, &own->record);
	if (tier == 1)
		sum_up_cell(c, &s);
	else
		sum_up_region(c, &s);
	if (s.cells > 0) {
		view_keep(c, own, &s);
		put(c, tier, CELLS_SUMMARY, &s);
	}
	if (tier == 2)
		relay(c);
}

/* ---- what the region's speaker relays ---- */

void
view_read_relays(struct cells *c)
{
	const struct gossip *g = c->tiers[1].gossip;
	struct tier *t = &c->tiers[2];
	struct gossip_walk walk = {.node = t->gates[0]};
	bool heard[CELLS_UNITS_MAX] = {false};
	struct gossip_entry e;
	struct summary s;
	size_t count = 0;

	if (!t->speaker)
		take_back(c, 1, CELLS_RELAY, t->gates[0]);
	if (t->gossip || t->gates[0] == 0)
		return;
	while (gossip_each(g, &walk, &e)) {
		struct unit *u;

		if (e.type != CELLS_RELAY)
			continue;
		if (!summary_decode(e.value, e.bytes, &s) || s.record.unit != e.id) {
			c->counters.malformed++;
			continue;
		}
		gates_hear_record(c, 2, &s.record, 1);
		u = gates_unit(c, 2, s.record.unit);
		if (!u)
			continue;
		view_keep(c, u, &s);
		u->state = CELLS_LIVE;
		heard[u - t->units] = true;
		count++;
	}
	/* A speaker that has just begun has relayed nothing yet. */
	for (size_t i = 0; i < t->count && count > 0; i++)
		if (!heard[i] && t->units[i].state == CELLS_LIVE)
			t->units[i].state = CELLS_LOST;
}
