/* SPDX-License-Identifier: Apache-2.0 */
/* Calls between nodes: what stands in frames, and two lines over one channel on one loop. */
#include "scheduler/far_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "ring/station_private.h"
#include "scheduler/cluster_far_inside.h"
#include "tests/support/channel_node.h"
#include "tests/support/sweep.h"

enum { LINE_BYTES = 4096, FLOOD_BYTES = 24 << 20 };

/* ---- what stands in frames ---- */

static void
test_calls_come_back(void **state)
{
	static const char words[] = "sh\0-c\0echo";
	const struct far_call calls[] = {
		{.what = FAR_LOGS,
		 .logs = {.replica = UINT64_C(2) << 32 | 7,
			  .since_wall_ns = -5,
			  .until_wall_ns = INT64_MAX,
			  .tail = UINT32_MAX,
			  .follow = 1,
			  .attempt = 3}},
		{.what = FAR_EXEC,
		 .exec = {.replica = 9,
			  .tty = 1,
			  .rows = 24,
			  .columns = 80,
			  .argc = 3,
			  .user = "web",
			  .workdir = "/srv"},
		 .words = words,
		 .words_bytes = sizeof(words)},
		{.what = FAR_WHY, .service = 12},
		{.what = FAR_RUN,
		 .target = {.deployment = "shop", .service = "report", .who_uid = 1000},
		 .argc = 3,
		 .words = words,
		 .words_bytes = sizeof(words)},
		{.what = FAR_RUN, .target = {.deployment = "shop", .service = "tidy"}, .words = ""},
		{.what = FAR_EVENTS, .wait = true, .events = {.since = 77, .limit = 1000}},
		{.what = FAR_FLOWS,
		 .flows = {.since = 78,
			   .limit = 999,
			   .wait = 1,
			   .observe = 1,
			   .verdict = MSG_FLOW_DROPPED,
			   .deployment = "shop",
			   .service = "web",
			   .peer = "edge-2"}},
	};
	struct far_frame f;
	struct far_call c;

	(void)state;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		struct buf b;

		buf_init(&b, MEM_SCHEDULER, FAR_HEAD + FAR_CALL_MAX);
		far_wire_put_call(&b, &calls[i]);
		/* In any pieces. */
		for (size_t n = 0; n < b.length; n++)
			assert_int_equal(far_wire_next(b.data, n, &f), 0);
		assert_int_equal(far_wire_next(b.data, b.length, &f), 1);
		assert_int_equal(f.kind, FAR_CALL);
		assert_true(far_wire_get_call(f.data, f.bytes, &c));
		assert_memory_equal(&c.logs, &calls[i].logs, sizeof(c.logs));
		assert_memory_equal(&c.exec, &calls[i].exec, sizeof(c.exec));
		assert_int_equal(c.service, calls[i].service);
		assert_int_equal(c.argc, calls[i].argc);
		assert_int_equal(c.wait, calls[i].wait);
		assert_memory_equal(&c.events, &calls[i].events, sizeof(c.events));
		assert_memory_equal(&c.flows, &calls[i].flows, sizeof(c.flows));
		assert_memory_equal(&c.target, &calls[i].target, sizeof(c.target));
		assert_int_equal(c.words_bytes, calls[i].words_bytes);
		if (c.words_bytes)
			assert_memory_equal(c.words, words, sizeof(words));
		/* Cut short, or longer without being of a later version. */
		for (size_t n = 0; n < f.bytes; n++)
			assert_true(n >= 2 ? !far_wire_get_call(f.data, n, &c) : true);
		buf_u8(&b, 0);
		assert_false(far_wire_get_call(b.data + FAR_HEAD, b.length - FAR_HEAD, &c));
		b.data[FAR_HEAD] = FAR_VERSION + 1;
		assert_true(far_wire_get_call(b.data + FAR_HEAD, b.length - FAR_HEAD, &c));
		buf_fini(&b);
	}
}

/* What is asked for is in range, or it is no question. */
static void
test_flows_that_nobody_asks_for(void **state)
{
	struct far_call good = {.what = FAR_FLOWS, .flows = {.limit = 1}},
			bad[] = {good, good, good};
	struct far_frame f;
	struct far_call c;
	struct buf b;

	(void)state;
	bad[0].flows.limit = 0;
	bad[1].flows.limit = MSG_FLOWS_GIVEN_MAX + 1;
	bad[2].flows.verdict = MSG_FLOW_DROPPED + 1;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		buf_init(&b, MEM_SCHEDULER, FAR_HEAD + FAR_CALL_MAX);
		far_wire_put_call(&b, &bad[i]);
		assert_int_equal(far_wire_next(b.data, b.length, &f), 1);
		assert_false(far_wire_get_call(f.data, f.bytes, &c));
		buf_fini(&b);
	}
}

