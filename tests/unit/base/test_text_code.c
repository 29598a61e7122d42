/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void
test_hex(void **state)
{
	static const uint8_t data[] = {0x00, 0x1f, 0xab, 0xff};
	uint8_t raw[4];
	char out[9];

	(void)state;
	text_hex(data, sizeof(data), out, sizeof(out));
	assert_string_equal(out, "001fabff");
	text_hex(data, 0, out, 1);
	assert_string_equal(out, "");
	assert_int_equal(text_unhex("001fABff", 8, raw, sizeof(raw)), 4);
	assert_memory_equal(raw, data, 4);
	assert_int_equal(text_unhex("", 0, raw, 0), 0);
	assert_int_equal(text_unhex("001", 3, raw, sizeof(raw)), -1);
	assert_int_equal(text_unhex("0g", 2, raw, sizeof(raw)), -1);
	assert_int_equal(text_unhex("-1", 2, raw, sizeof(raw)), -1);
	assert_int_equal(text_unhex("001fabff", 8, raw, 3), -1);
}

static void
test_base64(void **state)
{
	/* RFC 4648 section 10 */
	static const char *const pairs[][2] = {
		{"", ""},
		{"f", "Zg=="},
		{"fo", "Zm8="},
		{"foo", "Zm9v"},
		{"foob", "Zm9vYg=="},
		{"fooba", "Zm9vYmE="},
		{"foobar", "Zm9vYmFy"},
		{"\377\376\375", "//79"},
		{"\373\357\276", "++++"},
	};
	static const char *const bad[] = {
		"Z",        "Zg",   "Zg=",    "Zg===", "Z===", "====", "Zh==",     "Zm9=",
		"Zg==Zg==", "Z=g=", "Zm9v\n", "Zm-v",  "Zm_v", " m9v", "Zm9vY===",
	};
	char out[16];
	char raw[16];

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		size_t bytes = strlen(pairs[i][0]);
		size_t length = strlen(pairs[i][1]);

		assert_int_equal(text_base64_size(bytes), length + 1);
		text_base64(pairs[i][0], bytes, out, length + 1);
		assert_string_equal(out, pairs[i][1]);
		assert_int_equal(text_unbase64(out, length, raw, bytes), bytes);
		assert_memory_equal(raw, pairs[i][0], bytes);
		if (bytes > 0)
			assert_int_equal(text_unbase64(out, length, raw, bytes - 1), -1);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(text_unbase64(bad[i], strlen(bad[i]), raw, sizeof(raw)), -1);
}

static void
test_utf8(void **state)
{
	static const char *const good[] = {"",
					   "abc",
					   "caf\303\251",
					   "\342\202\254",
					   "\360\237\230\200",
					   "\364\217\277\277",
					   "\357\277\277",
					   "\355\237\277"};
	static const char *const bad[] = {
		"\200",         "\303",         "\300\257",         "\301\277",
		"\340\237\277", "\355\240\200", "\360\217\277\277", "\364\220\200\200",
		"\365",         "\377",         "\342\202",         "\342\202x",
		"\360\237\230",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(text_is_utf8(good[i], strlen(good[i])));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(text_is_utf8(bad[i], strlen(bad[i])));
	assert_true(text_is_utf8("a\0b", 3));
}

static void
test_printable(void **state)
{
	static const struct {
		const char *text;
		const char *out;
	} cases[] = {
		{"plain", "plain"},
		{"caf\303\251 \360\237\230\200", "caf\303\251 \360\237\230\200"},
		{"a\033[2J", "a\\x1b[2J"},
		{"\n\t\177", "\\x0a\\x09\\x7f"},
		{"\302\205", "\\xc2\\x85"},
		{"\377x\303", "\\xffx\\xc3"},
		{"a\342\200\256b", "a\\xe2\\x80\\xaeb"},
	};
	char out[64];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		text_printable(cases[i].text, strlen(cases[i].text), out, sizeof(out));
		assert_string_equal(out, cases[i].out);
		assert_int_equal(text_is_printable(cases[i].text, strlen(cases[i].text)), i < 2);
	}
	assert_true(text_is_printable("", 0));
	assert_false(text_is_printable("a\0b", 3));
	assert_false(text_is_printable("ab\303\251", 3));
	text_printable("a\0b", 3, out, sizeof(out));
	assert_string_equal(out, "a\\x00b");
	/* Never half an escape, never half a character. */
	text_printable("ab\033", 3, out, 6);
	assert_string_equal(out, "ab");
	text_printable("ab\303\251", 4, out, 4);
	assert_string_equal(out, "ab");
	text_printable("abc", 3, out, 1);
	assert_string_equal(out, "");
}

