/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log streams. Each replica of the target is a source: a stream of the runtime (ring/msg.h frames),
 * or of another node's by way of the scheduler. Lines of all sources are merged by their time: the
 * oldest head goes first, once every source has a head or has ended; one that has been silent for a
 * while is not waited for when the stream follows. Memory: one frame or two per source; a source
 * that is ahead is not read, so back pressure goes to the runtime. A stream that follows takes in
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
#include <unistd.h>
#include "api/nodes.h"
#include "api/replicas.h"
#include "api/route.h"
#include "api/view.h"
#include "base/fd.h"
#include "base/map.h"
#include "base/text.h"

enum {
	SOURCES_MAX = 64, /* at a time */
	STREAMS_MAX = 64,
	IN_MAX = 2 * (MSG_FRAME_MAX + MSG_FRAME_HEAD),
	LINE_HEAD = 16,
	TICK_MS = 50,
	SILENT_MS = 200,
	RETRY_MS = 500,
	CONNECT_MS = 1000, /* another node's are waited for so long, when it follows */
	LOST_FIRST_MS = 500,
	LOST_MAX_MS = 5000,
	LOST_FOR_MS = 600000, /* so long a node that is away may have been it */
	SEEN_MAX = 1024,
	OUT_MAX = 512 << 10,
};

enum source_state { SOURCE_ASKED, SOURCE_OPEN, SOURCE_ENDED };

struct source {
	struct list link;
	struct stream *stream; /* NULL: the stream has gone; freed with its last answer or handle */
	enum source_state state;
	uint64_t replica;
	char name[MSG_TARGET];
	uint32_t far; /* the node that has it; 0: this one */
	uv_pipe_t pipe;
	bool has_pipe, reading, closing, asked, told;
	bool opened; /* it has been */
	uint64_t heard_ms;
	struct buf in;
	bool done;       /* all of another node's came */
	struct err lost; /* kind 0: the way was not lost */
	/* The time of the last line, and how many of it have come: from there it goes on. */
	int64_t last_ns;
	uint32_t same;
	uint32_t skip; /* of them, to come again */
	uint64_t wait_ms;
};

/* The way to it was lost; it is asked for again. */
struct lost {
	struct list link;
	uint64_t replica;
	int64_t last_ns;
	uint32_t same;
	uint64_t since_ms, due_ms, wait_ms;
};

struct stream {
	struct list link;
	struct call *call;
	struct list sources;
	size_t count;
	struct list losts;
	struct map seen; /* ids of the replicas that were taken in */
	uv_timer_t timer;
	struct rows_target target;
	uint64_t only; /* one replica, by id; 0: the target's */
	bool follow, previous, opened, scanning, closing;
	struct msg_logs options;
	uint64_t retry_ms;
	struct err first_error;
};

static void pump(struct stream *s);

/* ---- life ---- */

static void
source_free_if_done(struct source *src)
{
	if (src->asked || src->has_pipe || src->stream)
		return;
	buf_fini(&src->in);
	mem_free(src);
}

static void
on_pipe_closed(uv_handle_t *handle)
{
	struct source *src = handle->data;

	src->has_pipe = false;
	source_free_if_done(src);
}

static void
source_close_pipe(struct source *src)
{
	if (src->has_pipe && !src->closing) {
		src->closing = true;
		uv_close((uv_handle_t *)&src->pipe, on_pipe_closed);
	}
}

static void
source_drop(struct source *src)
{
	src->stream->count--;
	src->stream = NULL;
	list_remove(&src->link);
	source_close_pipe(src);
	source_free_if_done(src);
}

static void
lost_free(struct lost *l)
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
	struct stream *s = call->stream;
	struct list *it, *next;

	list_remove(&s->link);
	list_each (it, next, &s->sources) {
		source_drop(container_of(it, struct source, link));
	}
	list_each (it, next, &s->losts) {
		lost_free(container_of(it, struct lost, link));
	}
	map_fini(&s->seen);
	s->call = NULL;
	s->closing = true;
	call->stream = NULL;
	uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

/* ---- a source's bytes ---- */

static void
on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *b)
{
	struct source *src = handle->data;
	size_t room = IN_MAX - src->in.length;
	uint8_t *at = buf_reserve(&src->in, room < 16384 ? room : 16384);

	(void)suggested;
	*b = at && room ? uv_buf_init((char *)at, (unsigned)(room < 16384 ? room : 16384))
			: uv_buf_init(NULL, 0);
}

