/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three gossip cores behind one step. What a core does stays in the one list of actions; names in
 * it are changed so that the tiers do not meet: tokens of the disk have the tier and its generation
 * in their highest bytes, streams of ours in the bits below the highest, and the first byte on a
 * stream says for which tier it is. A core is told of a stream only when that byte has left or come
 * (one write at a time is the rule of streams).
 *
 * A tier that is left is gone with its streams and what it waited for. It begins again with the
 * file as it was written last, so that its incarnations go up.
 */
#include "scheduler/cells/inside.h"

#include <assert.h>
#include <string.h>
#include "base/mem.h"
#include "scheduler/place/rendezvous.h"

#define TOKEN_MASK ((UINT64_C(1) << 48) - 1)
enum { NAME_MASK = 0x00ffffff };

static uint64_t
outer_token(const struct cells *c, unsigned tier, uint64_t token)
{
	return token ? token | (uint64_t)tier << 56 | (uint64_t)c->tiers[tier].generation << 48 : 0;
}

/* ---- streams ---- */

static struct stream *
find(struct cells *c, uint32_t name)
{
	for (size_t i = 0; i < c->streams_count; i++)
		if (c->streams[i].name == name)
			return &c->streams[i];
	return NULL;
}

static void
forget(struct cells *c, struct stream *s)
{
	*s = c->streams[--c->streams_count];
}

static struct stream *
add(struct cells *c, uint32_t name, uint32_t node, unsigned tier, enum stream_state state)
{
	struct stream *s = find(c, name);

	if (!s && c->streams_count == CELLS_STREAMS_MAX) {
		c->counters.full++;
		return NULL;
	}
	s = s ? s : &c->streams[c->streams_count++];
	*s = (struct stream){name, node, (uint8_t)tier, (uint8_t)state};
	return s;
}

static uint32_t
outer_name(const struct cells *c, unsigned tier, uint32_t name)
{
	if (!(name & STEP_STREAM_OURS))
		return name;
	return STEP_STREAM_OURS | (uint32_t)tier << 28 |
	       (uint32_t)(c->tiers[tier].generation & 15) << 24 | (name & NAME_MASK);
}

static uint32_t
inner_name(uint32_t name)
{
	return name & STEP_STREAM_OURS ? STEP_STREAM_OURS | (name & NAME_MASK) : name;
}

static void
close_stream(struct cells *c, uint32_t name)
{
	step_add(c->out, STEP_STREAM_CLOSE, NULL, 0)->stream = name;
}

/* ---- what a core does ---- */

static void
keep_life(struct tier *t, const uint8_t *data, size_t bytes)
{
	if (bytes > sizeof(t->life))
		return;
	memcpy(t->life, data, bytes);
	t->life_bytes = bytes;
}

static void
tell(struct cells *c, unsigned tier, const struct step_action *a, const uint8_t *data)
{
	struct gossip_tell_entry e;
	struct record r;

	if (a->what == GOSSIP_LEAVING)
		c->tiers[tier].left = true;
	if (a->what == GOSSIP_ENTRY) {
		memcpy(&e, data, sizeof(e));
		if (tier == 0 && !e.dropped && (e.type == CELLS_GATES1 || e.type == CELLS_GATES2)) {
			if (summary_record_decode(data + sizeof(e), e.bytes, &r))
				gates_hear_record(c, e.type == CELLS_GATES1 ? 1 : 2, &r, 0);
			else
				c->counters.malformed++;
		}
		if (tier == 0)
			return; /* facts are read when they are summed up */
	}
	cells_look_in(c, 100 * CELLS_MS);
}

/* One action of that tier; false: it is not the shell's. */
static bool
change(struct cells *c, unsigned tier, struct step_action *a)
{
	const uint8_t *data = step_data(c->out, a);

	a->after = outer_token(c, tier, a->after);
	a->token = outer_token(c, tier, a->token);
	switch (a->kind) {
	case STEP_SET_TIMER:
		c->tiers[tier].timer_ns = a->at_ns;
		return false;
	case STEP_SEND:
		a->what = (uint16_t)tier;
		break;
	case STEP_STREAM_OPEN:
		a->stream = outer_name(c, tier, a->stream);
		if (!add(c, a->stream, a->node, tier, STREAM_OPENING))
			return false; /* as one that is never answered: the core gives it up */
		break;
	case STEP_STREAM_WRITE:
		a->stream = outer_name(c, tier, a->stream);
		break;
	case STEP_STREAM_CLOSE: {
		struct stream *s = find(c, a->stream = outer_name(c, tier, a->stream));

		if (!s)
			return false;
		forget(c, s);
		break;
	}
	case STEP_REPLACE:
		keep_life(&c->tiers[tier], data, a->bytes);
		break;
	case STEP_TELL:
		tell(c, tier, a, data);
		a->what |= (uint16_t)(tier << 8);
		break;
	case STEP_APPEND:
		break;
	}
	return true;
}

