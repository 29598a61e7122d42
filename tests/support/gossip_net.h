/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_GOSSIP_NET_H
#define TESTS_SUPPORT_GOSSIP_NET_H

/*
 * A few dozen gossip cores on a fake clock, network and disk, for their own tests: datagrams with
 * latency and loss, streams that lose nothing, partitions, stalls, crashes and restarts. A seed is
 * a run. Node i has the id i + 1. Checks on the way: what a write must come before waits for it,
 * one write is out per stream, an incarnation never goes back.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "scheduler/gossip/gossip.h"
#include "tests/support/prop.h"

#define NET_MS UINT64_C(1000000)
#define NET_S (1000 * NET_MS)

enum { NET_FILE = 7, NET_TOLD_MAX = 64, NET_CONNS_MAX = 4096 };

struct net_event {
	uint64_t at;
	uint64_t order;
	struct step_input in;
	size_t node;
	uint32_t life;
	int conn; /* -1: none */
};

struct net_node {
	struct gossip *g;
	uint32_t id;
	uint32_t life; /* counts starts; events of a former life are dropped */
	unsigned side; /* partitions: only equal sides hear each other */
	uint64_t timer;
	uint64_t stalled_until;
	uint8_t file[64];
	size_t file_bytes;
	uint8_t writing[64];
	size_t writing_bytes;
	uint64_t durable; /* token */
	struct step_action held[64];
	uint8_t held_data[64][STEP_DATAGRAM_MAX];
	size_t held_count;
	uint32_t next_stream;
	uint32_t incarnation; /* greatest ever said */
	unsigned told[8];     /* tells, by kind */
	unsigned deaths_told; /* of others */
	bool left;
	uint64_t sent, sent_bytes, steps;
};

struct net_conn {
	size_t node[2];
	uint32_t name[2];
	uint32_t life[2];
	bool open;
};

struct net {
	struct net_node *nodes;
	size_t count;
	uint64_t now;
	uint64_t order;
	struct net_event *heap;
	size_t heap_count, heap_capacity;
	struct net_conn conns[NET_CONNS_MAX];
	size_t conns_next;
	struct prop random;
	unsigned loss; /* of datagrams, in thousandths */
	uint64_t latency_least, latency_spread;
	uint64_t disk;
	bool disk_fails;
	bool streams_fail;
	size_t dials_from; /* no stream can be opened to nodes from this one on; 0: to all */
	struct gossip_config config;
	void (*on_tell)(struct net *n, size_t node, const struct step_action *a, const void *data);
	void *arg;
	struct step_actions *out;
};

