/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log streams. Each replica of the target is a source: a stream of the runtime (ring/msg.h frames),
 * or of another node's by way of the scheduler (logs_source.c), and all of them become one
 * (logs_merge.c). Memory: one frame or two per source; a source that is ahead is not read, so back
 * pressure goes to the runtime. A stream that follows takes in
 * replicas that come later, from their first line. One that follows a single replica ends with it:
 * when a run of a job is over, or the replica is removed, the runtime is told that no more is
 * waited for, and sends what is left.
 *
 * A way to another node may be lost in the middle. That is said as a line of its own ("lost"); a
 * stream that follows asks again as long as the replica is there, from the last line that came.
 */
#include "api/logs.h"

#include <string.h>
#include <sys/socket.h>
#include "api/logs_inside.h"
#include "api/nodes.h"
#include "api/replicas.h"
#include "api/route.h"
#include "base/fd.h"
#include "base/text.h"

enum {
	SOURCES_MAX = 64, /* at a time */
	STREAMS_MAX = 64,
	TICK_MS = 50,
	RETRY_MS = 500,
	LOST_FIRST_MS = 500,
	LOST_MAX_MS = 5000,
	LOST_FOR_MS = 600000, /* so long a node that is away may have been it */
	SEEN_MAX = 1024,
};

/* ---- life ---- */

static void
lost_free(struct logs_lost *l)
{
	list_remove(&l->link);
	mem_free(l);
}

static void
on_timer_closed(uv_handle_t *handle)
{
	mem_free(handle->data);
}

