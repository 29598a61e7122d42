/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is announced or overtaken and does not come in time is asked for from who announced it. A
 * GRAFT says which version the asker has: it gets each change since, from the trail or, when
 * nothing was dropped meanwhile, from the entries themselves. When neither can give that (GONE),
 * and when nobody answers, anti-entropy does. One namespace is asked for once at a time, in the
 * order in which it was missed.
 */
#include "scheduler/gossip/graft.h"

#include "base/mutant.h"
#include "scheduler/gossip/member.h"
#include "scheduler/gossip/mesh.h"
#include "scheduler/gossip/outbox.h"
#include "scheduler/gossip/space.h"
#include "scheduler/gossip/sync.h"
#include "scheduler/gossip/trail.h"

enum {
	WANTS_MIN = 16,
	REPLY_PACKETS_MAX = 8,
	TRIES_MAX = 3,
	RTTS = 2,
};

static const uint64_t most_ns = 1000 * CORE_MS;

/* ---- asking ---- */

static uint64_t
wait_ns(const struct gossip *g)
{
	uint64_t least = g->config.graft_ms * CORE_MS, slow = g->rtt_ns * RTTS;

	return least > slow ? least : slow < most_ns ? slow : most_ns;
}

static bool
wants_push(struct gossip *g, uint32_t node, uint8_t tries, uint64_t due_ns)
{
	if (g->wants_count == g->wants_capacity) {
		size_t capacity = g->wants_capacity ? g->wants_capacity * 2 : WANTS_MIN;
		struct want *bigger = NULL;

		if (capacity <= GOSSIP_MEMBERS_MAX)
			bigger = mem_array(MEM_SCHEDULER, capacity, sizeof(*bigger));
		if (!bigger)
			return false;
		for (size_t i = 0; i < g->wants_count; i++)
			bigger[i] = g->wants[(g->wants_first + i) % g->wants_capacity];
		mem_free(g->wants);
		g->wants = bigger;
		g->wants_first = 0;
		g->wants_capacity = capacity;
	}
	g->wants[(g->wants_first + g->wants_count++) % g->wants_capacity] = (struct want){
		.node = node,
		.tries = tries,
		.due_ns = due_ns,
	};
	return true;
}

void
graft_want(struct gossip *g, uint32_t from, size_t at, uint64_t version)
{
	struct space *s = space_make(g, at);

	if (!s || version <= s->version || version <= s->want)
		return;
	s->want = version;
	s->want_from = from;
	if (!s->wanted)
		s->wanted = wants_push(g, s->node, 0, g->now_ns + wait_ns(g));
	if (!s->wanted)
		s->want = 0; /* it will be announced again */
}

static void
give_up(struct gossip *g, struct space *s)
{
	s->wanted = false;
	s->want = 0;
	sync_soon(g, s->want_from);
}

static void
ask(struct gossip *g, struct space *s)
{
	struct link *l = mesh_link(g, s->want_from);
	struct packet p;

	if (l)
		l->eager = true;
	packet_begin(&p);
	packet_open(g, &p, GOSSIP_GRAFT, 0);
	packet_mark(&p, s->node, s->version);
	packet_send(g, &p, s->want_from);
}

static void
want_due(struct gossip *g, const struct want *w)
{
	struct space *s = space_find(g, w->node);

	if (!s || !s->wanted)
		return;
	if (s->version >= s->want) {
		s->wanted = false;
		s->want = 0;
		return;
	}
	if (w->tries == TRIES_MAX ||
	    !wants_push(g, w->node, w->tries + 1, g->now_ns + wait_ns(g) * 2)) {
		give_up(g, s);
		return;
	}
	ask(g, s);
}

void
graft_timer(struct gossip *g)
{
	while (g->wants_count > 0 && g->wants[g->wants_first].due_ns <= g->now_ns) {
		struct want w = g->wants[g->wants_first];

		g->wants_first = (g->wants_first + 1) % g->wants_capacity;
		g->wants_count--;
		want_due(g, &w);
	}
}

