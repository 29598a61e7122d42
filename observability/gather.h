/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OBSERVABILITY_GATHER_H
#define OBSERVABILITY_GATHER_H

/*
 * The sum of the metric pages of all processes: one entry per (metric, labels). Counters and
 * histograms of generations that ended are in node's page, so a plain sum counts everything once.
 * Pages are other processes' memory: every series is read as a checked copy.
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
	const char *labels; /* as in the text format, "" for none */
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
/* By metric id, then by labels. */
void gather_sort(struct gather *g);

#endif
