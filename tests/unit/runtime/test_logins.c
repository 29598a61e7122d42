/* SPDX-License-Identifier: Apache-2.0 */
/* Logins of config.json: all the ways in which docker and podman write a registry's name. */
#include "runtime/logins.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/support/sweep.h"
#include "wire/json_read.h"

static const char file[] = "{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"aHViOnB3\"},"
			   "\"reg.test:5000\":{\"auth\":\"bWU6c2U6Y3JldA==\"},"
			   "\"quay.test/team\":{\"username\":\"team\",\"password\":\"t\"},"
			   "\"quay.test/team/app\":{\"username\":\"app\",\"password\":\"a\"},"
			   "\"acr.test\":{\"auth\":\"MDA6\",\"identitytoken\":\"refresh\"},"
			   "\"bad.test\":{\"auth\":\"***\"},\"empty.test\":{}},"
			   "\"credHelpers\":{\"gcr.test\":\"gcloud\"},\"credsStore\":\"desktop\"}";

static int
find(const char *host, const char *repository, struct registry_login *out)
{
	struct err err = {0};

	return logins_find(file, strlen(file), host, repository, out, &err);
}

static void
test_names(void **state)
{
	struct registry_login l;

	(void)state;
	assert_int_equal(find("registry-1.docker.io", "library/nginx", &l), 1);
	assert_string_equal(l.user, "hub");
	assert_string_equal(l.password, "pw");
	assert_int_equal(find("reg.test:5000", "a", &l), 1);
	assert_string_equal(l.password, "se:cret");
	assert_int_equal(find("quay.test", "team/app", &l), 1);
	assert_string_equal(l.user, "app");
	assert_int_equal(find("quay.test", "team/apple", &l), 1);
	assert_string_equal(l.user, "team");
	assert_int_equal(find("acr.test", "x", &l), 1);
	assert_string_equal(l.identity, "refresh");
	assert_int_equal(find("gcr.test", "x", &l), 1);
	assert_string_equal(l.helper, "gcloud");
	assert_int_equal(find("reg.test", "x", &l), 1);
	assert_string_equal(l.helper, "desktop");
	assert_string_equal(l.user, "");
	assert_int_equal(find("bad.test", "x", &l), -1);
}

static void
test_bad_files(void **state)
{
	static const char *const texts[] = {"", "[]", "{", "7"};
	struct registry_login l;
	struct err err = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(logins_find(texts[i], strlen(texts[i]), "a", "b", &l, &err), -1);
	assert_int_equal(logins_find("{}", 2, "a", "b", &l, &err), 0);
	assert_int_equal(logins_find("{\"auths\":[1]}", 13, "a", "b", &l, &err), 0);
}

static void
test_programs(void **state)
{
	static const char *const bad[] = {"a/b", "../x", "a b", "$(x)",
					  "a23456789012345678901234567890123456789012345678901234"
					  "5678901234"};
	static const char *const answers[] = {
		"",
		"[]",
		"{\"Username\":\"me\"}",
		"{\"Secret\":\"x\"}",
		"{\"Username\":\"me\",\"Secret\":7}",
		"{\"Username\":\"\",\"Secret\":\"x\"}",
	};
	static const char good[] = "{\"ServerURL\":\"r\",\"Username\":\"me\",\"Secret\":\"pw\"}\n";
	static const char token[] = "{\"Username\":\"<token>\",\"Secret\":\"refresh\"}";
	struct registry_login l;
	char text[200];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err = {0};

		snprintf(text, sizeof(text), "{\"credHelpers\":{\"r.test\":\"%s\"}}", bad[i]);
		assert_int_equal(logins_find(text, strlen(text), "r.test", "x", &l, &err), -1);
		assert_string_equal(l.helper, "");
		assert_true(err.whys == 1 && err.fix[0]);
	}
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct err err = {0};

		assert_int_equal(logins_take(answers[i], strlen(answers[i]), &l, &err), -1);
		assert_true(err.kind == ERR_INVALID && !l.user[0] && !l.password[0]);
	}
	struct err err = {0};
	assert_int_equal(logins_take(good, strlen(good), &l, &err), 0);
	assert_string_equal(l.user, "me");
	assert_string_equal(l.password, "pw");
	assert_int_equal(logins_take(token, strlen(token), &l, &err), 0);
	assert_string_equal(l.identity, "refresh");
	assert_string_equal(l.user, "");
	assert_string_equal(logins_server("registry-1.docker.io"), "https://index.docker.io/v1/");
	assert_string_equal(logins_server("r.test:5000"), "r.test:5000");
}

static void
test_no_memory(void **state)
{
	struct registry_login l;
	struct err err = {0};

	(void)state;
	sweep_each(s)
	{
		int rc = logins_find(file, strlen(file), "quay.test", "team/app", &l, &err);

		assert_true(rc == 1 || sweep_failed());
	}
}

static int
open_json(void **state)
{
	struct err err = {0};

	(void)state;
	return json_read_open(&err);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_bad_files),
		cmocka_unit_test(test_programs),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, open_json, NULL);
}
