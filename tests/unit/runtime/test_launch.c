/* SPDX-License-Identifier: Apache-2.0 */
/* A launch description goes through bytes unharmed, and nothing else does. */
#include "runtime/launch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static char sh[] = "/bin/sh", path[] = "PATH=/bin", slash[] = "/", root[] = "root", box[] = "box";
static char stage[] = "/run/stage", layer[] = "/l/1", upper[] = "/u", work[] = "/w", tmp[] = "/tmp";
static char device[] = "/dev/x", key[] = "net.a", value[] = "1", cpu[] = "cpu,cpuacct";

static struct sock_filter filter[] = {{.code = 6, .jt = 1, .jf = 2, .k = 0x7fff0000}};
static char *argv[] = {sh}, *env[] = {path}, *layers[] = {layer}, *hidden[] = {tmp}, *v1[] = {cpu};
static int32_t procs[] = {9, 10};
static struct launch_mount mounts[] = {
	{.kind = LAUNCH_TMPFS, .target = tmp, .fd = -1, .size_bytes = 4096, .mode = 01777},
	{.kind = LAUNCH_TREE, .target = tmp, .fd = 11, .directory = true, .readonly = true},
};
static struct launch_device devices[] = {{.path = device, .major = 1, .minor = 2, .mode = 0666}};
static struct launch_rlimit rlimits[] = {{.resource = 7, .given = true, .soft = 1, .hard = 2}};
static struct launch_pair sysctls[] = {{key, value}};

static struct plan_step steps[] = {
	{.id = box,
	 .kind = PLAN_STEP_TCP,
	 .host = box,
	 .port = 5432,
	 .path = slash,
	 .timeout_ms = 7,
	 .on_failure = PLAN_STEP_GO_ON},
	{.id = key,
	 .kind = PLAN_STEP_RUN,
	 .command = {argv, 1, false},
	 .host = box,
	 .path = slash,
	 .on_failure = PLAN_STEP_FAIL},
};

static struct launch
whole(void)
{
	struct launch l;
	launch_init(&l);
	l.verb = LAUNCH_RUN;
	l.replica = 77;
	l.attempt = 3;
	l.argv = (struct launch_list){argv, 1};
	l.env = (struct launch_list){env, 1};
	l.workdir = slash;
	l.user = root;
	l.caps = 0xa80425fb;
	l.no_new_privs = true;
	l.filter = l.monitor_filter = (struct launch_filter){filter, 1};
	l.rlimits = rlimits;
	l.rlimits_count = 1;
	l.oom_score_adj_given = true;
	l.oom_score_adj = -5;
	l.cgroup_procs = (struct launch_fds){procs, 2};
	l.hostname = box;
	l.stage = stage;
	l.layers = (struct launch_list){layers, 1};
	l.upper = upper;
	l.work = work;
	l.mounts = mounts;
	l.mounts_count = 2;
	l.devices = devices;
	l.devices_count = 1;
	l.sysctls = sysctls;
	l.sysctls_count = 1;
	l.masked = l.readonly = (struct launch_list){hidden, 1};
	l.cgroup_v1_mounts = (struct launch_list){v1, 1};
	l.netns_fd = l.control_fd = l.run_fd = l.record_fd = l.log_fd = 5;
	l.log_max_bytes = 1 << 20;
	l.log_max_files = 3;
	l.steps = steps;
	l.steps_count = 2;
	return l;
}

static int
decode(const void *data, size_t bytes, struct arena *arena, struct launch **out)
{
	struct err err = {0};
	arena_init(arena, MEM_RUNTIME, 1 << 20);
	return launch_decode(data, bytes, arena, out, &err);
}

static void
test_run_survives(void **state)
{
	struct launch l = whole(), *got;
	struct arena arena;
	struct buf b, again;
	(void)state;
	buf_init(&b, MEM_RUNTIME, LAUNCH_BYTES_MAX);
	buf_init(&again, MEM_RUNTIME, LAUNCH_BYTES_MAX);
	launch_encode(&l, &b);
	assert_true(buf_ok(&b));
	assert_int_equal(decode(b.data, b.length, &arena, &got), 0);
	assert_string_equal(got->argv.items[0], sh);
	assert_int_equal(got->oom_score_adj, -5);
	assert_int_equal(got->cgroup_fd, -1);
	assert_int_equal(got->mounts[1].fd, 11);
	assert_int_equal(got->steps_count, 2);
	assert_int_equal(got->steps[0].port, 5432);
	assert_string_equal(got->steps[1].command.items[0], sh);
	assert_memory_equal(got->filter.items, filter, sizeof(filter));
	launch_encode(got, &again);
	assert_int_equal(b.length, again.length);
	assert_memory_equal(b.data, again.data, b.length);
	arena_fini(&arena);
	buf_fini(&b);
	buf_fini(&again);
}

