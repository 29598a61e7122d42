/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The newest events of all nodes: everybody is asked at once, and what came is put in order when
 * the last one has answered or was given up.
 */
#include "api/events.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "api/cluster.h"
#include "api/nodes.h"
#include "api/route.h"
#include "api/view.h"
#include "base/fd.h"
#include "base/text.h"

enum {
	ANSWER_MAX = 32 << 20,
	EVENTS_DEFAULT = 200,
	EVENTS_MAX = 1000,       /* of one node */
	EVENTS_TOGETHER = 10000, /* that are kept for one answer */
};

/* ---- nodes ---- */

void
events_own_node(struct server *s, char out[MSG_NAME])
{
	const struct msg_cluster *c = cluster_row(s);
	const struct msg_member *self = c && c->self ? nodes_get(s, c->self) : NULL;

	out[0] = '\0';
	if (self)
		text_ncopy(out, MSG_NAME, self->name, strnlen(self->name, MSG_NAME - 1));
}

static bool
is_other(const void *row, void *arg)
{
	(void)arg;
	return !((const struct msg_member *)row)->self;
}

static int
by_id(const void *a, const void *b)
{
	const struct msg_member *x = *(const void *const *)a, *y = *(const void *const *)b;

	return (x->node > y->node) - (x->node < y->node);
}

void
events_nodes(struct server *s, struct rows *out)
{
	rows_collect(s, ROLE_SCHEDULER, MSG_TABLE_MEMBER, is_other, NULL, by_id, out);
}

bool
events_query_node(struct call *call, const struct msg_member **out)
{
	struct err err = {0};
	char name[MSG_NAME];

	*out = NULL;
	if (!call_query(call, "node", name, sizeof(name)))
		return true;
	if (call->answered)
		return false;
	*out = nodes_find(call->server, name);
	if (*out)
		return true;
	err_set(&err, ERR_NOT_FOUND, "there is no node \"%s\"", name);
	err_fix(&err, "zlayer node ls shows those that there are");
	call_problem(call, &err);
	return false;
}

bool
events_read(const int *fds, size_t count, struct buf *out)
{
	struct err ignored = {0};

	if (count != 1 || !fd_is_sealed(fds[0]) || fd_read_all(fds[0], out, &ignored) < 0 ||
	    out->length % sizeof(struct msg_event))
		return false;
	const struct msg_event *events = (const void *)out->data;
	for (size_t i = 0; i < out->length / sizeof(*events); i++) {
		if (!bus_event_ok(&events[i]))
			return false;
	}
	return true;
}

/* ---- the kind ---- */

static int
ask_events(struct station *st, const struct events_ask *q, station_answer_fn done, void *arg,
	   struct err *err)
{
	const struct msg_events_op own = {.since = q->since, .limit = q->limit};
	const struct msg_far_events far = {
		.node = q->node, .wait = q->wait, .since = q->since, .limit = q->limit};

	if (q->node)
		return station_ask(st, ROLE_SCHEDULER, 0, MSG_OP_FAR_EVENTS, &far, sizeof(far),
				   NULL, 0, CALL_ASK_MS, done, arg, err);
	return station_ask(st, ROLE_SCHEDULER, 0, MSG_OP_EVENTS, &own, sizeof(own), NULL, 0,
			   CALL_ASK_MS, done, arg, err);
}

static uint64_t
event_id(const void *row)
{
	return ((const struct msg_event *)row)->id;
}

static int64_t
event_wall_ns(const void *row)
{
	return ((const struct msg_event *)row)->wall_ns;
}

static void
event_view(struct json *j, const char *node, const void *row)
{
	view_event(j, node, row);
}

const struct events_kind events_kind = {
	.message = "event",
	.row_bytes = sizeof(struct msg_event),
	.rows_max = EVENTS_MAX,
	.ask = ask_events,
	.read = events_read,
	.id = event_id,
	.wall_ns = event_wall_ns,
	.view = event_view,
};

/* ---- asking all ---- */

struct part {
	struct all *all;
	char name[MSG_NAME];
	bool far; /* another node's, and asked for */
	struct buf events;
	struct err err;
};

struct all {
	struct call *call;
	const struct events_kind *kind;
	char filter[EVENTS_FILTER_MAX];
	uint32_t limit;
	size_t waits; /* for so many answers */
	size_t count;
	size_t left_out;     /* nodes that are too many */
	struct part parts[]; /* the first is this node */
};

struct shown {
	const struct part *part;
	const void *row;
	int64_t wall_ns;
	uint64_t id;
};

static void
all_free(struct all *a)
{
	for (size_t i = 0; i < a->count; i++)
		buf_fini(&a->parts[i].events);
	mem_free(a);
}

static int
by_time(const void *a, const void *b)
{
	const struct shown *x = a, *y = b;

	if (x->wall_ns != y->wall_ns)
		return x->wall_ns < y->wall_ns ? -1 : 1;
	if (x->part != y->part)
		return x->part < y->part ? -1 : 1;
	return (x->id > y->id) - (x->id < y->id);
}

