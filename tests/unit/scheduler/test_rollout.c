/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/rollout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/support/rollout_world.h"

enum { A = 1, B = 2 };

/* One service "web" from `had` replicas of A, all ready, to `want` of B. */
static void
begin(struct rollout_world *w, uint32_t had, uint32_t want)
{
	memset(w, 0, sizeof(*w));
	w->now_ns = 1000 * WORLD_S;
	w->names[0] = "web";
	w->names[1] = "db";
	w->services_count = 1;
	w->services[0] = (struct rollout_service){
		.want = want,
		.had = had,
		.surge = 1,
		.monitor_ns = 10 * WORLD_S,
		.ready_max_ns = 60 * WORLD_S,
	};
	w->target[0] = B;
	w->previous[0] = A;
	for (uint32_t i = 1; i <= had; i++)
		world_make_ready(w, world_add(w, 0, i, A));
	rollout_init(&w->r, ROLLOUT_FORWARD, false, w->now_ns);
	world_run(w);
}

static void
ready(struct rollout_world *w, uint32_t index)
{
	struct world_replica *p = world_named(w, 0, index, B);

	assert_non_null(p);
	world_make_ready(w, p);
	world_run(w);
}

static void
later(struct rollout_world *w, uint64_t seconds)
{
	w->now_ns += seconds * WORLD_S;
	world_run(w);
}

static void
reap(struct rollout_world *w)
{
	world_reap(w);
	world_run(w);
}

static void
test_the_first_deploy(void **state)
{
	struct rollout_world w;

	(void)state;
	begin(&w, 0, 2);
	ready(&w, 1);
	ready(&w, 2);
	later(&w, 9);
	assert_string_equal(w.trace, "+web.1 +web.2");
	later(&w, 1);
	assert_string_equal(w.trace, "+web.1 +web.2 commit done");
	assert_int_equal(w.r.phase, ROLLOUT_IDLE);
}

static void
test_one_replica_is_replaced(void **state)
{
	struct rollout_world w;

	(void)state;
	begin(&w, 1, 1);
	assert_string_equal(w.trace, "+web.1");
	ready(&w, 1);
	/* The old one serves on while the new one is watched. */
	later(&w, 9);
	assert_string_equal(w.trace, "+web.1");
	later(&w, 1);
	assert_string_equal(w.trace, "+web.1 commit -web.1");
	reap(&w);
	assert_string_equal(w.trace, "+web.1 commit -web.1 done");
}

static void
test_three_roll_one_by_one(void **state)
{
	struct rollout_world w;

	(void)state;
	begin(&w, 3, 3);
	assert_string_equal(w.trace, "+web.1");
	ready(&w, 1);
	assert_string_equal(w.trace, "+web.1 -web.3");
	/* Four are there as long as the old one drains. */
	later(&w, 5);
	assert_string_equal(w.trace, "+web.1 -web.3");
	reap(&w);
	assert_string_equal(w.trace, "+web.1 -web.3 +web.2");
	ready(&w, 2);
	reap(&w);
	ready(&w, 3);
	assert_string_equal(w.trace, "+web.1 -web.3 +web.2 -web.2 +web.3");
	later(&w, 10);
	reap(&w);
	assert_string_equal(w.trace, "+web.1 -web.3 +web.2 -web.2 +web.3 commit -web.1 done");
}

static void
test_unavailable_lets_the_old_go_first(void **state)
{
	struct rollout_world w;

	(void)state;
	begin(&w, 0, 0);
	begin(&w, 2, 2);
	w.trace[0] = 0;
	w.replicas[2].used = false; /* begun again, with other rules */
	w.services[0].surge = 0;
	w.services[0].unavailable = 1;
	world_run(&w);
	assert_string_equal(w.trace, "-web.2");
	reap(&w);
	assert_string_equal(w.trace, "-web.2 +web.1");
	ready(&w, 1);
	assert_string_equal(w.trace, "-web.2 +web.1 -web.1");
	reap(&w);
	ready(&w, 2);
	later(&w, 10);
	assert_string_equal(w.trace, "-web.2 +web.1 -web.1 +web.2 commit done");
}

