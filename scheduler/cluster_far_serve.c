/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What other nodes ask this one for (cluster_far.c is the side that asks): this node asks its
 * runtime, as its own api would, or answers of what it knows itself.
 *
 * The node that is asked trusts members, who can have it run anything anyway (docs/security.md). It
 * gives what is its own alone, and asks no third one. Whatever is written to a line may end it, at
 * once: `busy` keeps its owner until the caller is through with both.
 */
#include "scheduler/cluster_far_inside.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/far_line.h"
#include "scheduler/placing.h"

enum {
	SERVES_MAX = 192, /* for all other nodes */
	SERVES_OF_NODE_MAX = 64,
	RUNTIME_MS = 8000,
	ROWS_WAIT_MS = 8000, /* less than FAR_LINE_FIRST_MS */
	WAITS_MAX = 64,      /* for events or flows, of all serves */
	WAITS_OF_NODE_MAX = 16,
};

/* ---- why nodes do not take a service ---- */

/* "not reachable" since when, as this node knows it. */
static void
add_since(const struct cluster *c, struct msg_why *row)
{
	const struct cluster_node *n = cluster_roster_find(c, row->id);
	char since[CLUSTER_FAR_SINCE_BYTES];

	if (!n || n->state != GOSSIP_DEAD || !n->since_wall_ns || row->flags & MSG_WHY_FITS)
		return;
	size_t used = strlen(row->text);
	text_time(n->since_wall_ns, 0, since, sizeof(since));
	text_format(row->text + used, sizeof(row->text) - used, " since %s", since);
}

/* Rows of struct msg_why, as this node sees it. */
void
cluster_far_own_why(struct cluster *c, uint64_t service, struct buf *rows)
{
	const struct service *s = model_service_by_id(c->m, service);

	if (c->placing && s)
		placing_why(c->placing, s, CLUSTER_FAR_WHY_ROWS_MAX, rows);
	for (size_t i = 0; i < rows->length / sizeof(struct msg_why); i++)
		add_since(c, (struct msg_why *)(void *)rows->data + i);
}

/* ---- serving ---- */

struct served {
	struct list link;
	struct cluster *c;
	struct far_line *line; /* NULL: it has ended */
	uint32_t node;
	int stream; /* ours, while the runtime is asked */
	bool asked, busy;
	uint64_t wait_until_ns; /* for events or flows; 0: it does not */
	enum far_what what;
	struct msg_events_op events;
	struct msg_flows_op flows;
};

static void
served_free_if_done(struct served *s)
{
	if (s->line || s->asked || s->busy)
		return;
	list_remove(&s->link);
	s->c->serves_count--;
	fd_close(&s->stream);
	mem_free(s);
}

static void
served_answer(struct served *s, const struct err *err, const struct buf *rest)
{
	struct buf out;

	buf_init(&out, MEM_SCHEDULER, FAR_HEAD + FAR_ANSWER_MAX);
	far_wire_put_answer(&out, err, rest ? rest->data : NULL, rest ? rest->length : 0);
	(void)far_line_send(s->line, &out);
	buf_fini(&out);
}

/* All that it gets. */
static void
served_last(struct served *s, const struct err *err, const struct buf *rest)
{
	s->busy = true;
	served_answer(s, err, rest);
	if (s->line)
		far_line_end(s->line);
	s->line = NULL;
	s->busy = false;
	served_free_if_done(s);
}

static void
served_refuse(struct served *s, const struct err *err)
{
	served_last(s, err, NULL);
}

static void
runtime_answered(void *arg, int status, const struct err *failed, const void *body, size_t bytes,
		 int *fds, size_t count)
{
	struct served *s = arg;
	struct err err = {0};

	(void)body, (void)bytes, (void)fds, (void)count;
	s->asked = false;
	if (!s->line) {
		served_free_if_done(s);
		return;
	}
	if (status != 0) {
		served_refuse(s, failed);
		return;
	}
	s->busy = true;
	served_answer(s, NULL, NULL);
	if (s->line && far_line_open(s->line, fd_take(&s->stream), &err) < 0 && s->line)
		far_line_break(s->line, &err);
	s->busy = false;
	served_free_if_done(s);
}

