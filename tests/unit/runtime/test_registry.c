/* SPDX-License-Identifier: Apache-2.0 */
/* The core of a transfer: each test is what the server says and what is to be done then. */
#include "runtime/registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/mem.h"
#include "wire/json_read.h"

static struct registry r;

static void
begin(const char *host, const char *mirror)
{
	registry_init(&r, "reg.test/team/app:1", "team/app", "manifests/1", false, false);
	if (mirror)
		assert_true(registry_add(&r, host, mirror));
	assert_true(registry_add(&r, host, NULL));
	registry_step(&r, NULL, 1, 0);
	assert_int_equal(r.action.verb, REGISTRY_REQUEST);
}

static void
status(unsigned code)
{
	struct registry_reply reply = {.status = code};

	registry_step(&r, &reply, 1, 0);
}

static void
failure(enum registry_failure why)
{
	struct registry_reply reply = {.failure = why, .detail = "why not"};

	registry_step(&r, &reply, 1, 0);
}

static void
test_plain_success(void **state)
{
	(void)state;
	begin("reg.test", NULL);
	assert_string_equal(r.action.url, "https://reg.test/v2/team/app/manifests/1");
	assert_string_equal(r.action.authorization, "");
	status(200);
	assert_int_equal(r.action.verb, REGISTRY_DONE);
	begin("docker.io", NULL);
	assert_string_equal(r.action.url, "https://registry-1.docker.io/v2/team/app/manifests/1");
}

static void
test_loopback_may_be_plain(void **state)
{
	(void)state;
	begin("127.0.0.1:5000", NULL);
	assert_string_equal(r.action.url, "https://127.0.0.1:5000/v2/team/app/manifests/1");
	failure(REGISTRY_NO_TLS);
	assert_string_equal(r.action.url, "http://127.0.0.1:5000/v2/team/app/manifests/1");
	failure(REGISTRY_NO_TLS);
	assert_int_equal(r.action.verb, REGISTRY_FAIL);
	begin("reg.test", NULL);
	failure(REGISTRY_NO_TLS);
	assert_int_equal(r.action.verb, REGISTRY_FAIL);
	assert_non_null(strstr(r.err.what, "does not speak TLS"));
	assert_true(registry_is_loopback("localhost:5000"));
	assert_true(registry_is_loopback("[::1]:5000"));
	assert_false(registry_is_loopback("127.0.0.1.evil.test"));
	assert_false(registry_is_loopback("localhost.evil.test"));
}

static void
test_token(void **state)
{
	struct registry_login login = {.user = "me", .password = "secret"};
	struct registry_reply reply = {
		.status = 401,
		.challenges = {"Bearer realm=\"https://auth.test/t?x=1\",service=\"s p\""},
		.challenges_count = 1,
		.login = &login,
	};

	(void)state;
	begin("reg.test", NULL);
	registry_step(&r, &reply, 1, 0);
	assert_int_equal(r.action.verb, REGISTRY_REQUEST);
	assert_true(r.action.token);
	assert_string_equal(r.action.url,
			    "https://auth.test/t?x=1&service=s%20p&scope=repository%3Ateam%2Fapp%"
			    "3Apull");
	assert_string_equal(r.action.authorization, "Basic bWU6c2VjcmV0");
	reply = (struct registry_reply){
		.status = 200, .body = "{\"token\":\"abc\",\"expires_in\":300}", .body_bytes = 32};
	reply.body_bytes = strlen(reply.body);
	registry_step(&r, &reply, 1, 0);
	assert_string_equal(r.action.authorization, "Bearer abc");
	assert_int_equal(r.accepted_until_ns, UINT64_C(290000000000) + 1);
	status(200);
	assert_int_equal(r.action.verb, REGISTRY_DONE);
}

static void
test_token_server_that_is_not_trusted(void **state)
{
	struct registry_reply reply = {
		.status = 401,
		.challenges = {"Bearer realm=\"http://auth.test/t\""},
		.challenges_count = 1,
	};

	(void)state;
	begin("reg.test", NULL);
	registry_step(&r, &reply, 1, 0);
	assert_int_equal(r.action.verb, REGISTRY_FAIL);
	assert_int_equal(r.err.kind, ERR_DENIED);
}

