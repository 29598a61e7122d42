/* SPDX-License-Identifier: Apache-2.0 */
/* WWW-Authenticate: what registries send, lists of challenges, and what is malformed. */
#include "wire/challenge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct challenge
parse(const char *text, bool good)
{
	struct challenge c = {0};

	assert_int_equal(challenge_parse(text, strlen(text), &c), good);
	return c;
}

static void
test_bearer(void **state)
{
	struct challenge c = parse("Bearer realm=\"https://auth.test/token\",service=\"registry\","
				   "scope=\"repository:a/b:pull,push\"",
				   true);

	(void)state;
	assert_true(c.bearer && !c.basic);
	assert_string_equal(c.realm, "https://auth.test/token");
	assert_string_equal(c.service, "registry");
	assert_string_equal(c.scope, "repository:a/b:pull,push");
	c = parse("bearer  REALM = x , error=\"invalid_token\"", true);
	assert_true(c.bearer);
	assert_string_equal(c.realm, "x");
	c = parse("Bearer realm=\"a\\\"b\\\\c\"", true);
	assert_string_equal(c.realm, "a\"b\\c");
}

static void
test_several(void **state)
{
	struct challenge c = parse("Basic realm=\"other\", Bearer realm=\"https://t\"", true);

	(void)state;
	assert_true(c.basic && c.bearer);
	assert_string_equal(c.realm, "https://t");
	c = parse("Bearer realm=\"https://t\", Basic realm=\"other\"", true);
	assert_string_equal(c.realm, "https://t");
	c = parse("Negotiate, Basic", true);
	assert_true(c.basic && !c.bearer);
	c = parse("", true);
	assert_false(c.basic || c.bearer);
}

static void
test_malformed(void **state)
{
	static const char *const bad[] = {
		"Bearer realm=\"open",   "Bearer realm=",   "Bearer realm=\"a\\", "@",
		"Bearer realm=\"a\nb\"", "Negotiate abc==",
	};
	char text[CHALLENGE_TEXT_BYTES + 64];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		parse(bad[i], false);
	memset(text, 'a', sizeof(text));
	memcpy(text, "Bearer realm=\"", 14);
	memcpy(text + sizeof(text) - 2, "\"", 2);
	struct challenge c = parse(text, false);
	assert_string_equal(c.realm, "");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bearer),
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
