/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events and operations. A stream keeps the id of the last event it sent and pulls the next ones:
 * from the bus, or, when they are older than that, as a page from the scheduler. So there is no gap
 * and no duplicate, and a slow reader costs what its connection may buffer; one that takes nothing
 * for CONN_STALL_MS is dropped by the connection. Events that even the scheduler does not have any
 * more are told as an event "lost".
 *
 * The stream of an operation has three kinds of messages: "operation" and "replica" (how it is now,
 * whenever that changes, without an id) and "event" (with one); "result" ends it. The stream of an
 * operation that is so old that it is forgotten ends without.
 */
#include "api/feed.h"

#include <string.h>
#include <unistd.h>
#include "api/events.h"
#include "api/flows.h"
#include "api/route.h"
#include "api/rows.h"
#include "api/view.h"
#include "base/fd.h"
#include "base/map.h"
#include "base/text.h"
#include "wire/sse.h"

enum {
	PAGE_EVENTS = 1000,
	PAGES_MAX = 8, /* at a time, of all streams */
	FEEDS_MAX = 128,
	MESSAGE_MAX = 64 << 10,
};

struct feed {
	struct list link;
	struct call *call;
	struct events_live *live; /* of other nodes; NULL: none of them */
	bool others;              /* none of this node's */
	bool started;             /* `last` is right */
	uint64_t last;
	uint64_t operation; /* 0: all events */
	char deployment[MSG_NAME];
	bool dirty;      /* rows may have changed */
	struct map sent; /* row id -> digest of what was sent, as a pointer */
	uint64_t key[2]; /* of the digest */
	struct buf page; /* older events */
	size_t page_at;
	bool has_page;
	bool asking;
	uint64_t asked_newest;
	bool quiet; /* nothing was sent since the last tick */
	bool pumping;
};

static void pump(struct feed *f);

/* ---- life ---- */

static void
page_drop(struct feed *f)
{
	if (f->has_page)
		f->call->server->paging--;
	f->has_page = false;
	buf_fini(&f->page);
	buf_init(&f->page, MEM_API, PAGE_EVENTS * sizeof(struct msg_event));
}

static void
feed_free(struct call *call)
{
	struct feed *f = call->stream;

	list_remove(&f->link);
	events_live_free(f->live);
	page_drop(f);
	map_fini(&f->sent);
	mem_free(f);
	call->stream = NULL;
}

static void
on_drained(struct call *call)
{
	pump(call->stream);
}

static struct feed *
feed_open(struct call *call)
{
	struct list *it, *next;
	struct err err = {0};
	size_t count = 0;

	list_each (it, next, &call->server->feeds) {
		count++;
	}
	struct feed *f = count < FEEDS_MAX ? mem_zalloc(MEM_API, sizeof(*f)) : NULL;
	if (!f) {
		err_set(&err, ERR_LIMIT, "too many event streams");
		call_problem_status(call, &err, 503);
		return NULL;
	}
	f->call = call;
	map_init(&f->sent, MEM_API);
	buf_init(&f->page, MEM_API, PAGE_EVENTS * sizeof(struct msg_event));
	list_push(&call->server->feeds, &f->link);
	call->stream = f;
	call->stream_free = feed_free;
	call->endless = true;
	call->on_drained = on_drained;
	return f;
}

/* Last-Event-ID, else ?since=. False: it was answered. */
static bool
take_since(struct call *call, struct feed *f)
{
	uint64_t since = UINT64_MAX;

	if (!call_query_u64(call, "since", INT64_MAX, &since))
		return false;
	if (call->last_event_id[0])
		text_u64(call->last_event_id, INT64_MAX, &since);
	if (since != UINT64_MAX) {
		f->last = since;
		f->started = true;
	}
	return true;
}

/* ---- sending ---- */

static void
send_message(struct feed *f, const char *id, const char *name, const struct buf *data)
{
	struct buf b;

	buf_init(&b, MEM_API, 2 * MESSAGE_MAX);
	sse_put(&b, id, name, (const char *)data->data, data->length);
	if (buf_ok(&b) && buf_ok(data))
		call_write(f->call, b.data, b.length);
	else
		conn_close(f->call->conn);
	buf_fini(&b);
	f->quiet = false;
}

