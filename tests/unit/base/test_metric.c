/* SPDX-License-Identifier: Apache-2.0 */
/* Metric pages: look-up, folding, what a reader accepts, and a reader beside a writer. */
#include "base/metric.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/mem.h"

struct page {
	void *block;
	struct metric_page *page;
	size_t bytes;
};

static void
page_open(struct page *p, uint32_t series)
{
	p->bytes = metric_page_bytes(series);
	p->block = mem_zalloc(MEM_BASE, p->bytes + 64);
	assert_non_null(p->block);
	void *aligned = (void *)(((uintptr_t)p->block + 63) & ~(uintptr_t)63);
	p->page = metric_page_init(aligned, p->bytes);
	assert_int_equal(p->page->capacity, series);
}

static void
page_close(struct page *p)
{
	mem_free(p->block);
}

static struct metric_labels
labels_of(const char *name, const char *value)
{
	struct metric_labels l = {0};

	metric_label(&l, name, value);
	return l;
}

static void
geometry_is_its_own_inverse(void **state)
{
	(void)state;

	for (uint32_t n = 1; n < 3000; n += 7) {
		assert_int_equal(metric_page_series(metric_page_bytes(n)), n);
		assert_int_equal(metric_page_series(metric_page_bytes(n) - 1), n - 1);
	}
	assert_int_equal(metric_page_series(0), 0);
}

static void
labels_are_escaped(void **state)
{
	(void)state;
	struct metric_labels l = {0};

	metric_label(&l, "service", "shop/web");
	metric_label(&l, "path", "a\"b\\c\nd\te");
	metric_label(&l, "bad", "x\xffy");
	metric_label(&l, "good", "\xc3\xa9");
	metric_label_u(&l, "code", 404);
	assert_string_equal(l.text, "service=\"shop/web\",path=\"a\\\"b\\\\c\\nd?e\",bad=\"x?y\","
				    "good=\"\xc3\xa9\",code=\"404\"");
	assert_int_equal(l.length, strlen(l.text));
	assert_false(l.cut);
}

static void
long_labels_are_left_out_whole(void **state)
{
	(void)state;

	for (size_t n = 0; n < METRIC_LABEL_BYTES + 10; n++) {
		char value[METRIC_LABEL_BYTES + 16] = {0};
		struct metric_labels l = {0};
		memset(value, '"', n);
		metric_label(&l, "a", "b");
		metric_label(&l, "long", value);
		/* a="b",long="..." with each quote doubled, and the NUL */
		bool fits = 6 + 7 + 2 * n < METRIC_LABEL_BYTES;
		assert_int_equal(l.cut, !fits);
		assert_int_equal(l.length, fits ? 13 + 2 * n : 5);
		assert_int_equal(l.length, strlen(l.text));
	}
}

static void
same_labels_same_series(void **state)
{
	(void)state;
	struct page p;
	struct metric_labels a = labels_of("service", "a");
	struct metric_labels b = labels_of("service", "b");

	page_open(&p, 8);
	struct metric_series *s = metric_get(p.page, 1, METRIC_COUNTER, &a);
	assert_ptr_equal(metric_get(p.page, 1, METRIC_COUNTER, &a), s);
	assert_ptr_not_equal(metric_get(p.page, 1, METRIC_COUNTER, &b), s);
	assert_ptr_not_equal(metric_get(p.page, 2, METRIC_COUNTER, &a), s);
	assert_ptr_not_equal(metric_get(p.page, 1, METRIC_COUNTER, NULL), s);
	assert_int_equal(p.page->count, 4);
	assert_int_equal(p.page->folded, 0);
	page_close(&p);
}

static void
values_are_read_back(void **state)
{
	(void)state;
	static const uint64_t bounds[METRIC_BOUNDS] = {1,   2,   4,   8,    16,   32,   64,
						       128, 256, 512, 1024, 2048, 4096, 8192};
	struct page p;
	struct metric_series out;

	page_open(&p, 8);
	metric_add(metric_get(p.page, 1, METRIC_COUNTER, NULL), 3);
	metric_add(metric_get(p.page, 1, METRIC_COUNTER, NULL), 4);
	struct metric_series *gauge = metric_get(p.page, 2, METRIC_GAUGE, NULL);
	metric_set(gauge, -5);
	metric_gauge_add(gauge, -2);
	struct metric_series *h = metric_get(p.page, 3, METRIC_HISTOGRAM, NULL);
	metric_observe(h, bounds, 0);
	metric_observe(h, bounds, 1);
	metric_observe(h, bounds, 8192);
	metric_observe(h, bounds, 8193);

	const struct metric_page *r = metric_page_check(p.page, p.bytes);
	assert_non_null(r);
	assert_true(metric_read(r, 0, &out));
	assert_int_equal(out.metric, 1);
	assert_int_equal(out.values[0], 7);
	assert_true(out.created_ns > 0);
	assert_true(metric_read(r, 1, &out));
	assert_int_equal((int64_t)out.values[0], -7);
	assert_true(metric_read(r, 2, &out));
	assert_int_equal(out.kind, METRIC_HISTOGRAM);
	assert_int_equal(out.values[0], 2);
	assert_int_equal(out.values[13], 1);
	assert_int_equal(out.values[14], 1);
	assert_int_equal(out.values[15], 0 + 1 + 8192 + 8193);
	assert_false(metric_read(r, 3, &out));
	assert_false(metric_read(r, 8, &out));
	assert_false(metric_read(r, UINT32_MAX, &out));
	page_close(&p);
}