static inline bool
net_before(const struct net_event *a, const struct net_event *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static inline void
net_push(struct net *n, struct net_event e)
{
	if (n->heap_count == n->heap_capacity) {
		n->heap_capacity = n->heap_capacity ? n->heap_capacity * 2 : 1024;
		n->heap = realloc(n->heap, n->heap_capacity * sizeof(*n->heap));
		prop_check(n->heap);
	}
	size_t i = n->heap_count++;
	e.order = n->order++;
	for (; i > 0 && net_before(&e, &n->heap[(i - 1) / 2]); i = (i - 1) / 2)
		n->heap[i] = n->heap[(i - 1) / 2];
	n->heap[i] = e;
}

static inline struct net_event
net_pop(struct net *n)
{
	struct net_event top = n->heap[0], last = n->heap[--n->heap_count];
	size_t i = 0;

	while (2 * i + 1 < n->heap_count) {
		size_t child = 2 * i + 1;

		if (child + 1 < n->heap_count && net_before(&n->heap[child + 1], &n->heap[child]))
			child++;
		if (!net_before(&n->heap[child], &last))
			break;
		n->heap[i] = n->heap[child];
		i = child;
	}
	n->heap[i] = last;
	return top;
}

static inline void
net_later(struct net *n, uint64_t delay, size_t node, struct step_input in, const void *data,
	  int conn)
{
	struct net_event e = {
		.at = n->now + delay,
		.in = in,
		.node = node,
		.life = n->nodes[node].life,
		.conn = conn,
	};

	e.in.data = NULL;
	if (in.bytes > 0) {
		void *copy = malloc(in.bytes);

		prop_check(copy);
		memcpy(copy, data, in.bytes);
		e.in.data = copy;
	}
	net_push(n, e);
}

static inline uint64_t
net_latency(struct net *n)
{
	return n->latency_least + prop_below(&n->random, n->latency_spread + 1);
}

static inline bool
net_reach(const struct net *n, size_t a, size_t b)
{
	return n->nodes[a].g && n->nodes[b].g && n->nodes[a].side == n->nodes[b].side;
}

static inline void
net_send(struct net *n, size_t from, const struct step_action *a, const void *data)
{
	size_t to = a->node - 1;

	prop_check(a->node > 0 && to < n->count && to != from);
	n->nodes[from].sent++;
	n->nodes[from].sent_bytes += a->bytes;
	if (!net_reach(n, from, to) || prop_below(&n->random, 1000) < n->loss)
		return;
	net_later(n, net_latency(n), to,
		  (struct step_input){
			  .kind = STEP_DATAGRAM,
			  .node = (uint32_t)from + 1,
			  .bytes = a->bytes,
		  },
		  data, -1);
}

static inline struct step_input
net_stream_input(const struct net_conn *c, unsigned side, enum step_input_kind kind)
{
	return (struct step_input){
		.kind = kind,
		.node = (uint32_t)c->node[!side] + 1,
		.stream = c->name[side],
	};
}

/* Streams have one latency, so that order is kept. */
static inline void
net_stream(struct net *n, int conn, unsigned side, enum step_input_kind kind, unsigned latencies,
	   const void *data, size_t bytes)
{
	struct net_conn *c = &n->conns[conn];
	struct step_input in = net_stream_input(c, side, kind);

	in.bytes = bytes;
	if (n->nodes[c->node[side]].life != c->life[side] || !n->nodes[c->node[side]].g)
		return;
	net_later(n, n->latency_least * latencies, c->node[side], in, data, conn);
}

static inline void
net_open(struct net *n, size_t from, const struct step_action *a)
{
	int conn = (int)(n->conns_next++ % NET_CONNS_MAX);
	size_t to = a->node - 1;
	struct net_conn *c = &n->conns[conn];

	*c = (struct net_conn){
		.node = {from, to},
		.name = {a->stream, ++n->nodes[to].next_stream},
		.life = {n->nodes[from].life, n->nodes[to].life},
		.open = !n->streams_fail && net_reach(n, from, to),
	};
	prop_check(a->stream & STEP_STREAM_OURS);
	prop_check(!n->dials_from || to < n->dials_from); /* it knows */
	if (!c->open) {
		net_stream(n, conn, 0, STEP_STREAM_DOWN, 50, NULL, 0);
		return;
	}
	net_stream(n, conn, 1, STEP_STREAM_UP, 1, NULL, 0);
	net_stream(n, conn, 0, STEP_STREAM_UP, 2, NULL, 0);
}

static inline int
net_conn(const struct net *n, size_t node, uint32_t stream, unsigned *side)
{
	for (int i = 0; i < NET_CONNS_MAX; i++)
		for (*side = 0; *side < 2; ++*side)
			if (n->conns[i].open && n->conns[i].node[*side] == node &&
			    n->conns[i].life[*side] == n->nodes[node].life &&
			    n->conns[i].name[*side] == stream)
				return i;
	return -1;
}

static inline void
net_write(struct net *n, size_t from, const struct step_action *a, const uint8_t *data)
{
	unsigned side;
	int conn = net_conn(n, from, a->stream, &side);
	size_t at = 0;

	prop_check(a->bytes <= STEP_WRITE_MAX && a->after == 0);
	if (conn < 0)
		return; /* it went down at the same time */
	if (!net_reach(n, from, n->conns[conn].node[!side])) {
		n->conns[conn].open = false;
		net_stream(n, conn, 0, STEP_STREAM_DOWN, 20, NULL, 0);
		net_stream(n, conn, 1, STEP_STREAM_DOWN, 20, NULL, 0);
		return;
	}
	while (at < a->bytes) { /* any split */
		size_t piece = 1 + prop_below(&n->random, 20000);

		if (piece > a->bytes - at)
			piece = a->bytes - at;
		net_stream(n, conn, !side, STEP_STREAM_DATA, 1, data + at, piece);
		at += piece;
	}
	net_stream(n, conn, side, STEP_STREAM_ROOM, 1, NULL, 0);
}

static inline void
net_close(struct net *n, size_t from, const struct step_action *a)
{
	unsigned side;
	int conn = net_conn(n, from, a->stream, &side);

	if (conn < 0)
		return;
	n->conns[conn].open = false;
	net_stream(n, conn, !side, STEP_STREAM_DOWN, 1, NULL, 0);
	net_stream(n, conn, side, STEP_STREAM_DOWN, 1, NULL, 0);
}

static inline void
net_replace(struct net *n, size_t node, const struct step_action *a, const void *data)
{
	struct net_node *m = &n->nodes[node];

	prop_check(a->token != 0 && a->bytes <= sizeof(m->writing) && a->what == NET_FILE);
	memcpy(m->writing, data, a->bytes);
	m->writing_bytes = a->bytes;
	net_later(n, n->disk, node,
		  (struct step_input){
			  .kind = STEP_DISK_DONE,
			  .token = a->token,
			  .status = n->disk_fails ? 1 : 0,
		  },
		  NULL, -1);
}

static inline void
net_tell(struct net *n, size_t node, const struct step_action *a, const uint8_t *data)
{
	struct net_node *m = &n->nodes[node];
	struct gossip_tell_member member;

	prop_check(a->what > 0 && a->what < 8);
	m->told[a->what]++;
	if (a->what == GOSSIP_MEMBER) {
		prop_check(a->bytes == sizeof(member));
		memcpy(&member, data, sizeof(member));
		if (member.state == GOSSIP_DEAD && member.node != m->id)
			m->deaths_told++;
	}
	if (a->what == GOSSIP_LEAVING)
		m->left = true;
	if (n->on_tell)
		n->on_tell(n, node, a, data);
}

static inline void
net_act(struct net *n, size_t node, const struct step_action *a, const uint8_t *data)
{
	struct net_node *m = &n->nodes[node];

	if (a->after > m->durable) {
		prop_check(a->kind == STEP_SEND && m->held_count < 64);
		m->held[m->held_count] = *a;
		memcpy(m->held_data[m->held_count++], data, a->bytes);
		return;
	}
	switch (a->kind) {
	case STEP_SEND:
		net_send(n, node, a, data);
		break;
	case STEP_STREAM_OPEN:
		net_open(n, node, a);
		break;
	case STEP_STREAM_WRITE:
		net_write(n, node, a, data);
		break;
	case STEP_STREAM_CLOSE:
		net_close(n, node, a);
		break;
	case STEP_SET_TIMER:
		m->timer = a->at_ns;
		if (a->at_ns != UINT64_MAX)
			net_later(n, a->at_ns > n->now ? a->at_ns - n->now : 0, node,
				  (struct step_input){.kind = STEP_TIMER, .token = a->at_ns}, NULL,
				  -1);
		break;
	case STEP_REPLACE:
		net_replace(n, node, a, data);
		break;
	case STEP_TELL:
		net_tell(n, node, a, data);
		break;
	case STEP_APPEND:
		prop_check(false);
	}
}

static inline void
net_step(struct net *n, size_t node, struct step_input in)
{
	struct net_node *m = &n->nodes[node];
	struct gossip_member self;

	in.now_ns = n->now;
	do {
		step_actions_clear(n->out);
		gossip_step(m->g, &in, n->out);
		m->steps++;
		/* The list is shared: nothing below steps another core. */
		for (size_t i = 0; i < n->out->count; i++)
			net_act(n, node, &n->out->items[i], n->out->data + n->out->items[i].offset);
		in = (struct step_input){.kind = STEP_MORE, .now_ns = n->now};
	} while (n->out->more);
	gossip_member(m->g, m->id, &self);
	prop_check(self.incarnation == 0 || self.incarnation >= m->incarnation);
	if (self.incarnation > 0)
		m->incarnation = self.incarnation;
}

static inline void
net_local(struct net *n, size_t node)
{
	net_step(n, node, (struct step_input){.kind = STEP_LOCAL});
}

static inline void
net_start(struct net *n, size_t node)
{
	struct net_node *m = &n->nodes[node];
	struct gossip_config c = n->config;

	prop_check(!m->g);
	c.self = m->id;
	c.seed = prop_u64(&n->random);
	c.file = NET_FILE;
	prop_check(gossip_new(&c, &m->g) == 0);
	m->life++;
	m->durable = 0;
	m->held_count = 0;
	m->left = false;
	for (size_t i = 0; i < n->count; i++)
		if (i != node)
			prop_check(gossip_roster_add(m->g, n->nodes[i].id) == GOSSIP_OK);
	for (size_t i = n->dials_from; n->dials_from && i < n->count; i++)
		if (i != node)
			prop_check(gossip_roster_dials(m->g, n->nodes[i].id, true) == GOSSIP_OK);
	if (m->file_bytes > 0)
		net_step(n, node,
			 (struct step_input){
				 .kind = STEP_FILE,
				 .what = NET_FILE,
				 .data = m->file,
				 .bytes = m->file_bytes,
			 });
}

/* After net_start, and what is put before it begins. */
static inline void
net_begin(struct net *n, size_t node)
{
	net_step(n, node, (struct step_input){.kind = STEP_START});
}

static inline void
net_crash(struct net *n, size_t node)
{
	struct net_node *m = &n->nodes[node];

	gossip_free(m->g);
	m->g = NULL;
	m->life++;
	for (size_t i = 0; i < NET_CONNS_MAX; i++)
		for (unsigned side = 0; side < 2; side++)
			if (n->conns[i].open && n->conns[i].node[side] == node) {
				n->conns[i].open = false;
				net_stream(n, (int)i, !side, STEP_STREAM_DOWN, 5, NULL, 0);
			}
}

static inline void
net_init(struct net *n, size_t count, uint64_t seed)
{
	memset(n, 0, sizeof(*n));
	n->count = count;
	n->now = 1000 * NET_S;
	n->random.state = seed;
	n->latency_least = NET_MS / 2;
	n->latency_spread = NET_MS / 4;
	n->disk = 3 * NET_MS;
	n->nodes = calloc(count, sizeof(*n->nodes));
	n->out = malloc(sizeof(*n->out));
	prop_check(n->nodes && n->out);
	for (size_t i = 0; i < count; i++)
		n->nodes[i].id = (uint32_t)i + 1;
}

static inline void
net_init_started(struct net *n, size_t count, uint64_t seed)
{
	net_init(n, count, seed);
	for (size_t i = 0; i < count; i++) {
		net_start(n, i);
		net_begin(n, i);
	}
}

static inline void
net_fini(struct net *n)
{
	for (size_t i = 0; i < n->count; i++)
		gossip_free(n->nodes[i].g);
	while (n->heap_count > 0)
		free((void *)(uintptr_t)net_pop(n).in.data);
	free(n->heap);
	free(n->nodes);
	free(n->out);
}

static inline void
net_deliver(struct net *n, const struct net_event *e)
{
	struct net_node *m = &n->nodes[e->node];

	if (!m->g || m->life != e->life)
		return;
	if (e->in.kind == STEP_TIMER) {
		if (m->timer != e->in.token)
			return; /* replaced */
		m->timer = UINT64_MAX;
	}
	if (e->in.kind == STEP_DISK_DONE && e->in.status == 0) {
		memcpy(m->file, m->writing, m->writing_bytes);
		m->file_bytes = m->writing_bytes;
		m->durable = e->in.token;
		size_t held = m->held_count;

		m->held_count = 0;
		for (size_t i = 0; i < held; i++)
			if (m->held[i].after <= m->durable)
				net_act(n, e->node, &m->held[i], m->held_data[i]);
	}
	net_step(n, e->node, e->in);
}

/* One event; a stalled node gets what waited for it when it goes on, its timer last. */
static inline void
net_one(struct net *n)
{
	struct net_event e = net_pop(n);
	struct net_node *m = &n->nodes[e.node];

	n->now = e.at > n->now ? e.at : n->now;
	if (m->g && m->life == e.life && n->now < m->stalled_until) {
		e.at = m->stalled_until + (e.in.kind == STEP_TIMER);
		net_push(n, e);
		return;
	}
	net_deliver(n, &e);
	free((void *)(uintptr_t)e.in.data);
}

static inline void
net_run(struct net *n, uint64_t ns)
{
	uint64_t end = n->now + ns;

	while (n->heap_count > 0 && n->heap[0].at <= end)
		net_one(n);
	n->now = end;
}

static inline size_t
net_live(const struct net *n)
{
	size_t live = 0;

	for (size_t i = 0; i < n->count; i++)
		live += n->nodes[i].g != NULL;
	return live;
}

/* Whether all that run hold the same, and hold each other alive. */
static inline bool
net_equal(const struct net *n)
{
	uint64_t digest = 0;
	bool first = true;
	size_t live = net_live(n);

	for (size_t i = 0; i < n->count; i++) {
		const struct gossip *g = n->nodes[i].g;

		if (!g)
			continue;
		if (gossip_members_live(g) != live || (!first && gossip_digest(g) != digest))
			return false;
		digest = gossip_digest(g);
		first = false;
	}
	return true;
}

/* Runs until all are equal; gives the time that took, or UINT64_MAX. */
static inline uint64_t
net_settle(struct net *n, uint64_t most_ns)
{
	uint64_t from = n->now;

	while (n->now - from <= most_ns) {
		if (net_equal(n))
			return n->now - from;
		net_run(n, 10 * NET_MS);
	}
	return UINT64_MAX;
}

/* How many of those that run hold `node` in that state. */
static inline size_t
net_holding(const struct net *n, size_t node, enum gossip_state state)
{
	struct gossip_member m;
	size_t holding = 0;

	for (size_t i = 0; i < n->count; i++)
		if (n->nodes[i].g && gossip_member(n->nodes[i].g, n->nodes[node].id, &m))
			holding += m.state == state;
	return holding;
}

/* How many of those that run have that entry with that value. */
static inline size_t
net_having(const struct net *n, size_t owner, uint16_t type, uint64_t id, const char *value)
{
	struct gossip_entry e;
	size_t having = 0;

	for (size_t i = 0; i < n->count; i++)
		if (n->nodes[i].g && gossip_get(n->nodes[i].g, n->nodes[owner].id, type, id, &e))
			having += e.bytes == strlen(value) && memcmp(e.value, value, e.bytes) == 0;
	return having;
}

static inline void
net_put(struct net *n, size_t node, uint16_t type, uint64_t id, const char *value)
{
	prop_check(gossip_put(n->nodes[node].g, type, id, value, strlen(value)) == GOSSIP_OK);
	net_local(n, node);
}

#endif
