/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plumtree (Leitao, Pereira, Rodrigues 2007) over the links of mesh.c. A change goes as a whole
 * over eager links and as an announcement (IHAVE) over lazy ones. Whoever gets a change twice says
 * PRUNE, and that link is lazy from then on, on both sides: what remains eager is a tree. What is
 * announced and does not come in time is asked for by GRAFT, which makes the link eager again: so
 * the tree heals around a crash or a loss.
 *
 * Here an announcement is a version of a namespace, so that one stands for all changes up to it,
 * and a GRAFT says which version the asker has: it gets each change since, from the log or, when
 * nothing was dropped meanwhile, from the entries themselves. When neither can give that (GONE),
 * anti-entropy does.
 *
 * There is one log for all links, and each link has a place in it. So nothing is queued twice, and
 * a burst costs no more memory than the log. A change leaves at once when its link was idle for a
 * batch interval, else with the others at the end of it: one change crosses the cell without
 * delay, a thousand share packets. Announcements wait two intervals, for the tree to be first.
 */
#include "scheduler/gossip/cast.h"

#include <string.h>
#include "base/mutant.h"
#include "scheduler/gossip/life.h"
#include "scheduler/gossip/member.h"
#include "scheduler/gossip/mesh.h"
#include "scheduler/gossip/pending.h"
#include "scheduler/gossip/space.h"
#include "scheduler/gossip/sync.h"

enum {
	LOG_MIN = 16,
	WANTS_MIN = 16,
	PACKETS_MAX = 16, /* to one link at a time */
	PACKETS_STEP_MAX = 96,
	MARKS_MAX = 96, /* of one packet */
	REPLY_PACKETS_MAX = 8,
	TRIES_MAX = 3,
	AGE_UNKNOWN = UINT16_MAX,
	AGE_UNIT_NS = 100000,
	AGES_IN_MS = 10,
	LAZY_BATCHES = 2,
	RTTS_GRAFT = 2,
};

static const uint64_t graft_most_ns = 1000 * CORE_MS;
static const uint64_t prune_again_ns = 100 * CORE_MS;

const uint32_t gossip_age_bounds_ms[GOSSIP_AGE_BOUNDS] = {1,   2,   5,    10,   25,   50,   100,
							  250, 500, 1000, 2500, 5000, 10000};

static uint64_t
batch_ns(const struct gossip *g)
{
	return g->config.batch_ms * CORE_MS;
}

/* ---- the log ---- */

static struct logged *
log_at(const struct gossip *g, uint64_t index)
{
	return &g->log[index % g->log_capacity];
}

static bool
log_grow(struct gossip *g)
{
	size_t capacity = g->log_capacity ? g->log_capacity * 2 : LOG_MIN;
	struct logged *bigger = mem_array(MEM_SCHEDULER, capacity, sizeof(*bigger));

	if (!bigger) {
		g->counters.out_of_memory++;
		return false;
	}
	for (uint64_t i = g->log_first; i < g->log_next; i++)
		bigger[i % capacity] = *log_at(g, i);
	mem_free(g->log);
	g->log = bigger;
	g->log_capacity = capacity;
	return true;
}

void
cast_log(struct gossip *g, const struct change *c, uint32_t from)
{
	if (g->log_next - g->log_first == g->log_capacity) {
		/* An old one makes room when the log may not or cannot grow. */
		if (g->log_capacity < GOSSIP_LOG_MAX && log_grow(g))
			;
		else if (g->log_capacity > 0)
			g->log_first++;
		else
			return;
	}
	*log_at(g, g->log_next++) = (struct logged){
		.node = c->node,
		.from = from,
		.version = c->version,
		.id = c->id,
		.at_ns = g->now_ns,
		.type = c->type,
		.span = c->span,
		.age = c->age,
		.op = c->op,
	};
}

void
cast_date(struct gossip *g)
{
	for (; g->log_dated < g->log_next; g->log_dated++)
		if (g->log_dated >= g->log_first)
			log_at(g, g->log_dated)->at_ns = g->now_ns;
}

void
cast_note(struct gossip *g, size_t at, uint32_t from)
{
	struct change c = {
		.node = g->ids[at],
		.version = space_of(g, at)->version,
		.op = CHANGE_NOTE,
	};

	cast_log(g, &c, from);
}

/* ---- wants ---- */

static uint64_t
graft_ns(const struct gossip *g)
{
	uint64_t least = g->config.graft_ms * CORE_MS, slow = g->rtt_ns * RTTS_GRAFT;

	return least > slow ? least : slow < graft_most_ns ? slow : graft_most_ns;
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

static void
want(struct gossip *g, uint32_t from, size_t at, uint64_t version)
{
	struct space *s = space_make(g, at);

	if (!s || version <= s->version || version <= s->want)
		return;
	s->want = version;
	s->want_from = from;
	if (!s->wanted)
		s->wanted = wants_push(g, s->node, 0, g->now_ns + graft_ns(g));
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
graft(struct gossip *g, struct space *s)
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
	    !wants_push(g, w->node, w->tries + 1, g->now_ns + graft_ns(g) * 2)) {
		give_up(g, s);
		return;
	}
	graft(g, s);
}

void
cast_timer(struct gossip *g)
{
	while (g->wants_count > 0 && g->wants[g->wants_first].due_ns <= g->now_ns) {
		struct want w = g->wants[g->wants_first];

		g->wants_first = (g->wants_first + 1) % g->wants_capacity;
		g->wants_count--;
		want_due(g, &w);
	}
}

