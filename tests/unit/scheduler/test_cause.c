/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/cause.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/text.h"

struct scene {
	struct msg_container now;
	struct msg_container end;
	struct msg_result result;
	struct cause_result check;
	struct cause_input in;
	struct err err;
};

static struct scene *
runs(void)
{
	static struct scene s;

	memset(&s, 0, sizeof(s));
	s.now.state = MSG_CONTAINER_RUNNING;
	s.result.total = 12;
	s.check = (struct cause_result){
		.check = CAUSE_HTTP,
		.endpoint = "http",
		.port = 3000,
		.path = "/health",
		.expect_status = 200,
		.timeout_ms = 5000,
		.result = &s.result,
	};
	s.in = (struct cause_input){
		.deployment = "my-app",
		.service = "web",
		.index = 1,
		.node = "edge-1",
		.waited_ms = 60000,
		.container = &s.now,
		.results = &s.check,
		.results_count = 1,
	};
	return &s;
}

static struct scene *
ended(void)
{
	struct scene *s = runs();

	s->end.state = MSG_CONTAINER_EXITED;
	s->end.started_wall_ns = 1000000000;
	s->end.exited_wall_ns = 1800000000;
	s->in.ended = &s->end;
	s->in.restarts = 3;
	return s;
}

static void
name(struct scene *s)
{
	err_clear(&s->err);
	cause_name(&s->in, &s->err);
}

static void
test_loopback_only(void **state)
{
	struct scene *s = runs();

	(void)state;
	s->result.failure = MSG_FAILURE_REFUSED;
	s->now.listening_count = 1;
	s->now.listening_ports[0] = 3000;
	s->now.listening_loopback[0] = 1;
	name(s);
	assert_string_equal(s->err.what, "web.1 on edge-1 did not become healthy");
	assert_string_equal(s->err.why[0], "the process listens on 127.0.0.1:3000; the endpoint "
					   "\"http\" needs port 3000 on all addresses");
	assert_string_equal(s->err.why[1],
			    "health check GET /health: connection refused, 12 tries in 60s; the "
			    "process is alive");
	assert_string_equal(s->err.fix, "make the program listen on 0.0.0.0 (often HOST=0.0.0.0), "
					"then: zlayer deploy");
	assert_int_equal(s->err.kind, ERR_TIMEOUT);
}

static void
test_wrong_port(void **state)
{
	struct scene *s = runs();

	(void)state;
	s->result.failure = MSG_FAILURE_REFUSED;
	s->now.listening_count = 2;
	s->now.listening_ports[0] = 8080;
	s->now.listening_ports[1] = 9090;
	name(s);
	assert_string_equal(s->err.why[0], "the process listens on port 8080, 9090; the endpoint "
					   "\"http\" needs port 3000");
	s->now.listening_count = 0;
	s->check.endpoint = NULL;
	name(s);
	assert_string_equal(s->err.why[0],
			    "nothing listens in the container; the health check needs port 3000");
	/* More than the row can hold, as a liar would say. */
	s->now.listening_count = 4000000000;
	name(s);
	/* On loopback, and another port. */
	s->now.listening_count = 1;
	s->now.listening_loopback[0] = 1;
	name(s);
	assert_string_equal(s->err.why[0], "the process listens on 127.0.0.1:8080; the health "
					   "check needs port 3000 on all addresses");
}

static void
test_answers_are_not_as_expected(void **state)
{
	struct scene *s = runs();

	(void)state;
	s->result.failure = MSG_FAILURE_STATUS;
	s->result.http_status = 500;
	strcpy(s->result.detail, "database is locked");
	name(s);
	assert_string_equal(s->err.why[0], "GET /health answered 500, expected 200");
	assert_string_equal(s->err.why[1], "it said: database is locked");
	s->result.failure = MSG_FAILURE_PROTOCOL;
	s->result.tls_seen = 1;
	name(s);
	assert_non_null(strstr(s->err.why[0], "speaks TLS"));
	s->result.tls_seen = 0;
	name(s);
	assert_string_equal(s->err.why[0], "what port 3000 answers is not HTTP");
	s->result.failure = MSG_FAILURE_TIMEOUT;
	name(s);
	assert_string_equal(s->err.why[0], "health check GET /health: no answer within 5s, 12 "
					   "tries in 60s; the process is alive");
	s->check.check = CAUSE_COMMAND;
	s->result.failure = MSG_FAILURE_EXIT;
	s->result.http_status = 3;
	name(s);
	assert_string_equal(s->err.why[0], "the health command exited with status 3");
}

