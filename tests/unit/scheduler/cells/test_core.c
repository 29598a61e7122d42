/* SPDX-License-Identifier: Apache-2.0 */
/* The core of cells: what strangers and liars can do to one node, and a small world in the
 * simulator. Seeds with faults are the profile's (tests/sim/profile_cells.c). */
#include "scheduler/cells/cells.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/mem.h"
#include "tests/sim/profile_cells.h"
#include "tests/support/sweep.h"

enum { HELLO_BYTES = 4 + 2 * SUMMARY_RECORD_BYTES };

/* Nodes 1 to 9 are in cell 1, 11 to 19 in cell 2 ..., cells from 5 on in region 2. */
static bool
where(void *arg, uint32_t node, struct cells_place *out)
{
	(void)arg;
	out->cell = node / 10 + 1;
	out->region = out->cell < 5 ? 1 : 2;
	return node > 0 && node < 80;
}

static const struct cells_seed seeds[] = {
	{11, {2, 1}}, {12, {2, 1}}, {21, {3, 1}}, {41, {5, 2}}, {42, {5, 2}},
};

static struct cells_config
config_of(uint32_t self)
{
	struct cells_config c = {
		.self = self,
		.seed = 7,
		.file = 1,
		.seeds = seeds,
		.seeds_count = sizeof(seeds) / sizeof(seeds[0]),
		.where = where,
	};

	where(NULL, self, &c.place);
	return c;
}

struct one {
	struct cells *cells;
	struct step_actions out;
	uint64_t now_ns;
	uint64_t timer_ns;
	unsigned hellos;
	bool asked[80]; /* nodes that were sent one */
};

static void
settle(struct one *o, struct step_input in)
{
	for (unsigned i = 0; i < 200; i++) {
		uint64_t tokens[64];
		size_t count = 0;

		in.now_ns = o->now_ns;
		step_actions_clear(&o->out);
		cells_step(o->cells, &in, &o->out);
		for (size_t a = 0; a < o->out.count; a++) {
			const struct step_action *action = &o->out.items[a];

			if (action->kind == STEP_SET_TIMER)
				o->timer_ns = action->at_ns;
			if (action->kind == STEP_REPLACE && count < 64)
				tokens[count++] = action->token;
			if (action->kind == STEP_SEND && action->what & CELLS_HELLO) {
				o->hellos++;
				o->asked[action->node] = true;
			}
		}
		bool more = o->out.more;

		for (size_t t = 0; t < count; t++)
			settle(o, (struct step_input){.kind = STEP_DISK_DONE, .token = tokens[t]});
		if (!more && count == 0)
			return;
		in = (struct step_input){.kind = STEP_MORE};
	}
	fail_msg("no end of steps");
}

static void
pass(struct one *o, uint64_t ms)
{
	uint64_t until = o->now_ns + ms * 1000000;

	while (o->timer_ns <= until) {
		if (o->timer_ns > o->now_ns)
			o->now_ns = o->timer_ns;
		o->timer_ns = UINT64_MAX;
		settle(o, (struct step_input){.kind = STEP_TIMER});
	}
	o->now_ns = until;
}

static struct one *
begin(uint32_t self)
{
	static struct one o;
	const struct cells_config config = config_of(self);

	memset(&o, 0, sizeof(o));
	o.now_ns = 1000000000;
	o.timer_ns = UINT64_MAX;
	assert_int_equal(cells_new(&config, &o.cells), 0);
	settle(&o, (struct step_input){.kind = STEP_START});
	pass(&o, 500);
	return &o;
}

static void
hello(struct one *o, uint32_t from, unsigned tier, const struct record *r, uint8_t version)
{
	uint8_t data[HELLO_BYTES] = {version, 1, (uint8_t)tier};

	summary_record_encode(r, data + 4);
	o->hellos = 0;
	settle(o, (struct step_input){.kind = STEP_DATAGRAM,
				      .node = from,
				      .what = (uint16_t)(CELLS_HELLO | tier),
				      .data = data,
				      .bytes = sizeof(data)});
}

static void
test_alone(void **state)
{
	struct one *o = begin(1);
	struct choice_ask ask = {.service = 5, .replicas = 1, .cpu_milli = 100, .memory_mib = 100};
	const struct facts facts = {.cpu_milli = 8000,
				    .cpu_free_milli = 8000,
				    .memory_mib = 8192,
				    .memory_free_mib = 8192,
				    .open = true};
	struct cells_choice choice;

	(void)state;
	assert_non_null(cells_gossip(o->cells, 1));
	assert_non_null(cells_gossip(o->cells, 2));
	assert_int_equal(cells_facts(o->cells, &facts), GOSSIP_OK);
	pass(o, 20000);
	assert_true(o->hellos > 10); /* to cells 2 and 3 and region 2 */
	assert_true(cells_choose(o->cells, &ask, &choice));
	assert_int_equal(choice.region, 1);
	assert_int_equal(choice.cell, 1);
	ask.replicas = 1000;
	assert_false(cells_choose(o->cells, &ask, &choice));
	cells_free(o->cells);
}

