/* SPDX-License-Identifier: Apache-2.0 */
/* The plan survives its encoding, and no other bytes pass for one. */
#include "ring/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "tests/support/sweep.h"

static char *words[] = {(char[]){"sh"}, (char[]){"-c"}, (char[]){"exec \xc3\xa9"}};
static struct plan_pair pairs[] = {{(char[]){"MODE"}, (char[]){"production"}},
				   {(char[]){"EMPTY"}, (char[]){""}}};
static struct plan_ulimit ulimits[] = {{(char[]){"nofile"}, 1024, 4096}};
static struct plan_mount mounts[] = {
	{PLAN_MOUNT_BIND, (char[]){"/srv"}, (char[]){"/data"}, true, 0, 0},
	{PLAN_MOUNT_TMPFS, NULL, (char[]){"/tmp"}, false, 16 << 20, 01777},
};
static struct plan_device devices[] = {{(char[]){"/dev/null"}, true, true, false}};

static char t_shop[] = "shop", t_web[] = "web", t_docker[] = "docker.io/library/web:1";
static char t_host[] = "web-2";

static char t_id[] = "wait-db", t_path[] = "/x?y";
static struct plan_step steps[] = {
	{.id = t_id,
	 .kind = PLAN_STEP_HTTP,
	 .host = t_host,
	 .port = 80,
	 .path = t_path,
	 .expect_status = 204,
	 .retry = 2,
	 .timeout_ms = 5000,
	 .on_failure = PLAN_STEP_WARN},
	{.id = t_web,
	 .kind = PLAN_STEP_RUN,
	 .command = {words, 2, true},
	 .timeout_ms = 1,
	 .on_failure = PLAN_STEP_FAIL},
};

static struct plan
example(void)
{
	return (struct plan){
		.replica = 7,
		.service = 3,
		.deployment = t_shop,
		.service_name = t_web,
		.index = 2,
		.revision = 9,
		.image = t_docker,
		.pull = PLAN_PULL_NEVER,
		.entrypoint = {words, 2, true},
		.args = {words, 3, true},
		.args_more = {words, 1, true},
		.hostname = t_host,
		.env = pairs,
		.env_count = 2,
		.cpu_milli = 500,
		.memory_bytes = 128 << 20,
		.oom_score_adj_given = true,
		.oom_score_adj = -7,
		.ulimits = ulimits,
		.ulimits_count = 1,
		.cap_drop = {words, 1, true},
		.no_new_privs = true,
		.seccomp = PLAN_SECCOMP_DEFAULT,
		.mounts = mounts,
		.mounts_count = 2,
		.devices = devices,
		.devices_count = 1,
		.stop_signal = 15,
		.stop_grace_ms = 10000,
		.log_max_bytes = 10 << 20,
		.log_max_files = 3,
		.steps = steps,
		.steps_count = 2,
	};
}

static void
encode(struct buf *b)
{
	struct plan p = example();

	buf_init(b, MEM_RING, PLAN_BYTES_MAX);
	plan_encode(&p, b);
	assert_true(buf_ok(b));
}

static void
test_round_trip(void **state)
{
	struct buf a, b;
	struct arena arena;
	struct plan *p = NULL;
	struct err err = {0};

	(void)state;
	encode(&a);
	arena_init(&arena, MEM_RING, PLAN_BYTES_MAX);
	assert_int_equal(plan_decode(a.data, a.length, &arena, &p, &err), 0);
	assert_string_equal(p->args.items[2], "exec \xc3\xa9");
	assert_null(p->workdir);
	assert_null(p->image_digest);
	assert_int_equal(p->oom_score_adj, -7);
	assert_int_equal(p->mounts[1].size_bytes, 16 << 20);
	assert_string_equal(p->env[1].value, "");
	buf_init(&b, MEM_RING, PLAN_BYTES_MAX);
	plan_encode(p, &b);
	assert_int_equal(a.length, b.length);
	assert_memory_equal(a.data, b.data, a.length);
	arena_fini(&arena);
	buf_fini(&a);
	buf_fini(&b);
}

