/* SPDX-License-Identifier: Apache-2.0 */
/* Processes that are sent out: their answers, their deaths, what they are given. */
#include "node/errand.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "tests/support/sweep.h"

enum { ENOUGH_S = 60 };

/* More than a pipe holds: it comes in pieces. */
struct answer {
	uint64_t number;
	char rest[200000];
};

static uv_loop_t loop;
static struct answer got;
static unsigned told, told_whole;

static void
on_done(void *arg, bool whole)
{
	assert_ptr_equal(arg, &loop);
	told++;
	told_whole += whole;
}

static int
setup(void **state)
{
	(void)state;
	memset(&got, 0, sizeof(got));
	told = told_whole = 0;
	return uv_loop_init(&loop);
}

static int
teardown(void **state)
{
	(void)state;
	uv_run(&loop, UV_RUN_DEFAULT); /* what was closed */
	return uv_loop_close(&loop);
}

static struct errand *
make(void)
{
	struct errand *e = errand_new(&loop, &got, sizeof(got), on_done, &loop);

	assert_non_null(e);
	return e;
}

static void
send_out(struct errand *e, errand_work work, void *arg)
{
	const struct errand_order order = {.work = work, .arg = arg, .seconds = ENOUGH_S};
	struct err err = {0};

	assert_int_equal(errand_send(e, &order, &err), 0);
	assert_true(errand_runs(e));
}

static bool
answers(void *arg, void *answer)
{
	struct answer *a = answer;

	a->number = *(const uint64_t *)arg;
	memset(a->rest, 'x', sizeof(a->rest));
	return true;
}

static bool
has_none(void *arg, void *answer)
{
	(void)arg;
	(void)answer;
	return false;
}

static bool
dies(void *arg, void *answer)
{
	(void)arg;
	(void)answer;
	raise(SIGKILL);
	return true;
}

/* For ever: until its alarm. */
static bool
hangs(void *arg, void *answer)
{
	(void)arg;
	(void)answer;
	while (pause() < 0)
		continue;
	return true;
}

static void
check_answer(uint64_t number)
{
	assert_int_equal(got.number, number);
	assert_int_equal(got.rest[0], 'x');
	assert_int_equal(got.rest[sizeof(got.rest) - 1], 'x');
}

static void
test_answers(void **state)
{
	struct errand *e = make();

	(void)state;
	assert_false(errand_runs(e));
	for (uint64_t i = 1; i <= 3; i++) {
		send_out(e, answers, &i);
		uv_run(&loop, UV_RUN_DEFAULT);
		assert_false(errand_runs(e));
		assert_int_equal(told, i);
		assert_int_equal(told_whole, i);
		check_answer(i);
	}
	errand_free(e);
}

static void
test_no_answer(void **state)
{
	static const errand_work works[] = {has_none, dies};
	struct errand *e = make();

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		send_out(e, works[i], NULL);
		uv_run(&loop, UV_RUN_DEFAULT);
		assert_int_equal(told, i + 1);
		assert_int_equal(told_whole, 0);
		assert_false(errand_runs(e));
	}
	errand_free(e);
}

static void
test_takes_too_long(void **state)
{
	const struct errand_order order = {.work = hangs, .seconds = 1};
	struct errand *e = make();
	struct err err = {0};

	(void)state;
	assert_int_equal(errand_send(e, &order, &err), 0);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(told, 1);
	assert_int_equal(told_whole, 0);
	errand_free(e);
}

static void
test_is_waited_for(void **state)
{
	struct errand *e = make();
	uint64_t number = 9;

	(void)state;
	assert_false(errand_wait(e));
	send_out(e, answers, &number);
	assert_true(errand_wait(e));
	check_answer(number);
	assert_false(errand_runs(e));
	send_out(e, has_none, NULL);
	assert_false(errand_wait(e));
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(told, 0);
	errand_free(e);
}

static void
test_is_forgotten(void **state)
{
	struct errand *e = make();
	uint64_t number = 9;

	(void)state;
	send_out(e, answers, &number);
	errand_free(e);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(told, 0);
	errand_free(NULL);
}

/* ---- what it is given ---- */

static bool
is_same_file(int fd, const struct stat *s)
{
	struct stat now;

	return fstat(fd, &now) == 0 && now.st_dev == s->st_dev && now.st_ino == s->st_ino;
}

/* 3 and 4 are what was given, 5 is where the answer goes, and there is nothing above. */
static bool
looks(void *arg, void *answer)
{
	const struct stat *s = arg;
	struct answer *a = answer;

	a->number = is_same_file(3, &s[0]) && is_same_file(4, &s[1]);
	for (int fd = 6; fd < 64; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			a->number = 0;
	if (getsid(0) != getpid())
		a->number = 0;
	return true;
}

/* Also when one is given at a number that another one is to have. */
static void
test_descriptors(void **state)
{
	int one = open("/", O_PATH | O_CLOEXEC), two = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct stat s[2];
	struct errand *e = make();
	struct err err = {0};

	(void)state;
	assert_true(one >= 0 && two >= 0);
	for (unsigned turn = 0; turn < 2; turn++) {
		const struct errand_order order = {.work = looks,
						   .arg = s,
						   .fds = {turn ? two : one, turn ? one : two},
						   .fds_count = 2,
						   .seconds = ENOUGH_S};

		assert_int_equal(fstat(order.fds[0], &s[0]), 0);
		assert_int_equal(fstat(order.fds[1], &s[1]), 0);
		assert_int_equal(errand_send(e, &order, &err), 0);
		assert_true(errand_wait(e));
		assert_int_equal(got.number, 1);
	}
	errand_free(e);
	fd_close(&one);
	fd_close(&two);
}

static void
test_memory(void **state)
{
	const struct errand_order order = {.work = has_none, .seconds = ENOUGH_S};

	(void)state;
	sweep_each(s)
	{
		struct errand *e = errand_new(&loop, &got, sizeof(got), on_done, &loop);
		struct err err = {0};
		bool sent = e && errand_send(e, &order, &err) == 0;

		assert_int_equal(!sent, sweep_failed());
		if (sent)
			assert_false(errand_wait(e));
		errand_free(e);
		uv_run(&loop, UV_RUN_DEFAULT);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_takes_too_long, setup, teardown),
		cmocka_unit_test_setup_teardown(test_is_waited_for, setup, teardown),
		cmocka_unit_test_setup_teardown(test_is_forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(test_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