/* Of this node itself: it asks no third one. */
static bool
is_own(const struct cluster *c, uint64_t id, struct err *err)
{
	const struct replica *r = model_replica(c->m, id);

	if (r && !r->remote)
		return true;
	err_set(err, ERR_NOT_FOUND, "%s does not have this replica (any more)", c->keep.name);
	err_fix(err, "zlayer ps shows where it is");
	return false;
}

static void
ask_runtime(struct served *s, uint16_t op, const void *body, size_t bytes, int words)
{
	struct err err = {0};
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		err_sys(&err, errno, "%s cannot make a stream", s->c->keep.name);
		served_refuse(s, &err);
		return;
	}
	s->stream = pair[0];
	int fds[2] = {pair[1], words};
	int rc = station_ask(s->c->st, ROLE_RUNTIME, 0, op, body, bytes, fds, words < 0 ? 1 : 2,
			     RUNTIME_MS, runtime_answered, s, &err);
	fd_close(&pair[1]);
	if (rc < 0)
		served_refuse(s, &err);
	else
		s->asked = true;
}

static void
serve_exec(struct served *s, const struct far_call *call)
{
	struct err err = {0};
	defer_close int words = fd_memfd_sealed("words", call->words, call->words_bytes);

	if (words < 0) {
		err_sys(&err, errno, "%s cannot take the command", s->c->keep.name);
		served_refuse(s, &err);
		return;
	}
	ask_runtime(s, MSG_OP_EXEC, &call->exec, sizeof(call->exec), words);
}

static void
serve_run(struct served *s, const struct far_call *call)
{
	struct err err = {0};
	struct buf out;

	buf_init(&out, MEM_SCHEDULER, FAR_ANSWER_MAX - 64);
	if (cluster_run_serve(s->c, call, &out, &err) == 0)
		served_last(s, NULL, &out);
	else
		served_refuse(s, &err);
	buf_fini(&out);
}

/* There is something to be given to who waits. */
static bool
has_rows(const struct served *s)
{
	return s->what == FAR_FLOWS ? cluster_flows_has(s->c, &s->flows)
				    : cluster_events_has(s->c, s->events.since);
}

static int
give_rows(const struct served *s, struct buf *out, struct err *err)
{
	return s->what == FAR_FLOWS ? cluster_flows_give(s->c, &s->flows, out, err)
				    : cluster_events_give(s->c, &s->events, out, err);
}

static void
serve_rows(struct served *s)
{
	struct err err = {0};
	struct buf out;

	s->wait_until_ns = 0;
	buf_init(&out, MEM_SCHEDULER, FAR_ANSWER_MAX - 64);
	if (give_rows(s, &out, &err) == 0)
		served_last(s, NULL, &out);
	else
		served_refuse(s, &err);
	buf_fini(&out);
}

void
cluster_far_tick(struct cluster *c, uint64_t now_ns)
{
	struct list *it, *next;

	cluster_callback_tick(c, now_ns);
	list_each (it, next, &c->serves) {
		struct served *s = container_of(it, struct served, link);

		if (s->wait_until_ns && s->line && (now_ns >= s->wait_until_ns || has_rows(s)))
			serve_rows(s);
	}
}

static void
serve_why(struct served *s, uint64_t service)
{
	struct buf rows, out;

	buf_init(&rows, MEM_SCHEDULER, CLUSTER_FAR_WHY_BYTES_MAX);
	buf_init(&out, MEM_SCHEDULER, FAR_ANSWER_MAX - 64);
	cluster_far_own_why(s->c, service, &rows);
	for (size_t i = 0; i < rows.length / sizeof(struct msg_why); i++)
		far_wire_put_why(&out, (const struct msg_why *)(const void *)rows.data + i);
	served_last(s, NULL, &out);
	buf_fini(&rows);
	buf_fini(&out);
}

/* Who follows them must not keep others from logs and commands: beyond that they ask again. */
static bool
may_wait(const struct served *s)
{
	size_t all = 0, of_node = 0;

	for (struct list *it = s->c->serves.next; it != &s->c->serves; it = it->next) {
		const struct served *other = container_of(it, struct served, link);

		all += other->wait_until_ns != 0;
		of_node += other->wait_until_ns != 0 && other->node == s->node;
	}
	return all < WAITS_MAX && of_node < WAITS_OF_NODE_MAX;
}

