/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include "base/text.h"

static void
test_fill(void **state)
{
	struct err err = {0};

	(void)state;
	assert_int_equal(err_set(&err, ERR_NOT_FOUND, "no deployment %s", "shop"), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_int_equal(err.code, 0);
	assert_string_equal(err.what, "no deployment shop");
	assert_int_equal(err_where(&err, "node %d", 1), -1);
	assert_int_equal(err_why(&err, "it was removed"), -1);
	assert_int_equal(err_fix(&err, "first"), -1);
	assert_int_equal(err_fix(&err, "second"), -1);
	assert_int_equal(err.wheres, 1);
	assert_int_equal(err.whys, 1);
	assert_string_equal(err.where[0], "node 1");
	assert_string_equal(err.why[0], "it was removed");
	assert_string_equal(err.fix, "second");
	/* A new failure drops what was there. */
	err_set(&err, ERR_LIMIT, "too many");
	assert_int_equal(err.wheres + err.whys, 0);
	assert_string_equal(err.fix, "");
	err_clear(&err);
	assert_int_equal(err.kind, ERR_NONE);
	assert_string_equal(err.what, "");
}

static void
test_may_quote_itself(void **state)
{
	struct err err = {0};

	(void)state;
	err_set(&err, ERR_TIMEOUT, "no answer");
	err_set(&err, err.kind, "cannot deploy: %s", err.what);
	assert_int_equal(err.kind, ERR_TIMEOUT);
	assert_string_equal(err.what, "cannot deploy: no answer");
	err_fix(&err, "try again");
	err_fix(&err, "%s later", err.fix);
	assert_string_equal(err.fix, "try again later");
}

static void
test_lines_past_the_limit_are_dropped(void **state)
{
	struct err err = {0};

	(void)state;
	err_set(&err, ERR_INTERNAL, "x");
	for (int i = 0; i < 10; i++) {
		err_where(&err, "where %d", i);
		err_why(&err, "why %d", i);
	}
	assert_int_equal(err.wheres, ERR_WHERES_MAX);
	assert_int_equal(err.whys, ERR_WHYS_MAX);
	assert_string_equal(err.why[ERR_WHYS_MAX - 1], "why 3");
}

static void
test_long_text_is_cut_at_a_character(void **state)
{
	struct err err = {0};
	char text[2 * ERR_TEXT_BYTES];

	(void)state;
	for (size_t shift = 0; shift < 4; shift++) {
		memset(text, 'a', shift);
		for (size_t i = shift; i + 4 < sizeof(text); i += 4)
			memcpy(text + i, "\360\237\230\200", 5);
		err_set(&err, ERR_INVALID, "%s", text);
		assert_true(strlen(err.what) > ERR_TEXT_BYTES - 5);
		assert_true(text_is_utf8(err.what, strlen(err.what)));
	}
}

static void
test_system_errors(void **state)
{
	static const struct {
		int code;
		enum err_kind kind;
	} cases[] = {
		{ENOSPC, ERR_NO_SPACE},    {EDQUOT, ERR_NO_SPACE},
		{ENOMEM, ERR_NO_MEMORY},   {EACCES, ERR_DENIED},
		{EPERM, ERR_DENIED},       {ENOENT, ERR_NOT_FOUND},
		{EEXIST, ERR_CONFLICT},    {EMFILE, ERR_LIMIT},
		{ETIMEDOUT, ERR_TIMEOUT},  {ECONNREFUSED, ERR_UNREACHABLE},
		{ENOSYS, ERR_UNSUPPORTED}, {EINTR, ERR_INTERRUPTED},
		{EBADMSG, ERR_CORRUPT},    {EIO, ERR_SYSTEM},
		{EINVAL, ERR_SYSTEM},      {0, ERR_SYSTEM},
		{123456, ERR_SYSTEM},
	};
	struct err err = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(err_sys(&err, cases[i].code, "cannot open %s", "f"), -1);
		assert_int_equal(err.kind, cases[i].kind);
		assert_int_equal(err.code, cases[i].code);
		assert_string_equal(err.what, "cannot open f");
		assert_int_equal(err.whys, 1);
	}
	assert_string_equal(err.why[0], "system error 123456");
	err_sys(&err, ENOENT, "x");
	assert_string_equal(err.why[0], "No such file or directory");
}

static void
test_names_go_both_ways(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < ERR_KINDS_; kind++) {
		const char *name = err_kind_name((enum err_kind)kind);

		assert_non_null(name);
		assert_int_equal(err_kind_of_name(name), kind);
	}
	assert_string_equal(err_kind_name(ERR_NOT_FOUND), "not_found");
	assert_int_equal(err_kind_of_name("nonsense"), ERR_INTERNAL);
}

