/* SPDX-License-Identifier: Apache-2.0 */
/* Summing pages. A series of an unknown metric, or of another kind than the table says, is left
 * out: it comes from a process of another version, or from one that lies. */
#include "observability/gather.h"

#include <stdlib.h>
#include <string.h>
#include "base/text.h"
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

static size_t
key_of(struct key *key, unsigned metric, const char *labels, size_t bytes)
{
	memset(key, 0, offsetof(struct key, labels));
	key->metric = (uint16_t)metric;
	memcpy(key->labels, labels, bytes);
	return offsetof(struct key, labels) + bytes;
}

static struct gather_series *
find_or_add(struct gather *g, unsigned metric, unsigned kind, const char *labels, size_t bytes)
{
	struct key key;
	size_t key_bytes = key_of(&key, metric, labels, bytes);
	struct gather_series *found = map_get(&g->index, &key, key_bytes);

	if (found)
		return found;
	if (g->count >= GATHER_SERIES_MAX) {
		g->folded++;
		return NULL;
	}
	found = make_room(g) ? arena_new(&g->arena, struct gather_series) : NULL;
	char *copy = found ? arena_strndup(&g->arena, labels, bytes) : NULL;
	if (!copy || map_put(&g->index, &key, key_bytes, found, NULL) < 0) {
		g->failed = true;
		return NULL;
	}
	found->metric = (uint16_t)metric;
	found->kind = (uint16_t)kind;
	found->labels = copy;
	found->created_ns = UINT64_MAX;
	g->items[g->count++] = found;
	return found;
}

struct gather_series *
gather_find(const struct gather *g, unsigned metric, const char *labels)
{
	struct key key;
	size_t bytes = strlen(labels);

	return bytes < METRIC_LABEL_BYTES
		       ? map_get(&g->index, &key, key_of(&key, metric, labels, bytes))
		       : NULL;
}

void
gather_count(struct gather *g, unsigned metric, const char *labels, uint64_t n)
{
	struct gather_series *to = find_or_add(g, metric, METRIC_COUNTER, labels, strlen(labels));

	if (to)
		to->values[0] += n;
}

/* A time that several processes tell is the latest of them. */
static void
add_values(struct gather_series *to, const uint64_t values[METRIC_VALUES])
{
	bool latest = to->metric == METRICS_OVERLAY_LAST_SEEN;

	for (size_t v = 0; v < METRIC_VALUES; v++) {
		if (!latest)
			to->values[v] += values[v];
		else if (to->values[v] < values[v])
			to->values[v] = values[v];
	}
}

static void
take(struct gather *g, const struct metric_series *s)
{
	struct gather_series *to = find_or_add(g, s->metric, s->kind, s->labels, s->label_bytes);

	if (!to)
		return;
	if (s->created_ns < to->created_ns)
		to->created_ns = s->created_ns;
	if (s->metric != METRICS_UPSTREAM_UP)
		add_values(to, s->values);
	else if (s->values[0] > to->values[0])
		to->values[0] = s->values[0];
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
		if (family && family->kind == (enum metric_kind)copy.kind)
			take(g, &copy);
	}
	g->folded += __atomic_load_n(&page->folded, __ATOMIC_RELAXED);
}

/* ---- limits ---- */

/* The length of `name="value"` at the begin of a label text that is well-formed. */
static size_t
label_bytes(const char *labels)
{
	const char *at = strchr(labels, '"') + 1;

	while (*at != '"')
		at += *at == '\\' ? 2 : 1;
	return (size_t)(at + 1 - labels);
}

/* A label text made anew: each label as `one` writes it, unless that leaves it out. */
static void
rewrite(const char *from, bool (*one)(const char *label, size_t bytes, char *out, size_t cap),
	char out[METRIC_LABEL_BYTES])
{
	size_t n = 0;

	out[0] = '\0';
	while (*from) {
		char label[METRIC_LABEL_BYTES + 8];
		size_t bytes = label_bytes(from);

		if (one(from, bytes, label, sizeof(label)) &&
		    n + strlen(label) + 1 < METRIC_LABEL_BYTES) {
			text_format(out + n, METRIC_LABEL_BYTES - n, "%s%s", n ? "," : "", label);
			n += strlen(out + n);
		}
		from += bytes + (from[bytes] == ',');
	}
}

