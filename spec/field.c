/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of sections: finds the field of each key (or the nearest one, for the message), reads
 * the given ones, fills the others with their defaults, then lets the section check itself.
 * Nothing here knows what a document is about; the tables do. Recursion follows the tables, not the
 * text, so a text cannot deepen it.
 */
#include "spec/field.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"

enum { FIELDS_MAX = 64 };

void
field_no_memory(struct field_ctx *ctx)
{
	ctx->diags->no_memory = true;
}

void
field_diag(struct field_ctx *ctx, const struct yaml_node *n, const char *code, const char *fix,
	   const char *fmt, ...)
{
	char path[YAML_PATH_BYTES], text[768];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	yaml_node_path(n, path, sizeof(path));
	diag_add(ctx->diags, code, ctx->at_key ? n->key_pos : yaml_node_where(n), path, fix, "%s",
		 text);
}

bool
field_is_text(struct field_ctx *ctx, const struct yaml_node *n, const char *wanted)
{
	if (yaml_node_is_null(n)) {
		field_diag(ctx, n, "no-value", NULL, "has no value; %s is wanted", wanted);
		return false;
	}
	if (n->kind != YAML_TEXT) {
		field_diag(ctx, n, "wrong-type", NULL, "is %s; %s is wanted",
			   yaml_node_kind_name(n), wanted);
		return false;
	}
	return true;
}

static void
report_child(struct field_ctx *ctx, const struct yaml_node *section, const char *key,
	     const char *code, const char *why, const char *text)
{
	const struct yaml_node *n = yaml_node_get(section, key);
	char path[YAML_PATH_BYTES];
	size_t used;

	if (n != NULL) {
		ctx->at_key = true;
		field_diag(ctx, n, code, NULL, "%s %s", text, why);
		ctx->at_key = false;
		return;
	}
	yaml_node_path(section, path, sizeof(path));
	used = strlen(path);
	text_format(path + used, sizeof(path) - used, "%s%s", used == 0 ? "" : ".", key);
	diag_add(ctx->diags, code, yaml_node_where(section), path, NULL, "%s%s%s", text,
		 why[0] == '\0' ? "" : " ", why);
}

void
field_refuse(struct field_ctx *ctx, const struct yaml_node *section, const char *const *keys,
	     const char *why)
{
	for (; *keys != NULL; keys++) {
		if (yaml_node_get(section, *keys) != NULL)
			report_child(ctx, section, *keys, "misplaced-key", why, "is not allowed:");
	}
}

void
field_require(struct field_ctx *ctx, const struct yaml_node *section, const char *const *keys,
	      const char *why)
{
	for (; *keys != NULL && section != NULL; keys++) {
		if (yaml_node_get(section, *keys) == NULL)
			report_child(ctx, section, *keys, "missing-key", why, "is required");
	}
}

/* ---- keys ---- */

static const struct field *
find_field(const struct field_table *t, const char *key)
{
	for (size_t i = 0; i < t->count; i++) {
		const struct field *f = &t->fields[i];

		if (strcmp(f->key, key) == 0 || (f->alias != NULL && strcmp(f->alias, key) == 0))
			return f;
	}
	return NULL;
}

static const char *
find_advice(const struct field_table *t, const char *key)
{
	for (size_t i = 0; t->advice != NULL && t->advice[i][0] != NULL; i++) {
		if (strcmp(t->advice[i][0], key) == 0)
			return t->advice[i][1];
	}
	return NULL;
}

static void
report_unknown(struct field_ctx *ctx, const struct field_table *t, const struct yaml_node *n)
{
	const char *names[2 * FIELDS_MAX + 1], *advice = find_advice(t, n->key), *near;
	char known[512] = "";
	size_t count = 0, used;

	for (size_t i = 0; i < t->count; i++) {
		names[count++] = t->fields[i].key;
		if (t->fields[i].alias != NULL)
			names[count++] = t->fields[i].alias;
		used = strlen(known);
		text_format(known + used, sizeof(known) - used, "%s%s", i == 0 ? "" : ", ",
			    t->fields[i].key);
	}
	names[count] = NULL;
	near = text_nearest(n->key, names);
	ctx->at_key = true;
	if (advice != NULL)
		field_diag(ctx, n, "unknown-key", advice, "unknown key");
	else if (near != NULL)
		field_diag(ctx, n, "unknown-key", NULL, "unknown key; did you mean \"%s\"?", near);
	else
		field_diag(ctx, n, "unknown-key", NULL, "unknown key; %s has: %s", t->what, known);
	ctx->at_key = false;
}

