/* SPDX-License-Identifier: Apache-2.0 */
/* Tables: the same for the same members, shared evenly, and little moves. */
#include "dataplane/maglev.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

enum { SMALL = 4096, BIG = 65536 };

static uint16_t one[BIG], two[BIG];

static void
fill_ids(uint64_t *ids, size_t count)
{
	for (size_t i = 0; i < count; i++)
		ids[i] = 1000 + i * 7;
}

static void
test_order_does_not_matter(void **state)
{
	uint64_t ids[50], reversed[50];

	(void)state;
	fill_ids(ids, 50);
	for (size_t i = 0; i < 50; i++)
		reversed[i] = ids[49 - i];
	maglev_build(ids, 50, one, SMALL);
	maglev_build(reversed, 50, two, SMALL);
	for (size_t i = 0; i < SMALL; i++)
		assert_int_equal(ids[one[i]], reversed[two[i]]);
}

/* The table is part of what nodes agree on: another one is another version of the protocol. */
static void
test_stays_the_same(void **state)
{
	uint64_t ids[3] = {1, 2, 3};
	uint32_t digest = 2166136261;

	(void)state;
	maglev_build(ids, 3, one, SMALL);
	for (size_t i = 0; i < SMALL; i++)
		digest = (digest ^ one[i]) * 16777619;
	assert_int_equal(digest, 0x8204caf2);
}

static void
check_balance(size_t members, size_t slots, unsigned percent)
{
	uint64_t ids[MAGLEV_MEMBERS_MAX];
	size_t shares[MAGLEV_MEMBERS_MAX] = {0};

	fill_ids(ids, members);
	maglev_build(ids, members, one, slots);
	for (size_t i = 0; i < slots; i++)
		shares[one[i]]++;
	for (size_t i = 0; i < members; i++)
		assert_in_range(shares[i] * members * 100, slots * (100 - percent),
				slots * (100 + percent));
}

static void
test_balance(void **state)
{
	(void)state;
	for (size_t members = 1; members <= 40; members++)
		check_balance(members, SMALL, 2);
	check_balance(41, BIG, 1);
	check_balance(500, BIG, 1);
	check_balance(MAGLEV_MEMBERS_MAX, BIG, 2);
}

static void
test_little_moves(void **state)
{
	uint64_t ids[41];

	(void)state;
	fill_ids(ids, 41);
	for (size_t members = 1; members <= 40; members++) {
		size_t moved = 0;

		maglev_build(ids, members, one, SMALL);
		maglev_build(ids, members + 1, two, SMALL);
		for (size_t i = 0; i < SMALL; i++)
			moved += one[i] != two[i];
		/* The newcomer's share, and some per cent that others exchange. */
		assert_in_range(moved, SMALL / (members + 1) - 1,
				SMALL / (members + 1) + SMALL / 12);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_does_not_matter),
		cmocka_unit_test(test_stays_the_same),
		cmocka_unit_test(test_balance),
		cmocka_unit_test(test_little_moves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
