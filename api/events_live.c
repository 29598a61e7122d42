/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events of other nodes as they come. Each is asked for those above the last id that came from it,
 * and answers when there are some, or after a while without: so nothing is lost, however long it
 * was away. Nobody is asked while the client does not read. Of a node that was not heard yet those
 * count that are later than the stream.
 *
 * So many may be asked at a time by all streams, and each stream has its share of that. With more
 * nodes than its share it asks them in turn, and then none of them waits with its answer.
 *
 * Messages are "event", without an id (ids that a client gives back are this node's), "lost" (from
 * 0: how many is not known) and "away": a node that cannot be asked, said once until it is back.
 */
#include "api/events.h"

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
	uint32_t only; /* 0: all */
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
	uint32_t node;
	char name[MSG_NAME];
	bool asking, heard, away;
	uint64_t last;
	uint64_t due_ms;
};

struct events_live *
events_live_new(struct call *call, uint32_t only, int64_t after_wall_ns)
{
	struct events_live *l = mem_zalloc(MEM_API, sizeof(*l));

	if (!l)
		return NULL;
	l->call = call;
	l->only = only;
	l->after_wall_ns = after_wall_ns ? after_wall_ns : world_wall_ns();
	l->resumed = after_wall_ns != 0;
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
send_event(const struct node *n, const struct msg_event *e)
{
	struct buf b;
	struct json j;

	buf_init(&b, MEM_API, MESSAGE_MAX);
	json_init(&j, &b);
	view_event(&j, n->name, e);
	send_message(n->live, "event", &b);
}

static void
send_lost(const struct node *n, uint64_t from, uint64_t to)
{
	struct buf b;
	struct json j;

	buf_init(&b, MEM_API, MESSAGE_MAX);
	json_init(&j, &b);
	json_object(&j, NULL);
	json_text(&j, "node", n->name);
	json_u64(&j, "from", from);
	json_u64(&j, "to", to);
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
		send_lost(n, 0, first->id - 1);
	else if (n->heard && n->last > 0 && first->id > n->last + 1)
		send_lost(n, n->last + 1, first->id - 1);
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
			send_event(n, &e[i]);
	}
	n->heard = true;
	return n->last != before;
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
	buf_init(&events, MEM_API, EVENTS_MAX * sizeof(struct msg_event));
	if (status != 0)
		bad = *err;
	else if (!events_read(fds, count, &events))
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
		wait_ms = take(n, &events) ? SOON_MS : IDLE_MS;
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
	bool more = n->heard || n->away || n->live->resumed;
	const struct msg_far_events op = {.node = n->node,
					  .since = n->last,
					  .limit = more ? EVENTS_MAX : FIRST_MAX,
					  .wait = n->heard && n->live->count <= share_of(n->live)};
	struct err err = {0};

	if (station_ask(n->server->station, ROLE_SCHEDULER, 0, MSG_OP_FAR_EVENTS, &op, sizeof(op),
			NULL, 0, CALL_ASK_MS, answered, n, &err) < 0) {
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
add(struct events_live *l, const struct msg_member *m)
{
	struct node *n = mem_zalloc(MEM_API, sizeof(*n));

	if (!n)
		return; /* the next look tries again */
	n->live = l;
	n->server = l->call->server;
	n->node = m->node;
	text_ncopy(n->name, sizeof(n->name), m->name, strnlen(m->name, MSG_NAME - 1));
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
	struct rows rows;

	if (!rows_whole(s, ROLE_SCHEDULER))
		return;
	list_each (it, next, &l->nodes) {
		struct node *n = container_of(it, struct node, link);

		if (!rows_get(s, ROLE_SCHEDULER, MSG_TABLE_MEMBER, n->node))
			node_drop(n);
	}
	events_nodes(s, &rows);
	for (size_t i = 0; i < rows.count && l->count < EVENTS_NODES_MAX; i++) {
		const struct msg_member *m = rows.items[i];

		if ((!l->only || m->node == l->only) && !find(l, m->node))
			add(l, m);
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
