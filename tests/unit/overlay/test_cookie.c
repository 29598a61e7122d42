/* SPDX-License-Identifier: Apache-2.0 */
/* mac1, mac2, cookies and what they are good for; the limiter; the window of counters. */
#include "overlay/wg/cookie.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "overlay/wg/limiter.h"
#include "overlay/wg/replay.h"
#include "tests/support/sweep.h"

enum { BYTES = NOISE_INITIATION };

static const uint64_t second = 1000000000;

static struct primitive p;
static struct cookie_checker checker;
static struct cookie_maker maker;
static struct world_seeded world;
static uint8_t packet[BYTES];
static struct addr from, elsewhere;

static int
setup(void **state)
{
	uint8_t key[PRIMITIVE_KEY] = {7};
	struct err err = {0};

	(void)state;
	world_seeded_init(&world, 3, second, 1);
	assert_int_equal(primitive_init(&p, &err), 0);
	assert_true(cookie_checker_set(&p, &checker, key));
	assert_true(cookie_maker_set(&p, &maker, key));
	assert_true(addr_parse("10.0.0.1:51820", &from));
	assert_true(addr_parse("10.0.0.1:51821", &elsewhere));
	world_random(&world.world, packet, BYTES);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	primitive_fini(&p);
	return 0;
}

static enum cookie_verdict
check(const struct addr *source)
{
	return cookie_check(&p, &checker, packet, BYTES, source, &world.world);
}

static void
stamp(void)
{
	assert_true(cookie_stamp(&p, &maker, packet, BYTES, world.world.mono_ns));
}

static void
get_cookie(void)
{
	uint8_t reply[NOISE_COOKIE];

	stamp();
	assert_true(cookie_reply(&p, &checker, packet, BYTES, &from, &world.world, reply));
	assert_int_equal(noise_type(reply, sizeof(reply)), NOISE_TYPE_COOKIE);
	assert_memory_equal(reply + 4, packet + 4, 4);
	assert_true(cookie_take(&p, &maker, reply, world.world.mono_ns));
}

static void
test_mac1(void **state)
{
	(void)state;
	assert_int_equal(check(&from), COOKIE_REFUSED);
	stamp();
	assert_int_equal(check(&from), COOKIE_PLAIN);
	for (size_t i = 0; i < BYTES - 16; i++) {
		packet[i] ^= 1;
		assert_int_equal(check(&from), COOKIE_REFUSED);
		packet[i] ^= 1;
	}
}

static void
test_mac2(void **state)
{
	(void)state;
	get_cookie();
	assert_int_equal(check(&from), COOKIE_PLAIN); /* that one was stamped before */
	stamp();
	assert_int_equal(check(&from), COOKIE_PROVEN);
	assert_int_equal(check(&elsewhere), COOKIE_PLAIN);
	packet[BYTES - 1] ^= 1;
	assert_int_equal(check(&from), COOKIE_PLAIN);
}

static void
test_cookies_end(void **state)
{
	(void)state;
	get_cookie();
	world.world.mono_ns += 114 * second;
	stamp();
	assert_int_equal(check(&from), COOKIE_PROVEN);
	world.world.mono_ns += 2 * second; /* the maker stops before the checker does */
	stamp();
	assert_int_equal(check(&from), COOKIE_PLAIN);
	get_cookie();
	stamp();
	assert_int_equal(check(&from), COOKIE_PROVEN);
	world.world.mono_ns += 5 * second; /* a new secret since the first one's 120 s */
	assert_int_equal(check(&from), COOKIE_PLAIN);
}

static void
test_replies_of_others(void **state)
{
	uint8_t reply[NOISE_COOKIE];

	(void)state;
	assert_false(cookie_take(&p, &maker, packet, second)); /* nothing was sent */
	stamp();
	assert_true(cookie_reply(&p, &checker, packet, BYTES, &from, &world.world, reply));
	for (size_t i = 8; i < NOISE_COOKIE; i++) {
		reply[i] ^= 1;
		assert_false(cookie_take(&p, &maker, reply, second));
		reply[i] ^= 1;
	}
	uint8_t other[NOISE_COOKIE];
	memcpy(other, reply, sizeof(other));
	packet[9] ^= 1;
	stamp(); /* the reply is to the message before */
	assert_false(cookie_take(&p, &maker, other, second));
	packet[9] ^= 1;
	stamp();
	assert_true(cookie_take(&p, &maker, reply, second));
	assert_false(cookie_take(&p, &maker, reply, second)); /* once */
}

/* ---- the limiter ---- */

