/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is a gate, and that gates know each other. Nothing is remembered that can be derived: each
 * look begins with the live nodes of the tier below and ends with the roster of the tier.
 *
 *   gates    the first SUMMARY_GATES of the unit's candidates by rendezvous: of a cell its live
 *            nodes, of a region those that speak for its cells
 *   round    grows when the speaker sees other gates than its record says; the greatest wins
 *   roster   all gates of all units by their records, and nobody else
 *   hello    u8 version, u8 kind (1 hello, 2 welcome), u8 tier, u8 0; the sender's record; the one
 *            that it has of the receiver's unit, or zeros; what a later version has to say follows.
 *            A node that is no gate answers, too
 *
 * A speaker that has lost its memory may begin a round that was there before, with other gates. Who
 * holds a record that is not the one in the unit's summary, or hears nobody say that summary,
 * therefore says hello, too: either he learns of the new speaker, or the speaker of the old round,
 * and begins one above it.
 *
 * A record that comes in a hello is put into the gossip of the tier below by who heard it, one that
 * comes by gossip is passed down by the speaker; so a cell whose gates all die has in each of its
 * nodes what its next ones need.
 */
#include "scheduler/cells/inside.h"

#include <assert.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "scheduler/place/rendezvous.h"

enum { HELLO = 1, WELCOME, HELLO_VERSION = 1, HELLO_BYTES = 4 + 2 * SUMMARY_RECORD_BYTES };
enum { LATER_BYTES = 12 }; /* that a later version of a hello has, when a test speaks as one */
enum { LOOK_MS = 1000, ROSTER_MAX = CELLS_UNITS_MAX * SUMMARY_GATES };

/* ---- units and records ---- */

static struct unit *
find(struct tier *t, uint32_t id)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->units[i].id == id)
			return &t->units[i];
	return NULL;
}

struct unit *
gates_unit(struct cells *c, unsigned tier, uint32_t id)
{
	struct tier *t = &c->tiers[tier];
	struct unit *u = find(t, id);

	if (u)
		return u;
	if (t->count == CELLS_UNITS_MAX) {
		c->counters.full++;
		return NULL;
	}
	if (t->count == t->room) {
		size_t room = t->room ? 2 * t->room : 4;
		struct unit *more = mem_resize(MEM_SCHEDULER, t->units, room, sizeof(*more));

		if (!more)
			return NULL;
		t->units = more;
		t->room = room;
	}
	u = &t->units[t->count++];
	*u = (struct unit){.id = id, .record = {.unit = id}};
	return u;
}

static bool
honest(struct cells *c, unsigned tier, const struct record *r)
{
	for (size_t i = 0; i < SUMMARY_GATES && r->gates[i] != 0; i++)
		if (!cells_is_of(c, r->gates[i], tier, r->unit)) {
			c->counters.lies++;
			return false;
		}
	return true;
}

/* Into the gossip below, in this node's name. */
static void
put_record(struct cells *c, unsigned tier, const struct record *r, unsigned into)
{
	uint8_t data[SUMMARY_RECORD_BYTES];
	struct tier *t = &c->tiers[into];

	if (!t->gossip || t->leaving || r->round == 0)
		return;
	summary_record_encode(r, data);
	if (gossip_put(t->gossip, tier == 1 ? CELLS_GATES1 : CELLS_GATES2, r->unit, data,
		       sizeof(data)) == GOSSIP_OK)
		t->local = true;
}

/* Who heard it in a hello, who speaks for what is below, and upwards who speaks for the cell. */
static bool
passes_on(const struct cells *c, unsigned into, int from_tier)
{
	return from_tier < 0 || c->tiers[into + 1].speaker ||
	       ((int)into > from_tier && c->tiers[into].speaker);
}

void
gates_hear_record(struct cells *c, unsigned tier, const struct record *r, int from_tier)
{
	struct unit *u = honest(c, tier, r) ? gates_unit(c, tier, r->unit) : NULL;

	if (!u || !summary_record_newer(r, &u->record))
		return;
	u->record = *r;
	if (r->unit == c->tiers[tier].own)
		c->tiers[tier].urgent = true; /* what is said has it */
	for (unsigned below = tier; below-- > 0;)
		if ((int)below != from_tier && passes_on(c, below, from_tier))
			put_record(c, tier, r, below);
	cells_look_in(c, 0);
}

/* ---- who is a gate ---- */

struct best {
	uint64_t scores[SUMMARY_GATES];
	uint32_t nodes[SUMMARY_GATES];
};

