/* SPDX-License-Identifier: Apache-2.0 */
/* Loading into a table: all or nothing, once. libm is the library that is always there. */
#include "base/dl.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define MATH_CALLS(X) X(cos) X(floor)
DL_DECLARE(math, MATH_CALLS);
DL_DEFINE(math, "libm.so.6", MATH_CALLS)

static void
table_is_filled_once(void **state)
{
	(void)state;
	struct err err;

	assert_null(math.cos);
	assert_int_equal(dl_load_math(&err), 0);
	assert_true(math.floor(2.5) < 2.1);
	double (*was)(double) = math.cos;
	assert_int_equal(dl_load_math(&err), 0);
	assert_ptr_equal(math.cos, was);
}

static void
missing_library_is_named(void **state)
{
	(void)state;
	static const char *const symbols[] = {"x", NULL};
	void *table[1] = {NULL};
	struct err err;

	assert_int_equal(dl_load_("libdoes-not-exist.so.9", symbols, table, 1, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	assert_non_null(strstr(err.what, "libdoes-not-exist.so.9"));
	assert_null(table[0]);
}

static void
missing_symbol_leaves_the_table_empty(void **state)
{
	(void)state;
	static const char *const symbols[] = {"cos", "cos_of_the_future", NULL};
	void *table[2] = {NULL, NULL};
	struct err err;

	assert_int_equal(dl_load_("libm.so.6", symbols, table, 2, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	assert_non_null(strstr(err.what, "cos_of_the_future"));
	assert_null(table[0]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_is_filled_once),
		cmocka_unit_test(missing_library_is_named),
		cmocka_unit_test(missing_symbol_leaves_the_table_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
