/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who wants a channel to a node that only dials out waits with a number that nobody can guess, and
 * the node calls back with it. What comes with a number that is not waited for, or of another node
 * than the one that was asked, is ended: a number is good for one channel.
 *
 * Who is asked opens a channel to the asker, and from then on it is as if that one had opened it
 * (cluster_far_serve.c): so it may as much as any member, whose certificate it shows.
 */
#include "scheduler/cluster_inside.h"

#include "base/mem.h"
#include "base/world.h"
#include "scheduler/channel.h"
#include "scheduler/channel_head.h"

enum { KEEP_TURNS = 20 /* ticks: a router may forget who was silent for 30 s */ };

/* ---- nobody ---- */

static void
nothing(void *arg, struct channel *channel)
{
	(void)arg, (void)channel;
}

static void
no_data(void *arg, struct channel *channel, const void *data, size_t bytes)
{
	(void)arg, (void)channel, (void)data, (void)bytes;
}

static void
no_end(void *arg, struct channel *channel, const struct err *why)
{
	(void)arg, (void)channel, (void)why;
}

const struct channel_calls cluster_callback_deaf = {nothing, no_data, nothing, no_end};

/* ---- who waits ---- */

static void
flush(struct cluster *c)
{
	if (c->shell && c->callback.core.put)
		shell_local(c->shell, CALLBACK_SERVICE, 0, 0, NULL, 0);
}

bool
cluster_callback_await(struct cluster *c, struct cluster_await *w, uint32_t node)
{
	struct world world;
	uint64_t number;

	world_real(&world);
	do
		number = world_random_u64(&world);
	while (number == 0);
	if (!callback_ask(&c->callback.core, node, number))
		return false;
	w->node = node;
	w->number = number;
	list_init(&w->link);
	list_push(&c->callback.awaits, &w->link);
	flush(c);
	return true;
}

void
cluster_callback_forget(struct cluster *c, struct cluster_await *w)
{
	if (!w->number)
		return;
	callback_end(&c->callback.core, w->number);
	list_remove(&w->link);
	w->number = 0;
}

static struct cluster_await *
find_await(struct cluster *c, uint32_t node, uint64_t number)
{
	struct list *it, *next;

	list_each (it, next, &c->callback.awaits) {
		struct cluster_await *w = container_of(it, struct cluster_await, link);

		if (w->node == node && w->number == number)
			return w;
	}
	return NULL;
}

/* ---- channels that have not said what for ---- */

struct greeting {
	struct list link;
	struct cluster *c;
	struct channel *channel;
	struct channel_head head;
};

static void
greeting_free(struct greeting *g)
{
	list_remove(&g->link);
	g->c->callback.greetings_count--;
	mem_free(g);
}

static void
greeting_abort(struct greeting *g)
{
	channel_abort(g->channel);
	greeting_free(g);
}

/* Who was called back speaks first: nothing may follow. */
static bool
take_comes(struct cluster *c, struct channel *channel, uint64_t number, size_t rest)
{
	struct cluster_await *w = find_await(c, channel_peer(channel)->node, number);

	if (!w || rest > 0)
		return false;
	cluster_callback_forget(c, w);
	w->come(w->arg, channel);
	return true;
}

static void
greeted(void *arg, struct channel *channel, const void *data, size_t bytes)
{
	struct greeting *g = arg;
	struct cluster *c = g->c;
	struct callback_message m;
	const uint8_t *at = data;

	if (!channel_head_take(&g->head, &at, &bytes))
		return;
	if (!callback_decode(g->head.data, g->head.bytes, &m)) {
		greeting_abort(g);
		return;
	}
	channel_give(channel, &cluster_callback_deaf, NULL);
	greeting_free(g);
	if (m.kind == CALLBACK_THROUGH && channel_kind(channel) == CHANNEL_THROUGH)
		cluster_through_channel(c, channel, m.number, at, bytes);
	else if (m.kind != CALLBACK_COMES || channel_kind(channel) != CHANNEL_CALLBACK ||
		 !take_comes(c, channel, m.number, bytes))
		channel_abort(channel);
}

static void
greeting_down(void *arg, struct channel *channel, const struct err *why)
{
	(void)channel, (void)why;
	greeting_free(arg);
}

static const struct channel_calls greeting_calls = {nothing, greeted, nothing, greeting_down};

static size_t
greetings_of(const struct cluster *c, uint32_t node)
{
	size_t count = 0;
	struct list *it, *next;

	list_each (it, next, &c->callback.greetings)
		count += channel_peer(container_of(it, struct greeting, link)->channel)->node ==
			 node;
	return count;
}

void
cluster_callback_channel(void *arg, struct channel *channel)
{
	struct cluster *c = arg;
	uint32_t node = channel_peer(channel)->node;
	struct greeting *g = c->m && cluster_has(c, node) &&
					     c->callback.greetings_count < CLUSTER_GREETINGS_MAX &&
					     greetings_of(c, node) < CLUSTER_GREETINGS_OF_NODE_MAX
				     ? mem_zalloc(MEM_SCHEDULER, sizeof(*g))
				     : NULL;

	if (!g) {
		channel_abort(channel);
		return;
	}
	g->c = c;
	g->channel = channel;
	channel_head_init(&g->head, CALLBACK_BYTES,
			  world_mono_ns() + CLUSTER_CALLBACK_MS * UINT64_C(1000000));
	list_init(&g->link);
	list_push(&c->callback.greetings, &g->link);
	c->callback.greetings_count++;
	channel_give(channel, &greeting_calls, g);
}

