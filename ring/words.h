/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_WORDS_H
#define RING_WORDS_H

/* The words of a command, which may be longer than a request: NUL-ended texts in a sealed memfd
 * that travels with it. */

#include <stddef.h>
#include "base/buf.h"
#include "base/err.h"

enum { WORDS_MAX = 256, WORDS_BYTES_MAX = 64 << 10 };

struct words {
	struct buf text;            /* of all, each with its NUL */
	char *items[WORDS_MAX + 1]; /* into text, ended by NULL; of words_read() alone */
	size_t count;
};

void words_init(struct words *w, enum mem_tag tag);
void words_fini(struct words *w);
/* Adds one; ERR_LIMIT. */
int words_add(struct words *w, const char *text, struct err *err) MUST_CHECK;
/* As a sealed memfd; -1 with errno. */
int words_fd(const struct words *w);
/* What another process sealed, into an empty w: everything is checked. */
int words_read(struct words *w, int fd, struct err *err) MUST_CHECK;

#endif