static void
test_stop_first(void **state)
{
	struct rollout_world w;

	(void)state;
	begin(&w, 0, 1);
	w.services[0].stop_first = true;
	w.services[0].had = 1;
	w.replicas[0].used = false;
	world_make_ready(&w, world_add(&w, 0, 1, A));
	w.trace[0] = 0;
	world_run(&w);
	assert_string_equal(w.trace, "-web.1");
	reap(&w);
	assert_string_equal(w.trace, "-web.1 +web.1");
	/* It fails: it is gone before the old one is made again. */
	world_named(&w, 0, 1, B)->trouble = true;
	world_run(&w);
	assert_string_equal(w.trace, "-web.1 +web.1 back -web.1");
	reap(&w);
	assert_string_equal(w.trace, "-web.1 +web.1 back -web.1 <web.1");
	world_make_ready(&w, world_named(&w, 0, 1, A));
	world_run(&w);
	assert_string_equal(w.trace, "-web.1 +web.1 back -web.1 <web.1 done");
}

static void
test_a_new_one_that_ends_turns_it_back(void **state)
{
	struct rollout_world w;

	(void)state;
	begin(&w, 1, 1);
	world_named(&w, 0, 1, B)->trouble = true;
	world_run(&w);
	assert_string_equal(w.trace, "+web.1 back -web.1");
	assert_int_equal(w.cause, ROLLOUT_CAUSE_TROUBLE);
	assert_true(world_named(&w, 0, 1, A)->ready);
	assert_false(world_named(&w, 0, 1, A)->leaving);
	reap(&w);
	assert_string_equal(w.trace, "+web.1 back -web.1 done");
}

static void
test_a_new_one_that_never_answers_is_late(void **state)
{
	struct rollout_world w;

	(void)state;
	begin(&w, 1, 1);
	later(&w, 59);
	assert_string_equal(w.trace, "+web.1");
	assert_int_equal(w.r.due_ns, 1060 * WORLD_S);
	later(&w, 1);
	assert_string_equal(w.trace, "+web.1 back -web.1");
	assert_int_equal(w.cause, ROLLOUT_CAUSE_LATE);
}

static void
test_a_relapse_in_the_monitor_window(void **state)
{
	struct rollout_world w;

	(void)state;
	begin(&w, 1, 1);
	ready(&w, 1);
	later(&w, 9);
	world_named(&w, 0, 1, B)->ready = false;
	world_run(&w);
	assert_string_equal(w.trace, "+web.1 back -web.1");
	assert_int_equal(w.cause, ROLLOUT_CAUSE_RELAPSED);
	assert_false(world_named(&w, 0, 1, A)->leaving);
}

static void
test_turning_back_half_way(void **state)
{
	struct rollout_world w;

	(void)state;
	begin(&w, 3, 3);
	ready(&w, 1);
	reap(&w);
	/* web.1 and web.2 of A, web.1 of B serve; web.2 of B ends. */
	world_named(&w, 0, 2, B)->trouble = true;
	w.trace[0] = 0;
	world_run(&w);
	/* The new one that is ready serves until the old are three again. */
	assert_string_equal(w.trace, "back -web.2");
	reap(&w);
	assert_string_equal(w.trace, "back -web.2 <web.3");
	world_make_ready(&w, world_named(&w, 0, 3, A));
	world_run(&w);
	assert_string_equal(w.trace, "back -web.2 <web.3 -web.1");
	assert_int_equal(world_named(&w, 0, 1, B)->leaving, true);
	reap(&w);
	assert_string_equal(w.trace, "back -web.2 <web.3 -web.1 done");
}

static void
test_what_drains_is_called_back(void **state)
{
	struct rollout_world w;

	(void)state;
	begin(&w, 3, 3);
	ready(&w, 1);
	/* web.3 of A drains when the new one falls. */
	world_named(&w, 0, 1, B)->ready = false;
	w.trace[0] = 0;
	world_run(&w);
	assert_string_equal(w.trace, "back ~web.3 -web.1");
	reap(&w);
	assert_string_equal(w.trace, "back ~web.3 -web.1 done");
}

