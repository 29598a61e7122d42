/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cron schedules as sets of bits, one per field. The next run is found field by field from the year
 * down: a field that has no bit at or after the wanted value carries into the one above and resets
 * those below; so the search takes a step per month at most, and days by looking at one month.
 * All in UTC on the proleptic Gregorian calendar: no zones, no leap seconds, no clock.
 */
#include "spec/cron.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/text.h"

enum { FIELD_BYTES = 256, DAY = 86400 };

enum { SECOND, MINUTE, HOUR, DOM, MONTH, DOW, YEAR, FIELDS };

static const char *const month_names[] = {"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL",
					  "AUG", "SEP", "OCT", "NOV", "DEC", NULL};
static const char *const day_names[] = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", NULL};

struct range {
	const char *what;
	uint32_t min, max;
	const char *const *names;
	uint32_t names_base;
};

static const struct range ranges[FIELDS] = {
	[SECOND] = {"second", 0, 59, NULL, 0},
	[MINUTE] = {"minute", 0, 59, NULL, 0},
	[HOUR] = {"hour", 0, 23, NULL, 0},
	[DOM] = {"day of month", 1, 31, NULL, 0},
	[MONTH] = {"month", 1, 12, month_names, 1},
	[DOW] = {"day of week", 0, 7, day_names, 0},
	[YEAR] = {"year", CRON_YEAR_MIN, CRON_YEAR_MAX, NULL, 0},
};

/* ---- parsing ---- */

static int fail(struct cron_error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int
fail(struct cron_error *e, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, args);
	va_end(args);
	return -1;
}

static bool
parse_value(const struct range *r, const char *text, uint32_t *out)
{
	uint64_t value;

	for (uint32_t i = 0; r->names != NULL && r->names[i] != NULL; i++) {
		if (strcasecmp(text, r->names[i]) == 0) {
			*out = r->names_base + i;
			return true;
		}
	}
	if (!text_u64(text, r->max, &value) || value < r->min)
		return false;
	*out = (uint32_t)value;
	return true;
}

/* One item of a list: "*", "5", "1-5", each with "/step". Sets bits from r->min on. */
static int
parse_item(const struct range *r, char *item, uint64_t *bits, struct cron_error *e)
{
	char *slash = strchr(item, '/'), *dash;
	uint32_t from = r->min, to = r->max;
	uint64_t step = 1;

	if (slash != NULL) {
		*slash = '\0';
		if (!text_u64(slash + 1, r->max, &step) || step == 0)
			return fail(e, "the %s has the step \"%.20s\"; a number from 1 is wanted",
				    r->what, slash + 1);
	}
	dash = strchr(item, '-');
	if (strcmp(item, "*") != 0 && strcmp(item, "?") != 0) {
		if (dash != NULL)
			*dash = '\0';
		if (!parse_value(r, item, &from))
			return fail(e, "\"%.20s\" is wrong for the %s: %u to %u%s", item, r->what,
				    r->min, r->max,
				    r->names == NULL ? "" : ", or a name as MON or JAN");
		to = dash == NULL && slash == NULL ? from : r->max;
		if (dash != NULL && !parse_value(r, dash + 1, &to))
			return fail(e, "\"%.20s\" is wrong for the %s: %u to %u", dash + 1, r->what,
				    r->min, r->max);
	}
	if (from > to)
		return fail(e, "the %s goes backwards: %u to %u", r->what, from, to);
	for (uint64_t v = from; v <= to; v += step)
		bits[(v - r->min) / 64] |= UINT64_C(1) << (v - r->min) % 64;
	return 0;
}

static int
parse_field(const struct range *r, const char *text, size_t bytes, uint64_t *bits,
	    struct cron_error *e)
{
	char copy[FIELD_BYTES], *rest = copy, *item;

	if (!text_ncopy(copy, sizeof(copy), text, bytes))
		return fail(e, "the %s is too long", r->what);
	while ((item = strsep(&rest, ",")) != NULL) {
		if (*item == '\0')
			return fail(e, "the %s has an empty entry", r->what);
		if (parse_item(r, item, bits, e) != 0)
			return -1;
	}
	return 0;
}

static bool
is_any(const char *text, size_t bytes)
{
	return bytes == 1 && (*text == '*' || *text == '?');
}

static void
store(struct cron *c, size_t field, const uint64_t bits[4])
{
	switch (field) {
	case SECOND:
		c->seconds = bits[0];
		break;
	case MINUTE:
		c->minutes = bits[0];
		break;
	case HOUR:
		c->hours = (uint32_t)bits[0];
		break;
	case DOM:
		c->days = (uint32_t)(bits[0] << 1);
		break;
	case MONTH:
		c->months = (uint16_t)(bits[0] << 1);
		break;
	case DOW:
		c->weekdays = (uint8_t)((bits[0] | bits[0] >> 7) & 0x7f);
		break;
	default:
		memcpy(c->years, bits, sizeof(c->years));
		break;
	}
}

static size_t
split(const char *text, const char *fields[FIELDS], size_t lengths[FIELDS])
{
	size_t count = 0;

	for (const char *at = text;;) {
		at += strspn(at, " \t");
		if (*at == '\0')
			return count;
		if (count == FIELDS)
			return FIELDS + 1;
		fields[count] = at;
		lengths[count] = strcspn(at, " \t");
		at += lengths[count++];
	}
}