static void
send_event(struct feed *f, const struct msg_event *e)
{
	char id[24], own[MSG_NAME];
	struct buf b;
	struct json j;

	if (f->operation && e->operation != f->operation)
		return;
	buf_init(&b, MEM_API, MESSAGE_MAX);
	json_init(&j, &b);
	events_own_node(f->call->server, own);
	view_event(&j, own, e);
	text_format(id, sizeof(id), "%llu", (unsigned long long)e->id);
	send_message(f, id, "event", &b);
	buf_fini(&b);
}

static void
send_lost(struct feed *f, uint64_t from, uint64_t to)
{
	struct buf b;

	if (f->operation)
		return;
	buf_init(&b, MEM_API, 256);
	buf_printf(&b, "{\"from\":%llu,\"to\":%llu}", (unsigned long long)from,
		   (unsigned long long)to);
	send_message(f, NULL, "lost", &b);
	buf_fini(&b);
}

/* ---- pages of older events ---- */

static void
page_answered(void *arg, int status, const struct err *err, const void *body, size_t bytes,
	      int *fds, size_t count)
{
	struct call *call = arg;
	struct feed *f = call->stream;
	struct err ignored = {0};

	(void)err, (void)body, (void)bytes;
	if (call->conn && f) {
		f->asking = false;
		if (status == 0 && count == 1 && fd_is_sealed(fds[0]) &&
		    fd_read_all(fds[0], &f->page, &ignored) == 0 &&
		    f->page.length % sizeof(struct msg_event) == 0) {
			f->page_at = 0;
			if (f->page.length == 0) {
				page_drop(f);
				f->last = f->asked_newest > f->last ? f->asked_newest : f->last;
			}
		} else {
			page_drop(f); /* the next wake-up tries again */
		}
		/* Not at once after a bad one: it would be asked for again and again. */
		if (f->has_page || f->last >= f->asked_newest)
			pump(f);
	}
	call_unref(call);
}

static void
ask_page(struct feed *f)
{
	struct server *s = f->call->server;
	struct msg_events_op op = {.since = f->last, .limit = PAGE_EVENTS};
	struct err err = {0};

	if (f->asking || s->paging >= PAGES_MAX)
		return;
	if (station_ask(s->station, ROLE_SCHEDULER, 0, MSG_OP_EVENTS, &op, sizeof(op), NULL, 0,
			CALL_ASK_MS, page_answered, f->call, &err) < 0)
		return;
	call_ref(f->call);
	f->asking = true;
	f->asked_newest = s->bus.newest;
	f->has_page = true;
	s->paging++;
}

/* True while the page has more. */
static bool
send_from_page(struct feed *f)
{
	struct msg_event e;

	if (!f->has_page || f->asking)
		return false;
	if (f->page_at >= f->page.length) {
		page_drop(f);
		return false;
	}
	memcpy(&e, f->page.data + f->page_at, sizeof(e));
	f->page_at += sizeof(e);
	if (!bus_event_ok(&e) || e.id <= f->last)
		return true;
	if (e.id > f->last + 1 && f->last > 0)
		send_lost(f, f->last + 1, e.id - 1);
	send_event(f, &e);
	f->last = e.id;
	return true;
}

/* True when something was sent and there may be more. */
static bool
send_next(struct feed *f)
{
	struct bus *bus = &f->call->server->bus;

	if (send_from_page(f))
		return true;
	if (f->asking || !bus->known)
		return false;
	if (!f->started) {
		f->last = bus->newest;
		f->started = true;
	}
	if (f->last >= bus->newest)
		return false;
	const struct msg_event *e = bus_get(bus, f->last + 1);
	if (!e) {
		ask_page(f);
		return false;
	}
	send_event(f, e);
	f->last = e->id;
	return true;
}

/* ---- rows of an operation ---- */

/* Whether this differs from what was sent for the row before. */
static bool
is_news(struct feed *f, uint64_t id, const struct buf *b)
{
	static const char seed[16] = "zlayer feed row";
	uint64_t key[2];

	memcpy(key, seed, sizeof(key));
	uint64_t digest = map_siphash(key, b->data, b->length) | 1;
	if ((uintptr_t)map_get_u64(&f->sent, id) == (uintptr_t)digest)
		return false;
	int rc = map_put_u64(&f->sent, id, (void *)(uintptr_t)digest);

	(void)rc; /* without memory it is told again */
	return true;
}

static const struct msg_operation *
operation_row(struct feed *f)
{
	return rows_get(f->call->server, ROLE_SCHEDULER, MSG_TABLE_OPERATION, f->operation);
}