void
mux_step(struct cells *c, unsigned tier, const struct step_input *in)
{
	struct tier *t = &c->tiers[tier];
	struct step_actions *out = c->out;
	size_t kept = out->count;
	bool more = out->more;
	struct step_input next = *in;

	if (!t->gossip)
		return;
	next.now_ns = c->now_ns;
	out->more = false;
	gossip_step(t->gossip, &next, out);
	t->more = out->more;
	out->more = more;
	for (size_t i = kept; i < out->count; i++)
		if (change(c, tier, &out->items[i])) {
			out->items[kept] = out->items[i];
			kept++;
		}
	out->count = kept;
}

/* ---- coming and going ---- */

bool
mux_open(struct cells *c, unsigned tier)
{
	struct tier *t = &c->tiers[tier];
	struct gossip_config own = c->config.gossip;

	assert(!t->gossip);
	own.self = c->config.self;
	own.file = (uint16_t)(c->config.file + tier);
	own.seed = rendezvous_mix(c->config.seed, (uint64_t)tier << 32 | ++t->generation);
	t->left = t->leaving = t->more = t->due = t->local = false;
	t->timer_ns = CELLS_NEVER;
	if (gossip_new(&own, &t->gossip) < 0)
		return false;
	if (tier == 0)
		return true;
	if (t->life_bytes > 0)
		mux_step(c, tier,
			 &(struct step_input){.kind = STEP_FILE,
					      .what = own.file,
					      .data = t->life,
					      .bytes = t->life_bytes});
	mux_step(c, tier, &(struct step_input){.kind = STEP_START});
	c->counters.opened++;
	return true;
}

void
mux_leave(struct cells *c, unsigned tier)
{
	struct tier *t = &c->tiers[tier];

	if (t->leaving)
		return;
	t->leaving = true;
	gossip_leave(t->gossip);
	t->local = true;
}

static void
close_tier(struct cells *c, unsigned tier)
{
	struct tier *t = &c->tiers[tier];

	for (size_t i = 0; i < c->streams_count;) {
		struct stream *s = &c->streams[i];

		if (s->tier != tier || s->state == STREAM_NAMELESS) {
			i++;
			continue;
		}
		close_stream(c, s->name);
		forget(c, s);
	}
	gossip_free(t->gossip);
	t->gossip = NULL;
	t->left = t->leaving = t->more = t->due = t->local = false;
	t->timer_ns = CELLS_NEVER;
	c->counters.closed++;
	cells_look_in(c, 0);
}

bool
mux_busy(const struct cells *c)
{
	for (unsigned i = 0; i < CELLS_TIERS; i++) {
		const struct tier *t = &c->tiers[i];

		if (t->gossip && (t->more || t->due || t->local || t->left))
			return true;
	}
	return false;
}

static bool
take_flag(bool *flag)
{
	bool set = *flag;

	*flag = false;
	return set;
}

bool
mux_go_on(struct cells *c)
{
	for (unsigned i = 0; i < CELLS_TIERS; i++) {
		struct tier *t = &c->tiers[i];
		struct step_input next = {.kind = STEP_LOCAL};

		if (!t->gossip)
			continue;
		if (take_flag(&t->more))
			next.kind = STEP_MORE;
		else if (take_flag(&t->due))
			next.kind = STEP_TIMER;
		else if (t->left) {
			close_tier(c, i);
			return true;
		} else if (!take_flag(&t->local))
			continue;
		mux_step(c, i, &next);
		return true;
	}
	return false;
}

/* ---- inputs ---- */

/* Whether a node can be in that tier with us at all. */
static bool
belongs(const struct cells *c, uint32_t node, unsigned tier)
{
	struct cells_place place;

	if (tier >= CELLS_TIERS || !c->config.where(c->config.arg, node, &place))
		return false;
	if (tier == 0)
		return place.cell == c->config.place.cell;
	return tier == 2 || place.region == c->config.place.region;
}

