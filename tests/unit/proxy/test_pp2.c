/* SPDX-License-Identifier: Apache-2.0 */
/* PROXY headers, byte for byte. */
#include "proxy/pp2.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void
compare(const char *client, const char *asked, bool udp, const char *want, size_t bytes)
{
	uint8_t out[PP2_BYTES_MAX];
	struct addr from, to;

	memset(out, 0xee, sizeof(out));
	assert_true(addr_parse(client, &from));
	assert_true(addr_parse(asked, &to));
	assert_int_equal(pp2_write(&from, &to, udp, out), bytes);
	assert_memory_equal(out, want, bytes);
}

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static void
test_v4(void **state)
{
	(void)state;
	compare("192.0.2.1:4096", "198.51.100.7:443", false,
		SIGNATURE "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x07\x10\x00\x01\xbb", 28);
	compare("192.0.2.1:1", "198.51.100.7:65535", true,
		SIGNATURE "\x21\x12\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x07\x00\x01\xff\xff", 28);
}

static void
test_v6(void **state)
{
	(void)state;
	compare("[2001:db8::1]:4096", "[::1]:53", true,
		SIGNATURE "\x21\x22\x00\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
			  "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x10\x00\x00\x35",
		52);
	/* Of two families: both as IPv6. */
	compare("192.0.2.1:4096", "[::1]:53", false,
		SIGNATURE "\x21\x21\x00\x24\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x01"
			  "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x10\x00\x00\x35",
		52);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v4),
		cmocka_unit_test(test_v6),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
