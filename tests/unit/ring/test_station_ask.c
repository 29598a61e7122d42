/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A station's requests and answers without a process around it: what a peer can do to it that asks
 * without end, sends halves, or dies between the two halves of an answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/socket.h>
#include "base/fd.h"
#include "base/text.h"
#include "ring/station_private.h"
#include "tests/support/segment.h"

enum { FLOOD = 200, NEVER = INT32_MAX };

static struct station st;
static int far; /* the other end of the leash */
static unsigned given;
static int answered_status;
static char answered_body[8];
static unsigned answered_count;

static struct ring_layout
layout_of(uint16_t role, uint16_t answers_for)
{
	return (struct ring_layout){
		.role = role,
		.generation = 1,
		.request_slots = 256,
		.request_body_bytes = 64,
		.answers = {{.role = answers_for,
			     .instances = 2,
			     .slots = 256,
			     .body_bytes = RING_BODY_MAX}},
		.answers_count = 1,
		.metric_series = 4,
	};
}

static struct ring_writer *
writer_of(uint16_t role, uint16_t answers_for)
{
	struct ring_layout layout = layout_of(role, answers_for);

	return segment_writer_of(&layout);
}

static void
on_request(struct station *s, const struct station_request *request, const void *body, size_t bytes,
	   int *fds, size_t count)
{
	(void)s;
	(void)request;
	(void)body;
	(void)bytes;
	(void)fds;
	(void)count;
	given++;
}

static const struct station_role scheduler = {.role = ROLE_SCHEDULER, .request = on_request};

static int
setup(void **state)
{
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	st = (struct station){.role = &scheduler, .leash = pair[0]};
	far = pair[1];
	given = answered_count = 0;
	list_init(&st.peers);
	list_init(&st.kicks);
	list_init(&st.queue);
	station_ask_init(&st);
	assert_int_equal(uv_loop_init(&st.loop), 0);
	uv_timer_init(&st.loop, &st.deadline);
	uv_idle_init(&st.loop, &st.again);
	st.again.data = &st;
	st.deadline.data = &st;
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	station_ask_fini(&st);
	uv_close((uv_handle_t *)&st.deadline, NULL);
	uv_close((uv_handle_t *)&st.again, NULL);
	uv_run(&st.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&st.loop), 0);
	ring_writer_free(st.writer);
	fd_close(&st.leash);
	fd_close(&far);
	return 0;
}

static uint64_t
ask_many(struct ring_writer *w, uint16_t op, unsigned count)
{
	uint64_t id = 0;

	for (unsigned i = 0; i < count; i++)
		assert_int_equal(ring_ask(w, ROLE_SCHEDULER, 0, op, UINT64_MAX, "x", 1, &id),
				 RING_OK);
	return id;
}

/* One peer's requests are given in portions, so that a peer that never stops does not stop us. */
static void
test_flood_of_requests(void **state)
{
	struct ring_writer *asker = writer_of(ROLE_API, ROLE_SCHEDULER);
	struct ring_reader *reader = segment_reader(asker);
	unsigned turns = 1;

	(void)state;
	st.writer = writer_of(ROLE_SCHEDULER, ROLE_API);
	ask_many(asker, MSG_OP_REVISIONS, FLOOD);
	while (station_ask_wake(&st, reader)) {
		assert_int_equal(given, turns * STATION_REQUESTS_TURN);
		turns++;
	}
	assert_int_equal(given, FLOOD);
	ring_reader_free(reader);
	ring_writer_free(asker);
}

/* A proxy may send no descriptors: its half requests are refused, not kept. */
static void
test_half_of_a_role_that_may_not(void **state)
{
	struct ring_writer *asker = writer_of(ROLE_PROXY, ROLE_SCHEDULER);
	struct ring_reader *reader = segment_reader(asker);
	static struct ring_answer answer;
	uint64_t id;

	(void)state;
	st.writer = writer_of(ROLE_SCHEDULER, ROLE_PROXY);
	id = ask_many(asker, MSG_OP_APPLY | MSG_OP_FD, 1);
	assert_false(station_ask_wake(&st, reader));
	assert_int_equal(given, 0);
	assert_int_equal(st.waiting_count, 0);
	struct ring_reader *answers = segment_reader(st.writer);
	assert_int_equal(ring_answer_get(answers, ROLE_PROXY, 0, id, &answer), RING_OK);
	assert_int_equal(answer.status, ERR_DENIED);
	ring_reader_free(answers);
	ring_reader_free(reader);
	ring_writer_free(asker);
}