/* Of units that nobody answers for, each node that is known is asked in its turn, whatever units
 * there are besides. */
static void
test_all_seeds(void **state)
{
	struct one *o = begin(1);

	(void)state;
	pass(o, 120000);
	for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++)
		assert_true(o->asked[seeds[i].node]);
	cells_free(o->cells);
}

/* A sender is where its certificate says, whatever it says. */
static void
test_liars(void **state)
{
	struct one *o = begin(1);
	struct record r = {.unit = 2, .round = 4, .gates = {11, 12}};
	const struct cells_counters *n = cells_counters(o->cells);

	(void)state;
	hello(o, 11, 1, &r, 1);
	assert_true(o->hellos > 0);
	assert_int_equal(n->lies + n->foreign + n->malformed, 0);
	hello(o, 21, 1, &r, 1); /* is in cell 3 */
	assert_int_equal(n->lies, 1);
	r.gates[1] = 21; /* names one of another cell */
	r.round++;
	hello(o, 11, 1, &r, 1);
	assert_int_equal(n->lies, 2);
	r.unit = 1; /* speaks for ours */
	hello(o, 2, 1, &r, 1);
	assert_int_equal(n->lies, 3);
	r = (struct record){.unit = 5, .round = 1, .gates = {41}};
	hello(o, 41, 1, &r, 1); /* of another region, in this one */
	assert_int_equal(n->foreign, 1);
	r.unit = 2;
	hello(o, 41, 2, &r, 1); /* is region 2 */
	assert_int_equal(n->lies, 3);
	hello(o, 99, 1, &r, 1); /* is nowhere */
	assert_int_equal(n->foreign, 2);
	hello(o, 11, 0, &r, 1);
	assert_int_equal(n->foreign, 3); /* cell 2 has no part in tier 0 */
	hello(o, 2, 0, &r, 1);
	assert_int_equal(n->malformed, 1);
	hello(o, 11, 1, &r, 0);
	assert_int_equal(n->malformed, 2);
	cells_free(o->cells);
}

static void
test_foreign_gossip(void **state)
{
	struct one *o = begin(1);
	const uint8_t ping[] = {1, 1, 0, 0};
	struct step_input in = {
		.kind = STEP_DATAGRAM, .node = 11, .what = 0, .data = ping, .bytes = sizeof(ping)};
	uint8_t tier = 0;

	(void)state;
	settle(o, in);
	assert_int_equal(cells_counters(o->cells)->foreign, 1);
	in.what = 7;
	settle(o, in);
	assert_int_equal(cells_counters(o->cells)->foreign, 2);
	/* A stream for the own cell, from another. */
	settle(o, (struct step_input){.kind = STEP_STREAM_UP, .node = 11, .stream = 5});
	settle(o, (struct step_input){
			  .kind = STEP_STREAM_DATA, .stream = 5, .data = &tier, .bytes = 1});
	assert_int_equal(cells_counters(o->cells)->foreign, 3);
	for (uint32_t i = 0; i < CELLS_STREAMS_MAX + 5; i++)
		settle(o,
		       (struct step_input){.kind = STEP_STREAM_UP, .node = 11, .stream = 100 + i});
	assert_true(cells_counters(o->cells)->full >= 5);
	cells_free(o->cells);
}

static void
test_too_many_units(void **state)
{
	struct one *o = begin(1);

	(void)state;
	/* Seeds have two; regions from one certificate's number on are many. */
	for (uint32_t unit = 2; unit < 5; unit++) {
		struct record r = {.unit = unit, .round = 1, .gates = {unit * 10 - 9}};

		hello(o, unit * 10 - 9, 1, &r, 1);
	}
	assert_int_equal(cells_units(o->cells, 1), 4);
	assert_int_equal(cells_units(o->cells, 2), 2);
	cells_free(o->cells);
}

