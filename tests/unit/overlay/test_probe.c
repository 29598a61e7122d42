/* SPDX-License-Identifier: Apache-2.0 */
/* Each state with each thing that can happen in it, and the datagrams. */
#include "overlay/probe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static const uint64_t ms = 1000000;

static struct world_seeded world;
static struct probe p;
static struct probe_send sent[PROBE_SENDS];
static bool begun; /* sent: nobody has looked at it yet */

static uint64_t
now(void)
{
	return world.world.mono_ns;
}

static void
begin(uint32_t max)
{
	world_seeded_init(&world, 7, 1000 * ms, 1);
	probe_init(&p, max, now());
	begun = false;
}

/* The next attempt, of a small one and one of `size`. */
static void
expect(uint32_t size)
{
	if (!begun && probe_deadline(&p) > now())
		world.world.mono_ns = probe_deadline(&p);
	assert_true(begun || probe_tick(&p, &world.world, sent) == PROBE_SENDS);
	begun = false;
	assert_int_equal(sent[0].size, PROBE_SMALL);
	assert_int_equal(sent[1].size, size);
	assert_true(sent[0].token == sent[1].token);
}

static void
answer(unsigned which)
{
	world.world.mono_ns += 10 * ms;
	assert_true(probe_answered(&p, now(), sent[which].token, sent[which].size));
}

static void
passes(uint32_t size)
{
	expect(size);
	answer(0);
	answer(1);
}

static void
fails(uint32_t size)
{
	for (unsigned i = 0; i < PROBE_TRIES; i++) {
		expect(size);
		answer(0);
	}
	/* The last one is known to be lost when its time is over. */
	world.world.mono_ns = probe_deadline(&p);
	begun = probe_tick(&p, &world.world, sent) > 0;
}

static void
check(enum probe_state state, uint32_t mtu)
{
	assert_int_equal(p.state, state);
	assert_int_equal(probe_mtu(&p), mtu);
}

static void
test_ordinary(void **state)
{
	(void)state;
	begin(8920);
	check(PROBE_BASE, PROBE_DEFAULT);
	passes(PROBE_DEFAULT);
	check(PROBE_SEARCH, PROBE_DEFAULT);
	fails(1440);
	check(PROBE_COMPLETE, PROBE_DEFAULT);
	assert_true(probe_deadline(&p) <= now() + PROBE_CONFIRM_MS * ms);
	assert_true(probe_deadline(&p) > now());
	/* Confirmed, again and again, at its size. */
	for (unsigned i = 0; i < 3; i++) {
		passes(PROBE_DEFAULT);
		check(PROBE_COMPLETE, PROBE_DEFAULT);
		assert_true(probe_deadline(&p) == now() + PROBE_CONFIRM_MS * ms);
	}
}

static void
test_jumbo(void **state)
{
	(void)state;
	begin(8920);
	passes(PROBE_DEFAULT);
	passes(1440);
	check(PROBE_SEARCH, 1440);
	passes(8920);
	check(PROBE_COMPLETE, 8920);
}

static void
test_between(void **state)
{
	uint32_t path = 4321, tried = 0;

	(void)state;
	begin(8920);
	passes(PROBE_DEFAULT);
	passes(1440);
	fails(8920);
	while (p.state == PROBE_SEARCH) {
		uint32_t size = p.size;

		assert_true(++tried < 12);
		assert_int_equal(size % PROBE_STEP, 0);
		if (size <= path)
			passes(size);
		else
			fails(size);
		assert_true(probe_mtu(&p) <= path);
	}
	check(PROBE_COMPLETE, 4320);
}

/* A tunnel with a device that takes no more than what is there by default. */
static void
test_max(void **state)
{
	(void)state;
	begin(PROBE_DEFAULT);
	passes(PROBE_DEFAULT);
	check(PROBE_COMPLETE, PROBE_DEFAULT);
	begin(1300);
	check(PROBE_BASE, 1300);
	passes(1300);
	check(PROBE_COMPLETE, 1300);
	begin(PROBE_MIN);
	passes(PROBE_MIN);
	check(PROBE_COMPLETE, PROBE_MIN);
	begin(1430); /* between two steps */
	passes(PROBE_DEFAULT);
	passes(1430);
	check(PROBE_COMPLETE, 1430);
}

