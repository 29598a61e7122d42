/* SPDX-License-Identifier: Apache-2.0 */
/* The table of metric families, by id, and the two sets of histogram bounds of product.md. */
#include "ring/metrics.h"

#include <assert.h>
#include <stddef.h>

#define FAMILY_(id_, constant, name_, kind_, scale_, bounds_, help_) \
	[id_] = {.id = (id_),                                        \
		 .kind = METRIC_##kind_,                             \
		 .scale = METRICS_##scale_,                          \
		 .bounds = METRICS_##bounds_,                        \
		 .name = (name_),                                    \
		 .help = (help_)},
static const struct metrics_family families[METRICS_IDS_] = {METRICS_TABLE(FAMILY_)};

/* A bound of UINT64_MAX is unused: what falls there belongs to +Inf. */
#define MS_ UINT64_C(1000000)
static const uint64_t seconds[METRIC_BOUNDS] = {
	1 * MS_,   2500000,   5 * MS_,    10 * MS_,   25 * MS_,   50 * MS_,    100 * MS_,
	250 * MS_, 500 * MS_, 1000 * MS_, 2500 * MS_, 5000 * MS_, 10000 * MS_, UINT64_MAX,
};
static const uint64_t bytes[METRIC_BOUNDS] = {
	100,        1000,       10000,      100000,     1000000,    10000000,   UINT64_MAX,
	UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX,
};

const struct metrics_family *
metrics_family(unsigned id)
{
	return id < METRICS_IDS_ && families[id].id ? &families[id] : NULL;
}

const uint64_t *
metrics_bounds_of(enum metrics_bounds which)
{
	switch (which) {
	case METRICS_SECONDS:
		return seconds;
	case METRICS_BYTES:
		return bytes;
	case METRICS_NO_BOUNDS:
		break;
	}
	return NULL;
}

struct metric_series *
metrics_get(struct metric_page *page, enum metrics_id id, const struct metric_labels *labels)
{
	const struct metrics_family *family = metrics_family(id);

	assert(family);
	return metric_get(page, family->id, family->kind, labels);
}

void
metrics_observe(struct metric_series *s, enum metrics_id id, uint64_t raw)
{
	const struct metrics_family *family = metrics_family(id);

	assert(family && family->kind == METRIC_HISTOGRAM);
	metric_observe(s, metrics_bounds_of(family->bounds), raw);
}
