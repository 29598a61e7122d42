/* SPDX-License-Identifier: Apache-2.0 */
/* Which kernels a node runs on. */
#include "node/kernel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void
test_releases(void **state)
{
	static const char *const old[] = {"5.14.21-150500.55-default", "5.4.0", "4.19.0-26-amd64",
					  "3.10.0-1160.el7.x86_64",    "5.0",   "0.0"};
	static const char *const good[] = {"5.15.0", "5.15", "5.15.167-amd64", "6.1.0-31-amd64",
					   "6.18.44-v65", "10.0.1", "5.115.0",
					   /* Nobody knows what these are. */
					   "", "linux", "6", "5.x", "-1.2"};
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(old) / sizeof(old[0]); i++) {
		err = (struct err){0};
		assert_int_equal(kernel_check(old[i], &err), -1);
		assert_int_equal(err.kind, ERR_UNSUPPORTED);
		assert_non_null(strstr(err.what, old[i]));
		assert_non_null(strstr(err.why[0], "5.15"));
		assert_true(err.fix[0]);
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		err = (struct err){0};
		assert_int_equal(kernel_check(good[i], &err), 0);
		assert_int_equal(err.kind, ERR_NONE);
	}
}

static void
test_the_one_that_runs(void **state)
{
	struct err err = {0};

	(void)state;
	assert_int_equal(kernel_check_running(&err), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_releases),
		cmocka_unit_test(test_the_one_that_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
