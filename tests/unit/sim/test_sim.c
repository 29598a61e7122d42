/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/err.h"
#include "tests/unit/sim/script.h"

static struct script script;

static void
run(struct plan *plan,
    void (*on)(struct script *, const struct sim_core_config *, const struct step_input *,
	       struct step_actions *),
    uint64_t until_ns, struct sim_failure *failure_out)
{
	struct sim_profile profile = script_profile(&script);
	struct sim *s;

	memset(&script, 0, sizeof(script));
	script.on = on;
	script.sim = s = sim_new(plan, &profile);
	sim_run(s, until_ns);
	if (failure_out)
		*failure_out = s->failure;
	else if (s->failure.failed)
		fail_msg("%s: %s", s->failure.check, s->failure.text);
	sim_free(s);
	sim_plan_fini(plan);
}

static void
set_timer(struct step_actions *out, uint64_t at_ns)
{
	step_add(out, STEP_SET_TIMER, NULL, 0)->at_ns = at_ns;
}

static void
send_byte(struct step_actions *out, uint32_t node, uint8_t byte)
{
	step_add(out, STEP_SEND, &byte, 1)->node = node;
}

/* ---- timers ---- */

static void
on_one_second(struct script *s, const struct sim_core_config *config, const struct step_input *in,
	      struct step_actions *out)
{
	(void)s;
	(void)config;
	if (in->kind != STEP_START)
		return;
	set_timer(out, in->now_ns + 9 * SIM_S);
	set_timer(out, in->now_ns + SIM_S);
}

static void
test_timer_keeps_the_nodes_own_time(void **state)
{
	struct plan plan = script_plan(40);
	uint64_t least = UINT64_MAX, most = 0;

	(void)state;
	plan.rate_max_ppb = 10000000;
	run(&plan, on_one_second, 20 * SIM_S, NULL);
	for (uint32_t node = 1; node <= 40; node++) {
		const struct script_input *last = NULL;

		assert_int_equal(script_count(&script, node, STEP_TIMER, &last), 1);
		least = last->true_ns < least ? last->true_ns : least;
		most = last->true_ns > most ? last->true_ns : most;
	}
	assert_in_range(least, 990 * SIM_MS, 995 * SIM_MS);
	assert_in_range(most, 1005 * SIM_MS, 1011 * SIM_MS);
}

static void
test_jump_brings_timers_forward(void **state)
{
	struct plan plan = script_plan(1);
	const struct script_input *last = NULL;

	(void)state;
	sim_plan_add(&plan, (struct plan_item){.at_ns = SIM_S / 2,
					       .kind = PLAN_JUMP,
					       .node = 1,
					       .strength = 5 * SIM_S});
	run(&plan, on_one_second, 20 * SIM_S, NULL);
	assert_int_equal(script_count(&script, 1, STEP_TIMER, &last), 1);
	assert_in_range(last->true_ns, SIM_S / 2, SIM_S / 2 + SIM_MS);
}

/* ---- pauses ---- */

static void
on_chatter(struct script *s, const struct sim_core_config *config, const struct step_input *in,
	   struct step_actions *out)
{
	(void)s;
	if (in->kind != STEP_START && in->kind != STEP_TIMER)
		return;
	set_timer(out, in->now_ns + SIM_S / 10);
	if (config->node == 2)
		send_byte(out, 1, 7);
}

static void
check_pause(bool clock_stands, size_t socket_bytes, unsigned waiting)
{
	struct plan plan = script_plan(2);
	const struct script_input *last = NULL;
	uint64_t now_ns = 0, before_ns = 0;
	unsigned datagrams = 0;

	plan.socket_bytes = socket_bytes;
	sim_plan_add(&plan, (struct plan_item){.at_ns = 1050 * SIM_MS,
					       .for_ns = 5 * SIM_S,
					       .kind = PLAN_PAUSE,
					       .node = 1,
					       .strength = clock_stands});
	run(&plan, on_chatter, 6150 * SIM_MS, NULL);
	for (size_t i = 0; i < script.count; i++) {
		const struct script_input *input = &script.inputs[i];

		if (input->at != 1 || input->true_ns < 1050 * SIM_MS) {
			before_ns = input->at == 1 ? input->in.now_ns : before_ns;
			continue;
		}
		assert_true(input->true_ns >= 6050 * SIM_MS);
		if (datagrams++ == 0)
			now_ns = input->in.now_ns;
		if (datagrams <= waiting)
			assert_int_equal(input->in.kind, STEP_DATAGRAM);
		if (datagrams <= waiting)
			assert_true(input->in.now_ns == now_ns);
	}
	assert_true(datagrams > waiting);
	assert_int_equal(script_count(&script, 1, STEP_TIMER, &last) > 0, 1);
	if (clock_stands)
		assert_true(now_ns - before_ns < SIM_S / 10);
	else
		assert_true(now_ns - before_ns > 4 * SIM_S);
}

static void
test_pause_gives_sockets_before_timers(void **state)
{
	(void)state;
	check_pause(false, 212992, 50);
	check_pause(true, 212992, 50);
}

static void
test_pause_fills_the_socket(void **state)
{
	(void)state;
	check_pause(false, 7050, 10);
}

/* ---- crashes and disks ---- */

