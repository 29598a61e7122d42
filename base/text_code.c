/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encodings of text: UTF-8 (RFC 3629), what a terminal may be shown, hex, base64 (RFC 4648) and
 * timestamps (RFC 3339). Decoders are strict: one value has one base64 form, UTF-8 has no overlong
 * forms and no surrogates. Time is UTC by plain arithmetic on the Gregorian calendar: no time zone
 * file is ever read, which matters in a confined process.
 */
#include "base/text.h"

#include <assert.h>
#include <string.h>

static const char hex_digits[] = "0123456789abcdef";
static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const int64_t second_ns = 1000000000;
static const int64_t day_s = 86400;

/* The length of the well-formed sequence at the start, and its code point; 0 when there is none. */
static size_t
utf8_take(const unsigned char *at, size_t left, uint32_t *point_out)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
	uint32_t point = n == 1 ? at[0] : at[0] & (0x7fu >> n);

	if (n > left || (at[0] >= 0x80 && at[0] < 0xc2) || at[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (at[i] & 0x3f);
	}
	if (point < least[n] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
		return 0;
	*point_out = point;
	return n;
}

bool
text_is_utf8(const char *text, size_t length)
{
	const unsigned char *at = (const unsigned char *)text;
	uint32_t point;

	while (length > 0) {
		size_t n = utf8_take(at, length, &point);

		if (n == 0)
			return false;
		at += n;
		length -= n;
	}
	return true;
}

/* C0, DEL, C1, and what reorders or breaks a line unseen: separators and direction marks. */
static bool
is_unprintable(uint32_t point)
{
	return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x061c ||
	       (point >= 0x200e && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
	       (point >= 0x2066 && point <= 0x2069);
}

bool
text_is_printable(const char *text, size_t length)
{
	const unsigned char *at = (const unsigned char *)text;
	uint32_t point;

	for (size_t n; length > 0; at += n, length -= n) {
		n = utf8_take(at, length, &point);
		if (n == 0 || is_unprintable(point))
			return false;
	}
	return true;
}

void
text_printable(const char *text, size_t length, char *out, size_t cap)
{
	const unsigned char *at = (const unsigned char *)text;
	size_t room = cap - 1;
	uint32_t point;

	assert(cap > 0);
	while (length > 0) {
		size_t n = utf8_take(at, length, &point);
		bool plain = n > 0 && !is_unprintable(point);
		size_t bytes = plain ? n : 4;

		if (bytes > room)
			break;
		if (plain) {
			memcpy(out, at, n);
		} else {
			n = 1;
			memcpy(out, "\\x", 2);
			out[2] = hex_digits[at[0] >> 4];
			out[3] = hex_digits[at[0] & 15];
		}
		out += bytes;
		room -= bytes;
		at += n;
		length -= n;
	}
	*out = '\0';
}

void
text_hex(const void *data, size_t bytes, char *out, size_t cap)
{
	const uint8_t *at = data;

	assert(cap / 2 >= bytes && cap > 2 * bytes);
	for (size_t i = 0; i < bytes; i++) {
		*out++ = hex_digits[at[i] >> 4];
		*out++ = hex_digits[at[i] & 15];
	}
	*out = '\0';
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

long
text_unhex(const char *text, size_t length, void *out, size_t cap)
{
	uint8_t *to = out;

	if (length % 2 != 0 || length / 2 > cap)
		return -1;
	for (size_t i = 0; i < length; i += 2) {
		int high = hex_value(text[i]);
		int low = hex_value(text[i + 1]);

		if (high < 0 || low < 0)
			return -1;
		*to++ = (uint8_t)(high << 4 | low);
	}
	return (long)(length / 2);
}

size_t
text_base64_size(size_t bytes)
{
	return (bytes + 2) / 3 * 4 + 1;
}

void
text_base64(const void *data, size_t bytes, char *out, size_t cap)
{
	const uint8_t *at = data;

	assert(cap >= text_base64_size(bytes));
	while (bytes > 0) {
		size_t n = bytes < 3 ? bytes : 3;
		uint32_t group = (uint32_t)at[0] << 16;

		group |= n > 1 ? (uint32_t)at[1] << 8 : 0;
		group |= n > 2 ? at[2] : 0;
		*out++ = base64_digits[group >> 18];
		*out++ = base64_digits[group >> 12 & 63];
		*out++ = n > 1 ? base64_digits[group >> 6 & 63] : '=';
		*out++ = n > 2 ? base64_digits[group & 63] : '=';
		at += n;
		bytes -= n;
	}
	*out = '\0';
}

static int
base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four digits, of which the last `padding` are '='; gives the 24 bits or -1. */
static int32_t
base64_group(const char *text, size_t padding)
{
	int32_t group = 0;

	for (size_t i = 0; i < 4; i++) {
		int v = i < 4 - padding ? base64_value(text[i]) : text[i] == '=' ? 0 : -1;

		if (v < 0)
			return -1;
		group = group << 6 | v;
	}
	/* Bits under the padding would give one value many forms. */
	return group & ((1 << 8 * padding) - 1) ? -1 : group;
}

long
text_unbase64(const char *text, size_t length, void *out, size_t cap)
{
	uint8_t *to = out;
	size_t padding = 0;
	size_t bytes;

	if (length % 4 != 0)
		return -1;
	while (padding < 2 && padding < length && text[length - 1 - padding] == '=')
		padding++;
	bytes = length / 4 * 3 - padding;
	if (bytes > cap)
		return -1;
	for (size_t i = 0; i < length; i += 4) {
		size_t missing = i + 4 == length ? padding : 0;
		int32_t group = base64_group(text + i, missing);

		if (group < 0)
			return -1;
		for (size_t j = 0; j < 3 - missing; j++)
			*to++ = (uint8_t)(group >> (16 - 8 * j));
	}
	return (long)bytes;
}

struct date {
	int64_t year;
	unsigned month; /* 1-12 */
	unsigned day;   /* 1-31 */
};

static bool
is_leap(int64_t year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static unsigned
days_in_month(int64_t year, unsigned month)
{
	static const unsigned days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

/* Days from 1970-01-01 to the first of January; years 0 to 9999. */
static int64_t
days_to_year(int64_t year)
{
	int64_t y = year - 1 + 400; /* a whole cycle further: no negative division */

	return y * 365 + y / 4 - y / 100 + y / 400 - 146097 - 719162;
}

static int64_t
days_of_date(const struct date *d)
{
	int64_t days = days_to_year(d->year) + d->day - 1;

	for (unsigned month = 1; month < d->month; month++)
		days += days_in_month(d->year, month);
	return days;
}

static struct date
date_of_days(int64_t days)
{
	struct date d = {.year = 1970 + days / 365, .month = 1};

	while (days_to_year(d.year) > days)
		d.year--;
	while (days_to_year(d.year + 1) <= days)
		d.year++;
	days -= days_to_year(d.year);
	while (days >= days_in_month(d.year, d.month))
		days -= days_in_month(d.year, d.month++);
	d.day = (unsigned)days + 1;
	return d;
}

void
text_time(int64_t wall_ns, int digits, char *out, size_t cap)
{
	int64_t ns = wall_ns % second_ns;
	int64_t s = wall_ns / second_ns;
	int64_t in_day;
	struct date d;
	char fraction[16] = "";

	assert(digits == 0 || digits == 3 || digits == 6 || digits == 9);
	if (ns < 0) {
		ns += second_ns;
		s--;
	}
	in_day = (s % day_s + day_s) % day_s;
	d = date_of_days((s - in_day) / day_s);
	if (digits > 0)
		text_format(fraction, (size_t)digits + 2, ".%09u", (unsigned)ns);
	text_format(out, cap, "%04u-%02u-%02uT%02u:%02u:%02u%sZ", (unsigned)d.year, d.month, d.day,
		    (unsigned)(in_day / 3600), (unsigned)(in_day / 60 % 60),
		    (unsigned)(in_day % 60), fraction);
}

/* Exactly `digits` digits, then `after` unless that is NUL; moves past them. */
static bool
take_field(const char **at, unsigned digits, char after, unsigned *out)
{
	unsigned v = 0;

	for (unsigned i = 0; i < digits; i++, (*at)++) {
		if (**at < '0' || **at > '9')
			return false;
		v = v * 10 + (unsigned)(**at - '0');
	}
	*out = v;
	if (!after)
		return true;
	if (**at != after && !(after == 'T' && **at == 't'))
		return false;
	(*at)++;
	return true;
}

/* ".123": at least one digit; those past nanoseconds are dropped. */
static bool
take_fraction(const char **at, int64_t *ns_out)
{
	int64_t place = second_ns / 10;
	const char *first;

	*ns_out = 0;
	if (**at != '.')
		return true;
	first = ++*at;
	for (; **at >= '0' && **at <= '9'; (*at)++) {
		*ns_out += (**at - '0') * place;
		place /= 10;
	}
	return *at > first;
}

/* "Z" or "+01:00". */
static bool
take_offset(const char **at, int64_t *s_out)
{
	char sign = **at;
	unsigned hours;
	unsigned minutes;

	*s_out = 0;
	(*at) += sign != '\0';
	if (sign == 'Z' || sign == 'z')
		return true;
	if (sign != '+' && sign != '-')
		return false;
	if (!take_field(at, 2, ':', &hours) || !take_field(at, 2, '\0', &minutes) || hours > 23 ||
	    minutes > 59)
		return false;
	*s_out = (int64_t)(hours * 3600 + minutes * 60);
	if (sign == '-')
		*s_out = -*s_out;
	return true;
}

bool
text_untime(const char *text, int64_t *wall_ns_out)
{
	struct date d;
	unsigned year, hour, minute, second;
	int64_t ns, offset, s, wall_ns;

	if (!take_field(&text, 4, '-', &year) || !take_field(&text, 2, '-', &d.month) ||
	    !take_field(&text, 2, 'T', &d.day) || !take_field(&text, 2, ':', &hour) ||
	    !take_field(&text, 2, ':', &minute) || !take_field(&text, 2, '\0', &second) ||
	    !take_fraction(&text, &ns) || !take_offset(&text, &offset) || *text)
		return false;
	d.year = year;
	if (d.month < 1 || d.month > 12 || d.day < 1 || d.day > days_in_month(d.year, d.month))
		return false;
	/* 60 is a leap second: the clock of the system counts it as the next one. */
	if (hour > 23 || minute > 59 || second > 60)
		return false;
	s = days_of_date(&d) * day_s + hour * 3600 + minute * 60 + second - offset;
	/* Towards zero, or the first second of all that an int64 can hold would overflow. */
	if (s < 0 && ns > 0) {
		s++;
		ns -= second_ns;
	}
	if (__builtin_mul_overflow(s, second_ns, &wall_ns) ||
	    __builtin_add_overflow(wall_ns, ns, &wall_ns))
		return false;
	*wall_ns_out = wall_ns;
	return true;
}
