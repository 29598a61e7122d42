/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text for people and from people: bounded copies, whole-string numbers, durations and sizes of the
 * deployment document, nearest words. Encodings (UTF-8, hex, base64, time) are in text_code.c.
 *
 * Parsers take the whole string or nothing, leave the result alone when they fail, and never read
 * the locale. Durations fit in an int64 of nanoseconds and sizes in an int64 of bytes, so that
 * callers may convert without a check.
 */
#include "base/text.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { LABEL_MAX = 63, WORD_MAX = 128 };

static const uint64_t duration_max_ms = INT64_MAX / 1000000;
static const uint64_t size_max_bytes = INT64_MAX;

struct unit {
	const char *name;
	uint64_t factor;
};

/* Largest first. */
static const struct unit duration_units[] = {
	{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {NULL, 0},
};
static const struct unit size_units[] = {
	{"Ti", 1ull << 40}, {"Gi", 1ull << 30}, {"Mi", 1ull << 20}, {"Ki", 1ull << 10}, {NULL, 0},
};

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The length without a UTF-8 sequence that is cut short at the end. */
static size_t
whole_characters(const char *text, size_t length)
{
	for (size_t back = 1; back <= 3 && back <= length; back++) {
		unsigned char c = (unsigned char)text[length - back];

		if ((c & 0xc0) == 0x80)
			continue;
		if ((c >= 0xc0 && back < 2) || (c >= 0xe0 && back < 3) || (c >= 0xf0 && back < 4))
			return length - back;
		break;
	}
	return length;
}

bool
text_copy(char *out, size_t cap, const char *text)
{
	return text_ncopy(out, cap, text, strlen(text));
}

bool
text_ncopy(char *out, size_t cap, const char *text, size_t length)
{
	size_t n = length;

	assert(cap > 0);
	if (n >= cap)
		n = whole_characters(text, cap - 1);
	if (n > 0)
		memcpy(out, text, n);
	out[n] = '\0';
	return n == length;
}

bool
text_vformat(char *out, size_t cap, const char *fmt, va_list args)
{
	int n;

	assert(cap > 0);
	n = vsnprintf(out, cap, fmt, args);
	if (n < 0) {
		out[0] = '\0';
		return false;
	}
	if ((size_t)n < cap)
		return true;
	out[whole_characters(out, cap - 1)] = '\0';
	return false;
}

bool
text_format(char *out, size_t cap, const char *fmt, ...)
{
	va_list args;
	bool whole;

	va_start(args, fmt);
	whole = text_vformat(out, cap, fmt, args);
	va_end(args);
	return whole;
}

bool
text_equal(const char *a, const char *b)
{
	if (!a || !b)
		return a == b;
	return strcmp(a, b) == 0;
}

bool
text_starts(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool
text_ends(const char *text, const char *suffix)
{
	size_t length = strlen(text);
	size_t n = strlen(suffix);

	return n <= length && memcmp(text + length - n, suffix, n) == 0;
}

/* Reads digits at *at and moves past them. */
static enum text_unit
take_number(const char **at, uint64_t *out)
{
	bool overflow = false;
	uint64_t v = 0;

	if (!is_digit(**at))
		return TEXT_MALFORMED;
	for (; is_digit(**at); (*at)++) {
		overflow |= __builtin_mul_overflow(v, 10u, &v);
		overflow |= __builtin_add_overflow(v, (uint64_t)(**at - '0'), &v);
	}
	*out = v;
	return overflow ? TEXT_OVERFLOW : TEXT_OK;
}

bool
text_u64(const char *text, uint64_t max, uint64_t *out)
{
	uint64_t v;

	if (take_number(&text, &v) != TEXT_OK || *text || v > max)
		return false;
	*out = v;
	return true;
}

bool
text_is_label(const char *text)
{
	size_t n = 0;

	for (; text[n]; n++) {
		bool dash = text[n] == '-';

		if (n == LABEL_MAX)
			return false;
		if (!dash && !is_digit(text[n]) && !(text[n] >= 'a' && text[n] <= 'z'))
			return false;
		if (dash && (n == 0 || !text[n + 1]))
			return false;
	}
	return n > 0;
}

/* Reads "<number><unit>" and moves past it. */
static enum text_unit
take_quantity(const char **at, const struct unit *units, uint64_t *out)
{
	const char *name;
	size_t length = 0;
	uint64_t number;
	enum text_unit result = take_number(at, &number);

	if (result == TEXT_MALFORMED)
		return result;
	if (!**at || is_digit(**at))
		return TEXT_NO_UNIT;
	for (name = *at; is_letter(name[length]); length++)
		;
	if (length == 0)
		return TEXT_MALFORMED;
	*at += length;
	for (; units->name; units++) {
		if (strlen(units->name) != length || memcmp(units->name, name, length) != 0)
			continue;
		if (__builtin_mul_overflow(number, units->factor, out))
			return TEXT_OVERFLOW;
		return result;
	}
	return TEXT_BAD_UNIT;
}

enum text_unit
text_duration_ms(const char *text, uint64_t *ms_out)
{
	uint64_t sum = 0;

	for (;;) {
		uint64_t part;
		enum text_unit result = take_quantity(&text, duration_units, &part);

		if (result != TEXT_OK)
			return result;
		if (part > duration_max_ms - sum)
			return TEXT_OVERFLOW;
		sum += part;
		if (!*text)
			break;
		if (*text == ' ')
			text++;
	}
	*ms_out = sum;
	return TEXT_OK;
}

enum text_unit
text_size_bytes(const char *text, uint64_t *bytes_out)
{
	uint64_t bytes;
	enum text_unit result = take_quantity(&text, size_units, &bytes);

	if (result != TEXT_OK)
		return result;
	if (*text || bytes == 0)
		return TEXT_MALFORMED;
	if (bytes > size_max_bytes)
		return TEXT_OVERFLOW;
	*bytes_out = bytes;
	return TEXT_OK;
}

void
text_put_duration(uint64_t ms, char *out, size_t cap)
{
	char text[64] = "0s";
	size_t n = 0;

	for (const struct unit *u = duration_units; u->name; u++) {
		if (ms < u->factor)
			continue;
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%llu%s",
				      (unsigned long long)(ms / u->factor), u->name);
		ms %= u->factor;
	}
	text_copy(out, cap, text);
}

void
text_put_size(uint64_t bytes, char *out, size_t cap)
{
	const struct unit *u = size_units;

	while (u->name && (bytes == 0 || bytes % u->factor != 0))
		u++;
	text_format(out, cap, "%llu%s", (unsigned long long)(u->name ? bytes / u->factor : bytes),
		    u->name ? u->name : "");
}

/* `value` in units of `unit`, with one decimal where that says something: below 100. */
static void
put_decimal(uint64_t value, uint64_t unit, const char *name, char *out, size_t cap)
{
	uint64_t whole = value / unit;
	uint64_t tenths = value % unit * 10 / unit;

	if (whole < 100 && tenths > 0)
		text_format(out, cap, "%u.%u%s", (unsigned)whole, (unsigned)tenths, name);
	else
		text_format(out, cap, "%llu%s", (unsigned long long)whole, name);
}

void
text_human_bytes(uint64_t bytes, char *out, size_t cap)
{
	static const char *const names[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"};
	unsigned i = 0;

	while (i < 6 && bytes >> (10 * (i + 1)))
		i++;
	put_decimal(bytes, 1ull << (10 * i), names[i], out, cap);
}

void
text_human_duration(uint64_t ms, char *out, size_t cap)
{
	if (ms < 10000)
		put_decimal(ms, 1000, "s", out, cap);
	else if (ms < 120 * 1000)
		text_format(out, cap, "%us", (unsigned)(ms / 1000));
	else if (ms < 120 * 60000)
		text_format(out, cap, "%um", (unsigned)(ms / 60000));
	else if (ms < 48 * 3600000ull)
		text_format(out, cap, "%uh", (unsigned)(ms / 3600000));
	else
		text_format(out, cap, "%llud", (unsigned long long)(ms / 86400000));
}

static unsigned
min3(unsigned a, unsigned b, unsigned c)
{
	unsigned least = a < b ? a : b;

	return least < c ? least : c;
}

/* Optimal string alignment: insert, delete, replace, swap neighbours. Three rows of the usual
 * table; words longer than WORD_MAX are no typing errors of each other. */
size_t
text_distance(const char *a, const char *b)
{
	uint16_t rows[3][WORD_MAX + 1];
	size_t a_length = strlen(a);
	size_t b_length = strlen(b);
	uint16_t *before = rows[0];
	uint16_t *above = rows[1];
	uint16_t *row = rows[2];

	if (a_length > WORD_MAX || b_length > WORD_MAX)
		return strcmp(a, b) == 0 ? 0 : a_length > b_length ? a_length : b_length;
	for (size_t j = 0; j <= b_length; j++)
		row[j] = (uint16_t)j;
	for (size_t i = 1; i <= a_length; i++) {
		uint16_t *oldest = before;

		before = above;
		above = row;
		row = oldest;
		row[0] = (uint16_t)i;
		for (size_t j = 1; j <= b_length; j++) {
			unsigned edit = above[j - 1] + (a[i - 1] == b[j - 1] ? 0u : 1u);
			unsigned least = min3(edit, above[j] + 1u, row[j - 1] + 1u);

			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1u < least)
				least = before[j - 2] + 1u;
			row[j] = (uint16_t)least;
		}
	}
	return row[b_length];
}

const char *
text_nearest(const char *word, const char *const *words)
{
	size_t length = strlen(word);
	size_t limit = length / 3;
	const char *nearest = NULL;

	if (limit == 0 && length >= 2)
		limit = 1;
	for (; *words; words++) {
		size_t distance = text_distance(word, *words);

		if (distance > limit)
			continue;
		nearest = *words;
		if (distance == 0)
			break;
		limit = distance - 1;
	}
	return nearest;
}
