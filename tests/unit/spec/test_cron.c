/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Schedules against a second opinion: this file matches a schedule by asking the C library for the
 * calendar (gmtime_r) and walks second by second through the minutes, hours and days that can
 * match, with a parser of its own. 240 cases, seeded, so that a failure repeats.
 */
#include "tests/unit/spec/spec_test.h"

#include <time.h>
#include "spec/cron.h"

/* ---- the second opinion ---- */

struct naive {
	bool set[7][2300];
	bool any_day, any_weekday;
};

static void
naive_field(struct naive *n, int field, const char *text, int least, int most)
{
	char copy[128], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *item = strtok_r(copy, ",", &save); item != NULL;
	     item = strtok_r(NULL, ",", &save)) {
		int from = least, to = most, step = 1;
		char *slash = strchr(item, '/'), *dash;

		if (slash != NULL) {
			step = atoi(slash + 1);
			*slash = '\0';
		}
		dash = strchr(item, '-');
		if (item[0] != '*') {
			from = atoi(item);
			to = dash != NULL ? atoi(dash + 1) : slash != NULL ? most : from;
		}
		for (int v = from; v <= to; v += step)
			n->set[field][field == 5 ? v % 7 : v] = true;
	}
}

static bool
naive_day(const struct naive *n, const struct tm *tm)
{
	bool day = n->set[3][tm->tm_mday], weekday = n->set[5][tm->tm_wday];

	if (!n->set[4][tm->tm_mon + 1] || !n->set[6][tm->tm_year + 1900])
		return false;
	return n->any_day || n->any_weekday ? day && weekday : day || weekday;
}

static int64_t
naive_next(const struct naive *n, int64_t after)
{
	for (time_t t = after + 1;;) {
		struct tm tm;

		gmtime_r(&t, &tm);
		if (tm.tm_year + 1900 > 2199)
			return -1;
		if (!naive_day(n, &tm))
			t += 86400 - t % 86400;
		else if (!n->set[2][tm.tm_hour])
			t += 3600 - t % 3600;
		else if (!n->set[1][tm.tm_min])
			t += 60 - t % 60;
		else if (!n->set[0][tm.tm_sec])
			t++;
		else
			return t;
	}
}

/* ---- cases ---- */

static uint64_t seed = 20261122;

static unsigned
below(unsigned bound)
{
	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (unsigned)(seed >> 33) % bound;
}

static void
make_field(char *out, size_t cap, unsigned least, unsigned most)
{
	unsigned a = least + below(most - least + 1), b = a + below(most - a + 1);

	switch (below(6)) {
	case 0:
		snprintf(out, cap, "%u", a);
		break;
	case 1:
		snprintf(out, cap, "%u-%u", a, b);
		break;
	case 2:
		snprintf(out, cap, "%u-%u/%u", a, b, 1 + below(7));
		break;
	case 3:
		snprintf(out, cap, "*/%u", 1 + below(most));
		break;
	case 4:
		snprintf(out, cap, "%u,%u,%u", b, a, least + below(most - least + 1));
		break;
	default:
		snprintf(out, cap, "*");
		break;
	}
}

static void
test_against_naive(void **state)
{
	static const unsigned bounds[7][2] = {{0, 59}, {0, 59}, {0, 23},     {1, 28},
					      {1, 12}, {0, 7},  {2020, 2150}};
	static struct naive n;

	(void)state;
	for (int i = 0; i < 240; i++) {
		char fields[7][64], text[512];
		int64_t after = (int64_t)below(4000000) * 977, wanted, got = -1;
		struct cron_error error;
		struct cron cron;

		memset(&n, 0, sizeof(n));
		for (int f = 0; f < 7; f++) {
			if (f == 6 && below(3) > 0)
				snprintf(fields[f], sizeof(fields[f]), "*");
			else
				make_field(fields[f], sizeof(fields[f]), bounds[f][0],
					   bounds[f][1]);
			naive_field(&n, f, fields[f], f == 6 ? 1970 : (int)bounds[f][0],
				    f == 3   ? 31
				    : f == 6 ? 2199
					     : (int)bounds[f][1]);
		}
		n.any_day = strcmp(fields[3], "*") == 0;
		n.any_weekday = strcmp(fields[5], "*") == 0;
		snprintf(text, sizeof(text), "%s %s %s %s %s %s %s", fields[0], fields[1],
			 fields[2], fields[3], fields[4], fields[5], fields[6]);
		wanted = naive_next(&n, after);
		if (cron_parse(text, &cron, &error) != 0) {
			assert_int_equal(naive_next(&n, -1), -1);
			continue;
		}
		if (!cron_next(&cron, after, &got))
			got = -1;
		if (got != wanted)
			printf("# %s after %lld\n", text, (long long)after);
		assert_int_equal(got, wanted);
		assert_true(got < 0 || cron_matches(&cron, got));
	}
}

