/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one node has alone, for the others: logs and commands of its replicas, why nodes do not take
 * a service, which its conductor knows, its events (cluster_events.c), what its data path has seen
 * (cluster_flows.c), and room for a run (cluster_run.c). api asks its own scheduler, which asks the
 * other node's over a channel of its own (far_line.h): this is that side. cluster_far_serve.c is
 * the other one.
 *
 * A node that only dials out is asked to call back (cluster_callback.c); where this node is one
 * itself a third one, which both reach, has it called back and passes on (cluster_through.c).
 *
 * Who may ask is judged where a person asks: by the mode of that node's admin socket.
 *
 * A line that is broken by a node that does not answer any more is not mended here: who follows a
 * log asks again. Whatever is written to a line may end it, at once: `busy` keeps its owner until
 * the caller is through with both.
 */
#include "scheduler/cluster_far_inside.h"

#include <errno.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "ring/words.h"
#include "scheduler/far_line.h"
#include "scheduler/placing.h"

enum {
	ASKS_MAX = 192,     /* of this node's users */
	ROWS_NOW_MS = 4000, /* for those that there are: a list of all waits for the last node */
};

/* ---- why nodes do not take a service ---- */

static void
answer_why(struct cluster *c, const struct station_request *q, uint64_t service, uint32_t by,
	   const struct err *doubt, const struct buf *rows)
{
	const struct service *s = c->placing ? model_service_by_id(c->m, service) : NULL;
	struct msg_why_answer a = {
		.by = by, .passed_over = s ? placing_passed_over(c->placing, s->deployment) : 0};
	struct err err = {0};
	defer_close int fd = buf_ok(rows) ? fd_memfd_sealed("why", rows->data, rows->length) : -1;

	if (fd < 0) {
		err_set(&err, ERR_NO_MEMORY, "no memory to say why nodes do not take it");
		cluster_refuse(c, q, &err);
		return;
	}
	a.count = (uint32_t)(rows->length / sizeof(struct msg_why));
	if (doubt)
		msg_reason_from(doubt, &a.doubt);
	cluster_answer(c, q, &a, sizeof(a), &fd, 1);
}

static void
answer_own_why(struct cluster *c, const struct station_request *q, uint64_t service,
	       const struct err *doubt)
{
	struct buf rows;

	buf_init(&rows, MEM_SCHEDULER, CLUSTER_FAR_WHY_BYTES_MAX);
	cluster_far_own_why(c, service, &rows);
	answer_why(c, q, service, c->member ? c->keep.node : 0, doubt, &rows);
	buf_fini(&rows);
}

/* ---- asking ---- */

struct ask {
	struct list link;
	struct cluster *c;
	struct far_line *line; /* NULL: it has ended */
	uint32_t node;
	struct station_request request;
	bool answered, busy;
	uint64_t service; /* of a WHY; else 0 */
	bool run;         /* of a RUN */
	enum far_what what;
	bool waits; /* of one that is answered when there are some */
	int stream; /* -1: handed over, or none */
	struct buf call;
	struct cluster_await await; /* for it to call */
};

static void
ask_free_if_done(struct ask *a)
{
	if (a->line || a->busy)
		return;
	list_remove(&a->link);
	a->c->asks_count--;
	cluster_callback_forget(a->c, &a->await);
	fd_close(&a->stream);
	buf_fini(&a->call);
	mem_free(a);
}

static void
ask_end(struct ask *a)
{
	cluster_callback_forget(a->c, &a->await);
	if (a->line)
		far_line_end(a->line);
	a->line = NULL;
}

static void
answer_failed(struct ask *a, const struct err *err)
{
	if (a->answered)
		return;
	a->answered = true;
	if (a->service)
		answer_own_why(a->c, &a->request, a->service, err);
	else
		cluster_refuse(a->c, &a->request, err);
}

static void
ask_up(void *arg)
{
	struct ask *a = arg;

	a->busy = true;
	(void)far_line_send(a->line, &a->call);
	a->busy = false;
	ask_free_if_done(a);
}

