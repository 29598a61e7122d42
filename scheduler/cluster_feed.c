/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store's connections between nodes: the writing node takes those of all others; each of the
 * others keeps one to it, made again with growing pauses when it ends. What goes over them is the
 * engines' business (store_serve.h, store_follow.h).
 *
 * A channel may end within a write to it; the store is told of that in the loop's next turn.
 */
#include "scheduler/cluster_inside.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/store_copy.h"
#include "scheduler/store_role.h"

enum {
	WAIT_FIRST_MS = 100,
	WAIT_MAX_MS = 5000,
	COMES_MS = 6000, /* so long a change waits for a way that is not there any more, or yet */
};

/* ---- the writing node: one of each connection ---- */

struct fed {
	struct list link;
	struct cluster *c;
	struct channel *channel; /* NULL: it has ended */
	struct store_serve_peer *peer;
	uint32_t node;
};

static void
fed_free(struct fed *f)
{
	list_remove(&f->link);
	store_serve_peer_free(f->peer);
	channel_abort(f->channel);
	mem_free(f);
}

static bool
fed_send(void *arg, const void *data, size_t bytes)
{
	const struct fed *f = arg;

	return f->channel && channel_write(f->channel, data, bytes);
}

static void
fed_close(void *arg)
{
	struct fed *f = arg;
	struct channel *channel = f->channel;

	f->channel = NULL;
	if (channel)
		channel_close(channel);
	f->c->fed_ended = true;
}

static void
fed_up(void *arg, struct channel *channel)
{
	(void)arg;
	(void)channel;
}

static void
fed_data(void *arg, struct channel *channel, const void *data, size_t bytes)
{
	struct fed *f = arg;

	(void)channel;
	store_serve_peer_data(f->peer, data, bytes);
}

static void
fed_room(void *arg, struct channel *channel)
{
	struct fed *f = arg;

	(void)channel;
	store_serve_peer_room(f->peer);
}

static void
fed_down(void *arg, struct channel *channel, const struct err *why)
{
	struct fed *f = arg;

	(void)channel;
	(void)why;
	f->channel = NULL;
	f->c->fed_ended = true; /* the store may be in the middle of a write to it */
}

void
cluster_feed_channel(void *arg, struct channel *channel)
{
	static const struct channel_calls calls = {fed_up, fed_data, fed_room, fed_down};
	static const struct store_stream stream = {fed_send, fed_close};
	struct cluster *c = arg;
	uint32_t node = channel_peer(channel)->node;
	struct fed *f =
		c->serve && cluster_has(c, node) ? mem_zalloc(MEM_SCHEDULER, sizeof(*f)) : NULL;
	struct err err = {0};

	if (!f) {
		channel_abort(channel);
		return;
	}
	/* What is left of an earlier one is of a process or a way that has ended without a word. */
	cluster_feed_part(c, node);
	f->c = c;
	f->channel = channel;
	f->node = node;
	list_init(&f->link);
	list_push(&c->feds, &f->link);
	channel_give(channel, &calls, f);
	if (store_serve_peer_new(c->serve, node, &stream, f, &f->peer, &err) < 0) {
		log_err(LOG_WARN, "a node cannot follow the store", &err);
		fed_free(f);
	}
}

void
cluster_feed_part(struct cluster *c, uint32_t node)
{
	struct list *it, *next;

	list_each (it, next, &c->feds) {
		struct fed *f = container_of(it, struct fed, link);

		if (f->node == node)
			fed_free(f);
	}
}

static void
drop_ended(struct cluster *c)
{
	struct list *it, *next;

	c->fed_ended = false;
	list_each (it, next, &c->feds) {
		struct fed *f = container_of(it, struct fed, link);

		if (!f->channel)
			fed_free(f);
	}
}

/* ---- all others: the one connection ---- */

struct cluster_feed {
	struct cluster *c;
	struct channel *channel;
	bool up;     /* the store has it */
	bool broken; /* the store has yet to be told */
	struct err why;
	uint32_t node; /* that it goes to */
	uint64_t at_ns, wait_ms;
	uint64_t comes_until_ns;
	bool was_writable; /* when somebody asked last */
};

/* What ends a way that changes could go is most often a process that is started again. One that was
 * only opened to be closed again (by a writer that knows this node no more) is not waited for. */
static bool
was_a_way(const struct cluster_feed *f)
{
	struct store_status status;

	store_status(f->c->m->store, &status);
	return f->up && status.writable;
}

static void
wait_for_it(struct cluster_feed *f)
{
	f->comes_until_ns = world_mono_ns() + COMES_MS * UINT64_C(1000000);
}

/* A writer that says nothing is waited for as one that has gone. */
bool
cluster_feed_comes(struct cluster *c, bool writable, uint64_t now_ns)
{
	struct cluster_feed *f = c->feed;

	if (!f)
		return false;
	if (f->was_writable && !writable && now_ns >= f->comes_until_ns)
		wait_for_it(f);
	f->was_writable = writable;
	return now_ns < f->comes_until_ns;
}

static void
again_later(struct cluster_feed *f)
{
	struct world world;

	world_real(&world);
	f->wait_ms = f->wait_ms * 2 < WAIT_FIRST_MS ? WAIT_FIRST_MS : f->wait_ms * 2;
	if (f->wait_ms > WAIT_MAX_MS)
		f->wait_ms = WAIT_MAX_MS;
	/* Not all of them at once, when the writer has come back. */
	f->at_ns = world_mono_ns() +
		   (f->wait_ms / 2 + world_random_below(&world, f->wait_ms)) * 1000000;
}

static bool
feed_send(void *arg, const void *data, size_t bytes)
{
	const struct cluster_feed *f = arg;

	return f->channel && channel_write(f->channel, data, bytes);
}

