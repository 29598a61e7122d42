/* SPDX-License-Identifier: Apache-2.0 */
/* A coordinator that is asked for slots, and told which claims are to leave. */
#include "scheduler/place/coordinator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/support/place_world.h"

static struct world w;

static struct fleet_spec *
begin(uint32_t nodes)
{
	struct fleet_spec *s;

	world_init(&w, 42, nodes);
	world_boot(&w);
	for (uint32_t i = 0; i < nodes; i++)
		coordinator_asked(&w.nodes[i].p.coordinator);
	world_run(&w, 3 * WORLD_S);
	s = world_service(&w, "shop/web", 3);
	s->cpu_milli = 1000;
	world_deploy(&w, s);
	world_run(&w, WORLD_S);
	return s;
}

static struct coordinator *
of(uint32_t node)
{
	return &w.nodes[node].p.coordinator;
}

static void
stir(uint32_t node)
{
	world_local(&w, node, PLACEMENT_FLEET, 0, 0, NULL, 0);
}

static void
ask(uint32_t node, const struct fleet_spec *s, uint32_t slot)
{
	assert_int_equal(coordinator_ask(of(node), s->id, slot, s->revision, w.now_ns), 0);
	stir(node);
}

static size_t
asks(uint32_t node, const struct fleet_spec *s)
{
	const struct coordinator_work *work = coordinator_of(of(node), s->id);

	return work ? work->asks_count : 0;
}

static void
tell(uint32_t node, const char *const *thing)
{
	w.nodes[node].facts.things = thing;
	w.nodes[node].facts.things_count = 1;
	world_gossip(&w, node);
}

static void
test_nothing_by_itself(void **state)
{
	(void)state;
	begin(3);
	world_run(&w, 10 * WORLD_S);
	assert_int_equal(w.claims_made, 0);
	world_fini(&w);
}

static void
test_finds_nodes_for_what_is_asked(void **state)
{
	struct fleet_spec *s = begin(3);

	(void)state;
	for (uint32_t slot = 0; slot < 3; slot++) {
		ask(0, s, slot);
		ask(0, s, slot);
	}
	assert_int_equal(asks(0, s), 3);
	world_run(&w, WORLD_S);
	assert_int_equal(w.claims_made, 3);
	assert_int_equal(asks(0, s), 0);
	assert_null(coordinator_of(of(0), s->id));
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(w.nodes[i].containers_count, 1);
	/* Nothing comes back by itself, either. */
	world_node_kill(&w, 1, true);
	world_run(&w, 20 * WORLD_S);
	assert_int_equal(w.claims_made, 3);
	world_fini(&w);
}

static void
test_waits_for_the_revision(void **state)
{
	struct fleet_spec *s = begin(2);

	(void)state;
	assert_int_equal(coordinator_ask(of(0), s->id, 0, s->revision + 1, w.now_ns), 0);
	stir(0);
	world_run(&w, 5 * WORLD_S);
	assert_int_equal(w.claims_made, 0);
	s->revision++;
	/* The other one reads of it later: it is asked again. */
	assert_int_equal(fleet_service_set(&w.nodes[0].fleet, s), 0);
	stir(0);
	world_run(&w, 200 * WORLD_MS);
	assert_int_equal(fleet_service_set(&w.nodes[1].fleet, s), 0);
	stir(1);
	world_run(&w, WORLD_S);
	assert_int_equal(w.claims_made, 1);
	world_fini(&w);
}

/* What it needs: node 0 has told, the other one may be about to. */
static struct fleet_spec *
ask_for_a_device(void)
{
	static const char *const kvm[] = {"device:/dev/kvm"};
	struct fleet_spec *s = begin(2);

	s->needs = kvm;
	s->needs_count = 1;
	s->revision++;
	world_deploy(&w, s);
	tell(0, kvm);
	world_run(&w, 100 * WORLD_MS);
	ask(0, s, 0);
	ask(0, s, 1);
	world_run(&w, WORLD_S);
	assert_int_equal(w.claims_made, 0);
	return s;
}

static void
test_waits_for_what_is_told(void **state)
{
	struct fleet_spec *s = ask_for_a_device();

	(void)state;
	tell(1, s->needs);
	world_run(&w, WORLD_S / 2);
	assert_int_equal(w.claims_made, 2);
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(w.nodes[i].containers_count, 1);
	world_fini(&w);
}

