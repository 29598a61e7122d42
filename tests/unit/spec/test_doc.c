/* SPDX-License-Identifier: Apache-2.0 */
/* Good documents: the example of the specification, defaults, dumps, look-up, running out of
 * memory. */
#include "tests/unit/spec/spec_test.h"

#include <fcntl.h>
#include "base/fd.h"
#include "spec/yaml.h"
#include "tests/support/sweep.h"

static char example[8192];

static void
check_round_trip(const char *text)
{
	struct doc *first = spec_test_parse(text), *second, *third;
	struct buf yaml_out, json_out, again;

	buf_init(&yaml_out, MEM_SPEC, 1 << 20);
	buf_init(&json_out, MEM_SPEC, 1 << 20);
	buf_init(&again, MEM_SPEC, 1 << 20);
	doc_dump_yaml(first, &yaml_out);
	doc_dump_json(first, &json_out);
	second = spec_test_parse(buf_cstr(&yaml_out));
	third = spec_test_parse(buf_cstr(&json_out));
	doc_dump_yaml(second, &again);
	assert_string_equal(buf_cstr(&again), buf_cstr(&yaml_out));
	buf_reset(&again);
	doc_dump_yaml(third, &again);
	assert_string_equal(buf_cstr(&again), buf_cstr(&yaml_out));
	buf_fini(&yaml_out);
	buf_fini(&json_out);
	buf_fini(&again);
	doc_free(first);
	doc_free(second);
	doc_free(third);
}

static void
test_example(void **state)
{
	struct doc *doc = spec_test_parse(example);
	const struct doc_service *web = doc_service_find(doc, "web");

	(void)state;
	assert_string_equal(doc->deployment, "shop");
	assert_int_equal(doc->services_count, 4);
	assert_int_equal(web->resources.cpu_milli, 500);
	assert_int_equal(web->resources.memory_bytes, 128 << 20);
	assert_int_equal(web->scale.targets.cpu_percent, 70);
	assert_true(web->network.overlays.global.enabled);
	assert_false(web->network.overlays.global.isolated);
	assert_int_equal(web->health.check.port, 8080);
	assert_int_equal(web->init.steps_count, 2);
	assert_true(web->init.steps[1].with.command.shell);
	assert_true(web->command.has_args && !web->command.has_entrypoint);
	assert_string_equal(doc->start_order[doc->services_count - 1]->name, "web");
	assert_string_equal(web->image.ref.registry, "registry.test:5000");
	assert_null(doc_service_find(doc, "none"));
	doc_free(doc);
	check_round_trip(example);
}

static void
test_quick_start(void **state)
{
	struct diag_list diags;
	struct doc *doc;

	(void)state;
	doc = spec_test_parse(
		"version: v1\ndeployment: my-app\nservices:\n  web:\n"
		"    rtype: service\n    image:\n      name: nginx:latest\n"
		"    endpoints:\n      - name: http\n        protocol: http\n"
		"        port: 80\n        expose: public\n"
		"    scale:\n      mode: adaptive\n      min: 1\n      max: 5\n"
		"    health:\n      check:\n        type: http\n        url: /health\n"
		"        expect_status: 200\n");
	diag_list_init(&diags);
	assert_int_equal(doc_check_available(doc, &diags), 0);
	assert_string_equal(doc->services[0].image.ref.name, "library/nginx");
	diag_list_fini(&diags);
	doc_free(doc);
}

/* The dump says every default; none of them may count as asked for. */
static void
test_dump_is_available(void **state)
{
	struct doc *doc = spec_test_parse(SPEC_TEST_WEB), *again;
	struct diag_list diags;
	struct buf out;

	(void)state;
	buf_init(&out, MEM_SPEC, 1 << 20);
	doc_dump_yaml(doc, &out);
	again = spec_test_parse(buf_cstr(&out));
	diag_list_init(&diags);
	assert_int_equal(doc_check_available(again, &diags), 0);
	diag_list_fini(&diags);
	buf_fini(&out);
	doc_free(doc);
	doc_free(again);
}