static void
source_end(struct source *src)
{
	if (src->state == SOURCE_ENDED)
		return;
	src->state = SOURCE_ENDED;
	source_close_pipe(src);
}

static void
on_read(uv_stream_t *handle, ssize_t n, const uv_buf_t *b)
{
	struct source *src = handle->data;

	(void)b;
	if (n == 0 || !src->stream)
		return;
	if (n < 0 && n != UV_ENOBUFS) {
		source_end(src);
	} else if (n > 0) {
		buf_commit(&src->in, (size_t)n);
		src->heard_ms = uv_now(handle->loop);
	}
	if (src->in.length >= IN_MAX / 2 && src->state == SOURCE_OPEN) {
		uv_read_stop(handle);
		src->reading = false;
	}
	pump(src->stream);
}

static void
read_on(struct source *src)
{
	if (src->state != SOURCE_OPEN || src->reading || src->in.length >= IN_MAX / 2)
		return;
	src->reading = uv_read_start((uv_stream_t *)&src->pipe, on_alloc, on_read) == 0;
	if (!src->reading)
		source_end(src);
}

struct line {
	int64_t wall_ns;
	uint32_t attempt;
	uint8_t stream;
	uint8_t flags;
	const char *text;
	size_t bytes;
	size_t frame_bytes;
};

static void
take_lost(struct source *src, const char *text, size_t bytes)
{
	char why[MSG_TEXT * 2];

	text_printable(text, bytes, why, sizeof(why));
	err_set(&src->lost, ERR_UNREACHABLE, "%s", why);
}

/* After a loss the log is read again from the last line that came. */
static bool
is_new(struct source *src, int64_t wall_ns)
{
	if (!src->skip || wall_ns > src->last_ns) {
		src->skip = 0;
		return true;
	}
	if (wall_ns == src->last_ns)
		src->skip--;
	return false;
}

/* The source's next line; frames that are none are passed over; one that lies ends the source. */
static bool
head_line(struct source *src, struct line *out)
{
	for (;;) {
		struct cursor c;

		cursor_init(&c, src->in.data, src->in.length);
		uint8_t type = cursor_u8(&c);
		cursor_u8(&c);
		cursor_u16(&c);
		uint32_t bytes = cursor_u32(&c);
		if (!cursor_ok(&c))
			return false;
		if (bytes > MSG_FRAME_MAX) {
			buf_reset(&src->in);
			source_end(src);
			return false;
		}
		const uint8_t *data = cursor_take(&c, bytes);
		if (!cursor_ok(&c))
			return false;
		out->frame_bytes = MSG_FRAME_HEAD + bytes;
		src->done |= type == MSG_FRAME_DONE;
		if (type == MSG_FRAME_LOST)
			take_lost(src, (const char *)data, bytes);
		if (type != MSG_FRAME_LINE || bytes < LINE_HEAD) {
			buf_consume(&src->in, out->frame_bytes);
			continue;
		}
		cursor_init(&c, data, bytes);
		out->wall_ns = (int64_t)cursor_u64(&c);
		out->attempt = cursor_u32(&c);
		out->stream = cursor_u8(&c);
		out->flags = cursor_u8(&c);
		cursor_u16(&c);
		out->text = (const char *)c.at;
		out->bytes = cursor_left(&c);
		if (!is_new(src, out->wall_ns)) {
			buf_consume(&src->in, out->frame_bytes);
			continue;
		}
		return true;
	}
}

static void
count_line(struct source *src, int64_t wall_ns)
{
	src->same = wall_ns == src->last_ns ? src->same + 1 : 1;
	src->last_ns = wall_ns;
}

/* ---- merging ---- */

static void
send_line(struct stream *s, const struct source *src, const struct line *line)
{
	struct buf b;
	struct json j;

	buf_init(&b, MEM_API, OUT_MAX);
	json_init(&j, &b);
	json_object(&j, NULL);
	view_time(&j, "ts", line->wall_ns);
	json_text(&j, "replica", src->name);
	json_text(&j, "stream", line->stream == 2 ? "stderr" : "stdout");
	json_u64(&j, "attempt", line->attempt);
	if (line->flags & 1)
		json_bool(&j, "cut", true);
	json_textn(&j, "text", line->text, line->bytes);
	json_end(&j);
	buf_putc(&b, '\n');
	if (buf_ok(&b))
		call_write(s->call, b.data, b.length);
	buf_fini(&b);
}

