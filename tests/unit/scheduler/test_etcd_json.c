/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/etcd_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "wire/json_read.h"

#define HEADER "\"header\":{\"cluster_id\":\"14841639068965178418\",\"revision\":\"7\"}"

static struct arena arena;

static int
make_arena(void **state)
{
	(void)state;
	arena_init(&arena, MEM_SCHEDULER, 1 << 20);
	return 0;
}

static int
drop_arena(void **state)
{
	(void)state;
	arena_fini(&arena);
	return 0;
}

static void
test_requests(void **state)
{
	struct etcd_json_txn t;
	struct buf b;

	(void)state;
	buf_init(&b, MEM_SCHEDULER, 4096);
	etcd_json_txn(&t, &b);
	etcd_json_if_absent(&t, "k");
	etcd_json_if_value(&t, "k", "v");
	etcd_json_then(&t);
	etcd_json_put(&t, "k", "", 0, 5);
	etcd_json_delete(&t, "k", NULL);
	etcd_json_otherwise(&t);
	etcd_json_get(&t, &(struct etcd_json_range){
				  .key = "k",
				  .end = "l",
				  .limit = 1,
				  .newest_first = true,
			  });
	etcd_json_end(&t);
	assert_string_equal(
		buf_cstr(&b),
		"{\"compare\":[{\"key\":\"aw==\",\"target\":\"VERSION\",\"result\":\"EQUAL\","
		"\"version\":\"0\"},{\"key\":\"aw==\",\"target\":\"VALUE\",\"result\":\"EQUAL\","
		"\"value\":\"dg==\"}],\"success\":[{\"requestPut\":{\"key\":\"aw==\",\"value\":"
		"\"\",\"lease\":\"5\"}},{\"requestDeleteRange\":{\"key\":\"aw==\"}}],\"failure\":"
		"[{\"requestRange\":{\"key\":\"aw==\",\"range_end\":\"bA==\",\"limit\":\"1\","
		"\"sort_order\":\"DESCEND\",\"sort_target\":\"KEY\"}}]}");
	buf_fini(&b);
}

static void
test_range(void **state)
{
	static const char text[] =
		"{" HEADER ",\"kvs\":[{\"key\":\"aw==\",\"mod_revision\":\"6\",\"value\":\"AAEC\"},"
		"{\"key\":\"azE=\",\"mod_revision\":\"7\"}],\"more\":true,\"count\":\"9\"}";
	struct etcd_json_answer a;
	struct err err = {0};

	(void)state;
	assert_int_equal(etcd_json_answer(text, strlen(text), &arena, &a, &err), 0);
	assert_int_equal(a.revision, 7);
	assert_true(a.cluster == 14841639068965178418ull);
	assert_int_equal(a.kvs.count, 2);
	assert_true(a.kvs.more);
	assert_string_equal(a.kvs.items[0].key, "k");
	assert_int_equal(a.kvs.items[0].value_bytes, 3);
	assert_memory_equal(a.kvs.items[0].value, "\0\1\2", 3);
	assert_int_equal(a.kvs.items[1].value_bytes, 0);
	assert_int_equal(a.kvs.items[1].revision, 7);
}

static void
test_txn(void **state)
{
	static const char text[] =
		"{" HEADER ",\"responses\":[{\"response_put\":{}},{\"response_range\":{\"kvs\":["
		"{\"key\":\"aw==\",\"mod_revision\":\"6\",\"value\":\"dg==\"}]}},"
		"{\"response_range\":{}}]}";
	struct etcd_json_answer a;
	struct err err = {0};

	(void)state;
	assert_int_equal(etcd_json_answer(text, strlen(text), &arena, &a, &err), 0);
	assert_false(a.succeeded);
	assert_int_equal(a.gets_count, 2);
	assert_int_equal(a.gets[0].count, 1);
	assert_int_equal(a.gets[1].count, 0);
}

static void
test_events(void **state)
{
	static const char text[] =
		"{\"result\":{" HEADER ",\"events\":[{\"kv\":{\"key\":\"azE=\",\"mod_revision\":"
		"\"3\"}},{\"type\":\"DELETE\",\"kv\":{\"key\":\"aw==\",\"mod_revision\":\"3\"}}]}}";
	static const char compacted[] = "{\"result\":{\"header\":{},\"canceled\":true,"
					"\"compact_revision\":\"3\"}}";
	static const char broken[] = "{\"error\":{\"message\":\"no such watch\"}}";
	struct etcd_json_events e;
	struct err err = {0};

	(void)state;
	assert_int_equal(etcd_json_events(text, strlen(text), &arena, &e, &err), 0);
	assert_int_equal(e.kvs.count, 2);
	assert_false(e.kvs.items[0].gone);
	assert_true(e.kvs.items[1].gone);
	assert_int_equal(etcd_json_events(compacted, strlen(compacted), &arena, &e, &err), 0);
	assert_true(e.canceled);
	assert_int_equal(e.compacted, 3);
	assert_int_equal(etcd_json_events(broken, strlen(broken), &arena, &e, &err), 0);
	assert_true(e.canceled);
	assert_string_equal(e.why, "no such watch");
}

