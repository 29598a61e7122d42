/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_GRID_H
#define CLI_GRID_H

/* A table for people: columns as wide as their widest cell, two spaces between, nothing at the ends
 * of lines. Cells are made safe for a terminal; empty ones are shown as "-". */

#include <stdbool.h>
#include <stddef.h>
#include "base/arena.h"
#include "base/buf.h"

enum grid_colour { GRID_PLAIN, GRID_GREEN, GRID_YELLOW, GRID_RED, GRID_DIM };

enum { GRID_COLUMNS_MAX = 16, GRID_ROWS_MAX = 20000 };

struct grid_cell {
	const char *text;
	enum grid_colour colour;
	bool blank; /* shown as nothing, not as "-" */
};

struct grid {
	struct arena arena;
	struct grid_cell *cells;
	size_t columns;
	size_t count; /* cells */
	size_t capacity;
	bool failed;
};

/* Headings separated by '|'. */
void grid_init(struct grid *g, const char *headings);
void grid_fini(struct grid *g);
/* The next cell, row by row. */
void grid_put(struct grid *g, enum grid_colour colour, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void grid_blank(struct grid *g);
void grid_print(const struct grid *g, bool colour, struct buf *out);
/* Text in a colour, when colour is on. */
void grid_text(struct buf *out, bool colour, enum grid_colour which, const char *text);

#endif