static void
full_page_folds_into_other(void **state)
{
	(void)state;
	struct page p;
	struct metric_series out;
	uint64_t sum = 0;
	bool other = false;

	page_open(&p, 16);
	for (uint64_t i = 0; i < 1000; i++) {
		struct metric_labels l = {0};
		metric_label(&l, "host", "h");
		metric_label_u(&l, "n", i);
		metric_add(metric_get(p.page, 9, METRIC_COUNTER, &l), 1);
	}
	/* 14 of 16 places are open to all; the rest was folded */
	assert_int_equal(p.page->count, 15);
	assert_int_equal(p.page->folded, 1000 - 14);
	for (uint32_t i = 0; i < metric_page_series(p.bytes); i++) {
		if (!metric_read(p.page, i, &out))
			continue;
		sum += out.values[0];
		if (strcmp(out.labels, "host=\"other\",n=\"other\"") == 0) {
			assert_int_equal(out.values[0], 1000 - 14);
			other = true;
		}
	}
	assert_true(other);
	assert_int_equal(sum, 1000);
	page_close(&p);
}

static void
sink_takes_the_rest_and_is_not_shown(void **state)
{
	(void)state;
	struct page p;
	struct metric_series out;
	uint32_t shown = 0;

	page_open(&p, 8);
	for (uint16_t metric = 0; metric < 100; metric++) {
		struct metric_labels l = labels_of("a", "b");
		metric_add(metric_get(p.page, metric, METRIC_COUNTER, &l), 1);
		metric_add(metric_get(p.page, metric, METRIC_COUNTER, NULL), 1);
	}
	for (uint32_t i = 0; i < 100; i++)
		shown += metric_read(p.page, i, &out) ? 1 : 0;
	assert_int_equal(shown, 8);
	page_close(&p);
}

static void
cut_labels_go_to_other(void **state)
{
	(void)state;
	struct page p;
	char value[METRIC_LABEL_BYTES] = {0};
	struct metric_labels l = {0};

	page_open(&p, 8);
	memset(value, 'x', sizeof(value) - 1);
	metric_label(&l, "a", "b");
	metric_label(&l, "c", value);
	struct metric_series *s = metric_get(p.page, 1, METRIC_COUNTER, &l);
	assert_string_equal(s->labels, "a=\"other\"");
	assert_int_equal(p.page->folded, 1);
	page_close(&p);
}

static void
what_is_gone_is_not_shown(void **state)
{
	(void)state;
	struct page p;
	struct metric_series out;
	struct metric_labels l = labels_of("a", "b");

	page_open(&p, 8);
	struct metric_series *s = metric_get(p.page, 1, METRIC_GAUGE, &l);
	metric_set(s, 7);
	metric_hide(s);
	assert_false(metric_read(p.page, 0, &out));
	metric_set(s, 8); /* a pointer from before: still not shown */
	assert_false(metric_read(p.page, 0, &out));
	assert_ptr_equal(metric_get(p.page, 1, METRIC_GAUGE, &l), s);
	assert_true(metric_read(p.page, 0, &out));
	assert_int_equal(out.values[0], 0);
	/* The sink can be hidden as well as not. */
	metric_hide(&p.page->series[p.page->capacity]);
	page_close(&p);
}

static void
labels_whose_names_begin_alike(void **state)
{
	(void)state;
	struct page p;
	struct metric_series out;
	struct metric_labels l = {.length = 0};

	page_open(&p, 8);
	metric_label(&l, "len", "1");
	metric_label(&l, "le_", "2");
	metric_label(&l, "l", "3");
	metric_get(p.page, 1, METRIC_COUNTER, &l);
	assert_true(metric_read(p.page, 0, &out));
	page_close(&p);
}