static void
take_why(struct ask *a, const void *data, size_t bytes)
{
	struct err err = {0};
	struct buf rows;

	if (cluster_far_rows(a->what, data, bytes, &rows, &err) == 0) {
		a->answered = true;
		answer_why(a->c, &a->request, a->service, a->node, NULL, &rows);
	} else {
		answer_failed(a, &err);
	}
	buf_fini(&rows);
	ask_end(a);
}

/* Rows that are answered with as a file. */
static bool
wants_rows(const struct ask *a)
{
	return a->what == FAR_EVENTS || a->what == FAR_FLOWS;
}

static int
take_file(struct ask *a, const void *data, size_t bytes, struct err *err)
{
	defer_close int fd = -1;
	struct buf rows;

	if (cluster_far_rows(a->what, data, bytes, &rows, err) == 0) {
		fd = fd_memfd_sealed("rows", rows.data, rows.length);
		if (fd < 0)
			err_sys(err, errno, "what another node said cannot be given on");
	}
	buf_fini(&rows);
	if (fd < 0)
		return -1;
	a->answered = true;
	cluster_answer(a->c, &a->request, NULL, 0, &fd, 1);
	ask_end(a);
	return 0;
}

static void
ask_first(void *arg, const struct far_frame *f)
{
	struct ask *a = arg;
	struct err err = {0};
	const void *rest;
	size_t bytes;

	a->busy = true;
	if (!far_wire_get_answer(f->data, f->bytes, &err, &rest, &bytes))
		err_set(&err, ERR_CORRUPT, "what the other node said is damaged");
	if (!err.kind && a->service) {
		take_why(a, rest, bytes);
	} else if (!err.kind && wants_rows(a) && take_file(a, rest, bytes, &err) == 0) {
		; /* it is over */
	} else if (!err.kind && a->run &&
		   cluster_run_take(a->c, &a->request, a->node, rest, bytes, &err) == 0) {
		a->answered = true;
		ask_end(a);
	} else if (!err.kind && !a->run && !wants_rows(a) &&
		   far_line_open(a->line, fd_take(&a->stream), &err) == 0) {
		if (!a->answered)
			cluster_answer(a->c, &a->request, NULL, 0, NULL, 0);
		a->answered = true;
	} else {
		answer_failed(a, &err);
		ask_end(a);
	}
	a->busy = false;
	ask_free_if_done(a);
}

static void
ask_ended(void *arg, const struct err *why)
{
	struct ask *a = arg;
	struct err err = *why;

	if (!err.kind)
		err_set(&err, ERR_UNREACHABLE, "the other node ended the connection");
	a->line = NULL;
	answer_failed(a, &err);
	ask_free_if_done(a);
}

static const struct far_line_calls ask_calls = {ask_up, ask_first, ask_ended};

static int
no_way(const struct cluster_node *n, uint32_t node, struct err *err)
{
	char since[CLUSTER_FAR_SINCE_BYTES];

	if (!n || n->row.removed) {
		err_set(err, ERR_NOT_FOUND, "there is no node %u in this cluster", node);
		return err_fix(err, "zlayer node ls shows those that there are");
	}
	err_set(err, ERR_UNREACHABLE, "%s is not reachable", n->row.name);
	if (n->state == GOSSIP_LEFT) {
		err_why(err, "it was stopped");
	} else if (n->state == GOSSIP_DEAD) {
		text_time(n->since_wall_ns, 0, since, sizeof(since));
		err_why(err, "nobody has heard of it since %s", since);
	} else {
		err_why(err, "where it is to be reached is not known here");
	}
	return err_fix(err, "zlayer explain %s", n->row.name);
}

/* It has called. */
static void
ask_come(void *arg, struct channel *channel)
{
	struct ask *a = arg;

	far_line_take(a->line, channel);
}

