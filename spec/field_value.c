/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Single values: the text of a scalar to a bool, number, duration, size ... Strict: a word is never
 * a bool, a quoted number is a text, nothing is rounded or cut. Where people of other systems write
 * it differently (yes, 256M, 30) the message says how it is written here.
 */
#include "spec/field.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/text.h"

static bool
read_bool(struct field_ctx *ctx, const struct yaml_node *n, bool *out)
{
	static const char *const yes[] = {"yes", "y", "on", "true", "1", NULL};
	static const char *const no[] = {"no", "n", "off", "false", "0", NULL};

	if (!field_is_text(ctx, n, "true or false"))
		return false;
	if (n->plain && (strcmp(n->text, "true") == 0 || strcmp(n->text, "false") == 0)) {
		*out = n->text[0] == 't';
		return true;
	}
	for (size_t i = 0; yes[i] != NULL; i++) {
		const char *meant = strcasecmp(n->text, yes[i]) == 0  ? "true"
				    : strcasecmp(n->text, no[i]) == 0 ? "false"
								      : NULL;

		if (meant == NULL)
			continue;
		field_diag(ctx, n, "wrong-type", NULL, "%s%s%s is not true or false; write %s",
			   n->plain ? "" : "\"", n->text, n->plain ? "" : "\"", meant);
		return false;
	}
	field_diag(ctx, n, "wrong-type", NULL, "\"%.40s\" is not true or false", n->text);
	return false;
}

static void
store(const struct field *f, uint64_t value, void *at)
{
	switch (f->size) {
	case 1:
		*(uint8_t *)at = (uint8_t)value;
		break;
	case 2:
		*(uint16_t *)at = (uint16_t)value;
		break;
	case 4:
		*(uint32_t *)at = (uint32_t)value;
		break;
	default:
		*(uint64_t *)at = value;
		break;
	}
}

static bool
is_number(struct field_ctx *ctx, const struct field *f, const struct yaml_node *n)
{
	const char *code = f->code != NULL ? f->code : "invalid-number";
	const char *digits = n->text + (n->text[0] == '-' && f->kind == FIELD_INTEGER);
	size_t count = strspn(digits, "0123456789");

	if (count == 0 || digits[count] != '\0') {
		field_diag(ctx, n, code, NULL, "\"%.40s\" is not a whole number", n->text);
		return false;
	}
	if (!n->plain) {
		field_diag(ctx, n, "wrong-type", "write it without the quotes",
			   "is a text; a number is wanted");
		return false;
	}
	if (digits[0] == '0' && count > 1) {
		field_diag(ctx, n, code, "write it without the leading zero",
			   "%.40s could be meant as octal", n->text);
		return false;
	}
	return true;
}

static bool
read_number(struct field_ctx *ctx, const struct field *f, const struct yaml_node *n, void *at)
{
	uint64_t value;

	if (!field_is_text(ctx, n, "a number") || !is_number(ctx, f, n))
		return false;
	if (!text_u64(n->text, f->max, &value) || value < f->min) {
		field_diag(ctx, n, f->code != NULL ? f->code : "out-of-range", NULL,
			   "%.40s is out of range: %" PRIu64 " to %" PRIu64, n->text, f->min,
			   f->max);
		return false;
	}
	store(f, value, at);
	return true;
}

static bool
read_integer(struct field_ctx *ctx, const struct field *f, const struct yaml_node *n, int32_t *out)
{
	int64_t least = (int64_t)f->min, most = (int64_t)f->max, value;
	uint64_t digits;
	bool negative = n->kind == YAML_TEXT && n->text[0] == '-';

	if (!field_is_text(ctx, n, "a number") || !is_number(ctx, f, n))
		return false;
	if (!text_u64(n->text + negative, INT32_MAX, &digits)) {
		value = INT64_MAX;
	} else {
		value = negative ? -(int64_t)digits : (int64_t)digits;
	}
	if (value < least || value > most) {
		field_diag(ctx, n, f->code != NULL ? f->code : "out-of-range", NULL,
			   "%.40s is out of range: %" PRId64 " to %" PRId64, n->text, least, most);
		return false;
	}
	*out = (int32_t)value;
	return true;
}

/* "0.5" in units of 10^-digits; false when malformed, finer than that, or above 10^12. */
static bool
parse_decimal(const char *text, unsigned digits, uint64_t *out)
{
	size_t whole = strspn(text, "0123456789");
	const char *point = text + whole;
	uint64_t value = 0;

	if (whole == 0 || whole > 9 || (*point != '.' && *point != '\0'))
		return false;
	for (size_t i = 0; i < whole; i++)
		value = value * 10 + (uint64_t)(text[i] - '0');
	if (*point == '.' && point[1] == '\0')
		return false;
	if (*point == '.')
		point++;
	for (unsigned i = 0; i < digits; i++) {
		value *= 10;
		if (*point >= '0' && *point <= '9')
			value += (uint64_t)(*point++ - '0');
	}
	point += strspn(point, "0");
	*out = value;
	return *point == '\0';
}

