/* SPDX-License-Identifier: Apache-2.0 */
/* Three nodes that probe each other over paths of different sizes, each with a book of its own. */
#include "overlay/prober.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/mem.h"
#include "tests/support/sweep.h"

enum { NODES = 3, MAIL_MAX = 4096, MAX = 8920 };

static const uint64_t ms = 1000000;

struct mail {
	unsigned from, to;
	uint8_t head[PROBE_BYTES];
	size_t bytes;
};

static struct world_seeded world;
static struct prober *nodes[NODES];
static uint32_t takes[NODES][NODES]; /* what the path takes, each way */
static struct mail mail[MAIL_MAX];
static size_t mails;
static uint32_t found[NODES][NODES];
static uint64_t rtt[NODES][NODES];
static unsigned answers[NODES]; /* sent by it */

static uint64_t
now(void)
{
	return world.world.mono_ns;
}

static void
address(unsigned node, struct addr *out)
{
	addr_from_v4_be(__builtin_bswap32(0x0ac80001u + (node << 8)), 0, out);
}

static void
send_mail(void *arg, const struct addr *to, const uint8_t head[PROBE_BYTES], size_t bytes)
{
	unsigned from = (unsigned)(uintptr_t)arg;
	unsigned node = __builtin_bswap32(addr_v4_be(to)) >> 8 & 0xff;

	assert_true(mails < MAIL_MAX && bytes >= PROBE_BYTES);
	answers[from] += head[5] == PROBE_ANSWERS;
	if (node >= NODES || bytes + PROBER_HEADERS > takes[from][node])
		return;
	mail[mails] = (struct mail){.from = from, .to = node, .bytes = bytes};
	memcpy(mail[mails++].head, head, PROBE_BYTES);
}

static void
note(void *arg, uint64_t id, uint32_t mtu, uint64_t rtt_ns, bool another)
{
	unsigned node = (unsigned)(uintptr_t)arg;

	assert_true(id - 100 < NODES && mtu == prober_mtu(nodes[node], id));
	assert_true(another || !found[node][id - 100] || found[node][id - 100] == mtu);
	found[node][id - 100] = mtu;
	rtt[node][id - 100] = rtt_ns;
}

/* Each knows keys of the one before it. */
static bool
knows(void *arg, uint64_t id, uint64_t token)
{
	unsigned node = (unsigned)(uintptr_t)arg;

	return token == 7 && id - 100 == (node + NODES - 1) % NODES;
}

static unsigned key_known[NODES][NODES];

static void
known(void *arg, uint64_t id, uint64_t token)
{
	assert_int_equal(token, 7);
	key_known[(uintptr_t)arg][id - 100]++;
}

static struct prober *
make(unsigned node, uint32_t max)
{
	const struct prober_calls calls = {(void *)(uintptr_t)node, send_mail, note, knows, known};

	return prober_new(&calls, max);
}

static struct prober_peer
peer(unsigned node)
{
	struct prober_peer p = {.id = 100 + node};

	address(node, &p.address);
	return p;
}

static int
setup(void **state)
{
	(void)state;
	world_seeded_init(&world, 3, 1000 * ms, 1);
	mails = 0;
	memset(found, 0, sizeof(found));
	memset(rtt, 0, sizeof(rtt));
	memset(answers, 0, sizeof(answers));
	for (unsigned i = 0; i < NODES; i++) {
		struct prober_peer list[NODES];
		struct err err = {0};
		size_t count = 0;

		nodes[i] = make(i, MAX);
		assert_non_null(nodes[i]);
		assert_true(prober_deadline(nodes[i]) == UINT64_MAX);
		for (unsigned k = 0; k < NODES; k++) {
			takes[i][k] = MAX;
			if (k != i)
				list[count++] = peer(k);
		}
		assert_int_equal(prober_set_peers(nodes[i], list, count, now(), &err), 0);
		assert_true(prober_deadline(nodes[i]) <= now());
	}
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < NODES; i++)
		prober_free(nodes[i]);
	return 0;
}

/* All of it, and what is answered. */
static void
deliver(void)
{
	static uint8_t data[PROBE_MAX];

	for (size_t i = 0; i < mails; i++) {
		struct mail m = mail[i];
		struct addr from;

		address(m.from, &from);
		memset(data, 0, m.bytes);
		memcpy(data, m.head, PROBE_BYTES);
		prober_receive(nodes[m.to], now(), &from, data, m.bytes);
	}
	mails = 0;
}

static void
pass(uint64_t ns)
{
	uint64_t end = now() + ns;

	for (;;) {
		uint64_t next = end;

		for (unsigned i = 0; i < NODES; i++)
			if (prober_deadline(nodes[i]) < next)
				next = prober_deadline(nodes[i]);
		if (next > now())
			world.world.mono_ns = next;
		for (unsigned i = 0; i < NODES; i++)
			prober_tick(nodes[i], &world.world);
		world.world.mono_ns += ms;
		deliver();
		if (next >= end)
			return;
	}
}

static void
test_each_its_own(void **state)
{
	(void)state;
	takes[0][1] = 1500; /* and the other way what all take */
	takes[0][2] = 1300;
	takes[2][0] = 1420;
	pass(120000 * ms);
	assert_true(found[0][1] <= 1500 && found[0][1] > 1500 - PROBE_STEP);
	assert_int_equal(found[1][0], MAX);
	assert_int_equal(found[0][2], 1296);
	assert_int_equal(found[2][0], 1420);
	assert_int_equal(found[1][2], MAX);
	for (unsigned i = 0; i < NODES; i++)
		for (unsigned k = 0; k < NODES; k++)
			assert_true(i == k || (rtt[i][k] >= ms && rtt[i][k] <= 20 * ms));
}

