/* SPDX-License-Identifier: Apache-2.0 */
/* Tables over time: when slots change hands, for how long, and that memory may run out. */
#include "dataplane/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "tests/support/sweep.h"

static struct plan plan;
static uint64_t now;

static struct plan_member
member(uint16_t index, bool draining)
{
	return (struct plan_member){.id = 100u + index, .index = index, .draining = draining};
}

static bool
update(const struct plan_member *members, size_t count)
{
	bool failed, changed = plan_update(&plan, members, count, now, &failed);

	assert_false(failed);
	return changed;
}

static int
setup(void **state)
{
	(void)state;
	now = 1000;
	return plan_init(&plan);
}

static int
teardown(void **state)
{
	(void)state;
	plan_fini(&plan);
	return 0;
}

static size_t
owned(uint32_t index)
{
	size_t n = 0;

	for (size_t i = 0; i < plan.slots_count; i++)
		n += EDGE_CUR(plan.slots[i]) == index;
	return n;
}

static void
test_from_the_relay(void **state)
{
	const struct plan_member m[] = {member(1, false), member(2, false)};

	(void)state;
	assert_int_equal(owned(0), EDGE_SLOTS_SMALL);
	assert_false(update(m, 0));
	assert_true(update(m, 2));
	assert_true(plan.changing);
	for (size_t i = 0; i < plan.slots_count; i++)
		assert_int_equal(EDGE_PREV(plan.slots[i]), 0);
	assert_false(plan_tick(&plan, 0, now));
	now += PLAN_SETTLE_MS;
	assert_true(plan_tick(&plan, 0, now));
	assert_false(plan.changing);
	assert_false(update(m, 2));
	for (size_t i = 0; i < plan.slots_count; i++)
		assert_int_equal(plan.slots[i], EDGE_STEADY(EDGE_CUR(plan.slots[i])));
}

static void
test_lasts_while_it_is_used(void **state)
{
	const struct plan_member m[] = {member(1, false), member(2, false)};

	(void)state;
	plan.connections = true;
	update(m, 1);
	for (uint64_t kept = 1; kept < 100; kept++) {
		now += PLAN_IDLE_MS - 1;
		assert_false(plan_tick(&plan, kept, now));
	}
	now += PLAN_IDLE_MS;
	assert_true(plan_tick(&plan, 99, now));
	assert_false(plan_tick(&plan, 99, now));
}

/* Nobody has said anything yet, but there may be connections. */
static void
test_silence_is_waited_for(void **state)
{
	const struct plan_member m[] = {member(1, false), member(2, false)};

	(void)state;
	plan.connections = true;
	update(m, 2);
	now += PLAN_IDLE_MS - 1;
	assert_false(plan_tick(&plan, 0, now));
	plan_wait(&plan, now);
	now += PLAN_IDLE_MS - 1;
	assert_false(plan_tick(&plan, 0, now));
	now += 1;
	assert_true(plan_tick(&plan, 0, now));
}

static void
test_lasts_while_one_drains(void **state)
{
	struct plan_member m[] = {member(1, false), member(2, false)};

	(void)state;
	update(m, 2);
	now += PLAN_IDLE_MS;
	plan_tick(&plan, 0, now);
	uint32_t epoch = plan.epoch;
	m[0].draining = true;
	assert_true(update(m, 2));
	assert_int_equal(plan.epoch, epoch + 1);
	assert_int_equal(owned(1), 0);
	now += 100 * PLAN_IDLE_MS;
	assert_false(plan_tick(&plan, 0, now));
	/* It is gone: what was its own goes to the other at once. */
	assert_true(update(&m[1], 1));
	for (size_t i = 0; i < plan.slots_count; i++)
		assert_int_equal(EDGE_PREV(plan.slots[i]), 2);
	now += PLAN_IDLE_MS;
	assert_true(plan_tick(&plan, 0, now));
}

static void
test_a_dead_one_owns_nothing(void **state)
{
	const struct plan_member m[] = {member(1, false), member(2, false), member(3, false)};

	(void)state;
	update(m, 3);
	now += PLAN_IDLE_MS;
	plan_tick(&plan, 0, now);
	assert_true(update(m, 2));
	assert_int_equal(owned(3), 0);
	for (size_t i = 0; i < plan.slots_count; i++)
		assert_int_not_equal(EDGE_PREV(plan.slots[i]), 3);
	assert_true(update(m, 0));
	assert_int_equal(owned(0), EDGE_SLOTS_SMALL);
}

