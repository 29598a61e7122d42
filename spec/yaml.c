/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML 1.1 text to nodes, over libyaml's events. The reader never recurses: what is open stands in
 * a small stack, so nesting is bounded by its size. Aliases become copies, because every node knows
 * its parent (a message names the path by which a value is reached); the node limit makes a
 * "billion laughs" end early. Merge keys give what the map itself does not say.
 * Before libyaml sees the text it is checked for encoding, so that the messages are ours.
 * Not here: types. A scalar is a text; whether it is a number is the business of spec/field.c.
 */
#include "spec/yaml.h"

#include <string.h>
#include "base/text.h"

DL_DEFINE(yaml, "libyaml-0.so.2", YAML_CALLS)

struct anchor {
	const char *name;
	struct yaml_node *node;
};

struct reader {
	struct arena *arena;
	struct diag_list *diags;
	const char *text;
	size_t bytes;
	struct yaml_node *stack[YAML_DEPTH_MAX];
	size_t depth;
	struct yaml_node *root;
	const char *key; /* waits for its value */
	struct diag_pos key_pos;
	struct anchor anchors[YAML_ANCHORS_MAX];
	size_t anchors_count;
	size_t nodes;
	bool failed; /* a diagnostic was added that ends the reading */
	bool wrong;  /* one that does not */
};

static void
stop(struct reader *r, const char *code, struct diag_pos pos, const char *fix, const char *text)
{
	if (!r->failed)
		diag_add(r->diags, code, pos, "", fix, "%s", text);
	r->failed = true;
}

static void
no_memory(struct reader *r)
{
	r->diags->no_memory = true;
	r->failed = true;
}

static struct diag_pos
place(const yaml_mark_t *start, const yaml_mark_t *end)
{
	struct diag_pos pos = {(uint32_t)start->line + 1, (uint32_t)start->column + 1, 1};

	if (end != NULL && end->line == start->line && end->column > start->column)
		pos.width = (uint32_t)(end->column - start->column);
	return pos;
}

/* ---- the tree ---- */

static struct yaml_node *
new_node(struct reader *r, enum yaml_kind kind, struct diag_pos pos)
{
	struct yaml_node *n;

	if (r->nodes == YAML_NODES_MAX) {
		stop(r, "too-many-values", pos, NULL,
		     "the document has (or its aliases make) more than 262144 values");
		return NULL;
	}
	n = arena_new(r->arena, struct yaml_node);
	if (n == NULL) {
		no_memory(r);
		return NULL;
	}
	r->nodes++;
	n->kind = kind;
	n->pos = pos;
	return n;
}

static bool
may_append(struct reader *r, const struct yaml_node *parent, struct diag_pos pos)
{
	if (parent->count < YAML_CHILDREN_MAX)
		return true;
	stop(r, "too-many-values", pos, NULL, "a list or map has more than 4096 entries");
	return false;
}

static void
append(struct yaml_node *parent, struct yaml_node *n)
{
	n->parent = parent;
	n->next = NULL;
	n->index = parent->count++;
	if (parent->last != NULL)
		parent->last->next = n;
	else
		parent->first = n;
	parent->last = n;
}

/* Puts a value where the reading stands. */
static void
attach(struct reader *r, struct yaml_node *n)
{
	if (r->depth == 0) {
		r->root = n;
		return;
	}
	if (!may_append(r, r->stack[r->depth - 1], n->pos))
		return;
	if (r->key != NULL) {
		n->key = r->key;
		n->key_pos = r->key_pos;
	}
	append(r->stack[r->depth - 1], n);
	r->key = NULL;
}

static struct yaml_node *
copy_node(struct reader *r, const struct yaml_node *from, size_t depth)
{
	struct yaml_node *n = new_node(r, from->kind, from->pos);

	if (n == NULL)
		return NULL;
	n->plain = from->plain;
	n->text = from->text;
	n->bytes = from->bytes;
	if (from->first != NULL && depth >= YAML_DEPTH_MAX) {
		stop(r, "too-deep", from->pos, NULL, "is nested more than 64 levels deep");
		return NULL;
	}
	for (const struct yaml_node *c = from->first; c != NULL; c = c->next) {
		struct yaml_node *child = copy_node(r, c, depth + 1);

		if (child == NULL)
			return NULL;
		child->key = c->key;
		child->key_pos = c->key_pos;
		append(n, child);
	}
	return n;
}

/* ---- merge keys ---- */