static void
consider(struct best *b, uint32_t unit, uint32_t node)
{
	uint64_t score = rendezvous_mix(rendezvous_seed(node), unit);
	size_t at = SUMMARY_GATES;

	while (at > 0 && (b->nodes[at - 1] == 0 || score < b->scores[at - 1] ||
			  (score == b->scores[at - 1] && node < b->nodes[at - 1])))
		at--;
	if (at == SUMMARY_GATES)
		return;
	for (size_t i = SUMMARY_GATES - 1; i > at; i--) {
		b->scores[i] = b->scores[i - 1];
		b->nodes[i] = b->nodes[i - 1];
	}
	b->scores[at] = score;
	b->nodes[at] = node;
}

static bool
is_live(const struct gossip *g, uint32_t node)
{
	struct gossip_member m;

	return gossip_member(g, node, &m) && (m.state == GOSSIP_ALIVE || m.state == GOSSIP_SUSPECT);
}

static void
find_gates(struct cells *c, unsigned tier)
{
	struct tier *t = &c->tiers[tier], *below = &c->tiers[tier - 1];
	struct best best = {0};

	if (tier == 1)
		for (size_t i = 0; i < gossip_members(below->gossip); i++) {
			struct gossip_member m;

			gossip_member_at(below->gossip, i, &m);
			if (MUTANT(123, true, m.state == GOSSIP_ALIVE || m.state == GOSSIP_SUSPECT))
				consider(&best, t->own, m.node);
		}
	else if (below->gossip && !below->leaving)
		for (size_t i = 0; i < below->count; i++) {
			uint32_t speaker = below->units[i].record.gates[0];

			if (speaker != 0 && is_live(below->gossip, speaker))
				consider(&best, t->own, speaker);
		}
	memcpy(t->gates, best.nodes, sizeof(t->gates));
	t->gate = false;
	for (size_t i = 0; i < SUMMARY_GATES; i++)
		t->gate |= t->gates[i] == c->config.self;
	t->speaker = t->gates[0] == c->config.self;
}

/* The speaker's record says who the gates are. */
static void
keep_record(struct cells *c, unsigned tier)
{
	struct tier *t = &c->tiers[tier];
	struct unit *own = gates_unit(c, tier, t->own);

	assert(own);
	if (!t->speaker || memcmp(own->record.gates, t->gates, sizeof(t->gates)) == 0)
		return;
	/* Two that both see themselves as the first do not race each other. */
	if (t->round_ns != 0 && c->now_ns < t->round_ns + LOOK_MS * CELLS_MS) {
		cells_look_in(c, t->round_ns + LOOK_MS * CELLS_MS - c->now_ns);
		return;
	}
	t->round_ns = c->now_ns;
	own->record.round++;
	memcpy(own->record.gates, t->gates, sizeof(t->gates));
	for (size_t i = 0; i < t->count; i++) {
		t->units[i].tries = 0;
		t->units[i].hello_ns = 0;
	}
	t->urgent = true;
}

static bool
succeeded(const struct cells *c, unsigned tier)
{
	const struct tier *t = &c->tiers[tier];

	for (size_t i = 0; i < SUMMARY_GATES; i++)
		if (t->gates[i] != 0 && is_live(t->gossip, t->gates[i]))
			return true;
	return false;
}

static void
turn(struct cells *c, unsigned tier)
{
	struct tier *t = &c->tiers[tier];

	if (t->gate) {
		t->resign_ns = 0;
		if (!t->gossip && !mux_open(c, tier))
			cells_look_in(c, LOOK_MS * CELLS_MS);
		return;
	}
	if (!t->gossip || t->leaving)
		return;
	if (t->resign_ns == 0)
		t->resign_ns = c->now_ns + CELLS_RESIGN_MS * CELLS_MS;
	if (succeeded(c, tier) || c->now_ns >= t->resign_ns)
		mux_leave(c, tier);
}

/* ---- the roster ---- */

static bool
wanted(const struct cells *c, unsigned tier, uint32_t node)
{
	const struct tier *t = &c->tiers[tier];

	for (size_t i = 0; i < SUMMARY_GATES; i++)
		if (t->gates[i] == node)
			return true;
	for (size_t i = 0; i < t->count; i++)
		for (size_t j = 0; j < SUMMARY_GATES; j++)
			if (t->units[i].record.gates[j] == node)
				return true;
	return node == c->config.self;
}

