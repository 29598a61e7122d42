/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scheduler or runtime that comes again publishes bit by bit: until its table of backends was
 * committed once, the book made before stays, and the addresses of containers are kept as long as
 * the scheduler has the replica (ids are never used twice). Containers of others stay until a
 * runtime that knows all of them has them no more. That a container ended is taken from the runtime
 * at once, without waiting for the scheduler's judgement.
 */
#include "overlay/nameserver_book.h"

#include <string.h>
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"
#include "overlay/peers.h"

enum {
	UNSAID = 1, /* the version of a table that its producer has not committed yet */
	REBUILD_MS = 10,
};

struct container {
	uint64_t replica;
	struct addr addr4, addr6;
	bool running;
	struct allowance allowance;
};

struct guest { /* a container of others */
	struct msg_attachment row;
	struct allowance allowance;
};

static struct {
	struct station *st;
	struct msg_prefix prefix;
	const struct peers *peers;
	char node[MSG_NAME];
	void (*made)(void);
	struct names *names;
	struct map containers; /* replica -> struct container */
	struct map guests;     /* attachment -> struct guest */
	bool runtime_seen;
	uv_timer_t rebuild;
} book;

/* ---- making ---- */

static bool
add_service(void *arg, uint64_t key, const void *row)
{
	(void)key;
	names_add_service(arg, row);
	return true;
}

static bool
add_far_guest(void *arg, uint64_t key, const void *row)
{
	(void)key;
	names_add_far_guest(arg, row);
	return true;
}

struct building {
	struct names *names;
	struct ring_reader *scheduler;
};

static bool
add_replica(void *arg, uint64_t key, const void *bytes)
{
	const struct building *b = arg;
	const struct msg_replica *row = bytes;
	const struct msg_backend *backend = ring_table_get(b->scheduler, MSG_TABLE_BACKEND, key);
	const struct msg_identity *identity = ring_table_get(b->scheduler, MSG_TABLE_IDENTITY, key);
	const struct container *c = map_get_u64(&book.containers, key);
	struct names_replica r = {
		.id = key, .service = row->service, .index = row->index, .running = true};

	if (c) {
		r.addr4 = c->addr4;
		r.addr6 = c->addr6;
		r.running = c->running;
		r.local = true;
	} else if (identity) {
		r.addr4 = identity->addr4;
		r.addr6 = identity->addr6;
	}
	if (identity)
		r.overlays = identity->flags | MSG_IDENTITY_SAID;
	if (backend) {
		r.ready = backend->state != MSG_BACKEND_DRAINING;
		memcpy(r.ports, backend->ports, sizeof(r.ports));
		if (!c && addr_is_zero(&r.addr4) && addr_is_v4(&backend->addr))
			r.addr4 = backend->addr;
	}
	names_add_replica(b->names, &r);
	return true;
}

/* Containers of replicas that the scheduler does not know any more. */
static void
forget_containers(struct ring_reader *scheduler)
{
	struct map_iter it = {0};

	while (map_next(&book.containers, &it)) {
		struct container *c = it.value;

		if (ring_table_get(scheduler, MSG_TABLE_REPLICA, c->replica))
			continue;
		map_remove_u64(&book.containers, c->replica);
		mem_free(c);
	}
}

/* A runtime that is started again has all of them in its table once it has said anything. */
static void
add_guests(struct names *names, const struct ring_reader *runtime)
{
	bool whole = runtime && ring_table_version(runtime, MSG_TABLE_ATTACHMENT) > UNSAID;
	struct map_iter it = {0};

	while (map_next(&book.guests, &it)) {
		struct guest *g = it.value;

		if (!whole || ring_table_get(runtime, MSG_TABLE_ATTACHMENT, g->row.id)) {
			names_add_guest(names, &g->row);
			continue;
		}
		map_remove_u64(&book.guests, g->row.id);
		mem_free(g);
	}
}

static void
add_nodes(struct names *names)
{
	names_add_prefix(names, &book.prefix.v4);
	names_add_prefix(names, &book.prefix.v6);
	names_add_node(names, book.node, &book.prefix.service4, &book.prefix.service6);
	peers_add_names(book.peers, names);
}

static void
rebuild(uv_timer_t *timer)
{
	struct building b = {names_new(), station_reader(book.st, ROLE_SCHEDULER, 0)};
	const struct ring_reader *runtime = station_reader(book.st, ROLE_RUNTIME, 0);

	if (b.names && b.scheduler && ring_table_version(b.scheduler, MSG_TABLE_BACKEND) > UNSAID) {
		forget_containers(b.scheduler);
		add_nodes(b.names);
		ring_table_each(b.scheduler, MSG_TABLE_SERVICE, add_service, b.names);
		ring_table_each(b.scheduler, MSG_TABLE_REPLICA, add_replica, &b);
		add_guests(b.names, runtime);
		ring_table_each(b.scheduler, MSG_TABLE_GUEST, add_far_guest, b.names);
		if (names_finish(b.names)) {
			names_free(book.names);
			book.names = b.names;
			book.made();
			return;
		}
	}
	if (!b.names || b.scheduler)
		uv_timer_start(timer, rebuild, NAMESERVER_BOOK_AGAIN_MS, 0);
	names_free(b.names);
}

