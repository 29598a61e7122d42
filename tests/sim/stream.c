/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ordered, reliable byte streams between cores. What is written leaves in pieces of any size; ROOM
 * comes back when all of it has left. A cut network holds the bytes; after ten seconds without a
 * way both ends are told DOWN. A process that ends resets its streams; a machine that loses power
 * says nothing, so that only those who write to it find out.
 *
 * A stream is named here by index and serial number; an end keeps its name until its core has been
 * told DOWN, so that what a core did before it could know is not held against it.
 *
 * Whether the core that closes is told DOWN in the end is the plan's: scheduler/step.h allows both.
 * If not, its end has no name from then on, and lives until what was written has left.
 */
#include "tests/sim/inside.h"

#include <assert.h>
#include "base/err.h"
#include "base/mem.h"

enum { NONE = UINT32_MAX, STREAMS_OF_NODE_MAX = 4096 };

#define STUCK_NS (10 * SIM_S)
#define RETRY_NS (SIM_S / 5)
#define PIECE_NS 50000

enum input { INPUT_UP, INPUT_DOWN, INPUT_ROOM };

struct sim_end {
	uint32_t node;
	uint32_t name; /* 0: the core does not know it, or no more */
	bool listed;   /* it is in the node's list */
	uint32_t next; /* in the node's list: index * 2 + side */
	bool up;
	bool over;    /* DOWN is on its way to the core */
	bool closing; /* the core has closed it */
	bool pumping;
	bool wants_room;
	struct parcel *head, *tail; /* written here, not yet there */
	size_t taken;               /* of head */
};

struct sim_stream {
	uint64_t serial; /* 0: free */
	uint64_t stuck_ns;
	uint64_t opened_ns;
	uint32_t next_unused;
	struct sim_end end[2];
};

/* ---- names ---- */

static struct sim_end *
end_at(struct sim *s, uint32_t place)
{
	return &s->streams[place / 2].end[place % 2];
}

static uint32_t
find(struct sim *s, uint32_t node, uint32_t name)
{
	uint32_t at = sim_shell_node(s, node)->streams;

	while (at != NONE && (name == 0 || end_at(s, at)->name != name))
		at = end_at(s, at)->next;
	return at;
}

static void
name_end(struct sim *s, uint32_t place, uint32_t name)
{
	struct sim_end *e = end_at(s, place);
	uint32_t *head = &sim_shell_node(s, e->node)->streams;

	e->name = name;
	e->listed = true;
	e->next = *head;
	*head = place;
}

static void
unname_end(struct sim *s, uint32_t place)
{
	struct sim_end *e = end_at(s, place);
	uint32_t *at = &sim_shell_node(s, e->node)->streams;

	if (!e->listed)
		return;
	while (*at != place)
		at = &end_at(s, *at)->next;
	*at = e->next;
	e->listed = false;
	e->name = 0;
	e->over = true;
}

static void
drop_written(struct sim *s, struct sim_end *e)
{
	while (e->head) {
		struct parcel *p = e->head;

		e->head = p->next;
		parcel_put(&s->parcels, p);
	}
	e->tail = NULL;
	e->taken = 0;
}

static void
free_if_done(struct sim *s, uint32_t index)
{
	struct sim_stream *t = &s->streams[index];

	if (t->serial == 0 || t->end[0].listed || t->end[1].listed || !t->end[0].over ||
	    !t->end[1].over)
		return;
	drop_written(s, &t->end[0]);
	drop_written(s, &t->end[1]);
	t->serial = 0;
	t->next_unused = s->stream_unused;
	s->stream_unused = index;
}

