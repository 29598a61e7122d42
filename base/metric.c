/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters in shared memory. Behind the series that readers see, a page has three things that only
 * its writer touches: a sink series for what found no place, and a hash index of the series (open
 * addressing, u32 slot numbers, twice as many places as series), so that look-up is quick, needs no
 * memory of its own, and ends with the page.
 *
 *   header | series[0 .. capacity-1] | sink | index[]
 *
 * Publication: a series is filled in, then `used` is stored with release order; a reader loads it
 * with acquire order and may then read the fixed fields plainly, and the values as relaxed words.
 *
 * Folding: the last eighth of the places is kept for "other" series (every label value replaced by
 * "other", so that sums by label stay right) and for series without labels. A reader trusts
 * nothing: lengths and label syntax are checked on the copy.
 */
#include "base/metric.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "base/text.h"
#include "base/world.h"

enum { USED_NO = 0, USED_YES = 1, USED_HIDDEN = 2 };

_Static_assert(sizeof(struct metric_series) % 64 == 0, "series are cache lines");
_Static_assert(offsetof(struct metric_series, values) % 64 == 0, "values begin one");
_Static_assert(sizeof(struct metric_page) % 64 == 0, "the header is a cache line");

/* ---- geometry ---- */

static uint32_t
index_places(uint32_t series)
{
	uint32_t places = 4;

	while (places < 2 * series)
		places *= 2;
	return places;
}

size_t
metric_page_bytes(uint32_t series)
{
	assert(series <= METRIC_SERIES_MAX);
	return sizeof(struct metric_page) + ((size_t)series + 1) * sizeof(struct metric_series) +
	       index_places(series) * sizeof(uint32_t);
}

