/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlines: never early, in time, moved, cleared, far away; against a plain list. */
#include "proxy/wheel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "tests/support/prop.h"

enum { TIMERS = 200, STEPS = 20000 };

struct item {
	struct wheel_timer timer;
	uint64_t want; /* 0: off */
	unsigned fired;
};

static struct wheel wheel;
static struct item items[TIMERS];
static uint64_t now;

static void
on_fire(struct wheel_timer *t)
{
	struct item *i = container_of(t, struct item, timer);

	assert_true(i->want != 0 && i->want <= now);
	assert_true(now - i->want <= 2 * WHEEL_TICK_MS + 1000);
	i->want = 0;
	i->fired++;
}

static void
test_against_a_list(void **state)
{
	struct prop p = {.state = 7};
	unsigned fired = 0;

	(void)state;
	now = 12345;
	wheel_init(&wheel, now);
	for (int i = 0; i < TIMERS; i++)
		wheel_timer_init(&items[i].timer, on_fire);
	for (int step = 0; step < STEPS; step++) {
		struct item *i = &items[prop_below(&p, TIMERS)];

		if (prop_below(&p, 10) == 0) {
			i->want = 0;
			wheel_clear(&wheel, &i->timer);
		} else {
			i->want = now + 1 + prop_below(&p, prop_below(&p, 50) ? 5000 : 400000);
			wheel_set(&wheel, &i->timer, i->want);
		}
		now += prop_below(&p, 300);
		wheel_run(&wheel, now);
		for (int k = 0; k < TIMERS; k++)
			assert_true(items[k].want == 0 || items[k].want + 2 * WHEEL_TICK_MS > now);
	}
	for (int k = 0; k < TIMERS; k++) {
		fired += items[k].fired;
		wheel_clear(&wheel, &items[k].timer);
	}
	assert_true(fired > 1000);
	assert_int_equal(wheel.count, 0);
}

static struct item again;

static void
on_again(struct wheel_timer *t)
{
	again.fired++;
	wheel_clear(&wheel, &items[0].timer);
	wheel_set(&wheel, t, now + 50);
}

static void
test_callbacks_change_timers(void **state)
{
	(void)state;
	now = 1000;
	wheel_init(&wheel, now);
	wheel_timer_init(&again.timer, on_again);
	wheel_timer_init(&items[0].timer, on_fire);
	wheel_set(&wheel, &again.timer, 1500);
	wheel_set(&wheel, &items[0].timer, 1510);
	for (; now < 3000; now += 100)
		wheel_run(&wheel, now);
	assert_in_range(again.fired, 5, 15);
	/* A long stall fires once. */
	again.fired = 0;
	now += 10000000;
	wheel_run(&wheel, now);
	assert_in_range(again.fired, 1, 2);
	wheel_clear(&wheel, &again.timer);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_a_list),
		cmocka_unit_test(test_callbacks_change_timers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
