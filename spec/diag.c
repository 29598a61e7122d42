/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Diagnostics of documents. An error is complete when it is added: its words and the lines of the
 * source that will be shown are copied into the list's own arena, so rendering needs nothing else.
 * Columns count characters (code points), as libyaml's marks do. Lines are shown as a terminal can
 * take them: tabs as one space, control characters and broken UTF-8 as '?', long lines as a window
 * around the mark.
 */
#include "spec/diag.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "spec/json.h"

enum {
	ARENA_BYTES = 1 << 20,
	WINDOW_BEFORE = 60, /* characters shown before the mark in a long line */
};

void
diag_list_init(struct diag_list *l)
{
	memset(l, 0, sizeof(*l));
	arena_init(&l->arena, MEM_SPEC, ARENA_BYTES);
	l->file = "";
}

void
diag_list_fini(struct diag_list *l)
{
	arena_fini(&l->arena);
	memset(l, 0, sizeof(*l));
}

void
diag_list_file(struct diag_list *l, const char *file, const char *text, size_t bytes)
{
	const char *copy = l->file;

	if (l->file_order == 0 || strcmp(l->file, file) != 0) {
		copy = arena_strdup(&l->arena, file);
		l->file_order++;
	}
	if (copy == NULL) {
		copy = "";
		l->no_memory = true;
	}
	if (text != NULL && bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
		text += 3;
		bytes -= 3;
	}
	l->file = copy;
	l->text = text;
	l->text_bytes = text == NULL ? 0 : bytes;
}

void
diag_list_file_end(struct diag_list *l)
{
	l->text = NULL;
	l->text_bytes = 0;
}

size_t
diag_count(const struct diag_list *l)
{
	return l->count + l->more;
}

/* The bytes of line `number` (from 1), without its end. */
static const char *
find_line(const struct diag_list *l, uint32_t number, size_t *bytes_out)
{
	const char *at = l->text, *end = l->text + l->text_bytes, *stop;

	if (at == NULL || number == 0)
		return NULL;
	for (uint32_t line = 1; line < number; line++) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));

		if (newline == NULL)
			return NULL;
		at = newline + 1;
	}
	stop = memchr(at, '\n', (size_t)(end - at));
	if (stop == NULL)
		stop = end;
	if (stop > at && stop[-1] == '\r')
		stop--;
	*bytes_out = (size_t)(stop - at);
	return at;
}

static size_t
char_bytes(const char *s, size_t left)
{
	unsigned char c = (unsigned char)s[0];
	size_t length = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

	if (length > left || !text_is_utf8(s, length))
		return 1;
	return length;
}

static void
put_char(struct buf *out, const char *s, size_t length)
{
	if (*s == '\t')
		buf_putc(out, ' ');
	else if (length == 1 && ((unsigned char)*s < ' ' || (unsigned char)*s >= 0x7f))
		buf_putc(out, '?');
	else if (length == 2 && (unsigned char)s[0] == 0xc2 && (unsigned char)s[1] < 0xa0)
		buf_putc(out, '?');
	else
		buf_put(out, s, length);
}

/* `chars` characters of a line from `skip` on, in the list's arena. *end_out: where in characters
 * it ended. NULL without memory. */
static const char *
excerpt(struct diag_list *l, const char *line, size_t bytes, size_t skip, size_t *end_out)
{
	size_t used = 0, number = 0;
	struct buf b;
	const char *copy;

	buf_init(&b, MEM_SPEC, (size_t)8 * DIAG_SOURCE_CHARS);
	if (skip > 0)
		buf_puts(&b, "...");
	for (size_t length; used < bytes && number < skip + DIAG_SOURCE_CHARS; used += length) {
		length = char_bytes(line + used, bytes - used);
		if (number++ >= skip)
			put_char(&b, line + used, length);
	}
	if (used < bytes)
		buf_puts(&b, "...");
	*end_out = number;
	copy = arena_strdup(&l->arena, buf_cstr(&b));
	if (!buf_ok(&b))
		l->no_memory = true;
	buf_fini(&b);
	return copy;
}

static bool
is_blank(const char *line, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		if (line[i] != ' ' && line[i] != '\t')
			return false;
	}
	return true;
}

static void
add_source(struct diag_list *l, struct diag *d)
{
	size_t bytes = 0, above_bytes = 0, end = 0, unused, skip = 0;
	const char *line = find_line(l, d->pos.line, &bytes);
	const char *above = d->pos.line > 1 ? find_line(l, d->pos.line - 1, &above_bytes) : NULL;
	uint32_t col = d->pos.col == 0 ? 0 : d->pos.col - 1;

	if (line == NULL)
		return;
	if (col > WINDOW_BEFORE + 20)
		skip = col - WINDOW_BEFORE;
	d->source = excerpt(l, line, bytes, skip, &end);
	d->caret = col - (uint32_t)skip + (skip > 0 ? 3 : 0);
	if (end > col && d->pos.width > end - col)
		d->pos.width = (uint32_t)(end - col);
	if (d->pos.width == 0 || end <= col)
		d->pos.width = 1;
	if (above != NULL && skip == 0 && !is_blank(above, above_bytes))
		d->before = excerpt(l, above, above_bytes, 0, &unused);
}