static void
serve_or_wait(struct served *s, const struct far_call *call)
{
	bool wait = call->what == FAR_FLOWS ? call->flows.wait != 0 : call->wait;

	s->what = call->what;
	s->events = call->events;
	s->flows = call->flows;
	if (wait && !has_rows(s) && may_wait(s))
		s->wait_until_ns = world_mono_ns() + (uint64_t)ROWS_WAIT_MS * 1000000;
	else
		serve_rows(s);
}

static void
served_first(void *arg, const struct far_frame *f)
{
	struct served *s = arg;
	struct far_call call;
	struct err err = {0};

	if (!far_wire_get_call(f->data, f->bytes, &call)) {
		err_set(&err, ERR_CORRUPT, "%s does not understand the question", s->c->keep.name);
		served_refuse(s, &err);
		return;
	}
	switch (call.what) {
	case FAR_LOGS:
		if (is_own(s->c, call.logs.replica, &err))
			ask_runtime(s, MSG_OP_LOGS, &call.logs, sizeof(call.logs), -1);
		break;
	case FAR_EXEC:
		if (is_own(s->c, call.exec.replica, &err))
			serve_exec(s, &call);
		break;
	case FAR_WHY:
		serve_why(s, call.service);
		return;
	case FAR_RUN:
		serve_run(s, &call);
		return;
	case FAR_EVENTS:
	case FAR_FLOWS:
		serve_or_wait(s, &call);
		return;
	default:
		err_set(&err, ERR_UNSUPPORTED, "%s is of an older version and cannot do this",
			s->c->keep.name);
		break;
	}
	if (err.kind)
		served_refuse(s, &err);
}

static void
served_ended(void *arg, const struct err *why)
{
	struct served *s = arg;

	(void)why;
	s->line = NULL;
	served_free_if_done(s);
}

static const struct far_line_calls served_calls = {NULL, served_first, served_ended};

static size_t
served_of(const struct cluster *c, uint32_t node)
{
	size_t count = 0;

	for (struct list *it = c->serves.next; it != &c->serves; it = it->next)
		count += container_of(it, struct served, link)->node == node;
	return count;
}

void
cluster_far_channel(void *arg, struct channel *channel)
{
	struct cluster *c = arg;
	uint32_t node = channel_peer(channel)->node;
	struct served *s = c->m && cluster_has(c, node) && c->serves_count < SERVES_MAX &&
					   served_of(c, node) < SERVES_OF_NODE_MAX
				   ? mem_zalloc(MEM_SCHEDULER, sizeof(*s))
				   : NULL;
	struct err err = {0};

	if (!s || far_line_new(station_loop(c->st), true, channel_peer(channel)->name,
			       &served_calls, s, &s->line, &err) < 0) {
		log_event(LOG_WARN, "another node asks for more than this one can give at once",
			  log_u("node", node), LOG_END);
		mem_free(s);
		channel_abort(channel);
		return;
	}
	s->c = c;
	s->node = node;
	s->stream = -1;
	list_init(&s->link);
	list_push(&c->serves, &s->link);
	c->serves_count++;
	far_line_take(s->line, channel);
}
/* ---- ends ---- */

void
cluster_far_part(struct cluster *c, uint32_t node)
{
	struct list *it, *next;
	struct err err = {0};

	err_set(&err, ERR_UNREACHABLE, "the other node is no member of the cluster any more");
	cluster_far_asks_part(c, node, &err);
	cluster_callback_part(c, node);
	list_each (it, next, &c->serves) {
		struct served *s = container_of(it, struct served, link);

		if (s->node == node && s->line)
			far_line_break(s->line, &err);
	}
}

void
cluster_far_end(struct cluster *c)
{
	struct list *it, *next;

	cluster_far_asks_end(c);
	cluster_callback_end(c);
	list_each (it, next, &c->serves) {
		struct served *s = container_of(it, struct served, link);

		if (s->line)
			far_line_end(s->line);
		s->line = NULL;
		s->asked = false; /* after this no answers come */
		served_free_if_done(s);
	}
}
