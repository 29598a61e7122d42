/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/place/coordinator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/support/place_world.h"

static struct world w;

static struct fleet_spec *
begin(uint32_t nodes, uint32_t replicas)
{
	struct fleet_spec *s;

	world_init(&w, 42, nodes);
	world_boot(&w);
	world_run(&w, 3 * WORLD_S);
	s = world_service(&w, "shop/web", replicas);
	s->cpu_milli = 1000;
	world_deploy(&w, s);
	return s;
}

static uint32_t
on_node(const struct fleet_spec *s, uint32_t node)
{
	const struct world_node *n = &w.nodes[node];
	uint32_t found = 0;

	for (size_t i = 0; i < n->containers_count; i++)
		found += n->containers[i].claim.service == s->id && !n->containers[i].stopping;
	return found;
}

/* Runs in small steps; at no time fewer slots than that are ready. */
static void
run_keeping(const struct fleet_spec *s, uint32_t ready, uint64_t for_ns)
{
	for (uint64_t t = 0; t < for_ns; t += 20 * WORLD_MS) {
		world_run(&w, 20 * WORLD_MS);
		assert_true(world_ready(&w, s) >= ready);
	}
}

static void
test_places_all(void **state)
{
	struct fleet_spec *s = begin(5, 15);

	(void)state;
	world_run(&w, 100 * WORLD_MS);
	assert_int_equal(w.claims_made, 15);
	world_run(&w, 10 * WORLD_S);
	assert_int_equal(world_ready(&w, s), 15);
	world_check_quiet(&w, s);
	for (uint32_t i = 0; i < 5; i++)
		assert_in_range(on_node(s, i), 2, 4);
	world_fini(&w);
}

/* Five nodes of four cores: one of 21 has no place, and each node says why. */
static void
test_pending_with_reasons(void **state)
{
	struct fleet_spec *s = begin(5, 21);
	uint32_t node = 0;

	(void)state;
	world_run(&w, 20 * WORLD_S);
	assert_int_equal(world_ready(&w, s), 20);
	const struct coordinator_work *work = world_work(&w, s, &node);
	assert_true(work->waits);
	assert_int_equal(work->waits_reasons, FIT_CPU);
	assert_int_equal(work->counted.missing, 1);
	world_check_quiet(&w, s);
	/* Less is asked: as old ones make room, all find their place. */
	s->cpu_milli = 500;
	s->unavailable = 2;
	world_deploy(&w, s);
	world_run(&w, 30 * WORLD_S);
	assert_int_equal(world_ready(&w, s), 21);
	world_check_quiet(&w, s);
	world_fini(&w);
}

/* A node that joins takes what waits, and nothing else moves. */
static void
test_join(void **state)
{
	struct fleet_spec *s;

	(void)state;
	world_init(&w, 7, 4);
	for (uint32_t i = 0; i < 3; i++)
		world_node_boot(&w, i);
	world_run(&w, 3 * WORLD_S);
	s = world_service(&w, "shop/web", 14);
	s->cpu_milli = 1000;
	world_deploy(&w, s);
	world_run(&w, 10 * WORLD_S);
	assert_int_equal(world_ready(&w, s), 12);
	world_node_boot(&w, 3);
	world_run(&w, 8 * WORLD_S);
	assert_int_equal(world_ready(&w, s), 14);
	assert_int_equal(on_node(s, 3), 2);
	assert_int_equal(w.stops, 0);
	world_fini(&w);
}

static void
test_node_dies(void **state)
{
	struct fleet_spec *s = begin(6, 12);
	uint32_t had;

	(void)state;
	world_run(&w, 5 * WORLD_S);
	had = on_node(s, 2);
	world_node_kill(&w, 2, true);
	world_run(&w, 12 * WORLD_S);
	assert_int_equal(world_ready(&w, s), 12);
	assert_int_equal(w.claims_made, 12 + had);
	assert_int_equal(w.stops, 0);
	world_fini(&w);
}