/* Halves of one process push out its own oldest ones only, and go when it leaves. */
static void
test_halves_are_charged_to_their_sender(void **state)
{
	struct ring_writer *api = writer_of(ROLE_API, ROLE_SCHEDULER);
	struct ring_layout other_layout = layout_of(ROLE_API, ROLE_SCHEDULER);
	struct ring_writer *other;
	struct ring_reader *from_api = segment_reader(api);
	struct ring_reader *from_other;
	struct leash_message m;
	uint64_t id;
	int fd = fd_memfd_sealed("half", "x", 1);

	(void)state;
	st.writer = writer_of(ROLE_SCHEDULER, ROLE_API);
	other_layout.index = 1;
	other = segment_writer_of(&other_layout);
	from_other = segment_reader(other);
	id = ask_many(other, MSG_OP_APPLY | MSG_OP_FD, 1);
	station_ask_wake(&st, from_other);
	ask_many(api, MSG_OP_APPLY | MSG_OP_FD, FLOOD);
	while (station_ask_wake(&st, from_api))
		;
	assert_int_equal(given, 0);
	assert_int_equal(st.waiting_count, STATION_PENDING_PEER_MAX + 1);
	leash_init(&m, LEASH_DELIVER);
	m.from_role = ROLE_API;
	m.from_index = 1;
	m.id = id;
	station_ask_deliver(&st, &m, &fd, 1);
	assert_int_equal(given, 1);
	station_ask_gone(&st, ROLE_API, 0);
	assert_int_equal(st.waiting_count, 0);
	fd_close(&fd);
	ring_reader_free(from_other);
	ring_reader_free(from_api);
	ring_writer_free(other);
	ring_writer_free(api);
}

static void
answered(void *arg, int status, const struct err *err, const void *body, size_t bytes, int *fds,
	 size_t count)
{
	(void)arg;
	(void)err;
	(void)fds;
	answered_status = status;
	answered_count++;
	assert_int_equal(count, 1);
	assert_true(bytes < sizeof(answered_body));
	text_ncopy(answered_body, sizeof(answered_body), body, bytes);
}

/* The words of one process and the descriptors of its successor are not one answer. */
static void
test_answerer_dies_between_the_halves(void **state)
{
	struct ring_writer *first = writer_of(ROLE_RUNTIME, ROLE_SCHEDULER);
	struct ring_writer *second = writer_of(ROLE_RUNTIME, ROLE_SCHEDULER);
	struct ring_reader *from_first = segment_reader(first);
	struct ring_reader *from_second = segment_reader(second);
	struct ring_reader *own;
	static struct ring_request request;
	struct leash_message m;
	struct err err = {0};
	int fd = fd_memfd_sealed("half", "x", 1);

	(void)state;
	st.writer = writer_of(ROLE_SCHEDULER, ROLE_API);
	assert_int_equal(station_ask(&st, ROLE_RUNTIME, 0, MSG_OP_LOGS, "q", 1, NULL, 0, NEVER,
				     answered, NULL, &err),
			 0);
	own = segment_reader(st.writer);
	assert_int_equal(ring_request_next(own, ROLE_RUNTIME, 0, 1, &request), RING_OK);
	ring_answer(first, ROLE_SCHEDULER, 0, request.id, MSG_ANSWER_FD, "old", 3);
	station_ask_wake(&st, from_first);
	assert_int_equal(answered_count, 0);

	station_ask_gone(&st, ROLE_RUNTIME, 0);
	station_ask_peer(&st, ROLE_RUNTIME, 0);
	leash_init(&m, LEASH_DELIVER);
	m.from_role = ROLE_RUNTIME;
	m.id = request.id;
	m.b = 1;
	station_ask_deliver(&st, &m, &fd, 1);
	assert_int_equal(answered_count, 0);
	ring_answer(second, ROLE_SCHEDULER, 0, request.id, MSG_ANSWER_FD, "new", 3);
	station_ask_wake(&st, from_second);
	assert_int_equal(answered_count, 1);
	assert_int_equal(answered_status, 0);
	assert_string_equal(answered_body, "new");
	assert_int_equal(st.waiting_count, 0);
	ring_reader_free(own);
	ring_reader_free(from_second);
	ring_reader_free(from_first);
	ring_writer_free(second);
	ring_writer_free(first);
}

/* Two roles that do not read each other: the asker is told at once, not after a timeout. */
static void
test_ask_without_permission(void **state)
{
	struct err err = {0};

	(void)state;
	st.writer = writer_of(ROLE_SCHEDULER, ROLE_API);
	assert_int_equal(station_ask(&st, ROLE_UNPACK, 0, MSG_OP_UNPACK, "q", 1, NULL, 0, NEVER,
				     answered, NULL, &err),
			 -1);
	assert_int_equal(err.kind, ERR_INTERNAL);
}

#define ASK_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		ASK_TEST(test_flood_of_requests),
		ASK_TEST(test_half_of_a_role_that_may_not),
		ASK_TEST(test_halves_are_charged_to_their_sender),
		ASK_TEST(test_answerer_dies_between_the_halves),
		ASK_TEST(test_ask_without_permission),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
