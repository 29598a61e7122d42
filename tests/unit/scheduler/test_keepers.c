/* SPDX-License-Identifier: Apache-2.0 */
/* Who is to have the authority's key. */
#include "scheduler/keepers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define S UINT64_C(1000000000)

static const uint64_t now = 10000 * S;

static struct keepers_node
node(uint32_t id, bool keeper, bool live)
{
	return (struct keepers_node){.node = id, .keeper = keeper, .live = live};
}

static void
test_grows_to_three(void **state)
{
	struct keepers_node n[] = {node(1, true, true), node(4, false, true), node(2, false, true),
				   node(3, false, true)};

	(void)state;
	assert_int_equal(keepers_choose(n, 1, now), 0);
	assert_int_equal(keepers_choose(n, 4, now), 2);
	n[2].keeper = true;
	assert_int_equal(keepers_choose(n, 4, now), 3);
	n[3].keeper = true;
	assert_int_equal(keepers_choose(n, 4, now), 0);
}

static void
test_only_who_lives(void **state)
{
	struct keepers_node n[] = {node(1, true, true), node(2, false, false), node(3, false, true),
				   node(4, false, true)};

	(void)state;
	n[2].since_ns = now - S; /* it has just come */
	assert_int_equal(keepers_choose(n, 4, now), 4);
	n[3].draining = true;
	assert_int_equal(keepers_choose(n, 4, now), 0);
	n[2].since_ns = now - 3 * S;
	assert_int_equal(keepers_choose(n, 4, now), 3);
	n[2].removed = true;
	assert_int_equal(keepers_choose(n, 4, now), 0);
}

static void
test_dead_ones_are_made_up_for(void **state)
{
	struct keepers_node n[] = {node(1, true, false), node(2, true, true),
				   node(3, true, true),  node(4, false, true),
				   node(5, false, true), node(6, false, true)};

	(void)state;
	n[0].since_ns = now - 599 * S;
	assert_int_equal(keepers_choose(n, 6, now), 0);
	n[0].since_ns = now - 600 * S;
	assert_int_equal(keepers_choose(n, 6, now), 4);
	n[3].keeper = true;
	assert_int_equal(keepers_choose(n, 6, now), 0);
	/* Never more than five, however many are dead. */
	n[1].live = n[2].live = false;
	assert_int_equal(keepers_choose(n, 6, now), 5);
	n[4].keeper = true;
	assert_int_equal(keepers_choose(n, 6, now), 0);
	/* Who was sent away makes room. */
	n[0].removed = true;
	assert_int_equal(keepers_choose(n, 6, now), 6);
}

/* Nobody can ask a node that only dials out: it has the key when there is no other. */
static void
test_who_is_not_reached(void **state)
{
	struct keepers_node n[] = {node(1, true, true), node(2, false, true), node(3, false, true),
				   node(4, false, true), node(5, false, true)};

	(void)state;
	n[1].hidden = n[2].hidden = n[3].hidden = true;
	assert_int_equal(keepers_choose(n, 5, now), 5);
	/* There are three then, and no more: room is left for those that are reached. */
	assert_int_equal(keepers_choose(n, 4, now), 2);
	n[1].keeper = true;
	assert_int_equal(keepers_choose(n, 4, now), 3);
	n[2].keeper = true;
	assert_int_equal(keepers_choose(n, 4, now), 0);
	assert_int_equal(keepers_choose(n, 5, now), 5);
	n[4].keeper = true;
	n[3].hidden = false;
	assert_int_equal(keepers_choose(n, 5, now), 4);
	n[3].keeper = true;
	assert_int_equal(keepers_choose(n, 5, now), 0);
}

static void
test_first(void **state)
{
	struct keepers_node n[] = {node(3, true, true), node(1, true, false), node(2, true, true),
				   node(4, false, true)};

	(void)state;
	assert_int_equal(keepers_first(n, 4), 2);
	n[2].removed = true;
	assert_int_equal(keepers_first(n, 4), 3);
	n[0].live = false;
	assert_int_equal(keepers_first(n, 4), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grows_to_three),
		cmocka_unit_test(test_only_who_lives),
		cmocka_unit_test(test_dead_ones_are_made_up_for),
		cmocka_unit_test(test_who_is_not_reached),
		cmocka_unit_test(test_first),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
