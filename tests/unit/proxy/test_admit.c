/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a request before anything of it is sent. */
#include "proxy/admit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/text.h"

enum { BOTH = MSG_ROUTE_TLS | MSG_ROUTE_PLAIN };

static struct router *
build(void)
{
	static struct msg_route rows[4];
	const struct msg_route *list[4];
	struct router *router;
	struct err err = {0};
	size_t skipped;
	static const struct {
		const char *host, *path;
		uint32_t flags;
	} made[4] = {
		{"shop.test", "/", BOTH},
		{"mixed.test", "/", MSG_ROUTE_PLAIN},
		{"mixed.test", "/private", MSG_ROUTE_TLS},
		{"small.test", "/", BOTH},
	};

	for (size_t i = 0; i < 4; i++) {
		rows[i] = (struct msg_route){
			.id = i + 1, .service = 1, .flags = made[i].flags | MSG_ROUTE_PUBLIC};
		text_copy(rows[i].host, sizeof(rows[i].host), made[i].host);
		text_copy(rows[i].path, sizeof(rows[i].path), made[i].path);
		list[i] = &rows[i];
	}
	rows[3].body_bytes_max = 10;
	rows[3].header_bytes_max = 40;
	rows[3].prefixes_deny = 1;
	assert_true(addr_parse_prefix("192.0.2.0/24", &rows[3].deny[0]));
	assert_int_equal(router_new(list, 4, &router, &skipped, &err), 0);
	assert_int_equal(skipped, 0);
	return router;
}

static struct forward_request
get(const char *host, const char *path)
{
	struct forward_request r = {
		.text = host,
		.authority = {.at = 0, .length = (uint32_t)strlen(host)},
		.path = path,
		.path_length = strlen(path),
		.method = HTTP_GET,
	};

	assert_true(addr_parse_ip("198.51.100.7", &r.client));
	return r;
}

static uint64_t
route_of(const struct router *router, const struct forward_request *r)
{
	struct admit a;

	admit_request(router, r, &a);
	assert_null(a.why);
	assert_non_null(a.route);
	assert_false(a.unrouted || a.to_https);
	return a.route->row.id;
}

/* The status it is refused with. */
static unsigned
refusal(const struct router *router, const struct forward_request *r)
{
	struct admit a;

	admit_request(router, r, &a);
	assert_non_null(a.why);
	assert_true(a.unrouted == (a.why->status == 404));
	return a.why->status;
}

static void
test_is_served(void **state)
{
	struct router *router = build();
	struct forward_request r = get("SHOP.test:8080", "/x");

	(void)state;
	assert_int_equal(route_of(router, &r), 1);
	r = get("shop.test", "*");
	r.method = HTTP_OPTIONS;
	r.asterisk = true;
	assert_int_equal(route_of(router, &r), 1);
	r = get("mixed.test", "/private/a");
	r.tls = true;
	assert_int_equal(route_of(router, &r), 3);
	router_unref(router);
}

static void
test_methods(void **state)
{
	struct router *router = build();
	struct forward_request r = get("shop.test", "/");

	(void)state;
	r.method = HTTP_TRACE;
	assert_int_equal(refusal(router, &r), 405);
	r.method = HTTP_CONNECT;
	assert_int_equal(refusal(router, &r), 405);
	/* RFC 8441: an upgrade over HTTP/2. */
	r.websocket = true;
	assert_int_equal(route_of(router, &r), 1);
	router_unref(router);
}

static void
test_has_no_route(void **state)
{
	struct router *router = build();
	struct forward_request r = get("other.test", "/");
	struct admit a;

	(void)state;
	assert_int_equal(refusal(router, &r), 404);
	assert_int_equal(refusal(NULL, &r), 404);
	r = get("", "/");
	assert_int_equal(refusal(router, &r), 404);
	r = get("mixed.test", "/private");
	admit_request(router, &r, &a);
	assert_true(a.unrouted && a.to_https);
	assert_null(a.route);
	r = get("mixed.test", "/open");
	assert_int_equal(route_of(router, &r), 2);
	router_unref(router);
}

static void
test_limits(void **state)
{
	static const char line[] = "a-field: with-a-value-of-some-length";
	struct http_field field = {.name = 0, .name_length = 7, .value = 9, .value_length = 27};
	struct router *router = build();
	struct forward_request r = get("small.test", "/");

	(void)state;
	assert_int_equal(route_of(router, &r), 4);
	r.body = FORWARD_LENGTH;
	r.content_length = 10;
	assert_int_equal(route_of(router, &r), 4);
	r.content_length = 11;
	assert_int_equal(refusal(router, &r), 413);
	r.fields = &field;
	r.count = 1;
	assert_int_equal(sizeof(line), 37);
	assert_int_equal(route_of(router,
				  &(struct forward_request){
					  .text = r.text,
					  .authority = r.authority,
					  .path = "/",
					  .path_length = 1,
					  .method = HTTP_GET,
					  .client = r.client,
					  .fields = &field,
					  .count = 1,
				  }),
			 4);
	r.query = "now=too-long";
	r.query_length = 12;
	assert_int_equal(refusal(router, &r), 431);
	assert_true(addr_parse_ip("192.0.2.9", &r.client));
	assert_int_equal(refusal(router, &r), 403);
	router_unref(router);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_is_served),
		cmocka_unit_test(test_methods),
		cmocka_unit_test(test_has_no_route),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
