/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/place/rendezvous.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "scheduler/place/candidates.h"
#include "tests/support/sweep.h"

enum { KEYS = 20000 };

/* The same on every machine: a change of these moves slots in a cluster of mixed versions. */
static void
test_numbers_are_fixed(void **state)
{
	(void)state;
	assert_true(rendezvous_mix(1, 2) == UINT64_C(583880340377267059));
	assert_true(rendezvous_text("shop/web") == UINT64_C(13608659334483031739));
	assert_true(rendezvous_seed(7) == rendezvous_mix(7, 0x6e6f6465));
	assert_true(rendezvous_score(1, 2, 0) == UINT64_C(81303598843035648));
	assert_true(rendezvous_score(1, 2, 7) == UINT64_C(7186298511476736));
}

static void
test_log(void **state)
{
	const uint64_t one = 1u << RENDEZVOUS_POINT_BITS;

	(void)state;
	assert_int_equal(rendezvous_log((uint64_t)1 << 63), one);
	assert_int_equal(rendezvous_log((uint64_t)1 << 60), 4 * one);
	assert_int_equal(rendezvous_log(1), 64 * one);
	assert_int_equal(rendezvous_log(0), 64 * one);
	/* -log2(3/4) = 0.4150375 */
	assert_in_range(rendezvous_log((uint64_t)3 << 62), 27852600, 27852900);
	for (uint64_t h = 1, last = UINT64_MAX; h; h <<= 1) {
		assert_true(rendezvous_log(h) < last);
		last = rendezvous_log(h);
	}
}