/* Whoever coordinates dies in the middle: another one goes on. */
static void
test_coordinator_dies(void **state)
{
	struct fleet_spec *s = begin(6, 20);
	uint32_t node = 0;

	(void)state;
	w.never_ready = true;
	world_run(&w, 2 * WORLD_MS);
	assert_non_null(world_work(&w, s, &node));
	w.never_ready = false;
	world_node_kill(&w, node, true);
	world_run(&w, 20 * WORLD_S);
	assert_non_null(world_work(&w, s, &node));
	world_check_quiet(&w, s);
	world_fini(&w);
}

static void
test_update_keeps_all_ready(void **state)
{
	struct fleet_spec *s = begin(5, 8);

	(void)state;
	world_run(&w, 5 * WORLD_S);
	s->surge = 2;
	world_deploy(&w, s);
	run_keeping(s, 8, 30 * WORLD_S);
	world_check_quiet(&w, s);
	for (uint32_t i = 0; i < 5; i++)
		for (size_t k = 0; k < w.nodes[i].containers_count; k++)
			assert_int_equal(w.nodes[i].containers[k].claim.revision, 2);
	assert_int_equal(w.claims_made, 16);
	world_fini(&w);
}

static void
test_update_stop_first(void **state)
{
	struct fleet_spec *s = begin(3, 12);

	(void)state;
	world_run(&w, 5 * WORLD_S);
	s->stop_first = true;
	world_deploy(&w, s);
	run_keeping(s, 11, 40 * WORLD_S);
	world_check_quiet(&w, s);
	assert_int_equal(w.claims_made, 24);
	world_fini(&w);
}

/* A revision that never becomes ready takes nothing away. */
static void
test_bad_update(void **state)
{
	struct fleet_spec *s = begin(4, 6);

	(void)state;
	world_run(&w, 5 * WORLD_S);
	w.never_ready = true;
	world_deploy(&w, s);
	run_keeping(s, 6, 20 * WORLD_S);
	assert_int_equal(w.claims_made, 7);
	/* Back to what ran before: the new one leaves, the old ones stay. */
	s->same = 1;
	world_deploy(&w, s);
	run_keeping(s, 6, 20 * WORLD_S);
	assert_int_equal(w.claims_made, 7);
	world_check_quiet(&w, s);
	world_fini(&w);
}

static void
test_drain(void **state)
{
	struct fleet_spec *s = begin(5, 10);

	(void)state;
	world_run(&w, 5 * WORLD_S);
	w.nodes[1].facts.draining = true;
	world_facts(&w, 1);
	world_local(&w, 1, PLACEMENT_DRAIN, w.now_ns + 60 * WORLD_S, 0, NULL, 0);
	run_keeping(s, 10, 30 * WORLD_S);
	assert_int_equal(on_node(s, 1), 0);
	assert_int_equal(w.nodes[1].containers_count, 0);
	world_check_quiet(&w, s);
	world_fini(&w);
}

static const struct fleet_pair ssd[] = {{"disk", "ssd"}};

static void
test_label_changes(void **state)
{
	struct fleet_spec *s;

	(void)state;
	world_init(&w, 5, 5);
	for (uint32_t i = 0; i < 5; i++) {
		w.nodes[i].labels[0] = (struct fleet_pair){"disk", "ssd"};
		w.nodes[i].facts.labels_count = 1;
	}
	world_boot(&w);
	world_run(&w, 3 * WORLD_S);
	s = world_service(&w, "shop/db", 10);
	s->labels = ssd;
	s->labels_count = 1;
	s->surge = 2;
	world_deploy(&w, s);
	world_run(&w, 5 * WORLD_S);
	uint32_t had = on_node(s, 1);
	assert_true(had > 0);
	w.nodes[1].labels[0].value = "hdd";
	world_facts(&w, 1);
	run_keeping(s, 10, 20 * WORLD_S);
	assert_int_equal(on_node(s, 1), 0);
	assert_int_equal(w.claims_made, 10 + had);
	world_check_quiet(&w, s);
	world_fini(&w);
}

