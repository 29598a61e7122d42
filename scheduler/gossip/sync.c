/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anti-entropy finds whatever rumours and broadcast have missed: after a partition, for a late
 * joiner, after a loss. It is due with a random member each sync interval (and then left out when
 * a ping or an ack has just carried the same digest as ours), and at once when there is
 * reason: this node joined, a member came back, a change could not be had, or the digests on
 * three pings in a row differ from a digest that has been still for a second.
 *
 * The opener says HELLO with its digest and gets the other's; equal ends it. Else:
 *   opener:    BUCKETS   one digest for each 1,024th of the ids
 *   responder: VECTOR    (node, status, version) of all members in buckets that differ
 *   opener:    MEMBERS   what it knows better, SPACE what it has newer, WANT what it has older, END
 *   responder: SPACE     for each that was wanted, END
 * Both merge as they read. The opener keeps a list of what is to be done, the responder a place in
 * the table and the list of wants; namespaces are written one at a time.
 */
#include "scheduler/gossip/sync.h"

#include <string.h>
#include "base/mutant.h"
#include "scheduler/gossip/delta.h"
#include "scheduler/gossip/hear.h"
#include "scheduler/gossip/life.h"
#include "scheduler/gossip/member.h"
#include "scheduler/gossip/prober.h"
#include "scheduler/gossip/space.h"

enum {
	HELLO_BYTES = 16,
	RECORD_BYTES = 16,
	MISMATCHES = 3,
};

static const uint64_t still_ns = 1000 * CORE_MS;
static const uint64_t apart_ns = 1000 * CORE_MS;          /* of two that were asked for */
static const uint64_t mismatch_apart_ns = 5000 * CORE_MS; /* of two for differing digests */
static const uint64_t fresh_ns = 2000 * CORE_MS;
static const uint64_t retry_ns = 200 * CORE_MS;

void
sync_start(struct gossip *g)
{
	g->sync_ns = g->now_ns + member_random(g, g->config.sync_ms * CORE_MS + 1);
}

void
sync_soon(struct gossip *g, uint32_t node)
{
	uint64_t at = g->now_ns;

	if (g->sync_last_ns && g->sync_last_ns + apart_ns > at)
		at = g->sync_last_ns + apart_ns;
	if (at < g->sync_ns)
		g->sync_ns = at;
	g->sync_with = node == g->config.self ? 0 : node;
}

void
sync_digest(struct gossip *g, uint32_t node, uint64_t digest)
{
	if (digest == g->digest) {
		g->mismatches = 0;
		g->matched_ns = g->now_ns;
		return;
	}
	if (g->now_ns - g->digest_ns < still_ns)
		return;
	if (++g->mismatches < MISMATCHES ||
	    (g->sync_last_ns && g->now_ns - g->sync_last_ns < mismatch_apart_ns))
		return;
	g->mismatches = 0;
	sync_soon(g, node);
}

void
sync_failed(struct gossip *g)
{
	/* With somebody else. */
	if (!g->joined)
		sync_soon(g, 0);
}

static void
finished(struct gossip *g, uint64_t *counter)
{
	(*counter)++;
	g->joined = true;
	g->mismatches = 0;
}

static void
put_hello(struct gossip *g, struct lane *l)
{
	struct buf *b = lane_begin(l, LANE_HELLO, 0);

	buf_u8(b, g->config.wire > CORE_VERSION ? (uint8_t)g->config.wire : CORE_VERSION);
	buf_u8(b, CORE_VERSION);
	buf_u16(b, 0);
	buf_u32(b, 0);
	buf_u64(b, g->digest);
	lane_end(l);
	g->counters.sent[GOSSIP_SYNC]++;
}

void
sync_hello(struct gossip *g, struct lane *l)
{
	g->counters.syncs_begun++;
	put_hello(g, l);
}

static void
bucket_digests(const struct gossip *g, uint64_t digests[CORE_BUCKETS])
{
	memset(digests, 0, CORE_BUCKETS * sizeof(*digests));
	for (size_t at = 0; at < g->count; at++)
		digests[member_bucket(g->ids[at])] ^= member_digest(g, at);
}

/* ---- frames that come in ---- */