static uint32_t
take_unused(struct sim *s)
{
	uint32_t index, room;

	if (s->stream_unused == NONE) {
		room = s->stream_room ? s->stream_room * 2 : 16;
		s->streams = mem_resize(MEM_BASE, s->streams, room, sizeof(s->streams[0]));
		assert(s->streams);
		for (uint32_t i = room; i-- > s->stream_room;) {
			s->streams[i] = (struct sim_stream){.next_unused = s->stream_unused};
			s->stream_unused = i;
		}
		s->stream_room = room;
	}
	index = s->stream_unused;
	s->stream_unused = s->streams[index].next_unused;
	s->streams[index] =
		(struct sim_stream){.serial = ++s->stream_serial, .opened_ns = s->now_ns};
	return index;
}

/* ---- events ---- */

static struct event *
later(struct sim *s, uint64_t at_ns, enum sim_event kind, uint32_t index, unsigned side)
{
	struct event *e = sim_queue_add(&s->queue, at_ns, (uint8_t)kind);

	e->peer = index;
	e->number = s->streams[index].serial;
	e->side = (uint8_t)side;
	return e;
}

static void
say(struct sim *s, uint64_t at_ns, uint32_t index, unsigned side, enum input input, int status)
{
	struct event *e = later(s, at_ns, SIM_STREAM_INPUT, index, side);

	e->what = (uint16_t)input;
	e->status = (int16_t)status;
}

static uint64_t
arrival(struct sim *s, const struct sim_stream *t, unsigned from, size_t bytes)
{
	return sim_link_carry(&s->link, s->now_ns, t->end[from].node - 1, t->end[!from].node - 1,
			      bytes);
}

static bool
is_cut(struct sim *s, const struct sim_stream *t, unsigned from)
{
	return sim_link_is_cut(&s->link, s->now_ns, t->end[from].node - 1, t->end[!from].node - 1);
}

static void
end_side(struct sim *s, uint32_t index, unsigned side, uint64_t at_ns, int status)
{
	struct sim_end *e = &s->streams[index].end[side];

	if (e->over)
		return;
	e->over = true;
	if (e->name != 0)
		say(s, at_ns, index, side, INPUT_DOWN, status);
	else
		unname_end(s, index * 2 + side);
}

static void
give(struct sim *s, uint32_t index, unsigned side, enum step_input_kind kind, int status,
     struct parcel *p)
{
	const struct sim_stream *t = &s->streams[index];
	struct event e = {
		.kind = SIM_TO_CORE,
		.side = (uint8_t)kind,
		.status = (int16_t)status,
		.node = t->end[side].node,
		.peer = t->end[!side].node,
		.number = t->end[side].name,
		.parcel = p,
	};

	sim_shell_deliver(s, e.node, &e);
}

static void
arm_pump(struct sim *s, uint32_t index, unsigned side, uint64_t at_ns)
{
	struct sim_end *e = &s->streams[index].end[side];

	if (e->pumping || !e->up || (!e->head && !e->closing))
		return;
	e->pumping = true;
	later(s, at_ns, SIM_STREAM_PUMP, index, side);
}

/* ---- what a core does ---- */

void
sim_stream_open(struct sim *s, uint32_t node, uint32_t peer, uint32_t name)
{
	uint32_t index;
	struct sim_stream *t;

	if (!(name & STEP_STREAM_OURS) || find(s, node, name) != NONE || peer < 1 ||
	    peer > s->plan->nodes || peer == node) {
		sim_fail(s, "contract", node, "opens stream %08x to node %u", name, peer);
		return;
	}
	index = take_unused(s);
	t = &s->streams[index];
	t->end[0].node = node;
	t->end[1].node = peer;
	name_end(s, index * 2, name);
	later(s, arrival(s, t, 0, 40), SIM_STREAM_OPEN, index, 0);
}

void
sim_stream_write(struct sim *s, uint32_t node, uint32_t name, struct parcel *p)
{
	uint32_t place = find(s, node, name);
	struct sim_end *e = place == NONE ? NULL : end_at(s, place);

	if (!e || e->closing)
		sim_fail(s, "contract", node, "writes to stream %08x, which is not there", name);
	else if (e->wants_room && !e->over)
		sim_fail(s, "contract", node, "writes to stream %08x before ROOM", name);
	if (!e || e->over || s->failure.failed || p->bytes == 0) {
		parcel_put(&s->parcels, p);
		return;
	}
	*(e->head ? &e->tail->next : &e->head) = p;
	e->tail = p;
	e->wants_room = true;
	arm_pump(s, place / 2, place % 2, arrival(s, &s->streams[place / 2], place % 2, p->bytes));
}