static void
admit(struct cells *c, unsigned tier, const uint32_t *gates)
{
	struct tier *t = &c->tiers[tier];

	for (size_t i = 0; i < SUMMARY_GATES; i++)
		if (gates[i] != 0 && gates[i] != c->config.self &&
		    gossip_roster_add(t->gossip, gates[i]) == GOSSIP_OK)
			t->local = true;
}

static void
follow_roster(struct cells *c, unsigned tier)
{
	struct tier *t = &c->tiers[tier];
	uint32_t gone[ROSTER_MAX];
	size_t count = 0;

	for (size_t i = 0; i < gossip_members(t->gossip) && count < ROSTER_MAX; i++) {
		struct gossip_member m;

		gossip_member_at(t->gossip, i, &m);
		if (MUTANT(124, false, !wanted(c, tier, m.node)))
			gone[count++] = m.node;
	}
	for (size_t i = 0; i < count; i++)
		gossip_roster_remove(t->gossip, gone[i]);
	t->local |= count > 0;
	admit(c, tier, t->gates);
	for (size_t i = 0; i < t->count; i++)
		admit(c, tier, t->units[i].record.gates);
}

/* ---- hellos ---- */

static void
say(struct cells *c, unsigned tier, uint32_t node, uint8_t kind, const struct unit *to)
{
	const struct unit *own = gates_unit(c, tier, c->tiers[tier].own);
	uint8_t data[HELLO_BYTES + LATER_BYTES] = {HELLO_VERSION, kind, (uint8_t)tier};
	size_t bytes = HELLO_BYTES;
	struct step_action *a;

	if (!own || own->record.round == 0 || node == c->config.self ||
	    !step_actions_room(c->out, 2, sizeof(data)))
		return;
	summary_record_encode(&own->record, data + 4);
	summary_record_encode(&to->record, data + 4 + SUMMARY_RECORD_BYTES);
	if (c->config.gossip.wire > HELLO_VERSION) {
		data[0] = (uint8_t)c->config.gossip.wire;
		bytes = sizeof(data);
	}
	a = step_add(c->out, STEP_SEND, data, bytes);
	a->node = node;
	a->what = (uint16_t)(CELLS_HELLO | tier);
	c->counters.hellos_sent++;
}

/* The next node of the unit that this one began with; 0: none. Each unit goes round on its own:
 * where they shared a place in the list, one that is gone could skip another's only live node in
 * each round. */
static uint32_t
next_seed(const struct cells *c, unsigned tier, struct unit *u)
{
	for (size_t i = 0; MUTANT(125, false, i < c->config.seeds_count); i++) {
		const struct cells_seed *s = &c->config.seeds[u->seed_at];
		uint32_t unit = tier == 1 ? s->place.cell : s->place.region;

		u->seed_at = (uint32_t)((u->seed_at + 1) % c->config.seeds_count);
		if (unit == u->id && (tier == 2) == (s->place.region != c->config.place.region))
			return s->node;
	}
	return 0;
}

/* A gate that is known, and a node that it began with, in turn; now and then who says the summary
 * of an older round. */
static uint32_t
whom(const struct cells *c, unsigned tier, struct unit *u)
{
	uint32_t gate = u->record.gates[u->tries / 2 % SUMMARY_GATES], seed;

	if (u->tries % 4 == 2 && u->summary &&
	    summary_record_newer(&u->record, &u->summary->record))
		gate = u->summary->record.gates[0];
	if (u->tries % 2 == 0 && gate != 0)
		return gate;
	seed = next_seed(c, tier, u);
	if (seed != 0)
		return seed;
	return gate ? gate : u->record.gates[0];
}

/* It does not know us as we are now (ours: the own round), or we not it. */
static bool
strange(const struct tier *t, const struct unit *u, uint64_t ours)
{
	if (u->state != CELLS_LIVE || !u->summary || !u->said || (t->speaker && u->answered < ours))
		return true;
	return u->behind || summary_record_newer(&u->record, &u->summary->record);
}

