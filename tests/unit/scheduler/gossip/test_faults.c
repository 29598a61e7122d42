/* SPDX-License-Identifier: Apache-2.0 */
/* Small cells in bad conditions: loss, partitions, restarts, lost files, stalls, full disks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "tests/support/gossip_net.h"

static void
begin(struct net *n, size_t count, uint64_t seed)
{
	net_init_started(n, count, seed);
	assert_true(net_settle(n, 20 * NET_S) < 10 * NET_S);
}

static unsigned
deaths(const struct net *n)
{
	unsigned deaths = 0;

	for (size_t i = 0; i < n->count; i++)
		deaths += n->nodes[i].deaths_told;
	return deaths;
}

/* Nobody is declared dead, and nobody flaps, however many datagrams are lost. */
static void
test_loss(void **state)
{
	const unsigned losses[] = {50, 300};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		for (uint64_t seed = 1; seed <= 5; seed++) {
			struct net n;

			begin(&n, 20, seed);
			n.loss = losses[i];
			net_run(&n, 60 * NET_S);
			assert_int_equal(deaths(&n), 0);
			n.loss = 0;
			assert_true(net_settle(&n, 20 * NET_S) < 20 * NET_S);
			net_fini(&n);
		}
	}
}

/* The same without the help of streams, at a loss that a network has. */
static void
test_loss_without_streams(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct net n;

		begin(&n, 20, seed);
		n.loss = 50;
		n.streams_fail = true;
		net_run(&n, 60 * NET_S);
		assert_int_equal(deaths(&n), 0);
		net_fini(&n);
	}
}

static void
test_loss_and_crash(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct net n;

		begin(&n, 20, seed);
		n.loss = 100;
		net_run(&n, 5 * NET_S);
		net_crash(&n, 7);
		net_run(&n, 10 * NET_S);
		assert_int_equal(net_holding(&n, 7, GOSSIP_DEAD), 19);
		assert_int_equal(deaths(&n), 19);
		net_fini(&n);
	}
}

/* Both sides go on, hold the other dead, write; and merge, after a short and after a long time. */
static void
test_partition(void **state)
{
	const uint64_t lengths[] = {10, 60, 3600};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct net n;

		begin(&n, 12, i + 1);
		for (size_t node = 0; node < 5; node++)
			n.nodes[node].side = 1;
		net_run(&n, lengths[i] * NET_S);
		assert_int_equal(net_holding(&n, 0, GOSSIP_DEAD), 7);
		assert_int_equal(net_holding(&n, 11, GOSSIP_DEAD), 5);
		net_put(&n, 0, 1, 1, "left");
		net_put(&n, 11, 1, 1, "right");
		net_run(&n, NET_S);
		assert_int_equal(net_having(&n, 0, 1, 1, "left"), 5);
		for (size_t node = 0; node < 5; node++)
			n.nodes[node].side = 0;
		uint64_t took = net_settle(&n, 60 * NET_S);
		print_message("# %llu s apart: together after %llu ms\n",
			      (unsigned long long)lengths[i], (unsigned long long)(took / NET_MS));
		assert_true(took < 20 * NET_S);
		assert_int_equal(net_having(&n, 0, 1, 1, "left"), 12);
		assert_int_equal(net_having(&n, 11, 1, 1, "right"), 12);
		net_fini(&n);
	}
}

static void
restart(struct net *n, size_t node, uint64_t away_ns)
{
	net_crash(n, node);
	net_run(n, away_ns);
	net_start(n, node);
}

/* What a node wrote in its former life goes, what it puts again stays; its number goes on. */
static void
test_restart(void **state)
{
	const uint64_t away[] = {100 * NET_MS, 10 * NET_S};
	struct gossip_member before, after;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct net n;

		begin(&n, 8, i + 1);
		net_put(&n, 2, 1, 1, "kept");
		net_put(&n, 2, 1, 2, "gone");
		net_run(&n, NET_S);
		assert_int_equal(net_having(&n, 2, 1, 2, "gone"), 8);
		gossip_member(n.nodes[0].g, 3, &before);
		restart(&n, 2, away[i]);
		assert_int_equal(gossip_put(n.nodes[2].g, 1, 1, "kept", 4), GOSSIP_OK);
		net_begin(&n, 2);
		assert_true(net_settle(&n, 20 * NET_S) < 10 * NET_S);
		assert_int_equal(net_having(&n, 2, 1, 1, "kept"), 8);
		assert_int_equal(net_having(&n, 2, 1, 2, "gone"), 0);
		gossip_member(n.nodes[0].g, 3, &after);
		assert_true(after.incarnation > before.incarnation);
		assert_true(after.version > before.version);
		net_fini(&n);
	}
}

