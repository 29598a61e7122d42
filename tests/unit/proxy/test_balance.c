/* SPDX-License-Identifier: Apache-2.0 */
/* Choice of replicas: fairness, load and latency, failures, draining. */
#include "proxy/balance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { N = 4, ROUNDS = 20000 };

static struct balance_replica replicas[N];
static struct balance_replica *pointers[N];
static struct world_seeded world;
static uint64_t turn;

static void
reset(void)
{
	memset(replicas, 0, sizeof(replicas));
	for (int i = 0; i < N; i++) {
		pointers[i] = &replicas[i];
		replicas[i].ewma_ns = 1000000;
	}
	world_seeded_init(&world, 1, 0, 0);
	turn = 0;
}

static int
choose(enum msg_balance how, const struct balance_replica *tried)
{
	const struct balance_replica *list[1] = {tried};

	return balance_choose(pointers, N, how, list, tried != NULL, &world.world, 100, &turn);
}

static void
count(enum msg_balance how, unsigned counts[N])
{
	memset(counts, 0, N * sizeof(counts[0]));
	for (int i = 0; i < ROUNDS; i++) {
		int c = choose(how, NULL);

		assert_in_range(c, 0, N - 1);
		counts[c]++;
	}
}

static void
test_equal(void **state)
{
	unsigned counts[N];

	(void)state;
	reset();
	count(MSG_BALANCE_ROUND_ROBIN, counts);
	for (int i = 0; i < N; i++)
		assert_int_equal(counts[i], ROUNDS / N);
	/* Load that stays: p2c keeps it even. */
	memset(counts, 0, sizeof(counts));
	for (int i = 0; i < 1000; i++)
		balance_begin(&replicas[choose(MSG_BALANCE_P2C, NULL)]);
	for (int i = 0; i < N; i++)
		assert_in_range(replicas[i].in_flight, 240, 260);
}

static void
test_slow_and_busy(void **state)
{
	unsigned counts[N];

	(void)state;
	reset();
	replicas[0].ewma_ns = 50000000;
	for (int round = 0; round < 100; round++) {
		replicas[0].ewma_ns = 50000000;
		for (int i = 0; i < 10; i++)
			assert_int_not_equal(choose(MSG_BALANCE_P2C, NULL), 0);
	}
	/* It is asked again after a while, and stays rare when it is slow again. */
	memset(counts, 0, sizeof(counts));
	for (int i = 0; i < ROUNDS; i++) {
		int c = choose(MSG_BALANCE_P2C, NULL);

		counts[c]++;
		balance_answered(&replicas[c], c == 0 ? 50000000 : 1000000);
	}
	assert_in_range(counts[0], 10, ROUNDS / 10);
	reset();
	replicas[1].in_flight = 100;
	count(MSG_BALANCE_P2C, counts);
	assert_int_equal(counts[1], 0);
	/* One that is new gets its share. */
	reset();
	replicas[2].ewma_ns = 0;
	count(MSG_BALANCE_P2C, counts);
	assert_true(counts[2] > ROUNDS / 8);
}

static void
test_doubted(void **state)
{
	const struct balance_replica *tried[] = {&replicas[2]};

	(void)state;
	reset();
	replicas[0].doubted = replicas[1].doubted = true;
	for (int i = 0; i < 100; i++)
		assert_true(choose(MSG_BALANCE_P2C, NULL) >= 2);
	/* They are asked when all others failed or leave. */
	replicas[3].draining = true;
	assert_int_equal(choose(MSG_BALANCE_P2C, NULL), 2);
	assert_in_range(choose(MSG_BALANCE_P2C, &replicas[2]), 0, 1);
	replicas[2].draining = true;
	assert_in_range(choose(MSG_BALANCE_P2C, NULL), 0, 1);
	/* Who waits for one of them has the other one, until that was tried. */
	assert_true(balance_has_other(pointers, N, NULL, 0, &replicas[0], 0));
	tried[0] = &replicas[1];
	assert_false(balance_has_other(pointers, N, tried, 1, &replicas[0], 0));
	assert_false(balance_has_other(pointers, 1, NULL, 0, &replicas[0], 0));
}

