/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lane is one stream with its two buffers. What is read is gathered to whole frames of a bounded
 * size; what is written is made a piece at a time and the next piece only after the former has
 * left, so a slow peer costs two pieces of memory and no more. While many tells wait, frames wait
 * too.
 *
 * Names of our own streams are counted up and not used again, so an input for a stream that was
 * closed here finds nothing and means nothing.
 */
#include "scheduler/gossip/lane.h"

#include <assert.h>
#include <string.h>
#include "scheduler/gossip/hear.h"
#include "scheduler/gossip/life.h"
#include "scheduler/gossip/member.h"
#include "scheduler/gossip/sync.h"

enum {
	IN_MAX = GOSSIP_FRAME_MAX + LANE_HEAD + 1024 * 1024,
	OUT_MAX = 2 * GOSSIP_FRAME_MAX,
	TODO_MIN = 32,
	TODO_MAX = 3 * GOSSIP_MEMBERS_MAX,
};

static struct lane *
find(const struct gossip *g, uint32_t stream)
{
	for (size_t i = 0; i < g->lanes_count; i++)
		if (g->lanes[i]->stream == stream)
			return g->lanes[i];
	return NULL;
}

static size_t
count(const struct gossip *g, enum lane_purpose purpose)
{
	size_t n = 0;

	for (size_t i = 0; i < g->lanes_count; i++)
		n += g->lanes[i]->purpose == purpose;
	return n;
}

static size_t
count_of(const struct gossip *g, uint32_t node)
{
	size_t n = 0;

	for (size_t i = 0; i < g->lanes_count; i++)
		n += g->lanes[i]->purpose == LANE_PEER && g->lanes[i]->node == node;
	return n;
}

static struct lane *
lane_new(struct gossip *g, uint32_t stream, uint32_t node, enum lane_purpose purpose)
{
	struct lane *l = NULL;

	if (g->lanes_count < GOSSIP_STREAMS_MAX)
		l = mem_zalloc(MEM_SCHEDULER, sizeof(*l));
	if (!l)
		return NULL;
	l->stream = stream;
	l->node = node;
	l->purpose = purpose;
	l->idle_ns = g->now_ns + LANE_OPEN_MS * CORE_MS;
	buf_init(&l->in, MEM_SCHEDULER, IN_MAX);
	buf_init(&l->out, MEM_SCHEDULER, OUT_MAX);
	g->lanes[g->lanes_count++] = l;
	return l;
}

static void
forget(struct gossip *g, struct lane *l)
{
	size_t at = 0;

	while (g->lanes[at] != l)
		at++;
	g->lanes_count--;
	memmove(g->lanes + at, g->lanes + at + 1, (g->lanes_count - at) * sizeof(struct lane *));
	buf_fini(&l->in);
	buf_fini(&l->out);
	mem_free(l->todo);
	mem_free(l);
}

static void
say_close(struct gossip *g, uint32_t stream)
{
	step_add(g->out, STEP_STREAM_CLOSE, NULL, 0)->stream = stream;
}

void
lane_close(struct gossip *g, struct lane *l)
{
	say_close(g, l->stream);
	forget(g, l);
}

/* It ended before its work was done. */
static void
fail(struct gossip *g, struct lane *l)
{
	if (l->purpose == LANE_SYNC) {
		g->counters.syncs_failed++;
		sync_failed(g);
	}
}

static struct lane *
open_own(struct gossip *g, uint32_t node, enum lane_purpose purpose)
{
	uint32_t stream = ++g->stream | STEP_STREAM_OURS;

	if (!life_speaks(g) || find(g, stream))
		return NULL;
	struct lane *l = lane_new(g, stream, node, purpose);
	if (!l)
		return NULL;
	struct step_action *a = step_add(g->out, STEP_STREAM_OPEN, NULL, 0);
	a->stream = stream;
	a->node = node;
	return l;
}

