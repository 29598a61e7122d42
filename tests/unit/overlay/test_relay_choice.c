/* SPDX-License-Identifier: Apache-2.0 */
/* Which relay is taken, and when another one. */
#include "overlay/relay_choice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { RELAYS = 5, PAIRS = 200 };

static const uint64_t ms = 1000000, silent = RELAY_CHOICE_SILENT_MS * UINT64_C(1000000);

static struct relay_candidate list[RELAYS];

static int
setup(void **state)
{
	(void)state;
	for (unsigned i = 0; i < RELAYS; i++)
		list[i] = (struct relay_candidate){.id = 100 + i, .present = true};
	return 0;
}

static uint64_t
fresh(uint64_t self, uint64_t peer)
{
	struct relay_choice c = {0};

	return relay_choice_take(&c, self, peer, list, RELAYS, 0, 1000 * ms);
}

static struct relay_candidate *
find(uint64_t id)
{
	for (unsigned i = 0; i < RELAYS; i++)
		if (list[i].id == id)
			return &list[i];
	return NULL;
}

static void
test_both_ends_alike(void **state)
{
	unsigned taken[RELAYS] = {0};

	(void)state;
	for (uint64_t i = 1; i <= PAIRS; i++) {
		uint64_t relay = fresh(i, i + 1000);
		struct relay_candidate first = list[0];

		assert_true(relay == fresh(i + 1000, i));
		list[0] = list[RELAYS - 1]; /* in whatever order they stand there */
		list[RELAYS - 1] = first;
		assert_true(relay == fresh(i, i + 1000));
		taken[relay - 100]++;
	}
	for (unsigned i = 0; i < RELAYS; i++) /* each has its share */
		assert_true(taken[i] > PAIRS / RELAYS / 2);
}

static void
test_only_its_own_pairs_move(void **state)
{
	unsigned moved = 0;

	(void)state;
	for (uint64_t i = 1; i <= PAIRS; i++) {
		uint64_t before = fresh(i, i + 1000);

		list[2].present = false;
		uint64_t after = fresh(i, i + 1000);
		list[2].present = true;
		assert_true(after != list[2].id);
		if (before != after) {
			assert_true(before == list[2].id);
			moved++;
		}
	}
	assert_true(moved > 0);
}

static void
test_none(void **state)
{
	struct relay_choice c = {0};

	(void)state;
	assert_true(relay_choice_take(&c, 1, 2, list, 0, 0, ms) == 0);
	for (unsigned i = 0; i < RELAYS; i++)
		list[i].present = false;
	assert_true(relay_choice_take(&c, 1, 2, list, RELAYS, 0, 2 * ms) == 0);
	list[3].present = true;
	assert_true(relay_choice_take(&c, 1, 2, list, RELAYS, 0, 3 * ms) == list[3].id);
	list[3].present = false;
	assert_true(relay_choice_take(&c, 1, 2, list, RELAYS, 3 * ms, 4 * ms) == 0);
}

static void
test_stays(void **state)
{
	struct relay_choice c = {0};
	uint64_t first = relay_choice_take(&c, 1, 2, list, RELAYS, 0, silent);

	(void)state;
	/* While it is not known yet, and while something comes. */
	assert_true(relay_choice_take(&c, 1, 2, list, RELAYS, 0, 2 * silent - 1) == first);
	assert_true(relay_choice_take(&c, 1, 2, list, RELAYS, 2 * silent, 3 * silent - 1) == first);
	/* A better one that comes is none for those who are served. */
	find(first)->present = false;
	uint64_t second = relay_choice_take(&c, 1, 2, list, RELAYS, 3 * silent, 3 * silent);
	assert_true(second != first && second != 0);
	find(first)->present = true;
	assert_true(relay_choice_take(&c, 1, 2, list, RELAYS, 3 * silent, 4 * silent - 1) ==
		    second);
}

/* One after the other, all of them, and again. */
static void
test_silence(void **state)
{
	struct relay_choice c = {0};
	uint64_t now = silent, seen[2 * RELAYS];

	(void)state;
	for (unsigned i = 0; i < 2 * RELAYS; i++, now += silent) {
		seen[i] = relay_choice_take(&c, 1, 2, list, RELAYS, 0, now);
		for (unsigned k = 0; k < i && i < RELAYS; k++)
			assert_true(seen[k] != seen[i]);
		assert_true(relay_choice_take(&c, 1, 2, list, RELAYS, 0, now + silent - 1) ==
			    seen[i]);
	}
	for (unsigned i = 0; i < RELAYS; i++)
		assert_true(seen[i] == seen[i + RELAYS]);
}

#define CHOICE_TEST(name) cmocka_unit_test_setup(name, setup)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CHOICE_TEST(test_both_ends_alike),
		CHOICE_TEST(test_only_its_own_pairs_move),
		CHOICE_TEST(test_none),
		CHOICE_TEST(test_stays),
		CHOICE_TEST(test_silence),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