static const char everything[] = SPEC_TEST_HEAD
	"services:\n"
	"  web: &web\n"
	"    image: {name: \"nginx@sha256:"
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}\n"
	"    command: {entrypoint: [], args: [\"a b\", 'yes', \"\\u0085\\x07\"], workdir: /srv/}\n"
	"    resources: {cpu: 2.25, memory: 1Gi, memory_swap: 2Gi, memory_reservation: 512Mi,\n"
	"      pids: 100, cpu_shares: 512, cpuset: \"0-3,5\", oom_score_adj: -5,\n"
	"      ulimits: {nofile: 1024, core: {soft: 0, hard: unlimited}}}\n"
	"    env: {A: \"\", B: 'x$$E:y', C: \"a$E:X-$S:@db/pass.$\", D: 12, E: true}\n"
	"    network: {overlays: {service: {encrypted: false}}, join: {mode: open, scope: "
	"global}}\n"
	"    endpoints:\n"
	"      - {name: a, protocol: http, port: 80, host: '*.Shop.Test', path: /a/, strip_path: "
	"true,\n"
	"         limits: {rps: 5, burst: 10, body: 1Mi, header: 8Ki, concurrent: 9,\n"
	"           allow: [10.0.0.0/8, 'fd00::/8'], deny: []},\n"
	"         auth: {jwt: {secret: $S:k, claims: {aud: shop}}}, balance: {hash: header, name: "
	"x-user},\n"
	"         tunnel: {enabled: true, remote_port: 9, access: {enabled: true, max_ttl: 5m}}}\n"
	"      - {name: b, protocol: udp, port: 53, stream: {session_timeout: 5s,\n"
	"         health_check: {type: udp_probe, request: ping, expect: pong}}}\n"
	"      - {name: c, protocol: websocket, port: 443, balance: {sticky: cookie}}\n"
	"    scale: {mode: manual, replicas: 3}\n"
	"    node: {tolerate: [gpu], spread: zone}\n"
	"    node_mode: exclusive\n"
	"    node_selector: {labels: {disk: ssd}}\n"
	"    devices: [{path: /dev/fuse, mknod: true}]\n"
	"    capabilities: [NET_ADMIN, cap_sys_time]\n"
	"    cap_drop: [all]\n"
	"    volumes:\n"
	"      - {type: bind, source: /srv, target: /srv, readonly: true}\n"
	"      - {type: named, name: data, target: /data, size: 1Gi}\n"
	"      - {type: anonymous, target: /x}\n"
	"      - {type: tmpfs, target: /tmp, mode: 0700}\n"
	"      - {type: template, target: /etc/x, content: \"a\\nb: {{c}}\\n\"}\n"
	"    update: {order: stop-first, max_surge: 0, on_failure: pause, drain: 1500ms}\n"
	"    hostname: Web-1\n"
	"    user: 1000:app\n"
	"    labels: {team: shop, tier: \"1\"}\n"
	"    stop_signal: SIGINT\n"
	"    sysctls: {net.core.somaxconn: 1024}\n"
	"    extra_hosts: {old.test: 10.0.0.9}\n"
	"    seccomp: /etc/seccomp.json\n"
	"    runtime: /usr/bin/kata\n"
	"    logs: {max_size: 1Mi, max_files: 2}\n"
	"    health: {check: {type: command, command: [/bin/check, -x]}}\n"
	"    init: {steps: [{id: w, uses: init.wait_http, with: {url: 'http://a/', expect_status: "
	"204}}]}\n"
	"    gpu: 1\n"
	"    wasm: true\n"
	"    isolation: vm\n"
	"    platform: linux/arm64\n"
	"  copy: {<<: *web, stop_signal: 35, runtime: exec, cap_drop: []}\n"
	"externals:\n"
	"  old: {backends: ['10.0.0.5:80', '[fd00::1]:80'], endpoints: [{name: x, protocol: http, "
	"port: 80}],\n"
	"    health: {check: {type: tcp}}}\n"
	"routes:\n"
	"  - {host: r.test, url_prefix: /v1, targets: [{service: web, endpoint: a, weight: 90},\n"
	"     {service: old, weight: 10}], mirror: {service: copy, percent: 5}, sticky: "
	"{client_ip: "
	"true},\n"
	"     feedback: {percent: 1}}\n"
	"tunnels:\n"
	"  t: {from: a, to: b, local_port: 1, remote_port: 2, protocol: udp, expose: public}\n";