uint32_t
metric_page_series(size_t bytes)
{
	uint32_t low = 0, high = METRIC_SERIES_MAX;

	while (low < high) {
		uint32_t middle = low + (high - low + 1) / 2;
		if (metric_page_bytes(middle) <= bytes)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

static struct metric_series *
sink_of(struct metric_page *page)
{
	return &page->series[page->capacity];
}

static uint32_t *
index_of(struct metric_page *page)
{
	return (uint32_t *)(void *)&page->series[page->capacity + 1];
}

struct metric_page *
metric_page_init(void *memory, size_t bytes)
{
	struct metric_page *page = memory;

	assert((uintptr_t)memory % 64 == 0);
	assert(bytes >= metric_page_bytes(1));
	page->capacity = metric_page_series(bytes);
	__atomic_store_n(&page->magic, METRIC_MAGIC, __ATOMIC_RELEASE);
	return page;
}

const struct metric_page *
metric_page_check(const void *memory, size_t bytes)
{
	const struct metric_page *page = memory;

	if ((uintptr_t)memory % 64 != 0 || bytes < metric_page_bytes(1))
		return NULL;
	if (__atomic_load_n(&page->magic, __ATOMIC_ACQUIRE) != METRIC_MAGIC)
		return NULL;
	uint32_t capacity = __atomic_load_n(&page->capacity, __ATOMIC_RELAXED);
	if (capacity == 0 || capacity > metric_page_series(bytes))
		return NULL;
	return page;
}

/* ---- labels ---- */

static bool
name_char(char c, bool first)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
	       (!first && c >= '0' && c <= '9');
}

/* One `name="value"` of a label text: false when it is not well-formed. */
static bool
label_next(const char *text, size_t length, size_t *at, size_t *name_bytes)
{
	size_t i = *at;

	while (i < length && name_char(text[i], i == *at))
		i++;
	*name_bytes = i - *at;
	if (*name_bytes == 0 || length - i < 3 || text[i] != '=' || text[i + 1] != '"')
		return false;
	for (i += 2; i < length && text[i] != '"'; i++) {
		if ((unsigned char)text[i] < 0x20)
			return false;
		if (text[i] != '\\')
			continue;
		i++;
		if (i == length || strchr("\\\"n", text[i]) == NULL || text[i] == '\0')
			return false;
	}
	if (i == length)
		return false;
	i++; /* the closing quote */
	if (i < length && (text[i] != ',' || i + 1 == length))
		return false;
	*at = i < length ? i + 1 : i;
	return true;
}

/* A name that stands twice, or one that the text format keeps for itself, makes a scraper refuse
 * all that it was given. */
static bool
name_valid(const char *text, size_t start, size_t name_bytes)
{
	const char *name = text + start;
	size_t at = 0, other_bytes;

	if (text_starts(name, "__") || (name_bytes == 2 && text_starts(name, "le")))
		return false;
	while (at + 1 < start) { /* start stands behind a comma */
		size_t other = at;
		if (!label_next(text, start - 1, &at, &other_bytes))
			return false;
		if (other_bytes == name_bytes && memcmp(text + other, name, name_bytes) == 0)
			return false;
	}
	return true;
}

static bool
labels_valid(const char *text, size_t length)
{
	size_t at = 0, name_bytes;

	while (at < length) {
		size_t start = at;
		if (!label_next(text, length, &at, &name_bytes) ||
		    !name_valid(text, start, name_bytes))
			return false;
	}
	return text_is_utf8(text, length);
}

static size_t
escape_value(const char *value, char *out, size_t cap)
{
	bool utf8 = text_is_utf8(value, strlen(value));
	size_t n = 0;

	for (; *value != '\0'; value++) {
		char c = *value;
		bool escaped = c == '\\' || c == '"' || c == '\n';
		if (n + (escaped ? 2 : 1) > cap)
			return SIZE_MAX;
		if (escaped)
			out[n++] = '\\';
		if (c == '\n')
			c = 'n';
		else if ((unsigned char)c < 0x20 || ((unsigned char)c >= 0x80 && !utf8))
			c = '?';
		out[n++] = c;
	}
	return n;
}

void
metric_label(struct metric_labels *l, const char *name, const char *value)
{
	char *out = l->text + l->length;
	size_t cap = sizeof(l->text) - l->length; /* a NUL stays at the end */
	size_t head, tail;

	assert(name_char(*name, true));
	int n = snprintf(out, cap, "%s%s=\"", l->length > 0 ? "," : "", name);
	assert(n > 0);
	head = (size_t)n;
	if (head + 2 > cap)
		goto cut;
	tail = escape_value(value, out + head, cap - head - 2);
	if (tail == SIZE_MAX)
		goto cut;
	out[head + tail] = '"';
	out[head + tail + 1] = '\0';
	l->length += head + tail + 1;
	return;
cut:
	*out = '\0';
	l->cut = true;
}

void
metric_label_u(struct metric_labels *l, const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	metric_label(l, name, text);
}

/* The same names with the value "other"; what does not fit any more is left out. */
static void
labels_fold(const struct metric_labels *from, struct metric_labels *to)
{
	size_t at = 0, name_bytes;

	*to = (struct metric_labels){0};
	while (at < from->length) {
		char name[METRIC_LABEL_BYTES];
		size_t start = at;
		bool valid = label_next(from->text, from->length, &at, &name_bytes);
		assert(valid);
		(void)valid;
		memcpy(name, from->text + start, name_bytes);
		name[name_bytes] = '\0';
		metric_label(to, name, "other");
	}
}

/* ---- the writer ---- */

/* FNV-1a: label texts come from configuration, so no key is needed. */
static uint32_t
series_hash(uint16_t metric, const struct metric_labels *l)
{
	uint32_t h = (2166136261u ^ metric) * 16777619u;

	for (size_t i = 0; i < l->length; i++)
		h = (h ^ (unsigned char)l->text[i]) * 16777619u;
	return h ^ (h >> 15);
}

static bool
series_matches(const struct metric_series *s, uint16_t metric, const struct metric_labels *l)
{
	return s->metric == metric && s->label_bytes == l->length &&
	       memcmp(s->labels, l->text, l->length) == 0;
}

/* The place in the index of that series, or the empty place where it belongs. */
static uint32_t *
index_find(struct metric_page *page, uint16_t metric, const struct metric_labels *l)
{
	uint32_t *places = index_of(page);
	uint32_t mask = index_places(page->capacity) - 1;

	for (uint32_t i = series_hash(metric, l) & mask;; i = (i + 1) & mask) {
		if (places[i] == 0 || series_matches(&page->series[places[i] - 1], metric, l))
			return &places[i];
	}
}

static struct metric_series *
series_add(struct metric_page *page, uint32_t *place, uint16_t metric, enum metric_kind kind,
	   const struct metric_labels *l)
{
	struct metric_series *s = &page->series[page->count];

	s->metric = metric;
	s->kind = (uint16_t)kind;
	s->label_bytes = (uint32_t)l->length;
	s->created_ns = (uint64_t)world_wall_ns();
	memcpy(s->labels, l->text, l->length);
	__atomic_store_n(&s->used, USED_YES, __ATOMIC_RELEASE);
	*place = page->count + 1;
	__atomic_store_n(&page->count, page->count + 1, __ATOMIC_RELAXED);
	return s;
}

static struct metric_series *
series_get(struct metric_page *page, uint16_t metric, enum metric_kind kind,
	   const struct metric_labels *l, uint32_t capacity)
{
	uint32_t *place = index_find(page, metric, l);

	if (*place != 0) {
		struct metric_series *s = &page->series[*place - 1];
		assert(s->kind == kind);
		if (s->used == USED_HIDDEN) {
			__atomic_store_n(&s->values[0], 0, __ATOMIC_RELAXED);
			__atomic_store_n(&s->used, USED_YES, __ATOMIC_RELEASE);
		}
		return s;
	}
	if (page->count >= capacity)
		return NULL;
	return series_add(page, place, metric, kind, l);
}

struct metric_series *
metric_get(struct metric_page *page, uint16_t metric, enum metric_kind kind,
	   const struct metric_labels *labels)
{
	static const struct metric_labels none = {.length = 0};
	const struct metric_labels *l = labels != NULL ? labels : &none;
	uint32_t open_to_all = page->capacity - page->capacity / 8;
	struct metric_labels other;
	struct metric_series *s;

	if (!l->cut) {
		s = series_get(page, metric, kind, l, l->length > 0 ? open_to_all : page->capacity);
		if (s != NULL)
			return s;
	}
	__atomic_fetch_add(&page->folded, 1, __ATOMIC_RELAXED);
	labels_fold(l, &other);
	s = series_get(page, metric, kind, &other, page->capacity);
	return s != NULL ? s : sink_of(page);
}

void
metric_add(struct metric_series *s, uint64_t n)
{
	__atomic_fetch_add(&s->values[0], n, __ATOMIC_RELAXED);
}

void
metric_set(struct metric_series *s, int64_t value)
{
	__atomic_store_n(&s->values[0], (uint64_t)value, __ATOMIC_RELAXED);
}

void
metric_gauge_add(struct metric_series *s, int64_t n)
{
	__atomic_fetch_add(&s->values[0], (uint64_t)n, __ATOMIC_RELAXED);
}

void
metric_hide(struct metric_series *s)
{
	assert(s->kind != METRIC_HISTOGRAM);
	if (s->used == USED_YES)
		__atomic_store_n(&s->used, USED_HIDDEN, __ATOMIC_RELEASE);
}

void
metric_observe(struct metric_series *s, const uint64_t *bounds, uint64_t value)
{
	size_t i = 0;

	while (i < METRIC_BOUNDS && value > bounds[i])
		i++;
	__atomic_fetch_add(&s->values[i], 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&s->values[METRIC_BOUNDS + 1], value, __ATOMIC_RELAXED);
}

/* ---- the reader ---- */

bool
metric_read(const struct metric_page *page, uint32_t index, struct metric_series *out)
{
	const struct metric_series *s;

	if (index >= __atomic_load_n(&page->capacity, __ATOMIC_RELAXED))
		return false;
	s = &page->series[index];
	if (__atomic_load_n(&s->used, __ATOMIC_ACQUIRE) != USED_YES)
		return false;
	memset(out, 0, sizeof(*out));
	out->used = USED_YES;
	out->metric = s->metric;
	out->kind = s->kind;
	out->label_bytes = __atomic_load_n(&s->label_bytes, __ATOMIC_RELAXED);
	out->created_ns = s->created_ns;
	if (out->kind < METRIC_COUNTER || out->kind > METRIC_HISTOGRAM ||
	    out->label_bytes >= METRIC_LABEL_BYTES)
		return false;
	memcpy(out->labels, s->labels, out->label_bytes);
	for (size_t i = 0; i < METRIC_VALUES; i++)
		out->values[i] = __atomic_load_n(&s->values[i], __ATOMIC_RELAXED);
	return labels_valid(out->labels, out->label_bytes);
}