/* Of a replica whose lines cannot be had; in a stream that has other lines. */
static void
send_lost(struct stream *s, const char *name, const struct err *err)
{
	struct buf b;
	struct json j;

	buf_init(&b, MEM_API, OUT_MAX);
	json_init(&j, &b);
	json_object(&j, NULL);
	json_text(&j, "replica", name);
	json_object(&j, "lost");
	json_text(&j, "what", err->what);
	json_array(&j, "why");
	for (size_t i = 0; i < err->whys; i++)
		json_text(&j, NULL, err->why[i]);
	json_end(&j);
	json_text(&j, "fix", err->fix[0] ? err->fix : NULL);
	json_bool(&j, "again", s->follow);
	json_end(&j);
	json_end(&j);
	buf_putc(&b, '\n');
	if (buf_ok(&b))
		call_write(s->call, b.data, b.length);
	buf_fini(&b);
}

/* The source whose line goes next; NULL: none, or one must be waited for (*wait). */
static struct source *
choose(struct stream *s, struct line *out, bool *wait)
{
	uint64_t now = uv_now(s->timer.loop);
	struct source *best = NULL;
	struct list *it, *next;
	struct line line;

	*wait = false;
	list_each (it, next, &s->sources) {
		struct source *src = container_of(it, struct source, link);

		if (head_line(src, &line)) {
			if (!best || line.wall_ns < out->wall_ns) {
				best = src;
				*out = line;
			}
		} else if ((src->state == SOURCE_ASKED &&
			    (!s->follow || !src->far || now - src->heard_ms < CONNECT_MS)) ||
			   (src->state == SOURCE_OPEN &&
			    (!s->follow || now - src->heard_ms < SILENT_MS))) {
			*wait = true;
		}
	}
	return *wait ? NULL : best;
}

static void
open_stream(struct stream *s)
{
	if (s->opened)
		return;
	s->opened = true;
	call_stream(s->call, "application/x-ndjson");
}

static bool
all_ended(struct stream *s)
{
	struct list *it, *next;

	list_each (it, next, &s->sources) {
		if (container_of(it, struct source, link)->state != SOURCE_ENDED)
			return false;
	}
	return true;
}

static void
finish(struct stream *s)
{
	struct call *call = s->call;

	if (!s->opened && s->first_error.kind) {
		call_problem(call, &s->first_error);
		return;
	}
	open_stream(s);
	call_end(call);
}

static void
ask_again_later(struct stream *s, const struct source *src)
{
	struct lost *l = mem_zalloc(MEM_API, sizeof(*l));

	if (!l) {
		map_remove_u64(&s->seen, src->replica); /* from its first line, then */
		s->retry_ms = uv_now(s->timer.loop) + RETRY_MS;
		return;
	}
	*l = (struct lost){.replica = src->replica, .last_ns = src->last_ns, .same = src->same};
	l->wait_ms = src->wait_ms ? src->wait_ms * 2 : LOST_FIRST_MS;
	if (l->wait_ms > LOST_MAX_MS)
		l->wait_ms = LOST_MAX_MS;
	l->since_ms = uv_now(s->timer.loop);
	l->due_ms = l->since_ms + l->wait_ms;
	list_init(&l->link);
	list_push(&s->losts, &l->link);
}

/* False: the client has left over it. */
static bool
lose(struct stream *s, const struct source *src)
{
	/* Tries that fail in turn are said once. */
	if (!src->wait_ms && (s->opened || s->count > 1)) {
		open_stream(s);
		send_lost(s, src->name, &src->lost);
		if (!s->call || !s->call->stream)
			return false;
	} else if (!s->first_error.kind) {
		s->first_error = src->lost;
	}
	if (s->follow)
		ask_again_later(s, src);
	return true;
}

static void
drop_ended(struct stream *s)
{
	struct list *it, *next;

	list_each (it, next, &s->sources) {
		struct source *src = container_of(it, struct source, link);

		if (src->state != SOURCE_ENDED || src->in.length > 0)
			continue;
		if (src->far && src->opened && !src->done && !src->lost.kind)
			err_set(&src->lost, ERR_UNREACHABLE,
				"the connection with another node was lost by this one");
		if (src->lost.kind && !lose(s, src))
			return;
		source_drop(src);
	}
}

