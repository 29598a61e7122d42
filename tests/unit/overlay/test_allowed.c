/* SPDX-License-Identifier: Apache-2.0 */
/* Corners of the trie of allowed addresses; tests/prop has the rest. */
#include "overlay/wg/allowed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/mem.h"

static struct allowed_owner one, two;

static struct addr_prefix
prefix(const char *ip, uint8_t bits)
{
	struct addr_prefix p = {.bits = bits};

	assert_true(addr_parse_ip(ip, &p.base));
	return p;
}

static struct allowed_owner *
find(const struct allowed *a, const char *ip)
{
	struct addr at;

	assert_true(addr_parse_ip(ip, &at));
	return allowed_find(a, &at);
}

/* What is an IPv4 address only in its host bits is a prefix of IPv6. */
static void
test_wider_than_v4(void **state)
{
	struct addr_prefix mapped, zero = prefix("::", 64);
	struct allowed a;
	struct err err = {0};

	(void)state;
	allowed_init(&a);
	allowed_owner_init(&one);
	allowed_owner_init(&two);
	for (uint8_t bits = 0; bits < 96; bits++) {
		mapped = prefix("1.2.3.4", bits);
		assert_int_equal(allowed_set(&a, &mapped, &one, &err), 0);
		assert_null(find(&a, "1.2.3.4"));
		assert_null(find(&a, "10.0.0.1"));
		assert_ptr_equal(find(&a, "::fffe:0:1"), &one);
		assert_true(allowed_remove(&a, &mapped, &one));
		assert_int_equal(a.count, 0);
	}
	/* It is the same one however it is written. */
	mapped = prefix("1.2.3.4", 64);
	assert_int_equal(allowed_set(&a, &mapped, &one, &err), 0);
	assert_int_equal(allowed_set(&a, &zero, &two, &err), 0);
	assert_int_equal(a.count, 1);
	assert_ptr_equal(find(&a, "::1"), &two);
	/* All of IPv4. */
	mapped = prefix("1.2.3.4", 96);
	assert_int_equal(allowed_set(&a, &mapped, &one, &err), 0);
	assert_ptr_equal(find(&a, "10.0.0.1"), &one);
	assert_ptr_equal(find(&a, "::1"), &two);
	assert_int_equal(two.count, 1);
	allowed_fini(&a);
	assert_int_equal(one.count + two.count, 0);
	assert_true(list_empty(&one.places) && list_empty(&two.places));
	assert_int_equal(mem_used_all(), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wider_than_v4),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
