/* SPDX-License-Identifier: Apache-2.0 */
/* The routing table: hosts, paths, listeners, upgrades, addresses, rows that lie. */
#include "proxy/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/text.h"
#include "tests/support/sweep.h"

enum { BOTH = MSG_ROUTE_TLS | MSG_ROUTE_PLAIN, PUBLIC = MSG_ROUTE_PUBLIC };

struct row {
	uint64_t id;
	const char *host;
	const char *path;
	uint32_t flags;
};

static const struct row table[] = {
	{1, "", "/", BOTH},
	{2, "", "/any", BOTH},
	{3, "shop.test", "/", BOTH},
	{4, "shop.test", "/api", BOTH},
	{5, "shop.test", "/api/v2", BOTH},
	{6, "shop.test", "/ws", BOTH | MSG_ROUTE_WEBSOCKET},
	{7, "*.test", "/", BOTH},
	{8, "*.deep.test", "/", BOTH},
	{9, "*.deep.test", "/x", BOTH},
	{10, "secure.test", "/", MSG_ROUTE_TLS},
	{11, "plain.test", "/", MSG_ROUTE_PLAIN},
	{12, "only.test", "/only", BOTH},
	{13, "live.test", "/", BOTH},
	{14, "live.test", "/", BOTH | MSG_ROUTE_WEBSOCKET},
	{15, "slash.test", "/dir/", BOTH},
	{16, "mixed.test", "/", MSG_ROUTE_PLAIN},
	{17, "mixed.test", "/private", MSG_ROUTE_TLS},
};

static struct router *
build(const struct row *rows, size_t count)
{
	static struct msg_route storage[64];
	const struct msg_route *pointers[64];
	struct router *r;
	struct err err = {0};
	size_t skipped;

	for (size_t i = 0; i < count; i++) {
		memset(&storage[i], 0, sizeof(storage[i]));
		storage[i].id = rows[i].id;
		storage[i].service = 1;
		storage[i].flags = rows[i].flags | PUBLIC;
		text_copy(storage[i].host, sizeof(storage[i].host), rows[i].host);
		text_copy(storage[i].path, sizeof(storage[i].path), rows[i].path);
		/* The order of the rows must not matter. */
		pointers[count - 1 - i] = &storage[i];
	}
	if (router_new(pointers, count, &r, &skipped, &err))
		return NULL;
	assert_int_equal(skipped, 0);
	return r;
}

struct look {
	const char *host;
	const char *path;
	bool tls, websocket;
	uint64_t id; /* 0: none */
};

static const struct look looks[] = {
	/* exact host, longest path */
	{"shop.test", "/", false, false, 3},
	{"shop.test", "/x", false, false, 3},
	{"shop.test", "/api", false, false, 4},
	{"shop.test", "/api/", false, false, 4},
	{"shop.test", "/api/v1", false, false, 4},
	{"shop.test", "/api/v2", false, false, 5},
	{"shop.test", "/api/v2/x/y", false, false, 5},
	/* segment boundary */
	{"shop.test", "/apix", false, false, 3},
	{"shop.test", "/api-v2", false, false, 3},
	{"shop.test", "/api/v20", false, false, 4},
	{"shop.test", "/ap", false, false, 3},
	{"shop.test", "/API", false, false, 3},
	{"shop.test", "//api", false, false, 3},
	/* upgrades */
	{"shop.test", "/ws", false, true, 6},
	{"shop.test", "/ws/room", true, true, 6},
	{"shop.test", "/ws", false, false, 3},
	{"shop.test", "/api", false, true, 4},
	{"live.test", "/", false, false, 13},
	{"live.test", "/", false, true, 14},
	{"live.test", "/x", true, true, 14},
	/* wildcards: the longest suffix, any depth, not the suffix itself */
	{"a.test", "/", false, false, 7},
	{"a.b.test", "/", false, false, 7},
	{"a.deep.test", "/", false, false, 8},
	{"a.b.deep.test", "/", false, false, 8},
	{"a.deep.test", "/x/y", false, false, 9},
	{"deep.test", "/", false, false, 7},
	{"test", "/", false, false, 1},
	{"*.test", "/", false, false, 7},
	{"xtest", "/", false, false, 1},
	/* any */
	{"other.example", "/", false, false, 1},
	{"other.example", "/any", false, false, 2},
	{"other.example", "/any/x", true, false, 2},
	{"", "/", false, false, 1},
	{"10.0.0.1", "/", false, false, 1},
	/* a host without a fitting path falls back */
	{"only.test", "/only/x", false, false, 12},
	{"only.test", "/", false, false, 7},
	{"only.test", "/onlyx", false, false, 7},
	/* listeners */
	{"secure.test", "/", true, false, 10},
	{"secure.test", "/", false, false, 7},
	{"plain.test", "/", false, false, 11},
	{"plain.test", "/", true, false, 7},
	{"mixed.test", "/private", true, false, 17},
	{"mixed.test", "/", true, false, 7},
	/* a final slash in the route's path means the same prefix */
	{"slash.test", "/dir", false, false, 15},
	{"slash.test", "/dir/", false, false, 15},
	{"slash.test", "/dir/x", false, false, 15},
	{"slash.test", "/dirx", false, false, 7},
};