static void
pump(struct stream *s)
{
	struct call *call = s->call;
	struct source *src;
	struct list *it, *next;
	struct line line;
	bool wait = false;

	if (!call || s->scanning)
		return;
	call_ref(call);
	while (call->conn && call->stream && (!s->opened || call_room(call)) &&
	       (src = choose(s, &line, &wait))) {
		open_stream(s);
		send_line(s, src, &line);
		if (!call->stream)
			break;
		count_line(src, line.wall_ns);
		src->wait_ms = 0;
		buf_consume(&src->in, line.frame_bytes);
		read_on(src);
	}
	if (call->conn && call->stream) {
		bool full = s->opened && !call_room(call);

		list_each (it, next, &s->sources) {
			read_on(container_of(it, struct source, link));
		}
		if (!full && !wait) {
			/* A half frame of a source that ended is dropped with it. */
			list_each (it, next, &s->sources) {
				src = container_of(it, struct source, link);
				if (src->state == SOURCE_ENDED && !head_line(src, &line))
					buf_reset(&src->in);
			}
			drop_ended(s);
			if (call->stream && list_empty(&s->losts) && all_ended(s) &&
			    s->count == 0 && (!s->follow || s->only))
				finish(s);
		}
	}
	call_unref(call);
}

static void
on_drained(struct call *call)
{
	pump(call->stream);
}

/* Nothing can come any more. */
static bool
is_over(const struct stream *s)
{
	const struct msg_replica *r =
		rows_get(s->call->server, ROLE_SCHEDULER, MSG_TABLE_REPLICA, s->only);

	return !r ||
	       (r->job && (r->state == MSG_REPLICA_STOPPED || r->state == MSG_REPLICA_FAILED));
}

static void
tell_end(struct stream *s)
{
	struct list *it, *next;
	uv_os_fd_t fd;

	if (!s->follow || !s->only || !is_over(s))
		return;
	list_each (it, next, &s->sources) {
		struct source *src = container_of(it, struct source, link);

		if (src->told || src->state != SOURCE_OPEN || src->closing ||
		    uv_fileno((uv_handle_t *)&src->pipe, &fd) < 0)
			continue;
		shutdown(fd, SHUT_WR);
		src->told = true;
	}
}

static void scan(struct stream *s);
static void ask_again(struct stream *s);

static void
on_timer(uv_timer_t *timer)
{
	struct stream *s = timer->data;

	if (s->closing)
		return;
	if (s->retry_ms && uv_now(timer->loop) >= s->retry_ms) {
		s->retry_ms = 0;
		scan(s);
	}
	if (!s->closing)
		ask_again(s);
	if (!s->closing)
		tell_end(s);
	if (!s->closing)
		pump(s);
}

/* ---- sources ---- */

static void
source_answered(void *arg, int status, const struct err *err, const void *body, size_t bytes,
		int *fds, size_t count)
{
	struct source *src = arg;
	struct stream *s = src->stream;

	(void)body, (void)bytes, (void)fds, (void)count;
	src->asked = false;
	if (!s) {
		source_free_if_done(src);
		return;
	}
	if (status == 0) {
		src->state = SOURCE_OPEN;
		src->opened = true;
		src->heard_ms = uv_now(s->timer.loop);
		if (s->follow || s->only)
			open_stream(s);
		read_on(src);
	} else {
		if (!s->first_error.kind && status != ERR_NOT_FOUND)
			s->first_error = *err;
		if (s->only && !s->first_error.kind)
			s->first_error = *err;
		/* One that has just gone elsewhere is no loss. */
		if (src->far && status != ERR_NOT_FOUND)
			src->lost = *err;
		source_end(src);
	}
	pump(s);
}

static bool
open_pipe(struct stream *s, struct source *src, int *far_end)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return false;
	uv_pipe_init(s->timer.loop, &src->pipe, 0);
	src->pipe.data = src;
	src->has_pipe = true;
	*far_end = pair[1];
	if (uv_pipe_open(&src->pipe, pair[0]) == 0)
		return true;
	close(pair[0]);
	close(pair[1]);
	source_close_pipe(src);
	return false;
}