static void
test_bucket(void **state)
{
	struct limiter *l = limiter_new(5);
	uint64_t now = second;

	(void)state;
	for (int i = 0; i < LIMITER_BURST; i++)
		assert_true(limiter_take(l, &from, now));
	assert_false(limiter_take(l, &from, now));
	assert_false(limiter_take(l, &elsewhere, now)); /* the same address */
	now += second / LIMITER_RATE;
	assert_true(limiter_take(l, &from, now));
	assert_false(limiter_take(l, &from, now));
	now += second;
	for (int i = 0; i < LIMITER_BURST; i++)
		assert_true(limiter_take(l, &from, now));
	assert_false(limiter_take(l, &from, now));
	/* Who asks all the time gets no more than the rate. */
	unsigned taken = 0;
	for (int i = 0; i < 1000; i++) {
		now += second / 1000;
		taken += limiter_take(l, &from, now);
	}
	assert_in_range(taken, LIMITER_RATE - 1, LIMITER_RATE + 1);
	limiter_free(l);
}

static void
test_networks(void **state)
{
	struct limiter *l = limiter_new(5);
	struct addr a, b, c;

	(void)state;
	assert_true(addr_parse("[2001:db8::1]:1", &a));
	assert_true(addr_parse("[2001:db8::ffff:1]:1", &b));
	assert_true(addr_parse("[2001:db8:0:1::1]:1", &c));
	for (int i = 0; i < LIMITER_BURST; i++)
		assert_true(limiter_take(l, i % 2 ? &a : &b, second));
	assert_false(limiter_take(l, &a, second));
	assert_false(limiter_take(l, &b, second));
	assert_true(limiter_take(l, &c, second));
	assert_int_equal(limiter_count(l), 2);
	limiter_free(l);
}

static void
test_full_table(void **state)
{
	struct limiter *l = limiter_new(5);
	struct addr a = from;
	size_t taken = 0;

	(void)state;
	for (uint32_t i = 0; i < 4 * LIMITER_SOURCES_MAX; i++) {
		addr_from_v4_be(__builtin_bswap32(0x0a000000 + i), 1, &a);
		taken += limiter_take(l, &a, second);
	}
	assert_in_range(taken, LIMITER_SOURCES_MAX / 2, LIMITER_SOURCES_MAX);
	assert_int_equal(limiter_count(l), taken);
	/* A second later they are forgotten. */
	assert_true(limiter_take(l, &a, 2 * second));
	assert_int_equal(limiter_count(l), 1);
	limiter_free(l);
	limiter_free(NULL);
}

static void
test_no_memory(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct limiter *l = limiter_new(1);

		assert_int_equal(l == NULL, sweep_failed());
		limiter_free(l);
	}
}

/* ---- counters ---- */

static void
test_window(void **state)
{
	struct replay r;

	(void)state;
	replay_init(&r);
	assert_true(replay_take(&r, 0));
	assert_false(replay_take(&r, 0));
	assert_true(replay_take(&r, 1));
	assert_false(replay_take(&r, 0));
	assert_true(replay_take(&r, 9));
	for (uint64_t i = 2; i < 9; i++)
		assert_true(replay_take(&r, i));
	assert_true(replay_take(&r, REPLAY_WINDOW));
	assert_false(replay_take(&r, 0));
	assert_true(replay_take(&r, 11)); /* never seen, just inside */
	assert_true(replay_take(&r, REPLAY_WINDOW + 20));
	assert_false(replay_take(&r, 20));
	assert_true(replay_take(&r, 21));
	assert_false(replay_take(&r, 21));
	assert_true(replay_take(&r, 5 * (uint64_t)REPLAY_BITS + 3));
	for (uint64_t i = 0; i < REPLAY_WINDOW - 1; i++)
		assert_true(replay_take(&r, 5 * (uint64_t)REPLAY_BITS + 2 - i));
	assert_false(replay_take(&r, 5 * (uint64_t)REPLAY_BITS + 3 - REPLAY_WINDOW));
	assert_true(replay_take(&r, REPLAY_COUNTER_MAX - 1));
	assert_false(replay_take(&r, REPLAY_COUNTER_MAX));
	assert_false(replay_take(&r, UINT64_MAX));
}

/* Against a list of all that was seen. */
static void
test_window_at_random(void **state)
{
	enum { SPAN = 40000 };
	static bool seen[SPAN];
	struct replay r;
	uint64_t greatest = 0;

	(void)state;
	replay_init(&r);
	for (int i = 0; i < 200000; i++) {
		uint64_t ahead = world_random_below(&world.world, 12);
		uint64_t back = world_random_below(&world.world, REPLAY_BITS + 200);
		uint64_t c =
			i % 3 ? (greatest > back ? greatest - back : 0) : greatest + ahead / 11;

		if (c >= SPAN)
			break;
		bool fresh = !seen[c] && c + REPLAY_WINDOW > greatest;
		assert_int_equal(replay_take(&r, c), fresh);
		seen[c] |= fresh;
		greatest = c > greatest ? c : greatest;
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_mac1),        TEST(test_mac2),
		TEST(test_cookies_end), TEST(test_replies_of_others),
		TEST(test_bucket),      TEST(test_networks),
		TEST(test_full_table),  TEST(test_no_memory),
		TEST(test_window),      TEST(test_window_at_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
