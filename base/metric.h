/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_METRIC_H
#define BASE_METRIC_H

/*
 * Counters, gauges and histograms in a page of shared memory: one writer, any number of readers
 * that need no lock. A page holds series; a series is (metric id, label text) with up to 16 words.
 * Series are only ever added, so a reader may walk the page at any time; each word is read and
 * written with relaxed atomics. The meaning of a metric id (name, kind, scale, help) is in
 * ring/metrics.h; base knows the kinds only.
 * A page that is full folds further label sets into the metric's own "other" series and counts
 * them: a hostile peer cannot make the page grow.
 * Threading: one writer per page (the process that owns the segment; other threads of it may call
 * metric_add and metric_observe on series that exist, which are atomic adds).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum metric_kind { METRIC_COUNTER = 1, METRIC_GAUGE = 2, METRIC_HISTOGRAM = 3 };

enum {
	METRIC_LABEL_BYTES = 232,
	METRIC_VALUES = 16,
	METRIC_BOUNDS =
		14, /* histogram: values[0..13] buckets (not cumulative), [14] +Inf, [15] sum */
	METRIC_MAGIC = 0x4d50475a,
	METRIC_SERIES_MAX = 1 << 20,
};

struct metric_series {
	uint32_t used; /* 0 free; 1 complete (stored with release order, last); 2 hidden */
	uint16_t metric;
	uint16_t kind;        /* enum metric_kind */
	uint32_t label_bytes; /* without NUL */
	uint32_t pad_;
	uint64_t created_ns;             /* CLOCK_REALTIME */
	char labels[METRIC_LABEL_BYTES]; /* name="value",name="value": escaped as in the text format
					  */
	uint64_t values[METRIC_VALUES];  /* begins a cache line in a page */
};

struct metric_page {
	uint32_t magic;
	uint32_t capacity; /* series */
	uint32_t count;    /* series in use: a hint, `used` decides */
	uint32_t pad_;
	uint64_t folded; /* label sets that found no place */
	uint64_t reserved_[5];
	struct metric_series series[] __attribute__((aligned(64)));
};

/* Bytes needed for a page of that many series (<= METRIC_SERIES_MAX), with the writer's index; and
 * the most series that a page of that many bytes can have. */
size_t metric_page_bytes(uint32_t series);
uint32_t metric_page_series(size_t bytes);
/* Formats zeroed memory, aligned to 64 bytes. */
struct metric_page *metric_page_init(void *memory, size_t bytes);
/* Checks what came from another process before it is read: magic, and capacity against bytes.
 * NULL when it does not fit. The page may change later: bound a walk by metric_page_series(bytes),
 * never by page->capacity. */
const struct metric_page *metric_page_check(const void *memory, size_t bytes);

/* A label under construction: metric_label(&l, "service", "shop/web"); values are escaped. */
struct metric_labels {
	char text[METRIC_LABEL_BYTES];
	size_t length;
	bool cut; /* a label did not fit and was left out: metric_get gives the "other" series */
};
void metric_label(struct metric_labels *l, const char *name, const char *value);
void metric_label_u(struct metric_labels *l, const char *name, uint64_t value);

/* Finds or adds. Never NULL for a page that was formatted: when the page is full the metric's
 * "other" series (same label names, each value "other"), and if there is none either, a sink of the
 * page that no reader shows. labels may be NULL for none. Look-up hashes the labels: keep the
 * pointer where it is hot. */
struct metric_series *metric_get(struct metric_page *page, uint16_t metric, enum metric_kind kind,
				 const struct metric_labels *labels);
void metric_add(struct metric_series *s, uint64_t n);    /* counter */
void metric_set(struct metric_series *s, int64_t value); /* gauge */
void metric_gauge_add(struct metric_series *s, int64_t n);
/* What the series tells of is gone: readers no longer see it, until metric_get is called for it
 * again (a gauge that stayed would be taken for the truth). Pointers kept from before stay valid.
 */
void metric_hide(struct metric_series *s);
/* Histogram of raw units (nanoseconds, bytes): bounds are METRIC_BOUNDS ascending values. */
void metric_observe(struct metric_series *s, const uint64_t *bounds, uint64_t value);

/* A consistent-enough copy of one series for a reader; false when the slot is not in use or its
 * lengths lie or its labels are not well-formed (so they may be printed as they are). */
bool metric_read(const struct metric_page *page, uint32_t index, struct metric_series *out);

#endif