static void
datagram(struct cells *c, const struct step_input *in)
{
	if (!belongs(c, in->node, in->what & ~(unsigned)CELLS_HELLO)) {
		c->counters.foreign++;
		return;
	}
	if (in->what & CELLS_HELLO)
		gates_hello(c, in);
	else
		mux_step(c, in->what, in);
}

static void
stream_up(struct cells *c, const struct step_input *in)
{
	struct stream *s = find(c, in->stream);
	uint8_t tier;

	if (!(in->stream & STEP_STREAM_OURS)) {
		if (!add(c, in->stream, in->node, 0, STREAM_NAMELESS))
			close_stream(c, in->stream);
		return;
	}
	if (!s || s->state != STREAM_OPENING)
		return;
	tier = s->tier;
	s->state = STREAM_NAMED;
	step_add(c->out, STEP_STREAM_WRITE, &tier, 1)->stream = in->stream;
}

static void
give(struct cells *c, const struct stream *s, const struct step_input *in)
{
	struct step_input next = *in;

	next.stream = inner_name(in->stream);
	mux_step(c, s->tier, &next);
}

static void
stream_data(struct cells *c, const struct step_input *in)
{
	struct stream *s = find(c, in->stream);
	struct step_input next = *in;

	if (!s || in->bytes == 0)
		return;
	if (s->state == STREAM_NAMELESS) {
		unsigned tier = *(const uint8_t *)in->data;

		if (!belongs(c, s->node, tier) || !c->tiers[tier].gossip) {
			c->counters.foreign += !belongs(c, s->node, tier);
			close_stream(c, s->name);
			forget(c, s);
			return;
		}
		s->tier = (uint8_t)tier;
		s->state = STREAM_OPEN;
		next.kind = STEP_STREAM_UP;
		next.node = s->node;
		next.bytes = 0;
		give(c, s, &next);
		next = *in;
		next.data = (const uint8_t *)in->data + 1;
		next.bytes--;
		s = find(c, in->stream); /* it may have been closed */
	}
	if (s && s->state == STREAM_OPEN && next.bytes > 0)
		give(c, s, &next);
}

static void
stream_room(struct cells *c, const struct step_input *in)
{
	struct stream *s = find(c, in->stream);
	struct step_input next = *in;

	if (!s)
		return;
	if (s->state == STREAM_NAMED) {
		s->state = STREAM_OPEN;
		next.kind = STEP_STREAM_UP;
		next.node = s->node;
	}
	if (s->state == STREAM_OPEN)
		give(c, s, &next);
}

static void
stream_down(struct cells *c, const struct step_input *in)
{
	struct stream *s = find(c, in->stream), was;

	if (!s)
		return;
	was = *s;
	forget(c, s);
	if (was.state != STREAM_NAMELESS)
		give(c, &was, in);
}

static void
disk_done(struct cells *c, const struct step_input *in)
{
	unsigned tier = (unsigned)(in->token >> 56);
	struct step_input next = *in;

	if (tier >= CELLS_TIERS || c->tiers[tier].generation != (uint8_t)(in->token >> 48))
		return;
	next.token = in->token & TOKEN_MASK;
	mux_step(c, tier, &next);
}

static void
file(struct cells *c, const struct step_input *in)
{
	unsigned tier = (unsigned)(in->what - c->config.file);

	if (in->what < c->config.file || tier >= CELLS_TIERS)
		return;
	if (tier == 0)
		mux_step(c, 0, in);
	else
		keep_life(&c->tiers[tier], in->data, in->bytes);
}

void
mux_input(struct cells *c, const struct step_input *in)
{
	switch (in->kind) {
	case STEP_START:
		mux_step(c, 0, in);
		break;
	case STEP_FILE:
		file(c, in);
		break;
	case STEP_DATAGRAM:
		datagram(c, in);
		break;
	case STEP_STREAM_UP:
		stream_up(c, in);
		break;
	case STEP_STREAM_DATA:
		stream_data(c, in);
		break;
	case STEP_STREAM_DOWN:
		stream_down(c, in);
		break;
	case STEP_STREAM_ROOM:
		stream_room(c, in);
		break;
	case STEP_DISK_DONE:
		disk_done(c, in);
		break;
	case STEP_LOCAL:
		c->tiers[0].local = true;
		break;
	case STEP_TIMER:
		for (unsigned i = 0; i < CELLS_TIERS; i++)
			if (c->tiers[i].timer_ns <= c->now_ns) {
				c->tiers[i].timer_ns = CELLS_NEVER;
				c->tiers[i].due = true;
			}
		break;
	case STEP_MORE:
		break;
	}
}
