/* SPDX-License-Identifier: Apache-2.0 */
/* Who may send to whom: each rule of docs/decisions/016 by an example, and all switches of both
 * ends against the rules read as a list of ways. */
#include "ring/identity_rule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum {
	DEFAULT = MSG_IDENTITY_SERVICE_ON | MSG_IDENTITY_SERVICE_SEALED |
		  MSG_IDENTITY_SERVICE_ISOLATED | MSG_IDENTITY_GLOBAL_ON |
		  MSG_IDENTITY_GLOBAL_SEALED,
	NO_GLOBAL = MSG_IDENTITY_SERVICE_ON | MSG_IDENTITY_SERVICE_SEALED |
		    MSG_IDENTITY_SERVICE_ISOLATED,
	OPEN = MSG_IDENTITY_SERVICE_ON | MSG_IDENTITY_SERVICE_SEALED,
	ALL = MSG_IDENTITY_OVERLAYS,
};

enum relation { SAME_SERVICE, SAME_DEPLOYMENT, STRANGE };

static enum identity_rule
judge(enum relation r, uint32_t a, uint32_t b)
{
	enum identity_rule there = identity_rule_judge(r != STRANGE, r == SAME_SERVICE, a, b);

	assert_int_equal(identity_rule_judge(r != STRANGE, r == SAME_SERVICE, b, a), there);
	return there;
}

static void
test_examples(void **state)
{
	(void)state;
	for (int r = SAME_SERVICE; r <= STRANGE; r++)
		assert_int_equal(judge((enum relation)r, DEFAULT, DEFAULT), IDENTITY_RULE_SEALED);
	/* Only the own replicas. */
	assert_int_equal(judge(SAME_SERVICE, NO_GLOBAL, NO_GLOBAL), IDENTITY_RULE_SEALED);
	assert_int_equal(judge(SAME_DEPLOYMENT, NO_GLOBAL, DEFAULT), IDENTITY_RULE_ISOLATED);
	assert_int_equal(judge(STRANGE, NO_GLOBAL, DEFAULT), IDENTITY_RULE_ISOLATED);
	/* One that lets in whoever comes from its deployment, and nobody else. */
	assert_int_equal(judge(SAME_DEPLOYMENT, OPEN, NO_GLOBAL), IDENTITY_RULE_SEALED);
	assert_int_equal(judge(STRANGE, OPEN, DEFAULT), IDENTITY_RULE_ISOLATED);
	/* Other deployments are kept out by one of the two. */
	assert_int_equal(judge(STRANGE, DEFAULT | MSG_IDENTITY_GLOBAL_ISOLATED, DEFAULT),
			 IDENTITY_RULE_ISOLATED);
	assert_int_equal(judge(SAME_DEPLOYMENT, DEFAULT | MSG_IDENTITY_GLOBAL_ISOLATED, DEFAULT),
			 IDENTITY_RULE_SEALED);
	/* Plain only when both say so, of the overlay that lets it pass. */
	assert_int_equal(judge(SAME_SERVICE, DEFAULT & ~MSG_IDENTITY_SERVICE_SEALED,
			       DEFAULT & ~MSG_IDENTITY_SERVICE_SEALED),
			 IDENTITY_RULE_PLAIN);
	assert_int_equal(judge(SAME_SERVICE, DEFAULT & ~MSG_IDENTITY_SERVICE_SEALED, DEFAULT),
			 IDENTITY_RULE_SEALED);
	assert_int_equal(judge(SAME_DEPLOYMENT, DEFAULT & ~MSG_IDENTITY_SERVICE_SEALED,
			       DEFAULT & ~MSG_IDENTITY_SERVICE_SEALED),
			 IDENTITY_RULE_SEALED);
	assert_int_equal(judge(SAME_DEPLOYMENT, DEFAULT & ~MSG_IDENTITY_GLOBAL_SEALED,
			       DEFAULT & ~MSG_IDENTITY_GLOBAL_SEALED),
			 IDENTITY_RULE_PLAIN);
	/* Nothing is on. */
	assert_int_equal(judge(SAME_SERVICE, 0, 0), IDENTITY_RULE_ISOLATED);
}

/* ---- all of them ---- */

struct way {
	bool open;
	uint32_t sealed; /* the switch that counts */
};

static bool
both(uint32_t a, uint32_t b, uint32_t flag)
{
	return (a & flag) != 0 && (b & flag) != 0;
}

static bool
lets_in(uint32_t flags)
{
	return (flags & MSG_IDENTITY_SERVICE_ON) != 0 &&
	       (flags & MSG_IDENTITY_SERVICE_ISOLATED) == 0;
}

static bool
keeps_out(uint32_t flags)
{
	return (flags & MSG_IDENTITY_GLOBAL_ON) == 0 || (flags & MSG_IDENTITY_GLOBAL_ISOLATED) != 0;
}

static enum identity_rule
expected(enum relation r, uint32_t a, uint32_t b)
{
	bool here = r != STRANGE;
	const struct way ways[] = {
		{r == SAME_SERVICE && both(a, b, MSG_IDENTITY_SERVICE_ON),
		 MSG_IDENTITY_SERVICE_SEALED},
		{here && both(a, b, MSG_IDENTITY_GLOBAL_ON), MSG_IDENTITY_GLOBAL_SEALED},
		{here && (lets_in(a) || lets_in(b)), MSG_IDENTITY_SERVICE_SEALED},
		{!here && !keeps_out(a) && !keeps_out(b), MSG_IDENTITY_GLOBAL_SEALED},
	};

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (ways[i].open)
			return ((a | b) & ways[i].sealed) != 0 ? IDENTITY_RULE_SEALED
							       : IDENTITY_RULE_PLAIN;
	return IDENTITY_RULE_ISOLATED;
}

static void
test_all(void **state)
{
	(void)state;
	for (int r = SAME_SERVICE; r <= STRANGE; r++)
		for (uint32_t a = 0; a <= ALL; a++)
			for (uint32_t b = 0; b <= ALL; b++)
				assert_int_equal(judge((enum relation)r, a, b),
						 expected((enum relation)r, a, b));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
