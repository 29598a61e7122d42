/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What anti-entropy writes, a piece at a time: the responder's table by id, so that the roster may
 * change between two pieces, and what either side's list says is to be done.
 */
#include "scheduler/gossip/sync.h"

#include <stdlib.h>
#include "scheduler/gossip/delta.h"
#include "scheduler/gossip/member.h"
#include "scheduler/gossip/space.h"

enum {
	RECORDS_MAX = 1024, /* in one frame */
	PIECE_BYTES = 32 * 1024,
};

static bool
differs(const struct lane *l, uint32_t node)
{
	size_t bucket = member_bucket(node);

	return l->differs[bucket / 8] >> bucket % 8 & 1;
}

static void
write_vector(struct gossip *g, struct lane *l)
{
	struct buf *b = lane_begin(l, LANE_VECTOR, 0);
	size_t records = 0, at = 0;

	/* By id: the roster may have changed since the last piece. */
	while (at < g->count && g->ids[at] < l->vector_at)
		at++;
	for (; at < g->count && records < RECORDS_MAX; at++) {
		if (!differs(l, g->ids[at]))
			continue;
		buf_u32(b, g->ids[at]);
		buf_u32(b, g->status[at]);
		buf_u64(b, space_version(g, at));
		records++;
	}
	if (at < g->count) {
		l->vector_at = g->ids[at];
	} else {
		l->vector = false;
		if (buf_ok(b))
			b->data[l->frame + 1] = LANE_LAST;
	}
	lane_end(l);
	g->counters.sent[GOSSIP_SYNC]++;
}

static void
write_member(struct gossip *g, struct buf *b, uint32_t node)
{
	long at = member_find(g, node);
	uint32_t status = at >= 0 ? g->status[at] : 0;

	if (status == 0)
		return;
	buf_u32(b, node);
	buf_u32(b, g->config.self);
	buf_u32(b, core_incarnation(status) | (uint32_t)core_state(status) << 24);
}

/* Neighbours of one kind share a frame. */
static void
write_records(struct gossip *g, struct lane *l, enum lane_todo_kind kind)
{
	struct buf *b = lane_begin(l, kind == LANE_TODO_MEMBER ? LANE_MEMBERS : LANE_WANT, 0);

	for (size_t n = 0; n < RECORDS_MAX && l->todo_at < l->todo_count; n++) {
		const struct lane_todo *t = &l->todo[l->todo_at];

		if (t->kind != (uint32_t)kind)
			break;
		l->todo_at++;
		if (kind == LANE_TODO_MEMBER) {
			write_member(g, b, t->node);
			continue;
		}
		buf_u32(b, t->node);
		buf_u32(b, 0);
		buf_u64(b, t->version);
	}
	lane_end(l);
	g->counters.sent[GOSSIP_SYNC]++;
}

static void
write_space(struct gossip *g, struct lane *l)
{
	const struct lane_todo *t = &l->todo[l->todo_at++];
	const struct space *s = space_find(g, t->node);

	if (!s || s->version <= t->version)
		return;
	struct buf *b = lane_begin(l, LANE_SPACE, 0);
	if (!delta_write(s, t->version, b))
		b->failed = true;
	lane_end(l);
	g->counters.sent[GOSSIP_SYNC]++;
}

static void
write_end(struct gossip *g, struct lane *l)
{
	lane_begin(l, LANE_END, 0);
	lane_end(l);
	l->ours_ended = true;
	g->counters.sent[GOSSIP_SYNC]++;
}

static int
by_kind(const void *a, const void *b)
{
	const struct lane_todo *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return (x->node > y->node) - (x->node < y->node);
}

void
sync_more(struct gossip *g, struct lane *l)
{
	if (l->purpose == LANE_PROBE || (l->purpose == LANE_SYNC && !l->compared))
		return;
	while (l->vector && buf_ok(&l->out) && l->out.length < PIECE_BYTES)
		write_vector(g, l);
	if (l->purpose == LANE_SYNC && l->todo_at == 0 && l->todo_count > 1)
		qsort(l->todo, l->todo_count, sizeof(*l->todo), by_kind);
	while (l->todo_at < l->todo_count && buf_ok(&l->out) && l->out.length < PIECE_BYTES) {
		if (l->todo[l->todo_at].kind == LANE_TODO_PUSH)
			write_space(g, l);
		else
			write_records(g, l, (enum lane_todo_kind)l->todo[l->todo_at].kind);
	}
	if (!l->vector && l->todo_at == l->todo_count && !l->ours_ended &&
	    (l->purpose == LANE_SYNC || l->theirs_ended))
		write_end(g, l);
}
