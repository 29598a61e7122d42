/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

static void
test_copy(void **state)
{
	char out[8];

	(void)state;
	assert_true(text_copy(out, sizeof(out), "1234567"));
	assert_string_equal(out, "1234567");
	assert_false(text_copy(out, sizeof(out), "12345678"));
	assert_string_equal(out, "1234567");
	assert_true(text_ncopy(out, sizeof(out), "abcdef", 3));
	assert_string_equal(out, "abc");
	assert_true(text_ncopy(out, 1, NULL, 0));
	assert_string_equal(out, "");
	assert_false(text_copy(out, 1, "x"));
	assert_string_equal(out, "");
}

static void
test_copy_cuts_between_characters(void **state)
{
	static const struct {
		const char *text;
		size_t cap;
		const char *out;
	} cases[] = {
		{"abc\303\251", 5, "abc"},
		{"abc\303\251", 6, "abc\303\251"},
		{"a\342\202\254b", 3, "a"},
		{"a\342\202\254b", 4, "a"},
		{"a\342\202\254b", 5, "a\342\202\254"},
		{"\360\237\230\200", 4, ""},
		/* What is no UTF-8 is just cut. */
		{"\200\200\200\200\200\200", 5, "\200\200\200\200"},
	};
	char out[16];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool whole = text_copy(out, cases[i].cap, cases[i].text);

		assert_string_equal(out, cases[i].out);
		assert_int_equal(whole, strlen(out) == strlen(cases[i].text));
		assert_int_equal(text_format(out, cases[i].cap, "%s", cases[i].text), whole);
		assert_string_equal(out, cases[i].out);
	}
}

static void
test_compare(void **state)
{
	(void)state;
	assert_true(text_equal("a", "a"));
	assert_false(text_equal("a", "b"));
	assert_true(text_equal(NULL, NULL));
	assert_false(text_equal(NULL, ""));
	assert_false(text_equal("", NULL));
	assert_true(text_starts("zlayer.yaml", "zlayer"));
	assert_false(text_starts("zl", "zlayer"));
	assert_true(text_starts("x", ""));
	assert_true(text_ends("zlayer.yaml", ".yaml"));
	assert_false(text_ends("aml", "yaml"));
	assert_true(text_ends("", ""));
}

static void
test_u64(void **state)
{
	static const char *const bad[] = {"",   " 1",  "1 ", "+1",
					  "-1", "0x1", "1a", "18446744073709551616"};
	uint64_t v = 7;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(text_u64(bad[i], UINT64_MAX, &v));
	assert_int_equal(v, 7);
	assert_true(text_u64("18446744073709551615", UINT64_MAX, &v));
	assert_true(v == UINT64_MAX);
	assert_true(text_u64("0", 0, &v));
	assert_int_equal(v, 0);
	assert_true(text_u64("65535", 65535, &v));
	assert_false(text_u64("65536", 65535, &v));
}

static void
test_label(void **state)
{
	char name[65];

	(void)state;
	assert_true(text_is_label("a"));
	assert_true(text_is_label("web-1"));
	assert_true(text_is_label("1web"));
	assert_false(text_is_label(""));
	assert_false(text_is_label("-web"));
	assert_false(text_is_label("web-"));
	assert_false(text_is_label("-"));
	assert_false(text_is_label("Web"));
	assert_false(text_is_label("web.1"));
	assert_false(text_is_label("w\303\251b"));
	memset(name, 'a', sizeof(name));
	name[63] = '\0';
	assert_true(text_is_label(name));
	name[63] = 'a';
	name[64] = '\0';
	assert_false(text_is_label(name));
}