static void
test_token_flow_ends(void **state)
{
	struct registry_reply denied = {
		.status = 401,
		.challenges = {"Bearer realm=\"https://auth.test/t\""},
		.challenges_count = 1,
	};
	struct registry_reply token = {
		.status = 200, .body = "{\"access_token\":\"x\"}", .body_bytes = 20};
	int turns = 0;

	(void)state;
	begin("reg.test", NULL);
	while (r.action.verb == REGISTRY_REQUEST && turns++ < 20)
		registry_step(&r, r.action.token ? &token : &denied, 1, 0);
	assert_int_equal(r.action.verb, REGISTRY_FAIL);
	assert_true(turns < 8);
	begin("reg.test", NULL);
	registry_step(&r, &denied, 1, 0);
	token.body = "[]";
	token.body_bytes = 2;
	registry_step(&r, &token, 1, 0);
	assert_int_equal(r.action.verb, REGISTRY_FAIL);
}

static void
test_identity_token(void **state)
{
	struct registry_login login = {.identity = "refresh me"};
	struct registry_reply reply = {
		.status = 401,
		.challenges = {"Bearer realm=\"https://auth.test/t\",service=\"s\""},
		.challenges_count = 1,
		.login = &login,
	};

	(void)state;
	begin("reg.test", NULL);
	registry_step(&r, &reply, 1, 0);
	assert_string_equal(r.action.url, "https://auth.test/t");
	assert_non_null(strstr(r.action.form, "refresh_token=refresh%20me&service=s&scope="));
	assert_string_equal(r.action.authorization, "");
}

static void
test_basic(void **state)
{
	struct registry_login login = {.user = "me", .password = "secret"};
	struct registry_reply reply = {
		.status = 401,
		.challenges = {"Basic realm=\"x\""},
		.challenges_count = 1,
		.login = &login,
	};

	(void)state;
	begin("reg.test", NULL);
	registry_step(&r, &reply, 1, 0);
	assert_string_equal(r.action.authorization, "Basic bWU6c2VjcmV0");
	registry_step(&r, &reply, 1, 0);
	assert_int_equal(r.action.verb, REGISTRY_FAIL);
	assert_non_null(strstr(r.err.what, "refuses the login"));
}

/* What a redirect leads to elsewhere never sees the Authorization. */
/* A program is asked when a login is wanted, once; without an answer it is tried as anybody. */
static void
test_login_of_a_program(void **state)
{
	struct registry_login kept = {.helper = "vault"}, given = {.user = "me", .password = "x"};
	struct registry_reply wants = {.status = 401,
				       .challenges = {"Basic realm=\"x\""},
				       .challenges_count = 1,
				       .login = &kept};
	struct registry_reply told = {.login = &given};
	struct err why = {0};

	(void)state;
	begin("reg.test", NULL);
	registry_step(&r, &wants, 1, 0);
	assert_int_equal(r.action.verb, REGISTRY_LOGIN);
	registry_step(&r, &told, 1, 0);
	assert_int_equal(r.action.verb, REGISTRY_REQUEST);
	assert_string_equal(r.action.authorization, "Basic bWU6eA==");
	status(200);
	assert_int_equal(r.action.verb, REGISTRY_DONE);

	err_set(&why, ERR_SYSTEM, "docker-credential-vault failed");
	err_why(&why, "it is sealed");
	err_fix(&why, "unseal it");
	told = (struct registry_reply){.login_err = &why};
	begin("reg.test", NULL);
	registry_step(&r, &wants, 1, 0);
	registry_step(&r, &told, 1, 0);
	assert_int_equal(r.action.verb, REGISTRY_FAIL);
	assert_non_null(strstr(r.err.what, "wants a login"));
	assert_string_equal(r.err.why[0], "docker-credential-vault failed");
	assert_string_equal(r.err.why[1], "it is sealed");
	assert_string_equal(r.err.fix, "unseal it");

	wants.challenges[0] = "Bearer realm=\"https://auth.test/t\",service=\"s\"";
	begin("reg.test", NULL);
	registry_step(&r, &wants, 1, 0);
	assert_int_equal(r.action.verb, REGISTRY_LOGIN);
	registry_step(&r, &told, 1, 0);
	assert_true(r.action.verb == REGISTRY_REQUEST && r.action.token);
	assert_string_equal(r.action.authorization, "");
}

