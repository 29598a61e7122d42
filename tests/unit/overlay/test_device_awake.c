/* SPDX-License-Identifier: Apache-2.0 */
/* Peers that are asleep, as most of a large cluster's are, and what wakes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/mem.h"
#include "tests/support/sweep.h"
#include "tests/support/wg_pair.h"

enum { MEMBERS = 10000, MEMBER_BYTES_MAX = 768, FEW = 4 };

static struct device_peer *
know_nobody(uint32_t number, uint16_t keepalive_s)
{
	struct device_prefix inner = {0};
	struct device_change c = {.public_key = {9},
				  .endpoint = &b->addr,
				  .has_keepalive = true,
				  .keepalive_s = keepalive_s,
				  .prefixes = &inner,
				  .prefixes_count = 1};
	struct device_peer *peer;
	struct err err = {0};

	memcpy(c.public_key + 1, &number, sizeof(number));
	wg_inner(1000 + number, &inner.prefix);
	assert_int_equal(device_change(a->device, &c, wg_world(&wire), &peer, &err), 0);
	return peer;
}

/* ---- waking ---- */

static void
test_asleep_at_first(void **state)
{
	size_t before = mem_used_all();
	struct device_peer *last = NULL;

	(void)state;
	for (uint32_t i = 0; i < MEMBERS; i++)
		last = know_nobody(i, 0);
	assert_true((mem_used_all() - before) / MEMBERS <= MEMBER_BYTES_MAX);
	assert_false(device_peer_awake(last));
	assert_int_equal(wire.count, 0);
	assert_true(device_deadline(a->device) == TIMERS_NEVER);
	/* Among all of them the one that is spoken to is found, and by it this end. */
	assert_false(device_peer_awake(to_b) || device_peer_awake(to_a));
	meet();
	assert_true(device_peer_awake(to_b) && device_peer_awake(to_a));
	assert_false(device_peer_awake(last));
	assert_int_equal(a->device->used_count, 1);
}

static void
test_nowhere(void **state)
{
	struct device_change c = {.public_key = {9}};
	struct device_peer *peer;
	struct session *s;
	struct err err = {0};

	(void)state;
	assert_int_equal(device_change(a->device, &c, wg_world(&wire), &peer, &err), 0);
	assert_int_equal(device_wants_send(a->device, peer, wg_world(&wire), &s),
			 DEVICE_UNREACHABLE);
	assert_false(device_peer_awake(peer));
}

/* What was recorded before it fell asleep neither wakes it nor leaves anything behind. */
static void
test_recorded(void **state)
{
	(void)state;
	wg_say(a, to_b);
	struct wg_packet copy = *wire.packets[0];
	wg_deliver_all(&wire);
	assert_true(device_peer_awake(to_a));
	wg_pass(&wire, (TIMERS_FORGET_S + 30) * wg_second, false);
	assert_false(device_peer_awake(to_a) || device_peer_awake(to_b));
	assert_int_equal(wg_give(b, &copy), DEVICE_REPLAYED);
	assert_false(device_peer_awake(to_a));
	assert_int_equal(to_a->key.state, NOISE_SHARED_UNKNOWN);
	meet();
}

/* ---- falling asleep ---- */

static void
test_nobody_answers(void **state)
{
	struct device_peer *peer = know_nobody(1, 0);

	(void)state;
	wg_say(a, peer);
	assert_true(device_peer_awake(peer));
	wg_pass(&wire, (TIMERS_REKEY_ATTEMPT_S + TIMERS_FORGET_S + 30) * wg_second, true);
	assert_false(device_peer_awake(peer));
	assert_int_equal(a->staged, 0);
	assert_true(device_deadline(a->device) == TIMERS_NEVER);
}

static void
test_too_many(void **state)
{
	struct device_peer *peers[FEW + 1], *kept = know_nobody(99, 25);

	(void)state;
	a->device->awake_max = FEW;
	assert_true(device_peer_awake(kept));
	for (uint32_t i = 0; i < FEW; i++)
		wg_say(a, peers[i] = know_nobody(i, 0));
	assert_int_equal(a->device->used_count, FEW);
	assert_int_equal(a->staged, FEW);
	/* The first one is used again: the second one makes room, and what waited for it goes. */
	wg_say(a, peers[0]);
	wg_say(a, peers[FEW] = know_nobody(FEW, 0));
	assert_int_equal(a->device->used_count, FEW);
	assert_true(device_peer_awake(peers[0]) && device_peer_awake(peers[FEW]));
	assert_false(device_peer_awake(peers[1]));
	assert_true(device_peer_awake(kept));
	assert_int_equal(a->staged, FEW + 1);
	assert_int_equal(map_count(&a->device->handshakes), FEW + 1);
	/* One that is not kept alive any more is one of them. */
	know_nobody(99, 0);
	assert_int_equal(a->device->used_count, FEW + 1);
	wg_say(a, peers[1]);
	assert_int_equal(a->device->used_count, FEW);
}

/* One that had sessions has new ones with the next word, whoever says it. */
static void
test_room_of_one_in_use(void **state)
{
	(void)state;
	a->device->awake_max = 1;
	for (unsigned i = 0; i < 3; i++) {
		wg_pass(&wire, 6 * wg_second, false);
		assert_true(says(a, to_b, b));
		wg_say(a, know_nobody(1, 0));
		wg_clear(&wire);
		assert_false(device_peer_awake(to_b));
		assert_int_equal(map_count(&a->device->sessions), 0);
	}
	uint64_t id = wg_say(b, to_a); /* with keys that nobody has any more */
	wg_deliver_all(&wire);
	assert_false(wg_got(a, id));
	wg_pass(&wire, 20 * wg_second, false);
	assert_true(says(b, to_a, a));
}

/* ---- no memory ---- */

static void
test_without_memory(void **state)
{
	(void)state;
	sweep_each(run)
	{
		struct session *s;
		enum device_result r = device_wants_send(a->device, to_b, wg_world(&wire), &s);

		if (r == DEVICE_NO_MEMORY)
			assert_false(device_peer_awake(to_b));
		else
			assert_int_equal(r, DEVICE_WAIT);
		if (!sweep_failed())
			assert_int_equal(wire.count, 1);
		mem_fail_after(-1);
		wg_clear(&wire);
		device_sleep(a->device, to_b);
		assert_int_equal(map_count(&a->device->handshakes), 0);
		assert_true(device_deadline(a->device) == TIMERS_NEVER);
	}
	meet();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WG_TEST(test_asleep_at_first), WG_TEST(test_nowhere),
		WG_TEST(test_recorded),        WG_TEST(test_nobody_answers),
		WG_TEST(test_too_many),        WG_TEST(test_room_of_one_in_use),
		WG_TEST(test_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