static void
test_exponent(void **state)
{
	static const struct {
		uint64_t capacity;
		unsigned exponent;
	} cases[] = {{0, 0},
		     {1, 0},
		     {2, 2},
		     {3, 3},
		     {4, 4},
		     {5, 5},
		     {6, 5},
		     {8, 6},
		     {1000, 20},
		     {1024, 20},
		     {1448, 21},
		     {2000, 22},
		     {UINT64_MAX, RENDEZVOUS_EXPONENT_MAX}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(rendezvous_exponent(cases[i].capacity), cases[i].exponent);
}

static unsigned
first(uint64_t key, const unsigned *exponents, const bool *gone, unsigned nodes)
{
	uint64_t least = UINT64_MAX;
	unsigned best = 0;

	for (unsigned n = 0; n < nodes; n++) {
		uint64_t score = rendezvous_score(key, rendezvous_seed(n + 1), exponents[n]);

		if (!gone[n] && score < least) {
			least = score;
			best = n;
		}
	}
	return best;
}

/* A node of weight 4 gets four times as much as one of weight 1. */
static void
test_weights(void **state)
{
	static const unsigned exponents[] = {0, 0, 2, 4};
	static const bool gone[4];
	unsigned got[4] = {0};

	(void)state;
	for (uint64_t k = 0; k < KEYS; k++)
		got[first(rendezvous_mix(k, 1), exponents, gone, 4)]++;
	assert_in_range(got[0], KEYS / 8 - 300, KEYS / 8 + 300);
	assert_in_range(got[1], KEYS / 8 - 300, KEYS / 8 + 300);
	assert_in_range(got[2], KEYS / 4 - 400, KEYS / 4 + 400);
	assert_in_range(got[3], KEYS / 2 - 400, KEYS / 2 + 400);
}

static void
add_nodes(struct fleet *f, uint32_t nodes)
{
	for (uint32_t i = 1; i <= nodes; i++)
		assert_int_equal(
			fleet_node_set(f, &(struct fleet_facts){.node = i,
								.name = "edge",
								.zone = "",
								.platform = "",
								.cpu_milli = 1000u << i % 3,
								.memory_bytes = (uint64_t)8 << 30}),
			0);
	assert_int_equal(fleet_refresh(f), 0);
}

static struct fleet_service *
add_service(struct fleet *f)
{
	assert_int_equal(fleet_service_set(f, &(struct fleet_spec){.id = 77,
								   .name = "shop/web",
								   .revision = 1,
								   .replicas = 1,
								   .platform = ""}),
			 0);
	return fleet_service(f, 77);
}

/* Only what the dead node had finds another one; when it comes back all is as before. */
static void
minimal(uint32_t nodes, uint32_t dies)
{
	static uint32_t had[KEYS];
	struct fleet_service *s;
	struct candidates c;
	struct fleet f;

	fleet_init(&f);
	add_nodes(&f, nodes);
	s = add_service(&f);
	for (int turn = 0; turn < 3; turn++) {
		assert_int_equal(fleet_refresh(&f), 0);
		for (uint32_t k = 0; k < KEYS / 4; k++) {
			candidates_find(&f, s, k, 1, NULL, 0, &c);
			assert_int_equal(c.count, 1);
			if (turn == 0)
				had[k] = c.items[0].node->id;
			else if (turn == 1 && had[k] == dies)
				assert_int_not_equal(c.items[0].node->id, dies);
			else
				assert_int_equal(c.items[0].node->id, had[k]);
		}
		fleet_node_status(&f, dies, turn == 0 ? FLEET_DEAD : FLEET_ALIVE);
	}
	fleet_fini(&f);
}

static void
test_minimal_movement(void **state)
{
	(void)state;
	minimal(7, 3);
	minimal(60, 59);
	minimal(500, 250);
}

/* As coordinators of so many services, with these nodes stuck. */
static void
coordinators(struct fleet *f, uint32_t from, uint32_t to, bool stuck, uint32_t out[KEYS])
{
	for (uint32_t id = from; id <= to; id++)
		fleet_node_stuck(f, id, stuck);
	assert_int_equal(fleet_refresh(f), 0);
	for (uint32_t k = 0; k < KEYS / 4; k++)
		out[k] = fleet_coordinator(f, k + 1);
}

/* Who cannot write coordinates nothing while one lives that can; all else stays where it is. */
static void
stuck(uint32_t nodes, uint32_t from, uint32_t to)
{
	static uint32_t all[KEYS], some[KEYS], none[KEYS], back[KEYS];
	struct fleet f;

	fleet_init(&f);
	add_nodes(&f, nodes);
	coordinators(&f, 1, 0, false, all);
	coordinators(&f, from, to, true, some);
	for (uint32_t k = 0; k < KEYS / 4; k++) {
		assert_true(some[k] && (some[k] < from || some[k] > to));
		assert_int_equal(fleet_coordinator_first(&f, k + 1), all[k]);
		if (all[k] < from || all[k] > to)
			assert_int_equal(some[k], all[k]);
	}
	/* Other facts of a node are no news of that. */
	add_nodes(&f, nodes);
	coordinators(&f, from, to, true, back);
	assert_memory_equal(back, some, sizeof(some));
	coordinators(&f, 1, nodes, true, none);
	assert_memory_equal(none, all, sizeof(all));
	coordinators(&f, 1, nodes, false, back);
	assert_memory_equal(back, all, sizeof(all));
	/* The one that could is dead. */
	coordinators(&f, 2, nodes, true, some);
	for (uint32_t k = 0; k < KEYS / 4; k++)
		assert_int_equal(some[k], 1);
	fleet_node_status(&f, 1, FLEET_DEAD);
	coordinators(&f, 1, 0, false, some);
	for (uint32_t k = 0; k < KEYS / 4; k++)
		assert_true(some[k] > 1);
	fleet_fini(&f);
}

static void
test_who_cannot_write(void **state)
{
	(void)state;
	stuck(7, 3, 3);
	stuck(60, 2, 50);
	stuck(500, 2, 499);
}

/* The order in which nodes are heard of does not matter. */
static void
test_order_of_arrival(void **state)
{
	struct candidates a, b;
	struct fleet f, g;

	(void)state;
	fleet_init(&f);
	fleet_init(&g);
	add_nodes(&f, 300);
	for (uint32_t i = 300; i > 0; i--)
		assert_int_equal(
			fleet_node_set(&g,
				       &(struct fleet_facts){.node = i,
							     .name = "edge",
							     .zone = "",
							     .platform = "",
							     .cpu_milli = 1000u << i % 3,
							     .memory_bytes = (uint64_t)8 << 30}),
			0);
	assert_int_equal(fleet_refresh(&g), 0);
	struct fleet_service *s = add_service(&f), *t = add_service(&g);
	assert_int_equal(s->coordinator, t->coordinator);
	for (uint32_t k = 0; k < 1000; k++) {
		candidates_find(&f, s, k, 4, NULL, 0, &a);
		candidates_find(&g, t, k, 4, NULL, 0, &b);
		assert_int_equal(a.count, 4);
		for (size_t i = 0; i < 4; i++)
			assert_int_equal(a.items[i].node->id, b.items[i].node->id);
	}
	fleet_fini(&f);
	fleet_fini(&g);
}

/* A few nodes among many are found, wherever they are. */
static void
test_rare_nodes(void **state)
{
	static const struct fleet_pair gpu[] = {{"gpu", "true"}};
	struct candidates c;
	struct fleet f;

	(void)state;
	fleet_init(&f);
	add_nodes(&f, 1000);
	for (uint32_t i = 100; i <= 300; i += 100)
		assert_int_equal(fleet_node_set(&f, &(struct fleet_facts){.node = i,
									  .name = "edge",
									  .zone = "",
									  .platform = "",
									  .labels = gpu,
									  .labels_count = 1}),
				 0);
	assert_int_equal(fleet_refresh(&f), 0);
	assert_int_equal(fleet_service_set(&f, &(struct fleet_spec){.id = 5,
								    .name = "shop/ml",
								    .revision = 1,
								    .replicas = 1,
								    .platform = "",
								    .labels = gpu,
								    .labels_count = 1}),
			 0);
	candidates_find(&f, fleet_service(&f, 5), 0, 8, NULL, 0, &c);
	assert_int_equal(c.count, 3);
	for (size_t i = 0; i < c.count; i++)
		assert_int_equal(c.items[i].node->id % 100, 0);
	const uint32_t except[] = {100, 300};
	candidates_find(&f, fleet_service(&f, 5), 0, 8, except, 2, &c);
	assert_int_equal(c.count, 1);
	assert_int_equal(c.items[0].node->id, 200);
	fleet_fini(&f);
}

/* Every change either happens as a whole or not at all, and nothing is lost on the way. */
static void
test_allocation_failures(void **state)
{
	static const struct fleet_pair labels[] = {{"disk", "ssd"}};
	static const char *const words[] = {"a", "b"};
	struct fleet_facts node = {.node = 1,
				   .name = "edge-1",
				   .zone = "east",
				   .platform = "linux/amd64",
				   .labels = labels,
				   .labels_count = 1,
				   .taints = words,
				   .taints_count = 2};
	struct fleet_spec spec = {.id = 5,
				  .name = "shop/web",
				  .revision = 1,
				  .replicas = 1,
				  .platform = "",
				  .labels = labels,
				  .labels_count = 1,
				  .tolerate = words,
				  .tolerate_count = 2};
	struct claim claim = {.service = 6, .node = 2, .state = CLAIM_READY, .number = 1};

	(void)state;
	sweep_each(s)
	{
		struct fleet f;
		int done = 0;

		fleet_init(&f);
		done += fleet_node_set(&f, &node);
		done += fleet_service_set(&f, &spec);
		done += fleet_claim_set(&f, &claim);
		done += fleet_refresh(&f);
		node.node = 2;
		done += fleet_node_set(&f, &node);
		done += fleet_refresh(&f);
		node.node = 1;
		done += fleet_node_set(&f, &node);
		assert_int_equal(done < 0, sweep_failed());
		fleet_node_remove(&f, 2);
		fleet_fini(&f);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers_are_fixed),
		cmocka_unit_test(test_log),
		cmocka_unit_test(test_exponent),
		cmocka_unit_test(test_weights),
		cmocka_unit_test(test_minimal_movement),
		cmocka_unit_test(test_who_cannot_write),
		cmocka_unit_test(test_order_of_arrival),
		cmocka_unit_test(test_rare_nodes),
		cmocka_unit_test(test_allocation_failures),
	};

	return cmocka_run_group_tests_name("scheduler_place_rendezvous", tests, NULL, NULL);
}
