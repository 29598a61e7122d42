/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/err.h"
#include "tests/unit/sim/script.h"

enum { OURS = STEP_STREAM_OURS | 5, BYTES = 60000 };

static struct script script;

/* Node 1 opens, writes, gets an answer of one byte and closes. */
static void
on_ask(struct script *s, const struct sim_core_config *config, const struct step_input *in,
       struct step_actions *out)
{
	static uint8_t data[BYTES];

	for (size_t i = 0; i < BYTES; i++)
		data[i] = (uint8_t)(i * 7 >> 3);
	if (in->kind == STEP_START && config->node == 1 && config->boot == 1) {
		struct step_action *a = step_add(out, STEP_STREAM_OPEN, NULL, 0);

		a->node = 2;
		a->stream = OURS;
	} else if (in->kind == STEP_STREAM_UP && config->node == 1) {
		step_add(out, STEP_STREAM_WRITE, data, BYTES)->stream = OURS;
	} else if (in->kind == STEP_STREAM_DATA && config->node == 2) {
		if (s->stream_bytes == BYTES)
			step_add(out, STEP_STREAM_WRITE, "!", 1)->stream = in->stream;
	} else if (in->kind == STEP_STREAM_DATA && config->node == 1) {
		assert_memory_equal(s->stream, data, BYTES);
		step_add(out, STEP_STREAM_CLOSE, NULL, 0)->stream = OURS;
	}
}

static void
run_as(script_fn *on, struct plan *plan, uint64_t until_ns)
{
	struct sim_profile profile = script_profile(&script);
	struct sim *s;

	memset(&script, 0, sizeof(script));
	script.on = on;
	script.sim = s = sim_new(plan, &profile);
	sim_run(s, until_ns);
	if (s->failure.failed)
		fail_msg("%s: %s", s->failure.check, s->failure.text);
	sim_free(s);
	sim_plan_fini(plan);
}

static void
run(struct plan *plan, uint64_t until_ns)
{
	run_as(on_ask, plan, until_ns);
}

static void
test_there_and_back(void **state)
{
	const struct script_input *last = NULL;

	(void)state;
	for (uint64_t seed = 1; seed <= 50; seed++) {
		struct plan plan = script_plan(2);

		plan.seed = seed;
		run(&plan, 10 * SIM_S);
		assert_int_equal(script.stream_bytes, BYTES + 1);
		assert_true(script_count(&script, 2, STEP_STREAM_DATA, NULL) >= 1);
		for (uint32_t node = 1; node <= 2; node++) {
			assert_int_equal(script_count(&script, node, STEP_STREAM_UP, NULL), 1);
			assert_int_equal(script_count(&script, node, STEP_STREAM_DOWN, &last), 1);
			assert_int_equal(last->in.status, 0);
			assert_true(last->in.node == 3 - node);
		}
		assert_int_equal(script_count(&script, 1, STEP_STREAM_ROOM, NULL), 1);
	}
}

/* Who closes may hear no more of it; the other side does. */
static void
test_the_closer_hears_nothing(void **state)
{
	struct plan plan = script_plan(2);

	(void)state;
	plan.closer_silent = true;
	run(&plan, 10 * SIM_S);
	assert_int_equal(script.stream_bytes, BYTES + 1);
	assert_int_equal(script_count(&script, 1, STEP_STREAM_DOWN, NULL), 0);
	assert_int_equal(script_count(&script, 2, STEP_STREAM_DOWN, NULL), 1);
}

/* Node 1 writes and closes at once, before it can know whether anybody is there. */
static void
on_blurt(struct script *s, const struct sim_core_config *config, const struct step_input *in,
	 struct step_actions *out)
{
	struct step_action *a;

	(void)s;
	if (in->kind != STEP_START || config->node != 1 || config->boot != 1)
		return;
	a = step_add(out, STEP_STREAM_OPEN, NULL, 0);
	a->node = 2;
	a->stream = OURS;
	step_add(out, STEP_STREAM_WRITE, "hello", 5)->stream = OURS;
	step_add(out, STEP_STREAM_CLOSE, NULL, 0)->stream = OURS;
}

static void
test_written_before_it_was_up(void **state)
{
	(void)state;
	for (unsigned silent = 0; silent < 2; silent++) {
		struct plan plan = script_plan(2);

		plan.closer_silent = silent;
		run_as(on_blurt, &plan, 10 * SIM_S);
		assert_int_equal(script.stream_bytes, 5);
		assert_int_equal(script_count(&script, 1, STEP_STREAM_UP, NULL), 0);
		assert_int_equal(script_count(&script, 1, STEP_STREAM_DOWN, NULL), !silent);
		assert_int_equal(script_count(&script, 2, STEP_STREAM_DOWN, NULL), 1);
	}
}

static void
test_nobody_there(void **state)
{
	struct plan plan = script_plan(2);
	const struct script_input *last = NULL;

	(void)state;
	sim_plan_add(&plan,
		     (struct plan_item){.for_ns = PLAN_FOR_EVER, .kind = PLAN_CRASH, .node = 2});
	run(&plan, 10 * SIM_S);
	assert_int_equal(script_count(&script, 1, STEP_STREAM_UP, NULL), 0);
	assert_int_equal(script_count(&script, 1, STEP_STREAM_DOWN, &last), 1);
	assert_int_equal(last->in.status, ERR_UNREACHABLE);
}

static void
test_cut_off(void **state)
{
	const struct script_input *last = NULL;

	(void)state;
	for (unsigned late = 0; late < 2; late++) {
		struct plan plan = script_plan(2);

		plan.link.bytes_per_s = 60000; /* so that it takes a second */
		sim_plan_add(&plan, (struct plan_item){.at_ns = late * SIM_S / 2,
						       .for_ns = 50 * SIM_S,
						       .kind = PLAN_CUT,
						       .node = 1,
						       .strength = 1});
		run(&plan, 60 * SIM_S);
		assert_int_equal(script_count(&script, 1, STEP_STREAM_UP, NULL), late);
		assert_int_equal(script_count(&script, 1, STEP_STREAM_DOWN, &last), 1);
		assert_int_equal(last->in.status, ERR_TIMEOUT);
		assert_in_range(last->true_ns, 9 * SIM_S, 14 * SIM_S);
	}
}

static void
test_reset_by_a_crash(void **state)
{
	struct plan plan = script_plan(2);
	const struct script_input *last = NULL;

	(void)state;
	plan.link.bytes_per_s = 6000;
	sim_plan_add(
		&plan,
		(struct plan_item){.at_ns = SIM_S, .for_ns = SIM_S, .kind = PLAN_CRASH, .node = 2});
	run(&plan, 60 * SIM_S);
	assert_int_equal(script_count(&script, 1, STEP_STREAM_DOWN, &last), 1);
	assert_int_equal(last->in.status, ERR_UNREACHABLE);
	assert_in_range(last->true_ns, SIM_S, SIM_S + 100 * SIM_MS);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_the_closer_hears_nothing),
		cmocka_unit_test(test_written_before_it_was_up),
		cmocka_unit_test(test_nobody_there),
		cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_reset_by_a_crash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