static void
test_the_first_deploy_fails(void **state)
{
	struct rollout_world w;

	(void)state;
	begin(&w, 0, 2);
	ready(&w, 1);
	world_named(&w, 0, 2, B)->trouble = true;
	world_run(&w);
	assert_string_equal(w.trace, "+web.1 +web.2 back -web.2 -web.1");
	reap(&w);
	assert_string_equal(w.trace, "+web.1 +web.2 back -web.2 -web.1 done");
}

static void
test_pause_leaves_all_as_it_is(void **state)
{
	struct rollout_world w;

	(void)state;
	begin(&w, 1, 1);
	w.r.keep = true;
	world_named(&w, 0, 1, B)->trouble = true;
	world_run(&w);
	later(&w, 1000);
	assert_string_equal(w.trace, "+web.1 pause");
}

/* web needs db; db is unchanged, web is new. */
static void
begin_depends(struct rollout_world *w, struct rollout_depend *d)
{
	memset(w, 0, sizeof(*w));
	w->now_ns = 1000 * WORLD_S;
	w->names[0] = "web";
	w->names[1] = "db";
	w->services_count = 2;
	for (uint32_t i = 0; i < 2; i++) {
		w->services[i] = (struct rollout_service){.want = 1, .surge = 1};
		w->services[i].ready_max_ns = 1000 * WORLD_S;
		w->target[i] = B;
	}
	w->services[0].depends = d;
	w->services[0].depends_count = 1;
	rollout_init(&w->r, ROLLOUT_FORWARD, false, w->now_ns);
	world_run(w);
}

static void
test_a_service_waits_for_another(void **state)
{
	struct rollout_depend d = {1, ROLLOUT_HEALTHY, ROLLOUT_FAIL, 60 * WORLD_S, false};
	struct rollout_world w;

	(void)state;
	begin_depends(&w, &d);
	assert_string_equal(w.trace, "+db.1");
	w.replicas[0].started = true;
	world_run(&w);
	assert_string_equal(w.trace, "+db.1");
	world_make_ready(&w, &w.replicas[0]);
	world_run(&w);
	assert_string_equal(w.trace, "+db.1 +web.1");
}

static void
test_a_service_that_others_wait_for_is_late(void **state)
{
	struct rollout_depend d = {1, ROLLOUT_READY, ROLLOUT_FAIL, 60 * WORLD_S, false};
	struct rollout_world w;

	(void)state;
	begin_depends(&w, &d);
	later(&w, 60);
	assert_string_equal(w.trace, "+db.1 back -db.1");
	assert_int_equal(w.cause, ROLLOUT_CAUSE_DEPEND);
	d.on_timeout = ROLLOUT_WARN;
	begin_depends(&w, &d);
	later(&w, 60);
	assert_string_equal(w.trace, "+db.1 late +web.1");
}

static void
test_an_unchanged_service_is_not_touched(void **state)
{
	struct rollout_world w;

	(void)state;
	begin(&w, 1, 1);
	memset(&w.replicas, 0, sizeof(w.replicas));
	w.trace[0] = 0;
	w.services_count = 2;
	w.services[1] = (struct rollout_service){.want = 1, .had = 1, .surge = 1};
	w.target[1] = w.previous[1] = A;
	world_make_ready(&w, world_add(&w, 0, 1, A));
	struct world_replica *db = world_add(&w, 1, 1, A);
	/* Not even when it is in trouble of its own. */
	db->trouble = true;
	world_run(&w);
	ready(&w, 1);
	later(&w, 10);
	reap(&w);
	assert_string_equal(w.trace, "+web.1 commit -web.1 done");
	assert_true(db->used);
}

static void
test_scaling(void **state)
{
	struct rollout_world w;

	(void)state;
	begin(&w, 0, 0);
	w.trace[0] = 0;
	w.target[0] = w.previous[0] = A;
	w.services[0].had = 1;
	w.services[0].want = 3;
	world_make_ready(&w, world_add(&w, 0, 1, A));
	rollout_init(&w.r, ROLLOUT_FORWARD, false, w.now_ns);
	world_run(&w);
	assert_string_equal(w.trace, "+web.2 +web.3");
	/* They do not come up: back to one, the old one. */
	later(&w, 60);
	reap(&w);
	assert_string_equal(w.trace, "+web.2 +web.3 back -web.3 -web.2 done");
	assert_true(w.replicas[0].used);
	/* Down from three to one. */
	w.trace[0] = 0;
	w.services[0].had = 3;
	w.services[0].want = 1;
	world_make_ready(&w, world_add(&w, 0, 2, A));
	world_make_ready(&w, world_add(&w, 0, 3, A));
	rollout_init(&w.r, ROLLOUT_FORWARD, false, w.now_ns);
	world_run(&w);
	reap(&w);
	assert_string_equal(w.trace, "commit -web.3 -web.2 done");
}