static void
match_keys(struct field_ctx *ctx, const struct field_table *t, const struct yaml_node *map,
	   const struct yaml_node **seen)
{
	for (struct yaml_node *n = map->first; n != NULL; n = n->next) {
		const struct field *f = find_field(t, n->key);

		if (f == NULL) {
			report_unknown(ctx, t, n);
			continue;
		}
		if (seen[f - t->fields] != NULL) {
			ctx->at_key = true;
			field_diag(ctx, n, "duplicate-key", NULL,
				   "means the same as \"%s\", which is given in line %u",
				   seen[f - t->fields]->key, seen[f - t->fields]->key_pos.line);
			ctx->at_key = false;
			continue;
		}
		n->canon = f->key;
		seen[f - t->fields] = n;
	}
}

/* ---- lists and maps ---- */

static const char **
name_at(const struct field *f, char *element)
{
	return (const char **)(void *)(element + f->name_offset);
}

static void read_any(struct field_ctx *ctx, const struct field *f, const struct yaml_node *n,
		     char *section);

static bool
check_container(struct field_ctx *ctx, const struct field *f, const struct yaml_node *n)
{
	enum yaml_kind kind = f->kind == FIELD_LIST ? YAML_LIST : YAML_MAP;
	const char *what = kind == YAML_LIST ? "a list" : "a map";

	if (yaml_node_is_null(n)) {
		field_diag(ctx, n, "no-value", NULL, "has no value; %s is wanted", what);
		return false;
	}
	if (n->kind != kind) {
		field_diag(ctx, n, "wrong-type", NULL, "is %s; %s is wanted",
			   yaml_node_kind_name(n), what);
		return false;
	}
	if (n->count > f->cap) {
		field_diag(ctx, n, "too-many", NULL, "has %u entries; at most %zu are allowed",
			   n->count, f->cap);
		return false;
	}
	return true;
}

static void
set_count(const struct field *f, char *section, size_t count)
{
	if (f->flags & FIELD_INLINE)
		*(uint32_t *)(void *)(section + f->count_offset) = (uint32_t)count;
	else
		*(size_t *)(void *)(section + f->count_offset) = count;
}

static char *
make_elements(struct field_ctx *ctx, const struct field *f, size_t count, char *section)
{
	char *elements;

	if (f->flags & FIELD_INLINE)
		return section + f->offset;
	if (count == 0)
		return NULL;
	elements = arena_array(ctx->arena, count, f->stride);
	if (elements == NULL)
		field_no_memory(ctx);
	*(char **)(void *)(section + f->offset) = elements;
	return elements;
}

static void
read_list(struct field_ctx *ctx, const struct field *f, const struct yaml_node *n, char *section)
{
	char *elements;
	size_t i = 0;

	if (!check_container(ctx, f, n))
		return;
	elements = make_elements(ctx, f, n->count, section);
	if (elements == NULL)
		return;
	if (f->flags & FIELD_INLINE)
		memset(elements, 0, f->cap * f->stride);
	set_count(f, section, n->count);
	for (const struct yaml_node *c = n->first; c != NULL; c = c->next)
		read_any(ctx, f->item, c, elements + i++ * f->stride);
}

static int
compare_nodes(const void *left, const void *right)
{
	const struct yaml_node *const *a = left, *const *b = right;

	return strcmp((*a)->key, (*b)->key);
}

static const struct yaml_node **
sort_children(struct field_ctx *ctx, const struct yaml_node *n)
{
	const struct yaml_node **sorted;
	size_t count = 0;

	sorted = arena_array(ctx->arena, n->count + 1, sizeof(struct yaml_node *));
	if (sorted == NULL) {
		field_no_memory(ctx);
		return NULL;
	}
	for (const struct yaml_node *c = n->first; c != NULL; c = c->next)
		sorted[count++] = c;
	qsort(sorted, count, sizeof(struct yaml_node *), compare_nodes);
	return sorted;
}

static bool
check_name(struct field_ctx *ctx, const struct field *f, const struct yaml_node *n,
	   const char **name)
{
	bool good;

	*name = n->key;
	ctx->at_key = true;
	good = f->name == NULL || f->name(ctx, n, name);
	ctx->at_key = false;
	return good;
}

static void
read_map(struct field_ctx *ctx, const struct field *f, const struct yaml_node *n, char *section)
{
	const struct yaml_node **sorted;
	char *elements;

	if (!check_container(ctx, f, n))
		return;
	sorted = sort_children(ctx, n);
	elements = make_elements(ctx, f, n->count, section);
	if (sorted == NULL || elements == NULL)
		return;
	set_count(f, section, n->count);
	for (size_t i = 0; i < n->count; i++) {
		char *element = elements + i * f->stride;
		const char *name;

		check_name(ctx, f, sorted[i], &name);
		*name_at(f, element) = name;
		read_any(ctx, f->item, sorted[i], element);
	}
}

static char *
find_inline(const struct field *f, char *elements, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(elements + i * f->stride, name) == 0)
			return elements + i * f->stride;
	}
	return NULL;
}

