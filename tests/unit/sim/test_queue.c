/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/mem.h"
#include "tests/sim/draw.h"

/* Near, within the wheel, beyond it, many at once; some added while others are taken. */
static void
test_order(void **state)
{
	struct draw d = draw_of(1, 1);
	struct queue *q = mem_alloc(MEM_BASE, sizeof(*q));
	uint64_t last_at = 0, last_order = 0, taken = 0;
	struct event e;

	(void)state;
	sim_queue_init(q);
	for (unsigned i = 0; i < 20000; i++)
		sim_queue_add(q, draw_scale(&d, 1, UINT64_C(1) << 44), 1);
	while (sim_queue_count(q) > 0) {
		uint64_t next = sim_queue_next_at(q);

		assert_true(sim_queue_take(q, &e));
		assert_true(e.at == next);
		assert_true(e.at > last_at || (e.at == last_at && e.order > last_order) || !taken);
		last_at = e.at;
		last_order = e.order;
		if (taken++ % 3 == 0 && taken < 30000)
			sim_queue_add(q, e.at + draw_below(&d, UINT64_C(1) << 34), 1);
	}
	assert_false(sim_queue_take(q, &e));
	assert_true(sim_queue_next_at(q) == UINT64_MAX);
	sim_queue_fini(q);
	mem_free(q);
}

static void
test_ties_in_order_of_adding(void **state)
{
	struct queue *q = mem_alloc(MEM_BASE, sizeof(*q));
	struct event e;

	(void)state;
	sim_queue_init(q);
	for (uint32_t i = 0; i < 100; i++)
		sim_queue_add(q, 5000000000, 1)->node = i;
	for (uint32_t i = 0; i < 100; i++) {
		assert_true(sim_queue_take(q, &e));
		assert_int_equal(e.node, i);
	}
	sim_queue_fini(q);
	mem_free(q);
}

/* The wheel has gone ahead to a far event; what is added for sooner still comes first. */
static void
test_sooner_than_what_was_looked_at(void **state)
{
	struct queue *q = mem_alloc(MEM_BASE, sizeof(*q));
	struct event e;

	(void)state;
	sim_queue_init(q);
	sim_queue_add(q, UINT64_C(3600000000000), 1)->node = 2;
	assert_true(sim_queue_next_at(q) == UINT64_C(3600000000000));
	sim_queue_add(q, 1000, 1)->node = 1;
	assert_true(sim_queue_take(q, &e));
	assert_int_equal(e.node, 1);
	assert_true(sim_queue_take(q, &e));
	assert_int_equal(e.node, 2);
	sim_queue_fini(q);
	mem_free(q);
}

static void
test_parcels(void **state)
{
	static const uint8_t large[5000] = {1, 2, 3};
	struct parcels pool = {0};
	struct parcel *small = parcel_new(&pool, "abc", 3), *big;

	(void)state;
	assert_memory_equal(parcel_ref(small)->data, "abc", 3);
	parcel_put(&pool, small);
	assert_int_equal(pool.held, 1);
	big = parcel_new(&pool, large, sizeof(large));
	assert_memory_equal(big->data, large, sizeof(large));
	parcel_put(&pool, small);
	parcel_put(&pool, big);
	parcel_put(&pool, NULL);
	assert_int_equal(pool.held, 0);
	assert_ptr_equal(parcel_new(&pool, "d", 1), small);
	parcel_put(&pool, small);
	parcel_fini(&pool);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_ties_in_order_of_adding),
		cmocka_unit_test(test_sooner_than_what_was_looked_at),
		cmocka_unit_test(test_parcels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