static void
test_grows(void **state)
{
	struct plan_member m[PLAN_SMALL_MEMBERS + 1];
	uint32_t before[EDGE_SLOTS_SMALL];

	(void)state;
	for (uint16_t i = 0; i <= PLAN_SMALL_MEMBERS; i++)
		m[i] = member((uint16_t)(i + 1), false);
	update(m, PLAN_SMALL_MEMBERS);
	now += PLAN_IDLE_MS;
	plan_tick(&plan, 0, now);
	memcpy(before, plan.slots, sizeof(before));
	assert_true(update(m, PLAN_SMALL_MEMBERS + 1));
	assert_int_equal(plan.slots_count, EDGE_SLOTS_BIG);
	for (size_t i = 0; i < EDGE_SLOTS_BIG; i++)
		assert_int_equal(EDGE_PREV(plan.slots[i]), EDGE_CUR(before[i % EDGE_SLOTS_SMALL]));
	/* And stays big. */
	update(m, 1);
	assert_int_equal(plan.slots_count, EDGE_SLOTS_BIG);
}

/* The programs open slots: what is pinned there holds through changes, until nothing comes. */
static void
test_opened(void **state)
{
	const struct plan_member m[] = {member(1, false), member(2, false), member(3, false)};
	uint32_t live[EDGE_SLOTS_SMALL], owner;
	struct plan heir;
	uint64_t kept = 0;

	(void)state;
	plan.connections = true;
	update(m, 2);
	now += PLAN_IDLE_MS;
	assert_true(plan_tick(&plan, kept, now));
	uint32_t epoch = plan.epoch;
	memcpy(live, plan.slots, sizeof(live));
	owner = EDGE_CUR(live[7]);
	live[7] = EDGE_CHANGING(owner, owner);
	plan_opened(&plan, live, EDGE_SLOTS_SMALL, now);
	assert_memory_equal(plan.slots, live, sizeof(live));
	assert_true(plan.changing);
	now += PLAN_OPENED_MS - 1;
	assert_false(plan_tick(&plan, ++kept, now));
	now += PLAN_OPENED_MS - 1;
	assert_false(plan_tick(&plan, kept, now));
	assert_int_equal(plan_adopt(&heir, plan.slots, plan.slots_count, plan.epoch, now), 0);
	heir.connections = true;
	assert_false(plan_tick(&heir, 0, now + PLAN_OPENED_MS - 1));
	assert_true(plan_tick(&heir, 0, now + PLAN_OPENED_MS));
	plan_fini(&heir);
	/* It is a part of a change that comes meanwhile, whose pins are of the same epoch. */
	assert_true(update(m, 3));
	assert_int_equal(plan.epoch, epoch);
	assert_int_equal(EDGE_PREV(plan.slots[7]), owner);
	assert_true(plan.slots[7] & EDGE_CHANGES);
	/* One that is known already changes nothing. */
	memcpy(live, plan.slots, sizeof(live));
	plan.opened = false;
	plan_opened(&plan, live, EDGE_SLOTS_SMALL, now + 1);
	assert_memory_equal(plan.slots, live, sizeof(live));
	assert_true(plan.opened);
	now += PLAN_OPENED_MS;
	assert_true(plan_tick(&plan, kept, now));
	assert_false(plan.changing);
	assert_int_equal(plan.epoch, epoch + 1);
	assert_int_equal(plan.slots[7] & EDGE_CHANGES, 0);
}

static void
test_adopted(void **state)
{
	const struct plan_member m[] = {member(1, false), member(2, false)};
	struct plan heir;
	bool failed;

	(void)state;
	update(m, 2);
	assert_int_equal(plan_adopt(&heir, plan.slots, plan.slots_count, plan.epoch, now), 0);
	assert_true(heir.changing);
	assert_false(plan_update(&heir, m, 2, now, &failed));
	assert_memory_equal(heir.slots, plan.slots, plan.slots_count * sizeof(plan.slots[0]));
	now += PLAN_SETTLE_MS;
	assert_true(plan_tick(&heir, 0, now));
	plan_fini(&heir);
}

static void
test_memory(void **state)
{
	struct plan_member m[PLAN_SMALL_MEMBERS + 1];

	(void)state;
	for (uint16_t i = 0; i <= PLAN_SMALL_MEMBERS; i++)
		m[i] = member((uint16_t)(i + 1), false);
	sweep_each(s)
	{
		struct plan p;
		bool failed = true;

		if (plan_init(&p) == 0)
			(void)plan_update(&p, m, PLAN_SMALL_MEMBERS + 1, now, &failed);
		assert_int_equal(failed, sweep_failed());
		plan_fini(&p);
	}
	sweep_each(s)
	{
		struct plan p;

		bool failed = plan_adopt(&p, plan.slots, plan.slots_count, 1, now) < 0;
		assert_int_equal(failed, sweep_failed());
		plan_fini(&p);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_from_the_relay),
		TEST(test_lasts_while_it_is_used),
		TEST(test_silence_is_waited_for),
		TEST(test_lasts_while_one_drains),
		TEST(test_a_dead_one_owns_nothing),
		TEST(test_grows),
		TEST(test_opened),
		TEST(test_adopted),
		TEST(test_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