static int
compare_inline(const void *left, const void *right)
{
	return strcmp(left, right);
}

/* Maps of the configuration: given entries replace or join those of the files before. */
static void
read_map_inline(struct field_ctx *ctx, const struct field *f, const struct yaml_node *n,
		char *section)
{
	char *elements = section + f->offset;
	size_t count = *(uint32_t *)(void *)(section + f->count_offset);

	if (!check_container(ctx, f, n))
		return;
	for (const struct yaml_node *c = n->first; c != NULL; c = c->next) {
		const char *name;
		char *element;

		if (!check_name(ctx, f, c, &name))
			continue;
		element = find_inline(f, elements, count, name);
		if (element == NULL && count == f->cap) {
			field_diag(ctx, c, "too-many", NULL, "more than %zu entries", f->cap);
			return;
		}
		if (element == NULL)
			element = elements + count++ * f->stride;
		memset(element, 0, f->stride);
		if (!text_copy(element, f->name_size, name))
			field_diag(ctx, c, "too-long", NULL, "the name is too long");
		read_any(ctx, f->item, c, element);
	}
	set_count(f, section, count);
	qsort(elements, count, f->stride, compare_inline);
}

/* ---- fields ---- */

static void
read_any(struct field_ctx *ctx, const struct field *f, const struct yaml_node *n, char *section)
{
	switch (f->kind) {
	case FIELD_SECTION:
		field_read(ctx, f->table, n, section + f->offset);
		break;
	case FIELD_LIST:
		read_list(ctx, f, n, section);
		break;
	case FIELD_MAP:
		if (f->flags & FIELD_INLINE)
			read_map_inline(ctx, f, n, section);
		else
			read_map(ctx, f, n, section);
		break;
	case FIELD_OWN:
		f->read(ctx, n, section);
		break;
	default:
		field_value_read(ctx, f, n, section + f->offset);
		break;
	}
	if (f->has_offset != 0)
		*(bool *)(section + f->has_offset) = true;
}

static void
set_number(const struct field *f, void *at)
{
	switch (f->size) {
	case 1:
		*(uint8_t *)at = (uint8_t)f->def;
		break;
	case 2:
		*(uint16_t *)at = (uint16_t)f->def;
		break;
	case 4:
		*(uint32_t *)at = (uint32_t)f->def;
		break;
	default:
		assert(f->size == 8);
		*(uint64_t *)at = f->def;
		break;
	}
}

static void
set_default(struct field_ctx *ctx, const struct field *f, char *section)
{
	char *at = section + f->offset;

	switch (f->kind) {
	case FIELD_SECTION:
		field_read(ctx, f->table, NULL, at);
		break;
	case FIELD_LIST:
	case FIELD_MAP:
		break;
	case FIELD_OWN:
		f->read(ctx, NULL, section);
		break;
	case FIELD_TEXT:
		if (f->flags & FIELD_INLINE)
			text_copy(at, f->size, f->def_text == NULL ? "" : f->def_text);
		else
			*(const char **)(void *)at = f->def_text;
		break;
	default:
		set_number(f, at);
		break;
	}
}

static void
read_field(struct field_ctx *ctx, const struct field *f, const struct yaml_node *section_node,
	   const struct yaml_node *n, void *section)
{
	const char *keys[2] = {f->key, NULL};

	if (n != NULL) {
		read_any(ctx, f, n, section);
		return;
	}
	if ((f->flags & FIELD_REQUIRED) && section_node != NULL)
		field_require(ctx, section_node, keys, "");
	if (!ctx->keep && !(f->flags & FIELD_ALIAS))
		set_default(ctx, f, section);
}

void
field_read_one(struct field_ctx *ctx, const struct field_table *t, const struct yaml_node *n,
	       void *section)
{
	assert(t->count == 1);
	read_any(ctx, &t->fields[0], n, section);
}

void
field_read(struct field_ctx *ctx, const struct field_table *t, const struct yaml_node *n,
	   void *section)
{
	const struct yaml_node *seen[FIELDS_MAX] = {NULL};

	assert(t->count <= FIELDS_MAX);
	if (n != NULL && (yaml_node_is_null(n) || n->kind != YAML_MAP)) {
		if (yaml_node_is_null(n))
			field_diag(ctx, n, "no-value", NULL, "has no value; a map is wanted");
		else
			field_diag(ctx, n, "wrong-type", NULL, "is %s; a map is wanted",
				   yaml_node_kind_name(n));
		n = NULL;
	}
	if (n == NULL && ctx->keep)
		return;
	if (n != NULL)
		match_keys(ctx, t, n, seen);
	if (t->has_node)
		*(const struct yaml_node **)section = n;
	for (size_t i = 0; i < t->count; i++)
		read_field(ctx, &t->fields[i], n, seen[i], section);
	if (t->check != NULL)
		t->check(ctx, n, section);
}
