/* SPDX-License-Identifier: Apache-2.0 */
/* Summing pages. A series of an unknown metric, or of another kind than the table says, is left
 * out: it comes from a process of another version, or from one that lies. */
#include "observability/gather.h"

#include <stdlib.h>
#include <string.h>
#include "ring/metrics.h"

void
gather_init(struct gather *g)
{
	memset(g, 0, sizeof(*g));
	arena_init(&g->arena, MEM_OBSERVABILITY, GATHER_BYTES_MAX);
	map_init(&g->index, MEM_OBSERVABILITY);
}

void
gather_fini(struct gather *g)
{
	map_fini(&g->index);
	mem_free(g->items);
	arena_fini(&g->arena);
}

static bool
make_room(struct gather *g)
{
	if (g->count < g->capacity)
		return true;
	size_t more = g->capacity ? g->capacity * 2 : 256;
	void *p = mem_resize(MEM_OBSERVABILITY, g->items, more, sizeof(struct gather_series *));

	if (!p)
		return false;
	g->items = p;
	g->capacity = more;
	return true;
}

struct key {
	uint16_t metric;
	char labels[METRIC_LABEL_BYTES];
};

static struct gather_series *
find_or_add(struct gather *g, const struct metric_series *s)
{
	struct key key = {.metric = s->metric};
	size_t key_bytes = offsetof(struct key, labels) + s->label_bytes;

	memcpy(key.labels, s->labels, s->label_bytes);
	struct gather_series *found = map_get(&g->index, &key, key_bytes);
	if (found)
		return found;
	if (g->count >= GATHER_SERIES_MAX) {
		g->folded++;
		return NULL;
	}
	found = make_room(g) ? arena_new(&g->arena, struct gather_series) : NULL;
	char *labels = found ? arena_strndup(&g->arena, s->labels, s->label_bytes) : NULL;
	if (!labels || map_put(&g->index, &key, key_bytes, found, NULL) < 0) {
		g->failed = true;
		return NULL;
	}
	found->metric = s->metric;
	found->kind = s->kind;
	found->labels = labels;
	g->items[g->count++] = found;
	return found;
}

void
gather_page(struct gather *g, const struct metric_page *page, uint32_t series)
{
	struct metric_series copy;

	if (series > GATHER_PAGE_SERIES_MAX) {
		g->folded += series - GATHER_PAGE_SERIES_MAX;
		series = GATHER_PAGE_SERIES_MAX;
	}
	for (uint32_t i = 0; i < series; i++) {
		const struct metrics_family *family;

		if (!metric_read(page, i, &copy))
			continue;
		family = metrics_family(copy.metric);
		if (!family || family->kind != (enum metric_kind)copy.kind)
			continue;
		struct gather_series *to = find_or_add(g, &copy);
		for (size_t v = 0; to && v < METRIC_VALUES; v++)
			to->values[v] += copy.values[v];
	}
	g->folded += __atomic_load_n(&page->folded, __ATOMIC_RELAXED);
}

static int
compare(const void *a, const void *b)
{
	const struct gather_series *x = *(struct gather_series *const *)a;
	const struct gather_series *y = *(struct gather_series *const *)b;

	if (x->metric != y->metric)
		return x->metric < y->metric ? -1 : 1;
	return strcmp(x->labels, y->labels);
}

void
gather_sort(struct gather *g)
{
	if (g->count)
		qsort(g->items, g->count, sizeof(struct gather_series *), compare);
}