/* Both sides of a partition run all; afterwards each slot is there once, and was always there. */
static void
test_partition(void **state)
{
	struct fleet_spec *s = begin(6, 6);

	(void)state;
	world_run(&w, 5 * WORLD_S);
	for (uint32_t i = 0; i < 3; i++)
		world_side(&w, i, 1);
	world_run(&w, 20 * WORLD_S);
	uint32_t copies = 0;
	for (uint32_t i = 0; i < 6; i++)
		copies += world_slot(&w, s, i, true);
	assert_int_equal(copies, 12);
	for (uint32_t i = 0; i < 3; i++)
		world_side(&w, i, 0);
	run_keeping(s, 6, 20 * WORLD_S);
	world_check_quiet(&w, s);
	assert_int_equal(world_ready(&w, s), 6);
	world_fini(&w);
}

/* Restarted with its containers: nothing starts, nothing stops. */
static void
test_restart_adopts(void **state)
{
	struct fleet_spec *s = begin(4, 8);

	(void)state;
	world_run(&w, 5 * WORLD_S);
	world_node_kill(&w, 1, false);
	world_run(&w, 500 * WORLD_MS);
	world_node_boot(&w, 1);
	world_run(&w, 10 * WORLD_S);
	assert_int_equal(w.claims_made, 8);
	assert_int_equal(w.stops + w.orphans, 0);
	assert_int_equal(world_ready(&w, s), 8);
	/* A container that nobody claims goes. */
	world_node_kill(&w, 1, false);
	w.nodes[1].containers[w.nodes[1].containers_count++] =
		(struct world_container){.number = 4711, .claim = {.service = s->id}};
	world_node_boot(&w, 1);
	assert_int_equal(w.orphans, 1);
	world_fini(&w);
}

static void
test_removed(void **state)
{
	struct fleet_spec *s = begin(4, 8);

	(void)state;
	world_run(&w, 5 * WORLD_S);
	world_undeploy(&w, s);
	world_run(&w, 5 * WORLD_S);
	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(w.nodes[i].containers_count, 0);
		assert_null(fleet_service(&w.nodes[i].fleet, s->id));
	}
	world_fini(&w);
}

/* Four replicas on three nodes, each of which takes one. */
static void
test_dedicated(void **state)
{
	const struct coordinator_work *work;
	struct fleet_spec *s;
	uint32_t node = 0;

	(void)state;
	world_init(&w, 11, 3);
	world_boot(&w);
	world_run(&w, 3 * WORLD_S);
	s = world_service(&w, "shop/db", 4);
	s->mode = FLEET_DEDICATED;
	world_deploy(&w, s);
	world_run(&w, 20 * WORLD_S);
	work = world_work(&w, s, &node);
	assert_true(work->waits);
	assert_int_equal(work->waits_reasons, FIT_DEDICATED);
	assert_int_equal(world_ready(&w, s), 3);
	world_check_quiet(&w, s);
	/* An update of each takes the place of the old one, on its own node. */
	world_deploy(&w, s);
	world_run(&w, 60 * WORLD_S);
	assert_int_equal(world_ready(&w, s), 3);
	world_fini(&w);
}

static void
test_half_of_all_is_lost(void **state)
{
	struct fleet_spec *s;

	(void)state;
	world_init(&w, 99, 8);
	w.loss_ppm = 500000;
	w.double_ppm = 200000;
	w.delay_ns = 20 * WORLD_MS;
	world_boot(&w);
	world_run(&w, 3 * WORLD_S);
	s = world_service(&w, "shop/web", 24);
	s->cpu_milli = 1000;
	world_deploy(&w, s);
	world_run(&w, 120 * WORLD_S);
	assert_int_equal(world_ready(&w, s), 24);
	world_check_quiet(&w, s);
	world_fini(&w);
}

/* Of a claim that only its node has told of, gossip need not tell the end: it may have had nothing
 * to tell before all was over. It takes the place of nothing for long. */