static void
say_hellos(struct cells *c, unsigned tier)
{
	struct tier *t = &c->tiers[tier];
	const struct unit *own = gates_unit(c, tier, t->own);

	assert(own);
	for (size_t i = 0; i < t->count; i++) {
		struct unit *u = &t->units[i];
		uint64_t wait = CELLS_HELLO_MS;
		uint32_t node;

		if (u->id == t->own || !strange(t, u, own->record.round))
			continue;
		if (u->hello_ns <= c->now_ns) {
			node = whom(c, tier, u);
			wait <<= u->tries < 3 ? u->tries : 3;
			u->hello_ns = c->now_ns + wait * CELLS_MS +
				      cells_random(c, u->id) % (wait * CELLS_MS / 4);
			u->tries = u->tries < UINT8_MAX ? (uint8_t)(u->tries + 1) : 6;
			if (node != 0)
				say(c, tier, node, HELLO, u);
		}
		cells_look_in(c, u->hello_ns - c->now_ns);
	}
}

void
gates_hello(struct cells *c, const struct step_input *in)
{
	unsigned tier = in->what & ~(unsigned)CELLS_HELLO;
	struct cursor cursor;
	struct record r, ours = {0};
	struct unit *u, *own;

	cursor_init(&cursor, in->data, in->bytes);
	uint8_t version = cursor_u8(&cursor), kind = cursor_u8(&cursor), at = cursor_u8(&cursor);
	uint8_t zero = cursor_u8(&cursor);
	const uint8_t *bytes = cursor_take(&cursor, (size_t)2 * SUMMARY_RECORD_BYTES);

	c->counters.hellos_received++;
	if (!bytes || MUTANT(133, version != HELLO_VERSION, version < HELLO_VERSION) || tier == 0 ||
	    at != tier || (kind != HELLO && kind != WELCOME) || zero != 0 ||
	    !summary_record_decode(bytes, SUMMARY_RECORD_BYTES, &r)) {
		c->counters.malformed++;
		return;
	}
	if (r.unit == c->tiers[tier].own || !cells_is_of(c, in->node, tier, r.unit)) {
		c->counters.lies++;
		return;
	}
	if (summary_record_decode(bytes + SUMMARY_RECORD_BYTES, SUMMARY_RECORD_BYTES, &ours) &&
	    MUTANT(126, false, ours.unit == c->tiers[tier].own))
		gates_hear_record(c, tier, &ours, -1);
	gates_hear_record(c, tier, &r, -1);
	u = find(&c->tiers[tier], r.unit);
	own = gates_unit(c, tier, c->tiers[tier].own);
	if (!u || !own)
		return;
	if (kind == WELCOME && ours.round != 0 && !summary_record_newer(&own->record, &ours))
		u->answered = ours.round;
	if (kind == HELLO)
		say(c, tier, in->node, WELCOME, u);
	if (u->state != CELLS_LIVE)
		cells_look_in(c, 0);
}

/* ---- all of it ---- */

/* To the speaker of the own region, who may have forgotten a round of another one's. */
static void
remind(struct cells *c)
{
	const struct tier *t = &c->tiers[2];

	for (size_t i = 0; i < t->count; i++) {
		const struct unit *u = &t->units[i];

		if (u->id != t->own &&
		    (u->state == CELLS_LOST ||
		     (u->summary && summary_record_newer(&u->record, &u->summary->record))))
			put_record(c, 2, &u->record, 1);
	}
}

static void
publish(struct cells *c, unsigned tier)
{
	struct tier *t = &c->tiers[tier];
	const struct unit *own;

	/* What dead speakers have said goes when they come back. */
	for (size_t i = 0; i < t->count; i++)
		for (unsigned below = tier; below-- > 0;)
			if (c->tiers[below + 1].speaker)
				put_record(c, tier, &t->units[i].record, below);
	/* To the own speaker, who has begun this round another time. */
	own = gates_unit(c, tier, t->own);
	if (own && !t->speaker && own->summary &&
	    (own->behind || summary_record_newer(&own->record, &own->summary->record)))
		put_record(c, tier, &own->record, tier - 1);
	if (tier == 2 && !t->speaker)
		remind(c);
}

void
gates_look(struct cells *c)
{
	c->look_ns = CELLS_NEVER;
	for (unsigned tier = 1; tier < CELLS_TIERS; tier++) {
		struct tier *t = &c->tiers[tier];

		find_gates(c, tier);
		turn(c, tier);
		if (!t->gossip || t->leaving)
			continue;
		view_read(c, tier);
		keep_record(c, tier);
		follow_roster(c, tier);
		say_hellos(c, tier);
		view_say(c, tier);
		cells_look_in(c, LOOK_MS * CELLS_MS);
	}
	if (!c->tiers[1].gossip || c->tiers[1].leaving)
		return;
	view_read_relays(c);
	publish(c, 1);
	publish(c, 2);
}