/* ---- who is asked ---- */

struct call {
	struct list link;
	struct cluster *c;
	struct channel *channel;
	uint32_t node;
	uint64_t number;
};

static void
call_free(struct call *call)
{
	list_remove(&call->link);
	call->c->callback.calls_count--;
	mem_free(call);
}

static void
call_up(void *arg, struct channel *channel)
{
	struct call *call = arg;
	struct cluster *c = call->c;
	const struct callback_message m = {CALLBACK_COMES, call->number};
	uint8_t head[CALLBACK_BYTES];

	callback_encode(&m, head);
	if (!channel_write(channel, head, sizeof(head)))
		return; /* `down` has come */
	call_free(call);
	cluster_far_channel(c, channel);
}

static void
call_down(void *arg, struct channel *channel, const struct err *why)
{
	struct call *call = arg;

	(void)channel, (void)why;
	callback_again(&call->c->callback.core, call->node, call->number);
	call_free(call);
}

/* Once it is up it is another's. */
static const struct channel_calls call_calls = {call_up, no_data, nothing, call_down};

static size_t
calls_of(const struct cluster *c, uint32_t node)
{
	size_t count = 0;
	struct list *it, *next;

	list_each (it, next, &c->callback.calls)
		count += container_of(it, struct call, link)->node == node;
	return count;
}

static void
wanted(void *arg, uint16_t what, uint32_t node, uint64_t token, const void *data, size_t bytes)
{
	struct cluster *c = arg;
	struct err err = {0};
	struct addr address;
	struct call *call = NULL;

	(void)what, (void)data, (void)bytes;
	if (c->m && cluster_has(c, node) && c->callback.calls_count < CLUSTER_CALLS_MAX &&
	    calls_of(c, node) < CLUSTER_CALLS_OF_NODE_MAX && cluster_address(c, node, &address))
		call = mem_zalloc(MEM_SCHEDULER, sizeof(*call));
	if (!call) {
		callback_again(&c->callback.core, node, token);
		return;
	}
	*call = (struct call){.c = c, .node = node, .number = token};
	list_init(&call->link);
	list_push(&c->callback.calls, &call->link);
	c->callback.calls_count++;
	if (channel_connect(station_loop(c->st), c->rules, &address, node, CHANNEL_CALLBACK,
			    &call_calls, call, &call->channel, &err) == 0)
		return;
	callback_again(&c->callback.core, node, token);
	call_free(call);
}

/* ---- the whole ---- */

void
cluster_callback_init(struct cluster *c)
{
	list_init(&c->callback.awaits);
	list_init(&c->callback.calls);
	list_init(&c->callback.greetings);
	list_init(&c->callback.throughs);
}

int
cluster_callback_begin(struct cluster *c, struct err *err)
{
	struct shell_core core;

	callback_core(&c->callback.core, wanted, c, &core);
	return shell_add(c->shell, &core, err);
}

/* Each of the others hears of this node every so many ticks, not all of them in the same. */
static void
keep_ways(struct cluster *c)
{
	struct map_iter it = {0};
	uint64_t turn = c->callback.keeps++ % KEEP_TURNS;

	if (!c->shell || !c->config->node.advertise_none)
		return;
	while (map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;

		if (n->peer && !n->row.removed && !cluster_link_hidden(n) &&
		    n->row.node % KEEP_TURNS == turn && n->row.node != c->keep.node)
			callback_keep(&c->callback.core, n->row.node);
	}
	flush(c);
}

void
cluster_callback_tick(struct cluster *c, uint64_t now_ns)
{
	struct list *it, *next;

	list_each (it, next, &c->callback.greetings) {
		struct greeting *g = container_of(it, struct greeting, link);

		if (channel_head_is_late(&g->head, now_ns))
			greeting_abort(g);
	}
	cluster_through_tick(c, now_ns);
	keep_ways(c);
}

/* node 0: all. */
static void
drop(struct cluster *c, uint32_t node)
{
	struct list *it, *next;

	list_each (it, next, &c->callback.greetings) {
		struct greeting *g = container_of(it, struct greeting, link);

		if (!node || channel_peer(g->channel)->node == node)
			greeting_abort(g);
	}
	list_each (it, next, &c->callback.calls) {
		struct call *call = container_of(it, struct call, link);

		if (!node || call->node == node) {
			channel_abort(call->channel);
			call_free(call);
		}
	}
}

void
cluster_callback_part(struct cluster *c, uint32_t node)
{
	drop(c, node);
	cluster_through_part(c, node);
}

void
cluster_callback_end(struct cluster *c)
{
	drop(c, 0);
	cluster_through_end(c);
}
