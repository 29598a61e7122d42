/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes that ask each other whether a replica is still in use; datagrams are lost, late and old. */
#include "scheduler/drains.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "tests/support/sweep.h"

#define S UINT64_C(1000000000)
#define WEB (UINT64_C(1) << 32 | 7)

enum { NODES = 3, SINCE = 1000 };

static struct drains nodes[NODES + 1];
static struct step_actions actions;
static uint64_t now_ns, timers[NODES + 1];
static unsigned lose; /* percent */
static uint64_t draw;

static void step(uint32_t node, struct step_input *in);

static bool
is_lost(void)
{
	draw = draw * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (draw >> 33) % 100 < lose;
}

static void
carry_out(uint32_t node)
{
	struct {
		uint32_t node;
		uint8_t data[DRAINS_BYTES];
	} out[64];
	size_t count = 0;

	for (size_t i = 0; i < actions.count; i++) {
		const struct step_action *a = &actions.items[i];

		if (a->kind == STEP_SET_TIMER)
			timers[node] = a->at_ns;
		if (a->kind != STEP_SEND || is_lost())
			continue;
		assert_int_equal(a->bytes, DRAINS_BYTES);
		out[count].node = a->node;
		memcpy(out[count++].data, step_data(&actions, a), DRAINS_BYTES);
	}
	for (size_t i = 0; i < count; i++)
		step(out[i].node, &(struct step_input){.kind = STEP_DATAGRAM,
						       .node = node,
						       .data = out[i].data,
						       .bytes = DRAINS_BYTES});
}

static void
step(uint32_t node, struct step_input *in)
{
	in->now_ns = now_ns;
	step_actions_clear(&actions);
	drains_step(&nodes[node], in, &actions);
	carry_out(node);
}

static void
flush(void *arg)
{
	struct drains *d = arg;

	step((uint32_t)(d - nodes), &(struct step_input){.kind = STEP_LOCAL});
}

static void
pass(uint64_t ns)
{
	now_ns += ns;
	for (uint32_t i = 1; i <= NODES; i++) {
		if (timers[i] <= now_ns) {
			timers[i] = UINT64_MAX;
			step(i, &(struct step_input){.kind = STEP_TIMER});
		}
	}
}

static int
setup(void **state)
{
	(void)state;
	now_ns = S;
	lose = 0;
	draw = 1;
	for (uint32_t i = 1; i <= NODES; i++) {
		drains_init(&nodes[i]);
		nodes[i].flush = flush;
		nodes[i].arg = &nodes[i];
		timers[i] = UINT64_MAX;
	}
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	for (uint32_t i = 1; i <= NODES; i++)
		drains_fini(&nodes[i]);
	return 0;
}

static bool
is_free(int64_t since)
{
	bool free = true;

	for (uint32_t i = 2; i <= NODES; i++)
		free &= drains_is_free(&nodes[1], WEB, since, i);
	drains_flush(&nodes[1]);
	return free;
}

static void
answer(uint32_t node, bool free)
{
	struct drains_asked *a = drains_asked(&nodes[node], WEB);

	assert_non_null(a);
	assert_int_equal(a->node, 1);
	drains_answer(&nodes[node], a, free);
	drains_flush(&nodes[node]);
}

static void
test_all_let_go(void **state)
{
	(void)state;
	assert_false(is_free(SINCE));
	answer(2, true);
	assert_false(is_free(SINCE));
	pass(10 * S);
	assert_false(is_free(SINCE)); /* node 3 holds it */
	answer(3, true);
	assert_true(is_free(SINCE));
	drains_end(&nodes[1], WEB);
	/* Drained a second time, it is another question. */
	assert_false(is_free(SINCE + 1));
	assert_false(drains_asked(&nodes[2], WEB)->free);
	assert_int_equal(drains_asked(&nodes[2], WEB)->since_wall_ns, SINCE + 1);
	drains_end(&nodes[1], WEB);
	pass(S);
	pass(2 * DRAINS_KEPT_MS * UINT64_C(1000000));
	assert_null(drains_asked(&nodes[2], WEB));
}