static void
test_calls_that_are_none(void **state)
{
	static const char words[] = "sh\0-c";
	struct far_call good = {.what = FAR_EXEC,
				.exec = {.argc = 2},
				.words = words,
				.words_bytes = sizeof(words)};
	struct far_call bad[] = {good, good, good, good, {.what = FAR_RUN, .words = words}};
	struct far_call c;

	(void)state;
	bad[0].exec.argc = 3;                   /* words that are not there */
	bad[1].words_bytes = sizeof(words) - 1; /* one without its end */
	bad[2].words_bytes = 0;
	bad[3].exec.rows = 70000;
	bad[4].words_bytes = sizeof(words); /* words that nobody counts */
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct buf b;

		buf_init(&b, MEM_SCHEDULER, FAR_HEAD + FAR_CALL_MAX);
		far_wire_put_call(&b, &bad[i]);
		assert_false(far_wire_get_call(b.data + FAR_HEAD, b.length - FAR_HEAD, &c));
		buf_fini(&b);
	}
	assert_false(far_wire_get_call("\x00\x01", 2, &c));
	/* A run is what its node says of it. */
	struct msg_run_answer run = {.replica = UINT64_C(3) << 32 | 9, .index = 4}, got;
	const void *tidings;
	struct buf b;
	size_t bytes;

	buf_init(&b, MEM_SCHEDULER, 64);
	far_wire_put_run(&b, &run, "said", 4);
	assert_true(far_wire_get_run(b.data, b.length, &got, &tidings, &bytes));
	assert_memory_equal(&got, &run, sizeof(run));
	assert_memory_equal(tidings, "said", 4);
	for (size_t n = 0; n < b.length; n++)
		assert_false(far_wire_get_run(b.data, n, &got, &tidings, &bytes));
	b.data[8] = 0; /* no number */
	assert_false(far_wire_get_run(b.data, b.length, &got, &tidings, &bytes));
	buf_fini(&b);
	/* What a later version asks for: it is understood that it is not understood. */
	assert_true(far_wire_get_call("\x02\x63", 2, &c));
	assert_int_equal(c.what, 0x63);
}

static void
test_answers_come_back(void **state)
{
	struct err err = {0}, got;
	const void *rest;
	struct msg_why row = {.node = "edge-2",
			      .id = 2,
			      .flags = MSG_WHY_HAS | MSG_WHY_KNOWN,
			      .cpu_free_milli = 500,
			      .memory_free_bytes = 1 << 20,
			      .text = "is being drained"},
		       again;
	struct cursor in;
	struct buf b;
	size_t bytes;
	bool bad;

	(void)state;
	buf_init(&b, MEM_SCHEDULER, FAR_ANSWER_MAX);
	err_set(&err, ERR_NOT_FOUND, "gone");
	err_why(&err, "it moved");
	err_fix(&err, "look elsewhere");
	far_wire_put_answer(&b, &err, NULL, 0);
	assert_true(
		far_wire_get_answer(b.data + FAR_HEAD, b.length - FAR_HEAD, &got, &rest, &bytes));
	assert_int_equal(got.kind, ERR_NOT_FOUND);
	assert_string_equal(got.why[0], "it moved");
	assert_int_equal(bytes, 0);
	for (size_t n = 0; n < b.length - FAR_HEAD; n++)
		assert_false(far_wire_get_answer(b.data + FAR_HEAD, n, &got, &rest, &bytes));
	buf_reset(&b);
	far_wire_put_why(&b, &row);
	far_wire_put_why(&b, &row);
	cursor_init(&in, b.data, b.length);
	for (int i = 0; i < 2; i++) {
		assert_true(far_wire_next_why(&in, &again, &bad));
		assert_memory_equal(&again, &row, sizeof(row));
	}
	assert_false(far_wire_next_why(&in, &again, &bad));
	assert_false(bad);
	for (size_t n = 1; n < b.length / 2; n++) {
		cursor_init(&in, b.data, n);
		assert_false(far_wire_next_why(&in, &again, &bad));
		assert_true(bad);
	}
	buf_fini(&b);
}