void
lane_probe(struct gossip *g, uint32_t node, uint32_t number)
{
	struct lane *l = NULL;

	if (count(g, LANE_PROBE) < LANE_OWN_PROBES_MAX && !member_dials(g, node))
		l = open_own(g, node, LANE_PROBE);
	if (!l)
		return;
	l->number = number;
	buf_u32(lane_begin(l, LANE_PING, 0), number);
	buf_u32(&l->out, 0);
	lane_end(l);
}

bool
lane_sync(struct gossip *g, uint32_t node)
{
	struct lane *l = count(g, LANE_SYNC) == 0 ? open_own(g, node, LANE_SYNC) : NULL;

	if (l)
		sync_hello(g, l);
	return l != NULL;
}

static void
not_idle(const struct gossip *g, struct lane *l)
{
	l->idle_ns = g->now_ns + LANE_IDLE_MS * CORE_MS;
}

static void
set_up(const struct gossip *g, struct lane *l)
{
	l->up = true;
	not_idle(g, l);
}

void
lane_up(struct gossip *g, uint32_t stream, uint32_t node)
{
	struct lane *l = find(g, stream);

	if (stream & STEP_STREAM_OURS) {
		if (l)
			set_up(g, l);
		return;
	}
	if (l) /* the shell may use a name again */
		forget(g, l);
	l = NULL;
	if (member_find(g, node) < 0 || node == g->config.self)
		g->counters.strangers++;
	else if (!life_speaks(g) || count(g, LANE_PEER) >= LANE_PEERS_MAX ||
		 count_of(g, node) >= LANE_OF_PEER_MAX)
		g->counters.streams_refused++;
	else
		l = lane_new(g, stream, node, LANE_PEER);
	if (l)
		set_up(g, l);
	else
		say_close(g, stream);
}

void
lane_down(struct gossip *g, uint32_t stream)
{
	struct lane *l = find(g, stream);

	if (!l)
		return;
	fail(g, l);
	forget(g, l);
}

void
lane_room(struct gossip *g, uint32_t stream)
{
	struct lane *l = find(g, stream);

	if (!l)
		return;
	l->writing = false;
	not_idle(g, l);
}

void
lane_data(struct gossip *g, uint32_t stream, const void *data, size_t bytes)
{
	struct lane *l = find(g, stream);
	long at = l ? member_find(g, l->node) : MEMBER_NONE;

	if (at < 0)
		return;
	hear_from(g, (size_t)at);
	g->counters.stream_bytes_received += bytes;
	not_idle(g, l);
	buf_put(&l->in, data, bytes);
}

/* ---- frames ---- */

struct buf *
lane_begin(struct lane *l, enum lane_frame kind, uint8_t flags)
{
	l->frame = l->out.length;
	buf_u8(&l->out, (uint8_t)kind);
	buf_u8(&l->out, flags);
	buf_u16(&l->out, 0);
	buf_u32(&l->out, 0);
	return &l->out;
}

void
lane_end(struct lane *l)
{
	if (buf_ok(&l->out))
		packet_u32(l->out.data + l->frame + 4,
			   (uint32_t)(l->out.length - l->frame - LANE_HEAD));
}

bool
lane_todo(struct lane *l, uint32_t node, enum lane_todo_kind kind, uint64_t version)
{
	if (l->todo_count == l->todo_capacity) {
		size_t capacity = l->todo_capacity ? l->todo_capacity * 2 : TODO_MIN;
		struct lane_todo *bigger = NULL;

		if (capacity <= TODO_MAX)
			bigger = mem_resize(MEM_SCHEDULER, l->todo, capacity, sizeof(*bigger));
		if (!bigger)
			return false;
		l->todo = bigger;
		l->todo_capacity = capacity;
	}
	l->todo[l->todo_count++] = (struct lane_todo){
		.node = node,
		.kind = (uint32_t)kind,
		.version = version,
	};
	return true;
}

enum { READ_MORE, READ_ENDED, READ_GONE };

