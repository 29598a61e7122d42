/* SPDX-License-Identifier: Apache-2.0 */
/* Who reaches whom: the decision's sentences one by one, over all switches. */
#include "ring/identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { ALL = 1 << 6 };

static bool
has(uint32_t flags, enum msg_identity_flag which)
{
	return (flags & which) != 0;
}

static bool
expected(bool same_deployment, bool same_service, uint32_t a, uint32_t b)
{
	bool global = has(a, MSG_IDENTITY_GLOBAL_ON) && has(b, MSG_IDENTITY_GLOBAL_ON);
	bool a_open = has(a, MSG_IDENTITY_SERVICE_ON) && !has(a, MSG_IDENTITY_SERVICE_ISOLATED);
	bool b_open = has(b, MSG_IDENTITY_SERVICE_ON) && !has(b, MSG_IDENTITY_SERVICE_ISOLATED);

	if (!same_deployment)
		return global && !has(a, MSG_IDENTITY_GLOBAL_ISOLATED) &&
		       !has(b, MSG_IDENTITY_GLOBAL_ISOLATED);
	if (same_service && has(a, MSG_IDENTITY_SERVICE_ON) && has(b, MSG_IDENTITY_SERVICE_ON))
		return true;
	return global ? true : a_open || b_open;
}

static void
test_all(void **state)
{
	(void)state;
	for (uint32_t a = 0; a < ALL; a++) {
		for (uint32_t b = 0; b < ALL; b++) {
			struct identity from = {1, 2, a}, same = {1, 2, b}, beside = {1, 3, b},
					elsewhere = {4, 5, b};

			assert_int_equal(identity_reaches(&from, &same),
					 expected(true, true, a, b));
			assert_int_equal(identity_reaches(&from, &beside),
					 expected(true, false, a, b));
			assert_int_equal(identity_reaches(&from, &elsewhere),
					 expected(false, false, a, b));
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all),
		cmocka_unit_test(test_usual),
		cmocka_unit_test(test_isolates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