static void
test_ended_before_gossip_told(void **state)
{
	struct fleet_spec *s = begin(4, 4);
	struct claim gone = {.service = s->id, .slot = 4, .number = 4711};
	uint32_t node = 0;

	(void)state;
	world_run(&w, 5 * WORLD_S);
	assert_non_null(world_work(&w, s, &node));
	gone.node = w.nodes[(node + 1) % 4].facts.node;
	for (int i = 0; i < 2; i++) {
		struct fleet *f = &w.nodes[node].fleet;

		gone.state = i ? CLAIM_LEAVING : CLAIM_READY;
		gone.revision = s->revision + 1;
		assert_int_equal(fleet_claim_answered(f, &gone, w.now_ns), 0);
		s->replicas = 5;
		world_deploy(&w, s);
		world_run(&w, 30 * WORLD_S);
		assert_null(fleet_claim(f, gone.node, gone.number));
		assert_int_equal(world_ready(&w, s), 5);
		world_check_quiet(&w, s);
	}
	world_fini(&w);
}

/* A node that was told to leave a slot and rightly stays answers the next offer with what it has:
 * that counts then, and the slot is not offered again and again. */
static void
test_told_to_leave_and_stays(void **state)
{
	struct fleet_spec *s = begin(1, 2);
	struct fleet *f = &w.nodes[0].fleet;
	uint64_t before;

	(void)state;
	world_run(&w, 10 * WORLD_S);
	assert_int_equal(world_ready(&w, s), 2);
	struct fleet_service *service = fleet_service(f, s->id);
	struct fleet_claim *c = container_of(service->claims.next, struct fleet_claim, of_service);
	c->asked_ns = w.now_ns;
	c->asked = CLAIM_RETIRE_DUPLICATE;
	before = w.sends;
	/* As with any news of the service. */
	fleet_touch(f, service);
	world_local(&w, 0, PLACEMENT_FLEET, 0, 0, NULL, 0);
	world_run(&w, 900 * WORLD_MS);
	assert_true(w.sends - before < 50);
	assert_int_equal(world_ready(&w, s), 2);
	world_check_quiet(&w, s);
	world_fini(&w);
}

/* While memory is short nothing is done, and nothing is forgotten. */
static void
test_allocation_failures(void **state)
{
	(void)state;
	for (int64_t n = 0; n < 60; n++) {
		struct step_input local = {.kind = STEP_LOCAL, .what = PLACEMENT_FLEET};
		struct fleet_spec *s;

		world_init(&w, 3, 3);
		world_boot(&w);
		world_run(&w, 3 * WORLD_S);
		s = world_service(&w, "shop/web", 6);
		s->revision = 1;
		for (uint32_t i = 0; i < 3; i++)
			assert_int_equal(fleet_service_set(&w.nodes[i].fleet, s), 0);
		for (uint32_t i = 0; i < 3; i++) {
			struct step_actions *out = mem_alloc(MEM_BASE, sizeof(*out));

			assert_non_null(out);
			step_actions_clear(out);
			local.now_ns = w.now_ns;
			/* Its offers are lost; they are made again. */
			mem_fail_after(n);
			placement_step(&w.nodes[i].p, &local, out);
			mem_fail_after(-1);
			for (size_t k = 0; k < out->count; k++)
				if (out->items[k].kind == STEP_SET_TIMER)
					world_do(&w, i, &out->items[k], NULL);
			mem_free(out);
		}
		world_run(&w, 30 * WORLD_S);
		assert_int_equal(world_ready(&w, s), 6);
		world_check_quiet(&w, s);
		world_fini(&w);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places_all),
		cmocka_unit_test(test_pending_with_reasons),
		cmocka_unit_test(test_join),
		cmocka_unit_test(test_node_dies),
		cmocka_unit_test(test_coordinator_dies),
		cmocka_unit_test(test_update_keeps_all_ready),
		cmocka_unit_test(test_update_stop_first),
		cmocka_unit_test(test_bad_update),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_label_changes),
		cmocka_unit_test(test_partition),
		cmocka_unit_test(test_restart_adopts),
		cmocka_unit_test(test_removed),
		cmocka_unit_test(test_dedicated),
		cmocka_unit_test(test_half_of_all_is_lost),
		cmocka_unit_test(test_ended_before_gossip_told),
		cmocka_unit_test(test_told_to_leave_and_stays),
		cmocka_unit_test(test_allocation_failures),
	};

	return cmocka_run_group_tests_name("scheduler_place_coordinator", tests, NULL, NULL);
}
