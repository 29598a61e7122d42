/* SPDX-License-Identifier: Apache-2.0 */
/* Where the groups of containers stand under systemd. */
#include "node/cgroup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static void
test_holder(void **state)
{
	char out[64];

	(void)state;
	assert_true(cgroup_holder("/system.slice/zlayer.service", out, sizeof(out)));
	assert_string_equal(out, "/system.slice/zlayer-containers.service");
	assert_true(cgroup_holder("/zlayer.service", out, sizeof(out)));
	assert_string_equal(out, "/zlayer-containers.service");
	assert_false(cgroup_holder("", out, sizeof(out)));
	assert_false(cgroup_holder("/user.slice/session-1.scope", out, sizeof(out)));
	assert_false(cgroup_holder("/system.slice/zlayer.service/x", out, sizeof(out)));
	assert_false(cgroup_holder("/system.slice/zlayer.service", out, 30)); /* would be cut */
	assert_false(cgroup_holder("/system.slice/zlayer.service", out, 8));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_holder)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
