/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/draw.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

static void
test_same_seed_same_numbers(void **state)
{
	struct draw a = draw_of(7, 1), b = draw_of(7, 1), c = draw_of(7, 2);
	unsigned equal = 0;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		uint64_t v = draw_u64(&a);

		assert_true(v == draw_u64(&b));
		equal += v == draw_u64(&c);
	}
	assert_int_equal(equal, 0);
}

static void
test_ranges(void **state)
{
	struct draw d = draw_of(1, 1);
	unsigned low = 0, high = 0;

	(void)state;
	for (unsigned i = 0; i < 10000; i++) {
		uint64_t v = draw_between(&d, 3, 5);

		assert_true(v >= 3 && v <= 5);
		low += v == 3;
		high += v == 5;
		v = draw_scale(&d, 10, 1000000);
		assert_true(v >= 10 && v <= 1000000);
	}
	assert_in_range(low, 3000, 3700);
	assert_in_range(high, 3000, 3700);
	assert_true(draw_scale(&d, 7, 7) == 7);
	assert_true(draw_between(&d, 9, 9) == 9);
}

static void
test_chance(void **state)
{
	struct draw d = draw_of(2, 1);
	unsigned hits = 0;

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		hits += draw_chance(&d, 50000);
		assert_false(draw_chance(&d, 0));
		assert_true(draw_chance(&d, 1000000));
	}
	assert_in_range(hits, 4500, 5500);
}

static void
test_wait_has_its_mean_and_its_tail(void **state)
{
	struct draw d = draw_of(3, 1);
	uint64_t sum = 0, beyond = 0;

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		uint64_t v = draw_wait(&d, 1000);

		assert_true(v <= 8000);
		sum += v;
		beyond += v > 3000; /* e^-3: 5 % */
	}
	assert_in_range(sum / 100000, 900, 1100);
	assert_in_range(beyond, 4000, 6000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_seed_same_numbers),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_chance),
		cmocka_unit_test(test_wait_has_its_mean_and_its_tail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
