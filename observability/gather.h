/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OBSERVABILITY_GATHER_H
#define OBSERVABILITY_GATHER_H

/*
 * The sum of the metric pages of all processes: one entry per (metric, labels). Counters and
 * histograms of generations that ended are in node's page, so a plain sum counts everything once.
 * Of zlayer_upstream_up, which each worker of the proxy tells of the same replica, the greatest
 * value counts. Pages are other processes' memory: every series is read as a checked copy.
 * Threading: one owner.
 */

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/map.h"
#include "base/metric.h"

enum {
	GATHER_SERIES_MAX = 50000,
	GATHER_PAGE_SERIES_MAX = 8192, /* of one process: none can take the places of the others */
	GATHER_BYTES_MAX = 64 << 20,
};

struct gather_series {
	uint16_t metric;
	uint16_t kind;
	bool gone;           /* folded into another one */
	uint64_t created_ns; /* of the oldest page that has it */
	const char *labels;  /* as in the text format, "" for none */
	uint64_t values[METRIC_VALUES];
};

struct gather {
	struct arena arena;
	struct map index;
	struct gather_series **items;
	size_t count, capacity;
	uint64_t folded; /* label sets that found no place, here and in the pages */
	bool failed;     /* no memory: what is there is not all */
};

void gather_init(struct gather *g);
void gather_fini(struct gather *g);
/* Adds a page; series is the bound of the walk. */
void gather_page(struct gather *g, const struct metric_page *page, uint32_t series);
/* What is there of that label set, or NULL. */
struct gather_series *gather_find(const struct gather *g, unsigned metric, const char *labels);
/* Adds to a counter, which is made when it is missing. */
void gather_count(struct gather *g, unsigned metric, const char *labels, uint64_t n);

/* Without per_replica the label `replica` is left out and what differs in it alone is summed. Then,
 * of each service, series_max label sets of counters and histograms stay, and as many of gauges:
 * the oldest, so that none that was shown goes away and no sum goes back. The others are added to
 * the one of their family that says "other" in every label but `service`. folded is told how many
 * those were, once for each service that has any; service is as in the text format. */
struct gather_limits {
	bool per_replica;
	uint32_t series_max;
	void (*folded)(void *arg, const char *service, uint64_t label_sets);
	void *arg;
};
void gather_reduce(struct gather *g, const struct gather_limits *limits);
/* By metric id, then by labels. */
void gather_sort(struct gather *g);

#endif