static void
test_at_rest(void **state)
{
	struct rollout_world w;

	(void)state;
	begin(&w, 1, 1);
	ready(&w, 1);
	later(&w, 10);
	reap(&w);
	w.trace[0] = 0;
	w.previous[0] = B;
	/* Somebody removed it: it is made again. */
	world_named(&w, 0, 1, B)->used = false;
	world_run(&w);
	assert_string_equal(w.trace, "+web.1");
	/* In trouble: that is for its life cycle. */
	world_named(&w, 0, 1, B)->trouble = true;
	later(&w, 1000);
	assert_string_equal(w.trace, "+web.1");
}

/* `count` ready replicas of B at rest, and nothing else. */
static void
rest(struct rollout_world *w, uint32_t count)
{
	begin(w, 0, count);
	for (uint32_t i = 1; i <= count; i++)
		ready(w, i);
	later(w, 10);
	assert_int_equal(w->r.phase, ROLLOUT_IDLE);
	w->services[0].room = true;
	w->trace[0] = 0;
}

static void
misfit(struct rollout_world *w, uint32_t index)
{
	world_named(w, 0, index, B)->misfit = true;
	world_run(w);
}

static void
test_a_misfit_is_replaced_first(void **state)
{
	struct rollout_world w;

	(void)state;
	rest(&w, 2);
	misfit(&w, 2);
	assert_string_equal(w.trace, "+web.2");
	ready(&w, 2);
	later(&w, 9);
	assert_string_equal(w.trace, "+web.2");
	later(&w, 1);
	assert_string_equal(w.trace, "+web.2 -web.2");
	reap(&w);
	later(&w, 100);
	assert_string_equal(w.trace, "+web.2 -web.2");
}

/* A node is drained: its three replicas leave one by one. */
static void
test_all_are_misfits(void **state)
{
	struct rollout_world w;

	(void)state;
	rest(&w, 3);
	for (uint32_t i = 1; i <= 3; i++)
		world_named(&w, 0, i, B)->misfit = true;
	world_run(&w);
	assert_string_equal(w.trace, "+web.1");
	ready(&w, 1);
	later(&w, 10);
	assert_string_equal(w.trace, "+web.1 -web.1");
	reap(&w);
	ready(&w, 2);
	later(&w, 10);
	assert_string_equal(w.trace, "+web.1 -web.1 +web.2 -web.2");
	reap(&w);
	ready(&w, 3);
	later(&w, 10);
	reap(&w);
	assert_string_equal(w.trace, "+web.1 -web.1 +web.2 -web.2 +web.3 -web.3");
}

/* The new one does not come up, or finds no node: the old one stays. */
static void
test_a_misfit_stays_without_a_place(void **state)
{
	struct rollout_world w;

	(void)state;
	rest(&w, 1);
	w.services[0].room = false;
	misfit(&w, 1);
	later(&w, 1000);
	assert_string_equal(w.trace, "+web.1");
	/* It fits again: what was to come is no longer needed. */
	for (size_t i = 0; i < WORLD_REPLICAS; i++)
		w.replicas[i].misfit = false;
	world_run(&w);
	assert_string_equal(w.trace, "+web.1 -web.1");
	assert_true(world_find(&w, 1)->ready && !world_find(&w, 1)->leaving);
}