static void
test_redirects(void **state)
{
	struct registry_reply reply = {.status = 307, .location = "https://cdn.test/x?sig=1"};

	(void)state;
	begin("reg.test", NULL);
	strcpy(r.accepted, "Bearer abc");
	reply.location = "https://reg.test/other";
	registry_step(&r, &reply, 1, 0);
	assert_string_equal(r.action.authorization, "Bearer abc");
	reply.location = "https://cdn.test/x?sig=1";
	registry_step(&r, &reply, 1, 0);
	assert_string_equal(r.action.url, "https://cdn.test/x?sig=1");
	assert_string_equal(r.action.authorization, "");
	reply.location = "https://reg.test/back";
	registry_step(&r, &reply, 1, 0);
	assert_string_equal(r.action.authorization, "");
	reply.location = "http://reg.test/plain";
	registry_step(&r, &reply, 1, 0);
	assert_int_equal(r.action.verb, REGISTRY_FAIL);
	begin("reg.test", NULL);
	reply.location = "HTTPS://cdn.test/x";
	registry_step(&r, &reply, 1, 0);
	assert_int_equal(r.action.verb, REGISTRY_REQUEST);
	reply.location = "http://cdn.test/x";
	registry_step(&r, &reply, 1, 0);
	assert_int_equal(r.action.verb, REGISTRY_FAIL);
	begin("reg.test", NULL);
	reply.location = "https://reg.test/again";
	for (int i = 0; i < REGISTRY_REDIRECTS_MAX; i++) {
		registry_step(&r, &reply, 1, 0);
		assert_int_equal(r.action.verb, REGISTRY_REQUEST);
	}
	registry_step(&r, &reply, 1, 0);
	assert_int_equal(r.action.verb, REGISTRY_FAIL);
}

static void
test_tries(void **state)
{
	struct registry_reply cut = {.failure = REGISTRY_CUT, .detail = "reset"};
	struct registry_reply busy = {.status = 429, .retry_after_ms = 7000};

	(void)state;
	begin("reg.test", NULL);
	for (unsigned i = 0; i + 1 < REGISTRY_TRIES_MAX; i++) {
		registry_step(&r, &cut, 1, 0);
		assert_int_equal(r.action.verb, REGISTRY_WAIT);
		assert_int_equal(r.action.wait_ms, 500 << i);
		registry_step(&r, NULL, 1, 0);
	}
	registry_step(&r, &cut, 1, 0);
	assert_int_equal(r.action.verb, REGISTRY_FAIL);
	/* With progress it is tried for as long as there is some, behind the last byte. */
	begin("reg.test", NULL);
	for (unsigned i = 0; i < 3 * REGISTRY_TRIES_MAX; i++) {
		cut.received += 100;
		registry_step(&r, &cut, 1, 0);
		assert_int_equal(r.action.verb, REGISTRY_WAIT);
		registry_step(&r, NULL, 1, 0);
		assert_int_equal(r.action.from, cut.received);
	}
	begin("reg.test", NULL);
	registry_step(&r, &busy, 1, 0);
	assert_int_equal(r.action.verb, REGISTRY_WAIT);
	assert_int_equal(r.action.wait_ms, 7000);
	busy.retry_after_ms = 3600000;
	registry_step(&r, NULL, 1, 0);
	registry_step(&r, &busy, 1, 0);
	assert_int_equal(r.action.verb, REGISTRY_FAIL);
	assert_int_equal(r.err.kind, ERR_LIMIT);
}

