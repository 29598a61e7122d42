/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plumtree (Leitao, Pereira, Rodrigues 2007) over the links of mesh.c. A change goes as a whole
 * over eager links and as an announcement (IHAVE) over lazy ones. Whoever gets a change twice says
 * PRUNE, and that link is lazy from then on, on both sides: what remains eager is a tree. What is
 * announced and does not come in time is asked for by GRAFT (graft.c), which makes the link eager
 * again: so the tree heals around a crash or a loss. An announcement is a version of a namespace:
 * it stands for all changes up to it.
 *
 * A change leaves at once when its link was idle for a batch interval, else with the others at the
 * end of it: one change crosses the cell without delay, a thousand share packets. Announcements
 * wait two intervals, for the tree to be first.
 */
#include "scheduler/gossip/cast.h"

#include <string.h>
#include "scheduler/gossip/graft.h"
#include "scheduler/gossip/life.h"
#include "scheduler/gossip/member.h"
#include "scheduler/gossip/mesh.h"
#include "scheduler/gossip/outbox.h"
#include "scheduler/gossip/pending.h"
#include "scheduler/gossip/space.h"
#include "scheduler/gossip/trail.h"

enum {
	PACKETS_MAX = 16, /* to one link at a time */
	PACKETS_STEP_MAX = 96,
	MARKS_MAX = 96, /* of one packet */
	AGES_IN_MS = 10,
	LAZY_BATCHES = 2,
};

static const uint64_t prune_again_ns = 100 * CORE_MS;

static uint64_t
batch_ns(const struct gossip *g)
{
	return g->config.batch_ms * CORE_MS;
}

/* ---- coming in ---- */

static void
note_age(struct gossip *g, const struct change *c)
{
	size_t i = 0;

	if (c->age == TRAIL_AGE_UNKNOWN)
		return;
	while (i < GOSSIP_AGE_BOUNDS && c->age > gossip_age_bounds_ms[i] * AGES_IN_MS)
		i++;
	g->counters.age[i]++;
	g->counters.age_sum_us += (uint64_t)c->age * TRAIL_AGE_NS / 1000;
}

void
cast_drain(struct gossip *g, size_t at)
{
	struct pending *p;

	while ((p = pending_take(g, g->ids[at], space_of(g, at)->version)) != NULL) {
		bool new = space_apply(g, at, &p->change) == SPACE_NEW;

		if (new)
			trail_add(g, &p->change, p->from);
		mem_free(p);
		if (!new)
			break;
	}
}

static enum space_result
take(struct gossip *g, uint32_t from, size_t at, const struct change *c)
{
	enum space_result r = space_apply(g, at, c);

	switch (r) {
	case SPACE_NEW:
		note_age(g, c);
		trail_add(g, c, from);
		cast_drain(g, at);
		break;
	case SPACE_GAP:
		g->counters.gaps++;
		pending_add(g, c, from);
		graft_want(g, from, at, c->version);
		break;
	case SPACE_OLD:
		g->counters.duplicates++;
		break;
	case SPACE_REFUSED:
		break;
	}
	return r;
}

static void
prune(struct gossip *g, uint32_t from)
{
	struct link *l = mesh_link(g, from);
	struct packet p;

	if (l && !l->eager && g->now_ns - l->pruned_ns < prune_again_ns)
		return;
	if (l) {
		l->eager = false;
		l->pruned_ns = g->now_ns;
	}
	packet_begin(&p);
	packet_open(g, &p, GOSSIP_PRUNE, 0);
	packet_send(g, &p, from);
	if (l && l->guest)
		mesh_unlink(g, l);
}

/* One more way through the network. */
static void
age(const struct gossip *g, struct change *c)
{
	c->age = trail_aged(c->age, g->rtt_ns / 2);
}

void
cast_changes(struct gossip *g, uint32_t from, struct cursor *body, bool reply)
{
	size_t fresh = 0, old = 0;
	struct change c;

	while (cursor_left(body) > 0) {
		packet_get_change(body, &c);
		if (!cursor_ok(body))
			return;
		long at = member_find(g, c.node);
		if (at < 0) {
			g->counters.strangers++;
			continue;
		}
		if ((size_t)at == g->self_at) {
			if (c.version > space_of(g, g->self_at)->version)
				life_outgrow(g, c.version);
			else
				old++;
			continue;
		}
		age(g, &c);
		if (take(g, from, (size_t)at, &c) == SPACE_OLD)
			old++;
		else
			fresh++;
	}
	if (old > 0 && fresh == 0 && !reply)
		prune(g, from);
}

