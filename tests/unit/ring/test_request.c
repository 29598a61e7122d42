/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and answers between two segments, through restarts of either side. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/mem.h"
#include "tests/support/segment.h"

enum { ANSWERER = SEGMENT_ROLE, NEVER = 1000 };

struct fixture {
	struct ring_writer *asker;
	struct ring_reader *asker_seen; /* by the answerer */
	struct ring_writer *answerer;
	struct ring_reader *answerer_seen; /* by the asker */
	struct ring_request request;
	struct ring_answer answer;
};

static struct ring_writer *
new_asker(uint32_t generation)
{
	struct ring_layout layout = segment_layout(generation);

	layout.role = SEGMENT_ASKER;
	return segment_writer_of(&layout);
}

static int
setup(void **state)
{
	struct fixture *f = mem_zalloc(MEM_BASE, sizeof(*f));

	f->asker = new_asker(70000);
	f->asker_seen = segment_reader(f->asker);
	f->answerer = segment_writer(1);
	f->answerer_seen = segment_reader(f->answerer);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	ring_reader_free(f->asker_seen);
	ring_reader_free(f->answerer_seen);
	ring_writer_free(f->asker);
	ring_writer_free(f->answerer);
	mem_free(f);
	return 0;
}

static uint64_t
ask(struct fixture *f, uint16_t index, const char *body)
{
	uint64_t id = 0;

	assert_int_equal(ring_ask(f->asker, ANSWERER, index, 42, NEVER, body, strlen(body), &id),
			 RING_OK);
	assert_true(id != 0);
	return id;
}

static enum ring_status
next(struct fixture *f, uint64_t now)
{
	return ring_request_next(f->asker_seen, ANSWERER, 0, now, &f->request);
}

static enum ring_status
get(struct fixture *f, uint64_t id)
{
	return ring_answer_get(f->answerer_seen, SEGMENT_ASKER, SEGMENT_INDEX, id, &f->answer);
}

static enum ring_status
answer(struct fixture *f, uint64_t id, uint16_t status, const char *body)
{
	return ring_answer(f->answerer, SEGMENT_ASKER, SEGMENT_INDEX, id, status, body,
			   strlen(body));
}

static void
test_round_trip(void **state)
{
	struct fixture *f = *state;
	uint64_t id;

	assert_int_equal(next(f, 1), RING_EMPTY);
	id = ask(f, 0, "sign this");
	assert_int_equal(get(f, id), RING_EMPTY);
	assert_int_equal(next(f, 1), RING_OK);
	assert_int_equal(f->request.id, id);
	assert_int_equal(f->request.role, SEGMENT_ASKER);
	assert_int_equal(f->request.index, SEGMENT_INDEX);
	assert_int_equal(f->request.op, 42);
	assert_int_equal(f->request.deadline_mono_ns, NEVER);
	assert_int_equal(f->request.bytes, 9);
	assert_memory_equal(f->request.body, "sign this", 9);
	assert_int_equal(next(f, 1), RING_EMPTY);
	assert_int_equal(answer(f, id, 3, "signed"), RING_OK);
	assert_int_equal(get(f, id), RING_OK);
	assert_int_equal(f->answer.status, 3);
	assert_int_equal(f->answer.bytes, 6);
	assert_memory_equal(f->answer.body, "signed", 6);
	assert_int_equal(answer(f, id, 0, "again"), RING_OK);
	assert_int_equal(get(f, id), RING_OK);
	assert_int_equal(f->answer.status, 0);
	assert_int_equal(f->answer.bytes, 5);
	ring_ask_release(f->asker, id);
	assert_int_equal(next(f, 1), RING_EMPTY);
}

static void
test_only_the_addressed_one_is_given_it(void **state)
{
	struct fixture *f = *state;
	uint64_t id = ask(f, 1, "for the second");

	assert_int_equal(next(f, 1), RING_EMPTY);
	assert_int_equal(ring_request_next(f->asker_seen, 9, 1, 1, &f->request), RING_EMPTY);
	assert_int_equal(ring_request_next(f->asker_seen, ANSWERER, 1, 1, &f->request), RING_OK);
	assert_int_equal(f->request.id, id);
}

static void
test_each_is_given_once(void **state)
{
	struct fixture *f = *state;
	uint64_t ids[8];
	unsigned seen = 0;

	for (size_t i = 0; i < 8; i++)
		ids[i] = ask(f, 0, "x");
	while (next(f, 1) == RING_OK)
		for (size_t i = 0; i < 8; i++)
			if (ids[i] == f->request.id)
				seen |= 1u << i;
	assert_int_equal(seen, 0xff);
	assert_int_equal(next(f, 1), RING_EMPTY);
}