/* Closed before it was up, with nothing to say. */
static void
give_up_early(struct sim *s, uint32_t index)
{
	struct sim_stream *t = &s->streams[index];

	end_side(s, index, 0, s->now_ns, 0);
	if (t->end[1].up)
		end_side(s, index, 1, arrival(s, t, 0, 40), 0);
}

void
sim_stream_close(struct sim *s, uint32_t node, uint32_t name)
{
	uint32_t place = find(s, node, name);
	struct sim_end *e = place == NONE ? NULL : end_at(s, place);

	if (!e || e->closing) {
		sim_fail(s, "contract", node, "closes stream %08x, which is not there", name);
		return;
	}
	e->closing = true;
	if (s->plan->closer_silent)
		e->name = 0;
	if (e->over && e->name == 0)
		unname_end(s, place);
	else if (e->up && !e->over)
		arm_pump(s, place / 2, place % 2,
			 arrival(s, &s->streams[place / 2], place % 2, 40));
	else if (!e->head)
		give_up_early(s, place / 2);
	free_if_done(s, place / 2);
}

void
sim_stream_forget(struct sim *s, uint32_t node, uint32_t name)
{
	uint32_t place = find(s, node, name);

	if (place == NONE)
		return;
	unname_end(s, place);
	free_if_done(s, place / 2);
}

void
sim_stream_crash(struct sim *s, uint32_t node, bool power)
{
	struct sim_node *n = sim_shell_node(s, node);

	while (n->streams != NONE) {
		uint32_t place = n->streams, index = place / 2;
		struct sim_stream *t = &s->streams[index];
		unsigned side = place % 2;

		unname_end(s, place);
		drop_written(s, &t->end[side]);
		if (!power && !is_cut(s, t, side))
			end_side(s, index, !side, arrival(s, t, side, 40), ERR_UNREACHABLE);
		else
			end_side(s, index, !side, s->now_ns + STUCK_NS, ERR_TIMEOUT);
		free_if_done(s, index);
	}
}

/* ---- what the network does ---- */

static void
give_up(struct sim *s, uint32_t index)
{
	end_side(s, index, 0, s->now_ns, ERR_TIMEOUT);
	end_side(s, index, 1, s->now_ns, ERR_TIMEOUT);
	free_if_done(s, index);
}

static void
reach_peer(struct sim *s, uint32_t index)
{
	struct sim_stream *t = &s->streams[index];
	struct sim_node *peer = sim_shell_node(s, t->end[1].node);

	if (t->end[0].over) {
		t->end[1].over = true;
		free_if_done(s, index);
		return;
	}
	if (is_cut(s, t, 0) || is_cut(s, t, 1)) {
		if (s->now_ns - t->opened_ns > STUCK_NS)
			give_up(s, index);
		else
			later(s, s->now_ns + SIM_S, SIM_STREAM_OPEN, index, 0);
		return;
	}
	if (peer->state == SIM_DOWN) {
		t->end[1].over = true;
		end_side(s, index, 0, arrival(s, t, 1, 40), ERR_UNREACHABLE);
		free_if_done(s, index);
		return;
	}
	do {
		peer->stream_names = (peer->stream_names + 1) & ~STEP_STREAM_OURS;
	} while (peer->stream_names == 0 || find(s, t->end[1].node, peer->stream_names) != NONE);
	name_end(s, index * 2 + 1, peer->stream_names);
	t->end[1].up = true;
	say(s, arrival(s, t, 1, 40), index, 0, INPUT_UP, 0);
	give(s, index, 1, STEP_STREAM_UP, 0, NULL);
}

