/* SPDX-License-Identifier: Apache-2.0 */
/* Paths, authorities, queries. Targets are tested with the heads that carry them. */
#include "wire/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

struct path_case {
	const char *in;
	const char *out; /* NULL: refused */
};

static const struct path_case paths[] = {
	{"/", "/"},
	{"/a", "/a"},
	{"/a/", "/a/"},
	{"//", "//"},
	{"/a//b", "/a//b"},
	{"/.", "/"},
	{"/./", "/"},
	{"/a/.", "/a/"},
	{"/a/..", "/"},
	{"/a/../", "/"},
	{"/a/../b", "/b"},
	{"/a/b/../../c", "/c"},
	{"/a/./b/.//c", "/a/b//c"},
	{"/a//../b", "/a/b"},
	{"/..", NULL},
	{"/../a", NULL},
	{"/a/../../b", NULL},
	{"/...", "/..."},
	{"/.a", "/.a"},
	{"/a..", "/a.."},
	{"/%2e/a", "/a"},
	{"/%2E%2e/a", NULL},
	{"/x/%2e%2e/a", "/a"},
	{"/%41%7a%2D", "/Az-"},
	{"/%c3%a4", "/%C3%A4"},
	{"/a%20b", "/a%20b"},
	{"/a%3fb", "/a%3Fb"},
	{"/a%25b", "/a%25b"},
	{"/%2f", NULL},
	{"/%5c", NULL},
	{"/%00", NULL},
	{"/%0d%0a", NULL},
	{"/%7f", NULL},
	{"/%", NULL},
	{"/%4", NULL},
	{"/%4g", NULL},
	{"/a\\b", NULL},
	{"a", NULL},
	{"", NULL},
	{"/a?b", NULL},
};

static void
test_paths(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		const struct path_case *c = &paths[i];
		size_t length = strlen(c->in), put = 0;
		char out[64];
		enum url_path_result r = url_path_normalise(c->in, length, out, length, &put);

		if ((r == URL_PATH_OK) != (c->out != NULL))
			fail_msg("%s", c->in);
		if (!c->out)
			continue;
		out[put] = '\0';
		assert_string_equal(out, c->out);
		/* in place, and once more: the same */
		strcpy(out, c->in);
		assert_int_equal(url_path_normalise(out, length, out, length, &put), URL_PATH_OK);
		assert_int_equal(url_path_normalise(out, put, out, put, &put), URL_PATH_OK);
		out[put] = '\0';
		assert_string_equal(out, c->out);
	}
	assert_int_equal(url_path_normalise("/abc", 4, (char[3]){0}, 3, &(size_t){0}),
			 URL_PATH_TOO_LONG);
}

static void
test_authorities(void **state)
{
	struct url_authority a;
	char out[16];

	(void)state;
	assert_true(url_authority_parse("Shop.test:8443", 14, &a));
	assert_int_equal(a.port, 8443);
	assert_int_equal(a.host_length, 9);
	assert_true(url_host_fold(a.host, a.host_length, out, sizeof(out)));
	assert_string_equal(out, "shop.test");
	assert_true(url_host_fold("a.", 2, out, sizeof(out)));
	assert_string_equal(out, "a");
	assert_false(url_host_fold("aaaaaaaaaaaaaaaa", 16, out, sizeof(out)));
	assert_true(url_authority_parse("[2001:db8::1]", 13, &a));
	assert_true(a.ipv6 && a.port == 0);
	assert_false(url_authority_parse("", 0, &a));
	assert_false(url_authority_parse(":80", 3, &a));
	assert_false(url_authority_parse("a:", 2, &a));
	assert_false(url_authority_parse("a:80x", 5, &a));
	assert_false(url_authority_parse("a:123456", 8, &a));
	assert_false(url_authority_parse("[::1]x", 6, &a));
	assert_false(url_authority_parse("a%41", 4, &a));
}

static void
test_queries(void **state)
{
	static const char q[] = "a=1&&b&c=x%20y+z&a=2&d=";
	struct url_pair p;
	size_t at = 0, count = 0;
	char out[16];

	(void)state;
	while (url_query_next(q, sizeof(q) - 1, &at, &p))
		count++;
	assert_int_equal(count, 5);
	assert_int_equal(url_query_get(q, sizeof(q) - 1, "a", out, sizeof(out)), 1);
	assert_string_equal(out, "1");
	assert_int_equal(url_query_get(q, sizeof(q) - 1, "b", out, sizeof(out)), 0);
	assert_int_equal(url_query_get(q, sizeof(q) - 1, "c", out, sizeof(out)), 5);
	assert_string_equal(out, "x y z");
	assert_int_equal(url_query_get(q, sizeof(q) - 1, "e", out, sizeof(out)), -1);
	assert_int_equal(url_query_get("a=%zz", 5, "a", out, sizeof(out)), -2);
	assert_int_equal(url_query_get("a=%00", 5, "a", out, sizeof(out)), -2);
	assert_int_equal(url_query_get("a=123456", 8, "a", out, 6), -2);
	assert_int_equal(url_encode("a b/\xc3", 5, out, sizeof(out)), 11);
	assert_string_equal(out, "a%20b%2F%C3");
	assert_int_equal(url_encode("////////", 8, out, sizeof(out)), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_authorities),
		cmocka_unit_test(test_queries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
