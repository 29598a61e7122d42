/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer behind every dump. YAML is written in block style, two spaces a level; an empty map or
 * list becomes {} or [] (known only when it is closed, hence the counts). What is quoted is quoted
 * with JSON's escapes, which YAML's double quotes understand as well.
 */
#include "spec/emit.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

void
emit_init(struct emit *e, struct buf *out, bool is_json)
{
	memset(e, 0, sizeof(*e));
	e->out = out;
	e->is_json = is_json;
	e->depth = 1;
	json_init(&e->json, out);
	if (is_json)
		json_object(&e->json, NULL);
}

void
emit_finish(struct emit *e)
{
	assert(e->depth == 1);
	if (e->is_json)
		json_end(&e->json);
	else if (e->levels[0].count == 0)
		buf_puts(e->out, "{}");
	if (e->is_json || e->levels[0].count == 0)
		buf_putc(e->out, '\n');
}

/* Words that some reader of YAML takes for something else than a text. */
static bool
is_other_type(const char *text)
{
	static const char *const words[] = {"null", "true", "false", "yes", "no",  "on",
					    "off",  "y",    "n",     "inf", "nan", NULL};

	for (size_t i = 0; words[i] != NULL; i++) {
		if (strcasecmp(text, words[i]) == 0)
			return true;
	}
	return false;
}

static bool
is_plain(const char *text)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_/$";
	static const char rest[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_/$"
				   "0123456789.@+=:-";
	size_t length = strlen(text);

	if (length == 0 || length > 128 || strchr(first, text[0]) == NULL)
		return false;
	return text[strspn(text, rest)] == '\0' && text[length - 1] != ':' && !is_other_type(text);
}

static void
put_text(struct buf *out, const char *text)
{
	if (is_plain(text))
		buf_puts(out, text);
	else
		json_string(out, text, strlen(text));
}

/* Everything that stands before a value in YAML: line end of the parent, indentation, dash, key. */
static void
lead(struct emit *e, const char *key)
{
	struct emit_level *l = &e->levels[e->depth - 1];
	bool follows_dash = l->item && l->count == 0;

	assert(l->list == (key == NULL));
	if (l->count == 0 && e->depth > 1 && !follows_dash)
		buf_putc(e->out, '\n');
	if (follows_dash)
		buf_putc(e->out, ' ');
	for (unsigned i = 1; i < e->depth && !follows_dash; i++)
		buf_puts(e->out, "  ");
	l->count++;
	if (key == NULL) {
		buf_putc(e->out, '-');
		return;
	}
	put_text(e->out, key);
	buf_putc(e->out, ':');
}

static void
open_level(struct emit *e, const char *key, bool list)
{
	assert(e->depth < EMIT_DEPTH_MAX);
	if (!e->is_json)
		lead(e, key);
	e->levels[e->depth] = (struct emit_level){.list = list, .item = key == NULL};
	e->depth++;
}

void
emit_map(struct emit *e, const char *key)
{
	if (e->is_json)
		json_object(&e->json, key);
	open_level(e, key, false);
}

void
emit_list(struct emit *e, const char *key)
{
	if (e->is_json)
		json_array(&e->json, key);
	open_level(e, key, true);
}

void
emit_end(struct emit *e)
{
	const struct emit_level *l = &e->levels[--e->depth];

	assert(e->depth > 0);
	if (e->is_json)
		json_end(&e->json);
	else if (l->count == 0)
		buf_puts(e->out, l->list ? " []\n" : " {}\n");
}

void
emit_text(struct emit *e, const char *key, const char *value)
{
	if (e->is_json) {
		json_text(&e->json, key, value);
		return;
	}
	lead(e, key);
	buf_putc(e->out, ' ');
	put_text(e->out, value);
	buf_putc(e->out, '\n');
}

void
emit_raw(struct emit *e, const char *key, const char *value)
{
	if (e->is_json) {
		json_raw(&e->json, key, value, strlen(value));
		return;
	}
	emit_word(e, key, value);
}

void
emit_word(struct emit *e, const char *key, const char *value)
{
	if (e->is_json) {
		json_text(&e->json, key, value);
		return;
	}
	lead(e, key);
	buf_printf(e->out, " %s\n", value);
}
