/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One datagram is read section by section, each kind at most once, so that its effect is bounded.
 * What its sender is to be told goes into one answer: the ack, what it holds wrongly, and rumours.
 * What is malformed ends the reading of its section only; it is counted.
 */
#include "scheduler/gossip/inbox.h"

#include "scheduler/gossip/cast.h"
#include "scheduler/gossip/doubt.h"
#include "scheduler/gossip/graft.h"
#include "scheduler/gossip/hear.h"
#include "scheduler/gossip/member.h"
#include "scheduler/gossip/packet.h"
#include "scheduler/gossip/prober.h"
#include "scheduler/gossip/rumour.h"
#include "scheduler/gossip/sync.h"

enum { CORRECTIONS_MAX = 16 };

/* What one datagram's sender is to be told, in one answer. */
struct answer {
	struct packet packet;
	bool acked;
	size_t corrections;
	uint32_t nodes[CORRECTIONS_MAX];
};

static void
correct(struct answer *a, uint32_t node)
{
	for (size_t i = 0; i < a->corrections; i++)
		if (a->nodes[i] == node)
			return;
	if (a->corrections < CORRECTIONS_MAX)
		a->nodes[a->corrections++] = node;
}

static void
read_ping(struct gossip *g, uint32_t from, size_t at, struct cursor *c, struct answer *a)
{
	uint32_t number = cursor_u32(c), target = cursor_u32(c);
	uint64_t digest = cursor_u64(c);

	if (!cursor_ok(c) || target != g->config.self || a->acked)
		return;
	a->acked = true;
	packet_ping(g, &a->packet, GOSSIP_ACK, number, target);
	/* Who is not held to be alive must hear so, to refute it. */
	if (core_state(g->status[at]) != GOSSIP_ALIVE)
		correct(a, from);
	sync_digest(g, from, digest);
}

static void
read_ack(struct gossip *g, uint32_t from, struct cursor *c)
{
	uint32_t number = cursor_u32(c), node = cursor_u32(c);
	uint64_t digest = cursor_u64(c);

	if (!cursor_ok(c))
		return;
	prober_acked(g, from, number, node);
	sync_digest(g, from, digest);
}

static void
read_asked(struct gossip *g, uint32_t from, struct cursor *c)
{
	uint32_t number = cursor_u32(c), target = cursor_u32(c);

	if (cursor_ok(c))
		prober_asked(g, from, number, target);
}

static void
read_nack(struct gossip *g, struct cursor *c)
{
	uint32_t number = cursor_u32(c);

	cursor_u32(c);
	if (cursor_ok(c))
		prober_nacked(g, number);
}

static void
read_members(struct gossip *g, uint32_t from, struct cursor *c, struct answer *a)
{
	uint32_t node, accuser, status;

	while (cursor_left(c) > 0) {
		packet_get_member(c, &node, &accuser, &status);
		if (!cursor_ok(c))
			return;
		if (hear_record(g, from, node, accuser, status))
			correct(a, node);
	}
}

static void
read_section(struct gossip *g, uint32_t from, size_t at, enum gossip_message kind, uint8_t flags,
	     struct cursor *body, struct answer *a)
{
	switch (kind) {
	case GOSSIP_PING:
		read_ping(g, from, at, body, a);
		break;
	case GOSSIP_ACK:
		read_ack(g, from, body);
		break;
	case GOSSIP_PING_REQ:
		read_asked(g, from, body);
		break;
	case GOSSIP_NACK:
		read_nack(g, body);
		break;
	case GOSSIP_MEMBERS:
		read_members(g, from, body, a);
		break;
	case GOSSIP_CHANGES:
		cast_changes(g, from, body, flags & PACKET_REPLY);
		break;
	case GOSSIP_IHAVE:
		cast_ihave(g, from, body);
		break;
	case GOSSIP_GRAFT:
		graft_asked(g, from, body);
		break;
	case GOSSIP_PRUNE:
		cast_prune(g, from);
		break;
	case GOSSIP_GONE:
		graft_gone(g, from, body);
		break;
	case GOSSIP_SYNC:
	case GOSSIP_MESSAGES_:
		break;
	}
}

static void
answer_send(struct gossip *g, uint32_t to, struct answer *a)
{
	if (a->corrections > 0)
		packet_open(g, &a->packet, GOSSIP_MEMBERS, 0);
	for (size_t i = 0; i < a->corrections; i++) {
		long at = member_find(g, a->nodes[i]);

		if (at >= 0)
			packet_member(&a->packet, a->nodes[i], doubt_accuser(g, a->nodes[i]),
				      g->status[at]);
	}
	if (a->acked)
		rumour_fill(g, &a->packet, to);
	packet_send(g, &a->packet, to);
}

void
inbox_datagram(struct gossip *g, const struct step_input *in)
{
	long at = in->node == g->config.self ? MEMBER_NONE : member_find(g, in->node);
	struct answer answer = {.acked = false};
	struct cursor c, body;
	unsigned kind, seen = 0;
	uint8_t flags;

	g->counters.datagrams_received++;
	g->counters.datagram_bytes_received += in->bytes;
	if (at < 0) {
		g->counters.strangers++;
		return;
	}
	cursor_init(&c, in->data, in->bytes);
	if (!packet_head(&c)) {
		g->counters.malformed++;
		return;
	}
	hear_from(g, (size_t)at);
	packet_begin(&answer.packet);
	while (packet_section(&c, &kind, &flags, &body)) {
		if (kind == 0 || kind > GOSSIP_SYNC) {
			g->counters.unknown++;
			continue;
		}
		/* One of each: so one datagram has a bounded effect. */
		if (seen & 1u << kind)
			body.failed = true;
		else
			read_section(g, in->node, (size_t)at, (enum gossip_message)(kind - 1),
				     flags, &body, &answer);
		seen |= 1u << kind;
		g->counters.received[kind - 1]++;
		c.failed |= body.failed;
	}
	if (!cursor_ok(&c))
		g->counters.malformed++;
	answer_send(g, in->node, &answer);
}
