/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/autoscale.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

struct scene {
	struct autoscale_rule rule;
	struct autoscale core;
	uint32_t size, ready;
	uint64_t now;
	struct autoscale_verdict last;
};

/* 1 to 5 replicas, 700 thousandths of cpu, 30 s cooldown that has passed. */
static struct scene
begin(void)
{
	struct scene s = {
		.rule = {.min = 1,
			 .max = 5,
			 .cooldown_ns = 30 * SECOND,
			 .interval_ns = 10 * SECOND,
			 .target = {[AUTOSCALE_CPU] = 700}},
		.size = 1,
		.ready = 1,
		.now = 1000 * SECOND,
	};

	autoscale_init(&s.core, s.now, 0);
	return s;
}

/* One interval later, with this much in all; the size is followed at once. */
static struct autoscale_verdict
load(struct scene *s, uint64_t cpu, uint64_t rps)
{
	struct autoscale_sample sample = {
		.size = s->size,
		.ready = s->ready,
		.in_flight = rps > 0,
		.whole = true,
		.sum = {[AUTOSCALE_CPU] = cpu, [AUTOSCALE_RPS] = rps},
	};

	s->now += 10 * SECOND;
	s->last = autoscale_step(&s->core, &s->rule, &sample, s->now);
	s->size = s->last.size;
	s->ready = s->size;
	return s->last;
}

static void
test_up_in_one_step(void **state)
{
	(void)state;
	struct scene s = begin();
	struct autoscale_verdict v = load(&s, 2200, 0);
	assert_int_equal(v.size, 4); /* 4 x 700 > 2200 > 3 x 700 */
	assert_int_equal(v.reason, AUTOSCALE_LOAD);
	assert_int_equal(v.metric, AUTOSCALE_CPU);
	assert_int_equal(v.mean, 2200);
}

static void
test_at_the_target_is_up(void **state)
{
	(void)state;
	struct scene s = begin();
	assert_int_equal(load(&s, 699, 0).size, 1);
	s = begin();
	assert_int_equal(load(&s, 700, 0).size, 2);
}

static void
test_never_above_max(void **state)
{
	(void)state;
	struct scene s = begin();
	assert_int_equal(load(&s, 100000, 0).size, 5);
	s.now += 60 * SECOND;
	assert_int_equal(load(&s, 100000, 0).reason, AUTOSCALE_AT_MAX);
	assert_int_equal(s.size, 5);
}

static void
test_nothing_inside_the_cooldown(void **state)
{
	(void)state;
	struct scene s = begin();
	assert_int_equal(load(&s, 1500, 0).size, 3);
	assert_int_equal(load(&s, 9000, 0).reason, AUTOSCALE_COOLING);
	assert_int_equal(s.last.due_ns, s.now + 10 * SECOND);
	assert_int_equal(load(&s, 9000, 0).size, 3);
	assert_int_equal(load(&s, 9000, 0).size, 5); /* 30 s after the change */
}

static void
test_down_step_by_step(void **state)
{
	(void)state;
	struct scene s = begin();
	s.size = s.ready = 5;
	uint32_t seen[8];
	size_t n = 0;
	for (int i = 0; i < 40 && n < 8; i++) {
		uint32_t before = s.size;
		load(&s, 100, 0);
		assert_true(s.size == before || s.size == before - 1);
		if (s.size != before)
			seen[n++] = s.size;
	}
	assert_int_equal(n, 4);
	assert_int_equal(seen[3], 1);
	assert_int_equal(s.last.reason, AUTOSCALE_FITS); /* at min there is nothing to do */
}

/* Two replicas at exactly half of the target each would be one at the target: up again. */
static void
test_down_never_causes_up(void **state)
{
	(void)state;
	struct scene s = begin();
	s.size = s.ready = 2;
	for (int i = 0; i < 20; i++)
		assert_int_equal(load(&s, 700, 0).size, 2);
	for (int i = 0; i < 20; i++)
		load(&s, 690, 0);
	assert_int_equal(s.size, 1);
	for (int i = 0; i < 20; i++)
		assert_int_equal(load(&s, 690, 0).size, 1);
}

static void
test_all_metrics_must_be_idle(void **state)
{
	(void)state;
	struct scene s = begin();
	s.rule.target[AUTOSCALE_RPS] = 200 * 1000;
	s.size = s.ready = 3;
	for (int i = 0; i < 10; i++)
		assert_int_equal(load(&s, 0, 350 * 1000).size, 3);
	struct autoscale_verdict v = load(&s, 0, 4000 * 1000);
	assert_int_equal(v.metric, AUTOSCALE_RPS);
	assert_int_equal(v.size, 5);
}

static void
test_a_spike_is_smoothed(void **state)
{
	(void)state;
	struct scene s = begin();
	for (int i = 0; i < 5; i++)
		load(&s, 400, 0);
	assert_int_equal(load(&s, 1000, 0).size, 1); /* mean 580 */
	assert_int_equal(load(&s, 1000, 0).size, 2); /* mean 706 */
}

static void
test_samples_between_intervals_do_not_count(void **state)
{
	(void)state;
	struct scene s = begin();
	load(&s, 400, 0);
	struct autoscale_sample sample = {
		.size = 1, .ready = 1, .whole = true, .sum = {[AUTOSCALE_CPU] = 5000}};
	for (int i = 0; i < 9; i++)
		assert_int_equal(
			autoscale_step(&s.core, &s.rule, &sample, s.now + (uint64_t)i * SECOND)
				.size,
			1);
}

