/* SPDX-License-Identifier: Apache-2.0 */
/* Who reaches whom, over all switches; what the rule says is tested in test_identity_rule.c. */
#include "ring/identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { ALL = MSG_IDENTITY_OVERLAYS + 1 };

/* As the rule says, of what is of one service, of one deployment, of two. */
static void
test_all(void **state)
{
	(void)state;
	for (uint32_t a = 0; a < ALL; a++) {
		for (uint32_t b = 0; b < ALL; b++) {
			struct identity from = {1, 2, a}, same = {1, 2, b}, beside = {1, 3, b},
					elsewhere = {4, 5, b};

			assert_int_equal(identity_reaches(&from, &same),
					 identity_rule_judge(1, 1, a, b) != IDENTITY_RULE_ISOLATED);
			assert_int_equal(identity_reaches(&from, &beside),
					 identity_rule_judge(1, 0, a, b) != IDENTITY_RULE_ISOLATED);
			assert_int_equal(identity_reaches(&from, &elsewhere),
					 identity_rule_judge(0, 0, a, b) != IDENTITY_RULE_ISOLATED);
			/* Answers come back the same way. */
			assert_int_equal(identity_reaches(&beside, &from),
					 identity_reaches(&from, &beside));
			assert_int_equal(identity_reaches(&elsewhere, &from),
					 identity_reaches(&from, &elsewhere));
		}
	}
}

static void
test_usual(void **state)
{
	struct identity web = {1, 2, IDENTITY_USUAL}, db = {1, 3, IDENTITY_USUAL},
			other = {4, 5, IDENTITY_USUAL};

	(void)state;
	assert_true(identity_reaches(&web, &web));
	assert_true(identity_reaches(&web, &db));
	assert_true(identity_reaches(&web, &other));
	db.flags &= ~(uint32_t)MSG_IDENTITY_GLOBAL_ON;
	assert_true(identity_reaches(&db, &db));
	assert_false(identity_reaches(&web, &db));
	other.flags |= MSG_IDENTITY_GLOBAL_ISOLATED;
	assert_false(identity_reaches(&web, &other));
}

/* Those who keep out somebody that the usual ones let in, and no others. */
static void
test_isolates(void **state)
{
	const struct identity usual[] = {
		{1, 2, IDENTITY_USUAL}, {1, 3, IDENTITY_USUAL}, {4, 5, IDENTITY_USUAL}};

	(void)state;
	for (uint32_t flags = 0; flags < ALL; flags++) {
		const struct identity i = {1, 2, flags};
		bool all = true;

		for (size_t k = 0; k < 3; k++)
			all = all && identity_reaches(&i, &usual[k]);
		assert_int_equal(identity_isolates(flags), !all);
	}
}

static void
test_seals(void **state)
{
	const uint32_t service = MSG_IDENTITY_SERVICE_SEALED, global = MSG_IDENTITY_GLOBAL_SEALED;
	const uint32_t open = IDENTITY_USUAL & ~(service | global);

	(void)state;
	assert_true(identity_seals(IDENTITY_USUAL));
	assert_true(identity_seals(open | service));
	assert_true(identity_seals(open | global));
	assert_false(identity_seals(open));
	assert_false(identity_seals(0));
	/* What is off seals nothing, but for those of the deployment that let all in. */
	assert_false(identity_seals((open & ~(uint32_t)MSG_IDENTITY_GLOBAL_ON) | global));
	assert_true(identity_seals(service));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all),
		cmocka_unit_test(test_usual),
		cmocka_unit_test(test_isolates),
		cmocka_unit_test(test_seals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
