/* SPDX-License-Identifier: Apache-2.0 */
#include "base/addr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <string.h>

static void
expect_ip(const char *text, const char *canonical)
{
	char out[ADDR_TEXT_BYTES];
	struct addr a;

	assert_true(addr_parse_ip(text, &a));
	assert_int_equal(a.port, 0);
	addr_put_ip(&a, out, sizeof(out));
	assert_string_equal(out, canonical);
}

static void
test_ip(void **state)
{
	static const char *const bad[] = {
		"",         "1.2.3",   "1.2.3.4.5",     "01.2.3.4",   "256.1.1.1", "1.2.3.4 ",
		" 1.2.3.4", "0x7f.1",  "1.2.3.4:80",    "[::1]",      "::1%lo",    ":::",
		"1::2::3",  "12345::", "1:2:3:4:5:6:7", "fe80::1/64", "localhost",
	};
	struct addr a = {.port = 77};

	(void)state;
	expect_ip("192.0.2.1", "192.0.2.1");
	expect_ip("::ffff:192.0.2.1", "192.0.2.1");
	/* RFC 5952 */
	expect_ip("2001:db8:0:0:0:0:2:1", "2001:db8::2:1");
	expect_ip("2001:0DB8::0001", "2001:db8::1");
	expect_ip("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1");
	expect_ip("2001:0:0:1:0:0:0:1", "2001:0:0:1::1");
	expect_ip("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1");
	expect_ip("0:0:0:0:0:0:0:0", "::");
	expect_ip("::1", "::1");
	expect_ip("1::", "1::");
	expect_ip("::1.2.3.4", "::102:304");
	expect_ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(addr_parse_ip(bad[i], &a));
	assert_int_equal(a.port, 77);
}

