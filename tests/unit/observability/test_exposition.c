/* SPDX-License-Identifier: Apache-2.0 */
/* Sums over pages, both text formats against golden text, Accept headers, and lying pages. */
#include "observability/exposition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/world.h"
#include "ring/metrics.h"

enum { SERIES = 64 };

static struct metric_page *
page_new(void)
{
	size_t bytes = (metric_page_bytes(SERIES) + 63) & ~(size_t)63;
	void *memory = aligned_alloc(64, bytes);

	memset(memory, 0, bytes);
	return metric_page_init(memory, bytes);
}

static void
fill(struct metric_page *page, uint64_t n)
{
	struct metric_labels ok = {0}, web = {0};

	metric_label(&ok, "service", "shop/web");
	metric_label(&ok, "result", "success");
	metric_label(&web, "service", "shop/web");
	metric_label(&web, "endpoint", "http \"x\"");
	metric_add(metrics_get(page, METRICS_HEALTH_CHECKS, &ok), n);
	metric_gauge_add(metrics_get(page, METRICS_HTTP_IN_FLIGHT, &web), (int64_t)n);
	metrics_observe(metrics_get(page, METRICS_HTTP_UPSTREAM_DURATION, &web),
			METRICS_HTTP_UPSTREAM_DURATION, 1500000 * n);
	metrics_observe(metrics_get(page, METRICS_HTTP_UPSTREAM_DURATION, &web),
			METRICS_HTTP_UPSTREAM_DURATION, UINT64_C(20000000000));
	metric_add(metrics_get(page, METRICS_PROCESS_CPU, NULL), 1250000000 * n);
}

static void
render(struct metric_page **pages, size_t count, enum exposition_format format, struct buf *out)
{
	struct gather g;

	gather_init(&g);
	for (size_t i = 0; i < count; i++)
		gather_page(&g, pages[i], SERIES);
	gather_sort(&g);
	exposition_write(&g, format, out);
	assert_true(buf_ok(out));
	gather_fini(&g);
}

/* One process that shows more than any of ours has leaves room for the others. */
static void
test_page_that_is_too_large(void **state)
{
	size_t bytes = (metric_page_bytes(GATHER_PAGE_SERIES_MAX + 100) + 63) & ~(size_t)63;
	void *memory = aligned_alloc(64, bytes);
	struct metric_page *page;
	struct gather g;

	(void)state;
	memset(memory, 0, bytes);
	page = metric_page_init(memory, bytes);
	for (uint64_t i = 0; i < GATHER_PAGE_SERIES_MAX + 100; i++) {
		struct metric_series *s = &page->series[i];

		s->metric = METRICS_PROCESS_UP;
		s->kind = METRIC_GAUGE;
		s->label_bytes = (uint32_t)snprintf(s->labels, sizeof(s->labels), "n=\"%llu\"",
						    (unsigned long long)i);
		s->used = 1;
	}
	gather_init(&g);
	gather_page(&g, page, GATHER_PAGE_SERIES_MAX + 100);
	assert_int_equal(g.count, GATHER_PAGE_SERIES_MAX);
	assert_int_equal(g.folded, 100);
	assert_false(g.failed);
	gather_fini(&g);
	free(memory);
}

static const char classic[] =
	"# HELP zlayer_http_upstream_duration_seconds Time until a replica's answer began.\n"
	"# TYPE zlayer_http_upstream_duration_seconds histogram\n"
	"zlayer_http_upstream_duration_seconds_bucket{service=\"shop/web\",endpoint=\"http "
	"\\\"x\\\"\",le=\"0.001\"} 0\n";

static void
test_classic(void **state)
{
	struct metric_page *pages[2] = {page_new(), page_new()};
	struct buf out;

	(void)state;
	fill(pages[0], 1);
	fill(pages[1], 2);
	buf_init(&out, MEM_OBSERVABILITY, 1 << 20);
	render(pages, 2, EXPOSITION_CLASSIC, &out);
	const char *text = buf_cstr(&out);
	assert_memory_equal(text, classic, strlen(classic));
	assert_non_null(strstr(text, "le=\"0.0025\"} 1\n"));
	assert_non_null(strstr(text, "le=\"0.005\"} 2\n"));
	assert_non_null(strstr(text, "le=\"10\"} 2\n"));
	assert_non_null(strstr(text, "le=\"+Inf\"} 4\n"));
	assert_non_null(strstr(text, "_sum{service=\"shop/web\",endpoint=\"http \\\"x\\\"\"} "
				     "40.0045\n"));
	assert_non_null(
		strstr(text, "_count{service=\"shop/web\",endpoint=\"http \\\"x\\\"\"} 4\n"));
	assert_non_null(strstr(text, "# TYPE zlayer_health_checks_total counter\n"
				     "zlayer_health_checks_total{service=\"shop/web\",result="
				     "\"success\"} 3\n"));
	assert_non_null(strstr(text, "process_cpu_seconds_total 3.75\n"));
	assert_null(strstr(text, "EOF"));
	assert_null(strstr(text, "18446744073709551615"));
	buf_fini(&out);
	free(pages[0]);
	free(pages[1]);
}

