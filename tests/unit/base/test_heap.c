/* SPDX-License-Identifier: Apache-2.0 */
#include "base/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/support/sweep.h"

static void
test_order(void **state)
{
	static const uint64_t at[] = {5, 1, 9, 3, 7, UINT64_MAX, 0};
	struct heap_item items[7];
	struct heap h;
	uint64_t last = 0;

	(void)state;
	heap_init(&h, MEM_BASE);
	assert_null(heap_peek(&h));
	assert_null(heap_pop(&h));
	for (size_t i = 0; i < 7; i++) {
		heap_item_init(&items[i]);
		assert_false(heap_contains(&items[i]));
		assert_int_equal(heap_set(&h, &items[i], at[i]), 0);
		assert_true(heap_contains(&items[i]));
	}
	assert_ptr_equal(heap_peek(&h), &items[6]);
	for (size_t i = 0; i < 7; i++) {
		struct heap_item *item = heap_pop(&h);

		assert_true(item->at >= last);
		assert_false(heap_contains(item));
		last = item->at;
	}
	assert_true(last == UINT64_MAX);
	heap_fini(&h);
}

static void
test_ties_in_order_of_setting(void **state)
{
	struct heap_item items[50];
	struct heap h;

	(void)state;
	heap_init(&h, MEM_BASE);
	for (size_t i = 0; i < 50; i++) {
		heap_item_init(&items[i]);
		assert_int_equal(heap_set(&h, &items[i], 7), 0);
	}
	/* Set again: now the youngest. */
	assert_int_equal(heap_set(&h, &items[0], 7), 0);
	for (size_t i = 1; i < 50; i++)
		assert_ptr_equal(heap_pop(&h), &items[i]);
	assert_ptr_equal(heap_pop(&h), &items[0]);
	heap_fini(&h);
}

static void
test_move_and_remove(void **state)
{
	struct heap_item items[10];
	struct heap h;

	(void)state;
	heap_init(&h, MEM_BASE);
	for (size_t i = 0; i < 10; i++) {
		heap_item_init(&items[i]);
		assert_int_equal(heap_set(&h, &items[i], 10 + i), 0);
	}
	assert_int_equal(heap_set(&h, &items[9], 1), 0);
	assert_ptr_equal(heap_peek(&h), &items[9]);
	assert_int_equal(heap_set(&h, &items[9], 100), 0);
	heap_remove(&h, &items[0]);
	heap_remove(&h, &items[0]);
	heap_remove(&h, &items[4]);
	for (size_t i = 1; i < 10; i++)
		if (i != 4)
			assert_ptr_equal(heap_pop(&h), &items[i]);
	assert_null(heap_pop(&h));
	heap_fini(&h);
}

static void
test_out_of_memory(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct heap_item items[40];
		struct heap h;

		heap_init(&h, MEM_BASE);
		for (size_t i = 0; i < 40; i++) {
			size_t count = h.count;

			heap_item_init(&items[i]);
			if (heap_set(&h, &items[i], i) == 0)
				continue;
			assert_true(sweep_failed());
			assert_false(heap_contains(&items[i]));
			assert_int_equal(h.count, count);
		}
		heap_fini(&h);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_ties_in_order_of_setting),
		cmocka_unit_test(test_move_and_remove),
		cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
