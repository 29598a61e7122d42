/* SPDX-License-Identifier: Apache-2.0 */
/* Names of flows: each number has one, of its own, and no other number has any. */
#include "ring/flow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "ring/leash.h"

_Static_assert(sizeof(struct msg_flow) % 8 == 0, "records are whole words");

static void
all_differ(const char *(*name)(unsigned), unsigned first, unsigned end)
{
	assert_null(name(end));
	assert_null(name(UINT32_MAX));
	for (unsigned i = first; i < end; i++) {
		assert_non_null(name(i));
		for (unsigned k = first; k < i; k++)
			assert_string_not_equal(name(i), name(k));
	}
}

static void
test_names(void **state)
{
	(void)state;
	all_differ(flow_reason_name, FLOW_PASSED, FLOW_REASONS_);
	all_differ(flow_reason_text, FLOW_PASSED, FLOW_REASONS_);
	all_differ(flow_verdict_name, MSG_FLOW_FORWARDED, MSG_FLOW_DROPPED + 1);
	all_differ(flow_way_name, MSG_FLOW_LOCAL, MSG_FLOW_STACK + 1);
	all_differ(flow_place_name, MSG_FLOW_VETH, MSG_FLOW_UPLINK + 1);
	assert_null(flow_verdict_name(0));
	assert_null(flow_way_name(0));
	assert_null(flow_place_name(0));
	assert_string_equal(flow_reason_name(FLOW_PASSED), "");
}

/* They are labels of metrics: alerts and boards of others know them. */
static void
test_labels_stay(void **state)
{
	(void)state;
	assert_int_equal(FLOW_SOURCE, 1);
	assert_int_equal(FLOW_TOO_LARGE, 11);
	assert_int_equal(FLOW_DENIED, 12);
	assert_int_equal(FLOW_HOPS, 15);
	assert_int_equal(FLOW_REASONS_, 16);
	assert_string_equal(flow_reason_name(FLOW_SOURCE), "source");
	assert_string_equal(flow_reason_name(FLOW_UNKNOWN_LINK), "unknown_link");
	assert_string_equal(flow_reason_name(FLOW_DESTINATION), "destination");
	assert_string_equal(flow_reason_name(FLOW_ISOLATED), "isolated");
	assert_string_equal(flow_reason_name(FLOW_TOO_LARGE), "too_large");
	assert_string_equal(flow_reason_name(FLOW_DENIED), "denied");
	assert_string_equal(flow_reason_name(FLOW_CLIENT), "client");
	assert_string_equal(flow_reason_name(FLOW_ENDPOINT), "endpoint");
	assert_string_equal(flow_reason_name(FLOW_HOPS), "hops");
}

/* Whoever observes says so to dataplane, and reads what it tells. */
static void
test_observers_meet_dataplane(void **state)
{
	(void)state;
	assert_true(leash_reads(ROLE_DATAPLANE, ROLE_SCHEDULER));
	assert_true(leash_reads(ROLE_DATAPLANE, ROLE_API));
	assert_true(leash_reads(ROLE_SCHEDULER, ROLE_DATAPLANE));
	assert_true(leash_reads(ROLE_API, ROLE_DATAPLANE));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_labels_stay),
		cmocka_unit_test(test_observers_meet_dataplane),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