static void
test_a_misfit_leaves_first(void **state)
{
	struct rollout_world w;

	(void)state;
	rest(&w, 2);
	w.services[0].stop_first = true;
	w.services[0].room = false;
	world_named(&w, 0, 1, B)->misfit = true;
	misfit(&w, 2);
	assert_string_equal(w.trace, "");
	w.services[0].room = true;
	world_run(&w);
	assert_string_equal(w.trace, "-web.2");
	reap(&w);
	assert_string_equal(w.trace, "-web.2 +web.2");
	later(&w, 100);
	ready(&w, 2);
	later(&w, 10);
	assert_string_equal(w.trace, "-web.2 +web.2 -web.1");
	reap(&w);
	assert_string_equal(w.trace, "-web.2 +web.2 -web.1 +web.1");
}

static void
test_unavailable_makes_room_for_moves(void **state)
{
	struct rollout_world w;

	(void)state;
	rest(&w, 3);
	w.services[0].surge = 0;
	w.services[0].unavailable = 1;
	world_named(&w, 0, 1, B)->misfit = true;
	misfit(&w, 2);
	assert_string_equal(w.trace, "-web.2");
	reap(&w);
	assert_string_equal(w.trace, "-web.2 +web.2");
	ready(&w, 2);
	later(&w, 10);
	reap(&w);
	assert_string_equal(w.trace, "-web.2 +web.2 -web.1 +web.1");
}

/* After a partition there are two of one number: the loser is the misfit. */
static void
test_one_of_two_leaves(void **state)
{
	struct rollout_world w;

	(void)state;
	rest(&w, 3);
	struct world_replica *second = world_add(&w, 0, 1, B);
	world_make_ready(&w, second);
	second->misfit = true;
	world_run(&w);
	assert_string_equal(w.trace, "-web.1");
	assert_true(second->leaving);
}

static void
test_a_misfit_goes_first_when_there_are_too_many(void **state)
{
	struct rollout_world w;

	(void)state;
	rest(&w, 3);
	world_named(&w, 0, 1, B)->misfit = true;
	w.services[0].want = 2;
	rollout_init(&w.r, ROLLOUT_FORWARD, false, w.now_ns);
	world_run(&w);
	assert_string_equal(w.trace, "commit -web.1");
	reap(&w);
	assert_string_equal(w.trace, "commit -web.1 done");
}

static void
test_removing_all(void **state)
{
	struct rollout_world w;

	(void)state;
	begin(&w, 0, 0);
	w.trace[0] = 0;
	w.target[0] = A;
	world_make_ready(&w, world_add(&w, 0, 1, A));
	world_add(&w, 0, 2, A);
	rollout_init(&w.r, ROLLOUT_COMMITTED, false, w.now_ns);
	world_run(&w);
	assert_string_equal(w.trace, "-web.2 -web.1");
	reap(&w);
	assert_string_equal(w.trace, "-web.2 -web.1 done");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_first_deploy),
		cmocka_unit_test(test_one_replica_is_replaced),
		cmocka_unit_test(test_three_roll_one_by_one),
		cmocka_unit_test(test_unavailable_lets_the_old_go_first),
		cmocka_unit_test(test_stop_first),
		cmocka_unit_test(test_a_new_one_that_ends_turns_it_back),
		cmocka_unit_test(test_a_new_one_that_never_answers_is_late),
		cmocka_unit_test(test_a_relapse_in_the_monitor_window),
		cmocka_unit_test(test_turning_back_half_way),
		cmocka_unit_test(test_what_drains_is_called_back),
		cmocka_unit_test(test_the_first_deploy_fails),
		cmocka_unit_test(test_pause_leaves_all_as_it_is),
		cmocka_unit_test(test_a_service_waits_for_another),
		cmocka_unit_test(test_a_service_that_others_wait_for_is_late),
		cmocka_unit_test(test_an_unchanged_service_is_not_touched),
		cmocka_unit_test(test_scaling),
		cmocka_unit_test(test_at_rest),
		cmocka_unit_test(test_removing_all),
		cmocka_unit_test(test_a_misfit_is_replaced_first),
		cmocka_unit_test(test_all_are_misfits),
		cmocka_unit_test(test_a_misfit_stays_without_a_place),
		cmocka_unit_test(test_a_misfit_leaves_first),
		cmocka_unit_test(test_unavailable_makes_room_for_moves),
		cmocka_unit_test(test_one_of_two_leaves),
		cmocka_unit_test(test_a_misfit_goes_first_when_there_are_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