static void
test_datagrams_are_lost(void **state)
{
	(void)state;
	lose = 100;
	assert_false(is_free(SINCE));
	for (int i = 0; i < 5; i++)
		pass(S);
	assert_null(drains_asked(&nodes[2], WEB));
	for (lose = 70; lose; lose -= 10) {
		unsigned turns = 0;

		for (; turns < 1000 && !is_free(SINCE + lose); turns++) {
			struct drains_asked *a = drains_asked(&nodes[2 + turns % 2], WEB);

			if (a)
				answer(2 + turns % 2, a->since_wall_ns == SINCE + lose);
			pass(S);
		}
		assert_true(turns < 1000);
		drains_end(&nodes[1], WEB);
	}
}

static void
hear(uint32_t node, uint32_t from, enum drains_kind kind, uint64_t replica, int64_t since)
{
	const struct drains_message m = {kind, replica, since};
	uint8_t data[DRAINS_BYTES];

	drains_encode(&m, data);
	step(node,
	     &(struct step_input){
		     .kind = STEP_DATAGRAM, .node = from, .data = data, .bytes = sizeof(data)});
}

static void
test_answers_that_are_none(void **state)
{
	(void)state;
	assert_false(is_free(SINCE));
	hear(1, 2, DRAINS_FREE, WEB, SINCE - 1); /* an earlier drain */
	hear(1, 2, DRAINS_FREE, WEB + 1, SINCE);
	hear(1, 4, DRAINS_FREE, WEB, SINCE); /* nobody asked it */
	hear(1, 2, DRAINS_HOLDS, WEB, SINCE);
	answer(3, true);
	assert_false(is_free(SINCE));
	/* Nobody asks about another's replica, but for those from before there was a cluster. */
	hear(2, 3, DRAINS_ASK, WEB + 9, SINCE);
	assert_null(drains_asked(&nodes[2], WEB + 9));
	hear(2, 3, DRAINS_ASK, 9, SINCE);
	assert_int_equal(drains_asked(&nodes[2], 9)->node, 3);
	hear(2, 1, DRAINS_ASK, 9, SINCE + 1);
	assert_int_equal(drains_asked(&nodes[2], 9)->since_wall_ns, SINCE);
}

static void
test_questions_are_bounded(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < DRAINS_ASKED_MAX + 100; i++)
		hear(2, 1, DRAINS_ASK, UINT64_C(1) << 32 | (i + 1), SINCE);
	assert_int_equal(map_count(&nodes[2].asked), DRAINS_ASKED_MAX);
	/* More answers are owed than one list holds. */
	lose = 100;
	struct map_iter it = {0};
	while (map_next(&nodes[2].asked, &it))
		drains_answer(&nodes[2], it.value, true);
	step_actions_clear(&actions);
	drains_step(&nodes[2], &(struct step_input){.kind = STEP_LOCAL, .now_ns = now_ns},
		    &actions);
	assert_true(actions.more && actions.count <= STEP_ACTIONS_MAX);
}

static void
test_messages(void **state)
{
	const struct drains_message m = {DRAINS_HOLDS, WEB, -5};
	uint8_t data[DRAINS_BYTES + 1] = {0};
	struct drains_message out;

	(void)state;
	drains_encode(&m, data);
	assert_true(drains_decode(data, DRAINS_BYTES, &out));
	assert_int_equal(out.kind, m.kind);
	assert_true(out.replica == WEB && out.since_wall_ns == -5);
	for (size_t n = 0; n < DRAINS_BYTES; n++)
		assert_false(drains_decode(data, n, &out));
	assert_false(drains_decode(data, DRAINS_BYTES + 1, &out));
	data[2] = 1;
	assert_false(drains_decode(data, DRAINS_BYTES, &out));
	data[2] = 0;
	data[1] = DRAINS_FREE + 1;
	assert_false(drains_decode(data, DRAINS_BYTES, &out));
}

static void
test_allocation_failures(void **state)
{
	(void)state;
	sweep_each(s)
	{
		setup(NULL);
		(void)is_free(SINCE);
		struct drains_asked *a = drains_asked(&nodes[2], WEB);
		if (a)
			drains_answer(&nodes[2], a, true);
		drains_flush(&nodes[2]);
		assert_true(a || sweep_failed());
		teardown(NULL);
	}
	setup(NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_all_let_go),
		TEST(test_datagrams_are_lost),
		TEST(test_answers_that_are_none),
		TEST(test_questions_are_bounded),
		TEST(test_messages),
		cmocka_unit_test_setup_teardown(test_allocation_failures, NULL, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