static void
feed_close(void *arg)
{
	struct cluster_feed *f = arg;
	struct channel *channel = f->channel;

	f->channel = NULL;
	f->up = f->broken = false;
	if (channel)
		channel_close(channel);
	again_later(f);
}

static void
feed_up(void *arg, struct channel *channel)
{
	static const struct store_stream stream = {feed_send, feed_close};
	struct cluster_feed *f = arg;

	(void)channel;
	f->up = true;
	store_follow_up(f->c->follow, &stream, f);
}

static void
feed_data(void *arg, struct channel *channel, const void *data, size_t bytes)
{
	struct cluster_feed *f = arg;

	(void)channel;
	store_follow_data(f->c->follow, data, bytes);
	/* One that is made to be refused is no reason to make the next one at once. */
	if (f->wait_ms && was_a_way(f))
		f->wait_ms = 0;
}

static void
feed_room(void *arg, struct channel *channel)
{
	const struct cluster_feed *f = arg;

	(void)channel;
	if (f->up)
		store_follow_room(f->c->follow);
}

static void
feed_down(void *arg, struct channel *channel, const struct err *why)
{
	struct cluster_feed *f = arg;

	(void)channel;
	f->channel = NULL;
	f->broken = true;
	f->why = *why;
	if (was_a_way(f))
		wait_for_it(f);
	again_later(f);
}

static void
connect_to(struct cluster_feed *f, uint32_t node, const struct addr *address)
{
	static const struct channel_calls calls = {feed_up, feed_data, feed_room, feed_down};
	struct cluster *c = f->c;
	const struct cluster_node *n = cluster_roster_find(c, node);

	f->node = node;
	if (n)
		store_follow_rename(c->follow, n->row.name);
	if (channel_connect(station_loop(c->st), c->rules, address, node, CHANNEL_STORE, &calls, f,
			    &f->channel, &f->why) < 0) {
		f->broken = true;
		again_later(f);
	}
}

static void
keep_up(struct cluster_feed *f, uint64_t now_ns)
{
	struct cluster *c = f->c;
	uint32_t writer = cluster_writer(c);
	struct addr address;

	if (f->broken) {
		f->broken = f->up = false;
		store_follow_down(c->follow, &f->why);
		err_clear(&f->why);
	}
	if (writer == c->keep.node)
		store_follow_orphan(c->follow);
	/* Another node writes now. */
	if (f->channel && f->node != writer) {
		channel_abort(f->channel);
		f->channel = NULL;
		f->up = false;
		f->at_ns = 0;
		store_follow_down(c->follow, NULL);
	}
	if (!f->channel && now_ns >= f->at_ns && writer && writer != c->keep.node &&
	    store_follow_can_take(c->follow) && cluster_address(c, writer, &address))
		connect_to(f, writer, &address);
}

/* A connection that was cut off repeats what is on its way with longer and longer pauses: the other
 * side may be there for seconds before either hears of it. */
void
cluster_feed_back(struct cluster *c, uint32_t node, bool from_dead)
{
	struct cluster_feed *f = c->feed;

	if (!f || node != cluster_writer(c) || (f->channel && (!from_dead || was_a_way(f))))
		return;
	if (from_dead)
		wait_for_it(f);
	if (f->channel) {
		channel_abort(f->channel);
		f->channel = NULL;
		f->up = false;
		store_follow_down(c->follow, NULL);
	}
	f->at_ns = f->wait_ms = 0;
}

/* ---- both ---- */

void
cluster_feed_turn(struct cluster *c, uint64_t now_ns)
{
	if (c->fed_ended)
		drop_ended(c);
	if (c->feed)
		keep_up(c->feed, now_ns);
}

void
cluster_feed_end(struct cluster *c)
{
	while (!list_empty(&c->feds))
		fed_free(container_of(c->feds.next, struct fed, link));
	if (!c->feed)
		return;
	channel_abort(c->feed->channel);
	c->feed->channel = NULL;
	store_follow_down(c->follow, NULL);
	mem_free(c->feed);
	c->feed = NULL;
}

static int
open_follow(struct cluster *c, struct store *rows, struct store **out, struct err *err)
{
	char writer[ADDR_TEXT_BYTES + 16];
	char address[ADDR_TEXT_BYTES];

	addr_put(&c->keep.via_address, address, sizeof(address));
	text_format(writer, sizeof(writer), "the node at %s", address);
	const struct store_follow_options options = {.loop = station_loop(c->st),
						     .writer = writer,
						     .moved = cluster_move_told,
						     .arg = c};
	c->feed = mem_zalloc(MEM_SCHEDULER, sizeof(*c->feed));
	if (!c->feed) {
		store_free(rows);
		return err_set(err, ERR_NO_MEMORY, "no memory to follow the store");
	}
	c->feed->c = c;
	wait_for_it(c->feed);
	if (store_follow_open(&options, rows, out, &c->follow, err) == 0)
		return 0;
	mem_free(c->feed);
	c->feed = NULL;
	return -1;
}

int
cluster_feed_open(struct cluster *c, struct store *rows, struct store **out, struct err *err)
{
	enum store_role role;

	if (store_role_get(rows, &role, err) < 0 || cluster_anew_note(c, role, err) < 0) {
		store_free(rows);
		return -1;
	}
	switch (role) {
	case STORE_ROLE_SERVE:
		return store_serve_open(rows, out, &c->serve, err);
	case STORE_ROLE_FOLLOW:
		return open_follow(c, rows, out, err);
	case STORE_ROLE_ETCD:
	case STORE_ROLE_OUTSIDE:
		c->etcd_outside = role == STORE_ROLE_OUTSIDE;
		return cluster_etcd_store(c, rows, out, err);
	case STORE_ROLE_ALONE:
		break;
	}
	*out = rows;
	return 0;
}