static enum sync_result
read_hello(struct gossip *g, struct lane *l, struct cursor *c)
{
	unsigned version = cursor_u8(c), oldest = cursor_u8(c);

	cursor_u16(c);
	cursor_u32(c);
	uint64_t digest = cursor_u64(c);
	/* Later versions may say more. */
	if (!cursor_ok(c) || l->greeted || version == 0 || oldest > CORE_VERSION)
		return SYNC_MALFORMED;
	l->greeted = true;
	if (l->purpose == LANE_PEER) {
		put_hello(g, l);
		return SYNC_GOOD;
	}
	if (digest == g->digest) {
		finished(g, &g->counters.syncs_equal);
		return SYNC_DONE;
	}
	uint64_t digests[CORE_BUCKETS];
	bucket_digests(g, digests);
	struct buf *b = lane_begin(l, LANE_BUCKETS, 0);
	for (size_t i = 0; i < CORE_BUCKETS; i++)
		buf_u64(b, digests[i]);
	lane_end(l);
	g->counters.sent[GOSSIP_SYNC]++;
	return SYNC_GOOD;
}

static enum sync_result
read_ping(struct gossip *g, struct lane *l, struct cursor *c)
{
	uint32_t number = cursor_u32(c);

	cursor_u32(c);
	if (!cursor_ok(c))
		return SYNC_MALFORMED;
	struct buf *b = lane_begin(l, LANE_ACK, 0);
	buf_u32(b, number);
	buf_u32(b, 0);
	lane_end(l);
	g->counters.sent[GOSSIP_ACK]++;
	return SYNC_GOOD;
}

static enum sync_result
read_ack(struct gossip *g, struct lane *l, struct cursor *c)
{
	uint32_t number = cursor_u32(c);

	if (!cursor_ok(c))
		return SYNC_MALFORMED;
	prober_acked(g, l->node, number, l->node);
	return SYNC_DONE;
}

static enum sync_result
read_buckets(struct gossip *g, struct lane *l, struct cursor *c)
{
	uint64_t digests[CORE_BUCKETS];

	if (cursor_left(c) != sizeof(digests) || l->vector || l->compared)
		return SYNC_MALFORMED;
	bucket_digests(g, digests);
	for (size_t i = 0; i < CORE_BUCKETS; i++)
		if (cursor_u64(c) != digests[i] && MUTANT(15, i % 2 == 0, true))
			l->differs[i / 8] |= (uint8_t)(1u << i % 8);
	l->vector = true;
	l->compared = true;
	l->vector_at = 0;
	return SYNC_GOOD;
}

static bool
compare(struct gossip *g, struct lane *l, size_t at, uint32_t status, uint64_t version)
{
	uint64_t mine = space_version(g, at);
	uint32_t node = g->ids[at];
	bool kept = true;

	if (status > g->status[at] || (at == g->self_at && status != g->status[at]))
		hear_record(g, l->node, node, l->node, status);
	if (status < g->status[at])
		kept = lane_todo(l, node, LANE_TODO_MEMBER, 0);
	if (version > mine && at == g->self_at)
		life_outgrow(g, version);
	else if (version > mine)
		kept = kept && lane_todo(l, node, LANE_TODO_WANT, mine);
	if (space_version(g, at) > version)
		kept = kept && lane_todo(l, node, LANE_TODO_PUSH, version);
	return kept;
}

static bool
valid_status(uint32_t status)
{
	return status == 0 || (core_incarnation(status) > 0 && core_state(status) >= GOSSIP_ALIVE &&
			       core_state(status) <= GOSSIP_LEFT);
}

static enum sync_result
read_vector(struct gossip *g, struct lane *l, uint8_t flags, struct cursor *c)
{
	if (cursor_left(c) % RECORD_BYTES || l->compared || !l->greeted)
		return SYNC_MALFORMED;
	while (cursor_left(c) > 0) {
		uint32_t node = cursor_u32(c), status = cursor_u32(c);
		uint64_t version = cursor_u64(c);

		if (!valid_status(status))
			return SYNC_MALFORMED;
		long at = member_find(g, node);
		if (at < 0)
			g->counters.strangers++;
		else if (!compare(g, l, (size_t)at, status, version))
			return SYNC_FAILED;
	}
	l->compared = flags & LANE_LAST;
	return SYNC_GOOD;
}

static enum sync_result
read_members(struct gossip *g, struct lane *l, struct cursor *c)
{
	uint32_t node, accuser, status;

	while (cursor_left(c) > 0) {
		packet_get_member(c, &node, &accuser, &status);
		if (!cursor_ok(c))
			return SYNC_MALFORMED;
		hear_record(g, l->node, node, accuser, status);
	}
	return SYNC_GOOD;
}

