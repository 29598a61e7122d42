/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A semantic difference. Both services are dumped in their canonical form, read back as trees and
 * flattened into (path, value) pairs in the order of the dump; two such lists are compared by path.
 * Working on the dump means that a key can never be forgotten here.
 */
#include "scheduler/diff.h"

#include <string.h>
#include "base/map.h"
#include "base/text.h"
#include "spec/yaml.h"

enum { ARENA_BYTES = 16 << 20, DUMP_BYTES = 1 << 20, VALUE_CHARS = 120 };

struct leaf {
	const char *path;
	const char *value;
};

struct leaves {
	struct leaf *items;
	size_t count;
	size_t capacity;
};

struct differ {
	struct arena arena;
	struct buf *out;
	size_t max_bytes;
	size_t hidden;
};

static void line(struct differ *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void
line(struct differ *d, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (d->out->length + strlen(text) + 1 > d->max_bytes) {
		d->hidden++;
		return;
	}
	buf_puts(d->out, text);
	buf_putc(d->out, '\n');
}

/* ---- flattening ---- */

static bool
add(struct differ *d, struct leaves *l, const char *path, const char *value)
{
	if (l->count == l->capacity) {
		size_t more = l->capacity ? l->capacity * 2 : 64;
		struct leaf *items = arena_array(&d->arena, more, sizeof(*items));

		if (!items)
			return false;
		if (l->count)
			memcpy(items, l->items, l->count * sizeof(*items));
		l->items = items;
		l->capacity = more;
	}
	l->items[l->count++] = (struct leaf){path, value};
	return true;
}

static bool
flatten(struct differ *d, const struct yaml_node *n, struct leaves *l)
{
	char path[YAML_PATH_BYTES];
	bool ok = true;

	for (const struct yaml_node *c = n->first; c && ok; c = c->next) {
		if (c->kind != YAML_TEXT) {
			ok = flatten(d, c, l);
			continue;
		}
		yaml_node_path(c, path, sizeof(path));
		const char *kept = arena_strdup(&d->arena, path);
		const char *value = arena_strdup(&d->arena, c->text ? c->text : "");
		ok = kept && value && add(d, l, kept, value);
	}
	return ok;
}

static int
read_service(struct differ *d, const struct doc_service *s, struct leaves *out, struct err *err)
{
	static struct diag_list diags;
	struct buf text;
	int rc = -1;

	memset(out, 0, sizeof(*out));
	buf_init(&text, MEM_SCHEDULER, DUMP_BYTES);
	doc_dump_service(s, &text);
	if (buf_ok(&text)) {
		diag_list_init(&diags);
		diag_list_file(&diags, s->name, (const char *)text.data, text.length);
		const struct yaml_node *root =
			yaml_parse((const char *)text.data, text.length, &d->arena, &diags);
		if (root && flatten(d, root, out))
			rc = 0;
		diag_list_file(&diags, s->name, NULL, 0);
		diag_list_fini(&diags);
	}
	buf_fini(&text);
	return rc < 0 ? err_set(err, ERR_NO_MEMORY, "no memory to compare documents") : 0;
}

/* ---- comparing ---- */

/* As people call it: what is inside the image is the image. */
static const char *
shown(const char *path)
{
	return text_equal(path, "image.name") ? "image" : path;
}

static const char *
cut(const char *value, char out[VALUE_CHARS])
{
	text_printable(value, strlen(value), out, VALUE_CHARS);
	return out;
}

static const char *
value_of(const struct map *values, const char *path)
{
	return map_get_str(values, path);
}

static int
index_leaves(struct map *m, const struct leaves *l)
{
	for (size_t i = 0; i < l->count; i++) {
		if (map_put_str(m, l->items[i].path, (void *)(uintptr_t)l->items[i].value) < 0)
			return -1;
	}
	return 0;
}

static size_t
compare_leaves(struct differ *d, const char *name, const struct leaves *before,
	       const struct leaves *after, const struct map *old, const struct map *new)
{
	char a[VALUE_CHARS], b[VALUE_CHARS];
	size_t changes = 0;

	for (size_t i = 0; i < after->count; i++) {
		const struct leaf *l = &after->items[i];
		const char *was = value_of(old, l->path);

		if (was && strcmp(was, l->value) == 0)
			continue;
		changes++;
		if (was)
			line(d, "~ %s %s %s -> %s", name, shown(l->path), cut(was, a),
			     cut(l->value, b));
		else
			line(d, "+ %s %s %s", name, shown(l->path), cut(l->value, b));
	}
	for (size_t i = 0; i < before->count; i++) {
		const struct leaf *l = &before->items[i];

		if (value_of(new, l->path))
			continue;
		changes++;
		line(d, "- %s %s %s", name, shown(l->path), cut(l->value, a));
	}
	return changes;
}

static int
compare(struct differ *d, const struct doc_service *before, const struct doc_service *after,
	size_t *changes_out, struct err *err)
{
	struct leaves from, to;
	struct map old, new;
	int rc = 0;

	if (read_service(d, before, &from, err) < 0 || read_service(d, after, &to, err) < 0)
		return -1;
	map_init(&old, MEM_SCHEDULER);
	map_init(&new, MEM_SCHEDULER);
	if (index_leaves(&old, &from) < 0 || index_leaves(&new, &to) < 0)
		rc = err_set(err, ERR_NO_MEMORY, "no memory to compare documents");
	else
		*changes_out = compare_leaves(d, after->name, &from, &to, &old, &new);
	map_fini(&old);
	map_fini(&new);
	return rc;
}

static const struct diff_pin *
pin_of(const struct diff_pin *pins, size_t count, const char *service)
{
	for (size_t i = 0; i < count; i++) {
		if (text_equal(pins[i].service, service))
			return &pins[i];
	}
	return NULL;
}

static int
diff_service(struct differ *d, const struct doc *before, const struct doc_service *s,
	     const struct diff_pin *pin, struct err *err)
{
	const struct doc_service *old = before ? doc_service_find(before, s->name) : NULL;
	size_t changes = 0;

	if (!old) {
		line(d, "+ %s", s->name);
		return 0;
	}
	arena_reset(&d->arena);
	if (compare(d, old, s, &changes, err) < 0)
		return -1;
	if (pin && text_equal(old->image.name, s->image.name)) {
		line(d, "~ %s image %s (%.19s... -> %.19s...)", s->name, s->image.name,
		     pin->before[0] ? pin->before : "not here",
		     pin->after[0] ? pin->after : "not here");
		changes++;
	}
	if (!changes)
		line(d, "= %s unchanged", s->name);
	return 0;
}

int
diff_lines(const struct doc *before, const struct doc *after, const struct diff_pin *pins,
	   size_t pins_count, size_t max_bytes, struct buf *out, struct err *err)
{
	struct differ d = {.out = out, .max_bytes = max_bytes > 64 ? max_bytes - 64 : 0};
	int rc = 0;

	arena_init(&d.arena, MEM_SCHEDULER, ARENA_BYTES);
	for (size_t i = 0; i < after->services_count && rc == 0; i++)
		rc = diff_service(&d, before, &after->services[i],
				  pin_of(pins, pins_count, after->services[i].name), err);
	for (size_t i = 0; before && i < before->services_count && rc == 0; i++) {
		if (!doc_service_find(after, before->services[i].name))
			line(&d, "- %s", before->services[i].name);
	}
	if (d.hidden)
		buf_printf(out, "... and %zu more\n", d.hidden);
	if (rc == 0 && !buf_ok(out))
		rc = err_set(err, ERR_NO_MEMORY, "no memory to compare documents");
	arena_fini(&d.arena);
	return rc;
}
