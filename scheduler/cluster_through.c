/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between two nodes that only dial out: one of them asks this one for the other, this one has that
 * one call back, and then what either says goes to the other, unread. To who was asked it is as if
 * this node asked; both trust members with what passes (docs/security.md).
 *
 * Until the other one has called nothing more is read of who asks. Who does not read stops who
 * writes. When either side ends, so does the other, after what was on its way; where nothing can be
 * passed on at all who asked is answered with the reason.
 */
#include "scheduler/cluster_inside.h"

#include "base/mem.h"
#include "base/world.h"
#include "scheduler/far_wire.h"

enum { ASKS, ASKED, SIDES, EARLY_MAX = 64 << 10 };

struct through;

struct side {
	struct through *t;
	struct channel *channel; /* NULL: not yet, or it has ended */
	uint32_t node;
};

struct through {
	struct list link;
	struct cluster *c;
	struct side sides[SIDES];
	struct cluster_await await;
	struct buf early;  /* of who asks */
	uint64_t heard_ns; /* of either side; before that: the beginning */
};

static struct side *
other(struct side *x)
{
	return &x->t->sides[x == &x->t->sides[ASKS] ? ASKED : ASKS];
}

/* Each side ends after what was written to it. */
static void
through_end(struct through *t)
{
	cluster_callback_forget(t->c, &t->await);
	for (size_t i = 0; i < SIDES; i++) {
		if (!t->sides[i].channel)
			continue;
		channel_give(t->sides[i].channel, &cluster_callback_deaf, NULL);
		channel_close(t->sides[i].channel);
	}
	list_remove(&t->link);
	t->c->callback.throughs_count--;
	buf_fini(&t->early);
	mem_free(t);
}

/* ---- what passes ---- */

static void
nothing(void *arg, struct channel *channel)
{
	(void)arg, (void)channel;
}

static void
pass_on(void *arg, struct channel *channel, const void *data, size_t bytes)
{
	struct side *x = arg, *to = other(x);
	struct through *t = x->t;

	t->heard_ns = world_mono_ns();
	if (!to->channel) {
		/* It was paused: this is the rest of what had come by then. */
		buf_put(&t->early, data, bytes);
		if (!buf_ok(&t->early))
			through_end(t);
		return;
	}
	if (!channel_write(to->channel, data, bytes))
		return; /* `down` has come */
	if (channel_pending(to->channel) > CLUSTER_THROUGH_HIGH)
		channel_pause(channel, true);
}

static void
go_on(void *arg, struct channel *channel)
{
	struct side *from = other(arg);

	(void)channel;
	if (from->channel)
		channel_pause(from->channel, false);
}

static void
side_down(void *arg, struct channel *channel, const struct err *why)
{
	struct side *x = arg;

	(void)channel, (void)why;
	x->channel = NULL;
	through_end(x->t);
}

static const struct channel_calls side_calls = {nothing, pass_on, go_on, side_down};

/* ---- begins ---- */

/* Who asks is answered as if the other one had refused. */
static void
refuse(struct cluster *c, struct channel *channel, const struct cluster_node *n, enum err_kind kind,
       const char *why)
{
	struct err err = {0};
	struct buf out;

	if (n)
		err_set(&err, kind, "%s cannot pass it on to %s", c->keep.name, n->row.name);
	else
		err_set(&err, kind, "%s cannot pass it on", c->keep.name);
	err_why(&err, "%s", why);
	buf_init(&out, MEM_SCHEDULER, FAR_HEAD + 4096);
	far_wire_put_answer(&out, &err, NULL, 0);
	channel_give(channel, &cluster_callback_deaf, NULL);
	if (!buf_ok(&out))
		channel_abort(channel);
	else if (channel_write(channel, out.data, out.length))
		channel_close(channel);
	buf_fini(&out);
}

static void
come(void *arg, struct channel *channel)
{
	struct through *t = arg;
	struct side *asks = &t->sides[ASKS], *asked = &t->sides[ASKED];

	t->heard_ns = world_mono_ns();
	asked->channel = channel;
	channel_give(channel, &side_calls, asked);
	if (t->early.length > 0 && !channel_write(channel, t->early.data, t->early.length))
		return; /* `down` has come */
	buf_fini(&t->early);
	channel_pause(asks->channel, false);
}