static bool
merge_one(struct reader *r, struct yaml_node *map, const struct yaml_node *source)
{
	if (source->kind != YAML_MAP) {
		stop(r, "wrong-type", yaml_node_where(source), NULL,
		     "<< merges maps: an alias of a map, or a list of such aliases");
		return false;
	}
	for (const struct yaml_node *c = source->first; c != NULL; c = c->next) {
		struct yaml_node *copy;

		if (yaml_node_get(map, c->key) != NULL)
			continue;
		if (!may_append(r, map, c->pos))
			return false;
		copy = copy_node(r, c, r->depth + 1);
		if (copy == NULL)
			return false;
		copy->key = c->key;
		copy->key_pos = c->key_pos;
		append(map, copy);
	}
	return true;
}

static void
unlink_child(struct yaml_node *map, const struct yaml_node *child)
{
	struct yaml_node **link = &map->first;
	uint32_t index = 0;

	map->last = NULL;
	while (*link != NULL) {
		if (*link == child) {
			*link = child->next;
			continue;
		}
		(*link)->index = index++;
		map->last = *link;
		link = &(*link)->next;
	}
	map->count = index;
}

static void
apply_merge(struct reader *r, struct yaml_node *map)
{
	const struct yaml_node *merge = yaml_node_get(map, "<<");

	if (merge == NULL)
		return;
	unlink_child(map, merge);
	if (merge->kind != YAML_LIST) {
		merge_one(r, map, merge);
		return;
	}
	for (const struct yaml_node *n = merge->first; n != NULL; n = n->next) {
		if (!merge_one(r, map, n))
			return;
	}
}

/* ---- events ---- */

static void
set_anchor(struct reader *r, const yaml_char_t *name, struct yaml_node *n)
{
	const char *copy;

	if (name == NULL)
		return;
	if (r->anchors_count == YAML_ANCHORS_MAX) {
		stop(r, "too-many-values", n->pos, NULL, "more than 256 anchors");
		return;
	}
	copy = arena_strdup(r->arena, (const char *)name);
	if (copy == NULL) {
		no_memory(r);
		return;
	}
	r->anchors[r->anchors_count++] = (struct anchor){copy, n};
}

static void
take_key(struct reader *r, const yaml_event_t *e, struct diag_pos pos)
{
	size_t bytes = e->data.scalar.length;

	if (bytes == 0 || bytes >= YAML_KEY_BYTES_MAX) {
		stop(r, "invalid-key", pos, NULL,
		     bytes == 0 ? "a key may not be empty" : "a key has at most 255 bytes");
		return;
	}
	if (memchr(e->data.scalar.value, '\0', bytes) != NULL) {
		stop(r, "invalid-key", pos, NULL, "a key may not hold a NUL character");
		return;
	}
	r->key = arena_strndup(r->arena, (const char *)e->data.scalar.value, bytes);
	r->key_pos = pos;
	if (r->key == NULL) {
		no_memory(r);
	}
}

static bool
wants_key(const struct reader *r)
{
	return r->depth > 0 && r->stack[r->depth - 1]->kind == YAML_MAP && r->key == NULL;
}

static void
on_scalar(struct reader *r, const yaml_event_t *e, struct diag_pos pos)
{
	const char *value = (const char *)e->data.scalar.value;
	struct yaml_node *n;

	if (wants_key(r)) {
		take_key(r, e, pos);
		return;
	}
	if (memchr(value, '\0', e->data.scalar.length) != NULL) {
		stop(r, "invalid-text", pos, NULL, "a text may not hold a NUL character");
		return;
	}
	n = new_node(r, YAML_TEXT, pos);
	if (n == NULL)
		return;
	n->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	n->bytes = e->data.scalar.length;
	n->text = arena_strndup(r->arena, value, n->bytes);
	if (n->text == NULL) {
		no_memory(r);
		return;
	}
	attach(r, n);
	set_anchor(r, e->data.scalar.anchor, n);
}

static void
on_start(struct reader *r, enum yaml_kind kind, const yaml_char_t *anchor, struct diag_pos pos)
{
	struct yaml_node *n;

	if (wants_key(r)) {
		stop(r, "invalid-key", pos, NULL, "a key must be a text");
		return;
	}
	if (r->depth == YAML_DEPTH_MAX) {
		stop(r, "too-deep", pos, NULL, "is nested more than 64 levels deep");
		return;
	}
	n = new_node(r, kind, pos);
	if (n == NULL)
		return;
	attach(r, n);
	n->open = true;
	r->stack[r->depth++] = n;
	set_anchor(r, anchor, n);
}

static void
on_end(struct reader *r)
{
	struct yaml_node *n = r->stack[--r->depth];

	n->open = false;
	if (n->kind != YAML_MAP)
		return;
	if (!yaml_node_unique(n, r->arena, r->diags))
		r->wrong = true;
	apply_merge(r, n);
}