static void
put_away(struct json *j, const char *name, const struct err *err)
{
	struct msg_reason reason;

	msg_reason_from(err, &reason);
	json_object(j, NULL);
	json_text(j, "node", name);
	view_reason(j, "reason", &reason);
	json_end(j);
}

static const void *
row_of(const struct part *p, size_t i)
{
	return p->events.data + i * p->all->kind->row_bytes;
}

/* Without the mark. */
static size_t
rows_of(const struct part *p)
{
	size_t count = p->events.length / p->all->kind->row_bytes;

	return count > 0 && p->all->kind->marks ? count - 1 : count;
}

/* The id of its newest; 0: there is none. */
static uint64_t
newest_of(const struct part *p)
{
	size_t count = p->events.length / p->all->kind->row_bytes;

	return count ? p->all->kind->id(row_of(p, count - 1)) : 0;
}

static void
put_all(struct json *j, const struct all *a, const struct shown *shown, size_t count)
{
	struct err many = {0};

	json_object(j, NULL);
	json_array(j, "items");
	for (size_t i = count > a->limit ? count - a->limit : 0; i < count; i++)
		a->kind->view(j, shown[i].part->name, shown[i].row);
	json_end(j);
	json_array(j, "away");
	for (size_t i = 1; i < a->count; i++) {
		if (a->parts[i].err.kind)
			put_away(j, a->parts[i].name, &a->parts[i].err);
	}
	if (a->left_out) {
		err_set(&many, ERR_LIMIT, "%zu nodes were not asked", a->left_out);
		err_fix(&many, "?node=NAME asks one");
		put_away(j, NULL, &many);
	}
	json_end(j);
	json_u64(j, "newest", newest_of(&a->parts[0]));
	json_end(j);
}

static void
answer(struct all *a)
{
	struct shown *shown;
	size_t total = 0, at = 0;
	struct json j;
	struct buf b;

	for (size_t i = 0; i < a->count; i++)
		total += rows_of(&a->parts[i]);
	shown = mem_array(MEM_API, total + 1, sizeof(*shown));
	buf_init(&b, MEM_API, ANSWER_MAX);
	for (size_t i = 0; shown && i < a->count; i++) {
		for (size_t k = 0; k < rows_of(&a->parts[i]); k++) {
			const void *row = row_of(&a->parts[i], k);

			shown[at++] = (struct shown){&a->parts[i], row, a->kind->wall_ns(row),
						     a->kind->id(row)};
		}
	}
	if (shown) {
		qsort(shown, at, sizeof(*shown), by_time);
		json_init(&j, &b);
		put_all(&j, a, shown, at);
	} else {
		b.failed = true;
	}
	call_json(a->call, 200, NULL, &b);
	mem_free(shown);
}

static void
finish(struct all *a)
{
	struct call *call = a->call;

	if (call->conn && a->parts[0].err.kind)
		call_problem(call, &a->parts[0].err);
	else if (call->conn)
		answer(a);
	all_free(a);
	call_unref(call);
}

static void
answered(void *arg, int status, const struct err *err, const void *body, size_t bytes, int *fds,
	 size_t count)
{
	struct part *p = arg;
	struct all *a = p->all;

	(void)body, (void)bytes;
	a->call->server->event_list_asks -= p->far;
	if (status != 0)
		p->err = *err;
	else if (!a->kind->read(fds, count, &p->events))
		err_set(&p->err, ERR_CORRUPT, "what %s said is damaged",
			p->name[0] ? p->name : "the scheduler");
	if (p->err.kind)
		buf_reset(&p->events);
	if (--a->waits == 0)
		finish(a);
}

static void
ask(struct part *p, uint32_t node, uint32_t limit)
{
	struct server *s = p->all->call->server;
	const struct events_ask q = {.node = node, .limit = limit, .filter = p->all->filter};
	int rc = p->all->kind->ask(s->station, &q, answered, p, &p->err);

	p->all->waits += rc == 0;
	p->far = node != 0 && rc == 0;
	s->event_list_asks += p->far;
}

static void
add_part(struct all *a, const char *name, uint32_t node, uint32_t limit)
{
	struct part *p = &a->parts[a->count++];

	p->all = a;
	text_ncopy(p->name, sizeof(p->name), name, strnlen(name, MSG_NAME - 1));
	buf_init(&p->events, MEM_API, a->kind->rows_max * a->kind->row_bytes);
	ask(p, node, limit);
}

