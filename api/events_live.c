/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events of other nodes as they come, or flows of all. Each is asked for those above the last id
 * that came from it, and answers when there are some, or after a while without: so nothing is lost,
 * however long it was away. Nobody is asked while the client does not read. Of a node that was not
 * heard yet those count that are later than the stream.
 *
 * So many may be asked at a time by all streams, and each stream has its share of that. With more
 * nodes than its share it asks them in turn, and then none of them waits with its answer.
 *
 * Messages are "event", without an id (ids that a client gives back are this node's), "lost" (from
 * 0: how many is not known) and "away": a node that cannot be asked, said once until it is back.
 */
#include "api/events.h"

#include <assert.h>
#include <string.h>
#include "api/view.h"
#include "base/text.h"
#include "base/world.h"
#include "wire/sse.h"

enum {
	MESSAGE_MAX = 64 << 10,
	EVENTS_MAX = 1000,
	FIRST_MAX = 100, /* of a node that is new here */
	AGAIN_MS = 2000,
	SOON_MS = 250, /* after an answer with something */
	IDLE_MS = 1000,
	LOOK_MS = 500,
};

struct events_live {
	struct call *call;
	const struct events_kind *kind;
	char filter[EVENTS_FILTER_MAX];
	uint32_t only; /* 0: all */
	bool own;      /* this node, too */
	int64_t after_wall_ns;
	bool resumed; /* the client has said since when */
	bool told_many;
	uint64_t look_at_ms;
	struct list nodes;
	size_t count, asking;
};

struct node {
	struct list link;
	struct events_live *live; /* NULL: the stream is gone */
	struct server *server;
	uint32_t node; /* 0: this one */
	char name[MSG_NAME];
	bool asking, heard, away;
	uint64_t last;
	uint64_t due_ms;
};

struct events_live *
events_live_new(struct call *call, const struct events_live_options *o)
{
	struct events_live *l = mem_zalloc(MEM_API, sizeof(*l));

	if (!l)
		return NULL;
	assert(o->filter_bytes <= sizeof(l->filter));
	l->call = call;
	l->kind = o->kind;
	if (o->filter)
		memcpy(l->filter, o->filter, o->filter_bytes);
	l->only = o->only ? o->only->node : 0;
	l->own = o->kind->own && (!o->only || o->only->self);
	l->after_wall_ns = o->after_wall_ns ? o->after_wall_ns : world_wall_ns();
	l->resumed = o->after_wall_ns != 0;
	list_init(&l->nodes);
	call->server->event_streams++;
	return l;
}

static void
node_drop(struct node *n)
{
	list_remove(&n->link);
	n->live->count--;
	n->live->asking -= n->asking;
	n->live = NULL;
	if (!n->asking)
		mem_free(n);
}

void
events_live_free(struct events_live *l)
{
	struct list *it, *next;

	if (!l)
		return;
	list_each (it, next, &l->nodes) {
		node_drop(container_of(it, struct node, link));
	}
	l->call->server->event_streams--;
	mem_free(l);
}

/* ---- sending ---- */

static void
send_message(struct events_live *l, const char *name, struct buf *data)
{
	struct buf b;

	buf_init(&b, MEM_API, 2 * MESSAGE_MAX);
	sse_put(&b, NULL, name, (const char *)data->data, data->length);
	if (buf_ok(&b) && buf_ok(data))
		call_write(l->call, b.data, b.length);
	else
		conn_close(l->call->conn);
	buf_fini(&b);
	buf_fini(data);
}

static void
send_row(const struct node *n, const void *row)
{
	struct buf b;
	struct json j;

	buf_init(&b, MEM_API, MESSAGE_MAX);
	json_init(&j, &b);
	n->live->kind->view(&j, n->name, row);
	send_message(n->live, n->live->kind->message, &b);
}

/* Between two ids, or so many. */
static void
send_lost(const struct node *n, uint64_t from, uint64_t to, uint64_t count)
{
	struct buf b;
	struct json j;

	buf_init(&b, MEM_API, MESSAGE_MAX);
	json_init(&j, &b);
	json_object(&j, NULL);
	json_text(&j, "node", n->name);
	if (count) {
		json_u64(&j, "count", count);
	} else {
		json_u64(&j, "from", from);
		json_u64(&j, "to", to);
	}
	json_end(&j);
	send_message(n->live, "lost", &b);
}

