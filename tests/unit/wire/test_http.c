/* SPDX-License-Identifier: Apache-2.0 */
/* Methods, reasons, dates. */
#include "wire/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static void
test_methods(void **state)
{
	(void)state;
	for (int m = HTTP_GET; m < HTTP_METHODS_; m++) {
		const char *name = http_method_name((enum http_method)m);

		assert_int_equal(http_method_of(name, strlen(name)), m);
	}
	assert_int_equal(http_method_of("get", 3), HTTP_OTHER);
	assert_int_equal(http_method_of("PROPFIND", 8), HTTP_OTHER);
	assert_true(http_method_idempotent(HTTP_PUT));
	assert_false(http_method_idempotent(HTTP_POST));
	assert_false(http_method_idempotent(HTTP_OTHER));
	assert_string_equal(http_reason(404), "Not Found");
	assert_string_equal(http_reason(299), "Unknown");
}

static void
test_dates(void **state)
{
	char out[HTTP_DATE_BYTES], want[64];

	(void)state;
	http_date(784111777, out);
	assert_string_equal(out, "Sun, 06 Nov 1994 08:49:37 GMT");
	for (int64_t s = 0; s < 6000000000; s += 86399 * 31 + 7) {
		time_t t = (time_t)s;
		struct tm tm;

		gmtime_r(&t, &tm);
		strftime(want, sizeof(want), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		http_date(s, out);
		assert_string_equal(out, want);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_methods),
		cmocka_unit_test(test_dates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
