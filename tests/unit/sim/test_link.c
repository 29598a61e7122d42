/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)

static const struct link_model lan = {.near_ns = MS, .spread_ns = MS, .zones = 1};

static void
test_pairs(void **state)
{
	struct link l;
	uint64_t at[2], there, back;

	(void)state;
	sim_link_init(&l, &lan, 1, 3);
	assert_int_equal(sim_link_send(&l, S, 0, 1, 100, at), 1);
	there = at[0] - S;
	assert_true(there >= MS && there < 2 * MS);
	assert_int_equal(sim_link_send(&l, 2 * S, 1, 0, 100, at), 1);
	back = at[0] - 2 * S;
	assert_true(there == back);
	assert_int_equal(sim_link_send(&l, S, 0, 2, 100, at), 1);
	assert_true(at[0] - S != there);
	sim_link_fini(&l);
}

static void
test_zones_and_humps(void **state)
{
	struct link_model wan = {
		.near_ns = MS, .zone_ns = 50 * MS, .zones = 4, .slow_ppm = 100000, .slow_ns = S};
	struct link l;
	uint64_t at[2];
	unsigned slow = 0;

	(void)state;
	sim_link_init(&l, &wan, 1, 50);
	for (uint32_t n = 1; n < 50; n++) {
		uint32_t far = l.nodes[n].zone > l.nodes[0].zone
				       ? l.nodes[n].zone - l.nodes[0].zone
				       : l.nodes[0].zone - l.nodes[n].zone;

		assert_true(l.nodes[n].zone < 4);
		for (unsigned i = 0; i < 20; i++) {
			assert_int_equal(sim_link_send(&l, 0, 0, n, 10, at), 1);
			assert_true(at[0] >= MS + far * 50 * MS);
			slow += at[0] > MS + far * 50 * MS;
		}
	}
	assert_in_range(slow, 49, 196);
	sim_link_fini(&l);
}

static void
test_loss_and_twins(void **state)
{
	struct link l;
	uint64_t at[2];
	unsigned copies[3] = {0};

	(void)state;
	sim_link_init(&l, &lan, 1, 2);
	l.loss_ppm = 100000;
	l.nodes[1].in_loss_ppm = 100000;
	l.twice_ppm = 500000;
	for (unsigned i = 0; i < 1000; i++)
		copies[sim_link_send(&l, 0, 0, 1, 10, at)]++;
	assert_in_range(copies[0], 150, 250);
	assert_in_range(copies[2], 350, 450);
	sim_link_heal(&l);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(sim_link_send(&l, 0, 0, 1, 10, at), 1);
	sim_link_fini(&l);
}

static void
test_late_ones_are_overtaken(void **state)
{
	struct link l;
	uint64_t at[2], last = 0;
	unsigned overtaken = 0;

	(void)state;
	sim_link_init(&l, &lan, 1, 2);
	l.late_ppm = 200000;
	l.late_ns = S;
	for (uint64_t i = 0; i < 1000; i++) {
		assert_int_equal(sim_link_send(&l, i * MS, 0, 1, 10, at), 1);
		overtaken += at[0] < last;
		last = at[0] > last ? at[0] : last;
	}
	assert_true(overtaken > 100);
	sim_link_fini(&l);
}

static void
test_cuts(void **state)
{
	static const uint8_t side[1] = {0x03}; /* nodes 0 and 1 */
	struct link l;
	uint64_t at[2];

	(void)state;
	sim_link_init(&l, &lan, 1, 4);
	l.cuts[l.cut_count++] = (struct link_cut){.side = side};
	assert_true(sim_link_is_cut(&l, 0, 0, 2));
	assert_true(sim_link_is_cut(&l, 0, 3, 1));
	assert_false(sim_link_is_cut(&l, 0, 0, 1));
	assert_false(sim_link_is_cut(&l, 0, 2, 3));
	assert_int_equal(sim_link_send(&l, 0, 0, 2, 10, at), 0);
	l.cuts[0].one_way = true;
	assert_true(sim_link_is_cut(&l, 0, 0, 2));
	assert_false(sim_link_is_cut(&l, 0, 2, 0));
	l.cuts[0].half_ns = S;
	l.cuts[0].from_ns = 10 * S;
	assert_true(sim_link_is_cut(&l, 10 * S, 0, 2));
	assert_false(sim_link_is_cut(&l, 11 * S, 0, 2));
	assert_true(sim_link_is_cut(&l, 12 * S, 0, 2));
	sim_link_fini(&l);
}

/* 1 MB/s: packets of 1,000 bytes leave about a millisecond apart, until the queue is too long. */
static void
test_bandwidth(void **state)
{
	struct link l;
	uint64_t at[2], last = 0;
	unsigned passed = 0;

	(void)state;
	sim_link_init(&l, &lan, 1, 2);
	l.nodes[0].bytes_per_s = 1000000;
	for (unsigned i = 0; i < 1000; i++)
		if (sim_link_send(&l, 0, 0, 1, 1000, at) == 1) {
			assert_true(at[0] >= last + MS);
			last = at[0];
			passed++;
		}
	assert_in_range(passed, 150, 200);
	sim_link_fini(&l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_zones_and_humps),
		cmocka_unit_test(test_loss_and_twins),
		cmocka_unit_test(test_late_ones_are_overtaken),
		cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_bandwidth),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