/* name "": of the cluster. */
static void
send_away(struct events_live *l, const char *name, const struct err *err)
{
	struct msg_reason reason;
	struct buf b;
	struct json j;

	msg_reason_from(err, &reason);
	buf_init(&b, MEM_API, MESSAGE_MAX);
	json_init(&j, &b);
	json_object(&j, NULL);
	json_text(&j, "node", name);
	view_reason(&j, "reason", &reason);
	json_end(&j);
	send_message(l, "away", &b);
}

/* ---- answers ---- */

/* What is told first of a node may not be all that it said since. */
static void
look_for_gap(struct node *n, const struct msg_event *first)
{
	if (!n->heard && first->id > 1 && first->wall_ns > n->live->after_wall_ns)
		send_lost(n, 0, first->id - 1, 0);
	else if (n->heard && n->last > 0 && first->id > n->last + 1)
		send_lost(n, n->last + 1, first->id - 1, 0);
}

/* The client may leave over any of them, and the stream with it. True: there was something new. */
static bool
take(struct node *n, const struct buf *events)
{
	const struct msg_event *e = (const void *)events->data;
	size_t count = events->length / sizeof(*e);
	uint64_t before = n->last;

	/* Its store was lost, and its ids begin again. */
	if (count > 0 && e[count - 1].id < n->last) {
		n->last = before = 0;
		n->heard = false;
	}
	for (size_t i = 0; i < count && n->live; i++) {
		if (e[i].id <= n->last)
			continue;
		if (n->last == before || e[i].id > n->last + 1)
			look_for_gap(n, &e[i]);
		n->last = e[i].id;
		if (n->live && (n->heard || e[i].wall_ns > n->live->after_wall_ns))
			send_row(n, &e[i]);
	}
	n->heard = true;
	return n->last != before;
}

/* Likewise, where a mark says how far the answer goes. */
static bool
take_marked(struct node *n, const struct buf *rows)
{
	const struct events_kind *kind = n->live->kind;
	size_t count = rows->length / kind->row_bytes;
	const uint8_t *mark = rows->data + (count - 1) * kind->row_bytes;
	bool more = n->heard && kind->id(mark) != n->last;

	if (n->heard && kind->lost(mark))
		send_lost(n, 0, 0, kind->lost(mark));
	for (size_t i = 0; i + 1 < count && n->live && n->heard; i++)
		send_row(n, rows->data + i * kind->row_bytes);
	n->last = kind->id(mark);
	n->heard = true;
	return more;
}

static void
answered(void *arg, int status, const struct err *err, const void *body, size_t bytes, int *fds,
	 size_t count)
{
	struct node *n = arg;
	struct err bad = {0};
	struct buf events;

	(void)body, (void)bytes;
	n->server->event_asks--;
	if (!n->live || !n->live->call->conn) {
		n->asking = false;
		if (!n->live)
			mem_free(n);
		return;
	}
	const struct events_kind *kind = n->live->kind;
	buf_init(&events, MEM_API, kind->rows_max * kind->row_bytes);
	if (status != 0)
		bad = *err;
	else if (!kind->read(fds, count, &events))
		err_set(&bad, ERR_CORRUPT, "what %s said is damaged", n->name);
	struct call *call = n->live->call;
	uint64_t wait_ms = AGAIN_MS;
	call_ref(call);
	if (bad.kind) {
		if (!n->away)
			send_away(n->live, n->name, &bad);
		n->away = true;
	} else {
		n->away = false;
		bool first =
			kind->marks && !n->heard; /* only how far it is: no wait before the rest */
		bool news = kind->marks ? take_marked(n, &events) : take(n, &events);
		wait_ms = first ? 0 : news ? SOON_MS : IDLE_MS;
	}
	buf_fini(&events);
	n->due_ms = uv_now(station_loop(n->server->station)) + wait_ms;
	if (n->live) {
		n->live->asking--;
		/* The others first. */
		list_remove(&n->link);
		list_push(&n->live->nodes, &n->link);
	}
	n->asking = false;
	if (n->live)
		events_live_pump(n->live);
	else
		mem_free(n);
	call_unref(call);
}

