/* SPDX-License-Identifier: Apache-2.0 */
/* Every known name is found in any case; the table has no collisions; values and lists. */
#include "wire/header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void
test_names(void **state)
{
	(void)state;
	for (int id = HEADER_OTHER + 1; id < HEADER_IDS_; id++) {
		const char *name = header_name((enum header_id)id);
		char upper[64];
		size_t n = strlen(name);

		assert_int_equal(header_name_length((enum header_id)id), n);
		for (size_t i = 0; i <= n; i++)
			upper[i] =
				(char)(name[i] >= 'a' && name[i] <= 'z' ? name[i] - 32 : name[i]);
		if (header_lookup(name, n) != (enum header_id)id)
			fail_msg("%s is not found: search new factors for the hash", name);
		assert_int_equal(header_lookup(upper, n), id);
		assert_int_equal(header_lookup(name, n - 1), HEADER_OTHER);
	}
	assert_int_equal(header_lookup("", 0), HEADER_OTHER);
	assert_int_equal(header_lookup("x-unknown", 9), HEADER_OTHER);
	assert_true(header_is_hop(HEADER_CONNECTION));
	assert_true(header_is_hop(HEADER_PROXY_AUTHORIZATION));
	assert_false(header_is_hop(HEADER_CONTENT_TYPE));
	assert_false(header_is_hop(HEADER_OTHER));
}

static void
test_values(void **state)
{
	(void)state;
	for (int c = 0; c < 256; c++) {
		for (size_t at = 1; at < 20; at++) {
			char text[21];

			memset(text, 'a', sizeof(text));
			text[at] = (char)c;
			assert_int_equal(header_is_value(text, 21),
					 c == '\t' || (c >= 0x20 && c != 0x7f));
		}
	}
	assert_true(header_is_value("", 0));
	assert_false(header_is_value(" a", 2));
	assert_false(header_is_value("a\t", 2));
	assert_true(header_is_token("!#$%&'*+-.^_`|~09AZaz", 21));
	assert_false(header_is_token("", 0));
	assert_false(header_is_token("a b", 3));
	assert_false(header_is_token("a:", 2));
}

static void
test_lists(void **state)
{
	static const char list[] = " , close,\tKeep-Alive ,, x";
	size_t at = 0, n;
	const char *item;

	(void)state;
	assert_true(header_list_next(list, sizeof(list) - 1, &at, &item, &n));
	assert_memory_equal(item, "close", n);
	assert_true(header_list_next(list, sizeof(list) - 1, &at, &item, &n));
	assert_int_equal(n, 10);
	assert_true(header_list_next(list, sizeof(list) - 1, &at, &item, &n));
	assert_memory_equal(item, "x", n);
	assert_false(header_list_next(list, sizeof(list) - 1, &at, &item, &n));
	assert_true(header_list_has(list, sizeof(list) - 1, "keep-alive"));
	assert_false(header_list_has(list, sizeof(list) - 1, "keep"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