static void
test_openmetrics(void **state)
{
	struct metric_page *page = page_new();
	struct buf out;

	(void)state;
	fill(page, 1);
	buf_init(&out, MEM_OBSERVABILITY, 1 << 20);
	render(&page, 1, EXPOSITION_OPENMETRICS, &out);
	const char *text = buf_cstr(&out);
	assert_non_null(strstr(text, "# TYPE zlayer_health_checks counter\n"
				     "zlayer_health_checks_total{"));
	assert_non_null(strstr(text, "le=\"10.0\"}"));
	assert_non_null(strstr(text, "le=\"0.001\"}"));
	assert_string_equal(text + out.length - 6, "# EOF\n");
	buf_fini(&out);
	free(page);
}

static void
test_negative_gauge(void **state)
{
	struct metric_page *page = page_new();
	struct buf out;

	(void)state;
	metric_set(metrics_get(page, METRICS_STORAGE_BYTES, NULL), -5);
	metric_set(metrics_get(page, METRICS_SCRAPE_DURATION, NULL), -1500000000);
	buf_init(&out, MEM_OBSERVABILITY, 1 << 20);
	render(&page, 1, EXPOSITION_CLASSIC, &out);
	assert_non_null(strstr(buf_cstr(&out), "zlayer_storage_bytes -5\n"));
	assert_non_null(strstr(buf_cstr(&out), "zlayer_scrape_duration_seconds -1.5\n"));
	buf_fini(&out);
	free(page);
}

static void
test_accept(void **state)
{
	static const struct {
		const char *accept;
		enum exposition_format format;
	} cases[] = {
		{"", EXPOSITION_CLASSIC},
		{"*/*", EXPOSITION_CLASSIC},
		{"text/plain", EXPOSITION_CLASSIC},
		{"application/openmetrics-text;version=1.0.0,application/"
		 "openmetrics-text;version=0."
		 "0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
		 EXPOSITION_OPENMETRICS},
		{"application/openmetrics-text; version=1.0.0; charset=utf-8",
		 EXPOSITION_OPENMETRICS},
		{"application/openmetrics-text;version=2.0.0,text/plain;q=0.5", EXPOSITION_CLASSIC},
		{"application/openmetrics-text;q=0.1,text/plain;q=0.9", EXPOSITION_CLASSIC},
		{"application/openmetrics-text;q=0,*/*", EXPOSITION_CLASSIC},
		{";;;,,,;q=;", EXPOSITION_CLASSIC},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(exposition_choose(cases[i].accept, strlen(cases[i].accept)),
				 cases[i].format);
}

/* Whatever stands in a page, the text holds only families that we know, one TYPE line each. */
static void
test_lying_page(void **state)
{
	struct metric_page *page = page_new();
	struct world_seeded w;
	struct buf out;

	(void)state;
	world_seeded_init(&w, 3, 0, 0);
	for (int round = 0; round < 200; round++) {
		fill(page, 1);
		for (int i = 0; i < 40; i++) {
			size_t at = world_random_below(&w.world, metric_page_bytes(SERIES));

			((unsigned char *)page)[at] = (unsigned char)world_random_u64(&w.world);
		}
		buf_init(&out, MEM_OBSERVABILITY, 1 << 20);
		render(&page, 1, EXPOSITION_CLASSIC, &out);
		for (const char *line = buf_cstr(&out); *line; line = strchr(line, '\n') + 1)
			assert_true(*line == '#' || *line == 'z' || *line == 'p');
		buf_fini(&out);
		memset(page, 0, metric_page_bytes(SERIES));
		metric_page_init(page, metric_page_bytes(SERIES));
	}
	free(page);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_classic),     cmocka_unit_test(test_page_that_is_too_large),
		cmocka_unit_test(test_openmetrics), cmocka_unit_test(test_negative_gauge),
		cmocka_unit_test(test_accept),      cmocka_unit_test(test_lying_page),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
