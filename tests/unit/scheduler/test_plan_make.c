/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/plan_make.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "spec/yaml.h"
#include "tests/support/sweep.h"

static struct config config;
static struct diag_list diags;

static const char full[] =
	"version: v1\n"
	"deployment: shop\n"
	"services:\n"
	"  web:\n"
	"    image: {name: registry.test:5000/web, pull_policy: never}\n"
	"    command: {args: [--port=80, \"\"], workdir: /srv}\n"
	"    env: {REGION: \"in-$E:REGION\", PLAIN: x}\n"
	"    endpoints: [{name: http, protocol: http, port: 80, host: a.test, expose: public}]\n"
	"    resources: {cpu: 0.5, memory: 32Mi, pids: 7}\n"
	"    cap_add: [NET_ADMIN]\n"
	"    cap_drop: [ALL]\n"
	"    storage: [{type: tmpfs, target: /tmp, size: 16Mi}, {type: named, name: data,"
	" target: /data}]\n"
	"    health: {interval: 2s, check: {type: command, command: test -e /ok}}\n"
	"    stop_signal: INT\n";

static struct doc *
parse(const char *text)
{
	struct doc *doc = NULL;
	struct buf out;

	diag_list_init(&diags);
	if (doc_parse(text, strlen(text), "t.yaml", &doc, &diags) < 0) {
		buf_init(&out, MEM_SPEC, 1 << 20);
		diag_render(&diags, &out);
		fprintf(stderr, "%s", buf_cstr(&out));
		fail();
	}
	diag_list_fini(&diags);
	return doc;
}

static int
setup(void **state)
{
	(void)state;
	config_defaults(&config);
	config.node.env_count = 2;
	strcpy(config.node.env[0].text, "REGION");
	strcpy(config.node.env[1].text, "UNSET");
	config.node.env_values[0].given = true;
	strcpy(config.node.env_values[0].text, "eu");
	return 0;
}

static struct plan_make_input
input(const struct doc *doc)
{
	return (struct plan_make_input){
		.config = &config,
		.deployment = doc->deployment,
		.service = &doc->services[0],
		.image_digest = "",
		.replica = 9,
		.service_id = 4,
		.index = 2,
		.revision = 3,
	};
}

static void
test_everything_arrives(void **state)
{
	struct doc *doc = parse(full);
	struct plan_make_input in = input(doc);
	struct arena arena;
	struct err err = {0};
	uint8_t sha256[32];
	struct plan *p;
	struct buf out;

	(void)state;
	buf_init(&out, MEM_SCHEDULER, PLAN_BYTES_MAX);
	arena_init(&arena, MEM_SCHEDULER, 1 << 20);
	assert_int_equal(plan_make_bytes(&in, &out, sha256, &err), 0);
	assert_int_equal(plan_decode(out.data, out.length, &arena, &p, &err), 0);
	assert_int_equal(p->replica, 9);
	assert_string_equal(p->image, "registry.test:5000/web:latest");
	assert_null(p->image_digest);
	assert_int_equal(p->pull, PLAN_PULL_NEVER);
	assert_false(p->entrypoint.given);
	assert_true(p->args.given);
	assert_int_equal(p->args.count, 2);
	assert_string_equal(p->args.items[1], "");
	assert_string_equal(p->hostname, "web-2");
	assert_int_equal(p->env_count, 2);
	assert_string_equal(p->env[0].value, "x");
	assert_string_equal(p->env[1].value, "in-eu");
	assert_int_equal(p->cpu_milli, 500);
	assert_int_equal(p->memory_bytes, 32 << 20);
	assert_int_equal(p->pids, 7);
	assert_string_equal(p->cap_add.items[0], "CAP_NET_ADMIN");
	assert_string_equal(p->cap_drop.items[0], "ALL");
	assert_true(p->no_new_privs);
	assert_int_equal(p->mounts_count, 2);
	assert_int_equal(p->mounts[0].kind, PLAN_MOUNT_TMPFS);
	assert_int_equal(p->mounts[0].mode, 01777);
	assert_string_equal(p->mounts[1].source, "data");
	assert_int_equal(p->stop_signal, 2);
	assert_int_equal(p->health_command.count, 3);
	assert_string_equal(p->health_command.items[2], "test -e /ok");
	assert_int_equal(p->health_interval_ms, 2000);
	arena_fini(&arena);
	buf_fini(&out);
	doc_free(doc);
}

static int
make_with(const char *old, const char *new, uint8_t make[32], struct err *err)
{
	char text[sizeof(full) + 256];
	const char *at = strstr(full, old);

	assert_non_null(at);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - full), full, new, at + strlen(old));
	struct doc *doc = parse(text);
	struct plan_make_input in = input(doc);
	int rc = plan_make_digest(&in, make, err);
	doc_free(doc);
	return rc;
}

static bool
same_make(const char *old, const char *new)
{
	uint8_t a[32], b[32];
	struct err err = {0};

	assert_int_equal(make_with("x", "x", a, &err), 0);
	assert_int_equal(make_with(old, new, b, &err), 0);
	return memcmp(a, b, 32) == 0;
}

static void
test_what_makes_another_replica(void **state)
{
	(void)state;
	assert_true(same_make("host: a.test", "host: b.test"));
	assert_true(same_make("stop_signal: INT", "stop_signal: INT\n    scale: {replicas: 4}"));
	assert_false(same_make("port: 80", "port: 81"));
	assert_false(same_make("PLAIN: x", "PLAIN: y"));
	assert_false(same_make("interval: 2s", "interval: 3s"));
	assert_false(same_make("32Mi", "33Mi"));
}

static void
test_variables_of_the_node(void **state)
{
	struct err err = {0};
	uint8_t make[32];

	(void)state;
	assert_int_equal(make_with("$E:REGION", "$E:OTHER", make, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_non_null(strstr(err.what, "services.web.env.REGION: $E:OTHER"));
	assert_non_null(strstr(err.fix, "node.env"));
	assert_int_equal(make_with("$E:REGION", "$E:UNSET", make, &err), -1);
	assert_non_null(strstr(err.why[0], "not set"));
	assert_int_equal(make_with("$E:REGION", "$S:key", make, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
}

static void
test_out_of_memory(void **state)
{
	struct doc *doc = parse(full);
	struct plan_make_input in = input(doc);

	(void)state;
	sweep_each(s)
	{
		struct err err = {0};
		uint8_t make[32];
		int rc = plan_make_digest(&in, make, &err);

		assert_int_equal(rc < 0, sweep_failed());
		assert_true(rc == 0 || err.kind == ERR_NO_MEMORY || err.kind == ERR_LIMIT);
	}
	doc_free(doc);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_everything_arrives, setup),
		cmocka_unit_test_setup(test_what_makes_another_replica, setup),
		cmocka_unit_test_setup(test_variables_of_the_node, setup),
		cmocka_unit_test_setup(test_out_of_memory, setup),
	};
	struct err err = {0};

	if (dl_load_yaml(&err) < 0) {
		printf("1..0 # SKIP libyaml is missing\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
