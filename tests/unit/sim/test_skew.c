/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/skew.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#define S UINT64_C(1000000000)

static void
test_rates(void **state)
{
	struct skew s;

	(void)state;
	skew_init(&s, 5 * S, 100 * S, 0);
	assert_true(skew_local(&s, 6 * S) == 101 * S);
	skew_init(&s, 0, 0, 10000000);
	assert_true(skew_local(&s, 100 * S) == 101 * S);
	skew_init(&s, 0, 0, -10000000);
	assert_true(skew_local(&s, 100 * S) == 99 * S);
}

/* A timer is never early, and at most a nanosecond late. */
static void
test_there_and_back(void **state)
{
	static const int32_t rates[] = {0, 1, -1, 9999999, -10000000, 50000000};
	struct skew s;

	(void)state;
	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++)
		for (uint64_t local = 7; local < 1000 * S; local = local * 3 + 1) {
			uint64_t at;

			skew_init(&s, 3, 5, rates[i]);
			at = skew_true(&s, local);
			assert_true(skew_local(&s, at) >= local);
			assert_true(at == 3 || skew_local(&s, at - 1) < local);
		}
	assert_true(skew_true(&s, UINT64_MAX) == UINT64_MAX);
	assert_true(skew_true(&s, 0) == 3);
}

static void
test_jump(void **state)
{
	struct skew s;

	(void)state;
	skew_init(&s, 0, 0, 10000000);
	skew_jump(&s, 100 * S, 7 * S);
	assert_true(skew_local(&s, 100 * S) == 108 * S);
	assert_true(skew_local(&s, 200 * S) == 209 * S);
	assert_true(skew_true(&s, 108 * S) == 100 * S);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rates),
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_jump),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
