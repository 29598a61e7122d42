/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The document as a whole: text to tree to structs, then the checks that look at everything. A
 * document is either complete and right, or there is none: doc_parse gives no half document, but
 * all errors that could be found. The dump is the canonical form that is stored and compared.
 */
#include "spec/doc_field.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"

enum { ARENA_BYTES = 128 << 20 };

static const char *const versions[] = {"v1", NULL};

static const struct field service_item = {.kind = FIELD_SECTION, .table = &doc_service_table};
static const struct field external_item = {.kind = FIELD_SECTION, .table = &doc_external_table};
static const struct field route_item = {.kind = FIELD_SECTION, .table = &doc_route_table};
static const struct field tunnel_item = {.kind = FIELD_SECTION, .table = &doc_tunnel_table};

static bool
read_version(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	((struct doc *)section)->version = 1;
	if (n == NULL)
		return true;
	if (!field_is_text(ctx, n, "v1"))
		return false;
	if (strcmp(n->text, versions[0]) == 0)
		return true;
	field_diag(ctx, n, "invalid-version", NULL,
		   "\"%.40s\" is not a version this program reads%s", n->text,
		   strcmp(n->text, "1") == 0 ? "; did you mean v1?" : ": v1");
	return false;
}

static void
put_version(struct emit *e, const char *key, const void *section)
{
	(void)section;
	emit_text(e, key, versions[0]);
}

static const struct field top_fields[] = {
	{.key = "version",
	 .kind = FIELD_OWN,
	 .flags = FIELD_REQUIRED,
	 .read = read_version,
	 .put = put_version},
	DOC_TEXT(struct doc, deployment, "deployment", doc_text_label, FIELD_REQUIRED),
	DOC_MAP(struct doc, services, "services", &service_item, doc_service, DOC_SERVICES_MAX,
		doc_text_label),
	DOC_MAP(struct doc, externals, "externals", &external_item, doc_external, DOC_EXTERNALS_MAX,
		doc_text_label),
	DOC_LIST(struct doc, routes, "routes", &route_item, doc_route, DOC_ROUTES_MAX),
	DOC_MAP(struct doc, tunnels, "tunnels", &tunnel_item, doc_tunnel, DOC_TUNNELS_MAX,
		doc_text_label),
};

static void
check_top(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	struct doc *doc = section;

	if (n == NULL)
		return;
	if (yaml_node_get(n, "services") == NULL && yaml_node_get(n, "externals") == NULL &&
	    yaml_node_get(n, "routes") == NULL)
		field_diag(ctx, n, "missing-key", NULL,
			   "the document has none of services, externals, routes");
	else if (doc->services_count + doc->externals_count + doc->routes_count == 0 &&
		 diag_count(ctx->diags) == 0)
		field_diag(ctx, n, "missing-key", NULL, "the document has no service");
	for (size_t i = 0; i < doc->externals_count; i++) {
		const struct doc_external *x = &doc->externals[i];

		if (x->name != NULL && x->node != NULL && doc_service_find(doc, x->name) != NULL)
			field_diag(ctx, x->node, "duplicate-name", NULL,
				   "a service has the name \"%s\" too", x->name);
	}
}

static const char *const advice[][2] = {
	{"name", "the key is deployment"},
	{"networks", "services of a deployment see each other by themselves"},
	{"volumes", "volumes are named where they are used: services.NAME.storage"},
	{"secrets", "secrets have no section: env uses them as $S:NAME"},
	{NULL, NULL},
};

const struct field_table doc_top_table = {
	.what = "a document",
	FIELD_TABLE(top_fields),
	.advice = advice,
	.check = check_top,
};

/* The text is kept for diagnostics that come later; one that is too large is refused before. */
static struct doc *
new_doc(const char *text, size_t bytes, const char *file)
{
	struct arena arena;
	struct doc *doc;
	char *copy;

	arena_init(&arena, MEM_SPEC, ARENA_BYTES);
	doc = arena_new(&arena, struct doc);
	copy = arena_bytes(&arena, bytes + 1);
	file = arena_strdup(&arena, file);
	if (doc == NULL || copy == NULL || file == NULL) {
		arena_fini(&arena);
		return NULL;
	}
	memcpy(copy, text, bytes);
	copy[bytes] = '\0';
	doc->text = copy;
	doc->text_bytes = bytes;
	doc->file = file;
	doc->arena = arena;
	return doc;
}

static int
refuse_large(const char *file, struct diag_list *diags)
{
	diag_list_file(diags, file, NULL, 0);
	diag_add(diags, "too-large", (struct diag_pos){0}, "", NULL,
		 "the document is larger than 1 MiB");
	return -1;
}

static void
parse(struct doc *doc, struct yaml_node *root, struct diag_list *diags)
{
	struct field_ctx ctx = {.arena = &doc->arena, .diags = diags};

	doc->node = root;
	field_read(&ctx, &doc_top_table, root, doc);
	if (diags->no_memory)
		return;
	doc_graph_check(&ctx, doc);
	doc_edge_check(&ctx, doc);
	doc_network_check(&ctx, doc);
}

/* What is stored is the dump, and it is read again: it must fit as well. The cap is so far above
 * the limit that a buffer that failed below it failed for want of memory. */
