/* SPDX-License-Identifier: Apache-2.0 */
/* Small cells on a fake network: they find each other, notice deaths, do not invent any, carry
 * entries to everybody, and merge again whatever happened. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "tests/support/gossip_net.h"

static void
test_join(void **state)
{
	const size_t sizes[] = {1, 2, 3, 7, 20, 50};
	struct net n;

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		net_init_started(&n, sizes[i], i + 1);
		uint64_t took = net_settle(&n, 20 * NET_S);
		print_message("# %zu nodes: %llu ms\n", sizes[i],
			      (unsigned long long)(took / NET_MS));
		assert_true(took < 5 * NET_S);
		net_fini(&n);
	}
}

static void
test_crash(void **state)
{
	struct net n;

	(void)state;
	for (uint64_t seed = 1; seed <= 10; seed++) {
		net_init_started(&n, 20, seed);
		assert_true(net_settle(&n, 20 * NET_S) < 5 * NET_S);
		net_run(&n, prop_below(&n.random, 2000) * NET_MS);
		net_crash(&n, 3);
		uint64_t from = n.now;
		while (net_holding(&n, 3, GOSSIP_DEAD) < 19 && n.now - from < 30 * NET_S)
			net_run(&n, 10 * NET_MS);
		print_message("# dead known by all after %llu ms\n",
			      (unsigned long long)((n.now - from) / NET_MS));
		assert_true(n.now - from < 8 * NET_S);
		for (size_t i = 0; i < n.count; i++)
			if (i != 3)
				assert_int_equal(n.nodes[i].deaths_told, 1);
		net_fini(&n);
	}
}

static void
test_events(void **state)
{
	struct net n;
	char value[32];

	(void)state;
	net_init_started(&n, 50, 5);
	assert_true(net_settle(&n, 20 * NET_S) < 5 * NET_S);
	net_run(&n, 2 * NET_S);
	for (unsigned i = 0; i < 20; i++) {
		size_t owner = prop_below(&n.random, n.count);

		snprintf(value, sizeof(value), "value %u", i);
		net_put(&n, owner, 2, i, value);
		uint64_t from = n.now;
		while (net_having(&n, owner, 2, i, value) < n.count && n.now - from < 5 * NET_S)
			net_run(&n, NET_MS);
		print_message("# event %u: %llu ms\n", i,
			      (unsigned long long)((n.now - from) / NET_MS));
		assert_true(n.now - from < NET_S);
		net_run(&n, 100 * NET_MS);
	}
	net_fini(&n);
}

/* Streams can be opened to one node alone, and datagrams are lost: what they carried comes by that
 * one; while it is away nobody opens any, and when it is back all is as it should be. */
static void
test_one_that_is_reached(void **state)
{
	struct net n;
	char value[32];

	(void)state;
	for (uint64_t seed = 1; seed <= 5; seed++) {
		net_init(&n, 20, seed);
		n.dials_from = 1;
		n.loss = 400;
		for (size_t i = 0; i < n.count; i++) {
			net_start(&n, i);
			net_begin(&n, i);
		}
		for (unsigned i = 0; i < 200; i++) {
			snprintf(value, sizeof(value), "value %u", i);
			net_put(&n, i % n.count, 2, i, value);
			net_run(&n, 10 * NET_MS);
		}
		n.loss = 0;
		uint64_t took = net_settle(&n, 60 * NET_S);
		print_message("# equal after %llu ms\n", (unsigned long long)(took / NET_MS));
		assert_true(took < 20 * NET_S);
		net_crash(&n, 0);
		net_run(&n, 40 * NET_S);
		net_put(&n, 5, 2, 1000, "meanwhile");
		net_start(&n, 0);
		net_begin(&n, 0);
		assert_true(net_settle(&n, 60 * NET_S) < 10 * NET_S);
		assert_int_equal(net_having(&n, 5, 2, 1000, "meanwhile"), n.count);
		net_fini(&n);
	}
}

/* It may become one that is reached, and the other way; who is unknown or removed is neither. */
static void
test_who_dials(void **state)
{
	const struct gossip_config config = {.self = 1, .seed = 3};
	struct gossip *g;

	(void)state;
	assert_int_equal(gossip_new(&config, &g), 0);
	assert_int_equal(gossip_roster_dials(g, 2, true), GOSSIP_UNCHANGED);
	assert_int_equal(gossip_roster_dials(g, 1, true), GOSSIP_UNCHANGED);
	assert_int_equal(gossip_roster_add(g, 2), GOSSIP_OK);
	assert_int_equal(gossip_roster_dials(g, 2, false), GOSSIP_UNCHANGED);
	assert_int_equal(gossip_roster_dials(g, 2, true), GOSSIP_OK);
	assert_int_equal(gossip_roster_dials(g, 2, true), GOSSIP_UNCHANGED);
	assert_int_equal(gossip_roster_dials(g, 2, false), GOSSIP_OK);
	assert_int_equal(gossip_roster_dials(g, 2, true), GOSSIP_OK);
	assert_int_equal(gossip_roster_remove(g, 2), GOSSIP_OK);
	assert_int_equal(gossip_roster_add(g, 2), GOSSIP_OK);
	assert_int_equal(gossip_roster_dials(g, 2, false), GOSSIP_UNCHANGED);
	gossip_free(g);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_join),      cmocka_unit_test(test_crash),
		cmocka_unit_test(test_events),    cmocka_unit_test(test_one_that_is_reached),
		cmocka_unit_test(test_who_dials),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
