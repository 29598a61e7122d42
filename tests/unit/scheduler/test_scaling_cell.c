/* SPDX-License-Identifier: Apache-2.0 */
/* Adaptive services over a few nodes in one process: figures of all of them, requests at any. */
#include "scheduler/scaling.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/support/adaptive.h"
#include "tests/support/cell_world.h"
#include "tests/support/sweep.h"

/* What comes to a node's proxy. */
static struct {
	unsigned rps;
	uint32_t waiting;
	uint64_t requests;
} load[CELL_NODES + 1];

static struct service *
web(uint32_t id)
{
	struct deployment *d = model_deployment(&cell_node(id)->w.m, "shop");

	return d ? model_service(d, "web") : NULL;
}

static const struct msg_service *
row(uint32_t id)
{
	return ring_table_own(cell_node(id)->w.m.writer, MSG_TABLE_SERVICE, web(id)->row.id);
}

static uint32_t
conductor(void)
{
	for (uint32_t id = 1; id <= cell.count; id++) {
		if (cell_node(id)->up && placing_conducts(cell_node(id)->p, web(id)->deployment))
			return id;
	}
	return 0;
}

static bool
has_own(uint32_t id)
{
	return cell_own(id, true) > 0;
}

/* A node whose proxy reaches a replica lets go what waits: with reach all do, else those that have
 * one. */
static void
live(unsigned seconds, bool reach)
{
	while (seconds-- > 0) {
		for (uint32_t id = 1; id <= cell.count; id++) {
			struct msg_demand d = {.service = web(id)->row.id};

			if (!cell_node(id)->up)
				continue;
			if (reach ? cell_all(true) > 0 : has_own(id))
				load[id].waiting = 0;
			load[id].requests += load[id].rps;
			d.requests = load[id].requests;
			d.waiting = load[id].waiting;
			d.in_flight = d.waiting + (load[id].rps > 0);
			ring_table_set(cell_node(id)->w.proxy, MSG_TABLE_DEMAND, d.service, &d,
				       NULL);
		}
		cell_pass(1);
	}
}

static void
begin(uint32_t nodes, const char *scale)
{
	memset(load, 0, sizeof(load));
	cell_begin(nodes);
	cell_pass(3);
	cell_apply("shop", adaptive_document(scale, ""));
	live(20, true);
	assert_int_not_equal(conductor(), 0);
}

static uint32_t
another(uint32_t than)
{
	return than == 1 ? 2 : 1;
}

static void
test_requests_at_all_nodes(void **state)
{
	uint32_t c;

	(void)state;
	begin(3, "min: 1, max: 5, cooldown: 10s, targets: {rps: 10}");
	c = conductor();
	assert_int_equal(row(c)->desired, 1);
	/* Not one of them has more than the target. */
	for (uint32_t id = 1; id <= 3; id++)
		load[id].rps = 9;
	live(60, true);
	assert_int_equal(row(c)->desired, 3);
	assert_int_equal(cell_all(true), 3);
	assert_non_null(strstr(row(c)->scale_why, "requests/s of 10 of each replica; at"));
	for (uint32_t id = 1; id <= 3; id++) {
		char part[32];

		snprintf(part, sizeof(part), " edge-%u ", id);
		assert_non_null(strstr(row(c)->scale_why, part));
		/* Every node shows what one of them decided. */
		assert_int_equal(row(id)->scale_reason, row(c)->scale_reason);
		assert_int_equal(row(id)->scale_to, 3);
		assert_true(row(id)->scale_figures[MSG_SCALE_RPS].known);
		assert_string_equal(row(id)->scale_why, row(c)->scale_why);
	}
	for (uint32_t id = 1; id <= 3; id++)
		load[id].rps = id == c ? 0 : 1;
	live(120, true);
	assert_int_equal(row(c)->desired, 1);
	cell_end();
}

static void
look(void *arg, const struct placing_figures *f)
{
	*(struct placing_figures *)arg = *f;
}

/* What a node that is not heard of properly may have is not nothing. */
static void
test_missing_figures_never_shrink(void **state)
{
	uint32_t c, other;

	(void)state;
	begin(2, "min: 1, max: 3, cooldown: 5s, targets: {rps: 10}");
	c = conductor();
	other = another(c);
	load[other].rps = 25;
	live(40, true);
	assert_int_equal(row(c)->desired, 3);
	placing_node_state(cell_node(c)->p, other, PLACING_SUSPECT);
	load[other].rps = 0;
	live(60, true);
	assert_int_equal(row(c)->desired, 3);
	assert_int_equal(row(c)->scale_reason, MSG_SCALE_PARTIAL);
	placing_node_state(cell_node(c)->p, other, PLACING_ALIVE);
	live(60, true);
	assert_int_equal(row(c)->desired, 1);
	/* Its process begins anew: what it does not say yet is not nothing either. */
	load[other].rps = 25;
	live(40, true);
	assert_int_equal(row(c)->desired, 3);
	placing_reset(cell_node(c)->p, other);
	struct placing_figures seen = {.good = true};
	placing_figures_each(cell_node(c)->p, web(c), look, &seen);
	assert_true(seen.there);
	assert_false(seen.good);
	cell_end();
}