static void
test_everything(void **state)
{
	struct doc *doc;
	const struct doc_service *web;

	(void)state;
	check_round_trip(everything);
	doc = spec_test_parse(everything);
	web = doc_service_find(doc, "web");
	assert_string_equal(web->endpoints[0].host, "*.shop.test");
	assert_string_equal(web->endpoints[0].path, "/a");
	assert_int_equal(web->placement.mode, DOC_NODE_EXCLUSIVE);
	assert_true(web->cap_drop == DOC_CAPS_ALL);
	assert_int_equal(web->storage[3].mode, 0700);
	assert_int_equal(web->stop_signal, 2);
	/* What one overlay says changes nothing else of it, and nothing of the other. */
	assert_false(web->network.overlays.service.encrypted);
	assert_true(web->network.overlays.service.enabled &&
		    web->network.overlays.service.isolated);
	assert_true(web->network.overlays.global.enabled && web->network.overlays.global.encrypted);
	assert_false(web->network.overlays.global.isolated);
	assert_string_equal(web->command.workdir, "/srv");
	assert_true(web->command.has_entrypoint && web->command.entrypoint.count == 0);
	assert_int_equal(web->resources.ulimits[0].hard, UINT64_MAX);
	assert_true(doc_given(web->node, "storage"));
	assert_true(doc_where(web->placement.node, "spread").line > 0);
	doc_free(doc);
}

static void
test_env(void **state)
{
	struct doc *doc = spec_test_parse(everything);
	const struct doc_env *env = doc_service_find(doc, "web")->env;

	(void)state;
	assert_int_equal(env[0].pieces_count, 0);
	assert_int_equal(env[1].pieces_count, 2);
	assert_string_equal(env[1].pieces[0].text, "x$");
	assert_string_equal(env[1].pieces[1].text, "E:y");
	assert_int_equal(env[2].pieces_count, 5);
	assert_int_equal(env[2].pieces[1].kind, DOC_ENV_NODE);
	assert_string_equal(env[2].pieces[1].text, "X");
	assert_string_equal(env[2].pieces[2].text, "-");
	assert_int_equal(env[2].pieces[3].kind, DOC_ENV_SECRET);
	assert_string_equal(env[2].pieces[3].service, "db");
	assert_string_equal(env[2].pieces[3].text, "pass");
	assert_string_equal(env[2].pieces[4].text, ".$");
	assert_string_equal(env[3].value, "12");
	doc_free(doc);
}

static void
test_update_defaults(void **state)
{
	struct doc *doc = spec_test_parse(SPEC_TEST_WEB
					  "    update: {drain: 5s}\n"
					  "  db:\n    image: {name: pg}\n"
					  "    storage: [{type: named, name: d, target: /d}]\n");
	const struct doc_update defaults = {
		.order = DOC_ORDER_START_FIRST, .max_surge = 2, .drain_ms = 1, .monitor_ms = 2};
	const struct doc_service *web = doc_service_find(doc, "web");
	const struct doc_service *db = doc_service_find(doc, "db");

	(void)state;
	assert_int_equal(db->update.order, DOC_ORDER_STOP_FIRST);
	assert_int_equal(web->update.order, DOC_ORDER_START_FIRST);
	doc_set_update_defaults(doc, &defaults);
	assert_int_equal(db->update.order, DOC_ORDER_STOP_FIRST);
	assert_int_equal(web->update.drain_ms, 5000);
	assert_int_equal(web->update.monitor_ms, 2);
	assert_int_equal(web->update.max_surge, 2);
	doc_free(doc);
}

static void
test_iteration(void **state)
{
	struct doc *doc = spec_test_parse(everything);
	struct doc_endpoint_iter it = {0};
	size_t services = 0, externals = 0;

	(void)state;
	while (doc_endpoint_next(doc, &it)) {
		services += it.service != NULL;
		externals += it.external != NULL;
	}
	assert_int_equal(services, 6);
	assert_int_equal(externals, 1);
	assert_non_null(doc_endpoint_find(doc_service_find(doc, "web"), "b"));
	assert_non_null(doc_external_find(doc, "old"));
	doc_free(doc);
}

