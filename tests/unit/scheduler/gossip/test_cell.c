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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_join),
		cmocka_unit_test(test_crash),
		cmocka_unit_test(test_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