static size_t
throughs_of(const struct cluster *c, uint32_t node)
{
	size_t count = 0;
	struct list *it, *next;

	list_each (it, next, &c->callback.throughs)
		count += container_of(it, struct through, link)->sides[ASKS].node == node;
	return count;
}

/* Why not; NULL: it may. */
static const char *
why_not(const struct cluster *c, uint32_t from, const struct cluster_node *n)
{
	if (!n || n->row.removed || n->row.node == from || !cluster_link_hidden(n))
		return "this is no node that has to be called through another one";
	if (n->state == GOSSIP_DEAD || n->state == GOSSIP_LEFT)
		return "nobody hears of that node";
	if (c->callback.throughs_count >= CLUSTER_THROUGH_MAX ||
	    throughs_of(c, from) >= CLUSTER_THROUGH_OF_NODE_MAX)
		return "it passes on too much already";
	return NULL;
}

void
cluster_through_channel(struct cluster *c, struct channel *channel, uint64_t node, const void *data,
			size_t bytes)
{
	const struct cluster_node *n =
		node <= UINT32_MAX ? cluster_roster_find(c, (uint32_t)node) : NULL;
	uint32_t from = channel_peer(channel)->node;
	const char *why = why_not(c, from, n);
	struct through *t = why ? NULL : mem_zalloc(MEM_SCHEDULER, sizeof(*t));

	if (!t) {
		refuse(c, channel, n, why ? ERR_UNREACHABLE : ERR_NO_MEMORY,
		       why ? why : "there is no memory for it");
		return;
	}
	t->c = c;
	t->heard_ns = world_mono_ns();
	t->sides[ASKS] = (struct side){t, channel, from};
	t->sides[ASKED] = (struct side){t, NULL, n->row.node};
	t->await.come = come;
	t->await.arg = t;
	buf_init(&t->early, MEM_SCHEDULER, EARLY_MAX);
	buf_put(&t->early, data, bytes);
	list_init(&t->link);
	list_push(&c->callback.throughs, &t->link);
	c->callback.throughs_count++;
	channel_give(channel, &side_calls, &t->sides[ASKS]);
	channel_pause(channel, true);
	if (!buf_ok(&t->early) || !cluster_callback_await(c, &t->await, n->row.node)) {
		t->sides[ASKS].channel = NULL;
		refuse(c, channel, n, ERR_LIMIT, "too many nodes are waited for to call back");
		through_end(t);
	}
}

/* ---- ends ---- */

static void
give_up(struct through *t)
{
	struct cluster *c = t->c;
	struct channel *channel = t->sides[ASKS].channel;

	if (!t->sides[ASKED].channel) {
		t->sides[ASKS].channel = NULL;
		refuse(c, channel, cluster_roster_find(c, t->sides[ASKED].node), ERR_TIMEOUT,
		       "that node was asked to call back, and did not in time");
	}
	through_end(t);
}

void
cluster_through_tick(struct cluster *c, uint64_t now_ns)
{
	struct list *it, *next;

	list_each (it, next, &c->callback.throughs) {
		struct through *t = container_of(it, struct through, link);
		uint64_t ms =
			t->sides[ASKED].channel ? CLUSTER_THROUGH_SILENT_MS : CLUSTER_CALLBACK_MS;

		if (now_ns > t->heard_ns && now_ns - t->heard_ns > ms * 1000000)
			give_up(t);
	}
}

void
cluster_through_part(struct cluster *c, uint32_t node)
{
	struct list *it, *next;

	list_each (it, next, &c->callback.throughs) {
		struct through *t = container_of(it, struct through, link);

		if (t->sides[ASKS].node == node || t->sides[ASKED].node == node)
			through_end(t);
	}
}

void
cluster_through_end(struct cluster *c)
{
	struct list *it, *next;

	list_each (it, next, &c->callback.throughs)
		through_end(container_of(it, struct through, link));
}