/* All came, then the connection was cut: the server has nothing more to give. */
static void
test_cut_behind_the_last_byte(void **state)
{
	struct registry_reply cut = {.failure = REGISTRY_CUT, .received = 100};
	struct registry_reply none = {.status = 416, .received = 100};
	static const uint64_t told[] = {0, 100, 99, 101};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		begin("reg.test", NULL);
		registry_step(&r, &cut, 1, 0);
		assert_int_equal(r.action.verb, REGISTRY_WAIT);
		registry_step(&r, NULL, 1, 0);
		assert_int_equal(r.action.from, 100);
		none.whole_bytes = told[i];
		registry_step(&r, &none, 1, 0);
		assert_int_equal(r.action.verb, i < 2 ? REGISTRY_DONE : REGISTRY_FAIL);
	}
	begin("reg.test", NULL);
	status(416);
	assert_int_equal(r.action.verb, REGISTRY_FAIL);
}

static void
test_mirrors(void **state)
{
	(void)state;
	begin("docker.io", "http://127.0.0.1:5000/hub/");
	assert_string_equal(r.action.url, "http://127.0.0.1:5000/hub/v2/team/app/manifests/1");
	status(404);
	assert_string_equal(r.action.url, "https://registry-1.docker.io/v2/team/app/manifests/1");
	failure(REGISTRY_NO_NAME);
	assert_int_equal(r.action.verb, REGISTRY_FAIL);
	assert_non_null(strstr(r.err.what, "cannot be resolved"));
	bool told = false;
	for (unsigned i = 0; i < r.err.whys; i++)
		told |= strstr(r.err.why[i], "the mirror 127.0.0.1:5000") != NULL;
	assert_true(told);
	registry_init(&r, "a", "a", "b", false, false);
	assert_false(registry_add(&r, "docker.io", "127.0.0.1:5000"));
	assert_false(registry_add(&r, "docker.io", "/x"));
}

static void
test_words(void **state)
{
	static const struct {
		enum registry_failure failure;
		unsigned status;
		enum err_kind kind;
		const char *what;
	} cases[] = {
		{REGISTRY_NO_NAME, 0, ERR_SYSTEM, "cannot be resolved"},
		{REGISTRY_NO_SERVER, 0, ERR_SYSTEM, "cannot be reached"},
		{REGISTRY_NO_TRUST, 0, ERR_SYSTEM, "is not trusted"},
		{REGISTRY_ANSWERED, 401, ERR_DENIED, "wants a login"},
		{REGISTRY_ANSWERED, 403, ERR_DENIED, "(403)"},
		{REGISTRY_ANSWERED, 404, ERR_NOT_FOUND, "(404)"},
		{REGISTRY_ANSWERED, 418, ERR_SYSTEM, "status 418"},
	};
	struct registry_reply reply = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin("reg.test", NULL);
		reply.failure = cases[i].failure;
		reply.status = cases[i].status;
		reply.body = "{\"errors\":[{\"message\":\"so it is\"}]}";
		reply.body_bytes = strlen(reply.body);
		registry_step(&r, &reply, 1, 0);
		assert_int_equal(r.action.verb, REGISTRY_FAIL);
		assert_int_equal(r.err.kind, cases[i].kind);
		assert_non_null(strstr(r.err.what, cases[i].what));
		assert_true(r.err.fix[0]);
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
		cmocka_unit_test(test_plain_success),
		cmocka_unit_test(test_loopback_may_be_plain),
		cmocka_unit_test(test_token),
		cmocka_unit_test(test_token_server_that_is_not_trusted),
		cmocka_unit_test(test_token_flow_ends),
		cmocka_unit_test(test_identity_token),
		cmocka_unit_test(test_basic),
		cmocka_unit_test(test_login_of_a_program),
		cmocka_unit_test(test_redirects),
		cmocka_unit_test(test_tries),
		cmocka_unit_test(test_cut_behind_the_last_byte),
		cmocka_unit_test(test_mirrors),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, open_json, NULL);
}
