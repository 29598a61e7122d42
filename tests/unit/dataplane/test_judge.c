/* SPDX-License-Identifier: Apache-2.0 */
/* Who may send to whom: each rule of docs/decisions/016 by an example, and all switches of both
 * ends against the rules read as a list of ways. */
#include "dataplane/bpf/tc_judge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "ring/identity.h"

enum {
	DEFAULT = TC_SERVICE_ON | TC_SERVICE_SEALED | TC_SERVICE_ISOLATED | TC_GLOBAL_ON |
		  TC_GLOBAL_SEALED,
	NO_GLOBAL = TC_SERVICE_ON | TC_SERVICE_SEALED | TC_SERVICE_ISOLATED,
	OPEN = TC_SERVICE_ON | TC_SERVICE_SEALED,
	ALL = (TC_GLOBAL_ISOLATED << 1) - 1,
};

enum relation { SAME_SERVICE, SAME_DEPLOYMENT, STRANGE };

static enum tc_judgement
judge(enum relation r, uint32_t a_flags, uint32_t b_flags)
{
	struct tc_identity a = {.deployment = 1, .service = 10, .flags = a_flags};
	struct tc_identity b = {.deployment = r == STRANGE ? 2 : 1,
				.service = r == SAME_SERVICE ? 10 : 11,
				.flags = b_flags};
	const struct identity a_named = {a.deployment, a.service, a_flags};
	const struct identity b_named = {b.deployment, b.service, b_flags};
	enum tc_judgement there = tc_judge(&a, &b);

	/* Names are for who may send: the same rule stands in ring/identity.c. */
	assert_int_equal(identity_reaches(&a_named, &b_named), there != TC_ISOLATED);
	assert_int_equal(tc_judge(&b, &a), there);
	return there;
}

static void
test_examples(void **state)
{
	(void)state;
	for (int r = SAME_SERVICE; r <= STRANGE; r++)
		assert_int_equal(judge((enum relation)r, DEFAULT, DEFAULT), TC_SEALED);
	/* Only the own replicas. */
	assert_int_equal(judge(SAME_SERVICE, NO_GLOBAL, NO_GLOBAL), TC_SEALED);
	assert_int_equal(judge(SAME_DEPLOYMENT, NO_GLOBAL, DEFAULT), TC_ISOLATED);
	assert_int_equal(judge(STRANGE, NO_GLOBAL, DEFAULT), TC_ISOLATED);
	/* One that lets in whoever comes from its deployment, and nobody else. */
	assert_int_equal(judge(SAME_DEPLOYMENT, OPEN, NO_GLOBAL), TC_SEALED);
	assert_int_equal(judge(STRANGE, OPEN, DEFAULT), TC_ISOLATED);
	/* Other deployments are kept out by one of the two. */
	assert_int_equal(judge(STRANGE, DEFAULT | TC_GLOBAL_ISOLATED, DEFAULT), TC_ISOLATED);
	assert_int_equal(judge(SAME_DEPLOYMENT, DEFAULT | TC_GLOBAL_ISOLATED, DEFAULT), TC_SEALED);
	/* Plain only when both say so, of the overlay that lets it pass. */
	assert_int_equal(
		judge(SAME_SERVICE, DEFAULT & ~TC_SERVICE_SEALED, DEFAULT & ~TC_SERVICE_SEALED),
		TC_PLAIN);
	assert_int_equal(judge(SAME_SERVICE, DEFAULT & ~TC_SERVICE_SEALED, DEFAULT), TC_SEALED);
	assert_int_equal(
		judge(SAME_DEPLOYMENT, DEFAULT & ~TC_SERVICE_SEALED, DEFAULT & ~TC_SERVICE_SEALED),
		TC_SEALED);
	assert_int_equal(
		judge(SAME_DEPLOYMENT, DEFAULT & ~TC_GLOBAL_SEALED, DEFAULT & ~TC_GLOBAL_SEALED),
		TC_PLAIN);
	/* Nothing is on. */
	assert_int_equal(judge(SAME_SERVICE, 0, 0), TC_ISOLATED);
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
	return (flags & TC_SERVICE_ON) != 0 && (flags & TC_SERVICE_ISOLATED) == 0;
}

static bool
keeps_out(uint32_t flags)
{
	return (flags & TC_GLOBAL_ON) == 0 || (flags & TC_GLOBAL_ISOLATED) != 0;
}

static enum tc_judgement
expected(enum relation r, uint32_t a, uint32_t b)
{
	bool here = r != STRANGE;
	const struct way ways[] = {
		{r == SAME_SERVICE && both(a, b, TC_SERVICE_ON), TC_SERVICE_SEALED},
		{here && both(a, b, TC_GLOBAL_ON), TC_GLOBAL_SEALED},
		{here && (lets_in(a) || lets_in(b)), TC_SERVICE_SEALED},
		{!here && !keeps_out(a) && !keeps_out(b), TC_GLOBAL_SEALED},
	};

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (ways[i].open)
			return ((a | b) & ways[i].sealed) != 0 ? TC_SEALED : TC_PLAIN;
	return TC_ISOLATED;
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

/* A receiver that does not know the sender yet refuses plain packets unless some pair may have
 * them.
 */
static void
test_takes_plain(void **state)
{
	(void)state;
	for (uint32_t to = 0; to <= ALL; to++) {
		struct tc_identity i = {.flags = to};
		bool any = false;

		for (int r = SAME_SERVICE; r <= STRANGE; r++)
			for (uint32_t from = 0; from <= ALL; from++)
				any |= judge((enum relation)r, from, to) == TC_PLAIN;
		assert_int_equal(tc_takes_plain(&i) != 0, any);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_all),
		cmocka_unit_test(test_takes_plain),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