static void
put_frame(struct buf *b, enum msg_frame type, const void *data, size_t bytes)
{
	buf_u8(b, (uint8_t)type);
	buf_u8(b, 0);
	buf_u16(b, 0);
	buf_blob(b, data, bytes);
}

static void
test_events_come_back(void **state)
{
	const struct msg_event events[] = {
		{.id = 7, .wall_ns = 1, .type = "node.dead", .text = "edge-3 is dead"},
		{.id = 8,
		 .wall_ns = -2,
		 .type = "replica.exited",
		 .deployment = "shop",
		 .service = "web",
		 .index = 3,
		 .revision = 4,
		 .replica = 5,
		 .operation = 6,
		 .severity = 2,
		 .text = "web.3",
		 .reason = {ERR_CONFLICT, 9, "it ended", "exit 1", "again", "look"}},
	};
	struct msg_event e;
	struct cursor in;
	struct buf b;
	bool bad;

	(void)state;
	buf_init(&b, MEM_SCHEDULER, FAR_ANSWER_MAX);
	for (size_t i = 0; i < 2; i++)
		far_wire_put_event(&b, &events[i]);
	cursor_init(&in, b.data, b.length);
	for (size_t i = 0; i < 2; i++) {
		assert_true(far_wire_next_event(&in, &e, &bad));
		assert_memory_equal(&e, &events[i], sizeof(e));
	}
	assert_false(far_wire_next_event(&in, &e, &bad));
	assert_false(bad);
	/* Cut short anywhere within the second. */
	cursor_init(&in, b.data, b.length);
	assert_true(far_wire_next_event(&in, &e, &bad));
	size_t first = b.length - cursor_left(&in);
	for (size_t n = first + 1; n < b.length; n++) {
		cursor_init(&in, b.data + first, n - first);
		assert_false(far_wire_next_event(&in, &e, &bad));
		assert_true(bad);
	}
	b.data[0] = 0; /* no id */
	cursor_init(&in, b.data, b.length);
	assert_false(far_wire_next_event(&in, &e, &bad));
	assert_true(bad);
	buf_fini(&b);
}

static void
test_what_may_pass(void **state)
{
	struct far_frame f;
	struct buf b;

	(void)state;
	buf_init(&b, MEM_SCHEDULER, 1 << 20);
	put_frame(&b, MSG_FRAME_STDIN, "abc", 3);
	put_frame(&b, MSG_FRAME_SIGNAL, "\x0f\0\0\0", 4);
	assert_true(far_wire_may_go(b.data, b.length));
	assert_false(far_wire_may_come(b.data, b.length));
	assert_false(far_wire_may_go(b.data, b.length - 1));
	assert_int_equal(far_wire_whole(b.data, b.length - 1), MSG_FRAME_HEAD + 3);
	buf_reset(&b);
	put_frame(&b, MSG_FRAME_LINE, "0123456789abcdefline", 20);
	put_frame(&b, MSG_FRAME_EXIT, "\0\0\0\0", 4);
	assert_true(far_wire_may_come(b.data, b.length));
	/* Only this node itself says whether all has come. */
	put_frame(&b, MSG_FRAME_DONE, "x", 1);
	assert_false(far_wire_may_come(b.data, b.length));
	assert_false(far_wire_may_go(b.data, b.length));
	b.data[4] = 0xff;
	b.data[7] = 0xff;
	assert_int_equal(far_wire_whole(b.data, b.length), -1);
	/* Heads that are none, or promise more than their kind may have. */
	assert_int_equal(far_wire_next("\0\0\0\0\0\0\0\0", 8, &f), -1);
	assert_int_equal(far_wire_next("\x09\0\0\0\0\0\0\0", 8, &f), -1);
	assert_int_equal(far_wire_next("\x03\x01\0\0\0\0\0\0", 8, &f), -1);
	assert_int_equal(far_wire_next("\x04\0\0\0\1\0\0\0", 8, &f), -1);
	assert_int_equal(far_wire_next("\x03\0\0\0\0\0\2\0", 8, &f), -1);
	assert_int_equal(far_wire_next("\x03\0\0\0\0\0\1\0", 8, &f), 0);
	buf_fini(&b);
}

