/* SPDX-License-Identifier: Apache-2.0 */
/* Which prefixes of overlay become routes of the machine. */
#include "node/outside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static struct config config;

static bool
holds(const char *v4, const char *v6)
{
	struct msg_prefix prefix = {0};

	assert_true(addr_parse_prefix(v4, &prefix.v4));
	assert_true(addr_parse_prefix(v6, &prefix.v6));
	return outside_prefix_holds(&config, &prefix);
}

static void
test_usual(void **state)
{
	(void)state;
	memset(&config, 0, sizeof(config));
	assert_true(holds("10.200.7.0/24", "fd00:1:2:3::/64"));
	assert_true(holds("192.168.9.0/24", "fd00:1:2:3::/64"));
}

/* Any of these would take what the machine itself sends. */
static void
test_too_much(void **state)
{
	(void)state;
	memset(&config, 0, sizeof(config));
	assert_false(holds("0.0.0.0/0", "fd00:1:2:3::/64"));
	assert_false(holds("10.0.0.0/8", "fd00:1:2:3::/64"));
	assert_false(holds("10.200.7.0/24", "::/0"));
	assert_false(holds("10.200.7.0/24", "fd00::/8"));
	assert_false(holds("203.0.113.0/24", "fd00:1:2:3::/64"));
	assert_false(holds("10.200.7.0/24", "2001:db8::/64"));
	assert_false(holds("10.200.7.1/32", "fd00:1:2:3::/64"));
	assert_false(holds("fd00:1:2:3::/64", "10.200.7.0/24"));
}

static void
test_configured(void **state)
{
	(void)state;
	memset(&config, 0, sizeof(config));
	assert_true(addr_parse_prefix("203.0.113.0/24", &config.overlay.prefix4));
	assert_true(addr_parse_prefix("2001:db8::/64", &config.overlay.prefix6));
	assert_true(holds("203.0.113.0/24", "2001:db8::/64"));
	assert_false(holds("203.0.112.0/24", "2001:db8::/64"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_usual),
		cmocka_unit_test(test_too_much),
		cmocka_unit_test(test_configured),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