static void
test_ends(void **state)
{
	struct scene *s = ended();

	(void)state;
	s->end.exit_status = 1;
	name(s);
	assert_string_equal(s->err.what, "web.1 on edge-1 ended");
	assert_string_equal(s->err.why[0], "the process exited with status 1");
	assert_string_equal(s->err.why[1], "it ran for 0.8s");
	assert_string_equal(s->err.why[2], "it was started again 3 times");
	assert_string_equal(s->err.fix, "zlayer logs my-app/web --previous");
	s->end.exit_status = -1;
	s->end.exit_signal = 11;
	name(s);
	assert_string_equal(s->err.why[0], "the process was ended by signal 11 (SEGV)");
	s->end.seccomp_killed = 1;
	name(s);
	assert_string_equal(s->err.what, "web.1 on edge-1 was ended by the seccomp filter");
	s->end.oom_killed = 1;
	s->end.memory_limit = 32 << 20;
	s->end.memory_peak = 32 << 20;
	name(s);
	assert_string_equal(s->err.what, "web.1 on edge-1 ran out of memory");
	assert_non_null(strstr(s->err.fix, "above 32Mi"));
	assert_int_equal(s->err.kind, ERR_LIMIT);
	s->end.oom_killed = s->end.seccomp_killed = 0;
	s->end.exit_signal = 0;
	s->end.exit_status = 127;
	name(s);
	assert_non_null(strstr(s->err.why[0], "not found"));
}

static void
test_oom_inside(void **state)
{
	struct scene *s = runs();

	(void)state;
	s->now.memory_limit = 32 << 20;
	cause_oom_inside(&s->in, 2, &s->err);
	assert_int_equal(s->err.kind, ERR_LIMIT);
	assert_non_null(strstr(s->err.what, "web.1 on edge-1 runs"));
	assert_non_null(strstr(s->err.why[0], "ended 2 of them"));
	assert_non_null(strstr(s->err.fix, "above 32Mi"));
	s->now.memory_limit = 0;
	cause_oom_inside(&s->in, 1, &s->err);
	assert_non_null(strstr(s->err.fix, "a limit"));
}

static void
test_isolated(void **state)
{
	struct scene *s = ended();

	(void)state;
	s->end.exit_status = 3;
	cause_isolated(&s->in, &s->err);
	assert_string_equal(s->err.what, "web.1 on edge-1 is isolated after exit status 3");
	assert_non_null(strstr(s->err.fix, "zlayer exec my-app/web.1 -- sh"));
	assert_non_null(strstr(s->err.fix, "zlayer restart my-app/web"));
	s->end.exit_signal = 11;
	cause_isolated(&s->in, &s->err);
	assert_non_null(strstr(s->err.what, "after signal 11 (SEGV)"));
	s->end.oom_killed = 1;
	cause_isolated(&s->in, &s->err);
	assert_non_null(strstr(s->err.what, "ran out of memory"));
}

static void
test_never_began(void **state)
{
	struct scene *s = runs();

	(void)state;
	s->now.state = MSG_CONTAINER_FAILED;
	s->now.reason.kind = ERR_NOT_FOUND;
	strcpy(s->now.reason.what, "the image docker.io/library/web:9 is not here");
	strcpy(s->now.reason.fix, "zlayer image import FILE");
	name(s);
	assert_string_equal(s->err.what, "web.1 on edge-1 could not be started");
	assert_string_equal(s->err.why[0], "the image docker.io/library/web:9 is not here");
	assert_string_equal(s->err.fix, "zlayer image import FILE");
	assert_int_equal(s->err.kind, ERR_NOT_FOUND);
	/* A kind that does not exist. */
	s->now.reason.kind = 7777;
	name(s);
	assert_int_equal(s->err.kind, ERR_SYSTEM);
}

static void
test_nothing_is_known(void **state)
{
	struct scene *s = runs();

	(void)state;
	s->in.container = NULL;
	s->check.result = NULL;
	name(s);
	assert_string_equal(s->err.why[0], "the runtime has not taken it over in 60s");
	s->in.container = &s->now;
	s->now.state = MSG_CONTAINER_PREPARING;
	name(s);
	assert_non_null(strstr(s->err.why[0], "prepared"));
	s->now.state = MSG_CONTAINER_RUNNING;
	name(s);
	assert_string_equal(s->err.why[0], "no check had an answer in 60s");
}

static void
test_relapses(void **state)
{
	struct scene *s = runs();

	(void)state;
	s->in.relapsed = true;
	s->result.failure = MSG_FAILURE_TIMEOUT;
	name(s);
	assert_string_equal(s->err.what,
			    "web.1 on edge-1 became unhealthy after it had been healthy");
	s = ended();
	s->in.relapsed = true;
	s->end.exit_status = 2;
	s->result.ok = 1;
	name(s);
	assert_string_equal(s->err.what, "web.1 on edge-1 ended after it had been healthy");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loopback_only),
		cmocka_unit_test(test_wrong_port),
		cmocka_unit_test(test_answers_are_not_as_expected),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_oom_inside),
		cmocka_unit_test(test_isolated),
		cmocka_unit_test(test_never_began),
		cmocka_unit_test(test_nothing_is_known),
		cmocka_unit_test(test_relapses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