static void
test_draining_and_tried(void **state)
{
	(void)state;
	reset();
	for (int i = 0; i < 3; i++)
		replicas[i].draining = true;
	for (int i = 0; i < 100; i++)
		assert_int_equal(choose(MSG_BALANCE_P2C, NULL), 3);
	/* The only one left is tried again rather than none. */
	assert_int_equal(choose(MSG_BALANCE_P2C, &replicas[3]), 3);
	replicas[3].draining = true;
	assert_int_equal(choose(MSG_BALANCE_P2C, NULL), -1);
	assert_int_equal(choose(MSG_BALANCE_ROUND_ROBIN, NULL), -1);
	reset();
	for (int i = 0; i < 100; i++)
		assert_int_not_equal(choose(MSG_BALANCE_P2C, &replicas[1]), 1);
	assert_int_equal(
		balance_choose(pointers, 0, MSG_BALANCE_P2C, NULL, 0, &world.world, 0, &turn), -1);
}

static void
test_failures(void **state)
{
	struct balance_replica *r = &replicas[0];
	uint64_t now = 100;

	(void)state;
	reset();
	assert_false(balance_failed(r, true, 3, now));
	for (int i = 0; i < 100; i++)
		assert_int_not_equal(choose(MSG_BALANCE_P2C, NULL), 0);
	for (int i = 2; i < BALANCE_FAILURES; i++)
		assert_false(balance_failed(r, false, 3, now));
	assert_true(balance_failed(r, false, 3, now));
	assert_true(r->avoid_until_ms == now + BALANCE_EJECT_MS);
	/* Longer each time, with an end. */
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < BALANCE_FAILURES; i++)
			(void)balance_failed(r, false, 3, now);
	}
	assert_true(r->avoid_until_ms == now + BALANCE_EJECT_MAX_MS);
	/* The last one is never ejected; and all avoided are as good as none. */
	reset();
	for (int i = 0; i < 50; i++)
		assert_false(balance_failed(r, false, 0, now));
	for (int i = 0; i < N; i++)
		replicas[i].avoid_until_ms = 1000000;
	assert_int_not_equal(choose(MSG_BALANCE_P2C, NULL), -1);
}

static void
test_share_of_ejections(void **state)
{
	struct balance_replica many[40], *all[40];

	(void)state;
	memset(many, 0, sizeof(many));
	for (int i = 0; i < 40; i++)
		all[i] = &many[i];
	assert_int_equal(balance_spare(all, 40, 100), 4);
	for (int i = 0; i < 3; i++)
		many[i].ejected_until_ms = 200;
	assert_int_equal(balance_spare(all, 40, 100), 1);
	assert_int_equal(balance_spare(all, 40, 200), 4);
	/* Few: one of them, and none when it is the only one, or one is out already. */
	assert_int_equal(balance_spare(all + 3, 2, 100), 1);
	assert_int_equal(balance_spare(all + 2, 2, 100), 0);
	assert_int_equal(balance_spare(all + 3, 1, 100), 0);
	assert_int_equal(balance_spare(all, 0, 100), 0);
	many[3].draining = true;
	assert_int_equal(balance_spare(all + 3, 2, 100), 0);
	/* One by one, until the share is used up. */
	memset(many, 0, sizeof(many));
	unsigned ejected = 0;
	for (int i = 0; i < 40; i++)
		for (int n = 0; n < BALANCE_FAILURES; n++)
			ejected +=
				balance_failed(&many[i], false, balance_spare(all, 40, 100), 100);
	assert_int_equal(ejected, 4);
}

static void
test_latency(void **state)
{
	struct balance_replica *r = &replicas[0];

	(void)state;
	reset();
	r->ewma_ns = 0;
	balance_answered(r, 8000);
	assert_true(r->ewma_ns == 4001);
	for (int i = 0; i < 100; i++)
		balance_answered(r, 80000);
	assert_in_range(r->ewma_ns, 75000, 81000);
	balance_failed(r, false, 3, 0);
	balance_answered(r, 1);
	assert_int_equal(r->failures, 0);
	balance_end(r);
	assert_int_equal(r->in_flight, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal),    cmocka_unit_test(test_slow_and_busy),
		cmocka_unit_test(test_doubted),  cmocka_unit_test(test_draining_and_tried),
		cmocka_unit_test(test_failures), cmocka_unit_test(test_share_of_ejections),
		cmocka_unit_test(test_latency),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
