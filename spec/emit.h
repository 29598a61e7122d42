/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SPEC_EMIT_H
#define SPEC_EMIT_H

/*
 * Writes one tree of maps, lists and texts either as block-style YAML or as JSON, so that a dump is
 * written once. Keys and order are the caller's. A text is written plain where every YAML reader
 * takes it for a text, in double quotes otherwise. Errors: the buffer's sticky failure.
 */

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"
#include "spec/json.h"

enum { EMIT_DEPTH_MAX = 32 };

struct emit_level {
	bool list;
	bool item; /* stands in a list itself: its first line follows the dash */
	size_t count;
};

struct emit {
	struct buf *out;
	bool is_json;
	struct json json;
	unsigned depth;
	struct emit_level levels[EMIT_DEPTH_MAX];
};

/* The top is a map that is open until emit_finish. */
void emit_init(struct emit *e, struct buf *out, bool is_json);
void emit_finish(struct emit *e);
/* key NULL inside of a list. */
void emit_map(struct emit *e, const char *key);
void emit_list(struct emit *e, const char *key);
void emit_end(struct emit *e);
void emit_text(struct emit *e, const char *key, const char *value);
/* A number or a bool: the same in both forms. */
void emit_raw(struct emit *e, const char *key, const char *value);
/* A word that YAML takes as it is (30s, 70%, 1Mi); quoted in JSON. */
void emit_word(struct emit *e, const char *key, const char *value);

#endif
