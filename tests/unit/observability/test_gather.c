/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of what one service shows: the oldest stay, sums stay right, nothing is counted twice. */
#include "observability/gather.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "ring/metrics.h"

enum { SERIES = 1024, CODES = 300, LIMIT = 50 };

static struct metric_page *
page_new(void)
{
	size_t bytes = (metric_page_bytes(SERIES) + 63) & ~(size_t)63;
	void *memory = aligned_alloc(64, bytes);

	memset(memory, 0, bytes);
	return metric_page_init(memory, bytes);
}

static struct metric_series *
requests(struct metric_page *page, const char *service, unsigned code)
{
	struct metric_labels l = {0};

	metric_label(&l, "service", service);
	metric_label(&l, "endpoint", "a \"b\", c=\\");
	metric_label(&l, "method", "GET");
	metric_label_u(&l, "code", code);
	return metrics_get(page, METRICS_HTTP_REQUESTS, &l);
}

static struct metric_series *
up(struct metric_page *page, unsigned replica)
{
	struct metric_labels l = {0};

	metric_label(&l, "service", "shop/web");
	metric_label_u(&l, "replica", replica);
	metric_label(&l, "node", "edge-1");
	return metrics_get(page, METRICS_UPSTREAM_UP, &l);
}

static uint64_t folded_sum;
static unsigned folded_calls;

static void
folded(void *arg, const char *service, uint64_t label_sets)
{
	(void)arg;
	assert_string_equal(service, "service=\"shop/web\"");
	folded_sum = label_sets;
	folded_calls++;
}

static void
reduce(struct gather *g, bool per_replica, uint32_t series_max)
{
	const struct gather_limits limits = {
		.per_replica = per_replica,
		.series_max = series_max,
		.folded = folded,
	};

	folded_sum = folded_calls = 0;
	gather_reduce(g, &limits);
	gather_sort(g);
	assert_false(g->failed);
}

static uint64_t
sum_of(const struct gather *g, const char *service)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < g->count; i++)
		if (strstr(g->items[i]->labels, service))
			sum += g->items[i]->values[0];
	return sum;
}

static void
test_oldest_stay(void **state)
{
	struct metric_page *page = page_new();
	struct gather g;

	(void)state;
	for (unsigned i = CODES; i-- > 0;)
		metric_add(requests(page, "shop/web", 200 + i), i);
	for (unsigned i = 0; i < 10; i++)
		metric_add(requests(page, "shop/api", 200 + i), 1);
	/* Others made them later: the place in the page says nothing. */
	for (unsigned i = 0; i < CODES; i++)
		requests(page, "shop/web", 200 + i)->created_ns = i + 1;
	gather_init(&g);
	gather_page(&g, page, SERIES);
	reduce(&g, true, LIMIT);
	assert_int_equal(g.count, LIMIT + 1 + 10);
	assert_int_equal(folded_sum, CODES - LIMIT);
	assert_int_equal(folded_calls, 1);
	assert_int_equal(sum_of(&g, "shop/web"), CODES * (CODES - 1) / 2);
	assert_int_equal(sum_of(&g, "shop/api"), 10);
	const struct gather_series *other = gather_find(
		&g, METRICS_HTTP_REQUESTS,
		"service=\"shop/web\",endpoint=\"other\",method=\"other\",code=\"other\"");
	assert_non_null(other);
	assert_int_equal(other->values[0], CODES * (CODES - 1) / 2 - LIMIT * (LIMIT - 1) / 2);
	for (unsigned i = 0; i < LIMIT; i++) {
		char labels[METRIC_LABEL_BYTES];

		snprintf(labels, sizeof(labels),
			 "service=\"shop/web\",endpoint=\"a \\\"b\\\", c=\\\\\",method=\"GET\","
			 "code=\"%u\"",
			 200 + i);
		assert_int_equal(gather_find(&g, METRICS_HTTP_REQUESTS, labels)->values[0], i);
	}
	gather_fini(&g);
	free(page);
}

/* A replica that comes or goes must not push a counter over the limit, or a sum would go back. */
static void
test_gauges_push_out_no_counter(void **state)
{
	struct metric_page *page = page_new();
	struct gather g;

	(void)state;
	for (unsigned i = 0; i < LIMIT; i++)
		metric_set(up(page, i), 1);
	for (unsigned i = 0; i < LIMIT; i++)
		metric_add(requests(page, "shop/web", 200 + i), 1);
	gather_init(&g);
	gather_page(&g, page, SERIES);
	reduce(&g, true, LIMIT);
	assert_int_equal(g.count, 2 * LIMIT);
	assert_int_equal(folded_calls, 0);
	gather_fini(&g);
	free(page);
}

static void
test_without_replicas(void **state)
{
	struct metric_page *pages[2] = {page_new(), page_new()};
	struct gather g;

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		metric_set(up(pages[0], i), i != 2);
		metric_set(up(pages[1], i), i != 2);
	}
	gather_init(&g);
	gather_page(&g, pages[0], SERIES);
	gather_page(&g, pages[1], SERIES);
	assert_int_equal(g.count, 5);
	assert_int_equal(g.items[0]->values[0], 1); /* both workers tell of the same replica */
	reduce(&g, false, LIMIT);
	assert_int_equal(g.count, 1);
	assert_string_equal(g.items[0]->labels, "service=\"shop/web\",node=\"edge-1\"");
	assert_int_equal(g.items[0]->values[0], 4);
	gather_fini(&g);
	free(pages[0]);
	free(pages[1]);
}

static void
test_counting_what_is_there(void **state)
{
	struct gather g;

	(void)state;
	gather_init(&g);
	assert_null(gather_find(&g, METRICS_SERIES_FOLDED, "service=\"a\""));
	gather_count(&g, METRICS_SERIES_FOLDED, "service=\"a\"", 3);
	gather_count(&g, METRICS_SERIES_FOLDED, "service=\"a\"", 2);
	assert_int_equal(gather_find(&g, METRICS_SERIES_FOLDED, "service=\"a\"")->values[0], 5);
	gather_fini(&g);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_oldest_stay),
		cmocka_unit_test(test_gauges_push_out_no_counter),
		cmocka_unit_test(test_without_replicas),
		cmocka_unit_test(test_counting_what_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