static void
on_three_sends(struct script *s, const struct sim_core_config *config, const struct step_input *in,
	       struct step_actions *out)
{
	(void)s;
	if (in->kind == STEP_START)
		set_timer(out, in->now_ns + SIM_S);
	if (in->kind == STEP_TIMER && config->node == 1 && config->boot == 1)
		for (uint8_t i = 1; i <= 3; i++)
			send_byte(out, 2, i);
}

static void
test_crash_between_two_actions(void **state)
{
	(void)state;
	for (unsigned actions = 0; actions <= 3; actions++) {
		struct plan plan = script_plan(2);
		const struct script_input *last = NULL;
		unsigned reached;

		sim_plan_add(&plan, (struct plan_item){.at_ns = 999 * SIM_MS,
						       .for_ns = SIM_S,
						       .kind = PLAN_CRASH,
						       .node = 1,
						       .strength = actions});
		run(&plan, on_three_sends, 10 * SIM_S, NULL);
		reached = script_count(&script, 2, STEP_DATAGRAM, NULL);
		assert_int_equal(reached, actions);
		assert_int_equal(script_count(&script, 1, STEP_START, &last), 2);
		assert_int_equal(last->boot, 2);
	}
}

static void
on_write_and_send(struct script *s, const struct sim_core_config *config,
		  const struct step_input *in, struct step_actions *out)
{
	if (in->kind != STEP_START || config->node != 1 || config->boot > 1)
		return;
	struct step_action *a = step_add(out, STEP_REPLACE, "kept", 4);

	a->token = 1;
	a->what = 5;
	send_byte(out, 2, 1);
	out->items[out->count - 1].after = s->number ? s->number : 1;
	send_byte(out, 2, 2);
}

static void
test_after_waits_for_the_disk(void **state)
{
	struct plan plan = script_plan(2);
	const struct script_input *done = NULL, *last = NULL;

	(void)state;
	sim_plan_add(&plan, (struct plan_item){.for_ns = 50 * SIM_S,
					       .kind = PLAN_DISK_SLOW,
					       .node = 1,
					       .strength = 1000});
	sim_plan_add(&plan,
		     (struct plan_item){
			     .at_ns = 20 * SIM_S, .for_ns = SIM_S, .kind = PLAN_POWER, .node = 1});
	run(&plan, on_write_and_send, 30 * SIM_S, NULL);
	assert_int_equal(script_count(&script, 1, STEP_DISK_DONE, &done), 1);
	assert_int_equal(done->in.status, 0);
	assert_int_equal(script_count(&script, 2, STEP_DATAGRAM, &last), 2);
	assert_int_equal(last->first, 1);
	assert_true(last->true_ns > done->true_ns);
	assert_int_equal(script_count(&script, 1, STEP_FILE, &last), 1);
	assert_int_equal(last->in.what, 5);
	assert_int_equal(last->in.bytes, 4);
	assert_int_equal(last->boot, 2);
}

static void
test_after_a_failed_write_nothing_leaves(void **state)
{
	struct plan plan = script_plan(2);
	const struct script_input *last = NULL;

	(void)state;
	sim_plan_add(&plan, (struct plan_item){.for_ns = 50 * SIM_S,
					       .kind = PLAN_DISK_FULL,
					       .node = 1,
					       .strength = 1});
	run(&plan, on_write_and_send, 30 * SIM_S, NULL);
	assert_int_equal(script_count(&script, 1, STEP_DISK_DONE, &last), 1);
	assert_int_equal(last->in.status, ERR_NO_SPACE);
	assert_int_equal(script_count(&script, 2, STEP_DATAGRAM, &last), 1);
	assert_int_equal(last->first, 2);
}

/* ---- the contract ---- */

static void
on_wrong(struct script *s, const struct sim_core_config *config, const struct step_input *in,
	 struct step_actions *out)
{
	static const uint8_t large[STEP_DATAGRAM_MAX + 1];

	(void)s;
	if (in->kind != STEP_START)
		return;
	switch (config->plan_seed) {
	case 1:
		send_byte(out, config->node, 1);
		break;
	case 2:
		send_byte(out, 77, 1);
		break;
	case 3:
		step_add(out, STEP_SEND, large, sizeof(large))->node = 2;
		break;
	case 4:
		send_byte(out, 2, 1);
		out->items[0].after = 9;
		break;
	default:
		step_add(out, STEP_APPEND, "x", 1);
	}
}

static void
on_always_more(struct script *s, const struct sim_core_config *config, const struct step_input *in,
	       struct step_actions *out)
{
	(void)config;
	(void)in;
	s->count = 0;
	out->more = true;
}

static void
test_breaches_are_seen(void **state)
{
	struct sim_failure failure;

	(void)state;
	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct plan plan = script_plan(2);

		plan.seed = seed;
		run(&plan, on_wrong, SIM_S, &failure);
		assert_true(failure.failed);
		assert_string_equal(failure.check, "contract");
	}
	struct plan plan = script_plan(2);

	run(&plan, on_always_more, SIM_S, &failure);
	assert_string_equal(failure.check, "contract");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timer_keeps_the_nodes_own_time),
		cmocka_unit_test(test_jump_brings_timers_forward),
		cmocka_unit_test(test_pause_gives_sockets_before_timers),
		cmocka_unit_test(test_pause_fills_the_socket),
		cmocka_unit_test(test_crash_between_two_actions),
		cmocka_unit_test(test_after_waits_for_the_disk),
		cmocka_unit_test(test_after_a_failed_write_nothing_leaves),
		cmocka_unit_test(test_breaches_are_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