static void
test_later_diagnostic(void **state)
{
	struct doc *doc = spec_test_parse(SPEC_TEST_WEB);
	struct diag_list diags;
	struct buf out;

	(void)state;
	diag_list_init(&diags);
	buf_init(&out, MEM_SPEC, 4096);
	doc_diag(doc, &diags, doc->services[0].image.node, "name", "image-not-found", "push it",
		 "not found in %s", "docker.io");
	diag_render(&diags, &out);
	assert_string_equal(buf_cstr(&out),
			    "test.yaml:5:19: services.web.image.name: not found in docker.io\n"
			    "    4 |   web:\n"
			    "    5 |     image: {name: nginx}\n"
			    "      |                   ^^^^^\n"
			    "  fix   push it\n"
			    "1 file, 1 error. Nothing was changed.\n");
	buf_fini(&out);
	diag_list_fini(&diags);
	doc_free(doc);
}

static void
test_sweep(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct diag_list diags;
		struct doc *doc;
		int rc;

		diag_list_init(&diags);
		rc = doc_parse(everything, strlen(everything), "test.yaml", &doc, &diags);
		assert_int_equal(rc != 0, sweep_failed());
		assert_int_equal(diags.no_memory, sweep_failed());
		assert_int_equal(doc == NULL, rc != 0);
		doc_free(doc);
		diag_list_fini(&diags);
	}
}

static void
test_sweep_errors(void **state)
{
	static const char text[] = SPEC_TEST_WEB "    endpoint: []\n    scale: 5\n";

	(void)state;
	sweep_each(s)
	{
		struct diag_list diags;
		struct doc *doc;

		diag_list_init(&diags);
		assert_int_equal(doc_parse(text, strlen(text), "test.yaml", &doc, &diags), -1);
		assert_int_equal(diags.no_memory, sweep_failed());
		assert_null(doc);
		diag_list_fini(&diags);
	}
}

static void
test_large(void **state)
{
	size_t bytes = DOC_BYTES_MAX + 1;
	char *text = mem_alloc(MEM_SPEC, bytes);
	struct diag_list diags;
	struct doc *doc;

	(void)state;
	memset(text, '#', bytes);
	diag_list_init(&diags);
	assert_int_equal(doc_parse(text, bytes, "test.yaml", &doc, &diags), -1);
	assert_string_equal(diags.items[0].code, "too-large");
	diag_list_fini(&diags);
	mem_free(text);
}

/* Small as it is written, too large with its defaults: it could not be read again. */
static void
test_large_dump(void **state)
{
	struct diag_list diags;
	struct doc *doc;
	struct buf text;

	(void)state;
	buf_init(&text, MEM_SPEC, DOC_BYTES_MAX);
	buf_puts(&text, SPEC_TEST_HEAD "services:\n");
	for (int i = 0; i < 1000; i++)
		buf_printf(&text,
			   "  s%d: {image: {name: a}, endpoints: [{name: e, protocol: http, port: "
			   "80}, {name: f, protocol: http, port: 81}]}\n",
			   i);
	diag_list_init(&diags);
	assert_int_equal(doc_parse(buf_cstr(&text), text.length, "test.yaml", &doc, &diags), -1);
	assert_int_equal(diags.count, 1);
	assert_string_equal(diags.items[0].code, "too-large");
	diag_list_fini(&diags);
	buf_fini(&text);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_example),
		cmocka_unit_test(test_quick_start),
		cmocka_unit_test(test_dump_is_available),
		cmocka_unit_test(test_everything),
		cmocka_unit_test(test_env),
		cmocka_unit_test(test_update_defaults),
		cmocka_unit_test(test_iteration),
		cmocka_unit_test(test_later_diagnostic),
		cmocka_unit_test(test_sweep),
		cmocka_unit_test(test_sweep_errors),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_large_dump),
	};
	struct err err = {0};
	char path[512];
	struct buf text;

	if (argc < 3 || dl_load_yaml(&err) != 0)
		return 1;
	snprintf(path, sizeof(path), "%s/tests/unit/spec/example.yaml", argv[2]);
	buf_init(&text, MEM_SPEC, sizeof(example) - 1);
	if (fd_read_file(AT_FDCWD, path, &text, &err) != 0)
		return 1;
	memcpy(example, buf_cstr(&text), text.length);
	buf_fini(&text);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