static bool
not_replica(const char *label, size_t bytes, char *out, size_t cap)
{
	return !text_starts(label, "replica=") && text_ncopy(out, cap, label, bytes);
}

static bool
other(const char *label, size_t bytes, char *out, size_t cap)
{
	if (text_starts(label, "service="))
		return text_ncopy(out, cap, label, bytes);
	text_format(out, cap, "%.*s\"other\"", (int)strcspn(label, "\""), label);
	return true;
}

/* Moves what a series has to the one with these labels. */
static void
fold(struct gather *g, struct gather_series *s, const char *labels)
{
	struct gather_series *to = find_or_add(g, s->metric, s->kind, labels, strlen(labels));

	if (!to || to == s)
		return;
	add_values(to, s->values);
	if (s->created_ns < to->created_ns)
		to->created_ns = s->created_ns;
	s->gone = true;
}

static void
drop_gone(struct gather *g)
{
	size_t kept = 0;

	for (size_t i = 0; i < g->count; i++)
		if (!g->items[i]->gone)
			g->items[kept++] = g->items[i];
	g->count = kept;
}

static void
drop_replicas(struct gather *g)
{
	char labels[METRIC_LABEL_BYTES];

	for (size_t i = 0, count = g->count; i < count; i++) {
		if (!strstr(g->items[i]->labels, ",replica=\""))
			continue;
		rewrite(g->items[i]->labels, not_replica, labels);
		fold(g, g->items[i], labels);
	}
	drop_gone(g);
}

struct tally {
	uint64_t kept[2]; /* counters and histograms; gauges */
	uint64_t folded;
	char service[METRIC_LABEL_BYTES];
};

static int
by_age(const void *a, const void *b)
{
	const struct gather_series *x = *(struct gather_series *const *)a;
	const struct gather_series *y = *(struct gather_series *const *)b;

	if (x->created_ns != y->created_ns)
		return x->created_ns < y->created_ns ? -1 : 1;
	if (x->metric != y->metric)
		return x->metric < y->metric ? -1 : 1;
	return strcmp(x->labels, y->labels);
}

/* NULL: the labels name no service, or nothing but one. */
static struct tally *
tally_of(struct gather *g, struct map *tallies, const char *labels)
{
	size_t bytes = text_starts(labels, "service=\"") ? label_bytes(labels) : 0;

	if (bytes == 0 || labels[bytes] == '\0' || bytes == strlen("service=\"\""))
		return NULL;
	struct tally *t = map_get(tallies, labels, bytes);
	if (t)
		return t;
	t = arena_new(&g->arena, struct tally);
	if (!t || map_put(tallies, labels, bytes, t, NULL) < 0) {
		g->failed = true;
		return NULL;
	}
	text_ncopy(t->service, sizeof(t->service), labels, bytes);
	return t;
}

static void
limit_services(struct gather *g, const struct gather_limits *limits)
{
	char labels[METRIC_LABEL_BYTES];
	struct map tallies;
	struct map_iter it = {0};

	map_init(&tallies, MEM_OBSERVABILITY);
	if (g->count)
		qsort(g->items, g->count, sizeof(struct gather_series *), by_age);
	for (size_t i = 0, count = g->count; i < count; i++) {
		struct gather_series *s = g->items[i];
		struct tally *t = tally_of(g, &tallies, s->labels);

		if (!t)
			continue;
		rewrite(s->labels, other, labels);
		if (text_equal(labels, s->labels)) /* a page of a process was full */
			continue;
		if (t->kept[s->kind == METRIC_GAUGE]++ < limits->series_max)
			continue;
		t->folded++;
		fold(g, s, labels);
	}
	drop_gone(g);
	while (map_next(&tallies, &it)) {
		const struct tally *t = it.value;

		if (t->folded)
			limits->folded(limits->arg, t->service, t->folded);
	}
	map_fini(&tallies);
}

void
gather_reduce(struct gather *g, const struct gather_limits *limits)
{
	if (!limits->per_replica)
		drop_replicas(g);
	limit_services(g, limits);
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
