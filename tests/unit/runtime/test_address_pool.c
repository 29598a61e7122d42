/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses: never twice, resting after use, the same after a restart. */
#include "runtime/address_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static const int64_t second = 1000000000;

static void
prefix(struct address_pool *p, const char *v4, const char *v6)
{
	struct addr_prefix four, six = {0};
	struct addr own;
	assert_true(addr_parse_prefix(v4, &four));
	if (v6 != NULL)
		assert_true(addr_parse_prefix(v6, &six));
	own = four.base;
	own.ip[15] |= 3;
	address_pool_set_prefix(p, &four, &six, &own);
}

static int
take(struct address_pool *p, uint64_t replica, int64_t now, char *out)
{
	const struct address_pool_entry *e;
	struct err err = {0};
	bool fresh;
	if (address_pool_take(p, replica, now, &e, &fresh, &err) < 0)
		return -1;
	addr_put_ip(&e->addr4, out, ADDR_TEXT_BYTES);
	return fresh;
}

static void
test_giving(void **state)
{
	struct address_pool p;
	char a[ADDR_TEXT_BYTES], b[ADDR_TEXT_BYTES];
	(void)state;
	address_pool_init(&p);
	assert_int_equal(take(&p, 1, second, a), -1);
	prefix(&p, "10.200.7.0/29", "fd00:7::/64");
	/* 0, 1, 3 (the node's own) and 7 are never given: 2, 4, 5, 6 are left. */
	assert_int_equal(take(&p, 1, second, a), 1);
	assert_string_equal(a, "10.200.7.2");
	assert_int_equal(take(&p, 1, second, b), 0);
	assert_string_equal(a, b);
	assert_int_equal(take(&p, 2, second, a), 1);
	assert_string_equal(a, "10.200.7.4");
	addr_put_ip(&address_pool_find(&p, 2)->addr6, b, sizeof(b));
	assert_string_equal(b, "fd00:7::4");
	assert_int_equal(take(&p, 3, second, a), 1);
	assert_int_equal(take(&p, 4, second, a), 1);
	assert_int_equal(take(&p, 5, second, a), -1);
	assert_true(address_pool_release(&p, 2, 10 * second));
	assert_false(address_pool_release(&p, 2, 10 * second));
	assert_null(address_pool_find(&p, 2));
	assert_int_equal(take(&p, 5, 11 * second, a), -1);
	assert_int_equal(take(&p, 5, (11 + ADDRESS_POOL_REST_S) * second, a), 1);
	assert_string_equal(a, "10.200.7.4");
	address_pool_fini(&p);
}

/* When more come and go than the prefix has room for, an address rests shorter, never too short. */
static void
test_scarce(void **state)
{
	struct address_pool p;
	char a[ADDR_TEXT_BYTES];
	(void)state;
	address_pool_init(&p);
	prefix(&p, "10.200.7.0/29", NULL);
	for (uint64_t i = 1; i <= 4; i++)
		assert_int_equal(take(&p, i, second, a), 1);
	assert_true(address_pool_release(&p, 3, 20 * second)); /* .5 */
	assert_true(address_pool_release(&p, 2, 22 * second)); /* .4 */
	assert_true(address_pool_release(&p, 4, 24 * second)); /* .6 */
	assert_int_equal(take(&p, 5, (20 + ADDRESS_POOL_REST_LEAST_S) * second, a), -1);
	/* All three have rested a little: the longest. */
	assert_int_equal(take(&p, 5, 40 * second, a), 1);
	assert_string_equal(a, "10.200.7.5");
	assert_int_equal(take(&p, 6, 40 * second, a), 1);
	assert_string_equal(a, "10.200.7.4");
	/* One that has rested fully goes before one that rests longer, and in turn. */
	assert_true(address_pool_release(&p, 5, 41 * second));
	assert_int_equal(take(&p, 7, (42 + ADDRESS_POOL_REST_S) * second, a), 1);
	assert_string_equal(a, "10.200.7.5");
	assert_int_equal(take(&p, 8, (42 + ADDRESS_POOL_REST_S) * second, a), 1);
	assert_string_equal(a, "10.200.7.6");
	assert_int_equal(take(&p, 9, (42 + ADDRESS_POOL_REST_S) * second, a), -1);
	/* A clock that was set back keeps nobody waiting. */
	assert_true(address_pool_release(&p, 8, 400 * second));
	assert_int_equal(take(&p, 9, 300 * second, a), 1);
	address_pool_fini(&p);
}

static void
test_restart(void **state)
{
	struct address_pool p, q;
	struct err err = {0};
	struct buf text;
	char a[ADDR_TEXT_BYTES], b[ADDR_TEXT_BYTES];
	(void)state;
	address_pool_init(&p);
	prefix(&p, "10.200.7.0/24", NULL);
	for (uint64_t i = 1; i < 50; i++)
		assert_int_equal(take(&p, i, second, a), 1);
	address_pool_release(&p, 20, second);
	buf_init(&text, MEM_RUNTIME, 1 << 20);
	address_pool_save(&p, &text);
	buf_puts(&text, "nonsense\n1 10.200.7.99 - 0\n77 10.200.7.2 - 0\n0 10.200.7.98 - 0\n");
	address_pool_init(&q);
	assert_int_equal(address_pool_load(&q, buf_cstr(&text), &err), 0);
	prefix(&q, "10.200.7.0/24", NULL);
	for (uint64_t i = 1; i < 50; i++) {
		if (i == 20)
			continue;
		take(&p, i, second, a);
		assert_int_equal(take(&q, i, second, b), 0);
		assert_string_equal(a, b);
	}
	assert_null(address_pool_find(&q, 77));
	assert_null(address_pool_find(&q, 20));
	buf_fini(&text);
	address_pool_fini(&p);
	address_pool_fini(&q);
}

static void
test_new_prefix(void **state)
{
	struct address_pool p;
	char a[ADDR_TEXT_BYTES];
	(void)state;
	address_pool_init(&p);
	prefix(&p, "10.200.7.0/24", NULL);
	take(&p, 1, second, a);
	prefix(&p, "10.200.9.0/24", NULL);
	assert_int_equal(take(&p, 1, second, a), 1);
	assert_memory_equal(a, "10.200.9.", 9);
	address_pool_fini(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_giving),
		cmocka_unit_test(test_scarce),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_new_prefix),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