static void
test_a_hold_survives(void **state)
{
	struct launch l = whole(), *got;
	struct arena arena;
	struct buf b;
	(void)state;
	buf_init(&b, MEM_RUNTIME, LAUNCH_BYTES_MAX);
	l.steps_count = 0;
	l.hold = true;
	launch_encode(&l, &b);
	assert_true(buf_ok(&b));
	assert_int_equal(decode(b.data, b.length, &arena, &got), 0);
	assert_true(got->hold);
	assert_int_equal(got->steps_count, 0);
	arena_fini(&arena);
	/* The verb stands behind magic and version: a hold is a run. */
	assert_int_equal(b.data[8], LAUNCH_RUN);
	b.data[4] = LAUNCH_VERSION + 1;
	assert_int_equal(decode(b.data, b.length, &arena, &got), -1);
	arena_fini(&arena);
	buf_reset(&b);
	l.verb = LAUNCH_EXEC;
	l.pidfd = l.stream_fd = 8;
	launch_encode(&l, &b);
	b.data[4] = LAUNCH_VERSION;
	assert_int_equal(decode(b.data, b.length, &arena, &got), -1);
	arena_fini(&arena);
	buf_fini(&b);
}

/* With steps, as a hold, and as neither. */
static void
test_a_lease_survives(void **state)
{
	struct launch l = whole(), *got;
	struct arena arena;
	struct buf b;
	(void)state;
	buf_init(&b, MEM_RUNTIME, LAUNCH_BYTES_MAX);
	l.lease_until_ns = 123456789;
	l.lease_epoch = 42;
	for (int i = 0; i < 3; i++) {
		l.steps_count = i == 0 ? 2 : 0;
		l.hold = i == 1;
		launch_encode(&l, &b);
		assert_int_equal(decode(b.data, b.length, &arena, &got), 0);
		assert_int_equal(got->lease_until_ns, 123456789);
		assert_int_equal(got->lease_epoch, 42);
		assert_int_equal(got->steps_count, l.steps_count);
		assert_int_equal(got->hold, l.hold);
		arena_fini(&arena);
		assert_int_equal(decode(b.data, b.length - 1, &arena, &got), -1);
		arena_fini(&arena);
		buf_reset(&b);
	}
	buf_fini(&b);
}

static void
test_every_cut_is_refused(void **state)
{
	struct launch l = whole(), *got;
	struct arena arena;
	struct buf b;
	(void)state;
	buf_init(&b, MEM_RUNTIME, LAUNCH_BYTES_MAX);
	launch_encode(&l, &b);
	for (size_t i = 0; i < b.length; i++) {
		assert_int_equal(decode(b.data, i, &arena, &got), -1);
		arena_fini(&arena);
	}
	buf_u8(&b, 0);
	assert_int_equal(decode(b.data, b.length, &arena, &got), -1);
	arena_fini(&arena);
	buf_fini(&b);
}

static void
refused(struct launch l)
{
	struct launch *got;
	struct arena arena;
	struct buf b;
	buf_init(&b, MEM_RUNTIME, LAUNCH_BYTES_MAX);
	launch_encode(&l, &b);
	assert_int_equal(decode(b.data, b.length, &arena, &got), -1);
	arena_fini(&arena);
	buf_fini(&b);
}

static void
test_meaning_is_checked(void **state)
{
	struct launch l = whole();
	struct launch_mount wrong = mounts[1];
	struct launch_rlimit upside = {.resource = 7, .soft = 2, .hard = 1};
	(void)state;
	l.netns_fd = 3;
	refused(l);
	l = whole();
	l.log_fd = LAUNCH_FDS_MAX;
	refused(l);
	l = whole();
	l.argv.count = 0;
	refused(l);
	l = whole();
	wrong.fd = -1;
	l.mounts = &wrong;
	l.mounts_count = 1;
	refused(l);
	l = whole();
	l.rlimits = &upside;
	refused(l);
	l = whole();
	l.layers.count = 0;
	refused(l);
}

static void
test_other_verbs(void **state)
{
	struct launch l = whole(), *got;
	struct arena arena;
	struct buf b;
	(void)state;
	buf_init(&b, MEM_RUNTIME, LAUNCH_BYTES_MAX);
	l.verb = LAUNCH_EXEC;
	l.pidfd = 8;
	l.stream_fd = 9;
	l.tty = true;
	l.rows = 24;
	launch_encode(&l, &b);
	assert_int_equal(decode(b.data, b.length, &arena, &got), 0);
	assert_int_equal(got->rows, 24);
	arena_fini(&arena);
	buf_reset(&b);
	l.verb = LAUNCH_LOGS;
	l.tail = 10;
	l.since_wall_ns = -1;
	launch_encode(&l, &b);
	assert_int_equal(decode(b.data, b.length, &arena, &got), 0);
	assert_int_equal(got->tail, 10);
	assert_int_equal(got->since_wall_ns, -1);
	arena_fini(&arena);
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_run_survives),
		cmocka_unit_test(test_a_hold_survives),
		cmocka_unit_test(test_a_lease_survives),
		cmocka_unit_test(test_every_cut_is_refused),
		cmocka_unit_test(test_meaning_is_checked),
		cmocka_unit_test(test_other_verbs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