/* Rows of each kind as this node keeps them: all, none that is half, and no more than may be. */
static void
test_rows_are_taken(void **state)
{
	static const struct msg_why why = {.node = "edge-2", .id = 2, .text = "is being drained"};
	static const struct msg_event event = {.id = 7, .type = "node.dead", .text = "edge-3"};
	static const struct msg_flow_row flow = {.flow = {.verdict = MSG_FLOW_DROPPED}};
	static const struct {
		enum far_what what;
		const void *row;
		size_t row_bytes, rows_max;
	} kinds[] = {
		{FAR_WHY, &why, sizeof(why), CLUSTER_FAR_WHY_ROWS_MAX},
		{FAR_EVENTS, &event, sizeof(event), CLUSTER_EVENTS_MAX},
		{FAR_FLOWS, &flow, sizeof(flow), MSG_FLOWS_GIVEN_MAX + 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct buf sent, rows;
		struct err err = {0};
		size_t first = 0;

		buf_init(&sent, MEM_CLI, 1 << 20);
		for (size_t n = 0; n < kinds[i].rows_max + 3; n++) {
			if (kinds[i].what == FAR_WHY)
				far_wire_put_why(&sent, &why);
			else if (kinds[i].what == FAR_EVENTS)
				far_wire_put_event(&sent, &event);
			else
				far_wire_put_flow(&sent, &flow);
			first = first ? first : sent.length;
		}
		assert_true(buf_ok(&sent));
		assert_int_equal(
			cluster_far_rows(kinds[i].what, sent.data, sent.length, &rows, &err), 0);
		assert_int_equal(rows.length, kinds[i].rows_max * kinds[i].row_bytes);
		assert_memory_equal(rows.data, kinds[i].row, kinds[i].row_bytes);
		buf_fini(&rows);
		assert_int_equal(cluster_far_rows(kinds[i].what, NULL, 0, &rows, &err), 0);
		assert_int_equal(rows.length, 0);
		buf_fini(&rows);
		for (size_t n = 1; n < first; n++) {
			err_clear(&err);
			assert_int_equal(cluster_far_rows(kinds[i].what, sent.data, n, &rows, &err),
					 -1);
			assert_int_equal(err.kind, ERR_CORRUPT);
			buf_fini(&rows);
		}
		sweep_each(w)
		{
			int rc = cluster_far_rows(kinds[i].what, sent.data, 2 * first, &rows, &err);

			assert_int_equal(rc < 0, sweep_failed());
			buf_fini(&rows);
		}
		buf_fini(&sent);
	}
}

/* ---- lines ---- */

struct side {
	struct scene *scene;
	struct far_line *line; /* NULL: it has ended */
	int user;              /* the other end of its stream */
	bool up, first, ended;
	struct err why;
	struct err answer;
};

struct scene {
	struct station st; /* its loop alone */
	uv_timer_t alarm, step;
	uv_poll_t listener;
	int listen_fd;
	struct addr address;
	struct channel_node a, b;
	struct side asks, serves;
	struct err refuse; /* kind 0: the call is taken */
	enum far_what what;
	struct cluster *cluster; /* serves instead of `serves`; NULL */
	int64_t fail_after;
	bool late;
};

static struct identity_authority authority;

#define WAIT(s, condition)                                  \
	do {                                                \
		while (!(condition) && !(s)->late)          \
			uv_run(&(s)->st.loop, UV_RUN_ONCE); \
		assert_true(condition);                     \
	} while (0)

static void
open_stream(struct side *x)
{
	struct err err = {0};
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
			 0);
	x->user = pair[0];
	assert_int_equal(far_line_open(x->line, pair[1], &err), 0);
}

static void
go_on(struct side *x, bool taken)
{
	if (taken) {
		open_stream(x);
		return;
	}
	far_line_end(x->line);
	x->line = NULL;
}

static void
on_up(void *arg)
{
	struct side *x = arg;
	const struct far_call call = {
		.what = x->scene->what, .service = 77, .logs = {.replica = 77}};
	struct buf b;

	x->up = true;
	buf_init(&b, MEM_SCHEDULER, 4096);
	far_wire_put_call(&b, &call);
	assert_true(far_line_send(x->line, &b));
	buf_fini(&b);
}