static void
test_table(void **state)
{
	struct router *r = build(table, sizeof(table) / sizeof(table[0]));

	(void)state;
	assert_non_null(r);
	assert_true(sizeof(looks) / sizeof(looks[0]) >= 40);
	for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++) {
		const struct look *l = &looks[i];
		struct router_query q = {.host = l->host,
					 .path = l->path,
					 .path_length = strlen(l->path),
					 .tls = l->tls,
					 .websocket = l->websocket};
		const struct route *found = router_find(r, &q, NULL);

		if ((found ? found->row.id : 0) != l->id)
			fail_msg("%s%s: %u, not %u", l->host, l->path,
				 found ? (unsigned)found->row.id : 0, (unsigned)l->id);
	}
	assert_true(router_any_host(r));
	router_unref(r);
}

static uint64_t
elsewhere(const struct router *r, const char *host, const char *path, bool tls)
{
	struct router_query q = {
		.host = host, .path = path, .path_length = strlen(path), .tls = tls};
	const struct route *other;

	(void)router_find(r, &q, &other);
	return other ? other->row.id : 0;
}

static void
test_elsewhere(void **state)
{
	struct router *r = build(table, sizeof(table) / sizeof(table[0]));

	(void)state;
	assert_int_equal(elsewhere(r, "secure.test", "/", false), 10);
	assert_int_equal(elsewhere(r, "shop.test", "/", false), 0);
	assert_int_equal(elsewhere(r, "mixed.test", "/private/x", false), 17);
	assert_int_equal(elsewhere(r, "mixed.test", "/", false), 0);
	assert_int_equal(elsewhere(r, "plain.test", "/", true), 11);
	assert_int_equal(elsewhere(r, "plain.test", "/", false), 0);
	router_unref(r);
}

static void
test_empty(void **state)
{
	struct router *r = build(NULL, 0);
	struct router_query q = {.host = "a", .path = "/", .path_length = 1};

	(void)state;
	assert_null(router_find(r, &q, NULL));
	assert_false(router_any_host(r));
	assert_int_equal(router_count(router_ref(r)), 0);
	router_unref(r);
	router_unref(r);
}

static void
test_rows_that_lie(void **state)
{
	struct msg_route rows[10];
	const struct msg_route *pointers[10];
	struct router *r;
	struct err err = {0};
	size_t skipped;

	(void)state;
	memset(rows, 0, sizeof(rows));
	for (int i = 0; i < 10; i++) {
		rows[i].id = rows[i].service = (uint64_t)i + 1;
		rows[i].flags = BOTH | PUBLIC;
		rows[i].path[0] = '/';
		pointers[i] = &rows[i];
	}
	rows[0].path[0] = 'x';
	memset(rows[1].host, 'a', sizeof(rows[1].host));
	rows[2].prefixes_allow = 9;
	rows[3].endpoint_index = MSG_ENDPOINTS_MAX;
	rows[4].flags = PUBLIC;
	rows[5].flags = BOTH; /* internal: never at the edge */
	rows[6].service = 0;
	rows[8].prefixes_allow = rows[9].prefixes_deny = 1;
	rows[8].allow[0].bits = rows[9].deny[0].bits = 129;
	assert_int_equal(router_new(pointers, 10, &r, &skipped, &err), 0);
	assert_int_equal(skipped, 8);
	assert_int_equal(router_count(r), 1);
	router_unref(r);
}

static void
test_addresses(void **state)
{
	struct route route = {0};
	struct addr in, out;

	(void)state;
	assert_true(addr_parse_ip("10.1.2.3", &in) && addr_parse_ip("192.0.2.1", &out));
	assert_true(router_admits(&route, &in));
	route.row.prefixes_allow = 1;
	assert_true(addr_parse_prefix("10.0.0.0/8", &route.row.allow[0]));
	assert_true(router_admits(&route, &in));
	assert_false(router_admits(&route, &out));
	route.row.prefixes_deny = 1;
	assert_true(addr_parse_prefix("10.1.0.0/16", &route.row.deny[0]));
	assert_false(router_admits(&route, &in));
}

static void
test_memory(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct router *r = build(table, sizeof(table) / sizeof(table[0]));

		assert_int_equal(r == NULL, sweep_failed());
		router_unref(r);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),     cmocka_unit_test(test_elsewhere),
		cmocka_unit_test(test_empty),     cmocka_unit_test(test_rows_that_lie),
		cmocka_unit_test(test_addresses), cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
