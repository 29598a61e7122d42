/* SPDX-License-Identifier: Apache-2.0 */
/* What needs no member: options, nobody there, the end in the middle, no memory. The rest is in
 * tests/net/test_store_etcd.c. */
#include "scheduler/etcd_rpc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "base/text.h"
#include "tests/support/sweep.h"

static uv_loop_t loop;

static int
try_open(const char *const *urls, size_t count, uint32_t timeout_ms, struct etcd_rpc **out,
	 struct err *err)
{
	struct etcd_rpc_options options = {
		.loop = &loop,
		.endpoints = urls,
		.endpoints_count = count,
		.timeout_ms = timeout_ms,
		.authorities = "none",
	};

	return etcd_rpc_open(&options, out, err);
}

struct ended {
	bool over;
	bool lost;
	struct err err;
};

static void
ended(void *arg, const struct etcd_rpc_answer *answer)
{
	struct ended *e = arg;

	assert_false(e->over);
	assert_non_null(answer->err);
	e->over = true;
	e->lost = answer->lost;
	e->err = *answer->err;
}

static struct etcd_call *
call(struct etcd_rpc *r, struct ended *e, struct err *err)
{
	struct buf body;

	buf_init(&body, MEM_SCHEDULER, 64);
	buf_puts(&body, "{}");
	struct etcd_call *c = etcd_rpc_call(r, "/v3/kv/range", &body, ended, e, err);
	buf_fini(&body);
	return c;
}

static void
test_options(void **state)
{
	static const char *const wrong[] = {"",
					    "https://",
					    "http://10.0.0.1:1",
					    "https://a:1",
					    "https://[::1]",
					    "https://127.0.0.1:0"};
	static const char *const right[] = {"http://127.0.0.1:1", "http://[::1]:1",
					    "https://10.0.0.1:2379"};
	const char *many[ETCD_RPC_ENDPOINTS_MAX + 1];
	struct etcd_rpc *r;
	struct err err = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(try_open(&wrong[i], 1, 300, &r, &err), -1);
		assert_int_equal(err.kind, ERR_INVALID);
	}
	for (size_t i = 0; i <= ETCD_RPC_ENDPOINTS_MAX; i++)
		many[i] = right[0];
	assert_int_equal(try_open(many, ETCD_RPC_ENDPOINTS_MAX + 1, 300, &r, &err), -1);
	assert_int_equal(try_open(right, 3, 300, &r, &err), 0);
	etcd_rpc_close(r);
	uv_run(&loop, UV_RUN_DEFAULT);
}

/* Nothing listens at port 1: it is certain that nothing was done. */
static void
test_nobody_there(void **state)
{
	static const char *const urls[] = {"http://127.0.0.1:1", "http://[::1]:1"};
	struct ended end = {0};
	struct etcd_rpc *r;
	struct err err = {0};

	(void)state;
	assert_int_equal(try_open(urls, 2, 300, &r, &err), 0);
	assert_non_null(call(r, &end, &err));
	while (!end.over)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(end.err.kind, ERR_UNREACHABLE);
	assert_false(end.lost);
	assert_true(text_starts(end.err.what, "no quorum: "));
	assert_true(end.err.whys > 0 && end.err.fix[0]);
	etcd_rpc_close(r);
	uv_run(&loop, UV_RUN_DEFAULT);
}

static void
test_end_in_the_middle(void **state)
{
	static const char *const url = "http://127.0.0.1:1";
	struct ended end = {0};
	struct etcd_rpc *r;
	struct err err = {0};

	(void)state;
	for (int turns = 0; turns < 6; turns++) {
		assert_int_equal(try_open(&url, 1, 300, &r, &err), 0);
		assert_non_null(call(r, &end, &err));
		etcd_rpc_cancel(call(r, &end, &err));
		for (int i = 0; i < turns; i++)
			uv_run(&loop, UV_RUN_ONCE);
		etcd_rpc_close(r);
		uv_run(&loop, UV_RUN_DEFAULT);
	}
	assert_false(end.over);
}

static void
test_out_of_memory(void **state)
{
	static const char *const url = "http://127.0.0.1:1";
	bool fine = false;

	(void)state;
	sweep_each(sweep)
	{
		struct ended end = {0};
		struct etcd_rpc *r = NULL;
		struct err err = {0};

		fine = try_open(&url, 1, 1, &r, &err) == 0;
		if (fine && call(r, &end, &err)) {
			while (!end.over)
				uv_run(&loop, UV_RUN_ONCE);
			assert_true(end.err.kind == ERR_UNREACHABLE ||
				    end.err.kind == ERR_NO_MEMORY);
		}
		etcd_rpc_close(fine ? r : NULL);
		uv_run(&loop, UV_RUN_DEFAULT);
	}
	assert_true(fine);
}

int
main(void)
{
	struct err err = {0};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_nobody_there),
		cmocka_unit_test(test_end_in_the_middle),
		cmocka_unit_test(test_out_of_memory),
	};

	if (etcd_rpc_load(&err) < 0) {
		printf("1..0 # SKIP no libcurl or libjansson here: %s\n", err.what);
		return 0;
	}
	signal(SIGPIPE, SIG_IGN);
	uv_loop_init(&loop);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	return uv_loop_close(&loop) < 0 ? 1 : failed;
}
