/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two roles on one ring, with this test as node: api asks scheduler, with and without descriptors,
 * sees tables change, loses its answerer in the middle and gets its answer from the successor.
 *
 *   test (hub) --leash-- api ---------+
 *        |                            | segments, pipes
 *        +------leash-- scheduler ----+
 */
#include "ring/station.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "tests/support/sides.h"

enum { OP_ADD = 100, OP_READ, OP_DIE_ONCE, OP_SILENT, TABLE = MSG_TABLE_SERVICE };

struct row {
	uint64_t value;
};

/* ---- the answerer ---- */

static void
answerer_layout(const struct leash_welcome *w, struct ring_layout *layout)
{
	(void)w;
	layout->tables[0] = (struct ring_table_layout){TABLE, 1, sizeof(struct row), 16};
	layout->tables_count = 1;
	layout->answers[0] = (struct ring_answers_layout){ROLE_API, 1, 64, RING_BODY_MAX};
	layout->answers_count = 1;
	layout->metric_series = 16;
}

static int
answerer_start(struct station *st, struct err *err)
{
	struct row row = {.value = station_welcome(st)->generation};
	size_t bytes;

	(void)err;
	if (getuid() == 0 || getgid() == 0 || station_config(st, &bytes) == NULL || bytes != 6)
		return err_set(err, ERR_INTERNAL, "confinement or configuration is wrong");
	ring_table_set(station_writer(st), TABLE, 1, &row, NULL);
	station_kick(st);
	return 0;
}

static void
answer_fd(struct station *st, const struct station_request *r, int *fds)
{
	char text[64] = {0};
	ssize_t n = pread(fds[0], text, sizeof(text) - 1, 0);
	int out = fd_memfd_sealed("answer", text, n > 0 ? (size_t)n : 0);

	station_answer(st, r, "ok", 2, &out, 1);
	fd_close(&out);
}

static void
answerer_request(struct station *st, const struct station_request *r, const void *body,
		 size_t bytes, int *fds, size_t count)
{
	uint64_t v[2];
	struct err err = {0};

	switch (r->op) {
	case OP_ADD:
		if (bytes != sizeof(v)) {
			err_set(&err, ERR_INVALID, "two numbers are asked");
			station_answer_err(st, r, &err);
			return;
		}
		memcpy(v, body, sizeof(v));
		v[0] += v[1];
		station_answer(st, r, v, sizeof(v[0]), NULL, 0);
		return;
	case OP_READ:
		assert(count == 1);
		answer_fd(st, r, fds);
		return;
	case OP_DIE_ONCE:
		if (station_welcome(st)->generation == 1)
			raise(SIGKILL);
		answer_fd(st, r, fds);
		return;
	default:
		return; /* never answered */
	}
}

static const struct station_role answerer = {
	.role = ROLE_SCHEDULER,
	.layout = answerer_layout,
	.start = answerer_start,
	.request = answerer_request,
};

/* ---- the asker: a list of steps, then it leaves with 0 ---- */

static int step;
static struct station *asker_st;
static uint64_t seen_generation;

static void asker_next(void);

static void
expect(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "step %d: %s\n", step, what);
		_exit(70 + step);
	}
}

static void
answered(void *arg, int status, const struct err *err, const void *body, size_t bytes, int *fds,
	 size_t count)
{
	uint64_t sum;
	char text[16] = {0};

	(void)arg;
	switch (step) {
	case 0:
		expect(status == 0 && bytes == 8, "sum");
		memcpy(&sum, body, 8);
		expect(sum == 42, "42");
		break;
	case 1:
		expect(status == ERR_INVALID && text_equal(err->what, "two numbers are asked"),
		       "error");
		break;
	case 2:
	case 3:
		expect(status == 0 && count == 1 && bytes == 2, "descriptor");
		expect(fd_is_sealed(fds[0]) && pread(fds[0], text, 15, 0) == 5, "content");
		expect(text_equal(text, "hello"), "hello");
		break;
	case 4:
		expect(status == ERR_TIMEOUT, "timeout");
		break;
	default:
		break;
	}
	step++;
	asker_next();
}

static void
asker_next(void)
{
	static const uint64_t v[2] = {40, 2};
	static const uint16_t ops[] = {OP_ADD, OP_ADD, OP_READ, OP_DIE_ONCE, OP_SILENT};
	struct err err = {0};
	int fd = -1;

	if (step == 5) {
		expect(seen_generation == 2, "the successor's table");
		station_leave(asker_st, 0);
		return;
	}
	if (step == 2 || step == 3)
		fd = fd_memfd_sealed("question", "hello", 5);
	int rc = station_ask(asker_st, ROLE_SCHEDULER, 0, ops[step], v, step == 1 ? 3 : sizeof(v),
			     &fd, fd >= 0, step == 4 ? 50 : 20000, answered, NULL, &err);
	expect(rc == 0, "ask");
	fd_close(&fd);
}

static void
asker_layout(const struct leash_welcome *w, struct ring_layout *layout)
{
	(void)w;
	layout->request_slots = 64;
	layout->request_body_bytes = RING_BODY_MAX;
	layout->metric_series = 16;
}

static int
asker_start(struct station *st, struct err *err)
{
	(void)err;
	asker_st = st;
	asker_next();
	return 0;
}

static void
changed(void *arg, uint64_t key, const void *row)
{
	const struct row *r = row;

	(void)arg;
	if (key == 1 && r)
		seen_generation = r->value;
}

static void
asker_wake(struct station *st, struct ring_reader *reader)
{
	(void)st;
	ring_table_sync(reader, TABLE, sizeof(struct row), changed, NULL);
}

static const struct station_role asker = {
	.role = ROLE_API,
	.layout = asker_layout,
	.start = asker_start,
	.wake = asker_wake,
};

/* ---- the hub ---- */

enum { API, SCHEDULER, SIDES };

static void
test_ask_and_answer(void **state)
{
	struct side sides[SIDES] = {
		[API] = {.role = &asker, .leash = -1, .segment = -1},
		[SCHEDULER] = {.role = &answerer, .leash = -1, .segment = -1},
	};
	struct side *api = &sides[API], *scheduler = &sides[SCHEDULER];
	int status = -1;

	(void)state;
	sides_start(sides, SIDES, scheduler);
	sides_start(sides, SIDES, api);
	for (uint64_t end = world_mono_ns() + UINT64_C(60000000000); world_mono_ns() < end;) {
		struct pollfd p[2] = {{.fd = api->leash, .events = POLLIN},
				      {.fd = scheduler->leash, .events = POLLIN}};

		poll(p, 2, 100);
		if (p[0].revents & POLLIN)
			sides_message(sides, SIDES, api);
		if (p[1].revents & POLLIN)
			sides_message(sides, SIDES, scheduler);
		if (waitpid(api->pid, &status, WNOHANG) == api->pid)
			break;
		if (waitpid(scheduler->pid, NULL, WNOHANG) == scheduler->pid)
			sides_start(sides, SIDES, scheduler);
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(scheduler->generation, 2);
	/* The end of the leash ends the role. */
	fd_close(&scheduler->leash);
	assert_int_equal(waitpid(scheduler->pid, &status, 0), scheduler->pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	fd_close(&api->leash);
	fd_close(&api->segment);
	fd_close(&scheduler->segment);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_ask_and_answer)};

	if (getuid() != 0) {
		printf("1..0 # SKIP needs root to change its user\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