static void
send_operation(struct feed *f, const struct msg_operation *o, const char *name)
{
	struct buf b;
	struct json j;

	buf_init(&b, MEM_API, MESSAGE_MAX);
	json_init(&j, &b);
	view_operation(&j, o);
	if (strcmp(name, "result") == 0 || is_news(f, UINT64_MAX, &b))
		send_message(f, NULL, name, &b);
	buf_fini(&b);
}

static bool
of_deployment(const void *row, void *arg)
{
	const struct msg_replica *r = row;
	const struct feed *f = arg;

	return strncmp(r->deployment_name, f->deployment, sizeof(r->deployment_name)) == 0;
}

static void
send_replica(struct feed *f, const struct msg_replica *r)
{
	struct buf b;
	struct json j;

	buf_init(&b, MEM_API, MESSAGE_MAX);
	json_init(&j, &b);
	/* The row tells news apart, and how far a pull has come: the container's figures always
	 * move. */
	const struct msg_container *c =
		rows_get(f->call->server, ROLE_RUNTIME, MSG_TABLE_CONTAINER, r->id);

	buf_put(&b, r, sizeof(*r));
	if (c) {
		buf_u64(&b, c->pull_bytes);
		buf_u32(&b, c->pull_layers);
		buf_u32(&b, c->pulling);
	}
	bool news = is_news(f, r->id, &b);
	buf_reset(&b);
	view_replica(&j, NULL, f->call->server, r);
	if (news)
		send_message(f, NULL, "replica", &b);
	buf_fini(&b);
}

/* False when there was no room for all: they come when there is. */
static bool
send_rows(struct feed *f)
{
	const struct msg_operation *o = operation_row(f);
	struct rows rows;
	bool all = true;

	if (!f->dirty)
		return true;
	if (!o) {
		/* Forgotten, unless all rows are only on their way. */
		f->dirty = !rows_whole(f->call->server, ROLE_SCHEDULER);
		return true;
	}
	text_ncopy(f->deployment, sizeof(f->deployment), o->deployment_name,
		   strnlen(o->deployment_name, sizeof(o->deployment_name) - 1));
	send_operation(f, o, "operation");
	rows_collect(f->call->server, ROLE_SCHEDULER, MSG_TABLE_REPLICA, of_deployment, f,
		     rows_by_replica, &rows);
	all = !rows.failed;
	for (size_t i = 0; i < rows.count && f->call->conn; i++) {
		if (!call_room(f->call)) {
			all = false;
			break;
		}
		send_replica(f, rows.items[i]);
	}
	rows_fini(&rows);
	f->dirty = !all;
	return all;
}

static void
finish_operation(struct feed *f)
{
	const struct msg_operation *o = operation_row(f);
	struct call *call = f->call;

	if (!f->started || f->asking || f->has_page || f->last < call->server->bus.newest ||
	    !call->server->bus.known)
		return;
	if (o && o->state == MSG_OPERATION_RUNNING)
		return;
	if (o)
		send_operation(f, o, "result");
	call_end(call);
}

static void
pump(struct feed *f)
{
	struct call *call = f->call;

	if (!f || f->pumping)
		return;
	f->pumping = true;
	call_ref(call);
	if (f->operation)
		send_rows(f);
	while (call->conn && call->stream && call_room(call) && !f->others && send_next(f))
		continue;
	if (call->conn && call->stream && f->live)
		events_live_pump(f->live);
	if (call->conn && call->stream) {
		f->pumping = false;
		if (f->operation && !f->dirty)
			finish_operation(f);
	}
	call_unref(call);
}

/* ---- from the ring ---- */

void
feed_wake(struct server *s)
{
	struct list *it, *next;

	list_each (it, next, &s->feeds) {
		struct feed *f = container_of(it, struct feed, link);

		f->dirty = true;
		pump(f);
	}
}

static void
newest_answered(void *arg, int status, const struct err *err, const void *body, size_t bytes,
		int *fds, size_t count)
{
	struct server *s = arg;
	struct err ignored = {0};
	struct msg_event e;
	struct buf b;

	(void)err, (void)body, (void)bytes;
	if (status != 0 || count != 1)
		return; /* the tick asks again */
	buf_init(&b, MEM_API, PAGE_EVENTS * sizeof(e));
	if (fd_is_sealed(fds[0]) && fd_read_all(fds[0], &b, &ignored) == 0) {
		if (b.length >= sizeof(e)) {
			memcpy(&e, b.data + b.length / sizeof(e) * sizeof(e) - sizeof(e),
			       sizeof(e));
			bus_put(&s->bus, &e);
		}
		s->bus.known = true;
	}
	buf_fini(&b);
	feed_wake(s);
}

