/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "tests/support/sweep.h"

enum { CAP_BYTES = 1 << 20 };

static void
test_aligned_and_zeroed(void **state)
{
	static const char zeros[100];
	struct arena a;

	(void)state;
	arena_init(&a, MEM_SPEC, CAP_BYTES);
	assert_int_equal(mem_used(MEM_SPEC), 0);
	for (size_t i = 1; i < 100; i++) {
		char *bytes = arena_bytes(&a, i % 7);
		char *p = arena_alloc(&a, i);

		assert_non_null(bytes);
		assert_non_null(p);
		assert_int_equal((uintptr_t)p % 16, 0);
		assert_memory_equal(p, zeros, i);
		memset(bytes, 0xff, i % 7);
		memset(p, 0xff, i);
	}
	assert_true(mem_used(MEM_SPEC) > 0);
	arena_fini(&a);
	assert_int_equal(mem_used_all(), 0);
}

static void
test_text(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a, MEM_BASE, CAP_BYTES);
	assert_string_equal(arena_strdup(&a, "edge"), "edge");
	assert_string_equal(arena_strdup(&a, ""), "");
	assert_string_equal(arena_strndup(&a, "edge-1", 4), "edge");
	assert_string_equal(arena_strndup(&a, "edge", 40), "edge");
	assert_string_equal(arena_printf(&a, "%s-%d", "edge", 1), "edge-1");
	assert_true(arena_ok(&a));
	arena_fini(&a);
}

static void
test_blocks_do_not_overlap(void **state)
{
	static const size_t sizes[] = {1, 900, 20000, 16, 200000, 3, 1008, 64, 70000, 5};
	char *blocks[10];
	struct arena a;

	(void)state;
	arena_init(&a, MEM_BASE, CAP_BYTES);
	for (int i = 0; i < 10; i++) {
		blocks[i] = arena_alloc(&a, sizes[i]);
		assert_non_null(blocks[i]);
		memset(blocks[i], 'a' + i, sizes[i]);
	}
	for (int i = 0; i < 10; i++)
		for (size_t j = 0; j < sizes[i]; j++)
			assert_int_equal(blocks[i][j], 'a' + i);
	arena_fini(&a);
}

static void
test_cap_is_exact_and_sticky(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a, MEM_BASE, 100);
	assert_non_null(arena_bytes(&a, 60));
	assert_non_null(arena_bytes(&a, 40));
	assert_true(arena_ok(&a));
	assert_null(arena_bytes(&a, 1));
	assert_false(arena_ok(&a));
	assert_null(arena_bytes(&a, 0));
	assert_null(arena_strdup(&a, ""));
	assert_null(arena_printf(&a, "x"));
	arena_reset(&a);
	assert_true(arena_ok(&a));
	assert_non_null(arena_alloc(&a, 96));
	assert_null(arena_alloc(&a, 16));
	arena_fini(&a);
}

static void
test_absurd_sizes(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a, MEM_BASE, SIZE_MAX);
	assert_null(arena_alloc(&a, SIZE_MAX));
	arena_reset(&a);
	assert_null(arena_array(&a, SIZE_MAX / 2, 3));
	assert_false(arena_ok(&a));
	arena_reset(&a);
	assert_null(arena_array(&a, SIZE_MAX / 4, 4));
	arena_reset(&a);
	assert_non_null(arena_array(&a, 4, 4));
	arena_fini(&a);
}

static void
test_reset_keeps_first_chunk(void **state)
{
	struct arena a;
	size_t used;
	char *first;

	(void)state;
	arena_init(&a, MEM_BASE, CAP_BYTES);
	first = arena_bytes(&a, 10);
	used = mem_used_all();
	assert_non_null(arena_bytes(&a, 50000));
	for (int i = 0; i < 100; i++)
		assert_non_null(arena_bytes(&a, 900));
	arena_reset(&a);
	assert_int_equal(mem_used_all(), used);
	assert_ptr_equal(arena_bytes(&a, 10), first);
	arena_reset(&a);
	arena_fini(&a);
	assert_int_equal(mem_used_all(), 0);
}

/* Memory stays near what was handed out, whatever the sizes are. */
static void
test_waste_is_bounded(void **state)
{
	struct arena a;
	size_t sum = 0;

	(void)state;
	arena_init(&a, MEM_BASE, 64 << 20);
	for (size_t i = 0; i < 2000; i++) {
		size_t bytes = i % 2 ? 16 : 1 + i * 37 % 60000;

		assert_non_null(arena_bytes(&a, bytes));
		sum += bytes;
	}
	assert_true(mem_used_all() < sum + sum / 4 + 128 * 1024);
	arena_fini(&a);
}

static void
test_out_of_memory(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct arena a;

		arena_init(&a, MEM_BASE, CAP_BYTES);
		for (size_t i = 0; i < 10; i++) {
			char *p = arena_alloc(&a, i * 1000);

			assert_int_equal(p == NULL, sweep_failed());
		}
		assert_int_equal(arena_ok(&a), !sweep_failed());
		arena_fini(&a);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_aligned_and_zeroed),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_blocks_do_not_overlap),
		cmocka_unit_test(test_cap_is_exact_and_sticky),
		cmocka_unit_test(test_absurd_sizes),
		cmocka_unit_test(test_reset_keeps_first_chunk),
		cmocka_unit_test(test_waste_is_bounded),
		cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