static bool
read_cores(struct field_ctx *ctx, const struct field *f, const struct yaml_node *n, uint32_t *out)
{
	uint64_t value, milli;

	if (!field_is_text(ctx, n, "a number of cores"))
		return false;
	if (parse_decimal(n->text, 3, &value) && value > f->max) {
		field_diag(ctx, n, "invalid-cpu", NULL, "%.40s is more than %" PRIu64 " cores",
			   n->text, f->max / 1000);
		return false;
	}
	if (parse_decimal(n->text, 3, &value) && value >= f->min) {
		*out = (uint32_t)value;
		return true;
	}
	if (text_ends(n->text, "m") && strspn(n->text, "0123456789") == n->bytes - 1 &&
	    n->bytes > 1 && n->bytes < 8) {
		milli = strtoull(n->text, NULL, 10);
		field_diag(ctx, n, "invalid-cpu", NULL,
			   "\"%s\" is not a number of cores; did you mean %g?", n->text,
			   (double)milli / 1000);
		return false;
	}
	field_diag(ctx, n, "invalid-cpu", NULL,
		   "\"%.40s\" is not a number of cores: more than 0, as 0.5 or 2", n->text);
	return false;
}

static bool
read_ratio(struct field_ctx *ctx, const struct yaml_node *n, uint32_t *out)
{
	uint64_t value;

	if (!field_is_text(ctx, n, "a number from 0 to 1"))
		return false;
	if (!parse_decimal(n->text, 6, &value) || value > 1000000) {
		field_diag(ctx, n, "invalid-ratio", NULL,
			   "\"%.40s\" is not a number from 0 to 1, as 0.01", n->text);
		return false;
	}
	*out = (uint32_t)value;
	return true;
}

static bool
read_percent(struct field_ctx *ctx, const struct field *f, const struct yaml_node *n, uint32_t *out)
{
	char digits[16];
	uint64_t value;
	size_t length;

	if (!field_is_text(ctx, n, "a percentage"))
		return false;
	length = n->bytes - (text_ends(n->text, "%") ? 1 : 0);
	if (!text_ncopy(digits, sizeof(digits), n->text, length) ||
	    !text_u64(digits, f->max, &value) || value < f->min) {
		field_diag(ctx, n, "invalid-percent", NULL,
			   "\"%.40s\" is not a percentage from %" PRIu64 " to %" PRIu64
			   ", as 70 or 70%%",
			   n->text, f->min, f->max);
		return false;
	}
	*out = (uint32_t)value;
	return true;
}

static void
report_duration(struct field_ctx *ctx, const struct yaml_node *n, enum text_unit status)
{
	if (status == TEXT_NO_UNIT)
		field_diag(ctx, n, "invalid-duration", NULL,
			   "%.20s has no unit; did you mean %.20ss (seconds)? "
			   "units are ms, s, m, h, d",
			   n->text, n->text);
	else if (status == TEXT_OVERFLOW)
		field_diag(ctx, n, "invalid-duration", NULL, "\"%.40s\" is too long", n->text);
	else
		field_diag(ctx, n, "invalid-duration", NULL,
			   "\"%.40s\" is not a duration, as 90s or 1h30m; units are ms, s, m, h, d",
			   n->text);
}

static bool
read_duration(struct field_ctx *ctx, const struct field *f, const struct yaml_node *n,
	      uint64_t *out)
{
	char least[32], most[32];
	enum text_unit status;
	uint64_t value = 0;

	if (!field_is_text(ctx, n, "a duration"))
		return false;
	status = text_duration_ms(n->text, &value);
	if (status != TEXT_OK) {
		report_duration(ctx, n, status);
		return false;
	}
	if (value < f->min || value > f->max) {
		text_put_duration(f->min, least, sizeof(least));
		text_put_duration(f->max, most, sizeof(most));
		field_diag(ctx, n, "invalid-duration", NULL, "%.40s is out of range: %s to %s",
			   n->text, least, most);
		return false;
	}
	*out = value;
	return true;
}

