/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include "tests/support/sweep.h"

static void
test_counts_by_tag(void **state)
{
	void *a;
	void *b;

	(void)state;
	assert_int_equal(mem_used_all(), 0);
	a = mem_alloc(MEM_PROXY, 100);
	b = mem_zalloc(MEM_RING, 50);
	assert_int_equal(mem_used(MEM_PROXY), 100);
	assert_int_equal(mem_used(MEM_RING), 50);
	assert_int_equal(mem_used(MEM_BASE), 0);
	assert_int_equal(mem_used_all(), 150);
	/* A block keeps its tag. */
	a = mem_resize(MEM_BASE, a, 300, 1);
	assert_non_null(a);
	assert_int_equal(mem_used(MEM_PROXY), 300);
	assert_int_equal(mem_used(MEM_BASE), 0);
	mem_free(a);
	mem_free(b);
	mem_free(NULL);
	assert_int_equal(mem_used_all(), 0);
}

static void
test_contents(void **state)
{
	static const char zeros[64];
	char *a = mem_array(MEM_BASE, 8, 8);
	char *b;

	(void)state;
	assert_non_null(a);
	assert_int_equal((uintptr_t)a % 16, 0);
	assert_memory_equal(a, zeros, 64);
	memset(a, 'x', 64);
	a = mem_resize(MEM_BASE, a, 1000, 10);
	assert_non_null(a);
	for (size_t i = 0; i < 64; i++)
		assert_int_equal(a[i], 'x');
	a = mem_resize(MEM_BASE, a, 3, 1);
	assert_non_null(a);
	b = mem_dup(MEM_BASE, a, 3);
	assert_memory_equal(b, "xxx", 3);
	mem_free(a);
	mem_free_zero(b);
	mem_free_zero(NULL);
	a = mem_strdup(MEM_BASE, "edge");
	assert_string_equal(a, "edge");
	mem_free(a);
	a = mem_strndup(MEM_BASE, "edge-1", 4);
	assert_string_equal(a, "edge");
	mem_free(a);
	a = mem_strndup(MEM_BASE, "ed", 400);
	assert_string_equal(a, "ed");
	mem_free(a);
	a = mem_resize(MEM_BASE, NULL, 0, 5);
	assert_non_null(a);
	mem_free(a);
}

static void
test_too_large(void **state)
{
	char *p = mem_alloc(MEM_BASE, 1);

	(void)state;
	assert_non_null(p);
	assert_null(mem_array(MEM_BASE, SIZE_MAX / 2, 3));
	assert_null(mem_alloc(MEM_BASE, SIZE_MAX));
	assert_null(mem_zalloc(MEM_BASE, SIZE_MAX - 8));
	assert_null(mem_resize(MEM_BASE, p, SIZE_MAX, 2));
	assert_null(mem_resize(MEM_BASE, p, SIZE_MAX, 1));
	*p = 'x';
	assert_int_equal(mem_used_all(), 1);
	mem_free(p);
}

static void
test_fails_once(void **state)
{
	void *p[4];

	(void)state;
	mem_fail_after(2);
	for (size_t i = 0; i < 4; i++) {
		p[i] = mem_alloc(MEM_BASE, 8);
		assert_int_equal(p[i] == NULL, i == 2);
	}
	assert_int_equal(mem_failures(), 1);
	mem_fail_after(0);
	assert_int_equal(mem_failures(), 0);
	/* The old block stays valid. */
	assert_null(mem_resize(MEM_BASE, p[0], 100, 1));
	memset(p[0], 1, 8);
	mem_fail_after(-1);
	for (size_t i = 0; i < 4; i++)
		mem_free(p[i]);
	assert_int_equal(mem_used_all(), 0);
}

static void
test_sweep_visits_each_allocation(void **state)
{
	int64_t runs = 0;

	(void)state;
	sweep_each(s)
	{
		void *a = mem_alloc(MEM_BASE, 1);
		void *b = mem_strdup(MEM_BASE, "b");
		void *c = mem_resize(MEM_BASE, NULL, 3, 1);

		assert_int_equal(s.run, runs++);
		assert_int_equal(!a || !b || !c, sweep_failed());
		assert_int_equal(a == NULL, s.run == 0);
		assert_int_equal(c == NULL, s.run == 2);
		mem_free(a);
		mem_free(b);
		mem_free(c);
	}
	assert_int_equal(runs, 4);
}

static void
leave_scope(void)
{
	defer_free char *text = mem_strdup(MEM_BASE, "text");
	defer_free char *none = NULL;

	assert_non_null(text);
	assert_null(none);
}

static void
test_defer_free(void **state)
{
	(void)state;
	leave_scope();
	assert_int_equal(mem_used_all(), 0);
}

static void
test_wipe(void **state)
{
	char secret[] = "secret";

	(void)state;
	mem_wipe(secret, sizeof(secret));
	for (size_t i = 0; i < sizeof(secret); i++)
		assert_int_equal(secret[i], 0);
	mem_wipe(NULL, 0);
}

static void
test_tags_have_names(void **state)
{
	(void)state;
	for (unsigned tag = 0; tag < MEM_TAGS_; tag++) {
		assert_non_null(mem_tag_name((enum mem_tag)tag));
		for (unsigned other = 0; other < tag; other++)
			assert_string_not_equal(mem_tag_name((enum mem_tag)tag),
						mem_tag_name((enum mem_tag)other));
	}
}

static void *
churn(void *arg)
{
	for (size_t i = 0; i < 10000; i++) {
		void *p = mem_alloc(MEM_BASE, i % 100);

		p = mem_resize(MEM_BASE, p, i % 300, 1);
		mem_free(p);
	}
	return arg;
}

static void
test_counters_of_threads(void **state)
{
	pthread_t threads[4];

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn, NULL), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(mem_used_all(), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts_by_tag),
		cmocka_unit_test(test_contents),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_fails_once),
		cmocka_unit_test(test_sweep_visits_each_allocation),
		cmocka_unit_test(test_defer_free),
		cmocka_unit_test(test_wipe),
		cmocka_unit_test(test_tags_have_names),
		cmocka_unit_test(test_counters_of_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
