/* SPDX-License-Identifier: Apache-2.0 */
/* A bucket of questions on a clock of the test's own. */
#include "overlay/allowance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { SECOND = 1000000000, EACH = SECOND / ALLOWANCE_RATE };

static unsigned
take_all(struct allowance *a, uint64_t now_ns)
{
	unsigned n = 0;

	while (n <= 2 * ALLOWANCE_BURST && allowance_take(a, now_ns))
		n++;
	return n;
}

static void
test_burst_and_rate(void **state)
{
	struct allowance a = {0};
	uint64_t now = 5;

	(void)state;
	assert_int_equal(take_all(&a, now), ALLOWANCE_BURST);
	assert_int_equal(take_all(&a, now + EACH - 1), 0);
	/* The part of a question that was waited for is not lost. */
	assert_int_equal(take_all(&a, now += EACH), 1);
	assert_int_equal(take_all(&a, now + EACH / 2), 0);
	assert_int_equal(take_all(&a, now + EACH + EACH / 2), 1);
	assert_int_equal(take_all(&a, now += 2 * EACH), 1);
	assert_int_equal(take_all(&a, now += SECOND), ALLOWANCE_RATE);
	/* A long rest gives one burst, no more. */
	assert_int_equal(take_all(&a, now += (uint64_t)1000 * SECOND), ALLOWANCE_BURST);
	assert_int_equal(take_all(&a, now += 3 * EACH), 3);
}

static void
test_filled_up(void **state)
{
	struct allowance a = {0};
	uint64_t now = SECOND;

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		assert_true(allowance_take(&a, now));
	/* Ten are missing and a hundred would come. */
	assert_int_equal(take_all(&a, now += 100 * EACH), ALLOWANCE_BURST);
}

static void
test_clock_goes_back(void **state)
{
	struct allowance a = {0};
	uint64_t now = (uint64_t)100 * SECOND;

	(void)state;
	assert_int_equal(take_all(&a, now), ALLOWANCE_BURST);
	assert_int_equal(take_all(&a, now - SECOND), 0);
	assert_int_equal(take_all(&a, now + 2 * EACH), 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_burst_and_rate),
		cmocka_unit_test(test_filled_up),
		cmocka_unit_test(test_clock_goes_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
