/* SPDX-License-Identifier: Apache-2.0 */
/* What a plan and an image make of a process: words, variables, rights, limits. */
#include "runtime/container_process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <cmocka.h>
#include "runtime/launch.h"
#include "tests/support/sweep.h"

#define TEXT(s) ((char *)(uintptr_t)(s)) /* the structures' texts are never written */
#define BIT(n) (UINT64_C(1) << (n))

enum { CAP_CHOWN = 0, CAP_NET_BIND_SERVICE = 10, CAP_NET_RAW = 13, CAP_SYS_ADMIN = 21 };

static char *image_env[] = {TEXT("PATH=/image"), TEXT("LANG=C"), TEXT("no-value")};
static char *image_entry[] = {TEXT("/entry")};
static char *image_cmd[] = {TEXT("one"), TEXT("two")};

struct made {
	struct container c;
	struct plan plan;
	struct image_record image;
	struct arena arena;
	struct launch launch;
	struct err err;
};

static void
made_init(struct made *m)
{
	memset(m, 0, sizeof(*m));
	m->plan.service_name = TEXT("web");
	m->plan.index = 2;
	m->plan.image = TEXT("registry.test/app:1");
	m->plan.seccomp = PLAN_SECCOMP_UNCONFINED;
	m->image.env = (struct image_list){image_env, 3};
	m->image.entrypoint = (struct image_list){image_entry, 1};
	m->image.cmd = (struct image_list){image_cmd, 2};
	m->c.plan = &m->plan;
	m->c.image = &m->image;
	m->c.replica = 7;
	m->c.attempt = 3;
	arena_init(&m->arena, MEM_RUNTIME, 1 << 20);
	launch_init(&m->launch);
}

static void
again(struct made *m)
{
	arena_reset(&m->arena);
	launch_init(&m->launch);
	m->err = (struct err){0};
}

static int
process(struct made *m)
{
	again(m);
	return container_process(&m->c, &m->launch, &m->arena, &m->err);
}

static int
argv(struct made *m)
{
	again(m);
	return container_process_argv(&m->c, &m->launch, &m->arena, &m->err);
}

static void
test_words(void **state)
{
	static char *entry[] = {TEXT("/other")}, *args[] = {TEXT("x")}, *empty[] = {TEXT("")};
	struct made m;

	(void)state;
	made_init(&m);
	assert_int_equal(argv(&m), 0);
	assert_int_equal(m.launch.argv.count, 3);
	assert_string_equal(m.launch.argv.items[0], "/entry");
	assert_string_equal(m.launch.argv.items[2], "two");
	m.plan.args = (struct plan_list){.given = true, .items = args, .count = 1};
	assert_int_equal(argv(&m), 0);
	assert_int_equal(m.launch.argv.count, 2);
	assert_string_equal(m.launch.argv.items[1], "x");
	m.plan.entrypoint = (struct plan_list){.given = true, .items = entry, .count = 1};
	assert_int_equal(argv(&m), 0);
	assert_string_equal(m.launch.argv.items[0], "/other");
	m.plan.entrypoint.items = empty;
	assert_int_equal(argv(&m), -1);
	assert_int_equal(m.err.kind, ERR_INVALID);
	/* Given and empty: the image's do not come back. */
	m.plan.entrypoint = (struct plan_list){.given = true};
	m.plan.args = (struct plan_list){.given = true};
	assert_int_equal(argv(&m), -1);
	assert_string_equal(m.err.what, "there is nothing to run");
	arena_fini(&m.arena);
}

static const char *
variable(const struct made *m, const char *key)
{
	const char *found = NULL;
	size_t length = strlen(key);

	for (size_t i = 0; i < m->launch.env.count; i++) {
		const char *item = m->launch.env.items[i];

		if (strncmp(item, key, length) != 0 || item[length] != '=')
			continue;
		assert_null(found);
		found = item + length + 1;
	}
	return found;
}

static void
test_variables(void **state)
{
	static char *bare[] = {TEXT("A=b")};
	struct plan_pair env[] = {{TEXT("LANG"), TEXT("de")}, {TEXT("LANGUAGE"), TEXT("x")}};
	struct made m;

	(void)state;
	made_init(&m);
	m.plan.env = env;
	m.plan.env_count = 2;
	assert_int_equal(process(&m), 0);
	assert_string_equal(variable(&m, "PATH"), "/image");
	assert_string_equal(variable(&m, "LANG"), "de");
	assert_string_equal(variable(&m, "LANGUAGE"), "x");
	assert_string_equal(variable(&m, "HOSTNAME"), "web-2");
	assert_null(variable(&m, "no-value"));
	m.image.env = (struct image_list){bare, 1};
	m.plan.hostname = TEXT("named");
	assert_int_equal(process(&m), 0);
	assert_non_null(strstr(variable(&m, "PATH"), "/usr/bin"));
	assert_string_equal(variable(&m, "HOSTNAME"), "named");
	assert_string_equal(variable(&m, "A"), "b");
	arena_fini(&m.arena);
}