static void
on_answer(void *arg, const struct far_frame *f)
{
	struct side *x = arg;
	const void *rest;
	size_t bytes;

	x->first = true;
	assert_int_equal(f->kind, FAR_ANSWER);
	assert_true(far_wire_get_answer(f->data, f->bytes, &x->answer, &rest, &bytes));
	go_on(x, x->answer.kind == ERR_NONE);
}

static void
on_call(void *arg, const struct far_frame *f)
{
	struct side *x = arg;
	struct far_call call;
	struct buf b;

	x->first = true;
	assert_true(far_wire_get_call(f->data, f->bytes, &call));
	assert_int_equal(call.service, 77);
	buf_init(&b, MEM_SCHEDULER, 4096);
	far_wire_put_answer(&b, x->scene->refuse.kind ? &x->scene->refuse : NULL, NULL, 0);
	assert_true(far_line_send(x->line, &b));
	buf_fini(&b);
	go_on(x, x->scene->refuse.kind == ERR_NONE);
}

static void
on_ended(void *arg, const struct err *why)
{
	struct side *x = arg;

	assert_false(x->ended);
	x->ended = true;
	x->why = *why;
	x->line = NULL;
}

static const struct far_line_calls asks = {on_up, on_answer, on_ended};
static const struct far_line_calls serves = {NULL, on_call, on_ended};

/* From here on memory fails once. */
static void
cluster_takes(void *arg, struct channel *c)
{
	struct scene *s = arg;

	cluster_far_channel(s->cluster, c);
	mem_fail_after(s->fail_after);
}

static void
is_given_on(void *arg, struct channel *c, const void *data, size_t bytes)
{
	(void)arg, (void)c, (void)data, (void)bytes;
	fail();
}

static void
nothing(void *arg, struct channel *c)
{
	(void)arg, (void)c;
}

static void
broke_first(void *arg, struct channel *c, const struct err *why)
{
	(void)arg, (void)c, (void)why;
}

static void
arrived(uv_poll_t *poll, int status, int events)
{
	static const struct channel_calls taken = {cluster_takes, is_given_on, nothing,
						   broke_first};
	struct scene *s = poll->data;
	struct err err = {0};
	struct channel *c;
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)status;
	(void)events;
	if (fd < 0)
		return;
	if (s->cluster) {
		assert_int_equal(channel_accept(&s->st.loop, s->a.rules, fd, &taken, s, &c, &err),
				 0);
		return;
	}
	assert_int_equal(far_line_new(&s->st.loop, true, "edge-2", &serves, &s->serves,
				      &s->serves.line, &err),
			 0);
	assert_int_equal(channel_accept(&s->st.loop, s->a.rules, fd, &far_line_channel_calls,
					s->serves.line, &c, &err),
			 0);
	far_line_channel(s->serves.line, c);
}

static void
too_late(uv_timer_t *timer)
{
	((struct scene *)timer->data)->late = true;
}

static void
wakes(uv_timer_t *timer)
{
	(void)timer;
}

static void
begin_with(struct scene *s, struct cluster *cluster)
{
	struct channel *c;
	struct err err = {0};

	memset(s, 0, sizeof(*s));
	s->what = FAR_WHY;
	s->cluster = cluster;
	s->asks.scene = s->serves.scene = s;
	s->asks.user = s->serves.user = -1;
	channel_node_make(&s->a, 1, &authority, NULL, 0);
	channel_node_make(&s->b, 2, &authority, NULL, 0);
	assert_int_equal(uv_loop_init(&s->st.loop), 0);
	s->listen_fd = channel_node_listen(&s->st.loop, &s->listener, arrived, s, &s->address);
	uv_timer_init(&s->st.loop, &s->alarm);
	uv_timer_init(&s->st.loop, &s->step);
	s->alarm.data = s;
	uv_timer_start(&s->alarm, too_late, 90000, 0);
	/* Who looks at the other end of a stream is not on the loop. */
	uv_timer_start(&s->step, wakes, 1, 1);
	assert_int_equal(
		far_line_new(&s->st.loop, false, "edge-1", &asks, &s->asks, &s->asks.line, &err),
		0);
	assert_int_equal(channel_connect(&s->st.loop, s->b.rules, &s->address, 1, CHANNEL_CALL,
					 &far_line_channel_calls, s->asks.line, &c, &err),
			 0);
	far_line_channel(s->asks.line, c);
}

static void
begin(struct scene *s)
{
	begin_with(s, NULL);
}

static void
close_user(struct side *x)
{
	if (x->user >= 0)
		close(x->user);
	x->user = -1;
}