static void
stream_free(struct call *call)
{
	struct logs_stream *s = call->stream;
	struct list *it, *next;

	list_remove(&s->link);
	list_each (it, next, &s->sources) {
		logs_source_drop(container_of(it, struct logs_source, link));
	}
	list_each (it, next, &s->losts) {
		lost_free(container_of(it, struct logs_lost, link));
	}
	map_fini(&s->seen);
	s->call = NULL;
	s->closing = true;
	call->stream = NULL;
	uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

void
logs_ask_again_later(struct logs_stream *s, const struct logs_source *src)
{
	struct logs_lost *l = mem_zalloc(MEM_API, sizeof(*l));

	if (!l) {
		map_remove_u64(&s->seen, src->replica); /* from its first line, then */
		s->retry_ms = uv_now(s->timer.loop) + RETRY_MS;
		return;
	}
	*l = (struct logs_lost){
		.replica = src->replica, .last_ns = src->last_ns, .same = src->same};
	l->wait_ms = src->wait_ms ? src->wait_ms * 2 : LOST_FIRST_MS;
	if (l->wait_ms > LOST_MAX_MS)
		l->wait_ms = LOST_MAX_MS;
	l->since_ms = uv_now(s->timer.loop);
	l->due_ms = l->since_ms + l->wait_ms;
	list_init(&l->link);
	list_push(&s->losts, &l->link);
}

static void
on_drained(struct call *call)
{
	logs_merge_pump(call->stream);
}

/* While the scheduler is away, what has no row may well be there. */
static bool
is_told(const struct logs_stream *s)
{
	return rows_whole(s->call->server, ROLE_SCHEDULER);
}

/* Nothing can come any more. */
static bool
is_over(const struct logs_stream *s)
{
	const struct msg_replica *r =
		rows_get(s->call->server, ROLE_SCHEDULER, MSG_TABLE_REPLICA, s->only);

	return !r ||
	       (r->job && (r->state == MSG_REPLICA_STOPPED || r->state == MSG_REPLICA_FAILED));
}

static void
tell_end(struct logs_stream *s)
{
	struct list *it, *next;
	uv_os_fd_t fd;

	if (!s->follow || !s->only || !is_told(s) || !is_over(s))
		return;
	list_each (it, next, &s->sources) {
		struct logs_source *src = container_of(it, struct logs_source, link);

		if (src->told || src->state != SOURCE_OPEN || src->closing ||
		    uv_fileno((uv_handle_t *)&src->pipe, &fd) < 0)
			continue;
		shutdown(fd, SHUT_WR);
		src->told = true;
	}
}

static void scan(struct logs_stream *s);
static void ask_again(struct logs_stream *s);

static void
on_timer(uv_timer_t *timer)
{
	struct logs_stream *s = timer->data;

	if (s->closing)
		return;
	if (s->retry_ms && uv_now(timer->loop) >= s->retry_ms) {
		s->retry_ms = 0;
		scan(s);
	}
	if (!s->closing && is_told(s))
		ask_again(s);
	if (!s->closing)
		tell_end(s);
	if (!s->closing)
		logs_merge_pump(s);
}

/* ---- sources ---- */

static void
source_answered(void *arg, int status, const struct err *err, const void *body, size_t bytes,
		int *fds, size_t count)
{
	struct logs_source *src = arg;
	struct logs_stream *s = src->stream;

	(void)body, (void)bytes, (void)fds, (void)count;
	src->asked = false;
	if (!s) {
		logs_source_free_if_done(src);
		return;
	}
	if (status == 0) {
		src->state = SOURCE_OPEN;
		src->opened = true;
		src->heard_ms = uv_now(s->timer.loop);
		if ((s->follow || s->only) && !logs_merge_open(s))
			return;
		logs_source_read_on(src);
	} else {
		if (!s->first_error.kind && status != ERR_NOT_FOUND)
			s->first_error = *err;
		if (s->only && !s->first_error.kind)
			s->first_error = *err;
		/* One that has just gone elsewhere is no loss. */
		if (src->far && status != ERR_NOT_FOUND)
			src->lost = *err;
		logs_source_end(src);
	}
	logs_merge_pump(s);
}

static int
ask_source(struct logs_stream *s, struct logs_source *src, const struct msg_logs *op, int far_end,
	   struct err *err)
{
	const struct msg_far_logs there = {.node = src->far, .logs = *op};
	struct station *st = s->call->server->station;

	return src->far ? station_ask(st, ROLE_SCHEDULER, 0, MSG_OP_FAR_LOGS, &there, sizeof(there),
				      &far_end, 1, CALL_ASK_MS, source_answered, src, err)
			: station_ask(st, ROLE_RUNTIME, 0, MSG_OP_LOGS, op, sizeof(*op), &far_end,
				      1, CALL_ASK_MS, source_answered, src, err);
}

/* Who follows is told, and it is asked again. */
static void
not_asked(struct logs_source *src, const struct err *err)
{
	if (!src->stream->first_error.kind)
		src->stream->first_error = *err;
	src->lost = *err;
	logs_source_end(src);
}

/* Begins to read a replica's log, or goes on where it was lost; false when it must be tried later.
 */
static bool
attach(struct logs_stream *s, const struct msg_replica *r, bool late, const struct logs_lost *lost)
{
	const struct msg_container *c =
		rows_get(s->call->server, ROLE_RUNTIME, MSG_TABLE_CONTAINER, r->id);
	struct msg_logs op = s->options;
	struct err err = {0};
	int far_end = -1;

	if (!c && s->follow && !s->only && r->state <= MSG_REPLICA_CREATING)
		return false;
	struct logs_source *src = logs_source_new(s, r->id);
	if (!src)
		return false;
	src->far = nodes_far(s->call->server, r);
	text_format(src->name, sizeof(src->name), "%.63s/%.63s.%u", r->deployment_name,
		    r->service_name, r->index);
	op.replica = r->id;
	if (late && !lost)
		op.tail = UINT32_MAX;
	if (s->previous)
		op.attempt = r->attempt > 1 ? r->attempt - 1 : 1;
	if (lost) {
		src->wait_ms = lost->wait_ms;
		src->last_ns = lost->last_ns;
		src->same = src->skip = lost->same;
	}
	if (lost && lost->last_ns) {
		op.since_wall_ns = lost->last_ns;
		op.tail = UINT32_MAX;
	}
	if (!logs_source_open(src, &far_end))
		err_set(&err, ERR_LIMIT, "too many log streams");
	if (!err.kind && ask_source(s, src, &op, far_end, &err) == 0)
		src->asked = true;
	else
		not_asked(src, &err);
	fd_close(&far_end);
	return true;
}

/* Those of which there is no row any more cannot come again. */
static void
forget(struct logs_stream *s)
{
	struct map_iter it = {0};

	while (map_count(&s->seen) > SEEN_MAX && is_told(s) && map_next(&s->seen, &it)) {
		uint64_t id;

		memcpy(&id, it.key, sizeof(id));
		if (!rows_get(s->call->server, ROLE_SCHEDULER, MSG_TABLE_REPLICA, id))
			map_remove_u64(&s->seen, id);
	}
}

static bool
is_wanted(const void *row, void *arg)
{
	const struct msg_replica *r = row;
	const struct logs_stream *s = arg;

	return s->only ? r->id == s->only : rows_target_has(&s->target, r);
}

static int
by_id(const void *a, const void *b)
{
	const struct msg_replica *x = *(const void *const *)a, *y = *(const void *const *)b;

	return (x->id > y->id) - (x->id < y->id);
}

/* Takes in the replicas that are new, oldest first. */
static void
scan(struct logs_stream *s)
{
	bool late = s->opened;
	struct rows rows;

	s->scanning = true;
	forget(s);
	rows_collect(s->call->server, ROLE_SCHEDULER, MSG_TABLE_REPLICA, is_wanted, s, by_id,
		     &rows);
	for (size_t i = 0; i < rows.count; i++) {
		const struct msg_replica *r = rows.items[i];

		if (map_get_u64(&s->seen, r->id))
			continue;
		if (s->count >= SOURCES_MAX || map_put_u64(&s->seen, r->id, s) < 0) {
			s->retry_ms = uv_now(s->timer.loop) + RETRY_MS;
			break;
		}
		if (!attach(s, r, late, NULL)) {
			map_remove_u64(&s->seen, r->id);
			s->retry_ms = uv_now(s->timer.loop) + RETRY_MS;
		}
	}
	if (rows.failed)
		s->retry_ms = uv_now(s->timer.loop) + RETRY_MS;
	rows_fini(&rows);
	s->scanning = false;
}

static void
ask_again(struct logs_stream *s)
{
	uint64_t now = uv_now(s->timer.loop);
	struct list *it, *next;

	list_each (it, next, &s->losts) {
		struct logs_lost *l = container_of(it, struct logs_lost, link);

		if (now < l->due_ms)
			continue;
		const struct msg_replica *r =
			rows_get(s->call->server, ROLE_SCHEDULER, MSG_TABLE_REPLICA, l->replica);
		bool waits = r ? s->count >= SOURCES_MAX || !attach(s, r, true, l)
			       : !s->only && now - l->since_ms < LOST_FOR_MS;
		if (waits)
			l->due_ms = now + RETRY_MS;
		else
			lost_free(l);
	}
}

void
logs_wake(struct server *server)
{
	struct list *it, *next;

	list_each (it, next, &server->logs) {
		struct logs_stream *s = container_of(it, struct logs_stream, link);

		if (s->follow && !s->only && !s->retry_ms)
			s->retry_ms = uv_now(s->timer.loop) + 1;
	}
}

/* ---- handlers ---- */

static bool
take_options(struct call *call, struct logs_stream *s)
{
	uint64_t tail = UINT32_MAX, attempt = 0;

	if (!call_query_bool(call, "follow", &s->follow) ||
	    !call_query_bool(call, "previous", &s->previous) ||
	    !call_query_u64(call, "tail", UINT32_MAX - 1, &tail) ||
	    !call_query_u64(call, "attempt", UINT32_MAX, &attempt) ||
	    !call_query_time(call, "since", &s->options.since_wall_ns) ||
	    !call_query_time(call, "until", &s->options.until_wall_ns))
		return false;
	s->options.tail = (uint32_t)tail;
	s->options.attempt = (uint32_t)attempt;
	s->options.follow = call->endless = s->follow;
	return true;
}

static struct logs_stream *
stream_open(struct call *call)
{
	struct list *it, *next;
	struct err err = {0};
	size_t count = 0;

	list_each (it, next, &call->server->logs) {
		count++;
	}
	struct logs_stream *s = count < STREAMS_MAX ? mem_zalloc(MEM_API, sizeof(*s)) : NULL;
	if (!s) {
		err_set(&err, ERR_LIMIT, "too many log streams");
		call_problem_status(call, &err, 503);
		return NULL;
	}
	s->call = call;
	list_init(&s->sources);
	list_init(&s->losts);
	map_init(&s->seen, MEM_API);
	uv_timer_init(station_loop(call->server->station), &s->timer);
	s->timer.data = s;
	list_push(&call->server->logs, &s->link);
	call->stream = s;
	call->stream_free = stream_free;
	call->on_drained = on_drained;
	return take_options(call, s) ? s : NULL;
}

static void
begin(struct logs_stream *s)
{
	uv_timer_start(&s->timer, on_timer, TICK_MS, TICK_MS);
	rows_sync_role(s->call->server, ROLE_SCHEDULER);
	scan(s);
	if (s->follow && !s->only && !logs_merge_open(s))
		return;
	logs_merge_pump(s);
}

void
logs_replica(struct call *call)
{
	const struct msg_replica *r = replicas_find(call);

	if (!r)
		return;
	uint64_t id = r->id;
	struct logs_stream *s = stream_open(call);
	if (!s)
		return;
	s->only = id;
	begin(s);
}

static bool
has_any(struct call *call, const struct rows_target *t)
{
	struct logs_stream probe = {.call = call, .target = *t};
	struct rows rows;

	rows_collect(call->server, ROLE_SCHEDULER, MSG_TABLE_REPLICA, is_wanted, &probe, NULL,
		     &rows);
	bool any = rows.count > 0;
	rows_fini(&rows);
	return any;
}

/* The run of a job that a target names; 0: it is none. */
static uint64_t
run_of(struct call *call, const struct rows_target *t)
{
	struct logs_stream probe = {.call = call, .target = *t};
	struct rows rows;
	uint64_t id = 0;

	if (!t->index)
		return 0;
	rows_collect(call->server, ROLE_SCHEDULER, MSG_TABLE_REPLICA, is_wanted, &probe, NULL,
		     &rows);
	if (rows.count == 1 && ((const struct msg_replica *)rows.items[0])->job)
		id = ((const struct msg_replica *)rows.items[0])->id;
	rows_fini(&rows);
	return id;
}

void
logs_target(struct call *call)
{
	struct rows_target target;
	struct err err = {0};
	char text[MSG_TARGET];

	if (!call_query(call, "target", text, sizeof(text)) && !call->answered) {
		err_set(&err, ERR_INVALID, "the query must have a target");
		err_fix(&err, "?target=DEPLOYMENT/SERVICE");
		call_problem(call, &err);
	}
	if (call->answered || !replicas_target(call, text, &target))
		return;
	if (!has_any(call, &target) &&
	    (target.service[0] ? !rows_service(call->server, target.deployment, target.service)
			       : !rows_deployment(call->server, target.deployment))) {
		err_set(&err, ERR_NOT_FOUND, "there is nothing like \"%s\"", text);
		call_problem(call, &err);
		return;
	}
	struct logs_stream *s = stream_open(call);
	if (!s)
		return;
	s->target = target;
	s->only = run_of(call, &target);
	begin(s);
}
