/* SPDX-License-Identifier: Apache-2.0 */
/* JSON to YAML, for -o yaml. Only words that no reader of any YAML version takes for a number, a
 * boolean, a date or nothing stand without quotes. */
#include "cli/yaml_out.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

enum { DEPTH_MAX = 60 };

static bool
is_word(const char *text)
{
	static const char *const taken[] = {"y",   "n",    "yes",   "no",   "on",
					    "off", "true", "false", "null", NULL};

	if (!isalpha((unsigned char)text[0]))
		return false;
	for (size_t i = 0; text[i]; i++) {
		if (!isalnum((unsigned char)text[i]) && !strchr("-_./", text[i]))
			return false;
	}
	for (size_t i = 0; taken[i]; i++) {
		if (strcasecmp(text, taken[i]) == 0)
			return false;
	}
	return true;
}

static void
indent(struct buf *out, unsigned depth)
{
	for (unsigned i = 0; i < depth; i++)
		buf_puts(out, "  ");
}

static bool
is_nested(const json_t *v)
{
	return json_read_count(v) > 0;
}

static void
put_scalar(struct buf *out, const json_t *v)
{
	if (json_read_kind(v) == JSON_READ_TEXT && is_word(json_read_string(v))) {
		buf_puts(out, json_read_string(v));
	} else {
		char *text = json_read_dump(v);

		if (text)
			buf_puts(out, text);
		else
			out->failed = true;
		mem_free(text);
	}
	buf_putc(out, '\n');
}

static void put_nested(struct buf *out, json_t *v, unsigned depth, bool first);

/* first: the place of the first line is there already. */
static void
put_value(struct buf *out, json_t *v, unsigned depth, bool first)
{
	if (is_nested(v))
		put_nested(out, v, depth, first);
	else
		put_scalar(out, v);
}

static void
put_nested(struct buf *out, json_t *v, unsigned depth, bool first)
{
	if (depth > DEPTH_MAX) {
		out->failed = true;
		return;
	}
	for (void *it = json_read_first(v); it; it = json_read_next(v, it)) {
		const char *key = json_read_key(it);
		json_t *value = json_read_value(it);

		if (!first)
			indent(out, depth);
		first = false;
		buf_printf(out, is_word(key) ? "%s:" : "\"%s\":", key);
		buf_putc(out, is_nested(value) ? '\n' : ' ');
		put_value(out, value, depth + 1, false);
	}
	for (size_t i = 0; json_read_at(v, i); i++) {
		if (!first)
			indent(out, depth);
		first = false;
		buf_puts(out, "- ");
		put_value(out, json_read_at(v, i), depth + 1, true);
	}
}

void
yaml_out_put(struct buf *out, json_t *value)
{
	put_value(out, value, 0, false);
}