static void
test_full_slots(void **state)
{
	struct fixture *f = *state;
	uint64_t ids[8];
	uint64_t id;

	for (size_t i = 0; i < 8; i++)
		ids[i] = ask(f, 0, "x");
	assert_int_equal(ring_ask(f->asker, ANSWERER, 0, 1, NEVER, "y", 1, &id), RING_FULL);
	ring_ask_release(f->asker, ids[3]);
	ring_ask_release(f->asker, ids[3]);
	id = ask(f, 0, "y");
	for (size_t i = 0; i < 8; i++)
		assert_true(ids[i] != id);
	assert_int_equal(ring_ask(f->asker, ANSWERER, 0, 1, NEVER, "y", 1, &id), RING_FULL);
}

/* The answer to a released request never serves the one that stands in its slot now. */
static void
test_late_answer_to_a_former_request(void **state)
{
	struct fixture *f = *state;
	uint64_t first = ask(f, 0, "first");
	uint64_t second;

	assert_int_equal(next(f, 1), RING_OK);
	ring_ask_release(f->asker, first);
	second = ask(f, 0, "second");
	assert_int_equal(answer(f, first, 0, "late"), RING_OK);
	assert_int_equal(get(f, second), RING_EMPTY);
	assert_int_equal(next(f, 1), RING_OK);
	assert_int_equal(f->request.id, second);
	assert_int_equal(answer(f, second, 0, "right"), RING_OK);
	assert_int_equal(get(f, first), RING_EMPTY);
	assert_int_equal(get(f, second), RING_OK);
}

/* An answer that comes late must not take the place of a newer one that nobody has read yet. */
static void
test_late_answer_after_a_newer_one(void **state)
{
	struct fixture *f = *state;
	uint64_t old = ask(f, 0, "old"), newer, next_start;

	assert_int_equal(next(f, 1), RING_OK);
	ring_ask_release(f->asker, old);
	newer = ask(f, 0, "new");
	assert_int_equal(newer & 0xfff, old & 0xfff);
	assert_int_equal(next(f, 1), RING_OK);
	assert_int_equal(ring_answer(f->answerer, SEGMENT_ASKER, SEGMENT_INDEX, newer, 0, "n", 1),
			 RING_OK);
	assert_int_equal(ring_answer(f->answerer, SEGMENT_ASKER, SEGMENT_INDEX, old, 0, "o", 1),
			 RING_OK);
	assert_int_equal(get(f, old), RING_EMPTY);
	assert_int_equal(get(f, newer), RING_OK);
	assert_memory_equal(f->answer.body, "n", 1);

	/* Nor one of a generation before; the first of the next generation has a lower count. */
	next_start = ((uint64_t)(uint16_t)(70000 + 1) << 48 | 1 << 12) | (old & 0xfff);
	assert_int_equal(
		ring_answer(f->answerer, SEGMENT_ASKER, SEGMENT_INDEX, next_start, 0, "s", 1),
		RING_OK);
	assert_int_equal(get(f, next_start), RING_OK);
	assert_int_equal(ring_answer(f->answerer, SEGMENT_ASKER, SEGMENT_INDEX, newer, 0, "n", 1),
			 RING_OK);
	assert_int_equal(get(f, next_start), RING_OK);
}

static void
test_deadline(void **state)
{
	struct fixture *f = *state;
	uint64_t id;

	ask(f, 0, "late");
	assert_int_equal(next(f, NEVER), RING_EMPTY);
	id = ask(f, 0, "in time");
	assert_int_equal(next(f, NEVER - 1), RING_OK);
	assert_int_equal(f->request.id, id);
	assert_int_equal(next(f, NEVER - 1), RING_EMPTY);
}

static void
test_answerer_restarts(void **state)
{
	struct fixture *f = *state;
	uint64_t answered = ask(f, 0, "a");
	uint64_t open = ask(f, 0, "b");

	while (next(f, 1) == RING_OK)
		;
	assert_int_equal(answer(f, answered, 0, "done"), RING_OK);
	assert_int_equal(get(f, answered), RING_OK);
	ring_ask_release(f->asker, answered);
	ring_reader_free(f->asker_seen);
	ring_reader_free(f->answerer_seen);
	ring_writer_free(f->answerer);
	f->answerer = segment_writer(2);
	f->answerer_seen = segment_reader(f->answerer);
	f->asker_seen = segment_reader(f->asker);
	assert_int_equal(next(f, 1), RING_OK);
	assert_int_equal(f->request.id, open);
	assert_int_equal(next(f, 1), RING_EMPTY);
	assert_int_equal(get(f, open), RING_EMPTY);
	assert_int_equal(answer(f, open, 0, "done"), RING_OK);
	assert_int_equal(get(f, open), RING_OK);
}