static struct plan *
again(const struct plan *from, struct arena *arena, uint32_t version)
{
	struct buf b;
	struct plan *p = NULL;
	struct err err = {0};

	buf_init(&b, MEM_RING, PLAN_BYTES_MAX);
	plan_encode(from, &b);
	assert_int_equal(b.data[4], version);
	assert_int_equal(plan_decode(b.data, b.length, arena, &p, &err), 0);
	b.data[4]++; /* another version is another form */
	assert_int_equal(plan_decode(b.data, b.length, arena, &p, &err), -1);
	b.data[4]--;
	assert_int_equal(plan_decode(b.data, b.length, arena, &p, &err), 0);
	buf_fini(&b);
	return p;
}

/* The version says what is there; what is not costs no byte. */
static void
test_versions(void **state)
{
	struct plan from = example();
	struct arena arena;

	(void)state;
	arena_init(&arena, MEM_RING, 8 << 20);
	from.args_more = (struct plan_list){words, 2, true};
	struct plan *p = again(&from, &arena, 3);
	assert_int_equal(p->args_more.count, 2);
	assert_string_equal(p->args_more.items[1], "-c");
	assert_int_equal(p->steps_count, 2);
	from.steps_count = 0;
	p = again(&from, &arena, 3);
	assert_int_equal(p->steps_count, 0);
	assert_int_equal(p->args_more.count, 2);
	from.args_more.count = 0;
	assert_int_equal(again(&from, &arena, 1)->args_more.count, 0);
	from.steps_count = 2;
	assert_int_equal(again(&from, &arena, 2)->steps_count, 2);
	arena_fini(&arena);
}

static int
decode(const void *data, size_t bytes)
{
	struct arena arena;
	struct plan *p;
	struct err err = {0};

	arena_init(&arena, MEM_RING, PLAN_BYTES_MAX);
	int rc = plan_decode(data, bytes, &arena, &p, &err);
	if (rc < 0)
		assert_int_equal(err.kind, ERR_CORRUPT);
	arena_fini(&arena);
	return rc;
}

static void
test_every_cut_is_refused(void **state)
{
	struct buf b;

	(void)state;
	encode(&b);
	for (size_t n = 0; n < b.length; n++)
		assert_int_equal(decode(b.data, n), -1);
	buf_u8(&b, 0);
	assert_int_equal(decode(b.data, b.length), -1);
	buf_fini(&b);
}

/* A changed byte may still be a plan (a letter of a name); it must never be more than that. */
static void
test_every_changed_byte_is_safe(void **state)
{
	struct buf b;

	(void)state;
	encode(&b);
	for (size_t i = 0; i < b.length; i++) {
		uint8_t kept = b.data[i];

		b.data[i] = 0xff;
		(void)!decode(b.data, b.length);
		b.data[i] = (uint8_t)(kept ^ 1);
		(void)!decode(b.data, b.length);
		b.data[i] = kept;
	}
	buf_fini(&b);
}

static void
test_without_memory(void **state)
{
	struct buf b;

	(void)state;
	encode(&b);
	sweep_each(s)
	{
		struct arena arena;
		struct plan *p;
		struct err err = {0};

		arena_init(&arena, MEM_RING, PLAN_BYTES_MAX);
		int rc = plan_decode(b.data, b.length, &arena, &p, &err);
		if (sweep_failed()) {
			assert_int_equal(rc, -1);
			assert_int_equal(err.kind, ERR_NO_MEMORY);
		} else {
			assert_int_equal(rc, 0);
		}
		arena_fini(&arena);
	}
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_every_cut_is_refused),
		cmocka_unit_test(test_every_changed_byte_is_safe),
		cmocka_unit_test(test_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