void
nameserver_book_is_old(void)
{
	if (!uv_is_active((uv_handle_t *)&book.rebuild) ||
	    uv_timer_get_due_in(&book.rebuild) > REBUILD_MS)
		uv_timer_start(&book.rebuild, rebuild, REBUILD_MS, 0);
}

/* ---- tables ---- */

static void
on_container(void *arg, uint64_t key, const void *bytes)
{
	const struct msg_container *row = bytes;
	struct container *c = map_get_u64(&book.containers, key);

	(void)arg;
	if (!row)
		return; /* forgotten when the scheduler has forgotten the replica */
	if (!c && (c = mem_zalloc(MEM_OVERLAY, sizeof(*c))) != NULL &&
	    map_put_u64(&book.containers, key, c) < 0) {
		mem_free(c);
		c = NULL;
	}
	if (!c)
		return;
	c->replica = key;
	c->addr4 = row->addr4;
	c->addr6 = row->addr6;
	c->running = row->state == MSG_CONTAINER_RUNNING;
	if (book.names)
		names_set_running(book.names, key, c->running);
}

static void
on_attachment(void *arg, uint64_t key, const void *bytes)
{
	const struct msg_attachment *row = bytes;
	struct guest *g = map_get_u64(&book.guests, key);

	(void)arg;
	if (!row || row->id != key)
		return; /* forgotten with the next book */
	if (!g && (g = mem_zalloc(MEM_OVERLAY, sizeof(*g))) != NULL &&
	    map_put_u64(&book.guests, key, g) < 0) {
		mem_free(g);
		g = NULL;
	}
	if (g)
		g->row = *row;
}

static void
on_node(void *arg, uint64_t key, const void *bytes)
{
	const struct msg_node *row = bytes;

	(void)arg;
	(void)key;
	if (row && MSG_OK(row->name))
		text_copy(book.node, sizeof(book.node), row->name);
}

static bool
sync_scheduler(struct ring_reader *r)
{
	bool service = ring_table_sync(r, MSG_TABLE_SERVICE, sizeof(struct msg_service), NULL,
				       NULL) == RING_OK;
	bool replica = ring_table_sync(r, MSG_TABLE_REPLICA, sizeof(struct msg_replica), NULL,
				       NULL) == RING_OK;
	bool backend = ring_table_sync(r, MSG_TABLE_BACKEND, sizeof(struct msg_backend), NULL,
				       NULL) == RING_OK;
	bool identity = ring_table_sync(r, MSG_TABLE_IDENTITY, sizeof(struct msg_identity), NULL,
					NULL) == RING_OK;

	bool guest = ring_table_sync(r, MSG_TABLE_GUEST, sizeof(struct msg_guest), NULL, NULL) ==
		     RING_OK;

	return service || replica || backend || identity || guest;
}

void
nameserver_book_wake(struct ring_reader *reader)
{
	bool changed = false;

	switch (ring_reader_role(reader)) {
	case ROLE_SCHEDULER:
		changed = sync_scheduler(reader);
		break;
	case ROLE_RUNTIME:
		changed = ring_table_sync(reader, MSG_TABLE_CONTAINER, sizeof(struct msg_container),
					  on_container, NULL) == RING_OK;
		book.runtime_seen |= changed;
		changed |=
			ring_table_sync(reader, MSG_TABLE_ATTACHMENT, sizeof(struct msg_attachment),
					on_attachment, NULL) == RING_OK;
		break;
	case ROLE_NODE:
		changed = ring_table_sync(reader, MSG_TABLE_NODE, sizeof(struct msg_node), on_node,
					  NULL) == RING_OK;
		break;
	default:
		break;
	}
	if (changed)
		nameserver_book_is_old();
}

/* ---- asking ---- */

const struct names *
nameserver_book_names(void)
{
	return book.names;
}

bool
nameserver_book_is_known(void)
{
	return book.names && book.runtime_seen;
}

struct allowance *
nameserver_book_allowance(const struct addr *from)
{
	struct container *c;
	struct guest *g;
	uint64_t id;

	if (!book.names || !names_find(book.names, from, &id))
		return NULL;
	if (msg_attachment_id(id))
		return (g = map_get_u64(&book.guests, id)) != NULL ? &g->allowance : NULL;
	return (c = map_get_u64(&book.containers, id)) != NULL ? &c->allowance : NULL;
}

void
nameserver_book_start(struct station *st, const struct msg_prefix *prefix,
		      const struct peers *peers, void (*made)(void))
{
	book.st = st;
	book.prefix = *prefix;
	book.peers = peers;
	book.made = made;
	text_copy(book.node, sizeof(book.node), station_welcome(st)->node);
	map_init(&book.containers, MEM_OVERLAY);
	map_init(&book.guests, MEM_OVERLAY);
	uv_timer_init(station_loop(st), &book.rebuild);
}