/* Three cells in two regions, in the simulator, without faults: all know all, and choose alike. */
static void
test_world(void **state)
{
	const struct profile_cells_shape shape = {.nodes = 18, .cells = 3, .regions = 2};
	struct plan plan = {
		.seed = 1,
		.nodes = 18,
		.safety_ns = 600 * SIM_S,
		.socket_bytes = 212992,
		.wire_low = 1,
		.wire_high = 1,
		.link = {.near_ns = 50000, .zones = 1},
	};
	struct sim *s = sim_new(&plan, profile_cells_bare(&shape));
	const struct facts facts = {.cpu_milli = 1000,
				    .cpu_free_milli = 1000,
				    .memory_mib = 1024,
				    .memory_free_mib = 1024,
				    .open = true};
	unsigned gates = 0, voices = 0;

	(void)state;
	for (uint32_t node = 1; node <= shape.nodes; node++)
		sim_local_in(s, node, SIM_S, PROFILE_CELLS_FACTS, 0, &facts, sizeof(facts));
	sim_run(s, 40 * SIM_S);
	assert_false(s->failure.failed);
	for (uint32_t node = 1; node <= shape.nodes; node++) {
		struct cells *c = profile_cells_core(sim_core(s, node));
		struct cells_unit u;

		voices += cells_gossip(c, 2) != NULL;
		if (!cells_gossip(c, 1))
			continue;
		gates++;
		assert_int_equal(cells_units(c, 2), 2);
		for (size_t i = 0; i < 2; i++) {
			cells_unit_at(c, 2, i, &u);
			assert_int_equal(u.state, CELLS_LIVE);
			assert_non_null(u.summary);
			assert_int_equal(u.summary->nodes, u.unit == 1 ? 12 : 6);
			assert_int_equal(u.summary->cells, u.unit == 1 ? 2 : 1);
		}
	}
	assert_int_equal(gates, 9);
	assert_int_equal(voices,
			 3); /* those that speak for their cells, three in a region at most */
	sim_free(s);
}

/* 1 and 3 are region 1, 2 and 4 region 2; 1 and 4 speak. 4 is away, and 2 speaks in its place until
 * it dies; 4 comes back without memory and begins with a round that was there before. Of those who
 * could tell it so the one that speaks, 1, has forgotten, too: 3 has to tell that. */
static void
test_a_forgotten_round(void **state)
{
	const struct profile_cells_shape shape = {.nodes = 4, .cells = 2, .regions = 2};
	struct plan plan = {
		.seed = 1,
		.nodes = 4,
		.safety_ns = 600 * SIM_S,
		.socket_bytes = 212992,
		.wire_low = 1,
		.wire_high = 1,
		.link = {.near_ns = 50000, .zones = 1},
	};
	const struct plan_item items[] = {
		{.kind = PLAN_CRASH, .at_ns = 20 * SIM_S, .node = 4, .for_ns = 60 * SIM_S},
		{.kind = PLAN_CRASH, .at_ns = 40 * SIM_S, .node = 2, .for_ns = PLAN_FOR_EVER},
		{.kind = PLAN_CRASH, .at_ns = 60 * SIM_S, .node = 1, .for_ns = SIM_MS},
	};
	const struct facts facts = {.cpu_milli = 1000, .cpu_free_milli = 1000, .open = true};
	struct cells_unit u;
	struct cells *c;

	(void)state;
	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++)
		sim_plan_add(&plan, items[i]);
	struct sim *s = sim_new(&plan, profile_cells_bare(&shape));
	for (uint32_t node = 1; node <= shape.nodes; node++)
		sim_local_in(s, node, SIM_S, PROFILE_CELLS_FACTS, 0, &facts, sizeof(facts));
	sim_run(s, 70 * SIM_S);
	c = profile_cells_core(sim_core(s, 3));
	cells_unit_at(c, 2, 1, &u);
	assert_int_equal(u.unit, 2);
	assert_int_equal(u.record.gates[0], 2);
	sim_run(s, 120 * SIM_S);
	for (uint32_t node = 1; node <= 3; node += 2) {
		c = profile_cells_core(sim_core(s, node));
		for (size_t i = 0; i < cells_units(c, 2); i++) {
			cells_unit_at(c, 2, i, &u);
			if (u.unit == 2)
				assert_int_equal(u.record.gates[0], 4);
		}
		assert_int_equal(cells_units(c, 2), 2);
	}
	sim_free(s);
	sim_plan_fini(&plan);
}

static void
test_memory(void **state)
{
	const struct cells_config config = config_of(1);

	(void)state;
	sweep_each(s)
	{
		struct cells *c = NULL;
		int r = cells_new(&config, &c);

		assert_int_equal(r < 0, sweep_failed());
		if (r == 0)
			cells_free(c);
	}
}

/* A node that cannot become a gate for want of memory goes on, and tries again. */
static void
test_memory_of_steps(void **state)
{
	static struct one o;
	const struct cells_config config = config_of(1);

	(void)state;
	for (int64_t after = 0; after < 40; after++) {
		memset(&o, 0, sizeof(o));
		o.now_ns = 1000000000;
		o.timer_ns = UINT64_MAX;
		assert_int_equal(cells_new(&config, &o.cells), 0);
		mem_fail_after(after);
		settle(&o, (struct step_input){.kind = STEP_START});
		mem_fail_after(-1);
		pass(&o, 3000);
		assert_non_null(cells_gossip(o.cells, 2));
		cells_free(o.cells);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alone),
		cmocka_unit_test(test_all_seeds),
		cmocka_unit_test(test_liars),
		cmocka_unit_test(test_foreign_gossip),
		cmocka_unit_test(test_too_many_units),
		cmocka_unit_test(test_world),
		cmocka_unit_test(test_a_forgotten_round),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_memory_of_steps),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
