/* SPDX-License-Identifier: Apache-2.0 */
/* Each timer, and each event that sets or moves it. */
#include "overlay/wg/timers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const uint64_t second = 1000000000, jitter = TIMERS_JITTER_MS * UINT64_C(1000000);

static struct world_seeded world;
static struct timers t;

static int
setup(void **state)
{
	(void)state;
	world_seeded_init(&world, 5, 1000 * second, 1);
	timers_init(&t);
	return 0;
}

static uint64_t
now(void)
{
	return world.world.mono_ns;
}

static unsigned
at(uint64_t ns)
{
	world.world.mono_ns = ns;
	return timers_expire(&t, &world.world);
}

static void
check_within(uint64_t value, uint64_t from)
{
	assert_true(value >= from && value < from + jitter);
}

static void
test_nothing(void **state)
{
	(void)state;
	assert_true(timers_next(&t) == TIMERS_NEVER);
	assert_int_equal(at(UINT64_MAX - 1), 0);
}

static void
test_retransmit(void **state)
{
	uint64_t begun = now(), sum = 0, lowest = UINT64_MAX;
	unsigned retries = 0, work;

	(void)state;
	timers_wanted(&t, now());
	timers_initiated(&t, &world.world);
	assert_int_equal(at(begun + TIMERS_REKEY_TIMEOUT_S * second - 1), 0);
	world.world.mono_ns = begun;
	for (;;) {
		uint64_t before = now(), next = timers_next(&t);

		check_within(next, before + TIMERS_REKEY_TIMEOUT_S * second);
		sum += next - before;
		lowest = next - before < lowest ? next - before : lowest;
		assert_int_equal(at(next - 1), 0);
		work = at(next);
		if (work != TIMERS_DO_RETRY)
			break;
		retries++;
		timers_initiated(&t, &world.world);
	}
	/* Until 90 s, and not all after the same time. */
	assert_int_equal(work, TIMERS_DO_GIVE_UP);
	assert_true(now() - begun >= TIMERS_REKEY_ATTEMPT_S * second);
	assert_true(now() - begun < TIMERS_REKEY_ATTEMPT_S * second + 6 * second);
	assert_int_equal(retries, 17);
	assert_true(sum > (retries + 1) * lowest);
	/* What is known is forgotten, although there were no keys ever. */
	assert_int_equal(timers_next(&t), now() + TIMERS_FORGET_S * second);
	assert_int_equal(at(timers_next(&t)), TIMERS_DO_FORGET);
	assert_true(timers_next(&t) == TIMERS_NEVER);
}

static void
test_giving_up_ends_keepalive(void **state)
{
	(void)state;
	timers_wanted(&t, now());
	timers_initiated(&t, &world.world);
	timers_derived(&t, &world.world);
	uint64_t forget = now() + TIMERS_FORGET_S * second;
	world.world.mono_ns += 89 * second;
	timers_received_data(&t, now());
	assert_int_equal(at(now() + 2 * second), TIMERS_DO_GIVE_UP);
	/* When keys were made does not move. */
	assert_int_equal(timers_next(&t), forget);
}

static void
test_wanted_again(void **state)
{
	(void)state;
	timers_wanted(&t, now());
	world.world.mono_ns += 80 * second;
	timers_initiated(&t, &world.world);
	timers_wanted(&t, now());
	assert_int_equal(at(now() + 80 * second), TIMERS_DO_RETRY);
}

static void
test_completed(void **state)
{
	(void)state;
	timers_initiated(&t, &world.world);
	assert_true(timers_take_last_minute(&t));
	assert_false(timers_take_last_minute(&t));
	timers_completed(&t);
	assert_true(timers_next(&t) == TIMERS_NEVER);
	assert_true(timers_take_last_minute(&t));
}

static void
test_not_too_often(void **state)
{
	uint64_t first = now();

	(void)state;
	assert_true(timers_may_initiate(&t, first));
	timers_initiated(&t, &world.world);
	assert_false(timers_may_initiate(&t, first + TIMERS_REKEY_TIMEOUT_S * second - 1));
	assert_true(timers_may_initiate(&t, first + TIMERS_REKEY_TIMEOUT_S * second));
	timers_responded(&t, first + 3 * second);
	assert_false(timers_may_initiate(&t, first + 7 * second));
	timers_identity_changed(&t);
	assert_true(timers_may_initiate(&t, first + 7 * second));
}

