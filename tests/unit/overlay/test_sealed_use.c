/* SPDX-License-Identifier: Apache-2.0 */
/* Who is probed: everybody in a small cluster, in a large one those that are spoken to. And when
 * there is enough to say who is no peer. */
#include "overlay/sealed_peers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/fd.h"
#include "base/mem.h"
#include "tests/support/wg_setup.h"

enum { LARGE = ENGINE_EAGER_MAX + 10 };

static struct peers all;
static struct sealed_peers peers;
static struct setup is;

/* Nodes 1 to LARGE; nobody was ever spoken to. */
static int
setup(void **state)
{
	(void)state;
	sealed_peers_init(&peers, &all);
	setup_init(&is);
	for (uint32_t i = 0; i < LARGE; i++) {
		struct setup_peer *p;

		memset(&peers.rows[i], 0, sizeof(peers.rows[i]));
		peers.rows[i].node = i + 1;
		wg_setup_key(peers.rows[i].key, i, 1);
		assert_int_equal(setup_add_peer(&is, peers.rows[i].key, &p), SETUP_OK);
		p->idle_s = UINT32_MAX;
	}
	peers.rows_count = LARGE;
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	setup_fini(&is);
	sealed_peers_fini(&peers);
	assert_int_equal(mem_used_all(), 0);
	return 0;
}

static unsigned
count(void)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < LARGE; i++)
		n += sealed_peers_uses(&peers, i + 1);
	return n;
}

static void
test_large(void **state)
{
	(void)state;
	assert_int_equal(count(), LARGE);
	assert_true(sealed_peers_look_at_use(&peers, &is));
	assert_int_equal(count(), 0);
	assert_false(sealed_peers_look_at_use(&peers, &is));
	is.peers[7].idle_s = SEALED_PEERS_USED_S - 1;
	is.peers[8].idle_s = SEALED_PEERS_USED_S;
	assert_true(sealed_peers_look_at_use(&peers, &is));
	assert_false(sealed_peers_look_at_use(&peers, &is));
	assert_int_equal(count(), 1);
	assert_true(sealed_peers_uses(&peers, 8));
	is.peers[7].idle_s = SEALED_PEERS_USED_S;
	assert_true(sealed_peers_look_at_use(&peers, &is));
	assert_int_equal(count(), 0);
}

/* The former key is not in use any more, the next one is: that is one node, and no news. */
static void
test_changes_its_key(void **state)
{
	struct setup_peer *p;

	(void)state;
	wg_setup_key(peers.rows[3].next_key, 3, 2);
	assert_int_equal(setup_add_peer(&is, peers.rows[3].next_key, &p), SETUP_OK);
	p->idle_s = 0;
	assert_true(sealed_peers_look_at_use(&peers, &is));
	assert_int_equal(count(), 1);
	assert_true(sealed_peers_uses(&peers, 4));
	assert_false(sealed_peers_look_at_use(&peers, &is));
}

static void
test_small_again(void **state)
{
	(void)state;
	is.peers[7].idle_s = 0;
	assert_true(sealed_peers_look_at_use(&peers, &is));
	peers.rows_count = ENGINE_EAGER_MAX;
	assert_true(sealed_peers_look_at_use(&peers, &is));
	assert_int_equal(count(), LARGE);
	assert_false(sealed_peers_look_at_use(&peers, &is));
}

/* What could not be noted is, the next time. */
static void
test_without_memory(void **state)
{
	(void)state;
	is.peers[7].idle_s = 0;
	for (int64_t n = 0; n < 40; n++) {
		mem_fail_after(n);
		(void)sealed_peers_look_at_use(&peers, &is);
		mem_fail_after(-1);
		assert_true(count() <= 1);
		(void)sealed_peers_look_at_use(&peers, &is);
		assert_int_equal(count(), 1);
	}
}

static void
give_pairs(const void *pairs, size_t bytes)
{
	int fd = fd_memfd_sealed("pairs", pairs, bytes);

	assert_true(fd >= 0);
	sealed_peers_pairs(&peers, fd);
	fd_close(&fd);
}

/* Neither of the two is enough; no pair is as good as many. */
static void
test_told(void **state)
{
	const struct leash_pair pair = {.node = 7, .key = {7}};

	(void)state;
	assert_false(sealed_peers_told(&peers));
	give_pairs(NULL, 0);
	assert_false(sealed_peers_told(&peers));
	all.self = 2;
	assert_true(sealed_peers_told(&peers));
	sealed_peers_fini(&peers);
	sealed_peers_init(&peers, &all);
	assert_false(sealed_peers_told(&peers));
	give_pairs(&pair, sizeof(pair) - 1);
	assert_false(sealed_peers_told(&peers));
	give_pairs(&pair, sizeof(pair));
	assert_true(sealed_peers_told(&peers) && sealed_peers_has(&peers, 7));
	all.self = 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_large),       TEST(test_changes_its_key),
		TEST(test_small_again), TEST(test_without_memory),
		TEST(test_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