/* One frame. READ_GONE: the lane was closed. */
static int
read_frame(struct gossip *g, struct lane *l, size_t *used)
{
	struct cursor c, body;

	cursor_init(&c, l->in.data + *used, l->in.length - *used);
	unsigned kind = cursor_u8(&c);
	uint8_t flags = cursor_u8(&c);
	cursor_u16(&c);
	size_t bytes = cursor_u32(&c);
	if (!cursor_ok(&c))
		return READ_ENDED;
	bool good = bytes <= GOSSIP_FRAME_MAX;
	if (good && cursor_left(&c) < bytes)
		return READ_ENDED;
	if (good)
		cursor_init(&body, cursor_take(&c, bytes), bytes);
	*used += LANE_HEAD + bytes;
	switch (good ? sync_frame(g, l, kind, flags, &body) : SYNC_MALFORMED) {
	case SYNC_GOOD:
		return READ_MORE;
	case SYNC_MALFORMED:
		g->counters.malformed++;
		fail(g, l);
		break;
	case SYNC_FAILED:
		fail(g, l);
		break;
	case SYNC_DONE:
		break;
	}
	lane_close(g, l);
	return READ_GONE;
}

/* False when the lane was closed. */
static bool
read_frames(struct gossip *g, struct lane *l)
{
	size_t used = 0;
	int state = READ_MORE;

	if (l->in.failed) {
		g->counters.malformed++;
		fail(g, l);
		lane_close(g, l);
		return false;
	}
	while (state == READ_MORE && l->in.length > used) {
		if (g->tells_count - g->tells_first >= CORE_TELLS_HIGH) {
			g->out->more = true;
			break;
		}
		state = read_frame(g, l, &used);
	}
	if (state == READ_GONE)
		return false;
	buf_consume(&l->in, used);
	if (l->in.length == 0)
		buf_fini(&l->in);
	return true;
}

static void
write_out(struct gossip *g, struct lane *l)
{
	size_t bytes = l->out.length - l->out_at;

	if (bytes > STEP_WRITE_MAX)
		bytes = STEP_WRITE_MAX;
	/* Two besides: the timer, and a close. */
	if (!step_actions_room(g->out, 3, bytes)) {
		g->out->more = true;
		return;
	}
	struct step_action *a = step_add(g->out, STEP_STREAM_WRITE, l->out.data + l->out_at, bytes);
	a->stream = l->stream;
	l->writing = true;
	l->out_at += bytes;
	g->counters.stream_bytes_sent += bytes;
	if (l->out_at == l->out.length) {
		buf_fini(&l->out);
		l->out_at = 0;
	}
}

/* False when the lane was closed. */
static bool
write_frames(struct gossip *g, struct lane *l)
{
	if (!l->up || l->writing || !life_speaks(g))
		return true;
	if (l->out.length == 0)
		sync_more(g, l);
	if (l->out.failed) { /* no memory */
		g->counters.out_of_memory++;
		fail(g, l);
		lane_close(g, l);
		return false;
	}
	if (l->out.length > 0)
		write_out(g, l);
	return true;
}

void
lane_work(struct gossip *g)
{
	for (size_t i = 0; i < g->lanes_count;) {
		struct lane *l = g->lanes[i];

		if (!step_actions_room(g->out, 3, 0)) {
			g->out->more = true;
			return;
		}
		if (read_frames(g, l) && write_frames(g, l))
			i++;
	}
}

uint64_t
lane_due(const struct gossip *g)
{
	uint64_t due = CORE_NEVER;

	for (size_t i = 0; i < g->lanes_count; i++)
		if (g->lanes[i]->idle_ns < due)
			due = g->lanes[i]->idle_ns;
	return due;
}

void
lane_timer(struct gossip *g)
{
	for (size_t i = 0; i < g->lanes_count;) {
		struct lane *l = g->lanes[i];

		if (g->now_ns < l->idle_ns) {
			i++;
			continue;
		}
		fail(g, l);
		lane_close(g, l);
	}
}

void
lane_fini(struct gossip *g)
{
	while (g->lanes_count > 0)
		forget(g, g->lanes[0]);
}
