/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A JSON writer (RFC 8259) over a struct buf. It keeps a stack of what is open, so that callers
 * never think of commas; wrong nesting is a programmer's error and asserted. Characters that some
 * YAML readers refuse in a JSON text (DEL, C1, U+FEFF, U+2028 ...) are escaped too, so that the
 * output is also valid YAML. It does not parse.
 */
#include "spec/json.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
json_init(struct json *j, struct buf *out)
{
	memset(j, 0, sizeof(*j));
	j->out = out;
}

/* What comes before a value: comma and name. */
static void
before(struct json *j, const char *key)
{
	if (j->depth == 0) {
		assert(key == NULL);
		return;
	}
	assert(j->array[j->depth - 1] == (key == NULL));
	if (j->comma[j->depth - 1])
		buf_putc(j->out, ',');
	j->comma[j->depth - 1] = true;
	if (key != NULL) {
		json_string(j->out, key, strlen(key));
		buf_putc(j->out, ':');
	}
}

static void
open_level(struct json *j, const char *key, bool array)
{
	before(j, key);
	assert(j->depth < JSON_DEPTH_MAX);
	j->array[j->depth] = array;
	j->comma[j->depth] = false;
	j->depth++;
	buf_putc(j->out, array ? '[' : '{');
}

void
json_object(struct json *j, const char *key)
{
	open_level(j, key, false);
}

void
json_array(struct json *j, const char *key)
{
	open_level(j, key, true);
}

void
json_end(struct json *j)
{
	assert(j->depth > 0);
	j->depth--;
	buf_putc(j->out, j->array[j->depth] ? ']' : '}');
}

/* Length of the UTF-8 sequence at s and its code point; 0 when it is broken. */
static size_t
decode(const unsigned char *s, size_t left, uint32_t *code_out)
{
	static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
	size_t length = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	uint32_t code = s[0];

	if (length == 0 || length > left || s[0] > 0xf4)
		return 0;
	if (length > 1)
		code = s[0] & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3fu);
	}
	if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return 0;
	*code_out = code;
	return length;
}

static bool
needs_escape(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029 ||
	       code == 0xfeff || code == 0xfffe || code == 0xffff;
}

static void
escape(struct buf *out, uint32_t code)
{
	static const char *const names[32] = {
		['\b'] = "\\b", ['\f'] = "\\f", ['\n'] = "\\n", ['\r'] = "\\r", ['\t'] = "\\t",
	};

	if (code < 32 && names[code] != NULL)
		buf_puts(out, names[code]);
	else
		buf_printf(out, "\\u%04x", code);
}

void
json_string(struct buf *out, const char *text, size_t bytes)
{
	const unsigned char *s = (const unsigned char *)text;

	buf_putc(out, '"');
	for (size_t i = 0, length; i < bytes; i += length) {
		uint32_t code = 0;

		length = decode(s + i, bytes - i, &code);
		if (length == 0) {
			buf_puts(out, "\xef\xbf\xbd");
			length = 1;
		} else if (code == '"' || code == '\\') {
			buf_putc(out, '\\');
			buf_putc(out, (char)code);
		} else if (needs_escape(code)) {
			escape(out, code);
		} else {
			buf_put(out, s + i, length);
		}
	}
	buf_putc(out, '"');
}

void
json_textn(struct json *j, const char *key, const char *value, size_t bytes)
{
	before(j, key);
	json_string(j->out, value, bytes);
}

void
json_text(struct json *j, const char *key, const char *value)
{
	if (value == NULL)
		json_null(j, key);
	else
		json_textn(j, key, value, strlen(value));
}

void
json_textf(struct json *j, const char *key, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	json_text(j, key, text);
}

void
json_u64(struct json *j, const char *key, uint64_t value)
{
	before(j, key);
	buf_printf(j->out, "%" PRIu64, value);
}

void
json_i64(struct json *j, const char *key, int64_t value)
{
	before(j, key);
	buf_printf(j->out, "%" PRId64, value);
}

void
json_f64(struct json *j, const char *key, double value)
{
	char text[32];

	if (!isfinite(value)) {
		json_null(j, key);
		return;
	}
	/* The shortest of the two that reads back as the same number. */
	snprintf(text, sizeof(text), "%.15g", value);
	if (strtod(text, NULL) != value)
		snprintf(text, sizeof(text), "%.17g", value);
	before(j, key);
	buf_puts(j->out, text);
}

void
json_bool(struct json *j, const char *key, bool value)
{
	before(j, key);
	buf_puts(j->out, value ? "true" : "false");
}

void
json_null(struct json *j, const char *key)
{
	before(j, key);
	buf_puts(j->out, "null");
}

void
json_raw(struct json *j, const char *key, const char *value, size_t bytes)
{
	before(j, key);
	buf_put(j->out, value, bytes);
}
