/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "tests/support/sweep.h"

static int values[16];

static void
test_strings(void **state)
{
	struct map m;

	(void)state;
	map_init(&m, MEM_PROXY);
	assert_int_equal(mem_used(MEM_PROXY), 0);
	assert_null(map_get_str(&m, "web"));
	assert_null(map_remove_str(&m, "web"));
	assert_int_equal(map_put_str(&m, "web", &values[0]), 0);
	assert_int_equal(map_put_str(&m, "web-with-a-name-that-is-long", &values[1]), 0);
	assert_int_equal(map_put_str(&m, "", &values[2]), 0);
	assert_int_equal(map_count(&m), 3);
	assert_ptr_equal(map_get_str(&m, "web"), &values[0]);
	assert_ptr_equal(map_get_str(&m, "web-with-a-name-that-is-long"), &values[1]);
	assert_ptr_equal(map_get(&m, NULL, 0), &values[2]);
	assert_null(map_get_str(&m, "we"));
	assert_null(map_get(&m, "web", 4));
	assert_ptr_equal(map_remove_str(&m, "web"), &values[0]);
	assert_null(map_get_str(&m, "web"));
	assert_int_equal(map_count(&m), 2);
	map_fini(&m);
	assert_int_equal(mem_used_all(), 0);
}

static void
test_replace_gives_the_old_one(void **state)
{
	struct map m;
	void *old = &m;

	(void)state;
	map_init(&m, MEM_BASE);
	assert_int_equal(map_put(&m, "k", 1, &values[0], &old), 0);
	assert_null(old);
	assert_int_equal(map_put(&m, "k", 1, &values[1], &old), 0);
	assert_ptr_equal(old, &values[0]);
	assert_int_equal(map_count(&m), 1);
	assert_ptr_equal(map_get(&m, "k", 1), &values[1]);
	map_fini(&m);
}

static void
test_many_numbers(void **state)
{
	enum { COUNT = 20000 };
	struct map m;
	struct map_iter it = {0};
	size_t visited = 0;

	(void)state;
	map_init_seeded(&m, MEM_BASE, 1);
	for (uint64_t i = 0; i < COUNT; i++)
		assert_int_equal(map_put_u64(&m, i << 32, &values[i % 16]), 0);
	assert_int_equal(map_count(&m), COUNT);
	for (uint64_t i = 0; i < COUNT; i++)
		assert_ptr_equal(map_get_u64(&m, i << 32), &values[i % 16]);
	assert_null(map_get_u64(&m, 1));
	while (map_next(&m, &it)) {
		uint64_t key;

		assert_int_equal(it.key_bytes, sizeof(key));
		memcpy(&key, it.key, sizeof(key));
		assert_ptr_equal(it.value, &values[(key >> 32) % 16]);
		assert_ptr_equal(map_remove_u64(&m, key), it.value);
		visited++;
	}
	assert_int_equal(visited, COUNT);
	assert_int_equal(map_count(&m), 0);
	map_fini(&m);
}

/* Keys that come and go do not make the table grow. */
static unsigned released;

static void
release(void *value)
{
	released++;
	mem_free(value);
}

static bool
is_even(void *value)
{
	return *(const uint64_t *)value % 2 == 0;
}

/* Each is made once; those that do not stay go, and then all. */
static void
test_made_and_swept(void **state)
{
	enum { COUNT = 1000 };
	struct map m;

	(void)state;
	released = 0;
	map_init(&m, MEM_BASE);
	for (uint64_t i = 0; i < COUNT; i++) {
		uint64_t *value = map_make_u64(&m, i, sizeof(*value));

		assert_non_null(value);
		assert_int_equal(*value, 0);
		*value = i;
		assert_ptr_equal(map_make_u64(&m, i, sizeof(*value)), value);
	}
	map_sweep(&m, is_even, release);
	assert_int_equal(released, COUNT / 2);
	assert_int_equal(map_count(&m), COUNT / 2);
	for (uint64_t i = 0; i < COUNT; i++)
		assert_int_equal(map_get_u64(&m, i) != NULL, i % 2 == 0);
	map_sweep(&m, NULL, release);
	assert_int_equal(released, COUNT);
	assert_int_equal(map_count(&m), 0);
	map_sweep(&m, NULL, release);
	assert_int_equal(released, COUNT);
	map_fini(&m);
}