/* ---- asking ---- */

static size_t
share_of(const struct events_live *l)
{
	size_t streams = l->call->server->event_streams;

	return streams < EVENTS_ASKS_MAX ? EVENTS_ASKS_MAX / streams : 1;
}

static void
ask(struct node *n)
{
	const struct events_live *l = n->live;
	bool more = n->heard || n->away || l->resumed;
	const struct events_ask q = {
		.node = n->node,
		.since = l->kind->marks && !n->heard ? EVENTS_NONE : n->last,
		.limit = more ? EVENTS_MAX : FIRST_MAX,
		.wait = n->heard && l->count <= share_of(l),
		.filter = l->filter,
	};
	struct err err = {0};

	if (l->kind->ask(n->server->station, &q, answered, n, &err) < 0) {
		n->due_ms = uv_now(station_loop(n->server->station)) + AGAIN_MS;
		return;
	}
	n->asking = true;
	n->live->asking++;
	n->server->event_asks++;
}

static struct node *
find(struct events_live *l, uint32_t id)
{
	struct list *it, *next;

	list_each (it, next, &l->nodes) {
		struct node *n = container_of(it, struct node, link);

		if (n->node == id)
			return n;
	}
	return NULL;
}

static void
add(struct events_live *l, uint32_t id, const char *name)
{
	struct node *n = mem_zalloc(MEM_API, sizeof(*n));

	if (!n)
		return; /* the next look tries again */
	n->live = l;
	n->server = l->call->server;
	n->node = id;
	text_ncopy(n->name, sizeof(n->name), name, strnlen(name, MSG_NAME - 1));
	list_push(&l->nodes, &n->link);
	l->count++;
}

static void
say_too_many(struct events_live *l, size_t nodes)
{
	struct err many = {0};

	err_set(&many, ERR_LIMIT, "%zu nodes are not followed", nodes);
	err_fix(&many, "?node=NAME follows one");
	l->told_many = true;
	send_away(l, "", &many);
}

/* Nodes come and go. */
static void
look(struct events_live *l)
{
	struct server *s = l->call->server;
	struct list *it, *next;
	char own[MSG_NAME];
	struct rows rows;

	if (!rows_whole(s, ROLE_SCHEDULER))
		return;
	events_own_node(s, own);
	if (l->own && !find(l, 0))
		add(l, 0, own);
	list_each (it, next, &l->nodes) {
		struct node *n = container_of(it, struct node, link);

		if (n->node && !rows_get(s, ROLE_SCHEDULER, MSG_TABLE_MEMBER, n->node))
			node_drop(n);
	}
	events_nodes(s, &rows);
	size_t most = l->own ? EVENTS_NODES_MAX + 1 : EVENTS_NODES_MAX;
	for (size_t i = 0; i < rows.count && l->count < most; i++) {
		const struct msg_member *m = rows.items[i];

		if ((!l->only || m->node == l->only) && !find(l, m->node))
			add(l, m->node, m->name);
	}
	if (!l->only && rows.count > EVENTS_NODES_MAX && !l->told_many)
		say_too_many(l, rows.count - EVENTS_NODES_MAX);
	rows_fini(&rows);
}

void
events_live_pump(struct events_live *l)
{
	struct server *s = l->call->server;
	uint64_t now = uv_now(station_loop(s->station));
	struct list *it, *next;

	if (!l->call->conn || !call_room(l->call))
		return;
	if (now >= l->look_at_ms) {
		l->look_at_ms = now + LOOK_MS;
		look(l);
	}
	list_each (it, next, &l->nodes) {
		struct node *n = container_of(it, struct node, link);

		if (l->asking >= share_of(l) || s->event_asks >= EVENTS_ASKS_MAX)
			return;
		if (!n->asking && now >= n->due_ms)
			ask(n);
	}
}