void
cast_ihave(struct gossip *g, uint32_t from, struct cursor *body)
{
	uint32_t node;
	uint64_t version;

	while (cursor_left(body) > 0) {
		packet_get_mark(body, &node, &version);
		if (!cursor_ok(body))
			return;
		long at = member_find(g, node);
		if (at < 0)
			g->counters.strangers++;
		else if ((size_t)at != g->self_at)
			graft_want(g, from, (size_t)at, version);
		else if (version > space_of(g, g->self_at)->version)
			life_outgrow(g, version);
	}
}

void
cast_prune(struct gossip *g, uint32_t from)
{
	struct link *l = mesh_link(g, from);

	if (!l)
		return;
	l->eager = false;
	l->pruned_ns = g->now_ns;
	if (l->guest)
		mesh_unlink(g, l);
}

/* ---- going out ---- */

struct marks {
	size_t count;
	uint32_t node[MARKS_MAX];
	uint64_t version[MARKS_MAX];
};

static bool
marks_add(struct marks *m, const struct logged *l)
{
	for (size_t i = 0; i < m->count; i++) {
		if (m->node[i] != l->node)
			continue;
		if (m->version[i] < l->version)
			m->version[i] = l->version;
		return true;
	}
	if (m->count == MARKS_MAX)
		return false;
	m->node[m->count] = l->node;
	m->version[m->count++] = l->version;
	return true;
}

static void
marks_send(struct gossip *g, struct outbox *o, const struct marks *m)
{
	bool open = false;

	for (size_t i = 0; i < m->count; i++) {
		if (!packet_fits(&o->packet, PACKET_MARK_BYTES)) {
			packet_send(g, &o->packet, o->to);
			open = false;
		}
		if (!open)
			packet_open(g, &o->packet, GOSSIP_IHAVE, 0);
		open = true;
		packet_mark(&o->packet, m->node[i], m->version[i]);
	}
}

static bool
pass_on(struct gossip *g, const struct link *l, const struct logged *e, struct outbox *o,
	struct marks *m)
{
	struct change c;

	if (e->from == l->node || e->node == l->node)
		return true;
	if (!l->eager || e->op == CHANGE_NOTE)
		return marks_add(m, e);
	trail_change(g, e, &c);
	return outbox_put(g, o, &c);
}

/* Gives how many packets it took. */
static unsigned
flush(struct gossip *g, struct link *l, unsigned packets)
{
	struct marks m = {.count = 0};
	struct outbox o;

	outbox_begin(&o, l->node, packets, 0);
	while (l->cursor < g->log_next && pass_on(g, l, trail_at(g, l->cursor), &o, &m))
		l->cursor++;
	marks_send(g, &o, &m);
	if (o.packet.bytes > PACKET_HEAD)
		l->next_ns = g->now_ns + batch_ns(g);
	packet_send(g, &o.packet, l->node);
	return packets - o.packets + 1;
}

static uint64_t
flush_due(const struct gossip *g, const struct link *l)
{
	uint64_t cursor = l->cursor > g->log_first ? l->cursor : g->log_first;

	if (cursor == g->log_next)
		return CORE_NEVER;
	uint64_t settled = trail_at(g, cursor)->at_ns + LAZY_BATCHES * batch_ns(g);
	return l->eager || l->next_ns > settled ? l->next_ns : settled;
}

void
cast_flush(struct gossip *g)
{
	unsigned left = PACKETS_STEP_MAX;

	/* Who finds nothing left is due at once, in the next step. */
	for (size_t i = 0; i < g->links_count && left > 1; i++) {
		struct link *l = &g->links[i];

		if (l->cursor < g->log_first)
			l->cursor = g->log_first;
		if (g->now_ns >= flush_due(g, l))
			left -= flush(g, l, left < PACKETS_MAX ? left : PACKETS_MAX);
	}
	g->log_dated = g->log_next;
}

uint64_t
cast_due(const struct gossip *g)
{
	uint64_t due = CORE_NEVER;

	for (size_t i = 0; i < g->links_count; i++) {
		uint64_t at = flush_due(g, &g->links[i]);

		if (at < due)
			due = at;
	}
	return due;
}
