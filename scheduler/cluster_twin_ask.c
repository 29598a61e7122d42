/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking who is there, and saying who this node is: channels of kind WHO (twin.h), one message each
 * way, both sides with a time-out. What follows from an answer is cluster_twin.c's.
 */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/mem.h"
#include "base/world.h"
#include "scheduler/channel_head.h"

enum {
	ASK_MS = 2000,    /* one question */
	HEARD_MS = 30000, /* a node that was silent for longer is nowhere */
	ASKS_MAX = 32,    /* of this node, and of others */
	SESSION_MS_BITS = 20,
};

#define MS_NS UINT64_C(1000000)
/* A session is mostly its time: one further away is nobody's. */
#define AHEAD_MAX ((UINT64_C(2) * 366 * 86400 * 1000) << SESSION_MS_BITS)

/* A question under way. */
struct twin_ask {
	struct list link;
	struct cluster *c;
	struct channel *channel;
	uint32_t node; /* who is to answer */
	struct addr at;
	struct twin_message say;
	uint64_t session; /* of a hint that was got: the newer one; 0 */
	struct channel_head head;
};

/* ---- questions ---- */

static void
ask_free(struct twin_ask *a)
{
	list_remove(&a->link);
	a->c->twin.asks_count--;
	channel_abort(a->channel);
	mem_free(a);
}

static void
take_answer(struct twin_ask *a, const struct twin_message *m)
{
	struct cluster *c = a->c;

	if (m->node != c->keep.node) {
		/* There it was heard: whoever is there is asked itself. */
		if (c->twin.held && !c->twin.found && m->address.port)
			cluster_twin_ask(c, c->keep.node, &m->address, TWIN_ASK, 0, NULL);
		return;
	}
	if (m->born == c->twin.here.born) {
		if (a->session)
			cluster_twin_outgrow(c, a->session);
		return;
	}
	if (c->twin.held || m->born < c->twin.here.born) {
		cluster_twin_step_back(c, &a->at);
		return;
	}
	cluster_twin_note(c, &a->at);
	cluster_twin_outgrow(c, a->session > m->session ? a->session : m->session);
}

static void
ask_up(void *arg, struct channel *channel)
{
	struct twin_ask *a = arg;
	uint8_t bytes[TWIN_BYTES];

	twin_encode(&a->say, bytes);
	if (!channel_write(channel, bytes, sizeof(bytes)))
		return; /* `down` has come */
	if (a->say.kind != TWIN_HINT)
		return;
	a->channel = NULL;
	channel_close(channel);
	ask_free(a);
}

static void
ask_data(void *arg, struct channel *channel, const void *data, size_t bytes)
{
	struct twin_ask *a = arg;
	struct twin_message m;
	const uint8_t *at = data;

	(void)channel;
	if (!channel_head_take(&a->head, &at, &bytes))
		return;
	if (twin_decode(a->head.data, a->head.bytes, &m) && m.kind == TWIN_SAY && m.node == a->node)
		take_answer(a, &m);
	ask_free(a);
}

/* Nobody is there, or he does not say. */
static void
unanswered(struct twin_ask *a)
{
	if (a->session)
		cluster_twin_outgrow(a->c, a->session);
}

static void
nothing(void *arg, struct channel *channel)
{
	(void)arg, (void)channel;
}

static void
ask_down(void *arg, struct channel *channel, const struct err *why)
{
	struct twin_ask *a = arg;

	(void)channel, (void)why;
	a->channel = NULL;
	unanswered(a);
	ask_free(a);
}

static bool
is_asked(const struct cluster *c, uint32_t node, const struct addr *at)
{
	for (struct list *it = c->twin.asks.next; it != &c->twin.asks; it = it->next) {
		const struct twin_ask *a = container_of(it, struct twin_ask, link);

		if (a->node == node && addr_equal(&a->at, at))
			return true;
	}
	return false;
}

/* session: of a hint that was got, or that is given; other: where that one is. */
void
cluster_twin_ask(struct cluster *c, uint32_t node, const struct addr *at, enum twin_kind kind,
		 uint64_t session, const struct addr *other)
{
	static const struct channel_calls calls = {ask_up, ask_data, nothing, ask_down};
	struct err err = {0};
	struct twin_ask *a = NULL;

	if (c->rules && at->port && c->twin.asks_count < ASKS_MAX && !is_asked(c, node, at))
		a = mem_zalloc(MEM_SCHEDULER, sizeof(*a));
	if (!a)
		return; /* it is tried again */
	a->c = c;
	a->node = node;
	a->at = *at;
	a->session = kind == TWIN_ASK ? session : 0;
	channel_head_init(&a->head, TWIN_BYTES, world_mono_ns() + ASK_MS * MS_NS);
	a->say = (struct twin_message){
		.kind = kind,
		.flags = c->twin.held ? TWIN_HOLDS : 0,
		.node = c->keep.node,
		.born = c->twin.here.born,
		.session = kind == TWIN_HINT ? session
			   : c->has_self     ? c->self.session
					     : 1,
	};
	if (other)
		a->say.address = *other;
	else
		a->say.address.port = c->listen.addr.port;
	list_init(&a->link);
	list_push(&c->twin.asks, &a->link);
	c->twin.asks_count++;
	if (channel_connect(station_loop(c->st), c->rules, at, node, CHANNEL_WHO, &calls, a,
			    &a->channel, &err) < 0)
		ask_free(a);
}