static void
test_duration(void **state)
{
	static const struct {
		const char *text;
		enum text_unit result;
		uint64_t ms;
	} cases[] = {
		{"90s", TEXT_OK, 90000},
		{"1h30m", TEXT_OK, 5400000},
		{"1h 30m", TEXT_OK, 5400000},
		{"250ms", TEXT_OK, 250},
		{"1d2h3m4s5ms", TEXT_OK, 93784005},
		{"0s", TEXT_OK, 0},
		{"106751d23h47m16s854ms", TEXT_OK, 9223372036854},
		{"106751d23h47m16s855ms", TEXT_OVERFLOW, 0},
		{"90", TEXT_NO_UNIT, 0},
		{"1h30", TEXT_NO_UNIT, 0},
		{"5sec", TEXT_BAD_UNIT, 0},
		{"5S", TEXT_BAD_UNIT, 0},
		{"1w", TEXT_BAD_UNIT, 0},
		{"", TEXT_MALFORMED, 0},
		{"s", TEXT_MALFORMED, 0},
		{"-1s", TEXT_MALFORMED, 0},
		{"1.5h", TEXT_MALFORMED, 0},
		{"90 s", TEXT_MALFORMED, 0},
		{" 90s", TEXT_MALFORMED, 0},
		{"90s ", TEXT_MALFORMED, 0},
		{"1h  30m", TEXT_MALFORMED, 0},
		{"99999999999999999999s", TEXT_OVERFLOW, 0},
		{"300000000000d", TEXT_OVERFLOW, 0},
		{"9223372036854ms1ms", TEXT_OVERFLOW, 0},
		{"99999999999999999999w", TEXT_BAD_UNIT, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t ms = 0;

		assert_int_equal(text_duration_ms(cases[i].text, &ms), cases[i].result);
		assert_true(ms == cases[i].ms);
	}
}

static void
test_size(void **state)
{
	static const struct {
		const char *text;
		enum text_unit result;
		uint64_t bytes;
	} cases[] = {
		{"256Mi", TEXT_OK, 256 << 20},   {"1Ki", TEXT_OK, 1024},
		{"3Gi", TEXT_OK, 3ull << 30},    {"8388607Ti", TEXT_OK, 8388607ull << 40},
		{"8388608Ti", TEXT_OVERFLOW, 0}, {"99999999Ti", TEXT_OVERFLOW, 0},
		{"256", TEXT_NO_UNIT, 0},        {"256M", TEXT_BAD_UNIT, 0},
		{"256MB", TEXT_BAD_UNIT, 0},     {"256mi", TEXT_BAD_UNIT, 0},
		{"256K", TEXT_BAD_UNIT, 0},      {"256MiB", TEXT_BAD_UNIT, 0},
		{"", TEXT_MALFORMED, 0},         {"Mi", TEXT_MALFORMED, 0},
		{"0Mi", TEXT_MALFORMED, 0},      {"1.5Gi", TEXT_MALFORMED, 0},
		{"1Gi512Mi", TEXT_MALFORMED, 0}, {"1 Gi", TEXT_MALFORMED, 0},
		{"-1Gi", TEXT_MALFORMED, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t bytes = 0;

		assert_int_equal(text_size_bytes(cases[i].text, &bytes), cases[i].result);
		assert_true(bytes == cases[i].bytes);
	}
}

static void
test_put(void **state)
{
	static const struct {
		uint64_t value;
		const char *duration;
		const char *size;
		const char *human_duration;
		const char *human_bytes;
	} cases[] = {
		{0, "0s", "0", "0s", "0 B"},
		{1, "1ms", "1", "0s", "1 B"},
		{850, "850ms", "850", "0.8s", "850 B"},
		{1000, "1s", "1000", "1s", "1000 B"},
		{1536, "1s536ms", "1536", "1.5s", "1.5 KiB"},
		{90000, "1m30s", "90000", "90s", "87.8 KiB"},
		{5400000, "1h30m", "5400000", "90m", "5.1 MiB"},
		{86400000, "1d", "84375Ki", "24h", "82.3 MiB"},
		{268435456, "3d2h33m55s456ms", "256Mi", "3d", "256 MiB"},
		{1ull << 40, "12725d19h53m47s776ms", "1Ti", "12725d", "1 TiB"},
		{UINT64_MAX, NULL, "18446744073709551615", "213503982334d", "15.9 EiB"},
	};
	char out[64];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (cases[i].duration) {
			text_put_duration(cases[i].value, out, sizeof(out));
			assert_string_equal(out, cases[i].duration);
		}
		text_put_size(cases[i].value, out, sizeof(out));
		assert_string_equal(out, cases[i].size);
		text_human_duration(cases[i].value, out, sizeof(out));
		assert_string_equal(out, cases[i].human_duration);
		text_human_bytes(cases[i].value, out, sizeof(out));
		assert_string_equal(out, cases[i].human_bytes);
	}
	text_put_duration(UINT64_MAX, out, sizeof(out));
	assert_string_equal(out, "213503982334d14h25m51s615ms");
}

static void
test_distance(void **state)
{
	char longer[300];

	(void)state;
	assert_int_equal(text_distance("", ""), 0);
	assert_int_equal(text_distance("", "abc"), 3);
	assert_int_equal(text_distance("abc", ""), 3);
	assert_int_equal(text_distance("kitten", "sitting"), 3);
	assert_int_equal(text_distance("deplyo", "deploy"), 1);
	assert_int_equal(text_distance("ca", "abc"), 3);
	assert_int_equal(text_distance("status", "status"), 0);
	memset(longer, 'a', sizeof(longer));
	longer[299] = '\0';
	assert_int_equal(text_distance(longer, longer), 0);
	assert_int_equal(text_distance(longer, "a"), 299);
	assert_int_equal(text_distance("a", longer), 299);
	longer[128] = '\0';
	assert_int_equal(text_distance(longer, ""), 128);
}

static void
test_nearest(void **state)
{
	static const char *const words[] = {"deploy", "rollback", "ls", "logs", "status", NULL};
	static const char *const none[] = {NULL};

	(void)state;
	assert_string_equal(text_nearest("deplyo", words), "deploy");
	assert_string_equal(text_nearest("rolback", words), "rollback");
	assert_string_equal(text_nearest("log", words), "logs");
	assert_string_equal(text_nearest("ls", words), "ls");
	assert_string_equal(text_nearest("sl", words), "ls");
	assert_string_equal(text_nearest("sttaus", words), "status");
	assert_null(text_nearest("destroy-all", words));
	assert_null(text_nearest("x", words));
	assert_null(text_nearest("", words));
	assert_null(text_nearest("deploy", none));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_copy_cuts_between_characters),
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_u64),
		cmocka_unit_test(test_label),
		cmocka_unit_test(test_duration),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_put),
		cmocka_unit_test(test_distance),
		cmocka_unit_test(test_nearest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
