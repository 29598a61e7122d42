/* SPDX-License-Identifier: Apache-2.0 */
/* The whole machinery on the toy: right ones pass, each kind of wrong is found, and a planted fault
 * that needs one event is brought down to that event. */
#include "tests/sim/run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "tests/sim/toy.h"

static struct run_result
run(unsigned bugs, uint64_t seeds)
{
	struct sim_profile profile = toy_profile(&bugs);
	struct run_options o = {.profile = &profile,
				.from = 1,
				.seeds = seeds,
				.seconds = 30,
				.kinds = UINT32_MAX,
				.jobs = 2,
				.failures_max = 1,
				.quiet = true};
	struct run_result r;

	run_seeds(&o, &r);
	return r;
}

static void
test_right_passes(void **state)
{
	struct run_result r = run(0, 20);

	(void)state;
	if (r.failed)
		fail_msg("%s: %s", r.failure.check, r.failure.text);
	assert_int_equal(r.done, 20);
}

static void
test_wrong_is_found(void **state)
{
	static const struct {
		unsigned bug;
		const char *check;
	} cases[] = {
		{TOY_HASTY, "kept"}, {TOY_FORGETFUL, "kept"},     {TOY_CHANGEABLE, "determinism"},
		{TOY_DEAF, "equal"}, {TOY_REPEATING, "contract"}, {TOY_ABORTS, "crash"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct run_result r = run(cases[i].bug, 2000);

		if (r.failed == 0)
			fail_msg("%s: bug %u passed %u seeds", cases[i].check, cases[i].bug,
				 (unsigned)r.done);
		assert_string_equal(r.failure.check, cases[i].check);
	}
}

/* The same options, the same trace, in this process and with other ones before it. */
static void
test_same_seed_same_trace(void **state)
{
	unsigned bugs = 0;
	struct sim_profile profile = toy_profile(&bugs);
	uint64_t hashes[3];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct plan plan;
		struct trial t;

		sim_plan_draw(&plan, &profile.wish, i == 1 ? 6 : 5, 7, 20 * SIM_S, UINT32_MAX);
		trial_run(&plan, &profile, NULL, &t);
		hashes[i] = t.hash;
		sim_plan_fini(&plan);
	}
	assert_true(hashes[0] == hashes[2]);
	assert_true(hashes[0] != hashes[1]);
}

static bool
fails(const struct plan *plan, void *data)
{
	struct trial t;

	trial_run(plan, data, NULL, &t);
	return t.failure.failed && strcmp(t.failure.check, "kept") == 0;
}

/* Forgetting needs one act, so that there is something to forget, and one stall. */
static void
test_smallest_plan(void **state)
{
	unsigned bugs = TOY_FORGETFUL, found = 0;
	struct sim_profile profile = toy_profile(&bugs);

	(void)state;
	for (uint64_t seed = 1; found == 0; seed++) {
		size_t acts = 0, stalls = 0, others = 0;
		struct plan plan;

		sim_plan_draw(&plan, &profile.wish, seed, 5, 30 * SIM_S,
			      1u << PLAN_PAUSE | 1u << PLAN_LOSS | 1u << PLAN_CUT);
		if (fails(&plan, &profile)) {
			found++;
			assert_true(trial_minimise(&plan, fails, &profile, 1000) > 0);
			assert_true(fails(&plan, &profile));
			for (size_t i = 0; i < plan.item_count; i++) {
				if (plan.items[i].dropped)
					continue;
				if (plan.items[i].kind == PLAN_ACT)
					acts++;
				else if (plan.items[i].kind == PLAN_PAUSE)
					stalls++;
				else
					others++;
			}
			assert_int_equal(acts, 1);
			assert_int_equal(stalls, 1);
			assert_int_equal(others, 0);
		}
		sim_plan_fini(&plan);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_right_passes),
		cmocka_unit_test(test_wrong_is_found),
		cmocka_unit_test(test_same_seed_same_trace),
		cmocka_unit_test(test_smallest_plan),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