static void
test_codes(void **state)
{
	static const int exits[ERR_KINDS_] = {
		[ERR_NONE] = 0,      [ERR_USAGE] = 2,       [ERR_INVALID] = 2,
		[ERR_NOT_FOUND] = 4, [ERR_TIMEOUT] = 5,     [ERR_ROLLED_BACK] = 6,
		[ERR_CONFLICT] = 7,  [ERR_UNREACHABLE] = 8, [ERR_INTERRUPTED] = 130,
		[ERR_INTERNAL] = 1,  [ERR_UNSUPPORTED] = 1, [ERR_DENIED] = 1,
		[ERR_LIMIT] = 1,     [ERR_NO_MEMORY] = 1,   [ERR_NO_SPACE] = 1,
		[ERR_CORRUPT] = 1,   [ERR_SYSTEM] = 1,
	};
	static const int statuses[ERR_KINDS_] = {
		[ERR_NONE] = 200,      [ERR_USAGE] = 400,       [ERR_INVALID] = 400,
		[ERR_NOT_FOUND] = 404, [ERR_TIMEOUT] = 504,     [ERR_ROLLED_BACK] = 500,
		[ERR_CONFLICT] = 409,  [ERR_UNREACHABLE] = 503, [ERR_INTERRUPTED] = 500,
		[ERR_INTERNAL] = 500,  [ERR_UNSUPPORTED] = 422, [ERR_DENIED] = 403,
		[ERR_LIMIT] = 429,     [ERR_NO_MEMORY] = 503,   [ERR_NO_SPACE] = 507,
		[ERR_CORRUPT] = 422,   [ERR_SYSTEM] = 500,
	};

	(void)state;
	for (unsigned kind = 0; kind < ERR_KINDS_; kind++) {
		assert_int_equal(err_kind_exit((enum err_kind)kind), exits[kind]);
		assert_int_equal(err_kind_http((enum err_kind)kind), statuses[kind]);
	}
}

static void
test_render(void **state)
{
	static const char expected[] =
		"zlayer: cannot deploy my-app: web.1 did not become healthy\n"
		"  where  my-app revision 13, service web\n"
		"  why    the process listens on 127.0.0.1:3000\n"
		"  why    12 health checks in 60 s:\n"
		"         connection refused\n"
		"  fix    listen on 0.0.0.0, then: zlayer deploy\n";
	struct err err = {0};
	char out[1024];

	(void)state;
	err_set(&err, ERR_ROLLED_BACK, "cannot deploy my-app: web.1 did not become healthy");
	err_fix(&err, "listen on 0.0.0.0, then: zlayer deploy\n");
	err_where(&err, "my-app revision 13, service web");
	err_why(&err, "the process listens on 127.0.0.1:3000");
	err_why(&err, "12 health checks in 60 s:\nconnection refused");
	assert_int_equal(err_render(&err, "zlayer", out, sizeof(out)), strlen(expected));
	assert_string_equal(out, expected);
	/* As snprintf: the length of all, whatever fits. */
	for (size_t cap = 1; cap < sizeof(expected); cap++) {
		assert_int_equal(err_render(&err, "zlayer", out, cap), strlen(expected));
		assert_int_equal(strlen(out), cap - 1);
		assert_memory_equal(out, expected, cap - 1);
	}
	assert_int_equal(err_render(&err, "zlayer", NULL, 0), strlen(expected));
	err_render(&err, NULL, out, sizeof(out));
	assert_string_equal(out, expected + strlen("zlayer: "));
}

static void
test_render_is_safe_on_a_terminal(void **state)
{
	struct err err = {0};
	char out[256];

	(void)state;
	err_set(&err, ERR_INVALID, "name \"\033[2J\t\377\"");
	err_render(&err, "zlayer", out, sizeof(out));
	assert_string_equal(out, "zlayer: name \"\\x1b[2J\\x09\\xff\"\n");
	err_clear(&err);
	err.kind = ERR_TIMEOUT;
	err_render(&err, "", out, sizeof(out));
	assert_string_equal(out, "timeout\n");
}

static void
test_print(void **state)
{
	struct err err = {0};
	char out[256] = "";
	FILE *file = fmemopen(out, sizeof(out), "w");

	(void)state;
	assert_non_null(file);
	err_set(&err, ERR_DENIED, "no");
	err_print(&err, "zlayer", file);
	fclose(file);
	assert_string_equal(out, "zlayer: no\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fill),
		cmocka_unit_test(test_may_quote_itself),
		cmocka_unit_test(test_lines_past_the_limit_are_dropped),
		cmocka_unit_test(test_long_text_is_cut_at_a_character),
		cmocka_unit_test(test_system_errors),
		cmocka_unit_test(test_names_go_both_ways),
		cmocka_unit_test(test_codes),
		cmocka_unit_test(test_render),
		cmocka_unit_test(test_render_is_safe_on_a_terminal),
		cmocka_unit_test(test_print),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
