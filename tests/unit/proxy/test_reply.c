/* SPDX-License-Identifier: Apache-2.0 */
/* The proxy's own answers: body by Accept, fields, the place to go to. */
#include "proxy/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const struct reply busy = {503, "no replica", "x", 1};
static const struct reply gone = {404, "nothing here", NULL, 0};

static const struct reply_text *
text(const char *accept)
{
	static struct reply_answer a;

	reply_answer(&busy, "id", 0, accept, accept ? strlen(accept) : 0, NULL, &a);
	return &a.text;
}

static void
test_accept_decides(void **state)
{
	static const char *const json[] = {
		"application/json;q=0.9",
		"application/problem+json",
		"image/png, application/json",
		"application/json, text/html",
	};
	static const char *const plain[] = {
		NULL, "", "*/*", "text/html, application/json", "text/plain",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(json) / sizeof(json[0]); i++) {
		assert_string_equal(text(json[i])->type, "application/problem+json");
		assert_non_null(strstr(text(json[i])->body, "\"status\":503"));
	}
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		assert_non_null(strstr(text(plain[i])->type, "text/plain"));
		assert_int_equal(text(plain[i])->length, strlen(text(plain[i])->body));
	}
}

static void
put_fields(const struct reply_answer *a, char *out, size_t cap)
{
	size_t at = 0;

	out[0] = 0;
	for (size_t i = 0; i < a->count; i++)
		at += (size_t)snprintf(out + at, cap - at, "%.*s=%.*s;",
				       (int)a->fields[i].name_length, a->fields[i].name,
				       (int)a->fields[i].value_length, a->fields[i].value);
}

static void
test_fields(void **state)
{
	static struct reply_answer a;
	char all[512];

	(void)state;
	reply_answer(&busy, "ours", 784111777, NULL, 0, NULL, &a);
	put_fields(&a, all, sizeof(all));
	assert_string_equal(all, "content-type=text/plain; charset=utf-8;"
				 "date=Sun, 06 Nov 1994 08:49:37 GMT;x-request-id=ours;"
				 "retry-after=1;");
	reply_answer(&gone, "ours", 784111777, NULL, 0, "https://x/", &a);
	put_fields(&a, all, sizeof(all));
	assert_string_equal(all, "content-type=text/plain; charset=utf-8;"
				 "date=Sun, 06 Nov 1994 08:49:37 GMT;x-request-id=ours;"
				 "location=https://x/;");
	reply_answer(&busy, "ours", 0, NULL, 0, "https://x/", &a);
	assert_int_equal(a.count, sizeof(a.fields) / sizeof(a.fields[0]));
}

static void
look_for_accept(const char *head, const char *want)
{
	size_t length = 99;
	const char *got = reply_accept(head, strlen(head), &length);

	if (!want) {
		assert_null(got);
		assert_int_equal(length, 0);
		return;
	}
	assert_non_null(got);
	assert_int_equal(length, strlen(want));
	assert_memory_equal(got, want, length);
}

static void
test_accept_of_a_head(void **state)
{
	(void)state;
	look_for_accept("GET / HTTP/1.1\r\naccept: a/b\r\n\r\n", "a/b");
	look_for_accept("GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nB: c\r\n\r\n",
			"text/html");
	look_for_accept("GET / HTTP/1.1\r\nnot-accept: a/b\r\n\r\n", NULL);
	look_for_accept("GET / HTTP/1.1\r\n\r\n", NULL);
	look_for_accept("GET / HTTP/1.1\r\naccept: a/b", "");
	look_for_accept("", NULL);
}

static struct forward_request
to_host(const char *host, const char *path, const char *query)
{
	return (struct forward_request){
		.text = host,
		.authority = {.at = 0, .length = (uint32_t)strlen(host)},
		.path = path,
		.path_length = strlen(path),
		.query = query,
		.query_length = query ? strlen(query) : 0,
	};
}

static void
test_location(void **state)
{
	struct forward_request q = to_host("shop.test:80", "/a", "b");
	char where[64];

	(void)state;
	assert_true(reply_put_location(&q, 443, where, sizeof(where)));
	assert_string_equal(where, "https://shop.test/a?b");
	assert_true(reply_put_location(&q, 8443, where, sizeof(where)));
	assert_string_equal(where, "https://shop.test:8443/a?b");
	assert_false(reply_put_location(&q, 443, where, 10));
	q = to_host("[::1]", "/", NULL);
	assert_true(reply_put_location(&q, 443, where, sizeof(where)));
	assert_string_equal(where, "https://[::1]/");
	q = to_host("a b", "/", NULL);
	assert_false(reply_put_location(&q, 443, where, sizeof(where)));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accept_decides),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_accept_of_a_head),
		cmocka_unit_test(test_location),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