static void
test_endpoint(void **state)
{
	static const char *const good[] = {"192.0.2.1:443", "[2001:db8::1]:80", "[::]:0",
					   "0.0.0.0:65535"};
	static const char *const bad[] = {
		"",
		":80",
		"1.2.3.4",
		"1.2.3.4:",
		"1.2.3.4:65536",
		"1.2.3.4:-1",
		"1.2.3.4:8a",
		"::1:80",
		"[::1]",
		"[::1]80",
		"[::1:80",
		"[1.2.3.4]:80",
		"[]:80",
		"[",
		"[:80",
		"]:80",
		"[::1]:80:80",
		"1.2.3.4: 80",
		"[aaaa:aaaa:aaaa:aaaa:aaaa:aaaa:aaaa:aaaa:aaaa:aaaa:aaaa]:1",
	};
	char out[ADDR_TEXT_BYTES];
	struct addr a;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(addr_parse(good[i], &a));
		addr_put(&a, out, sizeof(out));
		assert_string_equal(out, good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(addr_parse(bad[i], &a));
	/* The longest fits. */
	assert_true(addr_parse("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", &a));
	addr_put(&a, out, sizeof(out));
	assert_string_equal(out, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
	addr_put(&a, out, 5);
	assert_string_equal(out, "[fff");
}

static void
test_prefix(void **state)
{
	static const char *const good[] = {"10.200.0.0/16",  "0.0.0.0/0", "192.0.2.1/32",
					   "fd00:1234::/32", "::/0",      "::1/128",
					   "2001:db8::/33"};
	static const char *const bad[] = {
		"10.0.0.0",     "10.0.0.0/", "10.0.0.0/33",   "10.0.0.1/24",
		"fd00::1/64",   "::/129",    "10.0.0.0/8/8",  "/8",
		"10.0.0.0:1/8", "[::]/0",    "2001:db8::/28", "::/-1"};
	char out[ADDR_TEXT_BYTES];
	struct addr_prefix p;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(addr_parse_prefix(good[i], &p));
		addr_put_prefix(&p, out, sizeof(out));
		assert_string_equal(out, good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(addr_parse_prefix(bad[i], &p));
	assert_true(addr_parse_prefix("10.200.0.0/16", &p));
	assert_int_equal(p.bits, 112);
}

static bool
is_private(const char *text)
{
	struct addr_prefix p;

	assert_true(addr_parse_prefix(text, &p));
	return addr_prefix_is_private4(&p);
}

static void
test_private(void **state)
{
	(void)state;
	assert_true(is_private("10.0.0.0/8") && is_private("10.200.7.0/24"));
	assert_true(is_private("172.16.0.0/12") && is_private("172.31.255.0/24"));
	assert_true(is_private("192.168.0.0/16") && is_private("100.64.0.0/10"));
	assert_true(is_private("100.127.255.255/32"));
	assert_false(is_private("10.0.0.0/7") || is_private("0.0.0.0/0"));
	assert_false(is_private("172.32.0.0/24") || is_private("172.0.0.0/8"));
	assert_false(is_private("192.169.0.0/24") || is_private("100.128.0.0/24"));
	assert_false(is_private("203.0.113.0/24"));
	assert_false(is_private("fd00::/8") || is_private("::/0"));
}

static void
check_part(const char *whole, uint8_t bits, uint32_t nth, const char *expected)
{
	struct addr_prefix p, part;
	char out[ADDR_TEXT_BYTES];

	assert_true(addr_parse_prefix(whole, &p));
	addr_prefix_part(&p, bits, nth, &part);
	addr_put_prefix(&part, out, sizeof(out));
	assert_string_equal(out, expected);
}

static void
test_part(void **state)
{
	(void)state;
	check_part("10.200.0.0/16", 120, 7, "10.200.7.0/24");
	check_part("10.200.0.0/16", 112, 0, "10.200.0.0/16");
	check_part("10.128.0.0/9", 120, 32767, "10.255.255.0/24");
	check_part("10.128.0.0/9", 120, 256, "10.129.0.0/24");
	check_part("10.0.0.0/8", 128, (1 << 24) - 1, "10.255.255.255/32");
	check_part("fd00::/32", 64, UINT32_MAX, "fd00:0:ffff:ffff::/64");
}

static bool
in(const char *ip, const char *prefix)
{
	struct addr a;
	struct addr_prefix p;

	assert_true(addr_parse_ip(ip, &a));
	assert_true(addr_parse_prefix(prefix, &p));
	return addr_in_prefix(&a, &p);
}

static void
test_in_prefix(void **state)
{
	(void)state;
	assert_true(in("10.200.255.1", "10.200.0.0/16"));
	assert_false(in("10.201.0.0", "10.200.0.0/16"));
	assert_true(in("10.200.7.1", "10.200.4.0/22"));
	assert_false(in("10.200.8.1", "10.200.4.0/22"));
	assert_true(in("192.0.2.1", "192.0.2.1/32"));
	assert_true(in("255.255.255.255", "0.0.0.0/0"));
	assert_true(in("2001:db8:8000::", "2001:db8:8000::/33"));
	assert_false(in("2001:db8:7fff::", "2001:db8:8000::/33"));
	/* The families stay apart. */
	assert_false(in("192.0.2.1", "::/0"));
	assert_false(in("2001:db8::1", "0.0.0.0/0"));
}

static bool
overlap(const char *left, const char *right)
{
	struct addr_prefix a;
	struct addr_prefix b;

	assert_true(addr_parse_prefix(left, &a));
	assert_true(addr_parse_prefix(right, &b));
	assert_int_equal(addr_prefix_overlap(&a, &b), addr_prefix_overlap(&b, &a));
	return addr_prefix_overlap(&a, &b);
}

static void
test_overlap(void **state)
{
	(void)state;
	assert_true(overlap("10.0.0.0/8", "10.200.0.0/16"));
	assert_true(overlap("10.0.0.0/8", "10.0.0.0/8"));
	assert_false(overlap("10.0.0.0/16", "10.1.0.0/16"));
	assert_false(overlap("10.0.0.0/8", "fd00::/8"));
	assert_false(overlap("0.0.0.0/0", "::/0"));
	assert_true(overlap("::/0", "fd00::/8"));
}

static void
test_classes(void **state)
{
	struct addr a;

	(void)state;
	assert_true(addr_parse_ip("0.0.0.0", &a) && addr_is_zero(&a) && addr_is_v4(&a));
	assert_true(addr_parse_ip("::", &a) && addr_is_zero(&a) && !addr_is_v4(&a));
	assert_true(addr_parse_ip("127.8.9.1", &a) && addr_is_loopback(&a) && !addr_is_zero(&a));
	assert_true(addr_parse_ip("::1", &a) && addr_is_loopback(&a) && !addr_is_zero(&a));
	assert_true(addr_parse_ip("128.0.0.1", &a) && !addr_is_loopback(&a));
	assert_true(addr_parse_ip("::2", &a) && !addr_is_loopback(&a));
}

static void
test_equal(void **state)
{
	struct addr a;
	struct addr b;

	(void)state;
	assert_true(addr_parse("192.0.2.1:80", &a));
	assert_true(addr_parse("192.0.2.1:81", &b));
	assert_true(addr_equal_ip(&a, &b));
	assert_false(addr_equal(&a, &b));
	b.port = 80;
	assert_true(addr_equal(&a, &b));
	/* Also byte for byte: the padding is zero. */
	assert_memory_equal(&a, &b, sizeof(a));
}

static void
test_sockaddr(void **state)
{
	static const char *const texts[] = {"192.0.2.1:443", "[2001:db8::1]:80"};
	struct sockaddr_storage ss;
	struct addr a;
	struct addr b;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		socklen_t length;

		assert_true(addr_parse(texts[i], &a));
		length = addr_to_sockaddr(&a, &ss);
		assert_int_equal(ss.ss_family, i ? AF_INET6 : AF_INET);
		assert_true(addr_from_sockaddr((struct sockaddr *)&ss, length, &b));
		assert_memory_equal(&a, &b, sizeof(a));
		assert_false(addr_from_sockaddr((struct sockaddr *)&ss, length - 1, &b));
	}
	ss.ss_family = AF_UNIX;
	assert_false(addr_from_sockaddr((struct sockaddr *)&ss, sizeof(ss), &b));
	assert_false(addr_from_sockaddr((struct sockaddr *)&ss, 0, &b));
}

static void
test_v4_number(void **state)
{
	struct addr a;
	char out[ADDR_TEXT_BYTES];

	(void)state;
	addr_from_v4_be(htonl(0xc0000201), 8080, &a);
	addr_put(&a, out, sizeof(out));
	assert_string_equal(out, "192.0.2.1:8080");
	assert_int_equal(addr_v4_be(&a), htonl(0xc0000201));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ip),        cmocka_unit_test(test_endpoint),
		cmocka_unit_test(test_prefix),    cmocka_unit_test(test_in_prefix),
		cmocka_unit_test(test_private),   cmocka_unit_test(test_part),
		cmocka_unit_test(test_overlap),   cmocka_unit_test(test_classes),
		cmocka_unit_test(test_equal),     cmocka_unit_test(test_sockaddr),
		cmocka_unit_test(test_v4_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