static void
test_narrow(void **state)
{
	(void)state;
	begin(1420);
	fails(1420);
	check(PROBE_ERROR, PROBE_MIN);
	while (p.state == PROBE_ERROR) {
		uint32_t size = p.size;

		assert_true(size > PROBE_MIN && size < PROBE_DEFAULT);
		if (size <= 1380)
			passes(size);
		else
			fails(size);
		assert_true(probe_mtu(&p) <= 1380);
	}
	check(PROBE_COMPLETE, 1376);
}

/* Not even what must pass does: that is used, and more is tried later. */
static void
test_too_narrow(void **state)
{
	(void)state;
	begin(1420);
	fails(1420);
	while (p.state == PROBE_ERROR)
		fails(p.size);
	check(PROBE_COMPLETE, PROBE_MIN);
	fails(PROBE_MIN);
	check(PROBE_COMPLETE, PROBE_MIN);
	assert_true(probe_deadline(&p) > now());
}

static void
test_black_hole(void **state)
{
	(void)state;
	begin(8920);
	passes(PROBE_DEFAULT);
	passes(1440);
	passes(8920);
	fails(8920);
	check(PROBE_BASE, PROBE_MIN);
	assert_true(begun); /* at once */
	passes(PROBE_DEFAULT);
	check(PROBE_SEARCH, PROBE_DEFAULT);
	fails(1440);
	check(PROBE_COMPLETE, PROBE_DEFAULT);
}

/* Two lost ones are not three, and an answer is a new beginning. */
static void
test_loss(void **state)
{
	(void)state;
	begin(1420);
	passes(1420);
	for (unsigned i = 0; i < 5; i++) {
		expect(1420);
		answer(0);
		expect(1420);
		answer(0);
		passes(1420);
		check(PROBE_COMPLETE, 1420);
	}
}

static void
test_silence(void **state)
{
	uint64_t before = 0, last = 0;

	(void)state;
	begin(1420);
	passes(1420);
	for (unsigned i = 0; i < 20; i++) {
		expect(1420);
		before = last;
		last = now();
		if (i > 0 && i < 5)
			assert_true(last - before == (PROBE_WAIT_MS * ms) << (i - 1));
	}
	assert_true(last - before == PROBE_SILENT_MS * ms);
	check(PROBE_COMPLETE, 1420);
	answer(0); /* there again, but what is large does not pass */
	expect(1420);
	answer(0);
	expect(1420);
	answer(0);
	world.world.mono_ns = probe_deadline(&p);
	(void)probe_tick(&p, &world.world, sent);
	check(PROBE_BASE, PROBE_MIN);
}

static void
test_raise(void **state)
{
	uint64_t found;

	(void)state;
	begin(8920);
	passes(PROBE_DEFAULT);
	fails(1440);
	found = now();
	while (p.state == PROBE_COMPLETE)
		passes(PROBE_DEFAULT);
	assert_true(now() - found >= PROBE_RAISE_MS * ms);
	assert_true(now() - found < (PROBE_RAISE_MS + 2 * PROBE_CONFIRM_MS) * ms);
	passes(1440);
	passes(8920);
	check(PROBE_COMPLETE, 8920);
}

static void
test_moved(void **state)
{
	(void)state;
	begin(8920);
	passes(PROBE_DEFAULT);
	passes(1440);
	passes(8920);
	probe_moved(&p, now());
	assert_true(probe_deadline(&p) <= now());
	assert_true(p.rtt_ns == 0);
	fails(8920);
	passes(PROBE_DEFAULT);
	fails(1440);
	check(PROBE_COMPLETE, PROBE_DEFAULT);
	probe_moved(&p, now()); /* to a way that takes more */
	passes(PROBE_DEFAULT);
	passes(1440);
	passes(8920);
	check(PROBE_COMPLETE, 8920);
	begin(8920);
	passes(PROBE_DEFAULT);
	expect(1440);
	probe_moved(&p, now());
	check(PROBE_BASE, PROBE_DEFAULT);
	passes(PROBE_DEFAULT);
}

static void
test_another_max(void **state)
{
	(void)state;
	begin(8920);
	passes(PROBE_DEFAULT);
	passes(1440);
	passes(8920);
	uint64_t rtt = p.rtt_ns;
	probe_set_max(&p, 8920, now());
	check(PROBE_COMPLETE, 8920);
	probe_set_max(&p, 1300, now());
	check(PROBE_BASE, 1300);
	assert_true(p.rtt_ns == rtt);
}