/* To that node, or to one that passes on. */
static int
dial(struct ask *a, uint32_t node, enum channel_kind kind, struct err *err)
{
	struct cluster *c = a->c;
	struct channel *channel;
	struct addr address;

	if (!cluster_address(c, node, &address))
		return no_way(cluster_roster_find(c, node), node, err);
	if (channel_connect(station_loop(c->st), c->rules, &address, node, kind,
			    &far_line_channel_calls, a->line, &channel, err) < 0)
		return -1;
	far_line_channel(a->line, channel);
	return 0;
}

static int
have_called(struct ask *a, struct err *err)
{
	a->await.come = ask_come;
	a->await.arg = a;
	if (cluster_callback_await(a->c, &a->await, a->node))
		return 0;
	return err_set(err, ERR_LIMIT, "too many nodes are waited for to call back");
}

/* Neither of the two can connect to the other one. */
static int
go_through(struct ask *a, const struct cluster_node *n, struct err *err)
{
	uint32_t third = cluster_link_relay(a->c, n->row.node);

	if (third)
		return dial(a, third, CHANNEL_THROUGH, err);
	err_set(err, ERR_UNREACHABLE, "%s is not reachable", n->row.name);
	err_why(err, "`node.advertise` is none on both nodes, and there is no third one that is "
		     "alive and passes on");
	return err_fix(err, "have a node in the cluster that both can connect to");
}

static int
connect_to(struct cluster *c, struct ask *a, struct err *err)
{
	const struct cluster_node *n = cluster_roster_find(c, a->node);
	int rc;

	if (!c->shell) {
		err_set(err, ERR_UNREACHABLE, "this node does not speak with the others now");
		return err_why(err, "%s", c->unbound.what);
	}
	if (!n || n->row.removed || n->state == GOSSIP_DEAD || n->state == GOSSIP_LEFT)
		return no_way(n, a->node, err);
	if (far_line_new(station_loop(c->st), false, n->row.name, &ask_calls, a, &a->line, err) < 0)
		return -1;
	if (wants_rows(a) && !a->waits)
		far_line_patience(a->line, ROWS_NOW_MS);
	if (!cluster_link_hidden(n))
		rc = dial(a, a->node, CHANNEL_CALL, err);
	else if (!c->config->node.advertise_none)
		rc = have_called(a, err);
	else
		rc = go_through(a, n, err);
	if (rc < 0)
		ask_end(a);
	return rc;
}

static bool
needs_third(const struct cluster *c, uint32_t node)
{
	const struct cluster_node *n = cluster_roster_find(c, node);

	return c->config->node.advertise_none && n && cluster_link_hidden(n);
}

/* What comes before the call, for who passes it on. */
static void
put_through(struct buf *out, uint32_t node)
{
	const struct callback_message m = {CALLBACK_THROUGH, node};
	uint8_t head[CALLBACK_BYTES];

	callback_encode(&m, head);
	buf_put(out, head, sizeof(head));
}

void
cluster_far_ask(struct cluster *c, const struct station_request *q, uint32_t node,
		const struct far_call *call, int stream)
{
	struct ask *a = c->asks_count < ASKS_MAX ? mem_zalloc(MEM_SCHEDULER, sizeof(*a)) : NULL;
	struct err err = {0};

	if (!a) {
		fd_close(&stream);
		err_set(&err, ERR_LIMIT, "too many streams of other nodes are open");
		cluster_refuse(c, q, &err);
		return;
	}
	*a = (struct ask){.c = c, .node = node, .request = *q, .stream = stream};
	a->service = call->what == FAR_WHY ? call->service : 0;
	a->run = call->what == FAR_RUN;
	a->what = call->what;
	a->waits = call->what == FAR_FLOWS ? call->flows.wait != 0 : call->wait;
	list_init(&a->link);
	list_push(&c->asks, &a->link);
	c->asks_count++;
	buf_init(&a->call, MEM_SCHEDULER, CALLBACK_BYTES + FAR_HEAD + FAR_CALL_MAX);
	if (needs_third(c, node))
		put_through(&a->call, node);
	far_wire_put_call(&a->call, call);
	if (connect_to(c, a, &err) < 0) {
		answer_failed(a, &err);
		ask_free_if_done(a);
	}
}