static void
finish(struct scene *s)
{
	struct side *sides[] = {&s->asks, &s->serves};

	for (size_t i = 0; i < 2; i++) {
		if (sides[i]->line)
			far_line_end(sides[i]->line);
		close_user(sides[i]);
	}
	uv_close((uv_handle_t *)&s->listener, NULL);
	uv_close((uv_handle_t *)&s->alarm, NULL);
	uv_close((uv_handle_t *)&s->step, NULL);
	uv_run(&s->st.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&s->st.loop), 0);
	close(s->listen_fd);
	channel_node_free(&s->a);
	channel_node_free(&s->b);
}

/* What came at the other end of a stream; *ended when no more does. */
static void
look(struct side *x, struct buf *out, bool *ended)
{
	uint8_t data[16384];
	ssize_t n;

	while ((n = read(x->user, data, sizeof(data))) > 0)
		buf_put(out, data, (size_t)n);
	*ended = n == 0;
}

static bool
has(struct side *x, struct buf *out, size_t bytes)
{
	bool ended;

	look(x, out, &ended);
	return out->length >= bytes;
}

static bool
is_over(struct side *x, struct buf *out)
{
	bool ended;

	look(x, out, &ended);
	return ended;
}

static void
say(const struct side *x, enum msg_frame type, const void *data, size_t bytes)
{
	struct buf b;

	buf_init(&b, MEM_SCHEDULER, 1 << 20);
	put_frame(&b, type, data, bytes);
	assert_int_equal(write(x->user, b.data, b.length), b.length);
	buf_fini(&b);
}

static void
test_both_ways_and_the_end(void **state)
{
	struct buf got;
	struct scene s;

	(void)state;
	begin(&s);
	buf_init(&got, MEM_SCHEDULER, 1 << 20);
	WAIT(&s, s.asks.user >= 0 && s.serves.user >= 0);
	say(&s.asks, MSG_FRAME_STDIN, "hello", 5);
	say(&s.asks, MSG_FRAME_STDIN, NULL, 0);
	WAIT(&s, has(&s.serves, &got, 2 * MSG_FRAME_HEAD + 5));
	assert_int_equal(got.data[0], MSG_FRAME_STDIN);
	assert_memory_equal(got.data + MSG_FRAME_HEAD, "hello", 5);
	buf_reset(&got);
	say(&s.serves, MSG_FRAME_STDOUT, "world", 5);
	WAIT(&s, has(&s.asks, &got, MSG_FRAME_HEAD + 5));
	/* Half of it: who asked says no more, and hears the rest. */
	shutdown(s.asks.user, SHUT_WR);
	buf_reset(&got);
	WAIT(&s, is_over(&s.serves, &got));
	say(&s.serves, MSG_FRAME_EXIT, "\3\0\0\0", 4);
	close_user(&s.serves);
	buf_reset(&got);
	WAIT(&s, is_over(&s.asks, &got));
	assert_int_equal(got.length, 2 * MSG_FRAME_HEAD + 4);
	assert_int_equal(got.data[0], MSG_FRAME_EXIT);
	assert_int_equal(got.data[MSG_FRAME_HEAD + 4], MSG_FRAME_DONE);
	WAIT(&s, s.asks.ended && s.serves.ended);
	assert_int_equal(s.asks.why.kind, 0);
	assert_int_equal(s.serves.why.kind, 0);
	buf_fini(&got);
	finish(&s);
}

/* Somebody writes as fast as he can, and nobody reads: memory stays small; then all of it comes. */
static void
test_a_slow_reader(void **state)
{
	static uint8_t line[LINE_BYTES];
	size_t sent = 0, whole = 0, stuck = 0, most = 0;
	struct buf frame, got;
	struct scene s;
	bool ended;

	(void)state;
	begin(&s);
	WAIT(&s, s.asks.user >= 0 && s.serves.user >= 0);
	buf_init(&frame, MEM_CLI, 1 << 20);
	buf_init(&got, MEM_CLI, 1 << 20);
	put_frame(&frame, MSG_FRAME_LINE, line, sizeof(line));
	size_t before = mem_used(MEM_SCHEDULER);
	for (size_t at = 0; stuck < 200 && sent < FLOOD_BYTES && !s.late;) {
		ssize_t n = write(s.serves.user, frame.data + at, frame.length - at);

		uv_run(&s.st.loop, UV_RUN_NOWAIT);
		if (mem_used(MEM_SCHEDULER) - before > most)
			most = mem_used(MEM_SCHEDULER) - before;
		if (n < 0) {
			uv_run(&s.st.loop, UV_RUN_ONCE);
			stuck++;
			continue;
		}
		stuck = 0;
		sent += (size_t)n;
		at = (at + (size_t)n) % frame.length;
	}
	assert_true(stuck == 200); /* nothing more was taken */
	assert_true(most < 3 << 20);
	while (got.length + whole < sent && !s.late) {
		look(&s.asks, &got, &ended);
		assert_false(ended);
		whole += got.length;
		buf_reset(&got);
		uv_run(&s.st.loop, UV_RUN_NOWAIT);
	}
	/* The last frame may be half: it waits for its rest. */
	assert_true(sent - whole < frame.length || whole == sent);
	buf_fini(&frame);
	buf_fini(&got);
	finish(&s);
}