static void
test_postponed(void **state)
{
	uint64_t first = now();

	(void)state;
	timers_responded(&t, first);
	world.world.mono_ns += second;
	timers_wanted(&t, now());
	timers_postponed(&t, &world.world);
	uint64_t next = timers_next(&t);
	check_within(next, first + TIMERS_REKEY_TIMEOUT_S * second);
	timers_postponed(&t, &world.world);
	assert_int_equal(timers_next(&t), next);
	assert_int_equal(at(next), TIMERS_DO_RETRY);
}

static void
test_keepalive(void **state)
{
	uint64_t first = now();

	(void)state;
	timers_received_data(&t, first);
	assert_int_equal(timers_next(&t), first + TIMERS_KEEPALIVE_S * second);
	/* The first one counts. */
	timers_received_data(&t, first + 3 * second);
	assert_int_equal(at(first + TIMERS_KEEPALIVE_S * second - 1), 0);
	assert_int_equal(at(first + TIMERS_KEEPALIVE_S * second), TIMERS_DO_KEEPALIVE);
	assert_true(timers_next(&t) == TIMERS_NEVER);
	/* Anything sent will do. */
	timers_received_data(&t, now());
	timers_sent(&t, now());
	assert_true(timers_next(&t) == TIMERS_NEVER);
}

static void
test_new_handshake(void **state)
{
	uint64_t first = now(), least = UINT64_MAX, most = 0, next = 0;

	(void)state;
	/* Another time with each session. */
	for (unsigned i = 0; i < 10; i++) {
		timers_derived(&t, &world.world);
		timers_sent_data(&t, now());
		next = timers_next(&t);
		check_within(next, first + (TIMERS_KEEPALIVE_S + TIMERS_REKEY_TIMEOUT_S) * second);
		least = next < least ? next : least;
		most = next > most ? next : most;
		timers_received(&t, now());
	}
	assert_true(most > least);
	timers_sent_data(&t, now());
	world.world.mono_ns += 3 * second;
	timers_sent_data(&t, now());
	assert_int_equal(timers_next(&t), next);
	assert_int_equal(at(next), TIMERS_DO_HANDSHAKE);
	timers_sent_data(&t, now());
	timers_received(&t, now());
	assert_int_equal(timers_next(&t), first + TIMERS_FORGET_S * second);
}

static void
test_forget(void **state)
{
	(void)state;
	timers_derived(&t, &world.world);
	world.world.mono_ns += 100 * second;
	timers_derived(&t, &world.world); /* moves it */
	assert_int_equal(timers_next(&t), now() + TIMERS_FORGET_S * second);
	assert_int_equal(at(timers_next(&t) - 1), 0);
	assert_int_equal(at(timers_next(&t)), TIMERS_DO_FORGET);
}

static void
test_persistent(void **state)
{
	(void)state;
	timers_persist(&t, 25, now());
	assert_int_equal(timers_next(&t), now() + 25 * second);
	world.world.mono_ns += 10 * second;
	timers_sent(&t, now());
	assert_int_equal(timers_next(&t), now() + 25 * second);
	world.world.mono_ns += 10 * second;
	timers_received(&t, now());
	uint64_t next = timers_next(&t);
	assert_int_equal(next, now() + 25 * second);
	/* Also when that one could not be sent. */
	assert_int_equal(at(next), TIMERS_DO_KEEPALIVE);
	assert_int_equal(timers_next(&t), next + 25 * second);
	timers_persist(&t, 0, now());
	timers_sent(&t, now());
	assert_true(timers_next(&t) == TIMERS_NEVER);
}

static void
test_all_at_once(void **state)
{
	(void)state;
	timers_wanted(&t, now());
	timers_persist(&t, 1, now());
	timers_initiated(&t, &world.world);
	timers_sent_data(&t, now());
	timers_derived(&t, &world.world);
	assert_int_equal(at(now() + 600 * second), TIMERS_DO_FORGET | TIMERS_DO_GIVE_UP |
							   TIMERS_DO_HANDSHAKE |
							   TIMERS_DO_KEEPALIVE);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_nothing),      TEST(test_retransmit), TEST(test_giving_up_ends_keepalive),
		TEST(test_wanted_again), TEST(test_completed),  TEST(test_not_too_often),
		TEST(test_postponed),    TEST(test_keepalive),  TEST(test_new_handshake),
		TEST(test_forget),       TEST(test_persistent), TEST(test_all_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