/* Without memory for either the value or its place nothing is left of it. */
static void
test_made_without_memory(void **state)
{
	void *value = NULL;
	struct map m;

	(void)state;
	for (int64_t n = 0; !value; n++) {
		assert_true(n < 8);
		map_init(&m, MEM_BASE);
		mem_fail_after(n);
		value = map_make(&m, "a key that is no number", 23, 100);
		mem_fail_after(-1);
		assert_int_equal(map_count(&m), value != NULL);
		map_sweep(&m, NULL, mem_free);
		map_fini(&m);
	}
	assert_int_equal(mem_used_all(), 0);
}

static void
test_churn_stays_small(void **state)
{
	struct map m;
	size_t used;

	(void)state;
	map_init(&m, MEM_BASE);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(map_put_u64(&m, i, &values[0]), 0);
	used = mem_used_all();
	for (uint64_t i = 8; i < 10000; i++) {
		assert_ptr_equal(map_remove_u64(&m, i - 8), &values[0]);
		assert_int_equal(map_put_u64(&m, i, &values[0]), 0);
	}
	assert_true(mem_used_all() <= 2 * used);
	map_fini(&m);
}

static void
test_seed_decides_order(void **state)
{
	struct map a;
	struct map b;
	struct map_iter i = {0};
	struct map_iter j = {0};

	(void)state;
	map_init_seeded(&a, MEM_BASE, 7);
	map_init_seeded(&b, MEM_BASE, 7);
	for (uint64_t k = 0; k < 100; k++) {
		assert_int_equal(map_put_u64(&a, k, &values[0]), 0);
		assert_int_equal(map_put_u64(&b, k, &values[0]), 0);
	}
	while (map_next(&a, &i)) {
		assert_true(map_next(&b, &j));
		assert_memory_equal(i.key, j.key, 8);
	}
	assert_false(map_next(&b, &j));
	map_fini(&a);
	map_fini(&b);
}

/* Reference key 00..0f and messages 00, 00 01, ... of the SipHash paper's test program. */
static void
test_siphash_vectors(void **state)
{
	static const uint64_t expected[] = {
		0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d,
		0xcf2794e0277187b7, 0x18765564cd99a68d, 0xcbc9466e58fee3ce, 0xab0200f58b01d137,
		0x93f5f5799a932462, 0x9e0082df0ba9e4b0, 0x7a5dbbc594ddb9f3, 0xf4b32f46226bada7,
		0x751e8fbc860ee5fb, 0x14ea5627c0843d90, 0xf723ca908e7af2ee, 0xa129ca6149be45e5,
	};
	static const uint64_t key[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
	uint8_t message[16];

	(void)state;
	for (size_t n = 0; n < 16; n++) {
		message[n] = (uint8_t)n;
		assert_true(map_siphash_rounds(2, 4, key, message, n) == expected[n]);
		assert_true(map_siphash(key, message, n) ==
			    map_siphash_rounds(1, 3, key, message, n));
	}
	/* SipHash-1-3 of the same key. */
	assert_true(map_siphash(key, message, 0) == 0xabac0158050fc4dc);
	assert_true(map_siphash(key, message, 8) == 0x369095118d299a8e);
}

static void
test_out_of_memory(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct map m;
		char key[40];

		map_init(&m, MEM_BASE);
		for (int i = 0; i < 20; i++) {
			size_t count = map_count(&m);

			memset(key, 'a' + i, sizeof(key));
			if (map_put(&m, key, i % 2 ? 40 : 4, &values[0], NULL) == 0)
				continue;
			assert_true(sweep_failed());
			assert_int_equal(map_count(&m), count);
			assert_null(map_get(&m, key, i % 2 ? 40 : 4));
		}
		map_fini(&m);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_replace_gives_the_old_one),
		cmocka_unit_test(test_many_numbers),
		cmocka_unit_test(test_made_and_swept),
		cmocka_unit_test(test_made_without_memory),
		cmocka_unit_test(test_churn_stays_small),
		cmocka_unit_test(test_seed_decides_order),
		cmocka_unit_test(test_siphash_vectors),
		cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