static void
test_waits_no_longer(void **state)
{
	(void)state;
	ask_for_a_device();
	world_run(&w, 3 * WORLD_S / 2);
	assert_int_equal(w.claims_made, 2);
	assert_int_equal(w.nodes[0].containers_count, 2);
	world_fini(&w);
}

static void
test_pending_and_taken_back(void **state)
{
	struct fleet_spec *s = begin(2);
	struct fit fit;

	(void)state;
	s->cpu_milli = 9000;
	s->revision++;
	world_deploy(&w, s);
	world_run(&w, WORLD_S);
	ask(0, s, 0);
	world_run(&w, WORLD_S);
	assert_true(coordinator_of(of(0), s->id)->waits);
	assert_int_equal(coordinator_of(of(0), s->id)->waits_reasons, FIT_CPU);
	coordinator_why(of(0), fleet_service(&w.nodes[0].fleet, s->id),
			fleet_node(&w.nodes[0].fleet, 2), &fit);
	assert_int_equal(fit.reasons, FIT_CPU);
	coordinator_unask(of(0), s->id, 0, s->revision);
	stir(0);
	world_run(&w, WORLD_S);
	assert_null(coordinator_of(of(0), s->id));
	/* A node with more cores wakes what waits. */
	ask(0, s, 1);
	world_run(&w, WORLD_S);
	w.nodes[1].facts.cpu_milli = 16000;
	assert_int_equal(fleet_node_set(&w.nodes[1].fleet, &w.nodes[1].facts), 0);
	stir(1);
	world_facts(&w, 1);
	world_run(&w, 3 * WORLD_S);
	assert_int_equal(w.claims_made, 1);
	world_fini(&w);
}

static void
test_tells_claims_to_leave(void **state)
{
	struct fleet_spec *s = begin(3);
	const struct world_node *n = NULL;

	(void)state;
	ask(0, s, 0);
	world_run(&w, 5 * WORLD_S);
	for (uint32_t i = 0; i < 3; i++) {
		if (w.nodes[i].containers_count)
			n = &w.nodes[i];
	}
	assert_non_null(n);
	/* Not while its node has not heard of the one that is to have it instead. */
	uint64_t number = n->containers[0].number;
	uint32_t other = n->facts.node % 3 + 1;
	assert_int_equal(
		coordinator_retire(of(0), n->facts.node, number, CLAIM_RETIRE_MOVED, other), 0);
	stir(0);
	world_run(&w, 3 * WORLD_S);
	assert_int_equal(n->containers_count, 1);
	world_node_kill(&w, 0, false);
	world_node_boot(&w, 0);
	coordinator_asked(of(0));
	world_run(&w, 3 * WORLD_S);
	assert_int_equal(coordinator_retire(of(0), n->facts.node, number, CLAIM_RETIRE_SCALE, 0),
			 0);
	assert_int_equal(coordinator_retire(of(0), n->facts.node, number, CLAIM_RETIRE_SCALE, 0),
			 0);
	stir(0);
	world_run(&w, 3 * WORLD_S);
	assert_int_equal(n->containers_count, 0);
	assert_true(list_empty(&of(0)->partings));
	world_fini(&w);
}

static void
test_losses(void **state)
{
	struct fleet_spec *s = begin(5);

	(void)state;
	w.loss_ppm = 200000;
	w.double_ppm = 200000;
	for (uint32_t slot = 0; slot < 8; slot++)
		ask(slot % 2, s, slot);
	world_run(&w, 60 * WORLD_S);
	assert_int_equal(asks(0, s) + asks(1, s), 0);
	assert_int_equal(w.claims_made, 8);
	world_fini(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_by_itself),
		cmocka_unit_test(test_finds_nodes_for_what_is_asked),
		cmocka_unit_test(test_waits_for_the_revision),
		cmocka_unit_test(test_waits_for_what_is_told),
		cmocka_unit_test(test_waits_no_longer),
		cmocka_unit_test(test_pending_and_taken_back),
		cmocka_unit_test(test_tells_claims_to_leave),
		cmocka_unit_test(test_losses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