static void
report_size(struct field_ctx *ctx, const struct yaml_node *n, enum text_unit status)
{
	size_t digits = strspn(n->text, "0123456789");
	char unit = n->text[digits] == '\0' ? '\0' : n->text[digits], near[32];
	uint64_t bytes = 0;

	/* A number of bytes, or of MiB: a large one is the former. */
	if (status == TEXT_NO_UNIT && text_u64(n->text, UINT64_C(1) << 60, &bytes) &&
	    bytes >= 1 << 20 && bytes % 1024 == 0) {
		text_put_size(bytes, near, sizeof(near));
		field_diag(ctx, n, "invalid-size", NULL,
			   "%.20s has no unit; did you mean %s? units are Ki, Mi, Gi, Ti", n->text,
			   near);
		return;
	}
	if (status == TEXT_NO_UNIT)
		field_diag(ctx, n, "invalid-size", NULL,
			   "%.20s has no unit; did you mean %.20sMi? units are Ki, Mi, Gi, Ti",
			   n->text, n->text);
	else if (status == TEXT_BAD_UNIT && digits > 0 && digits < 16 && unit != '\0' &&
		 strchr("kKmMgGtT", unit) != NULL)
		field_diag(ctx, n, "invalid-size", NULL,
			   "\"%.40s\" is not a size; did you mean %.*s%ci?", n->text, (int)digits,
			   n->text, unit >= 'a' ? unit - 'a' + 'A' : unit);
	else
		field_diag(ctx, n, "invalid-size", NULL,
			   "\"%.40s\" is not a size, as 256Mi; units are Ki, Mi, Gi, Ti", n->text);
}

static bool
read_size(struct field_ctx *ctx, const struct field *f, const struct yaml_node *n, uint64_t *out)
{
	char least[32], most[32];
	enum text_unit status;
	uint64_t value = 0;

	if (!field_is_text(ctx, n, "a size"))
		return false;
	status = text_size_bytes(n->text, &value);
	if (status != TEXT_OK && status != TEXT_OVERFLOW) {
		report_size(ctx, n, status);
		return false;
	}
	if (status == TEXT_OVERFLOW || value < f->min || value > f->max || value == 0) {
		text_put_size(f->min, least, sizeof(least));
		text_put_size(f->max, most, sizeof(most));
		field_diag(ctx, n, "invalid-size", NULL, "%.40s is out of range: %s to %s", n->text,
			   least, most);
		return false;
	}
	*out = value;
	return true;
}

static bool
read_choice(struct field_ctx *ctx, const struct field *f, const struct yaml_node *n, int *out)
{
	char known[256] = "";
	const char *near;

	if (!field_is_text(ctx, n, "a word"))
		return false;
	for (int i = 0; f->names[i] != NULL; i++) {
		size_t used = strlen(known);

		if (strcmp(f->names[i], n->text) == 0) {
			*out = i;
			return true;
		}
		text_format(known + used, sizeof(known) - used, "%s%s", i == 0 ? "" : ", ",
			    f->names[i]);
	}
	near = text_nearest(n->text, f->names);
	if (near != NULL)
		field_diag(ctx, n, f->code != NULL ? f->code : "invalid-choice", NULL,
			   "\"%.40s\" is not one of %s; did you mean \"%s\"?", n->text, known,
			   near);
	else
		field_diag(ctx, n, f->code != NULL ? f->code : "invalid-choice", NULL,
			   "\"%.40s\" is not one of %s", n->text, known);
	return false;
}

static bool
read_text(struct field_ctx *ctx, const struct field *f, const struct yaml_node *n, void *at)
{
	const char *text;
	size_t most = f->flags & FIELD_INLINE ? f->size - 1 : f->max;

	if (!field_is_text(ctx, n, "a text"))
		return false;
	text = n->text;
	if (most != 0 && n->bytes > most) {
		field_diag(ctx, n, "too-long", NULL, "has %zu bytes; at most %zu are allowed",
			   n->bytes, most);
		return false;
	}
	if (n->bytes < f->min) {
		field_diag(ctx, n, "no-value", NULL, "may not be empty");
		return false;
	}
	if (f->text != NULL && !f->text(ctx, n, &text))
		return false;
	if (f->flags & FIELD_INLINE) {
		text_copy(at, f->size, text);
	} else {
		*(const char **)at = text;
	}
	return true;
}

bool
field_value_read(struct field_ctx *ctx, const struct field *f, const struct yaml_node *n, void *at)
{
	switch (f->kind) {
	case FIELD_BOOL:
		return read_bool(ctx, n, at);
	case FIELD_NUMBER:
		return read_number(ctx, f, n, at);
	case FIELD_INTEGER:
		return read_integer(ctx, f, n, at);
	case FIELD_CORES:
		return read_cores(ctx, f, n, at);
	case FIELD_RATIO:
		return read_ratio(ctx, n, at);
	case FIELD_PERCENT:
		return read_percent(ctx, f, n, at);
	case FIELD_DURATION:
		return read_duration(ctx, f, n, at);
	case FIELD_SIZE:
		return read_size(ctx, f, n, at);
	case FIELD_CHOICE:
		return read_choice(ctx, f, n, at);
	case FIELD_TEXT:
		return read_text(ctx, f, n, at);
	default:
		return false;
	}
}
