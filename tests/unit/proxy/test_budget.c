/* SPDX-License-Identifier: Apache-2.0 */
/* Budgets of retries: share, floor, and what the window forgets. */
#include "proxy/budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static unsigned
use_up(struct budget *b, uint64_t now_ms)
{
	unsigned n = 0;

	while (budget_retry(b, now_ms))
		n++;
	return n;
}

static void
test_floor_and_share(void **state)
{
	struct budget b = {0};

	(void)state;
	assert_int_equal(use_up(&b, 5000), BUDGET_RETRY_FREE_MAX);
	for (int i = 0; i < 1000; i++)
		budget_request(&b, 6000);
	assert_int_equal(use_up(&b, 6000), 1000 * BUDGET_RETRY_PERCENT_MAX / 100);
	/* A retry is no request: it earns nothing. */
	assert_int_equal(use_up(&b, 6999), 0);
}

static void
test_window(void **state)
{
	struct budget b = {0};
	const uint64_t window = BUDGET_WINDOW_S * 1000;

	(void)state;
	for (int i = 0; i < 100; i++)
		budget_request(&b, 1000);
	assert_int_equal(use_up(&b, 1000), BUDGET_RETRY_FREE_MAX + 20);
	assert_int_equal(use_up(&b, window), 0);
	/* Both are forgotten together, after the window or after a long silence. */
	assert_int_equal(use_up(&b, 1000 + window), BUDGET_RETRY_FREE_MAX);
	assert_int_equal(use_up(&b, 1000000000), BUDGET_RETRY_FREE_MAX);
	assert_int_equal(use_up(&b, 1000000000 + window - 1), 0);
	assert_int_equal(use_up(&b, 1000000000 + window), BUDGET_RETRY_FREE_MAX);
	/* A clock that went back. */
	assert_int_equal(use_up(&b, 5), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_floor_and_share),
		cmocka_unit_test(test_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