static void
test_the_way_is_lost(void **state)
{
	struct buf got;
	struct scene s;

	(void)state;
	begin(&s);
	buf_init(&got, MEM_SCHEDULER, 1 << 20);
	WAIT(&s, s.asks.user >= 0 && s.serves.user >= 0);
	say(&s.serves, MSG_FRAME_STDOUT, "some", 4);
	WAIT(&s, has(&s.asks, &got, MSG_FRAME_HEAD + 4));
	buf_reset(&got);
	far_line_break(s.serves.line, &(struct err){.kind = ERR_TIMEOUT, .what = "cut"});
	assert_true(s.serves.ended);
	WAIT(&s, is_over(&s.asks, &got));
	assert_int_equal(got.data[0], MSG_FRAME_LOST);
	assert_non_null(memmem(got.data, got.length, "edge-1", 6));
	WAIT(&s, s.asks.ended);
	assert_int_not_equal(s.asks.why.kind, 0);
	/* What served it ends, too: nothing runs for nobody. */
	buf_reset(&got);
	WAIT(&s, is_over(&s.serves, &got));
	buf_fini(&got);
	finish(&s);
}

static void
test_who_asked_goes(void **state)
{
	struct buf got;
	struct scene s;

	(void)state;
	begin(&s);
	buf_init(&got, MEM_SCHEDULER, 1 << 20);
	WAIT(&s, s.asks.user >= 0 && s.serves.user >= 0);
	close_user(&s.asks);
	WAIT(&s, s.asks.ended && s.serves.ended);
	assert_int_equal(s.asks.why.kind, 0);
	WAIT(&s, is_over(&s.serves, &got));
	buf_fini(&got);
	finish(&s);
}

static void
test_a_refusal(void **state)
{
	struct scene s;

	(void)state;
	begin(&s);
	err_set(&s.refuse, ERR_NOT_FOUND, "it is not here");
	WAIT(&s, s.asks.first);
	assert_int_equal(s.asks.answer.kind, ERR_NOT_FOUND);
	assert_string_equal(s.asks.answer.what, "it is not here");
	assert_false(s.asks.ended || s.serves.ended);
	finish(&s);
}

/* What the other side may not say ends the line; each in a line of its own. */
static void
test_a_hostile_node(void **state)
{
	static const struct {
		const char *bytes;
		size_t length;
	} said[] = {
		{"\x09\0\0\0\0\0\0\0", 8},                        /* no kind */
		{"\x01\0\0\0\x0a\0\0\0\1\3\1\0\0\0\0\0\0\0", 18}, /* a second call */
		{"\x03\0\0\0\4\0\0\0abcd", 12},                   /* no frames */
		{"\x03\0\0\0\x09\0\0\0\6\0\0\0\1\0\0\0x", 17},    /* an exit, of who asks */
		{"\x04\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0", 16},     /* the end, twice */
		{"\x02\0\0\0\1\0\0\0\0", 9},                      /* an answer, of who asks */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
		struct scene s;
		struct buf b;

		begin(&s);
		buf_init(&b, MEM_SCHEDULER, 4096);
		WAIT(&s, s.asks.user >= 0 && s.serves.user >= 0);
		buf_put(&b, said[i].bytes, said[i].length);
		assert_true(far_line_send(s.asks.line, &b));
		WAIT(&s, s.serves.ended);
		assert_int_equal(s.serves.why.kind, ERR_CORRUPT);
		WAIT(&s, s.asks.ended);
		buf_fini(&b);
		finish(&s);
	}
}