/* ... also when it has nothing to put. */
static void
test_restart_empty(void **state)
{
	struct net n;

	(void)state;
	begin(&n, 5, 9);
	net_put(&n, 2, 1, 2, "gone");
	net_run(&n, NET_S);
	restart(&n, 2, NET_S);
	net_begin(&n, 2);
	assert_true(net_settle(&n, 20 * NET_S) < 10 * NET_S);
	assert_int_equal(net_having(&n, 2, 1, 2, "gone"), 0);
	net_fini(&n);
}

/* Without its file a node begins below what the others know, and goes above it. */
static void
test_lost_file(void **state)
{
	struct gossip_member m;
	struct net n;

	(void)state;
	begin(&n, 5, 3);
	restart(&n, 2, 10 * NET_MS);
	net_begin(&n, 2);
	net_put(&n, 2, 1, 2, "old");
	assert_true(net_settle(&n, 20 * NET_S) < 10 * NET_S);
	gossip_member(n.nodes[2].g, 3, &m);
	uint32_t known = m.incarnation;
	net_crash(&n, 2);
	n.nodes[2].file_bytes = 0;
	n.nodes[2].incarnation = 0;
	net_run(&n, 20 * NET_S);
	net_start(&n, 2);
	net_begin(&n, 2);
	net_put(&n, 2, 1, 3, "new");
	assert_true(net_settle(&n, 40 * NET_S) < 20 * NET_S);
	gossip_member(n.nodes[2].g, 3, &m);
	assert_true(m.incarnation > known);
	assert_int_equal(net_having(&n, 2, 1, 2, "old"), 0);
	assert_int_equal(net_having(&n, 2, 1, 3, "new"), 5);
	net_fini(&n);
}

/* ... and its first change is not taken for the first change of the life that it forgot. */
static void
test_lost_file_first_change(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 10; seed++) {
		struct net n;

		begin(&n, 4, seed);
		net_put(&n, 2, 1, 1, "old");
		net_run(&n, NET_S);
		net_crash(&n, 2);
		n.nodes[2].file_bytes = 0;
		n.nodes[2].incarnation = 0;
		net_run(&n, 500 * NET_MS);
		net_start(&n, 2);
		net_begin(&n, 2);
		net_put(&n, 2, 1, 1, "new");
		assert_true(net_settle(&n, 60 * NET_S) < 40 * NET_S);
		assert_int_equal(net_having(&n, 2, 1, 1, "new"), 4);
		net_fini(&n);
	}
}

/* While the disk fails nothing is said; then it is. */
static void
test_full_disk(void **state)
{
	struct net n;

	(void)state;
	net_init(&n, 3, 4);
	n.disk_fails = true;
	for (size_t i = 0; i < 3; i++) {
		net_start(&n, i);
		net_begin(&n, i);
	}
	net_run(&n, 10 * NET_S);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(n.nodes[i].sent, 0);
		assert_true(gossip_counters(n.nodes[i].g)->disk_failures > 3);
	}
	n.disk_fails = false;
	assert_true(net_settle(&n, 30 * NET_S) < 20 * NET_S);
	net_fini(&n);
}

/* A node that does not run for seconds accuses nobody when it goes on. */
static void
test_stall(void **state)
{
	struct net n;

	(void)state;
	for (uint64_t seed = 1; seed <= 5; seed++) {
		begin(&n, 10, seed);
		n.nodes[4].stalled_until = n.now + 20 * NET_S;
		net_run(&n, 30 * NET_S);
		assert_int_equal(n.nodes[4].deaths_told, 0);
		assert_true(gossip_counters(n.nodes[4].g)->stalls > 0);
		assert_true(net_settle(&n, 20 * NET_S) < 15 * NET_S);
		net_fini(&n);
	}
}