void
graft_gone(struct gossip *g, uint32_t from, struct cursor *body)
{
	uint32_t node;
	uint64_t version;

	while (cursor_left(body) > 0) {
		packet_get_mark(body, &node, &version);
		if (!cursor_ok(body))
			return;
		struct space *s = space_find(g, node);
		if (s && s->wanted && s->want_from == from && s->version < s->want)
			give_up(g, s);
	}
}

uint64_t
graft_due(const struct gossip *g)
{
	return g->wants_count ? g->wants[g->wants_first].due_ns : CORE_NEVER;
}

/* ---- answering ---- */

/* Each change since, as it was logged; false when the log does not reach back so far. */
static bool
reply_log(struct gossip *g, const struct space *s, uint64_t version, struct outbox *o)
{
	struct change c;

	for (uint64_t i = g->log_first; i < g->log_next && version < s->version; i++) {
		const struct logged *l = trail_at(g, i);

		if (l->node != s->node || l->op == CHANGE_NOTE || l->version <= version ||
		    l->version - l->span > version)
			continue;
		trail_change(g, l, &c);
		if (!outbox_put(g, o, &c))
			return true;
		version = l->version;
	}
	return version >= s->version;
}

static bool
reply_one(struct gossip *g, struct outbox *o, struct change *c, uint64_t *sequence, uint64_t to)
{
	if (to - *sequence > UINT16_MAX)
		return false;
	c->version = gossip_version(gossip_version_birth(c->version), to);
	c->span = (uint16_t)(to - *sequence);
	*sequence = to;
	return outbox_put(g, o, c);
}

/* The entries written since, each standing for what was overwritten before it. */
static bool
reply_entries(struct gossip *g, const struct space *s, uint64_t version, struct outbox *o)
{
	bool same = gossip_version_birth(version) == gossip_version_birth(s->version);
	uint64_t sequence = same ? gossip_version_sequence(version) : 0;
	uint64_t end = gossip_version_sequence(s->version);
	struct change c = {.node = s->node, .version = s->version, .age = TRAIL_AGE_UNKNOWN};
	const struct entry **list;

	/* Between these versions the asker may be anywhere by the time this reaches it, so what was
	 * dropped on the way must not be passed over: that takes a delta. */
	uint64_t base = gossip_version(gossip_version_birth(s->version), sequence);
	if (MUTANT(10, sequence > 0, true) && s->dropped > base)
		return false;
	long count = space_since(s, sequence, &list);
	bool good = count >= 0;
	for (long i = 0; i < count && good; i++) {
		c.op = CHANGE_PUT;
		c.type = list[i]->type;
		c.id = list[i]->id;
		c.bytes = list[i]->bytes;
		c.value = list[i]->value;
		good = reply_one(g, o, &c, &sequence, list[i]->sequence);
	}
	mem_free(list);
	c.op = CHANGE_VOID;
	c.bytes = 0;
	/* When it was cut the asker goes on from where it is. */
	if (good && sequence < end)
		good = reply_one(g, o, &c, &sequence, end);
	return good || o->packets == 1;
}

static void
reply(struct gossip *g, uint32_t from, const struct space *s, uint64_t version, struct outbox *o)
{
	struct packet p;

	if (reply_log(g, s, version, o) || reply_entries(g, s, version, o))
		return;
	packet_begin(&p);
	packet_open(g, &p, GOSSIP_GONE, 0);
	packet_mark(&p, s->node, s->version);
	packet_send(g, &p, from);
}

void
graft_asked(struct gossip *g, uint32_t from, struct cursor *body)
{
	struct link *l = mesh_link(g, from);
	struct outbox o;
	uint32_t node;
	uint64_t version;

	if (!l)
		l = mesh_guest(g, from);
	if (l) {
		l->eager = true;
		l->used_ns = g->now_ns;
	}
	outbox_begin(&o, from, REPLY_PACKETS_MAX, PACKET_REPLY);
	while (cursor_left(body) > 0 && o.packets > 1) {
		packet_get_mark(body, &node, &version);
		if (!cursor_ok(body))
			break;
		const struct space *s = space_find(g, node);
		if (s && s->version > version)
			reply(g, from, s, version, &o);
	}
	packet_send(g, &o.packet, from);
}

void
graft_fini(struct gossip *g)
{
	mem_free(g->wants);
}
