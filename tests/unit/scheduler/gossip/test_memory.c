/* SPDX-License-Identifier: Apache-2.0 */
/* When memory runs out: what cannot be done is said and nothing is half done, what was lost on the
 * way comes again, and no byte stays behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "tests/support/gossip_net.h"
#include "tests/support/sweep.h"

static void
test_new(void **state)
{
	struct gossip_config c = {.self = 1, .seed = 1};

	(void)state;
	sweep_each(s)
	{
		struct gossip *g = NULL;

		bool failed = gossip_new(&c, &g) < 0;

		assert_int_equal(failed, sweep_failed());
		gossip_free(g);
	}
}

static void
test_roster(void **state)
{
	struct gossip_config c = {.self = 50, .seed = 1};

	(void)state;
	sweep_each(s)
	{
		struct gossip *g = NULL;
		size_t added = 0;

		if (gossip_new(&c, &g) < 0)
			continue;
		for (uint32_t node = 1; node <= 60; node++) {
			enum gossip_result r = gossip_roster_add(g, node);

			assert_int_equal(r == GOSSIP_NO_MEMORY, sweep_failed() && added == 0 &&
									r != GOSSIP_OK &&
									r != GOSSIP_UNCHANGED);
			if (r == GOSSIP_NO_MEMORY)
				assert_int_equal(gossip_roster_add(g, node), GOSSIP_OK);
		}
		assert_int_equal(gossip_members(g), 60);
		gossip_free(g);
	}
}

static void
test_put(void **state)
{
	struct gossip_config c = {.self = 50, .seed = 1};

	(void)state;
	sweep_each(s)
	{
		struct gossip *g = NULL;
		struct gossip_entry e;
		struct gossip_member before, after;

		if (gossip_new(&c, &g) < 0)
			continue;
		for (uint64_t id = 0; id < 20; id++) {
			assert_true(gossip_member(g, 50, &before));
			enum gossip_result r = gossip_put(g, 1, id, "value", 5);

			if (r == GOSSIP_OK)
				continue;
			assert_int_equal(r, GOSSIP_NO_MEMORY);
			assert_true(gossip_member(g, 50, &after));
			assert_true(before.version == after.version);
			assert_false(gossip_get(g, 50, 1, id, &e));
			assert_int_equal(gossip_put(g, 1, id, "value", 5), GOSSIP_OK);
		}
		gossip_free(g);
	}
}

/* A cell in which allocations fail now and then: all still end with the same. */
static void
test_cell(void **state)
{
	size_t used = mem_used_all();

	(void)state;
	for (uint64_t seed = 1; seed <= 6; seed++) {
		struct net n;
		uint64_t failures = 0;

		net_init_started(&n, 10, seed);
		n.loss = 100;
		for (unsigned i = 0; i < 600; i++) {
			size_t node = prop_below(&n.random, n.count);

			mem_fail_after((int64_t)prop_below(&n.random, 10));
			(void)!gossip_put(n.nodes[node].g, 1, prop_below(&n.random, 20), &i,
					  sizeof(i));
			net_local(&n, node);
			if (i == 200)
				for (size_t far = 0; far < 4; far++)
					n.nodes[far].side = 1;
			if (i == 400)
				for (size_t far = 0; far < 4; far++)
					n.nodes[far].side = 0;
			net_run(&n, 25 * NET_MS);
			failures += mem_failures();
		}
		mem_fail_after(-1);
		n.loss = 0;
		assert_true(failures > 100);
		assert_true(net_settle(&n, 120 * NET_S) < 60 * NET_S);
		net_fini(&n);
		assert_int_equal(mem_used_all(), used);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new),
		cmocka_unit_test(test_roster),
		cmocka_unit_test(test_put),
		cmocka_unit_test(test_cell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