/* The next bytes, at any boundary. */
static struct parcel *
take_piece(struct sim *s, struct sim_end *e)
{
	struct parcel *head = e->head, *piece;
	size_t bytes = head->bytes - e->taken;

	if (bytes > 1 && draw_below(&s->draw, 3) == 0)
		bytes = (size_t)draw_between(&s->draw, 1, bytes);
	piece = parcel_new(&s->parcels, head->data + e->taken, bytes);
	e->taken += bytes;
	if (e->taken == head->bytes) {
		e->head = head->next;
		e->taken = 0;
		parcel_put(&s->parcels, head);
	}
	return piece;
}

static void
pump(struct sim *s, uint32_t index, unsigned side)
{
	struct sim_stream *t = &s->streams[index];
	struct sim_end *from = &t->end[side], *to = &t->end[!side];
	uint64_t serial = t->serial;
	struct parcel *piece;

	from->pumping = false;
	if (from->over)
		return;
	if (is_cut(s, t, side) || is_cut(s, t, !side)) {
		if (t->stuck_ns == 0)
			t->stuck_ns = s->now_ns;
		if (s->now_ns - t->stuck_ns > STUCK_NS)
			give_up(s, index);
		else
			arm_pump(s, index, side, s->now_ns + RETRY_NS);
		return;
	}
	t->stuck_ns = 0;
	if (!from->head) {
		end_side(s, index, side, s->now_ns, 0);
		end_side(s, index, !side, s->now_ns, 0);
		free_if_done(s, index);
		return;
	}
	piece = take_piece(s, from);
	if (!from->head && from->wants_room)
		say(s, arrival(s, t, !side, 40), index, side, INPUT_ROOM, 0);
	if (to->over || to->closing || to->name == 0)
		parcel_put(&s->parcels, piece);
	else
		give(s, index, !side, STEP_STREAM_DATA, 0, piece);
	if (s->streams[index].serial == serial && (from = &s->streams[index].end[side])->head)
		arm_pump(s, index, side, s->now_ns + draw_below(&s->draw, PIECE_NS));
	else if (s->streams[index].serial == serial && from->closing)
		arm_pump(s, index, side, s->now_ns);
}

static void
input(struct sim *s, uint32_t index, unsigned side, enum input what, int status)
{
	struct sim_end *e = &s->streams[index].end[side];

	if (!e->listed || (e->over && what != INPUT_DOWN))
		return;
	if (what == INPUT_UP) {
		e->up = true;
		arm_pump(s, index, side, s->now_ns);
	}
	if (e->name == 0)
		return;
	switch (what) {
	case INPUT_UP:
		if (!e->closing)
			give(s, index, side, STEP_STREAM_UP, 0, NULL);
		break;
	case INPUT_ROOM:
		if (e->head)
			break;
		e->wants_room = false;
		if (!e->closing)
			give(s, index, side, STEP_STREAM_ROOM, 0, NULL);
		break;
	case INPUT_DOWN:
		drop_written(s, e);
		give(s, index, side, STEP_STREAM_DOWN, status, NULL);
		break;
	}
}

void
sim_stream_event(struct sim *s, struct event *e)
{
	if (e->peer >= s->stream_room || s->streams[e->peer].serial != e->number)
		return;
	switch (e->kind) {
	case SIM_STREAM_OPEN:
		reach_peer(s, e->peer);
		break;
	case SIM_STREAM_PUMP:
		pump(s, e->peer, e->side);
		break;
	default:
		input(s, e->peer, e->side, (enum input)e->what, e->status);
	}
}

void
sim_stream_free_all(struct sim *s)
{
	for (uint32_t i = 0; i < s->stream_room; i++) {
		drop_written(s, &s->streams[i].end[0]);
		drop_written(s, &s->streams[i].end[1]);
	}
	mem_free(s->streams);
	s->streams = NULL;
}