/* ---- answers ---- */

struct twin_guest {
	struct list link;
	struct cluster *c;
	struct channel *channel;
	struct channel_head head;
};

static void
guest_free(struct twin_guest *g)
{
	list_remove(&g->link);
	g->c->twin.guests_count--;
	channel_abort(g->channel);
	mem_free(g);
}

static bool
is_likely(uint64_t session)
{
	uint64_t now = (uint64_t)(world_wall_ns() / (int64_t)MS_NS) << SESSION_MS_BITS;

	return session < now + AHEAD_MAX;
}

/* This node shows its own certificate from elsewhere. */
static void
hear_twin(struct cluster *c, const struct addr *from, const struct twin_message *m)
{
	if (m->born == c->twin.here.born)
		return; /* itself */
	if (!(m->flags & TWIN_HOLDS) && m->born < c->twin.here.born) {
		struct addr at = *from;

		at.port = m->address.port ? m->address.port : c->listen.addr.port;
		cluster_twin_step_back(c, &at);
		return;
	}
	cluster_twin_note(c, from);
	if (!(m->flags & TWIN_HOLDS) && is_likely(m->session))
		cluster_twin_outgrow(c, m->session);
}

static void
answer(struct twin_guest *g, const struct twin_message *m)
{
	struct cluster *c = g->c;
	struct channel *channel = g->channel;
	const struct addr from = *channel_address(channel);
	uint64_t heard_ns = shell_peer_heard_ns(c->shell, m->node);
	struct twin_message say = {
		.kind = TWIN_SAY,
		.node = c->keep.node,
		.born = c->twin.here.born,
		.session = c->self.session,
	};
	uint8_t bytes[TWIN_BYTES];

	if (heard_ns && world_mono_ns() - heard_ns < HEARD_MS * MS_NS)
		(void)shell_peer_address(c->shell, m->node, &say.address);
	twin_encode(&say, bytes);
	g->channel = NULL;
	guest_free(g);
	channel_give(channel, &cluster_callback_deaf, NULL);
	if (channel_write(channel, bytes, sizeof(bytes)))
		channel_close(channel);
	if (m->node == c->keep.node)
		hear_twin(c, &from, m);
}

static void
guest_data(void *arg, struct channel *channel, const void *data, size_t bytes)
{
	struct twin_guest *g = arg;
	struct cluster *c = g->c;
	struct twin_message m;
	const uint8_t *at = data;

	if (!channel_head_take(&g->head, &at, &bytes))
		return;
	if (!twin_decode(g->head.data, g->head.bytes, &m) ||
	    m.node != channel_peer(channel)->node || m.kind == TWIN_SAY) {
		guest_free(g);
		return;
	}
	if (m.kind == TWIN_ASK) {
		answer(g, &m);
		return;
	}
	guest_free(g);
	if (c->has_self && m.session > c->self.session && is_likely(m.session))
		cluster_twin_ask(c, c->keep.node, &m.address, TWIN_ASK, m.session, NULL);
}

static void
guest_down(void *arg, struct channel *channel, const struct err *why)
{
	struct twin_guest *g = arg;

	(void)channel, (void)why;
	g->channel = NULL;
	guest_free(g);
}

void
cluster_twin_channel(void *arg, struct channel *channel)
{
	static const struct channel_calls calls = {nothing, guest_data, nothing, guest_down};
	struct cluster *c = arg;
	struct twin_guest *g = c->m && c->twin.guests_count < ASKS_MAX
				       ? mem_zalloc(MEM_SCHEDULER, sizeof(*g))
				       : NULL;

	if (!g) {
		channel_abort(channel);
		return;
	}
	g->c = c;
	g->channel = channel;
	channel_head_init(&g->head, TWIN_BYTES, world_mono_ns() + ASK_MS * MS_NS);
	list_init(&g->link);
	list_push(&c->twin.guests, &g->link);
	c->twin.guests_count++;
	channel_give(channel, &calls, g);
}

void
cluster_twin_older(void *arg, uint32_t node, const struct addr *from, uint64_t newest,
		   const struct addr *newest_from)
{
	struct cluster *c = arg;

	if (c->m && !c->twin.held && cluster_has(c, node))
		cluster_twin_ask(c, node, from, TWIN_HINT, newest, newest_from);
}

/* ---- ends ---- */

void
cluster_twin_ask_late(struct cluster *c, uint64_t now_ns)
{
	struct list *it, *next;

	list_each (it, next, &c->twin.asks) {
		struct twin_ask *a = container_of(it, struct twin_ask, link);

		if (!channel_head_is_late(&a->head, now_ns))
			continue;
		unanswered(a);
		ask_free(a);
	}
	list_each (it, next, &c->twin.guests) {
		struct twin_guest *g = container_of(it, struct twin_guest, link);

		if (channel_head_is_late(&g->head, now_ns))
			guest_free(g);
	}
}

void
cluster_twin_ask_end(struct cluster *c)
{
	struct list *it, *next;

	list_each (it, next, &c->twin.asks)
		ask_free(container_of(it, struct twin_ask, link));
	list_each (it, next, &c->twin.guests)
		guest_free(container_of(it, struct twin_guest, link));
}
