/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dependencies between services: each names a service of the document, none itself, and together
 * they have no cycle. The walk is depth first with its own stack; what it leaves behind is an order
 * in which services can be started. A cycle is printed as it is met.
 */
#include "spec/doc_field.h"

#include <string.h>
#include "base/text.h"

enum colour { NEW, ON_PATH, DONE };

struct walk {
	struct field_ctx *ctx;
	struct doc *doc;
	uint8_t *colours;
	uint32_t *path;  /* services from the start of the walk to where it is */
	uint32_t *edges; /* next dependency of each on the path */
	size_t depth;
	size_t ordered;
};

static const char *
nearest_service(const struct doc *doc, const char *name, const char **space)
{
	size_t count = 0;

	for (size_t i = 0; i < doc->services_count; i++) {
		if (doc->services[i].name != NULL)
			space[count++] = doc->services[i].name;
	}
	space[count] = NULL;
	return text_nearest(name, space);
}

static void
check_depend(struct field_ctx *ctx, const struct doc *doc, const struct doc_service *s,
	     size_t index, const char **space)
{
	const struct doc_depend *d = &s->depends[index];
	const struct yaml_node *at = d->node == NULL ? NULL : yaml_node_get(d->node, "service");
	const char *near;

	if (d->service == NULL || at == NULL)
		return;
	if (strcmp(d->service, s->name) == 0) {
		field_diag(ctx, at, "self-dependency", NULL, "%s depends on itself", s->name);
		return;
	}
	for (size_t i = 0; i < index; i++) {
		if (s->depends[i].service != NULL && strcmp(s->depends[i].service, d->service) == 0)
			field_diag(ctx, at, "duplicate-name", NULL, "\"%s\" is listed twice",
				   d->service);
	}
	if (doc_service_find(doc, d->service) != NULL)
		return;
	near = nearest_service(doc, d->service, space);
	field_diag(ctx, at, "unknown-dependency", NULL,
		   "there is no service \"%s\" in this document%s%s%s", d->service,
		   near == NULL ? "" : "; did you mean \"", near == NULL ? "" : near,
		   near == NULL ? "" : "\"?");
}

static void
report_cycle(struct walk *w, uint32_t target, const struct doc_depend *closing)
{
	char text[400] = "";
	size_t start = 0, used;

	while (w->path[start] != target)
		start++;
	for (size_t i = start; i < w->depth; i++) {
		used = strlen(text);
		text_format(text + used, sizeof(text) - used, "%s -> ",
			    w->doc->services[w->path[i]].name);
	}
	field_diag(w->ctx, yaml_node_get(closing->node, "service"), "dependency-cycle", NULL,
		   "the dependencies form a cycle: %s%s", text, w->doc->services[target].name);
}

static void
enter(struct walk *w, uint32_t service)
{
	w->colours[service] = ON_PATH;
	w->path[w->depth] = service;
	w->edges[w->depth] = 0;
	w->depth++;
}

static void
step(struct walk *w)
{
	uint32_t at = w->path[w->depth - 1], edge = w->edges[w->depth - 1]++;
	struct doc_service *s = &w->doc->services[at];
	const struct doc_service *next;
	uint32_t target;

	if (edge == s->depends_count) {
		w->colours[at] = DONE;
		w->doc->start_order[w->ordered++] = s;
		w->depth--;
		return;
	}
	next = s->depends[edge].service == NULL
		       ? NULL
		       : doc_service_find(w->doc, s->depends[edge].service);
	if (next == NULL || next == s)
		return;
	target = (uint32_t)(next - w->doc->services);
	if (w->colours[target] == ON_PATH)
		report_cycle(w, target, &s->depends[edge]);
	else if (w->colours[target] == NEW)
		enter(w, target);
}

void
doc_graph_check(struct field_ctx *ctx, struct doc *doc)
{
	size_t count = doc->services_count;
	struct walk w = {.ctx = ctx, .doc = doc};
	const char **space;

	if (count == 0)
		return;
	doc->start_order = arena_array(&doc->arena, count, sizeof(struct doc_service *));
	w.colours = arena_array(&doc->arena, count, sizeof(uint8_t));
	w.path = arena_array(&doc->arena, count, sizeof(uint32_t));
	w.edges = arena_array(&doc->arena, count, sizeof(uint32_t));
	space = arena_array(&doc->arena, count + 1, sizeof(char *));
	if (!arena_ok(&doc->arena)) {
		field_no_memory(ctx);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; k < doc->services[i].depends_count; k++)
			check_depend(ctx, doc, &doc->services[i], k, space);
	}
	for (uint32_t i = 0; i < count; i++) {
		if (w.colours[i] == NEW)
			enter(&w, i);
		while (w.depth > 0)
			step(&w);
	}
}
