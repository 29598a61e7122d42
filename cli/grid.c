/* SPDX-License-Identifier: Apache-2.0 */
/* Tables for people. Widths count characters; double-width ones may shift a column. */
#include "cli/grid.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/text.h"

enum { CELL_BYTES = 512 };

static const char *const codes[] = {
	[GRID_PLAIN] = "",       [GRID_GREEN] = "\033[32m", [GRID_YELLOW] = "\033[33m",
	[GRID_RED] = "\033[31m", [GRID_DIM] = "\033[2m",
};

static void
put(struct grid *g, const char *text, enum grid_colour colour, bool blank)
{
	if (g->count == g->capacity) {
		size_t capacity = g->capacity ? 2 * g->capacity : 64;
		struct grid_cell *cells =
			capacity > GRID_ROWS_MAX * g->columns
				? NULL
				: mem_resize(MEM_CLI, g->cells, capacity, sizeof(*cells));

		if (!cells) {
			g->failed = true;
			return;
		}
		g->cells = cells;
		g->capacity = capacity;
	}
	const char *copy = arena_strdup(&g->arena, text);
	if (!copy) {
		g->failed = true;
		return;
	}
	g->cells[g->count++] = (struct grid_cell){.text = copy, .colour = colour, .blank = blank};
}

void
grid_init(struct grid *g, const char *headings)
{
	char text[CELL_BYTES];

	memset(g, 0, sizeof(*g));
	arena_init(&g->arena, MEM_CLI, 64 << 20);
	g->columns = 1;
	for (const char *at = headings; *at; at++)
		g->columns += *at == '|';
	assert(g->columns <= GRID_COLUMNS_MAX);
	while (*headings) {
		size_t length = strcspn(headings, "|");

		text_ncopy(text, sizeof(text), headings, length);
		put(g, text, GRID_PLAIN, false);
		headings += length + (headings[length] == '|');
	}
}

void
grid_fini(struct grid *g)
{
	arena_fini(&g->arena);
	mem_free(g->cells);
}

void
grid_put(struct grid *g, enum grid_colour colour, const char *fmt, ...)
{
	char raw[CELL_BYTES], safe[4 * CELL_BYTES];
	va_list args;

	va_start(args, fmt);
	text_vformat(raw, sizeof(raw), fmt, args);
	va_end(args);
	text_printable(raw, strlen(raw), safe, sizeof(safe));
	put(g, safe[0] ? safe : "-", colour, false);
}

void
grid_blank(struct grid *g)
{
	put(g, "", GRID_PLAIN, true);
}

static size_t
characters(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

void
grid_text(struct buf *out, bool colour, enum grid_colour which, const char *text)
{
	bool on = colour && which != GRID_PLAIN;

	if (on)
		buf_puts(out, codes[which]);
	buf_puts(out, text);
	if (on)
		buf_puts(out, "\033[0m");
}

static void
print_row(const struct grid *g, size_t row, const size_t *widths, bool colour, struct buf *out)
{
	const struct grid_cell *cells = g->cells + row * g->columns;
	size_t last = g->columns;

	while (last > 0 && cells[last - 1].blank)
		last--;
	for (size_t c = 0; c < last; c++) {
		size_t fill = c + 1 < last ? widths[c] - characters(cells[c].text) + 2 : 0;

		grid_text(out, colour, cells[c].colour, cells[c].text);
		for (; fill > 0; fill--)
			buf_putc(out, ' ');
	}
	buf_putc(out, '\n');
}

void
grid_print(const struct grid *g, bool colour, struct buf *out)
{
	size_t widths[GRID_COLUMNS_MAX] = {0};
	size_t rows = g->count / g->columns;

	if (g->failed)
		out->failed = true;
	for (size_t i = 0; i < rows * g->columns; i++) {
		size_t width = characters(g->cells[i].text);

		if (width > widths[i % g->columns])
			widths[i % g->columns] = width;
	}
	for (size_t row = 0; row < rows; row++)
		print_row(g, row, widths, colour, out);
}