static void
test_answers_that_are_none(void **state)
{
	static const char *const texts[] = {
		"",
		"x",
		"[]",
		"{}",
		"{\"header\":{}}",
		"{\"header\":{\"cluster_id\":\"-1\"}}",
		"{" HEADER ",\"kvs\":[{}]}",
		"{" HEADER ",\"kvs\":[{\"key\":\"!!\",\"mod_revision\":\"1\"}]}",
		"{" HEADER ",\"kvs\":[{\"key\":\"AAA=\",\"mod_revision\":\"1\"}]}",
		"{" HEADER ",\"kvs\":[{\"key\":\"aw==\",\"mod_revision\":\"0\"}]}",
		"{" HEADER ",\"kvs\":[{\"key\":\"aw==\",\"mod_revision\":\"x\"}]}",
		"{" HEADER ",\"kvs\":[{\"key\":\"aw==\",\"value\":\"a\",\"mod_revision\":\"1\"}]}",
		"{" HEADER ",\"ID\":\"-5\"}",
	};
	struct etcd_json_answer a;
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		err_clear(&err);
		assert_int_equal(etcd_json_answer(texts[i], strlen(texts[i]), &arena, &a, &err),
				 -1);
		assert_int_equal(err.kind, ERR_CORRUPT);
	}
}

static void
test_refusals(void **state)
{
	static const struct {
		const char *text;
		enum etcd_json_refusal is;
	} all[] = {
		{"{\"message\":\"etcdserver: mvcc: database space exceeded\",\"code\":8}",
		 ETCD_JSON_NO_SPACE},
		{"{\"message\":\"etcdserver: request timed out\",\"code\":14}",
		 ETCD_JSON_NO_QUORUM},
		{"{\"message\":\"etcdserver: no leader\",\"code\":14}", ETCD_JSON_NO_QUORUM},
		{"{\"message\":\"etcdserver: request is too large\",\"code\":3}",
		 ETCD_JSON_TOO_LARGE},
		{"{\"message\":\"etcdserver: mvcc: required revision has been compacted\","
		 "\"code\":11}",
		 ETCD_JSON_COMPACTED},
		{"{\"message\":\"etcdserver: permission denied\",\"code\":7}", ETCD_JSON_DENIED},
		{"{\"message\":\"etcdserver: requested lease not found\",\"code\":5}",
		 ETCD_JSON_NOT_FOUND},
		{"{\"message\":\"etcdserver: authentication failed, invalid user ID or "
		 "password\",\"code\":3}",
		 ETCD_JSON_DENIED},
		{"{\"message\":\"etcdserver: invalid auth token\",\"code\":16}",
		 ETCD_JSON_STRANGER},
		{"{\"message\":\"etcdserver: user name is empty\",\"code\":3}", ETCD_JSON_STRANGER},
		{"{\"message\":\"etcdserver: authentication is not enabled\",\"code\":9}",
		 ETCD_JSON_NO_USERS},
		{"CommonName of client sending a request against gateway will be ignored\n",
		 ETCD_JSON_NAMED},
		{"<html>", ETCD_JSON_OTHER},
		{"", ETCD_JSON_OTHER},
	};
	char why[128];

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		assert_int_equal(
			etcd_json_refusal(all[i].text, strlen(all[i].text), why, sizeof(why)),
			all[i].is);
}

/* It becomes a field of a header: nothing that could end one. */
static void
test_token(void **state)
{
	static const char *const none[] = {"",
					   "{}",
					   "{\"token\":\"\"}",
					   "{\"token\":\"a b\"}",
					   "{\"token\":\"a\\r\\nb\"}",
					   "{\"token\":\"12345678\"}"};
	static const char good[] = "{\"header\":{},\"token\":\"ab.c\"}";
	char out[8];

	(void)state;
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_false(etcd_json_token(none[i], strlen(none[i]), out, sizeof(out)));
	assert_true(etcd_json_token(good, strlen(good), out, sizeof(out)));
	assert_string_equal(out, "ab.c");
}

int
main(void)
{
	struct err err = {0};

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_arena, drop_arena)
	const struct CMUnitTest tests[] = {
		TEST(test_requests),
		TEST(test_range),
		TEST(test_txn),
		TEST(test_events),
		TEST(test_answers_that_are_none),
		TEST(test_refusals),
		TEST(test_token),
	};

	if (json_read_open(&err) < 0) {
		printf("1..0 # SKIP no libjansson here: %s\n", err.what);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