void
feed_scheduler_here(struct server *s)
{
	struct msg_events_op op = {.since = 0, .limit = 1};
	struct err err = {0};

	if (station_ask(s->station, ROLE_SCHEDULER, 0, MSG_OP_EVENTS, &op, sizeof(op), NULL, 0,
			CALL_ASK_MS, newest_answered, s, &err) < 0)
		s->bus.known = s->bus.newest > 0;
}

void
feed_tick(struct server *s)
{
	static const char beat[] = ": still here\n\n";
	struct list *it, *next;

	if (!s->bus.known && station_reader(s->station, ROLE_SCHEDULER, 0))
		feed_scheduler_here(s);
	list_each (it, next, &s->feeds) {
		struct feed *f = container_of(it, struct feed, link);

		if (f->quiet && call_room(f->call))
			call_write(f->call, beat, sizeof(beat) - 1);
		f->quiet = true;
	}
	feed_wake(s);
}

/* ---- handlers ---- */

static const struct msg_operation *
find_operation(struct call *call)
{
	const struct msg_operation *o = NULL;
	struct err err = {0};
	uint64_t id;

	rows_sync_role(call->server, ROLE_SCHEDULER);
	if (text_u64(call->param[0], INT64_MAX, &id))
		o = rows_get(call->server, ROLE_SCHEDULER, MSG_TABLE_OPERATION, id);
	if (!o) {
		err_set(&err, ERR_NOT_FOUND, "there is no operation \"%.40s\"", call->param[0]);
		call_problem(call, &err);
	}
	return o;
}

static void
put_operation(struct json *j, struct server *s, const void *row)
{
	(void)s;
	view_operation(j, row);
}

void
feed_operations(struct call *call)
{
	rows_answer(call, &(struct rows_list){ROLE_SCHEDULER, MSG_TABLE_OPERATION, NULL, NULL,
					      rows_by_operation, put_operation});
}

void
feed_operation(struct call *call)
{
	const struct msg_operation *o = find_operation(call);
	struct buf b;
	struct json j;

	if (!o)
		return;
	buf_init(&b, MEM_API, MESSAGE_MAX);
	json_init(&j, &b);
	view_operation(&j, o);
	call_json(call, 200, NULL, &b);
}

void
feed_operation_stream(struct call *call)
{
	const struct msg_operation *o = find_operation(call);

	if (!o)
		return;
	struct feed *f = feed_open(call);
	if (!f || !take_since(call, f))
		return;
	f->operation = o->id;
	f->started = true; /* without an id: what is kept of it, from its beginning */
	f->dirty = true;
	call_stream(call, "text/event-stream");
	pump(f);
}

/* False: it was answered. */
static bool
open_live(struct feed *f, const struct events_live_options *options)
{
	struct err err = {0};

	f->live = events_live_new(f->call, options);
	if (f->live)
		return true;
	err_set(&err, ERR_NO_MEMORY, "no memory for an event stream");
	call_problem(f->call, &err);
	return false;
}

/* Likewise. */
static bool
take_others(struct call *call, struct feed *f)
{
	const struct msg_member *only;
	int64_t after = 0;

	if (!call_query_time(call, "after", &after) || !events_query_node(call, &only))
		return false;
	f->others = only && !only->self;
	if (only && only->self)
		return true;
	return open_live(f, &(struct events_live_options){
				    .kind = &events_kind, .only = only, .after_wall_ns = after});
}

void
feed_events_stream(struct call *call)
{
	struct feed *f = feed_open(call);

	if (!f || !take_since(call, f) || !take_others(call, f))
		return;
	call_stream(call, "text/event-stream");
	pump(f);
}

void
feed_flows_stream(struct call *call)
{
	const struct msg_member *only;
	struct msg_flows_op filter;

	if (!flows_query(call, &filter) || !events_query_node(call, &only))
		return;
	filter.observe = filter.verdict != MSG_FLOW_DROPPED;
	struct feed *f = feed_open(call);
	if (!f)
		return;
	f->others = true;
	if (!open_live(f, &(struct events_live_options){.kind = &flows_kind,
							.only = only,
							.filter = &filter,
							.filter_bytes = sizeof(filter)}))
		return;
	call_stream(call, "text/event-stream");
	pump(f);
}