static void
malformed(struct cluster *c, const struct station_request *q)
{
	struct err err = {0};

	err_set(&err, ERR_INVALID, "the request is malformed");
	cluster_refuse(c, q, &err);
}

static void
ask_exec(struct cluster *c, const struct station_request *q, const struct msg_far_exec *far,
	 int *fds)
{
	struct far_call call = {.what = FAR_EXEC, .exec = far->exec};
	struct err err = {0};
	struct words words;

	words_init(&words, MEM_SCHEDULER);
	if (words_read(&words, fds[1], &err) < 0) {
		cluster_refuse(c, q, &err);
	} else {
		call.words = words.text.data;
		call.words_bytes = words.text.length;
		call.exec.argc = (uint32_t)words.count;
		cluster_far_ask(c, q, far->node, &call, fd_take(&fds[0]));
	}
	words_fini(&words);
}

static void
ask_why(struct cluster *c, const struct station_request *q, uint64_t service)
{
	struct far_call call = {.what = FAR_WHY, .service = service};
	const struct service *s = model_service_by_id(c->m, service);
	uint32_t node = c->placing && s ? placing_conductor(c->placing, s->deployment) : 0;

	if (!s || !node || node == c->keep.node)
		answer_own_why(c, q, service, NULL);
	else
		cluster_far_ask(c, q, node, &call, -1);
}

static void
ask_flows(struct cluster *c, const struct station_request *q, const struct msg_flows_op *op)
{
	const struct far_call call = {.what = FAR_FLOWS, .flows = *op};
	struct err err = {0};

	if (op->node && op->node != c->m->node_id) {
		cluster_far_ask(c, q, op->node, &call, -1);
		return;
	}
	defer_close int fd = cluster_flows_own(c, op, &err);
	if (fd < 0)
		cluster_refuse(c, q, &err);
	else
		cluster_answer(c, q, NULL, 0, &fd, 1);
}

void
cluster_far_request(struct cluster *c, const struct station_request *q, const void *body,
		    size_t bytes, int *fds, size_t count)
{
	const struct msg_far_logs *logs = body;
	const struct msg_far_exec *exec = body;
	const struct msg_why_op *why = body;
	const struct msg_far_events *events = body;
	const struct msg_flows_op *flows = body;

	if (q->op == MSG_OP_FAR_LOGS && bytes == sizeof(*logs) && count == 1) {
		const struct far_call call = {.what = FAR_LOGS, .logs = logs->logs};

		cluster_far_ask(c, q, logs->node, &call, fd_take(&fds[0]));
	} else if (q->op == MSG_OP_FAR_EXEC && bytes == sizeof(*exec) && count == 2 &&
		   MSG_OK(exec->exec.user) && MSG_OK(exec->exec.workdir)) {
		ask_exec(c, q, exec, fds);
	} else if (q->op == MSG_OP_FAR_EVENTS && bytes == sizeof(*events)) {
		const struct far_call call = {
			.what = FAR_EVENTS,
			.wait = events->wait != 0,
			.events = {.since = events->since, .limit = events->limit}};

		cluster_far_ask(c, q, events->node, &call, -1);
	} else if (q->op == MSG_OP_FLOWS && bytes == sizeof(*flows) && flows_op_ok(flows)) {
		ask_flows(c, q, flows);
	} else if (q->op == MSG_OP_WHY && bytes == sizeof(*why) && why->service) {
		ask_why(c, q, why->service);
	} else {
		malformed(c, q);
	}
}
/* ---- ends ---- */

void
cluster_far_asks_part(struct cluster *c, uint32_t node, const struct err *err)
{
	struct list *it, *next;

	list_each (it, next, &c->asks) {
		struct ask *a = container_of(it, struct ask, link);

		if (a->node == node && a->line)
			far_line_break(a->line, err);
	}
}

void
cluster_far_asks_end(struct cluster *c)
{
	struct list *it, *next;

	list_each (it, next, &c->asks) {
		struct ask *a = container_of(it, struct ask, link);

		/* The successor is given the request again where it was not answered. */
		ask_end(a);
		ask_free_if_done(a);
	}
}