/* 300 ms there and back, and 1 % loss: no suspicion of anybody lasts. */
static void
test_far(void **state)
{
	struct net n;

	(void)state;
	net_init(&n, 4, 11);
	n.latency_least = 145 * NET_MS;
	n.latency_spread = 10 * NET_MS;
	n.loss = 10;
	for (size_t i = 0; i < 4; i++) {
		net_start(&n, i);
		net_begin(&n, i);
	}
	assert_true(net_settle(&n, 60 * NET_S) < 30 * NET_S);
	net_put(&n, 0, 1, 1, "far");
	net_run(&n, 2 * NET_S);
	assert_int_equal(net_having(&n, 0, 1, 1, "far"), 4);
	net_run(&n, 300 * NET_S);
	assert_int_equal(deaths(&n), 0);
	net_fini(&n);
}

static void
test_leave(void **state)
{
	struct net n;

	(void)state;
	begin(&n, 9, 2);
	gossip_leave(n.nodes[5].g);
	assert_int_equal(gossip_put(n.nodes[5].g, 1, 1, "x", 1), GOSSIP_FULL);
	net_local(&n, 5);
	for (unsigned i = 0; i < 200 && !n.nodes[5].left; i++)
		net_run(&n, 10 * NET_MS);
	assert_true(n.nodes[5].left);
	net_crash(&n, 5);
	net_run(&n, NET_S);
	assert_int_equal(net_holding(&n, 5, GOSSIP_LEFT), 8);
	net_run(&n, 20 * NET_S);
	assert_int_equal(net_holding(&n, 5, GOSSIP_LEFT), 8);
	assert_int_equal(deaths(&n), 0);
	net_start(&n, 5);
	net_begin(&n, 5);
	assert_true(net_settle(&n, 20 * NET_S) < 15 * NET_S);
	net_fini(&n);
}

/* Entries written in a storm, over loss, with nodes that come and go: all end with the same. */
static void
test_storm(void **state)
{
	char value[32];

	(void)state;
	for (uint64_t seed = 1; seed <= 8; seed++) {
		struct net n;

		begin(&n, 15, seed);
		n.loss = 100;
		for (unsigned i = 0; i < 2000; i++) {
			size_t node = prop_below(&n.random, n.count);
			uint64_t id = prop_below(&n.random, 30);

			if (prop_below(&n.random, 300) == 0 && n.nodes[node].g && net_live(&n) > 8)
				net_crash(&n, node);
			if (!n.nodes[node].g) {
				net_start(&n, node);
				net_begin(&n, node);
			}
			snprintf(value, sizeof(value), "%u", i);
			if (prop_below(&n.random, 3) == 0)
				gossip_drop(n.nodes[node].g, 1, id);
			else
				(void)!gossip_put(n.nodes[node].g, 1, id, value, strlen(value));
			net_local(&n, node);
			net_run(&n, prop_below(&n.random, 20) * NET_MS);
		}
		n.loss = 0;
		for (size_t i = 0; i < n.count; i++)
			if (!n.nodes[i].g) {
				net_start(&n, i);
				net_begin(&n, i);
			}
		uint64_t took = net_settle(&n, 120 * NET_S);
		print_message("# storm %llu: equal after %llu ms\n", (unsigned long long)seed,
			      (unsigned long long)(took / NET_MS));
		assert_true(took < 40 * NET_S);
		/* Equal digests mean equal contents. */
		struct gossip_walk a = {0}, b = {0};
		struct gossip_entry x, y;
		while (gossip_each(n.nodes[0].g, &a, &x)) {
			assert_true(gossip_each(n.nodes[7].g, &b, &y));
			assert_int_equal(x.node, y.node);
			assert_int_equal(x.id, y.id);
			assert_true(x.version == y.version);
			assert_int_equal(x.bytes, y.bytes);
			assert_memory_equal(x.value, y.value, x.bytes);
		}
		assert_false(gossip_each(n.nodes[7].g, &b, &y));
		net_fini(&n);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loss),
		cmocka_unit_test(test_loss_without_streams),
		cmocka_unit_test(test_loss_and_crash),
		cmocka_unit_test(test_partition),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_restart_empty),
		cmocka_unit_test(test_lost_file),
		cmocka_unit_test(test_lost_file_first_change),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_stall),
		cmocka_unit_test(test_far),
		cmocka_unit_test(test_leave),
		cmocka_unit_test(test_storm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