void
diag_add(struct diag_list *l, const char *code, struct diag_pos pos, const char *path,
	 const char *fix, const char *fmt, ...)
{
	struct diag *d = &l->items[l->count];
	char text[1024];
	va_list args;

	if (l->count == DIAG_MAX) {
		l->more++;
		return;
	}
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	*d = (struct diag){
		.code = code,
		.file = l->file,
		.pos = pos,
		.path = arena_strdup(&l->arena, path),
		.text = arena_strdup(&l->arena, text),
		.fix = fix == NULL ? "" : arena_strdup(&l->arena, fix),
		.order = (uint32_t)l->count,
		.file_order = l->file_order,
	};
	add_source(l, d);
	if (!arena_ok(&l->arena) || d->path == NULL || d->text == NULL || d->fix == NULL) {
		l->no_memory = true;
		l->more++;
		return;
	}
	l->count++;
}

static int
compare(const void *left, const void *right)
{
	const struct diag *a = left, *b = right;
	uint32_t pairs[4][2] = {
		{a->file_order, b->file_order},
		{a->pos.line, b->pos.line},
		{a->pos.col, b->pos.col},
		{a->order, b->order},
	};

	for (size_t i = 0; i < 4; i++) {
		if (pairs[i][0] != pairs[i][1])
			return pairs[i][0] < pairs[i][1] ? -1 : 1;
	}
	return 0;
}

void
diag_sort(struct diag_list *l)
{
	qsort(l->items, l->count, sizeof(l->items[0]), compare);
}

static void
put_head(struct buf *out, const struct diag *d)
{
	buf_puts(out, d->file);
	if (d->pos.line > 0)
		buf_printf(out, ":%u:%u", d->pos.line, d->pos.col);
	buf_puts(out, ": ");
	if (d->path[0] != '\0')
		buf_printf(out, "%s: ", d->path);
	buf_printf(out, "%s\n", d->text);
}

static void
put_source(struct buf *out, const struct diag *d)
{
	if (d->source == NULL)
		return;
	if (d->before != NULL)
		buf_printf(out, "%5u | %s\n", d->pos.line - 1, d->before);
	buf_printf(out, "%5u | %s\n", d->pos.line, d->source);
	buf_printf(out, "      | %*s", (int)d->caret, "");
	for (uint32_t i = 0; i < d->pos.width; i++)
		buf_putc(out, '^');
	buf_putc(out, '\n');
}

static size_t
count_files(const struct diag_list *l)
{
	size_t files = 0;

	for (size_t i = 0; i < l->count; i++) {
		if (i == 0 || l->items[i].file_order != l->items[i - 1].file_order)
			files++;
	}
	return files;
}

void
diag_render(struct diag_list *l, struct buf *out)
{
	size_t files, total = diag_count(l);

	diag_sort(l);
	for (size_t i = 0; i < l->count; i++) {
		const struct diag *d = &l->items[i];

		put_head(out, d);
		put_source(out, d);
		if (d->fix[0] != '\0')
			buf_printf(out, "  fix   %s\n", d->fix);
	}
	if (l->more > 0)
		buf_printf(out, "and %zu more\n", l->more);
	files = count_files(l);
	buf_printf(out, "%zu file%s, %zu error%s. Nothing was changed.\n", files,
		   files == 1 ? "" : "s", total, total == 1 ? "" : "s");
}

void
diag_render_json(struct diag_list *l, struct buf *out)
{
	struct json j;

	diag_sort(l);
	json_init(&j, out);
	json_array(&j, NULL);
	for (size_t i = 0; i < l->count; i++) {
		const struct diag *d = &l->items[i];

		json_object(&j, NULL);
		json_text(&j, "code", d->code);
		json_text(&j, "file", d->file);
		json_u64(&j, "line", d->pos.line);
		json_u64(&j, "column", d->pos.col);
		json_text(&j, "path", d->path);
		json_text(&j, "text", d->text);
		json_text(&j, "fix", d->fix);
		json_end(&j);
	}
	if (l->more > 0) {
		json_object(&j, NULL);
		json_text(&j, "code", "more");
		json_textf(&j, "text", "and %zu more", l->more);
		json_end(&j);
	}
	json_end(&j);
}

/* Where it has no place the file alone is named, as in put_head(). */
static void
put_line(char out[ERR_TEXT_BYTES], const struct diag *d)
{
	const char *colon = d->path[0] == '\0' ? "" : ": ";

	if (d->pos.line == 0)
		text_format(out, ERR_TEXT_BYTES, "%s: %s%s%s", d->file, d->path, colon, d->text);
	else
		text_format(out, ERR_TEXT_BYTES, "%s:%u:%u: %s%s%s", d->file, d->pos.line,
			    d->pos.col, d->path, colon, d->text);
}

int
diag_err(struct diag_list *l, struct err *err)
{
	if (l->no_memory)
		return err_set(err, ERR_NO_MEMORY, "out of memory while reading %s", l->file);
	diag_sort(l);
	err_set(err, ERR_INVALID, "the document is wrong");
	for (size_t i = 0; i < l->count && i < ERR_WHYS_MAX + 1; i++) {
		const struct diag *d = &l->items[i];
		char line[ERR_TEXT_BYTES];

		put_line(line, d);
		if (i == 0) {
			err_set(err, ERR_INVALID, "%s", line);
			if (d->fix[0] != '\0')
				err_fix(err, "%s", d->fix);
		} else {
			err_why(err, "%s", line);
		}
	}
	return -1;
}