int
cron_parse(const char *text, struct cron *out, struct cron_error *error_out)
{
	const char *fields[FIELDS];
	size_t lengths[FIELDS], count = split(text, fields, lengths), first;
	int64_t unused;

	memset(out, 0, sizeof(*out));
	memset(error_out, 0, sizeof(*error_out));
	if (count != 5 && count != 7)
		return fail(error_out,
			    "7 fields are wanted: second minute hour day month weekday year; or "
			    "5: minute hour day month weekday");
	first = count == 5 ? MINUTE : SECOND;
	out->seconds = 1;
	memset(out->years, 0xff, sizeof(out->years));
	for (size_t i = 0; i < count; i++) {
		uint64_t bits[4] = {0};

		error_out->offset = (size_t)(fields[i] - text);
		error_out->bytes = lengths[i];
		if (parse_field(&ranges[first + i], fields[i], lengths[i], bits, error_out) != 0)
			return -1;
		store(out, first + i, bits);
	}
	out->any_day = is_any(fields[DOM - first], lengths[DOM - first]);
	out->any_weekday = is_any(fields[DOW - first], lengths[DOW - first]);
	error_out->offset = error_out->bytes = 0;
	if (!cron_next(out, INT64_C(-1), &unused))
		return fail(error_out, "this time never comes");
	return 0;
}

/* ---- the calendar ---- */

/* Days since 1970-01-01 of a date; months from 1. */
static int64_t
days_of(int64_t year, uint32_t month, uint32_t day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = y / 400, in_era = y - era * 400;
	int64_t shifted = month > 2 ? month - 3 : month + 9;
	int64_t in_year = (153 * shifted + 2) / 5 + day - 1;

	return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719468;
}

static void
date_of(int64_t days, int64_t *year_out, uint32_t *month_out, uint32_t *day_out)
{
	int64_t z = days + 719468, era = z / 146097, in_era = z - era * 146097;
	int64_t y = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
	int64_t in_year = in_era - (365 * y + y / 4 - y / 100);
	int64_t shifted = (5 * in_year + 2) / 153;

	*day_out = (uint32_t)(in_year - (153 * shifted + 2) / 5 + 1);
	*month_out = (uint32_t)(shifted < 10 ? shifted + 3 : shifted - 9);
	*year_out = y + era * 400 + (*month_out <= 2);
}

static uint32_t
days_in(int64_t year, uint32_t month)
{
	static const uint8_t days[13] = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month] + (month == 2 && leap ? 1u : 0u);
}

static bool
year_matches(const struct cron *c, int64_t year)
{
	uint64_t bit = (uint64_t)(year - CRON_YEAR_MIN);

	return bit < sizeof(c->years) * 8 && c->years[bit / 64] >> bit % 64 & 1;
}

static bool
day_matches(const struct cron *c, int64_t year, uint32_t month, uint32_t day)
{
	int64_t days = days_of(year, month, day);
	bool in_month = c->days >> day & 1;
	bool in_week = c->weekdays >> (uint32_t)((days % 7 + 11) % 7) & 1;

	if (c->any_day || c->any_weekday)
		return in_month && in_week;
	return in_month || in_week;
}

/* The first bit at or after `from`, or -1. */
static int
next_bit(uint64_t bits, int from)
{
	if (from > 63)
		return -1;
	bits &= ~UINT64_C(0) << from;
	return bits == 0 ? -1 : __builtin_ctzll(bits);
}

/* The first second of the day at or after `from` (0 .. DAY), or -1. */
static int
next_in_day(const struct cron *c, int from)
{
	int hour = from / 3600, minute = from / 60 % 60, second = from % 60;

	for (int h = next_bit(c->hours, hour); h >= 0; h = next_bit(c->hours, h + 1)) {
		int m = next_bit(c->minutes, h == hour ? minute : 0);

		for (; m >= 0; m = next_bit(c->minutes, m + 1)) {
			bool same = h == hour && m == minute;
			int s = next_bit(c->seconds, same ? second : 0);

			if (s >= 0)
				return h * 3600 + m * 60 + s;
		}
	}
	return -1;
}

bool
cron_matches(const struct cron *c, int64_t at)
{
	int64_t next;

	return cron_next(c, at - 1, &next) && next == at;
}

bool
cron_next(const struct cron *c, int64_t after, int64_t *next_out)
{
	int64_t start = after < 0 ? 0 : after + 1, year;
	uint32_t month, day;
	int from = (int)(start % DAY);

	if (after >= days_of(CRON_YEAR_MAX + 1, 1, 1) * DAY)
		return false;
	date_of(start / DAY, &year, &month, &day);
	for (; year <= CRON_YEAR_MAX; year++, month = 1, day = 1, from = 0) {
		if (!year_matches(c, year))
			continue;
		for (; month <= 12; month++, day = 1, from = 0) {
			if (!(c->months >> month & 1))
				continue;
			for (; day <= days_in(year, month); day++, from = 0) {
				int second = day_matches(c, year, month, day) ? next_in_day(c, from)
									      : -1;

				if (second < 0)
					continue;
				*next_out = days_of(year, month, day) * DAY + second;
				return true;
			}
		}
	}
	return false;
}