/* ---- coming in ---- */

static uint16_t
aged(uint16_t age, uint64_t by_ns)
{
	uint64_t sum = age + by_ns / AGE_UNIT_NS;

	if (age == AGE_UNKNOWN)
		return AGE_UNKNOWN;
	return sum < AGE_UNKNOWN ? (uint16_t)sum : AGE_UNKNOWN - 1;
}

static void
note_age(struct gossip *g, const struct change *c)
{
	size_t i = 0;

	if (c->age == AGE_UNKNOWN)
		return;
	while (i < GOSSIP_AGE_BOUNDS && c->age > gossip_age_bounds_ms[i] * AGES_IN_MS)
		i++;
	g->counters.age[i]++;
	g->counters.age_sum_us += (uint64_t)c->age * AGE_UNIT_NS / 1000;
}

void
cast_drain(struct gossip *g, size_t at)
{
	struct pending *p;

	while ((p = pending_take(g, g->ids[at], space_of(g, at)->version)) != NULL) {
		bool new = space_apply(g, at, &p->change) == SPACE_NEW;

		if (new)
			cast_log(g, &p->change, p->from);
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
		cast_log(g, c, from);
		cast_drain(g, at);
		break;
	case SPACE_GAP:
		g->counters.gaps++;
		pending_add(g, c, from);
		want(g, from, at, c->version);
		break;
	case SPACE_OLD:
		g->counters.duplicates++;
		break;
	case SPACE_REFUSED:
		break;
	}
	return r;
}

void
cast_apply(struct gossip *g, uint32_t from, size_t at, const struct change *c)
{
	take(g, from, at, c);
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
	c->age = aged(c->age, g->rtt_ns / 2);
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
			want(g, from, (size_t)at, version);
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

void
cast_gone(struct gossip *g, uint32_t from, struct cursor *body)
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

/* ---- going out ---- */

struct outbox {
	struct packet packet;
	uint32_t to;
	unsigned packets; /* that may still be sent */
	uint8_t flags;
	bool open;
};

static void
outbox_begin(struct outbox *o, uint32_t to, unsigned packets, uint8_t flags)
{
	packet_begin(&o->packet);
	o->to = to;
	o->packets = packets;
	o->flags = flags;
	o->open = false;
}

static bool
outbox_put(struct gossip *g, struct outbox *o, const struct change *c)
{
	if (!packet_fits(&o->packet, PACKET_CHANGE_BYTES + c->bytes)) {
		if (o->packets == 1)
			return false;
		o->packets--;
		packet_send(g, &o->packet, o->to);
		o->open = false;
	}
	if (!o->open)
		packet_open(g, &o->packet, GOSSIP_CHANGES, o->flags);
	o->open = true;
	packet_change(&o->packet, c);
	return true;
}

/* As it is sent now: what was overwritten since is not sent, only that it was there. */
static void
restore(const struct gossip *g, const struct logged *l, struct change *out)
{
	const struct space *s = space_find(g, l->node);
	const struct entry *e = s ? space_entry(s, l->type, l->id) : NULL;

	*out = (struct change){
		.node = l->node,
		.version = l->version,
		.type = l->type,
		.id = l->id,
		.span = l->span,
		.age = aged(l->age, g->now_ns - l->at_ns),
		.op = l->op,
	};
	if (l->op != CHANGE_PUT)
		return;
	if (!e || gossip_version(gossip_version_birth(s->version), e->sequence) != l->version) {
		out->op = CHANGE_VOID;
		return;
	}
	out->bytes = e->bytes;
	out->value = e->value;
}

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
	restore(g, e, &c);
	return outbox_put(g, o, &c);
}

/* Gives how many packets it took. */
static unsigned
flush(struct gossip *g, struct link *l, unsigned packets)
{
	struct marks m = {.count = 0};
	struct outbox o;

	outbox_begin(&o, l->node, packets, 0);
	while (l->cursor < g->log_next && pass_on(g, l, log_at(g, l->cursor), &o, &m))
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
	uint64_t settled = log_at(g, cursor)->at_ns + LAZY_BATCHES * batch_ns(g);
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
	uint64_t due = g->wants_count ? g->wants[g->wants_first].due_ns : CORE_NEVER;

	for (size_t i = 0; i < g->links_count; i++) {
		uint64_t at = flush_due(g, &g->links[i]);

		if (at < due)
			due = at;
	}
	return due;
}

/* ---- answering grafts ---- */

/* Each change since, as it was logged; false when the log does not reach back so far. */
static bool
reply_log(struct gossip *g, const struct space *s, uint64_t version, struct outbox *o)
{
	struct change c;

	for (uint64_t i = g->log_first; i < g->log_next && version < s->version; i++) {
		const struct logged *l = log_at(g, i);

		if (l->node != s->node || l->op == CHANGE_NOTE || l->version <= version ||
		    l->version - l->span > version)
			continue;
		restore(g, l, &c);
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
	struct change c = {.node = s->node, .version = s->version, .age = AGE_UNKNOWN};
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
cast_graft(struct gossip *g, uint32_t from, struct cursor *body)
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
cast_fini(struct gossip *g)
{
	mem_free(g->log);
	mem_free(g->wants);
}