static void
on_alias(struct reader *r, const yaml_event_t *e, struct diag_pos pos)
{
	const char *name = (const char *)e->data.alias.anchor;
	struct yaml_node *n = NULL;

	if (wants_key(r)) {
		stop(r, "invalid-key", pos, NULL, "a key must be a text, not an alias");
		return;
	}
	for (size_t i = r->anchors_count; i > 0 && n == NULL; i--) {
		if (strcmp(r->anchors[i - 1].name, name) == 0)
			n = r->anchors[i - 1].node;
	}
	if (n == NULL || n->open) {
		stop(r, "invalid-alias", pos, NULL,
		     n == NULL ? "there is no anchor of that name above"
			       : "the alias is inside of what it stands for");
		return;
	}
	n = copy_node(r, n, r->depth);
	if (n != NULL)
		attach(r, n);
}

static const char *
event_tag(const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_SCALAR_EVENT:
		return (const char *)e->data.scalar.tag;
	case YAML_SEQUENCE_START_EVENT:
		return (const char *)e->data.sequence_start.tag;
	case YAML_MAPPING_START_EVENT:
		return (const char *)e->data.mapping_start.tag;
	default:
		return NULL;
	}
}

static void
on_event(struct reader *r, const yaml_event_t *e)
{
	struct diag_pos pos = place(&e->start_mark, &e->end_mark);

	if (event_tag(e) != NULL) {
		stop(r, "yaml-tag", pos, "remove what begins with '!'", "tags are not used here");
		return;
	}
	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (r->root != NULL)
			stop(r, "several-documents", pos, "put each into a file of its own",
			     "a second document begins here: one file is one document");
		break;
	case YAML_SCALAR_EVENT:
		on_scalar(r, e, pos);
		break;
	case YAML_SEQUENCE_START_EVENT:
		on_start(r, YAML_LIST, e->data.sequence_start.anchor, pos);
		break;
	case YAML_MAPPING_START_EVENT:
		on_start(r, YAML_MAP, e->data.mapping_start.anchor, pos);
		break;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		on_end(r);
		break;
	case YAML_ALIAS_EVENT:
		on_alias(r, e, pos);
		break;
	default:
		break;
	}
}

/* ---- the text ---- */

static void
syntax_error(struct reader *r, const yaml_parser_t *p)
{
	struct diag_pos pos = place(&p->problem_mark, NULL);
	size_t at = p->problem_mark.index;
	char text[256];

	if (p->error == YAML_MEMORY_ERROR) {
		no_memory(r);
		return;
	}
	if (p->error == YAML_SCANNER_ERROR && at < r->bytes && r->text[at] == '\t') {
		stop(r, "yaml-tab", pos, "indent with spaces", "a tab cannot indent in YAML");
		return;
	}
	text_format(text, sizeof(text), "%s%s%s",
		    p->problem == NULL ? "this is not YAML" : p->problem,
		    p->context == NULL ? "" : " ", p->context == NULL ? "" : p->context);
	stop(r, "yaml-syntax", pos, NULL, text);
}

static void
read_events(struct reader *r)
{
	bool done = false;
	yaml_parser_t parser;

	if (!yaml.yaml_parser_initialize(&parser)) {
		r->diags->no_memory = true;
		return;
	}
	yaml.yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml.yaml_parser_set_input_string(&parser, (const unsigned char *)r->text, r->bytes);
	while (!done && !r->failed) {
		yaml_event_t event;

		if (!yaml.yaml_parser_parse(&parser, &event)) {
			syntax_error(r, &parser);
			break;
		}
		done = event.type == YAML_STREAM_END_EVENT;
		on_event(r, &event);
		yaml.yaml_event_delete(&event);
	}
	yaml.yaml_parser_delete(&parser);
}

struct yaml_node *
yaml_parse(const char *text, size_t bytes, struct arena *arena, struct diag_list *diags)
{
	struct diag_pos top = {1, 1, 1};
	struct reader r = {.arena = arena, .diags = diags, .text = text, .bytes = bytes};

	if (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
		r.text += 3;
		r.bytes -= 3;
	}
	if (bytes > YAML_BYTES_MAX) {
		stop(&r, "too-large", top, NULL, "the file is larger than 1 MiB");
		return NULL;
	}
	if (!yaml_text_check(r.text, r.bytes, diags))
		return NULL;
	read_events(&r);
	if (r.failed || diags->no_memory)
		return NULL;
	if (r.root == NULL)
		stop(&r, "empty-document", (struct diag_pos){0}, NULL, "the file is empty");
	return r.wrong ? NULL : r.root;
}
