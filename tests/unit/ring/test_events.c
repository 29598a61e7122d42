/* SPDX-License-Identifier: Apache-2.0 */
/* What events may be filtered by, and what is said when it is nothing that there is. */
#include "ring/events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static void
test_filter(void **state)
{
	(void)state;
	assert_true(events_known("replica.ready") && !events_known("replica"));
	assert_true(events_filter("replica", "replica.ready"));
	assert_true(events_filter("replica.start", "replica.start.more"));
	assert_false(events_filter("replica.start", "replica.started"));
	assert_false(events_filter("rep", "replica.ready"));
}

static void
test_check(void **state)
{
	static const struct {
		const char *text, *fix;
	} wrong[] = {
		{"nosuch", "a group (replica) or a type of it (replica.ready)"},
		{"", "a group (replica) or a type of it (replica.ready)"},
		{"replicas", "did you mean \"replica\"?"},
		{"replica.redy", "did you mean \"replica.ready\"?"},
		{"replica.", "did you mean \"replica\"?"},
		{"rep", "a group (replica) or a type of it (replica.ready)"},
	};
	struct err err = {0};

	(void)state;
	for (size_t i = 0; events_types[i]; i++) {
		char group[32] = "";

		strncat(group, events_types[i], strcspn(events_types[i], "."));
		assert_int_equal(events_filter_check(events_types[i], &err), 0);
		assert_int_equal(events_filter_check(group, &err), 0);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(events_filter_check(wrong[i].text, &err), -1);
		assert_int_equal(err.kind, ERR_USAGE);
		assert_string_equal(err.fix, wrong[i].fix);
		assert_non_null(strstr(err.why[0], "deploy, rollback"));
	}
	assert_int_equal(events_filter_check("job.nosuch", &err), -1);
	assert_string_equal(err.why[1], "types: job.started, job.ended");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_check),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