static void
test_black_hole(void **state)
{
	(void)state;
	pass(60000 * ms);
	assert_int_equal(found[0][1], MAX);
	takes[0][1] = 1420;
	pass(60000 * ms);
	assert_int_equal(found[0][1], 1420);
	assert_int_equal(found[1][0], MAX);
	takes[0][1] = MAX;
	prober_moved(nodes[0], 101, now());
	pass(5000 * ms);
	assert_int_equal(found[0][1], MAX);
	prober_moved(nodes[0], 999, now()); /* nobody */
}

static void
test_peers_change(void **state)
{
	struct prober_peer list[2] = {peer(1), peer(2)};
	struct err err = {0};

	(void)state;
	pass(30000 * ms);
	assert_int_equal(prober_mtu(nodes[0], 101), MAX);
	assert_int_equal(prober_set_peers(nodes[0], list, 1, now(), &err), 0);
	assert_int_equal(prober_mtu(nodes[0], 101), MAX); /* it goes on */
	assert_int_equal(prober_mtu(nodes[0], 102), 0);
	/* Another address: another node, for all that is known. */
	address(2, &list[0].address);
	assert_int_equal(prober_set_peers(nodes[0], list, 1, now(), &err), 0);
	assert_int_equal(prober_mtu(nodes[0], 101), PROBE_DEFAULT);
	assert_int_equal(prober_set_peers(nodes[0], NULL, 0, now(), &err), 0);
	assert_true(prober_deadline(nodes[0]) == UINT64_MAX);
	assert_int_equal(prober_set_peers(nodes[0], list, PROBER_PEERS_MAX + 1, now(), &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
}

static void
test_another_max(void **state)
{
	(void)state;
	pass(30000 * ms);
	prober_set_max(nodes[0], MAX, now());
	assert_int_equal(prober_mtu(nodes[0], 101), MAX);
	prober_set_max(nodes[0], 1300, now());
	assert_int_equal(prober_mtu(nodes[0], 101), 1300);
	assert_int_equal(found[0][1], 1300);
	pass(30000 * ms);
	assert_int_equal(found[0][1], 1300);
}

/* Who is no peer is not answered, and who is, not without end. */
static void
test_who_is_answered(void **state)
{
	const struct probe_message m = {PROBE_ASKS, PROBE_SMALL, 5};
	uint8_t data[PROBE_SMALL - PROBER_HEADERS] = {0};
	struct addr stranger, friend;
	unsigned before;

	(void)state;
	pass(30000 * ms);
	address(77, &stranger);
	address(1, &friend);
	probe_put(&m, data);
	before = answers[0];
	prober_receive(nodes[0], now(), &stranger, data, sizeof(data));
	assert_int_equal(answers[0], before);
	prober_receive(nodes[0], now(), &friend, data, sizeof(data) - 1);
	assert_int_equal(answers[0], before);
	for (unsigned i = 0; i < 3 * PROBER_ANSWERS_BURST; i++)
		prober_receive(nodes[0], now(), &friend, data, sizeof(data));
	assert_int_equal(answers[0], before + PROBER_ANSWERS_BURST);
	world.world.mono_ns += 1000 * ms;
	for (unsigned i = 0; i < 3 * PROBER_ANSWERS_BURST; i++)
		prober_receive(nodes[0], now(), &friend, data, sizeof(data));
	assert_int_equal(answers[0], before + PROBER_ANSWERS_BURST + PROBER_ANSWERS);
	mails = 0;
}

static void
test_memory(void **state)
{
	const struct prober_peer one = peer(1), both[2] = {peer(2), peer(1)};

	(void)state;
	sweep_each(s)
	{
		struct prober *p = make(0, MAX);
		struct err err = {0};
		bool ok = p && prober_set_peers(p, &one, 1, now(), &err) == 0;

		if (ok && prober_set_peers(p, both, 2, now(), &err) < 0) {
			assert_int_equal(prober_mtu(p, 101), PROBE_DEFAULT);
			assert_int_equal(prober_mtu(p, 102), 0);
			ok = false;
		}
		assert_true(ok || sweep_failed());
		prober_free(p);
	}
}

#define PROBER_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void
test_keys(void **state)
{
	(void)state;
	memset(key_known, 0, sizeof(key_known));
	prober_ask_key(nodes[0], 101, 7);
	prober_ask_key(nodes[0], 101, 8);
	prober_ask_key(nodes[0], 102, 7);
	prober_ask_key(nodes[0], 999, 7);
	assert_int_equal(mails, 3);
	for (size_t i = 0; i < mails; i++)
		assert_int_equal(mail[i].bytes, PROBE_BYTES);
	deliver();
	deliver();
	assert_int_equal(key_known[0][1], 1);
	assert_int_equal(key_known[0][2], 0);
	/* Not more often than other questions. */
	for (unsigned i = 0; i < 10 * PROBER_ANSWERS_BURST; i++)
		prober_ask_key(nodes[0], 101, 7);
	deliver();
	assert_in_range(key_known[0][1], 2, PROBER_ANSWERS_BURST);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		PROBER_TEST(test_each_its_own),
		PROBER_TEST(test_black_hole),
		PROBER_TEST(test_peers_change),
		PROBER_TEST(test_another_max),
		PROBER_TEST(test_who_is_answered),
		PROBER_TEST(test_memory),
		PROBER_TEST(test_keys),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