static enum sync_result
read_want(struct gossip *g, struct lane *l, struct cursor *c)
{
	if (cursor_left(c) % RECORD_BYTES || l->theirs_ended)
		return SYNC_MALFORMED;
	while (cursor_left(c) > 0) {
		uint32_t node = cursor_u32(c);

		cursor_u32(c);
		uint64_t version = cursor_u64(c);
		if (member_find(g, node) < 0)
			g->counters.strangers++;
		else if (!lane_todo(l, node, LANE_TODO_PUSH, version))
			return SYNC_FAILED;
	}
	return SYNC_GOOD;
}

static enum sync_result
read_space(struct gossip *g, struct lane *l, struct cursor *c)
{
	switch (delta_read(g, l->node, c)) {
	case DELTA_APPLIED:
	case DELTA_IGNORED:
		return SYNC_GOOD;
	case DELTA_FAILED:
		return SYNC_FAILED;
	case DELTA_MALFORMED:
		break;
	}
	return SYNC_MALFORMED;
}

static enum sync_result
read_end(struct gossip *g, struct lane *l)
{
	l->theirs_ended = true;
	if (l->purpose == LANE_PEER)
		return SYNC_GOOD;
	if (!l->ours_ended)
		return SYNC_MALFORMED;
	finished(g, &g->counters.syncs_done);
	return SYNC_DONE;
}

/* Which frames a side may send: the opener of a probe, of a sync, and who answers them. */
static bool
allowed(const struct lane *l, unsigned kind)
{
	switch (l->purpose) {
	case LANE_PROBE:
		return kind == LANE_ACK;
	case LANE_SYNC:
		return kind == LANE_HELLO || kind == LANE_VECTOR || kind == LANE_SPACE ||
		       kind == LANE_END;
	case LANE_PEER:
		break;
	}
	return kind != LANE_ACK && kind != LANE_VECTOR;
}

enum sync_result
sync_frame(struct gossip *g, struct lane *l, unsigned kind, uint8_t flags, struct cursor *body)
{
	if (kind == 0 || kind > LANE_END) {
		g->counters.unknown++;
		return SYNC_GOOD;
	}
	if (!allowed(l, kind))
		return SYNC_MALFORMED;
	g->counters.received[kind == LANE_PING  ? GOSSIP_PING
			     : kind == LANE_ACK ? GOSSIP_ACK
						: GOSSIP_SYNC]++;
	switch ((enum lane_frame)kind) {
	case LANE_HELLO:
		return read_hello(g, l, body);
	case LANE_PING:
		return read_ping(g, l, body);
	case LANE_ACK:
		return read_ack(g, l, body);
	case LANE_BUCKETS:
		return read_buckets(g, l, body);
	case LANE_VECTOR:
		return read_vector(g, l, flags, body);
	case LANE_MEMBERS:
		return read_members(g, l, body);
	case LANE_WANT:
		return read_want(g, l, body);
	case LANE_SPACE:
		return read_space(g, l, body);
	case LANE_END:
		return read_end(g, l);
	}
	return SYNC_MALFORMED;
}

/* ---- when ---- */

uint64_t
sync_due(const struct gossip *g)
{
	return g->live > 1 && !g->life.leave ? g->sync_ns : CORE_NEVER;
}

static long
partner(struct gossip *g)
{
	long at = g->sync_with ? member_find(g, g->sync_with) : MEMBER_NONE;

	g->sync_with = 0;
	return at >= 0 && core_live(g->status[at]) && !member_dials(g, g->ids[at])
		       ? at
		       : member_pick_open(g);
}

/* The digests on the pings have just said what a stream would say. */
static bool
needless(const struct gossip *g)
{
	return g->joined && g->sync_with == 0 && g->mismatches == 0 &&
	       g->matched_ns >= g->digest_ns && g->matched_ns > 0 &&
	       g->now_ns - g->matched_ns < fresh_ns;
}

static void
plan_next(struct gossip *g)
{
	uint64_t interval = g->config.sync_ms * CORE_MS;

	g->sync_ns = g->now_ns + interval * 3 / 4 + member_random(g, interval / 2 + 1);
}

void
sync_timer(struct gossip *g)
{
	if (g->now_ns < sync_due(g))
		return;
	if (needless(g)) {
		plan_next(g);
		return;
	}
	if (!life_speaks(g)) {
		g->sync_ns = g->now_ns + retry_ns;
		return;
	}
	long at = partner(g);
	plan_next(g);
	if (at < 0)
		return; /* the others open theirs */
	if (lane_sync(g, g->ids[at]))
		g->sync_last_ns = g->now_ns;
	else
		g->sync_ns = g->now_ns + retry_ns; /* the former one is still open */
}
