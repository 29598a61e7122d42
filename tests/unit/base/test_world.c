/* SPDX-License-Identifier: Apache-2.0 */
/* The clocks, and the seeded generator against its published algorithm. */
#include "base/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <cmocka.h>

static void
clocks_move_forward(void **state)
{
	(void)state;
	struct world a, b;

	world_real(&a);
	world_real(&b);
	assert_true(b.mono_ns >= a.mono_ns);
	assert_true(a.wall_ns > 1600000000LL * 1000000000);
	assert_true(world_mono_ns() >= b.mono_ns);
}

static void
real_randomness_differs(void **state)
{
	(void)state;
	struct world w;
	unsigned char a[700], b[700];

	world_real(&w);
	world_random(&w, a, sizeof(a));
	world_random(&w, b, sizeof(b));
	assert_memory_not_equal(a, b, sizeof(a));
	world_random(&w, a, 0);
}

/* Reference values of splitmix64(42) -> xoshiro256**, computed from the authors' description. */
static void
seeded_is_xoshiro256starstar(void **state)
{
	(void)state;
	static const uint64_t expected[] = {
		0x15780b2e0c2ec716u,
		0x6104d9866d113a7eu,
		0xae17533239e499a1u,
		0xecb8ad4703b360a1u,
	};
	struct world_seeded w;

	world_seeded_init(&w, 42, 7, -9);
	assert_int_equal(w.world.mono_ns, 7);
	assert_int_equal(w.world.wall_ns, -9);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(world_random_u64(&w.world), expected[i]);
}

static void
same_seed_same_bytes(void **state)
{
	(void)state;
	struct world_seeded a, b, c;
	unsigned char x[33], y[33], z[33];

	world_seeded_init(&a, 1, 0, 0);
	world_seeded_init(&b, 1, 0, 0);
	world_seeded_init(&c, 2, 0, 0);
	world_random(&a.world, x, sizeof(x));
	world_random(&b.world, y, sizeof(y));
	world_random(&c.world, z, sizeof(z));
	assert_memory_equal(x, y, sizeof(x));
	assert_memory_not_equal(x, z, sizeof(x));
}

static void
below_is_bounded_and_even(void **state)
{
	(void)state;
	struct world_seeded w;
	unsigned seen[6] = {0};

	world_seeded_init(&w, 3, 0, 0);
	for (int i = 0; i < 6000; i++)
		seen[world_random_below(&w.world, 6)]++;
	for (int i = 0; i < 6; i++)
		assert_in_range(seen[i], 850, 1150);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(world_random_below(&w.world, 1), 0);
		assert_true(world_random_below(&w.world, (1ull << 63) + 1) <= 1ull << 63);
	}
}

/* A source whose first answers fall into the incomplete stretch: they must be refused. */
static void
give_numbers(void *arg, void *out, size_t bytes)
{
	uint64_t **at = arg;

	assert_int_equal(bytes, 8);
	memcpy(out, (*at)++, 8);
}

static void
below_refuses_the_biased_values(void **state)
{
	(void)state;
	uint64_t numbers[] = {0, 1, 2, 4}; /* 2^64 mod (2^63 + 2) is 2^63 - 2; mod 3 is 1 */
	uint64_t *at = numbers;
	struct world w = {.random = give_numbers, .random_arg = &at};

	assert_int_equal(world_random_below(&w, 3), 1); /* 0 is refused, 1 taken */
	assert_ptr_equal(at, numbers + 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clocks_move_forward),
		cmocka_unit_test(real_randomness_differs),
		cmocka_unit_test(seeded_is_xoshiro256starstar),
		cmocka_unit_test(same_seed_same_bytes),
		cmocka_unit_test(below_is_bounded_and_even),
		cmocka_unit_test(below_refuses_the_biased_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