static int
ask_source(struct stream *s, struct source *src, const struct msg_logs *op, int far_end,
	   struct err *err)
{
	const struct msg_far_logs there = {.node = src->far, .logs = *op};
	struct station *st = s->call->server->station;

	return src->far ? station_ask(st, ROLE_SCHEDULER, 0, MSG_OP_FAR_LOGS, &there, sizeof(there),
				      &far_end, 1, CALL_ASK_MS, source_answered, src, err)
			: station_ask(st, ROLE_RUNTIME, 0, MSG_OP_LOGS, op, sizeof(*op), &far_end,
				      1, CALL_ASK_MS, source_answered, src, err);
}

/* Begins to read a replica's log, or goes on where it was lost; false when it must be tried later.
 */
static bool
attach(struct stream *s, const struct msg_replica *r, bool late, const struct lost *lost)
{
	const struct msg_container *c =
		rows_get(s->call->server, ROLE_RUNTIME, MSG_TABLE_CONTAINER, r->id);
	struct msg_logs op = s->options;
	struct err err = {0};
	int far_end = -1;

	if (!c && s->follow && !s->only && r->state <= MSG_REPLICA_CREATING)
		return false;
	struct source *src = mem_zalloc(MEM_API, sizeof(*src));
	if (!src)
		return false;
	src->stream = s;
	src->replica = r->id;
	src->far = nodes_far(s->call->server, r);
	src->heard_ms = uv_now(s->timer.loop);
	text_format(src->name, sizeof(src->name), "%.63s/%.63s.%u", r->deployment_name,
		    r->service_name, r->index);
	buf_init(&src->in, MEM_API, IN_MAX + 16384);
	list_push(&s->sources, &src->link);
	s->count++;
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
	if (open_pipe(s, src, &far_end) && ask_source(s, src, &op, far_end, &err) == 0) {
		src->asked = true;
	} else {
		if (!s->first_error.kind)
			err_set(&s->first_error, ERR_LIMIT, "too many log streams");
		source_end(src);
	}
	fd_close(&far_end);
	return true;
}

/* Those of which there is no row any more cannot come again. */
static void
forget(struct stream *s)
{
	struct map_iter it = {0};

	while (map_count(&s->seen) > SEEN_MAX && map_next(&s->seen, &it)) {
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
	const struct stream *s = arg;

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
scan(struct stream *s)
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
	rows_fini(&rows);
	s->scanning = false;
}

static void
ask_again(struct stream *s)
{
	uint64_t now = uv_now(s->timer.loop);
	struct list *it, *next;

	list_each (it, next, &s->losts) {
		struct lost *l = container_of(it, struct lost, link);

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
		struct stream *s = container_of(it, struct stream, link);

		if (s->follow && !s->only && !s->retry_ms)
			s->retry_ms = uv_now(s->timer.loop) + 1;
	}
}

/* ---- handlers ---- */

static bool
take_options(struct call *call, struct stream *s)
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
	s->options.follow = s->follow;
	return true;
}

static struct stream *
stream_open(struct call *call)
{
	struct list *it, *next;
	struct err err = {0};
	size_t count = 0;

	list_each (it, next, &call->server->logs) {
		count++;
	}
	struct stream *s = count < STREAMS_MAX ? mem_zalloc(MEM_API, sizeof(*s)) : NULL;
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
begin(struct stream *s)
{
	uv_timer_start(&s->timer, on_timer, TICK_MS, TICK_MS);
	rows_sync_role(s->call->server, ROLE_SCHEDULER);
	scan(s);
	if (s->follow && !s->only)
		open_stream(s);
	pump(s);
}

void
logs_replica(struct call *call)
{
	const struct msg_replica *r = replicas_find(call);

	if (!r)
		return;
	uint64_t id = r->id;
	struct stream *s = stream_open(call);
	if (!s)
		return;
	s->only = id;
	begin(s);
}

static bool
has_any(struct call *call, const struct rows_target *t)
{
	struct stream probe = {.call = call, .target = *t};
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
	struct stream probe = {.call = call, .target = *t};
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
	struct stream *s = stream_open(call);
	if (!s)
		return;
	s->target = target;
	s->only = run_of(call, &target);
	begin(s);
}