static void
test_user_and_folder(void **state)
{
	struct made m;

	(void)state;
	made_init(&m);
	assert_int_equal(process(&m), 0);
	assert_string_equal(m.launch.workdir, "/");
	assert_string_equal(m.launch.user, "");
	assert_true(m.launch.replica == 7 && m.launch.attempt == 3);
	m.image.workdir = TEXT("srv");
	m.image.user = TEXT("app:app");
	assert_int_equal(process(&m), 0);
	assert_string_equal(m.launch.workdir, "/srv");
	assert_string_equal(m.launch.user, "app:app");
	m.plan.workdir = TEXT("/data");
	m.plan.user = TEXT("1000");
	assert_int_equal(process(&m), 0);
	assert_string_equal(m.launch.workdir, "/data");
	assert_string_equal(m.launch.user, "1000");
	arena_fini(&m.arena);
}

static void
test_rights(void **state)
{
	static char *all[] = {TEXT("ALL")}, *bind[] = {TEXT("NET_BIND_SERVICE")},
		    *raw[] = {TEXT("cap_net_raw")}, *odd[] = {TEXT("FLYING")};
	struct plan_list none = {0};
	struct made m;

	(void)state;
	made_init(&m);
	assert_int_equal(process(&m), 0);
	assert_true(m.launch.caps & BIT(CAP_CHOWN));
	assert_false(m.launch.caps & BIT(CAP_SYS_ADMIN));
	m.plan.cap_drop = (struct plan_list){.items = raw, .count = 1};
	assert_int_equal(process(&m), 0);
	assert_false(m.launch.caps & BIT(CAP_NET_RAW));
	assert_true(m.launch.caps & BIT(CAP_CHOWN));
	/* Everything but one. */
	m.plan.cap_drop = (struct plan_list){.items = all, .count = 1};
	m.plan.cap_add = (struct plan_list){.items = bind, .count = 1};
	assert_int_equal(process(&m), 0);
	assert_true(m.launch.caps == BIT(CAP_NET_BIND_SERVICE));
	m.plan.cap_drop = none;
	m.plan.cap_add = (struct plan_list){.items = all, .count = 1};
	assert_int_equal(process(&m), 0);
	assert_true(m.launch.caps & BIT(CAP_SYS_ADMIN));
	m.plan.cap_add = (struct plan_list){.items = odd, .count = 1};
	assert_int_equal(process(&m), -1);
	assert_int_equal(m.err.kind, ERR_INVALID);
	m.plan.cap_add = none;
	m.plan.privileged = true;
	assert_int_equal(process(&m), 0);
	assert_true(m.launch.privileged && m.launch.caps & BIT(CAP_SYS_ADMIN));
	arena_fini(&m.arena);
}

static void
test_limits(void **state)
{
	struct plan_ulimit limits[] = {{.name = TEXT("nproc"), .soft = 5, .hard = 6},
				       {.name = TEXT("nofile"), .soft = 7, .hard = 8}};
	struct made m;

	(void)state;
	made_init(&m);
	assert_int_equal(process(&m), 0);
	assert_int_equal(m.launch.rlimits_count, 1);
	assert_int_equal(m.launch.rlimits[0].resource, RLIMIT_NOFILE);
	m.plan.ulimits = limits;
	m.plan.ulimits_count = 1;
	assert_int_equal(process(&m), 0);
	assert_int_equal(m.launch.rlimits_count, 2);
	assert_int_equal(m.launch.rlimits[0].resource, RLIMIT_NPROC);
	assert_true(m.launch.rlimits[0].soft == 5 && m.launch.rlimits[0].hard == 6);
	m.plan.ulimits_count = 2;
	assert_int_equal(process(&m), 0);
	assert_int_equal(m.launch.rlimits_count, 2);
	assert_true(m.launch.rlimits[1].soft == 7);
	limits[0].name = TEXT("nofiles");
	assert_int_equal(process(&m), -1);
	assert_int_equal(m.err.kind, ERR_INVALID);
	arena_fini(&m.arena);
}

static void
test_memory(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct made m;

		made_init(&m);
		if (container_process(&m.c, &m.launch, &m.arena, &m.err) < 0 ||
		    container_process_argv(&m.c, &m.launch, &m.arena, &m.err) < 0)
			assert_int_equal(m.err.kind, ERR_NO_MEMORY);
		else
			assert_false(sweep_failed());
		arena_fini(&m.arena);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),           cmocka_unit_test(test_variables),
		cmocka_unit_test(test_user_and_folder), cmocka_unit_test(test_rights),
		cmocka_unit_test(test_limits),          cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