static void
test_asker_restarts(void **state)
{
	struct fixture *f = *state;
	uint64_t before = ask(f, 0, "of the former");
	uint64_t after;

	assert_int_equal(next(f, 1), RING_OK);
	ring_reader_free(f->asker_seen);
	ring_writer_free(f->asker);
	f->asker = new_asker(70001);
	f->asker_seen = segment_reader(f->asker);
	after = ask(f, 0, "of the successor");
	assert_true(before != after);
	assert_int_equal(answer(f, before, 0, "too late"), RING_OK);
	assert_int_equal(get(f, after), RING_EMPTY);
	assert_int_equal(next(f, 1), RING_OK);
	assert_int_equal(f->request.id, after);
	assert_int_equal(answer(f, after, 0, "yes"), RING_OK);
	assert_int_equal(get(f, after), RING_OK);
}

static void
test_no_place_for_the_answer(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ring_answer(f->answerer, 99, 0, 1, 0, NULL, 0), RING_BAD);
	assert_int_equal(ring_answer(f->answerer, SEGMENT_ASKER, 2, 1, 0, NULL, 0), RING_BAD);
	assert_int_equal(ring_answer(f->answerer, SEGMENT_ASKER, 0, 8, 0, NULL, 0), RING_BAD);
	assert_int_equal(ring_answer(f->answerer, SEGMENT_ASKER, 0, 0, 0, NULL, 0), RING_BAD);
	assert_int_equal(ring_answer_get(f->answerer_seen, 99, 0, 1, &f->answer), RING_EMPTY);
	assert_int_equal(ring_answer_get(f->answerer_seen, SEGMENT_ASKER, 2, 1, &f->answer),
			 RING_EMPTY);
	assert_int_equal(ring_answer_get(f->answerer_seen, SEGMENT_ASKER, 0, 4095, &f->answer),
			 RING_EMPTY);
}

static void
test_instances_do_not_mix(void **state)
{
	struct fixture *f = *state;
	uint64_t id = ask(f, 0, "x");

	assert_int_equal(ring_answer(f->answerer, SEGMENT_ASKER, 0, id, 0, "z", 1), RING_OK);
	assert_int_equal(get(f, id), RING_EMPTY);
}

static void
test_release_of_what_is_not_there(void **state)
{
	struct fixture *f = *state;
	uint64_t id = ask(f, 0, "x");

	ring_ask_release(f->asker, 0);
	ring_ask_release(f->asker, 4095);
	ring_ask_release(f->asker, id ^ (1 << 20));
	assert_int_equal(next(f, 1), RING_OK);
}

static void
test_many_rounds(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 5000; i++) {
		uint64_t id = ask(f, 0, "body of some length");

		assert_int_equal(next(f, 1), RING_OK);
		assert_int_equal(f->request.id, id);
		assert_int_equal(answer(f, id, 0, ""), RING_OK);
		assert_int_equal(get(f, id), RING_OK);
		assert_int_equal(f->answer.bytes, 0);
		ring_ask_release(f->asker, id);
	}
}

static void
test_no_memory_to_look(void **state)
{
	struct fixture *f = *state;

	ask(f, 0, "x");
	mem_fail_after(0);
	assert_int_equal(next(f, 1), RING_NO_MEM);
	mem_fail_after(-1);
	assert_int_equal(next(f, 1), RING_OK);
}

#define REQUEST_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		REQUEST_TEST(test_round_trip),
		REQUEST_TEST(test_only_the_addressed_one_is_given_it),
		REQUEST_TEST(test_each_is_given_once),
		REQUEST_TEST(test_full_slots),
		REQUEST_TEST(test_late_answer_to_a_former_request),
		REQUEST_TEST(test_late_answer_after_a_newer_one),
		REQUEST_TEST(test_deadline),
		REQUEST_TEST(test_answerer_restarts),
		REQUEST_TEST(test_asker_restarts),
		REQUEST_TEST(test_no_place_for_the_answer),
		REQUEST_TEST(test_instances_do_not_mix),
		REQUEST_TEST(test_release_of_what_is_not_there),
		REQUEST_TEST(test_many_rounds),
		REQUEST_TEST(test_no_memory_to_look),
	};

	return cmocka_run_group_tests_name("ring request", tests, NULL, NULL);
}