static void
test_woken_from_any_node(void **state)
{
	(void)state;
	begin(3, "min: 0, max: 2, cooldown: 5s");
	for (uint32_t id = 1; id <= 3; id++) {
		uint32_t c = conductor();

		live(40, true);
		assert_int_equal(row(c)->desired, 0);
		assert_int_equal(row(id)->scale_reason, MSG_SCALE_ASLEEP);
		assert_int_equal(cell_all(false), 0);
		load[id].waiting = 1;
		live(3, true);
		/* There, and nowhere else. */
		assert_int_equal(row(c)->desired, 1);
		assert_true(has_own(id));
		assert_int_equal(cell_all(false), 1);
		char where[64];
		snprintf(where, sizeof(where), "a request waits for it at edge-%u", id);
		assert_string_equal(row(c)->scale_why, where);
		/* A few requests, far apart: each one is heard of. */
		for (int i = 0; i < 5; i++) {
			load[id].rps = 1;
			live(1, true);
			load[id].rps = 0;
			live(3, true);
			assert_int_equal(row(c)->desired, 1);
		}
	}
	cell_end();
}

/* Where nodes do not reach each other each one that is asked gets a replica, as far as that goes.
 */
static void
test_nodes_that_reach_nothing(void **state)
{
	uint32_t c;

	(void)state;
	begin(3, "min: 0, max: 2, cooldown: 5s");
	c = conductor();
	for (uint32_t id = 1; id <= 3; id++)
		cell_node(id)->w.config.cluster.encrypt = true;
	live(40, false);
	assert_int_equal(row(c)->desired, 0);
	load[1].waiting = 1;
	live(5, false);
	assert_true(has_own(1));
	load[2].waiting = 1;
	live(8, false);
	assert_int_equal(row(c)->desired, 2);
	assert_true(has_own(1) && has_own(2));
	load[3].waiting = 1;
	live(5, false);
	assert_int_equal(row(c)->desired, 2);
	for (uint32_t id = 1; id <= 3; id++) {
		assert_int_equal(row(id)->scale_reason, MSG_SCALE_HELD);
		assert_string_equal(row(id)->reason.what,
				    "requests wait at edge-3, which reaches no replica of web");
	}
	load[3].waiting = 0;
	live(60, false);
	assert_int_equal(row(c)->desired, 0);
	cell_end();
}

static void
test_a_conductor_dies(void **state)
{
	uint32_t c, next;

	(void)state;
	begin(3, "min: 1, max: 4, cooldown: 10s, targets: {rps: 10}");
	c = conductor();
	next = another(c);
	load[next].rps = 25;
	live(30, true);
	assert_int_equal(row(c)->desired, 3);
	char why[MSG_TEXT];
	snprintf(why, sizeof(why), "%s", row(c)->scale_why);
	cell_kill(c);
	memset(&load[c], 0, sizeof(load[c]));
	for (int i = 0; i < 10; i++) {
		cell_pass(1);
		for (uint32_t id = 1; id <= 3; id++) {
			if (cell_node(id)->up)
				load[id].requests += load[id].rps;
		}
	}
	for (uint32_t id = 1; id <= 3; id++) {
		if (id == c)
			continue;
		assert_int_equal(row(id)->scale_to, 3);
		assert_string_equal(row(id)->scale_why, why);
	}
	cell_end();
}

/* What a node decided and says again in its new life stays, also when it has no figures. */
static void
test_a_decision_of_a_new_life(void **state)
{
	uint32_t c, other;

	(void)state;
	begin(2, "min: 1, max: 3, cooldown: 5s, targets: {rps: 10}");
	c = conductor();
	other = another(c);
	struct placing *p = cell_node(other)->p;
	uint64_t id = web(other)->row.id;
	assert_non_null(placing_scale_heard(p, web(other)));
	/* From now on only this test says what is heard of it. */
	cell_node(c)->side = 1;
	placing_reset(p, c);
	const struct cell_entry *e = cell_entry(cell_node(c), TIDINGS_SCALE, id, false);
	assert_non_null(e);
	placing_entry(p, c, TIDINGS_SCALE, id, e->value.data, e->value.bytes);
	cell_pass(PLACING_REBIRTH_MS / 1000 + 1);
	assert_non_null(placing_scale_heard(p, web(other)));
	struct placing_figures seen = {.there = true};
	placing_figures_each(p, web(other), look, &seen);
	assert_false(seen.there);
	/* What it does not say again goes. */
	placing_reset(p, c);
	cell_pass(PLACING_REBIRTH_MS / 1000 + 1);
	assert_null(placing_scale_heard(p, web(other)));
	cell_node(c)->side = 0;
	cell_end();
}

/* Without memory nothing is said, which is not nothing; with some it is said the next time. */
static void
test_allocation_failures(void **state)
{
	static struct tidings_value v;
	struct tidings_figures f = {.whole = true, .ready = 1};
	struct placing *p;

	(void)state;
	begin(2, "min: 1, max: 2, cooldown: 5s, targets: {rps: 10}");
	p = cell_node(1)->p;
	tidings_put_figures(&f, &v);
	placing_entry(p, 2, TIDINGS_FIGURES, web(1)->row.id, NULL, 0);
	sweep_each(s)
	{
		struct placing_figures seen = {0};

		placing_entry(p, 2, TIDINGS_FIGURES, web(1)->row.id, v.data, v.bytes);
		placing_figures_each(p, web(1), look, &seen);
		assert_int_equal(seen.there && seen.good, !sweep_failed());
		placing_entry(p, 2, TIDINGS_FIGURES, web(1)->row.id, NULL, 0);
	}
	cell_end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests_at_all_nodes),
		cmocka_unit_test(test_missing_figures_never_shrink),
		cmocka_unit_test(test_woken_from_any_node),
		cmocka_unit_test(test_nodes_that_reach_nothing),
		cmocka_unit_test(test_a_conductor_dies),
		cmocka_unit_test(test_a_decision_of_a_new_life),
		cmocka_unit_test(test_allocation_failures),
	};

	if (!node_libraries())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
