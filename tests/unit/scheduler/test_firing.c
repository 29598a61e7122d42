/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/firing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#define START INT64_C(1800000000) /* 2027-01-15 08:00:00 UTC */

static struct cron schedule;

static struct firing_rule
rule(const char *text, enum firing_catch_up catch_up, enum firing_overlap overlap)
{
	struct cron_error error;

	assert_int_equal(cron_parse(text, &schedule, &error), 0);
	return (struct firing_rule){
		.schedule = &schedule, .catch_up = catch_up, .overlap = overlap, .enabled = true};
}

static struct firing_step
at(const struct firing_rule *r, int64_t wall_s, int64_t mark_s, uint32_t running)
{
	const struct firing_now now = {.wall_s = wall_s, .mark_s = mark_s, .running = running};

	return firing_step(r, &now);
}

static void
test_on_time(void **state)
{
	(void)state;
	struct firing_rule r = rule("0 */5 * * * * *", FIRING_LAST, FIRING_FORBID);
	struct firing_step s = at(&r, START + 10, START, 0);
	assert_int_equal(s.verb, FIRING_WAIT);
	assert_int_equal(s.next_s, START + 300);
	s = at(&r, START + 300, START, 0);
	assert_int_equal(s.verb, FIRING_FIRE);
	assert_int_equal(s.reason, FIRING_ON_TIME);
	assert_int_equal(s.at_s, START + 300);
	assert_int_equal(s.skipped, 0);
	assert_int_equal(s.next_s, START + 600);
	/* The mark is written: not again. */
	assert_int_equal(at(&r, START + 300, START + 300, 0).verb, FIRING_WAIT);
}

/* Ten seconds of "every two seconds", asked each second by somebody who is a little late. */
static void
test_each_time_once(void **state)
{
	(void)state;
	struct firing_rule r = rule("*/2 * * * * * *", FIRING_LAST, FIRING_ALLOW);
	int64_t mark = START;
	int fired = 0;
	for (int64_t now = START; now <= START + 10; now++)
		for (int i = 0; i < 3; i++) {
			struct firing_step s = at(&r, now, mark, 0);

			if (s.verb != FIRING_FIRE)
				continue;
			assert_true(s.at_s > mark && s.at_s <= now);
			mark = s.at_s;
			fired++;
		}
	assert_int_equal(fired, 5);
}

static void
test_a_clock_that_goes_back(void **state)
{
	(void)state;
	struct firing_rule r = rule("0 * * * * * *", FIRING_ALL, FIRING_ALLOW);
	struct firing_step s = at(&r, START - 3600, START, 0);
	assert_int_equal(s.verb, FIRING_WAIT);
	assert_int_equal(s.next_s, START + 60); /* nothing that was dealt with comes again */
}

static void
test_missed(void **state)
{
	(void)state;
	/* Five were missed; it is half a minute after the last. */
	struct firing_rule r = rule("0 * * * * * *", FIRING_LAST, FIRING_FORBID);
	struct firing_step s = at(&r, START + 330, START, 0);
	assert_int_equal(s.verb, FIRING_FIRE);
	assert_int_equal(s.reason, FIRING_CAUGHT_UP);
	assert_int_equal(s.at_s, START + 300);
	assert_int_equal(s.skipped, 4);
	assert_false(s.skipped_more);

	r.catch_up = FIRING_NONE;
	s = at(&r, START + 330, START, 0);
	assert_int_equal(s.verb, FIRING_PASS);
	assert_int_equal(s.reason, FIRING_MISSED);
	assert_int_equal(s.at_s, START + 300);
	s = at(&r, START + 310, START, 0); /* within the grace: not missed, the others are */
	assert_int_equal(s.verb, FIRING_FIRE);
	assert_int_equal(s.skipped, 4);

	r.catch_up = FIRING_ALL;
	int64_t mark = START;
	for (int i = 1; i <= 5; i++) {
		s = at(&r, START + 330, mark, 0);
		assert_int_equal(s.verb, FIRING_FIRE);
		assert_int_equal(s.at_s, START + 60 * i);
		mark = s.at_s;
	}
	assert_int_equal(at(&r, START + 330, mark, 0).verb, FIRING_WAIT);
}

static void
test_a_year_off(void **state)
{
	(void)state;
	int64_t now = START + INT64_C(365) * 86400;
	struct firing_rule r = rule("* * * * * * *", FIRING_ALL, FIRING_ALLOW);
	struct firing_step s = at(&r, now, START, 0);
	assert_int_equal(s.verb, FIRING_FIRE);
	assert_int_equal(s.at_s, now - FIRING_CATCH_UP_MAX + 1);
	assert_true(s.skipped_more);
	/* All of them, and no more than that. */
	int fired = 0;
	for (int64_t mark = START; (s = at(&r, now, mark, 0)).verb == FIRING_FIRE; mark = s.at_s)
		fired++;
	assert_int_equal(fired, FIRING_CATCH_UP_MAX);
	/* A sparse schedule is found as far back as it goes. */
	r = rule("0 0 0 1 1 * *", FIRING_ALL, FIRING_ALLOW);
	s = at(&r, now + INT64_C(3) * 365 * 86400, START, 0);
	assert_int_equal(s.verb, FIRING_FIRE);
	assert_int_equal(s.at_s, INT64_C(1830297600)); /* 2028-01-01 */
	assert_false(s.skipped_more);
}

static void
test_overlap(void **state)
{
	(void)state;
	struct firing_rule r = rule("0 * * * * * *", FIRING_LAST, FIRING_FORBID);
	struct firing_step s = at(&r, START + 60, START, 1);
	assert_int_equal(s.verb, FIRING_PASS);
	assert_int_equal(s.reason, FIRING_OVERLAPS);
	assert_int_equal(s.at_s, START + 60);
	r.overlap = FIRING_ALLOW;
	s = at(&r, START + 60, START, 3);
	assert_int_equal(s.verb, FIRING_FIRE);
	assert_false(s.stop_others);
	r.overlap = FIRING_REPLACE;
	assert_true(at(&r, START + 60, START, 1).stop_others);
	assert_false(at(&r, START + 60, START, 0).stop_others);
	/* Somebody may be running it and cannot be asked. */
	r.overlap = FIRING_FORBID;
	const struct firing_now unsure = {.wall_s = START + 60, .mark_s = START, .unsure = true};
	assert_int_equal(firing_step(&r, &unsure).reason, FIRING_OVERLAPS);
}

static void
test_disabled_and_over(void **state)
{
	(void)state;
	struct firing_rule r = rule("0 * * * * * *", FIRING_LAST, FIRING_FORBID);
	r.enabled = false;
	struct firing_step s = at(&r, START + 600, START, 0);
	assert_int_equal(s.verb, FIRING_WAIT);
	assert_int_equal(s.reason, FIRING_DISABLED);
	assert_int_equal(s.next_s, 0);
	r = rule("0 0 0 1 1 * 2027", FIRING_LAST, FIRING_FORBID);
	s = at(&r, START, START, 0);
	assert_int_equal(s.verb, FIRING_WAIT);
	assert_int_equal(s.reason, FIRING_OVER);
	assert_int_equal(s.next_s, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_on_time),
		cmocka_unit_test(test_each_time_once),
		cmocka_unit_test(test_a_clock_that_goes_back),
		cmocka_unit_test(test_missed),
		cmocka_unit_test(test_a_year_off),
		cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_disabled_and_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
