/* SPDX-License-Identifier: Apache-2.0 */
/* What is taken from resolv.conf, and what is passed over. */
#include "overlay/resolvers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static void
expect(const char *text, size_t count, const char *const *want)
{
	struct resolvers r;
	char ip[ADDR_TEXT_BYTES];

	resolvers_parse(text, strlen(text), &r);
	assert_int_equal(r.count, count);
	for (size_t i = 0; i < count; i++) {
		addr_put_ip(&r.at[i], ip, sizeof(ip));
		assert_string_equal(ip, want[i]);
		assert_int_equal(r.at[i].port, 53);
	}
}

static void
test_files(void **state)
{
	static const char *const stub[] = {"127.0.0.53"};
	static const char *const three[] = {"192.0.2.1", "2001:db8::1", "192.0.2.2"};

	(void)state;
	expect("", 0, NULL);
	expect("search a.test\noptions ndots:2\n", 0, NULL);
	expect("# nameserver 1.1.1.1\n;nameserver 1.1.1.1\nnameserver 127.0.0.53", 1, stub);
	expect("nameserver\t127.0.0.53 # stub\r\nnameserver 127.0.0.53\n", 1, stub);
	expect("  nameserver 192.0.2.1\nnameserver 2001:db8::1;x\nnameserver 192.0.2.2\n"
	       "nameserver 192.0.2.3\n",
	       3, three);
	expect("nameserver\nnameserver x\nnameserver fe80::1%eth0\nnameserver 0.0.0.0\n"
	       "nameserver 1.2.3\nNAMESERVER 1.2.3.4\nnameservers 1.2.3.4\nnameserver "
	       "1111111111111111111111111111111111111111111111111111111111111111111111\n",
	       0, NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
