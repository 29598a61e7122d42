/* SPDX-License-Identifier: Apache-2.0 */
/* Counting what is asked, and the queue of those that wait. */
#include "proxy/demand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/support/sweep.h"

enum { MANY = DEMAND_WAITING_ALL_MAX + 1 };

static struct demand demand;
static struct demand_wait waits[MANY];
static unsigned order[MANY];
static unsigned gone_count, went;
static struct demand_service *again; /* those that go wait here anew */

static void
go(struct demand_wait *w)
{
	order[went++] = (unsigned)(w - waits);
	if (again)
		assert_true(demand_wait(&demand, again, w));
}

static void
gone(void *arg, uint64_t service)
{
	*(uint64_t *)arg = service;
	gone_count++;
}

static struct demand_service *
begin(uint64_t id)
{
	demand_begin(&demand);
	assert_int_equal(demand_name(&demand, id), 0);
	demand_commit(&demand, NULL, NULL);
	return demand_find(&demand, id);
}

static int
setup(void **state)
{
	(void)state;
	demand_init(&demand);
	for (size_t i = 0; i < MANY; i++)
		demand_wait_init(&waits[i], go);
	went = gone_count = 0;
	again = NULL;
	return 0;
}

static void
join(struct demand_service *s, unsigned i)
{
	demand_enter(s);
	assert_true(demand_wait(&demand, s, &waits[i]));
}

static void
leave(struct demand_service *s, unsigned i)
{
	demand_stop(&demand, &waits[i]);
	demand_leave(s);
}

static void
test_counts(void **state)
{
	struct demand_service *s = begin(7);

	(void)state;
	assert_null(demand_find(&demand, 8));
	demand_enter(s);
	demand_enter(s);
	demand_leave(s);
	assert_int_equal(s->requests, 2);
	assert_int_equal(s->in_flight, 1);
	assert_false(demand.changed);
	demand_leave(s);
	demand_fini(&demand);
}

static void
test_forgotten_when_nothing_is_open(void **state)
{
	struct demand_service *s = begin(7);
	uint64_t id = 0;

	(void)state;
	demand_enter(s);
	demand_begin(&demand);
	demand_commit(&demand, gone, &id);
	assert_ptr_equal(demand_find(&demand, 7), s);
	assert_int_equal(gone_count, 0);
	demand_leave(s);
	demand_begin(&demand);
	demand_commit(&demand, gone, &id);
	assert_null(demand_find(&demand, 7));
	assert_int_equal(gone_count, 1);
	assert_int_equal(id, 7);
	demand_fini(&demand);
}

static void
test_go_in_order(void **state)
{
	struct demand_service *s = begin(7);

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		join(s, i);
	assert_true(demand.changed);
	demand.changed = false;
	assert_true(demand_wait(&demand, s, &waits[2])); /* it does already */
	assert_int_equal(s->waiting, 4);
	leave(s, 1); /* its client has gone */
	demand_stop(&demand, &waits[1]);
	assert_int_equal(s->waiting, 3);
	assert_false(demand.changed);
	demand_go(&demand, s);
	assert_int_equal(went, 3);
	assert_int_equal(order[0], 0);
	assert_int_equal(order[1], 2);
	assert_int_equal(order[2], 3);
	assert_int_equal(s->waiting, 0);
	assert_int_equal(s->in_flight, 3);
	assert_true(demand.changed);
	for (int i = 0; i < 3; i++)
		demand_leave(s);
	demand_fini(&demand);
}

static void
test_who_comes_back_waits_for_the_next_time(void **state)
{
	struct demand_service *s = begin(7);

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		join(s, i);
	again = s;
	demand_go(&demand, s);
	assert_int_equal(went, 3);
	assert_int_equal(s->waiting, 3);
	for (unsigned i = 0; i < 3; i++)
		leave(s, i);
	demand_fini(&demand);
}

static void
test_bounded(void **state)
{
	unsigned next = 0;

	(void)state;
	for (uint64_t id = 1; id <= DEMAND_WAITING_ALL_MAX / DEMAND_WAITING_MAX + 1; id++) {
		struct demand_service *s = NULL;

		assert_int_equal(demand_name(&demand, id), 0);
		s = demand_find(&demand, id);
		for (unsigned i = 0; i < DEMAND_WAITING_MAX && next < DEMAND_WAITING_ALL_MAX; i++)
			join(s, next++);
		demand_enter(s);
		assert_false(demand_wait(&demand, s, &waits[next]));
		demand_leave(s);
	}
	assert_int_equal(demand.waiting, DEMAND_WAITING_ALL_MAX);
	for (unsigned i = 0; i < next; i++)
		leave(waits[i].service, i);
	demand_fini(&demand);
}

static void
test_services_are_bounded(void **state)
{
	(void)state;
	for (uint64_t id = 1; id <= DEMAND_SERVICES_MAX; id++)
		assert_int_equal(demand_name(&demand, id), 0);
	assert_int_equal(demand_name(&demand, DEMAND_SERVICES_MAX + 1), -1);
	assert_int_equal(demand_name(&demand, 1), 0);
	demand_fini(&demand);
}

static void
test_allocation_failures(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct demand d;
		bool failed = false;

		demand_init(&d);
		for (uint64_t id = 1; id <= 40; id++)
			failed |= demand_name(&d, id) < 0;
		assert_int_equal(failed, sweep_failed());
		demand_commit(&d, NULL, NULL);
		demand_fini(&d);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_counts, setup),
		cmocka_unit_test_setup(test_forgotten_when_nothing_is_open, setup),
		cmocka_unit_test_setup(test_go_in_order, setup),
		cmocka_unit_test_setup(test_who_comes_back_waits_for_the_next_time, setup),
		cmocka_unit_test_setup(test_bounded, setup),
		cmocka_unit_test_setup(test_services_are_bounded, setup),
		cmocka_unit_test_setup(test_allocation_failures, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
