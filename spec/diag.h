/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SPEC_DIAG_H
#define SPEC_DIAG_H

/*
 * What is wrong with a document: all errors of a file at once, each with a stable code, a place,
 * the path of the key, what is allowed and what to try. Rendered as compilers do, with the line and
 * a caret, or as a JSON array. The lines that are shown are copied when an error is added, so that
 * a list outlives the text and may hold errors of several files. Errors past DIAG_MAX are counted,
 * not kept ("and N more"). Running out of memory while adding sets no_memory and nothing else; the
 * error still counts. Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum {
	DIAG_MAX = 100,          /* errors kept in a list */
	DIAG_SOURCE_CHARS = 100, /* characters shown of a line */
};

/* Where in a text: both from 1, col in characters; line 0: no place. width: characters to mark. */
struct diag_pos {
	uint32_t line;
	uint32_t col;
	uint32_t width;
};

struct diag {
	const char *code; /* stable: "unknown-key"; never shown to people but by -o json */
	const char *file;
	struct diag_pos pos;
	const char *path;   /* "services.web.scale.min"; "" for the file as a whole */
	const char *text;   /* what is wrong; a "did you mean" is part of it */
	const char *fix;    /* "" for none */
	const char *before; /* the line above, NULL for none; made safe for a terminal */
	const char *source; /* the line, NULL for none */
	uint32_t caret;     /* characters before the mark in `source` */
	uint32_t order;     /* of adding, and of the file among files */
	uint32_t file_order;
};

struct diag_list {
	struct diag items[DIAG_MAX];
	size_t count; /* kept */
	size_t more;  /* beyond DIAG_MAX */
	struct arena arena;
	bool no_memory;
	/* The file that errors are added for. */
	const char *file;
	const char *text;
	size_t text_bytes;
	uint32_t file_order;
};

void diag_list_init(struct diag_list *l);
void diag_list_fini(struct diag_list *l);
/* Errors added from here on are of this file. The name is copied; the text is borrowed until the
 * next call or diag_list_file_end(). The same name again goes on with that file. */
void diag_list_file(struct diag_list *l, const char *file, const char *text, size_t bytes);
void diag_list_file_end(struct diag_list *l);
/* Kept and more. */
size_t diag_count(const struct diag_list *l);
/* fix may be NULL. The path is copied. */
void diag_add(struct diag_list *l, const char *code, struct diag_pos pos, const char *path,
	      const char *fix, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* By file in the order they came, then line, column. The renderers do this by themselves. */
void diag_sort(struct diag_list *l);
/* For people; ends with "N files, M errors. Nothing was changed." */
void diag_render(struct diag_list *l, struct buf *out);
/* [{"code","file","line","column","path","text","fix"} ...]; "more" as a last element's code when
 * errors were dropped. */
void diag_render_json(struct diag_list *l, struct buf *out);
/* The list as one error: the first as "what", the next three as "why". Gives -1. */
int diag_err(struct diag_list *l, struct err *err);

#endif