static void
test_strangers(void **state)
{
	(void)state;
	begin(1420);
	assert_false(probe_answered(&p, now(), 0, 1420)); /* to nothing */
	expect(1420);
	assert_false(probe_answered(&p, now(), sent[0].token + 1, 1420));
	assert_false(probe_answered(&p, now(), sent[0].token, 1421));
	answer(0);
	assert_false(probe_answered(&p, now(), sent[0].token, PROBE_SMALL)); /* twice */
	answer(1);
	assert_false(probe_answered(&p, now(), sent[1].token, 1420));
	check(PROBE_COMPLETE, 1420);
	assert_int_equal(probe_tick(&p, &world.world, sent), 0); /* nothing is due */
}

static void
test_round_trip(void **state)
{
	(void)state;
	begin(1420);
	assert_true(p.rtt_ns == 0);
	expect(1420);
	assert_true(probe_deadline(&p) == now() + PROBE_FIRST_MS * ms);
	answer(0);
	assert_true(p.rtt_ns == 10 * ms);
	answer(1);
	for (unsigned i = 0; i < 60; i++) { /* the road becomes longer */
		expect(1420);
		world.world.mono_ns += 590 * ms;
		answer(0);
		answer(1);
	}
	assert_true(p.rtt_ns > 590 * ms && p.rtt_ns <= 600 * ms);
	expect(1420);
	assert_true(probe_deadline(&p) == now() + 4 * p.rtt_ns);
}

static void
test_datagrams(void **state)
{
	static uint8_t data[1420];
	struct probe_message m = {PROBE_ASKS, 1420, UINT64_C(0x0123456789abcdef)}, out = {0};
	static const uint8_t bytes[PROBE_BYTES] = {'z',  'L',  'p',  'r',  1,    1,    0x05, 0x8c,
						   0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};

	(void)state;
	probe_put(&m, data);
	assert_memory_equal(data, bytes, sizeof(bytes));
	assert_true(probe_take(data, 1420 - 28, 28, &out));
	assert_int_equal(out.kind, PROBE_ASKS);
	assert_int_equal(out.size, 1420);
	assert_true(out.token == m.token);
	assert_false(probe_take(data, 1420 - 29, 28, &out)); /* it lies about its size */
	assert_false(probe_take(data, 1420 - 28, 48, &out));
	m.kind = PROBE_ANSWERS;
	probe_put(&m, data);
	assert_true(probe_take(data, PROBE_BYTES, 28, &out));
	assert_int_equal(out.kind, PROBE_ANSWERS);
	assert_false(probe_take(data, PROBE_BYTES + 1, 28, &out));
	for (size_t i = 0; i < PROBE_BYTES; i++)
		assert_false(probe_take(data, i, 28, &out));
	for (m.kind = PROBE_KEY; m.kind <= PROBE_KEY_KNOWN + 1; m.kind++) {
		m.size = 0;
		probe_put(&m, data);
		assert_int_equal(probe_take(data, PROBE_BYTES, 28, &out),
				 m.kind <= PROBE_KEY_KNOWN);
		assert_false(probe_take(data, PROBE_BYTES + 1, 28, &out));
		m.size = 1;
		probe_put(&m, data);
		assert_false(probe_take(data, PROBE_BYTES, 28, &out));
	}
	m = (struct probe_message){PROBE_ANSWERS, 1420, 1};
	probe_put(&m, data);
	for (size_t i = 0; i < 6; i++) {
		data[i] ^= 0x40;
		assert_false(probe_take(data, PROBE_BYTES, 28, &out));
		data[i] ^= 0x40;
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ordinary),   cmocka_unit_test(test_jumbo),
		cmocka_unit_test(test_between),    cmocka_unit_test(test_max),
		cmocka_unit_test(test_narrow),     cmocka_unit_test(test_too_narrow),
		cmocka_unit_test(test_black_hole), cmocka_unit_test(test_loss),
		cmocka_unit_test(test_silence),    cmocka_unit_test(test_raise),
		cmocka_unit_test(test_moved),      cmocka_unit_test(test_another_max),
		cmocka_unit_test(test_strangers),  cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_datagrams),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