static void
check_dump(const struct doc *doc, struct diag_list *diags)
{
	struct buf out;

	buf_init(&out, MEM_SPEC, (size_t)8 * DOC_BYTES_MAX);
	doc_dump_yaml(doc, &out);
	if (out.length > DOC_BYTES_MAX)
		diag_add(diags, "too-large", (struct diag_pos){0}, "",
			 "make several deployments of it",
			 "with every default filled in the document is larger than 1 MiB");
	else if (!buf_ok(&out))
		diags->no_memory = true;
	buf_fini(&out);
}

int
doc_parse(const char *text, size_t bytes, const char *file, struct doc **out,
	  struct diag_list *diags)
{
	size_t before = diag_count(diags);
	struct yaml_node *root;
	struct doc *doc;

	*out = NULL;
	if (bytes > DOC_BYTES_MAX)
		return refuse_large(file, diags);
	doc = new_doc(text, bytes, file);
	if (doc == NULL) {
		diags->no_memory = true;
		return -1;
	}
	diag_list_file(diags, file, doc->text, doc->text_bytes);
	root = yaml_parse(doc->text, bytes, &doc->arena, diags);
	if (root != NULL)
		parse(doc, root, diags);
	if (root != NULL && diag_count(diags) == before && !diags->no_memory)
		check_dump(doc, diags);
	diag_list_file_end(diags);
	if (!arena_ok(&doc->arena))
		diags->no_memory = true;
	if (diag_count(diags) > before || diags->no_memory) {
		doc_free(doc);
		return -1;
	}
	*out = doc;
	return 0;
}

void
doc_free(struct doc *doc)
{
	struct arena arena;

	if (doc == NULL)
		return;
	arena = doc->arena;
	arena_fini(&arena);
}

/* ---- dump ---- */

static void
dump(const struct doc *doc, struct buf *out, bool is_json)
{
	struct emit e;

	emit_init(&e, out, is_json);
	field_put(&e, &doc_top_table, doc);
	emit_finish(&e);
}

void
doc_dump_yaml(const struct doc *doc, struct buf *out)
{
	dump(doc, out, false);
}

void
doc_dump_json(const struct doc *doc, struct buf *out)
{
	dump(doc, out, true);
}

void
doc_dump_service(const struct doc_service *service, struct buf *out)
{
	struct emit e;

	emit_init(&e, out, false);
	field_put(&e, &doc_service_table, service);
	emit_finish(&e);
}

/* ---- look-up ---- */

static int
compare_service(const void *key, const void *element)
{
	return strcmp(key, ((const struct doc_service *)element)->name);
}

const struct doc_service *
doc_service_find(const struct doc *doc, const char *name)
{
	if (doc->services_count == 0)
		return NULL;
	return bsearch(name, doc->services, doc->services_count, sizeof(struct doc_service),
		       compare_service);
}

const struct doc_external *
doc_external_find(const struct doc *doc, const char *name)
{
	for (size_t i = 0; i < doc->externals_count; i++) {
		if (strcmp(doc->externals[i].name, name) == 0)
			return &doc->externals[i];
	}
	return NULL;
}

const struct doc_endpoint *
doc_endpoint_find(const struct doc_service *s, const char *name)
{
	for (size_t i = 0; i < s->endpoints_count; i++) {
		if (strcmp(s->endpoints[i].name, name) == 0)
			return &s->endpoints[i];
	}
	return NULL;
}

bool
doc_endpoint_next(const struct doc *doc, struct doc_endpoint_iter *it)
{
	for (; it->owner < doc->services_count + doc->externals_count; it->owner++, it->index = 0) {
		bool external = it->owner >= doc->services_count;
		size_t count;

		it->service = external ? NULL : &doc->services[it->owner];
		it->external = external ? &doc->externals[it->owner - doc->services_count] : NULL;
		count = external ? it->external->endpoints_count : it->service->endpoints_count;
		if (it->index < count) {
			it->endpoint = external ? &it->external->endpoints[it->index]
						: &it->service->endpoints[it->index];
			it->index++;
			return true;
		}
	}
	return false;
}

/* ---- places ---- */

struct diag_pos
doc_where(const struct yaml_node *section, const char *key)
{
	const struct yaml_node *n;

	if (section == NULL)
		return (struct diag_pos){0};
	n = key == NULL ? NULL : yaml_node_get(section, key);
	return yaml_node_where(n != NULL ? n : section);
}

bool
doc_given(const struct yaml_node *section, const char *key)
{
	return section != NULL && yaml_node_get(section, key) != NULL;
}

void
doc_diag(const struct doc *doc, struct diag_list *diags, const struct yaml_node *section,
	 const char *key, const char *code, const char *fix, const char *fmt, ...)
{
	const struct yaml_node *n = key == NULL ? NULL : yaml_node_get(section, key);
	char path[YAML_PATH_BYTES] = "", text[768];
	size_t used;
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (section != NULL)
		yaml_node_path(n != NULL ? n : section, path, sizeof(path));
	used = strlen(path);
	if (n == NULL && key != NULL)
		text_format(path + used, sizeof(path) - used, "%s%s", used == 0 ? "" : ".", key);
	diag_list_file(diags, doc->file, doc->text, doc->text_bytes);
	diag_add(diags, code, doc_where(section, key), path, fix, "%s", text);
	diag_list_file_end(diags);
}