void
events_list_all(struct call *call, const struct events_kind *kind, const struct msg_member *only,
		const void *filter, size_t filter_bytes, uint32_t limit)
{
	struct msg_member one;
	char own[MSG_NAME];
	struct rows rows;
	struct err err = {0};

	if (only)
		one = *only; /* rows move */
	events_own_node(call->server, own);
	events_nodes(call->server, &rows);
	if (only)
		rows.count = 0;
	size_t others = rows.count < EVENTS_NODES_MAX ? rows.count : EVENTS_NODES_MAX;
	if (call->server->event_list_asks + others > EVENTS_LIST_ASKS_MAX) {
		rows_fini(&rows);
		err_set(&err, ERR_LIMIT, "too many lists of all nodes are asked for now");
		err_fix(&err, "try again in a moment; ?node=NAME asks one node");
		call_problem_status(call, &err, 503);
		return;
	}
	assert(filter_bytes <= EVENTS_FILTER_MAX);
	uint32_t each = (uint32_t)(EVENTS_TOGETHER / (others + 1));
	struct all *a =
		rows.failed ? NULL
			    : mem_zalloc(MEM_API, sizeof(*a) + (others + 1) * sizeof(a->parts[0]));
	if (!a) {
		rows_fini(&rows);
		err_set(&err, ERR_NO_MEMORY, "no memory for what all nodes say");
		call_problem(call, &err);
		return;
	}
	a->call = call;
	a->kind = kind;
	a->limit = limit;
	if (filter)
		memcpy(a->filter, filter, filter_bytes);
	a->left_out = rows.count - others;
	call_ref(call);
	a->waits = 1; /* until all are asked */
	if (only && !one.self)
		add_part(a, one.name, one.node, limit);
	else
		add_part(a, own, 0, limit);
	for (size_t i = 0; i < others; i++) {
		const struct msg_member *m = rows.items[i];

		add_part(a, m->name, m->node, limit < each ? limit : each);
	}
	rows_fini(&rows);
	if (--a->waits == 0)
		finish(a);
}

/* ---- one, or all ---- */

/* Another node that is asked for those above its newest takes the id for one of another life, and
 * gives what it has: as a stream wants it, and a list does not. */
static size_t
first_above(const struct msg_event *events, size_t count, uint64_t since)
{
	size_t i = 0;

	while (i < count && events[i].id <= since)
		i++;
	return i;
}

/* Of one node, whose name is kept where a parameter would be. */
static void
one_answered(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	struct buf page, b;
	struct json j;
	uint64_t since = 0;

	(void)body, (void)bytes;
	buf_init(&page, MEM_API, EVENTS_MAX * sizeof(struct msg_event));
	bool good =
		events_read(fds, count, &page) && call_query_u64(call, "since", INT64_MAX, &since);
	if (call_answer_begin(call, "scheduler", good, ANSWER_MAX, &b, &j)) {
		const struct msg_event *events = (const void *)page.data;
		size_t n = page.length / sizeof(*events), first = first_above(events, n, since);

		json_array(&j, "items");
		for (size_t i = first; i < n; i++)
			view_event(&j, call->param[0], &events[i]);
		json_end(&j);
		json_array(&j, "away");
		json_end(&j);
		json_u64(&j, "newest", n > first ? events[n - 1].id : 0);
		json_end(&j);
		call_json(call, 200, NULL, &b);
	}
	buf_fini(&page);
}

static void
ask_one(struct call *call, const struct msg_member *m, uint64_t since, uint32_t limit)
{
	const struct msg_events_op own = {.since = since, .limit = limit};
	const struct msg_far_events far = {.node = m ? m->node : 0, .since = since, .limit = limit};

	if (m && !m->self) {
		text_ncopy(call->param[0], MSG_NAME, m->name, strnlen(m->name, MSG_NAME - 1));
		call_ask(call, ROLE_SCHEDULER, MSG_OP_FAR_EVENTS, &far, sizeof(far), NULL, 0,
			 CALL_ASK_MS, one_answered);
		return;
	}
	events_own_node(call->server, call->param[0]);
	call_ask(call, ROLE_SCHEDULER, MSG_OP_EVENTS, &own, sizeof(own), NULL, 0, CALL_ASK_MS,
		 one_answered);
}

void
events_list(struct call *call)
{
	uint64_t since = UINT64_MAX, limit = EVENTS_DEFAULT;
	const struct msg_member *m;
	struct err err = {0};
	char own[MSG_NAME];

	if (!call_query_u64(call, "since", INT64_MAX, &since) ||
	    !call_query_u64(call, "limit", EVENTS_MAX, &limit) || !events_query_node(call, &m))
		return;
	if (limit == 0) {
		err_set(&err, ERR_INVALID, "limit must be 1 to %d", EVENTS_MAX);
		call_problem(call, &err);
		return;
	}
	events_own_node(call->server, own);
	if (m || since != UINT64_MAX || !own[0]) /* ids are of one node */
		ask_one(call, m, since == UINT64_MAX ? 0 : since, (uint32_t)limit);
	else
		events_list_all(call, &events_kind, NULL, NULL, 0, (uint32_t)limit);
}