/* An answer that cannot be written ends its line within the writing. */
static void
test_answers_that_cannot_be_written(void **state)
{
	static const enum far_what calls[] = {FAR_LOGS, FAR_WHY};
	struct cluster_node asker = {.row = {.node = 2}};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		bool failed = true;

		for (int64_t n = 0; failed; n++) {
			static struct model m;
			static struct cluster c;
			struct scene s;

			memset(&c, 0, sizeof(c));
			list_init(&m.deployments);
			map_init(&m.replicas, MEM_SCHEDULER);
			map_init(&c.nodes, MEM_SCHEDULER);
			assert_int_equal(map_put_u64(&c.nodes, 2, &asker), 0);
			list_init(&c.asks);
			list_init(&c.serves);
			cluster_callback_init(&c);
			c.m = &m;
			begin_with(&s, &c);
			c.st = &s.st;
			s.what = calls[i];
			s.fail_after = n;
			WAIT(&s, s.asks.ended || (s.asks.first && s.asks.answer.kind));
			failed = mem_failures() > 0;
			mem_fail_after(-1);
			cluster_far_end(&c);
			assert_int_equal(c.serves_count, 0);
			finish(&s);
			map_fini(&c.nodes);
		}
	}
}

/* Nobody answers: who does not want to wait for long is told first. */
static void
test_patience(void **state)
{
	struct side patient = {.user = -1};
	struct err err = {0};
	struct channel *c;
	struct scene s;

	(void)state;
	begin(&s);
	uv_poll_stop(&s.listener);
	far_line_patience(s.asks.line, 0);
	assert_int_equal(
		far_line_new(&s.st.loop, false, "edge-1", &asks, &patient, &patient.line, &err), 0);
	assert_int_equal(channel_connect(&s.st.loop, s.b.rules, &s.address, 1, CHANNEL_CALL,
					 &far_line_channel_calls, patient.line, &c, &err),
			 0);
	far_line_channel(patient.line, c);
	WAIT(&s, s.asks.ended);
	assert_int_equal(s.asks.why.kind, ERR_TIMEOUT);
	assert_false(patient.ended);
	far_line_end(patient.line);
	finish(&s);
}

static void
test_memory_fails(void **state)
{
	uv_loop_t loop;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	sweep_each(w)
	{
		struct far_line *l = NULL;
		struct err err = {0};
		struct side x = {0};
		int rc = far_line_new(&loop, true, "edge-1", &serves, &x, &l, &err);

		assert_int_equal(rc < 0, sweep_failed());
		if (rc == 0)
			far_line_end(l);
		uv_run(&loop, UV_RUN_DEFAULT);
	}
	sweep_each(w)
	{
		const struct far_call call = {.what = FAR_WHY, .service = 1};
		struct buf b;

		buf_init(&b, MEM_SCHEDULER, 4096);
		far_wire_put_call(&b, &call);
		far_wire_put_answer(&b, &(struct err){.kind = ERR_LIMIT, .what = "x"}, "rest", 4);
		assert_int_equal(!buf_ok(&b), sweep_failed());
		buf_fini(&b);
	}
	assert_int_equal(uv_loop_close(&loop), 0);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls_come_back),
		cmocka_unit_test(test_flows_that_nobody_asks_for),
		cmocka_unit_test(test_calls_that_are_none),
		cmocka_unit_test(test_answers_come_back),
		cmocka_unit_test(test_events_come_back),
		cmocka_unit_test(test_what_may_pass),
		cmocka_unit_test(test_rows_are_taken),
		cmocka_unit_test(test_both_ways_and_the_end),
		cmocka_unit_test(test_a_slow_reader),
		cmocka_unit_test(test_the_way_is_lost),
		cmocka_unit_test(test_who_asked_goes),
		cmocka_unit_test(test_a_refusal),
		cmocka_unit_test(test_a_hostile_node),
		cmocka_unit_test(test_answers_that_cannot_be_written),
		cmocka_unit_test(test_patience),
		cmocka_unit_test(test_memory_fails),
	};
	struct err err = {0};

	if (identity_authority_create(&authority, world_wall_ns() / 1000000000, &err) < 0)
		return 1;
	int rc = cmocka_run_group_tests(tests, NULL, NULL);
	identity_authority_fini(&authority);
	return rc;
}
