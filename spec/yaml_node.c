/* SPDX-License-Identifier: Apache-2.0 */
/* Questions about a node of a YAML tree: its child, its path, whether its keys are unique, where a
 * message points. */
#include "spec/yaml.h"

#include <stdlib.h>
#include <string.h>
#include "base/text.h"

const struct yaml_node *
yaml_node_get(const struct yaml_node *map, const char *key)
{
	if (map == NULL || map->kind != YAML_MAP)
		return NULL;
	for (const struct yaml_node *n = map->first; n != NULL; n = n->next) {
		if (strcmp(n->canon != NULL ? n->canon : n->key, key) == 0)
			return n;
	}
	return NULL;
}

bool
yaml_node_is_null(const struct yaml_node *n)
{
	return n->kind == YAML_TEXT && n->plain &&
	       (n->bytes == 0 || strcmp(n->text, "~") == 0 || strcmp(n->text, "null") == 0 ||
		strcmp(n->text, "Null") == 0 || strcmp(n->text, "NULL") == 0);
}

/* A key with unusual characters is shown in quotes. */
static void
put_key(const char *key, bool first, char *out, size_t cap)
{
	char safe[YAML_KEY_BYTES_MAX];
	size_t plain = strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789_-/");

	text_printable(key, strlen(key), safe, sizeof(safe));
	text_format(out, cap, key[plain] == '\0' && key[0] != '\0' ? "%s%s" : "%s\"%s\"",
		    first ? "" : ".", safe);
}

void
yaml_node_path(const struct yaml_node *n, char *out, size_t cap)
{
	const struct yaml_node *up[2 * YAML_DEPTH_MAX];
	size_t depth = 0, used = 0;

	out[0] = '\0';
	for (; n != NULL && n->parent != NULL && depth < 2 * YAML_DEPTH_MAX; n = n->parent)
		up[depth++] = n;
	while (depth > 0 && used + 1 < cap) {
		n = up[--depth];
		if (n->parent->kind == YAML_LIST)
			text_format(out + used, cap - used, "[%u]", n->index);
		else
			put_key(n->key, used == 0, out + used, cap - used);
		used += strlen(out + used);
	}
}

struct diag_pos
yaml_node_where(const struct yaml_node *n)
{
	if (n == NULL)
		return (struct diag_pos){0};
	if (n->kind != YAML_TEXT && n->key_pos.line != 0)
		return n->key_pos;
	if (n->kind == YAML_TEXT && n->bytes == 0 && n->plain && n->key_pos.line != 0)
		return n->key_pos;
	return n->pos;
}

const char *
yaml_node_kind_name(const struct yaml_node *n)
{
	if (yaml_node_is_null(n))
		return "nothing";
	return n->kind == YAML_MAP ? "a map" : n->kind == YAML_LIST ? "a list" : "a text";
}

static int
compare_keys(const void *left, const void *right)
{
	const struct yaml_node *const *a = left, *const *b = right;
	int order = strcmp((*a)->key, (*b)->key);

	return order != 0 ? order : (*a)->index < (*b)->index ? -1 : 1;
}

static void
report_duplicate(struct diag_list *diags, const struct yaml_node *n, const struct yaml_node *first)
{
	char path[YAML_PATH_BYTES];

	yaml_node_path(n, path, sizeof(path));
	diag_add(diags, "duplicate-key", n->key_pos, path, NULL, "is given twice; first in line %u",
		 first->key_pos.line);
}

bool
yaml_node_unique(const struct yaml_node *map, struct arena *arena, struct diag_list *diags)
{
	const struct yaml_node **sorted;
	size_t count = 0, first = 0;
	bool unique = true;

	if (map->count < 2)
		return true;
	sorted = arena_array(arena, map->count, sizeof(struct yaml_node *));
	if (sorted == NULL) {
		diags->no_memory = true;
		return false;
	}
	for (const struct yaml_node *n = map->first; n != NULL; n = n->next)
		sorted[count++] = n;
	qsort(sorted, count, sizeof(struct yaml_node *), compare_keys);
	for (size_t i = 1; i < count; i++) {
		if (strcmp(sorted[i]->key, sorted[first]->key) != 0) {
			first = i;
			continue;
		}
		report_duplicate(diags, sorted[i], sorted[first]);
		unique = false;
	}
	return unique;
}
