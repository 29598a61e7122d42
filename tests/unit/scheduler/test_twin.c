/* SPDX-License-Identifier: Apache-2.0 */
/* Words of nodes that may be one, and which instance a folder is. */
#include "scheduler/twin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#define BOOT "da8f820e-027b-49bc-a4f4-32c5c5085751"

static void
test_messages_come_back(void **state)
{
	const struct addr nowhere = {.port = 0};
	struct addr there;
	struct twin_message m;
	uint8_t bytes[TWIN_BYTES];

	(void)state;
	assert_true(addr_parse("10.0.0.2:9881", &there));
	const struct twin_message good[] = {
		{TWIN_ASK, TWIN_HOLDS, 2, 7, 1, nowhere},
		{TWIN_SAY, 0, UINT32_MAX, UINT64_MAX, UINT64_MAX, there},
		{TWIN_HINT, 0, 3, 0, 9, there},
	};
	const struct twin_message bad[] = {
		{TWIN_ASK, 0, 0, 7, 1, nowhere},          {TWIN_ASK, 0, 2, 0, 1, nowhere},
		{TWIN_SAY, 0, 2, 7, 0, nowhere},          {TWIN_HINT, 0, 2, 7, 1, nowhere},
		{(enum twin_kind)4, 0, 2, 7, 1, nowhere}, {(enum twin_kind)0, 0, 2, 7, 1, nowhere},
	};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		twin_encode(&good[i], bytes);
		assert_true(twin_decode(bytes, sizeof(bytes), &m));
		assert_int_equal(m.kind, good[i].kind);
		assert_int_equal(m.flags, good[i].flags);
		assert_int_equal(m.node, good[i].node);
		assert_true(m.born == good[i].born && m.session == good[i].session);
		assert_true(addr_equal(&m.address, &good[i].address));
		for (size_t n = 0; n < sizeof(bytes); n++)
			assert_false(twin_decode(bytes, n, &m));
		bytes[0] = TWIN_VERSION + 1; /* of a later version: more may follow */
		assert_true(twin_decode(bytes, sizeof(bytes), &m));
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		twin_encode(&bad[i], bytes);
		assert_false(twin_decode(bytes, sizeof(bytes), &m));
	}
}

static void
test_where_it_runs(void **state)
{
	const struct twin_instance here = {BOOT, 65024, UINT64_MAX, 1882654030090862766u};
	struct twin_instance read, other;
	char text[TWIN_FILE_MAX];

	(void)state;
	size_t bytes = twin_put_instance(&here, text);
	assert_int_equal(bytes, strlen(text));
	assert_true(twin_take_instance(text, &read));
	assert_true(twin_is_here(&here, &read) && read.born == here.born);
	other = here;
	other.inode--; /* copied */
	assert_false(twin_is_here(&here, &other));
	other = here;
	other.boot[0] = 'e'; /* switched on again */
	assert_false(twin_is_here(&here, &other));
	other = here;
	other.born++;
	assert_true(twin_is_here(&here, &other));
}

static void
test_damaged_files(void **state)
{
	static const char *const bad[] = {
		"",
		"1",
		"1 " BOOT " 1 2\n",
		"1 " BOOT " 1 2 3",
		"1 " BOOT " 1 2 0\n",
		"1 " BOOT " 1 2 3 4\n",
		"1 " BOOT " 1 2 3\nmore\n",
		"1  1 2 3\n",
		"1 " BOOT BOOT " 1 2 3\n",
		"2 " BOOT " 1 2 3\n",
		"1 " BOOT " -1 2 3\n",
		"1 " BOOT " 1 2 18446744073709551616\n",
	};
	struct twin_instance i;

	(void)state;
	for (size_t n = 0; n < sizeof(bad) / sizeof(bad[0]); n++) {
		if (twin_take_instance(bad[n], &i))
			fail_msg("taken: %s", bad[n]);
	}
	assert_true(twin_take_instance("1 " BOOT " 1 2 3\n", &i));
}

/* Of one folder each is above the one before, whatever the clock says. */
static void
test_later_ones_are_greater(void **state)
{
	const int64_t now = INT64_C(1800000000000000000);
	uint64_t first = twin_next(0, now, UINT64_MAX);

	(void)state;
	assert_true(twin_next(0, now, 0) <= first && twin_next(0, now, 0) != 0);
	assert_true(twin_next(first, now + 1000000, 0) > first);
	assert_true(twin_next(first, now - INT64_C(86400000000000), 0) == first + 1);
	assert_true(twin_next(first, -5, 0) == first + 1);
	assert_true(twin_next(0, -5, 0) == 1);
	assert_true(twin_next(UINT64_MAX, now, 0) != 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages_come_back),
		cmocka_unit_test(test_where_it_runs),
		cmocka_unit_test(test_damaged_files),
		cmocka_unit_test(test_later_ones_are_greater),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