static void
a_page_that_lies_is_refused(void **state)
{
	(void)state;
	struct page p;

	page_open(&p, 8);
	assert_non_null(metric_page_check(p.page, p.bytes));
	assert_null(metric_page_check(p.page, p.bytes - 1));
	assert_null(metric_page_check(p.page, 3));
	assert_null(metric_page_check((char *)p.page + 8, p.bytes));
	p.page->capacity = 9;
	assert_null(metric_page_check(p.page, p.bytes));
	p.page->capacity = 0;
	assert_null(metric_page_check(p.page, p.bytes));
	p.page->capacity = UINT32_MAX;
	assert_null(metric_page_check(p.page, p.bytes));
	p.page->capacity = 8;
	p.page->magic = 1;
	assert_null(metric_page_check(p.page, p.bytes));
	page_close(&p);
}

static void
a_series_that_lies_is_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"a",
		"a=",
		"a=\"",
		"a=\"b",
		"a=\"b\"c",
		"a=\"b\",",
		"=\"b\"",
		"1=\"b\"",
		"a=\"b\\\"",
		"a=\"\\x\"",
		"a=\"b\",a=\"c\"",
		"ab=\"b\",c=\"d\",ab=\"e\"",
		"le=\"1\"",
		"__name__=\"up\"",
		"a=\"b\"} 1",
		"a=\"b\nc\"",
		"a=\"\xff\"",
		"a=\"b\",,",
		"a=\"b\",c=d",
	};
	struct page p;
	struct metric_series out;
	struct metric_labels l = labels_of("a", "b");

	page_open(&p, 8);
	struct metric_series *s = metric_get(p.page, 1, METRIC_COUNTER, &l);
	assert_true(metric_read(p.page, 0, &out));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(s->labels, 0, sizeof(s->labels));
		strcpy(s->labels, bad[i]);
		s->label_bytes = (uint32_t)strlen(bad[i]);
		assert_false(metric_read(p.page, 0, &out));
	}
	s->label_bytes = METRIC_LABEL_BYTES;
	assert_false(metric_read(p.page, 0, &out));
	s->label_bytes = UINT32_MAX;
	assert_false(metric_read(p.page, 0, &out));
	s->label_bytes = 0;
	assert_true(metric_read(p.page, 0, &out));
	s->kind = 4;
	assert_false(metric_read(p.page, 0, &out));
	page_close(&p);
}

/* One thread adds series and counts; another observes an existing one; the reader sees only whole
 * series whose counters never go back. Run under -Db_sanitize=thread too. */
enum { ROUNDS = 20000, SERIES = 64 };

static void *
write_series(void *arg)
{
	struct metric_page *page = arg;

	for (uint64_t i = 0; i < ROUNDS; i++) {
		struct metric_labels l = {0};
		metric_label_u(&l, "n", i % SERIES);
		metric_add(metric_get(page, 1, METRIC_COUNTER, &l), 1);
	}
	return NULL;
}

static void *
add_elsewhere(void *arg)
{
	struct metric_series *s = arg;

	for (uint64_t i = 0; i < ROUNDS; i++)
		metric_add(s, 1);
	return NULL;
}

static uint64_t
read_all(const struct metric_page *page, uint64_t *last, uint32_t capacity)
{
	struct metric_series out;
	uint64_t sum = 0;

	for (uint32_t i = 0; i < capacity; i++) {
		if (!metric_read(page, i, &out))
			continue;
		assert_int_equal(out.kind, METRIC_COUNTER);
		assert_true(out.values[0] >= last[i]);
		last[i] = out.values[0];
		sum += out.values[0];
	}
	return sum;
}

static void
reader_beside_writers(void **state)
{
	(void)state;
	struct page p;
	pthread_t writer, other;
	uint64_t last[SERIES * 2] = {0};

	page_open(&p, SERIES + 24);
	struct metric_series *shared = metric_get(p.page, 2, METRIC_COUNTER, NULL);
	assert_int_equal(pthread_create(&writer, NULL, write_series, p.page), 0);
	assert_int_equal(pthread_create(&other, NULL, add_elsewhere, shared), 0);
	const struct metric_page *r = metric_page_check(p.page, p.bytes);
	while (read_all(r, last, SERIES + 24) < 2 * ROUNDS)
		;
	pthread_join(writer, NULL);
	pthread_join(other, NULL);
	assert_int_equal(read_all(r, last, SERIES + 24), 2 * ROUNDS);
	page_close(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(geometry_is_its_own_inverse),
		cmocka_unit_test(labels_are_escaped),
		cmocka_unit_test(long_labels_are_left_out_whole),
		cmocka_unit_test(same_labels_same_series),
		cmocka_unit_test(values_are_read_back),
		cmocka_unit_test(full_page_folds_into_other),
		cmocka_unit_test(sink_takes_the_rest_and_is_not_shown),
		cmocka_unit_test(cut_labels_go_to_other),
		cmocka_unit_test(what_is_gone_is_not_shown),
		cmocka_unit_test(labels_whose_names_begin_alike),
		cmocka_unit_test(a_page_that_lies_is_refused),
		cmocka_unit_test(a_series_that_lies_is_refused),
		cmocka_unit_test(reader_beside_writers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