static void
test_time(void **state)
{
	static const struct {
		int64_t ns;
		int digits;
		const char *text;
	} cases[] = {
		{0, 0, "1970-01-01T00:00:00Z"},
		{1795320082123456789, 0, "2026-11-22T04:01:22Z"},
		{1795320082123456789, 3, "2026-11-22T04:01:22.123Z"},
		{1795320082123456789, 6, "2026-11-22T04:01:22.123456Z"},
		{1795320082123456789, 9, "2026-11-22T04:01:22.123456789Z"},
		{951782400000000000, 0, "2000-02-29T00:00:00Z"},
		{4107542399000000000, 0, "2100-02-28T23:59:59Z"},
		{4107542400000000000, 0, "2100-03-01T00:00:00Z"},
		{-1, 9, "1969-12-31T23:59:59.999999999Z"},
		{-1, 0, "1969-12-31T23:59:59Z"},
		{INT64_MIN, 9, "1677-09-21T00:12:43.145224192Z"},
		{INT64_MAX, 9, "2262-04-11T23:47:16.854775807Z"},
	};
	char out[64];
	int64_t ns;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		text_time(cases[i].ns, cases[i].digits, out, sizeof(out));
		assert_string_equal(out, cases[i].text);
		assert_true(text_untime(out, &ns));
		if (cases[i].digits == 9)
			assert_true(ns == cases[i].ns);
	}
}

/* The C library as the oracle, a step of a bit less than a day at a time. */
static void
test_time_against_libc(void **state)
{
	(void)state;
	for (int64_t s = -9000000000; s < 9000000000; s += 86011) {
		time_t t = (time_t)s;
		char expected[32];
		char out[32];
		int64_t ns;
		struct tm tm;

		strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
		text_time(s * 1000000000, 0, out, sizeof(out));
		assert_string_equal(out, expected);
		assert_true(text_untime(out, &ns));
		assert_true(ns == s * 1000000000);
	}
}

static void
test_untime(void **state)
{
	static const struct {
		const char *text;
		int64_t ns;
	} good[] = {
		{"1970-01-01T00:00:01.5Z", 1500000000},
		{"1970-01-01t00:00:00z", 0},
		{"1970-01-01T01:00:00+01:00", 0},
		{"1969-12-31T18:30:00-05:30", 0},
		{"1970-01-01T00:00:00-00:00", 0},
		{"1970-01-01T00:00:00.1234567891234Z", 123456789},
		{"1969-12-31T23:59:60Z", 0},
	};
	static const char *const bad[] = {
		"",
		"1970",
		"1970-01-01",
		"1970-01-01T00:00:00",
		"1970-01-01T00:00Z",
		"1970-01-01 00:00:00Z",
		"1970-01-01T00:00:00.Z",
		"1970-01-01T00:00:00Zx",
		"1970-01-01T00:00:00ZZ",
		"1970-01-01T00:00:00+1:00",
		"1970-01-01T00:00:00+0100",
		"1970-01-01T00:00:00+24:00",
		"1970-01-01T24:00:00Z",
		"1970-01-01T00:60:00Z",
		"1970-01-01T00:00:61Z",
		"1970-00-01T00:00:00Z",
		"1970-13-01T00:00:00Z",
		"1970-01-00T00:00:00Z",
		"1970-04-31T00:00:00Z",
		"1970-02-29T00:00:00Z",
		"1900-02-29T00:00:00Z",
		"70-01-01T00:00:00Z",
		"+970-01-01T00:00:00Z",
		"1970\r01-01T00:00:00Z",
		"0000-01-01T00:00:00Z",
		"9999-12-31T23:59:59Z",
		"2262-04-11T23:47:16.854775808Z",
	};
	int64_t ns = 7;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(text_untime(bad[i], &ns));
	assert_int_equal(ns, 7);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(text_untime(good[i].text, &ns));
		assert_true(ns == good[i].ns);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hex),    cmocka_unit_test(test_base64),
		cmocka_unit_test(test_utf8),   cmocka_unit_test(test_printable),
		cmocka_unit_test(test_time),   cmocka_unit_test(test_time_against_libc),
		cmocka_unit_test(test_untime),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