static void
test_without_targets(void **state)
{
	(void)state;
	struct scene s = begin();
	s.rule.target[AUTOSCALE_CPU] = 0;
	assert_int_equal(load(&s, 5000, 9000000).size, 1);
	assert_int_equal(s.last.reason, AUTOSCALE_NO_TARGET);
	s.size = s.ready = 3;
	assert_int_equal(load(&s, 0, 0).size, 3);
}

static void
test_bounds(void **state)
{
	(void)state;
	struct scene s = begin();
	s.rule.min = 2;
	assert_int_equal(load(&s, 0, 0).size, 2);
	assert_int_equal(s.last.reason, AUTOSCALE_BOUNDS);
	s.size = s.ready = 9;
	assert_int_equal(load(&s, 0, 0).size, 5);
}

static void
test_missing_figures_never_shrink(void **state)
{
	(void)state;
	struct scene s = begin();
	s.size = s.ready = 4;
	load(&s, 1600, 0);
	struct autoscale_sample sample = {.size = 4, .ready = 4, .whole = false};
	for (int i = 0; i < 50; i++) {
		s.now += 10 * SECOND;
		s.last = autoscale_step(&s.core, &s.rule, &sample, s.now);
		assert_int_equal(s.last.size, 4);
	}
	/* Nor do they make it sleep. */
	s = begin();
	s.rule.min = 0;
	load(&s, 100, 0);
	sample.size = sample.ready = 1;
	s.now += 100 * SECOND;
	assert_int_equal(autoscale_step(&s.core, &s.rule, &sample, s.now).size, 1);
}

static void
test_starting_replicas_are_waited_for(void **state)
{
	(void)state;
	struct scene s = begin();
	load(&s, 1500, 0);
	assert_int_equal(s.size, 3);
	s.ready = 1;
	s.now += 60 * SECOND;
	struct autoscale_sample sample = {
		.size = 3, .ready = 1, .whole = true, .sum = {[AUTOSCALE_CPU] = 1000}};
	s.last = autoscale_step(&s.core, &s.rule, &sample, s.now);
	assert_int_equal(s.last.size, 3);
	assert_int_equal(s.last.reason, AUTOSCALE_STARTING);
	sample.ready = 0; /* all died: nothing is divided by */
	s.last = autoscale_step(&s.core, &s.rule, &sample, s.now + 10 * SECOND);
	assert_int_equal(s.last.size, 3);
}

static void
test_sleep_and_wake(void **state)
{
	struct autoscale_sample asleep = {.whole = true};

	(void)state;
	struct scene s = begin();
	s.rule.min = 0;
	s.rule.target[AUTOSCALE_CPU] = 0;
	load(&s, 0, 5000);
	assert_int_equal(load(&s, 0, 0).size, 1);
	assert_int_equal(load(&s, 0, 0).size, 1);
	assert_int_equal(load(&s, 0, 0).size, 0); /* 30 s after the last request */
	assert_int_equal(s.last.reason, AUTOSCALE_ASLEEP);
	assert_int_equal(autoscale_step(&s.core, &s.rule, &asleep, s.now + SECOND).size, 0);
	asleep.waiting = 1;
	s.last = autoscale_step(&s.core, &s.rule, &asleep, s.now + 2 * SECOND);
	assert_int_equal(s.last.size, 1); /* the cooldown does not hold a request up */
	assert_int_equal(s.last.reason, AUTOSCALE_WAKE);
}

static void
test_an_open_connection_keeps_it_awake(void **state)
{
	(void)state;
	struct scene s = begin();
	s.rule.min = 0;
	struct autoscale_sample sample = {.size = 1, .ready = 1, .in_flight = 1, .whole = true};
	for (int i = 0; i < 30; i++) {
		s.now += 10 * SECOND;
		assert_int_equal(autoscale_step(&s.core, &s.rule, &sample, s.now).size, 1);
	}
}

static void
test_absurd_figures(void **state)
{
	(void)state;
	struct scene s = begin();
	s.rule.max = UINT32_MAX;
	s.rule.target[AUTOSCALE_CPU] = 1;
	assert_int_equal(load(&s, UINT64_MAX, UINT64_MAX).size, UINT32_MAX);
	for (int i = 0; i < 20; i++)
		load(&s, UINT64_MAX, 0);
	assert_int_equal(s.size, UINT32_MAX);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_up_in_one_step),
		cmocka_unit_test(test_at_the_target_is_up),
		cmocka_unit_test(test_never_above_max),
		cmocka_unit_test(test_nothing_inside_the_cooldown),
		cmocka_unit_test(test_down_step_by_step),
		cmocka_unit_test(test_down_never_causes_up),
		cmocka_unit_test(test_all_metrics_must_be_idle),
		cmocka_unit_test(test_a_spike_is_smoothed),
		cmocka_unit_test(test_samples_between_intervals_do_not_count),
		cmocka_unit_test(test_without_targets),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_missing_figures_never_shrink),
		cmocka_unit_test(test_starting_replicas_are_waited_for),
		cmocka_unit_test(test_sleep_and_wake),
		cmocka_unit_test(test_an_open_connection_keeps_it_awake),
		cmocka_unit_test(test_absurd_figures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
