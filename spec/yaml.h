/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SPEC_YAML_H
#define SPEC_YAML_H

/*
 * YAML text to a tree of nodes with their places, in an arena. Scalars keep their text: typing is
 * the reader's (spec/field.h), so nothing is ever guessed ("no" stays a text). Anchors and aliases
 * are expanded into copies, merge keys (<<) are applied; both count against YAML_NODES_MAX.
 * Refused: more than one document, tags, keys that are not texts, duplicate keys, what is not
 * UTF-8. libyaml is opened with dl_load_yaml() before the first parse. Threading: the tree is
 * read-only after yaml_parse.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yaml.h>
#include "base/arena.h"
#include "base/dl.h"
#include "spec/diag.h"

#define YAML_CALLS(X)                   \
	X(yaml_parser_initialize)       \
	X(yaml_parser_delete)           \
	X(yaml_parser_set_input_string) \
	X(yaml_parser_set_encoding)     \
	X(yaml_parser_parse)            \
	X(yaml_event_delete)

DL_DECLARE(yaml, YAML_CALLS);

enum {
	YAML_BYTES_MAX = 1 << 20,
	YAML_DEPTH_MAX = 64,
	YAML_NODES_MAX = 1 << 18,
	YAML_CHILDREN_MAX = 4096,
	YAML_ANCHORS_MAX = 256,
	YAML_KEY_BYTES_MAX = 256,
	YAML_PATH_BYTES = 512,
};

enum yaml_kind { YAML_TEXT, YAML_LIST, YAML_MAP };

struct yaml_node {
	enum yaml_kind kind;
	bool plain; /* YAML_TEXT: written without quotes */
	bool open;  /* being read */
	struct yaml_node *parent;
	const char *key;   /* in a map: its key */
	const char *canon; /* the reader's own name of that key, when it accepts several */
	uint32_t index;    /* in a list, from 0 */
	uint32_t count;    /* children */
	struct diag_pos pos;
	struct diag_pos key_pos;
	const char *text; /* YAML_TEXT; never holds a NUL */
	size_t bytes;
	struct yaml_node *first, *last, *next;
};

/* The root, or NULL with a diagnostic (or diags->no_memory). Duplicate keys are reported all and
 * give NULL at the end. diag_list_file() was called for this text. */
struct yaml_node *yaml_parse(const char *text, size_t bytes, struct arena *arena,
			     struct diag_list *diags);
/* Whether the bytes are UTF-8 without control characters; false with a diagnostic. */
bool yaml_text_check(const char *text, size_t bytes, struct diag_list *diags);
/* The child of a map by the reader's or the document's name of its key, NULL when absent or not a
 * map. */
const struct yaml_node *yaml_node_get(const struct yaml_node *map, const char *key);
/* False when a key of the map is there twice: each is reported (or diags->no_memory). */
bool yaml_node_unique(const struct yaml_node *map, struct arena *arena, struct diag_list *diags);
/* Empty, ~ or null, without quotes. */
bool yaml_node_is_null(const struct yaml_node *n);
/* "services.web.endpoints[0].name"; for the root "". */
void yaml_node_path(const struct yaml_node *n, char *out, size_t cap);
/* Where to point for a value: a text at itself, anything longer at the key that names it. */
struct diag_pos yaml_node_where(const struct yaml_node *n);
/* What it is, for messages: "a text", "a list", "a map", "nothing". */
const char *yaml_node_kind_name(const struct yaml_node *n);

#endif
