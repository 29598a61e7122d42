/* SPDX-License-Identifier: Apache-2.0 */
/* Counters of the dead: added once, gauges not, liars not, and a file that survives node. */
#include "node/retired.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "ring/metrics.h"

enum { SERIES = 16 };

static struct metric_page *
page_new(void)
{
	size_t bytes = (metric_page_bytes(SERIES) + 63) / 64 * 64;
	void *memory = aligned_alloc(64, bytes);

	assert_non_null(memory);
	memset(memory, 0, bytes);
	return metric_page_init(memory, bytes);
}

static struct metric_series *
requests(struct metric_page *page, const char *service)
{
	struct metric_labels labels = {0};

	metric_label(&labels, "service", service);
	return metrics_get(page, METRICS_HTTP_REQUESTS, &labels);
}

static void
test_counters_add_up(void **state)
{
	struct metric_page *own = page_new(), *dead = page_new();

	(void)state;
	metric_add(requests(own, "shop/web"), 5);
	metric_add(requests(dead, "shop/web"), 7);
	metric_add(requests(dead, "shop/api"), 3);
	metric_set(metrics_get(dead, METRICS_HTTP_IN_FLIGHT, NULL), 9);
	metrics_observe(metrics_get(dead, METRICS_HTTP_REQUEST_DURATION, NULL),
			METRICS_HTTP_REQUEST_DURATION, 2000000);
	assert_int_equal(retired_add(own, dead), 3);
	assert_int_equal(requests(own, "shop/web")->values[0], 12);
	assert_int_equal(requests(own, "shop/api")->values[0], 3);
	struct metric_series *h = metrics_get(own, METRICS_HTTP_REQUEST_DURATION, NULL);
	uint64_t sum = 0;
	for (size_t i = 0; i < METRIC_VALUES - 1; i++)
		sum += h->values[i];
	assert_int_equal(sum, 1);
	assert_int_equal(h->values[METRIC_VALUES - 1], 2000000);
	free(own);
	free(dead);
}

static void
test_liars_are_passed_over(void **state)
{
	struct metric_page *own = page_new(), *dead = page_new();
	struct metric_series *s = requests(dead, "a");

	(void)state;
	metric_add(s, 1);
	s->metric = 9999;
	assert_int_equal(retired_add(own, dead), 0);
	s->metric = METRICS_HTTP_REQUESTS;
	s->kind = METRIC_HISTOGRAM;
	assert_int_equal(retired_add(own, dead), 0);
	s->kind = METRIC_COUNTER;
	s->values[0] = UINT64_MAX;
	assert_int_equal(retired_add(own, dead), 0);
	s->values[0] = 1;
	memcpy(s->labels, "a=\"\n", 4);
	assert_int_equal(retired_add(own, dead), 0);
	free(own);
	free(dead);
}

static void
test_file(void **state)
{
	char folder[] = "/tmp/zlayer-retired-XXXXXX";
	struct metric_page *own = page_new(), *next = page_new();
	struct err err = {0};

	(void)state;
	assert_non_null(mkdtemp(folder));
	int dirfd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dirfd >= 0);
	assert_int_equal(retired_load(dirfd, next, &err), 0);
	metric_add(requests(own, "shop/web"), 42);
	assert_int_equal(retired_save(dirfd, own, &err), 0);
	assert_int_equal(retired_load(dirfd, next, &err), 0);
	assert_int_equal(requests(next, "shop/web")->values[0], 42);

	int file = openat(dirfd, "retired", O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(file, 20), 0);
	close(file);
	assert_int_equal(retired_load(dirfd, next, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	assert_int_equal(requests(next, "shop/web")->values[0], 42);
	unlinkat(dirfd, "retired", 0);
	close(dirfd);
	rmdir(folder);
	free(own);
	free(next);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counters_add_up),
		cmocka_unit_test(test_liars_are_passed_over),
		cmocka_unit_test(test_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