/* Worked out by hand. */
static void
test_known(void **state)
{
	static const struct {
		const char *text;
		const char *after, *next;
	} cases[] = {
		{"0 0 3 * * * *", "2026-11-22 03:00:00", "2026-11-23 03:00:00"},
		{"0 0 3 * * * *", "2026-11-22 02:59:59", "2026-11-22 03:00:00"},
		{"*/15 * * * *", "2026-11-22 04:14:59", "2026-11-22 04:15:00"},
		{"0 0 29 2 *", "2026-01-01 00:00:00", "2028-02-29 00:00:00"},
		{"0 0 29 FEB *", "2096-03-01 00:00:00", "2104-02-29 00:00:00"},
		{"0 9 * * MON-FRI", "2026-11-20 09:00:00", "2026-11-23 09:00:00"},
		{"0 0 * * sun", "2026-11-21 12:00:00", "2026-11-22 00:00:00"},
		{"0 0 * * 7", "2026-11-22 00:00:00", "2026-11-29 00:00:00"},
		{"0 0 13 * FRI", "2026-11-22 00:00:00", "2026-11-27 00:00:00"},
		{"59 59 23 31 DEC ? 2030", "2026-01-01 00:00:00", "2030-12-31 23:59:59"},
		{"30 5/20 * * * * *", "2026-11-22 04:45:30", "2026-11-22 05:05:30"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct tm after = {0}, next = {0};
		struct cron_error error;
		struct cron cron;
		int64_t got;

		assert_non_null(strptime(cases[i].after, "%Y-%m-%d %H:%M:%S", &after));
		assert_non_null(strptime(cases[i].next, "%Y-%m-%d %H:%M:%S", &next));
		assert_int_equal(cron_parse(cases[i].text, &cron, &error), 0);
		assert_true(cron_next(&cron, timegm(&after), &got));
		assert_int_equal(got, timegm(&next));
	}
}

static void
test_ends(void **state)
{
	struct cron_error error;
	struct cron cron;
	int64_t next;

	(void)state;
	assert_int_equal(cron_parse("0 0 0 1 1 * 2030", &cron, &error), 0);
	assert_true(cron_next(&cron, 0, &next));
	assert_false(cron_next(&cron, next, &next));
	assert_false(cron_next(&cron, INT64_MAX, &next));
	assert_true(cron_next(&cron, INT64_MIN, &next));
}

static void
test_malformed(void **state)
{
	static const struct {
		const char *text;
		size_t offset;
	} cases[] = {
		{"", 0},
		{"* * * *", 0},
		{"* * * * * *", 0},
		{"* * * * * * * *", 0},
		{"60 * * * *", 0},
		{"* 24 * * *", 2},
		{"* * 0 * *", 4},
		{"* * * 13 *", 6},
		{"* * * * 8", 8},
		{"* * * * FRIDAY", 8},
		{"5-1 * * * *", 0},
		{"1,,2 * * * *", 0},
		{"*/0 * * * *", 0},
		{"*/x * * * *", 0},
		{"1- * * * *", 0},
		{"-1 * * * *", 0},
		{"0 0 31 FEB *", 0},
		{"0 0 0 * * * 1969", 12},
		{"a * * * *", 0},
		{"1-2-3 * * * *", 0},
		{", * * * *", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cron_error error;
		struct cron cron;

		assert_int_equal(cron_parse(cases[i].text, &cron, &error), -1);
		assert_int_equal(error.offset, cases[i].offset);
		assert_true(strlen(error.text) > 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_naive),
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
