/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each line of the table in spec/doc_available.c is refused, by a document that asks for nothing
 * else; and what stands beside it is accepted. A line that is removed there is removed here.
 */
#include "tests/unit/spec/spec_test.h"

#include <fcntl.h>
#include "base/fd.h"
#include "spec/yaml.h"

static const char *root;

#define EP "    endpoints: [{name: a, protocol: http, port: 80, "

/* Lines below "web:", or a whole document when it begins with "version". */
static const char *const refused[] = {
	SPEC_TEST_WEB "tunnels: {t: {from: a, to: b, local_port: 1, remote_port: 1}}\n",
	SPEC_TEST_WEB "    endpoints: [{name: a, protocol: http, port: 80}]\n"
		      "routes: [{targets: [{service: web, weight: 100}]}]\n",
	SPEC_TEST_WEB "externals: {old: {backends: ['10.0.0.1:80']}}\n",
	"    env: {A: x$S:key}\n",
	"    network: {join: {mode: open}}\n",
	"    network: {join: {scope: global}}\n",
	EP "tunnel: {enabled: true}}]\n",
	EP "auth: {basic: $S:users}}]\n",
	EP "limits: {rps: 5}}]\n",
	NULL, /* burst needs rps */
	EP "limits: {concurrent: 5}}]\n",
	EP "balance: least_conn}]\n",
	EP "balance: {hash: client_ip}}]\n",
	EP "balance: {sticky: cookie}}]\n",
	"    health: {check: {type: http, url: 'http://a/'}}\n",
	"    init: {steps: [{id: a, uses: init.wait_http, with: {url: 'https://a/'}}]}\n",
	"    storage: [{type: template, target: /x, content: ''}]\n",
	"    seccomp: /etc/x.json\n",
	"    runtime: crun\n",
	"    gpu: 1\n",
	"    wasm: true\n",
	"    isolation: vm\n",
	"    platform: plan9/mips\n",
};

static const char *const accepted[] = {
	"",
	"    env: {A: $E:HOME, B: $$S:x}\n",
	EP "limits: {body: 1Mi, header: 8Ki, allow: [10.0.0.0/8], deny: [10.1.0.0/16]}}]\n",
	EP "balance: round_robin}]\n",
	EP "balance: p2c}]\n",
	"    scale: {mode: adaptive, min: 1, max: 3, targets: {}}\n",
	"    scale: {mode: fixed, replicas: 0}\n",
	"    update: {on_failure: pause}\n",
	"    rtype: job\n",
	"    rtype: cron\n    schedule: '* * * * *'\n    cron: {overlap: replace, catch_up: all,"
	" on_loss: retry}\n",
	"    init: {steps: [{id: a, uses: init.run, with: {command: x}}]}\n",
	"    errors: {on_init_failure: {action: backoff}}\n",
	"    depends: [{service: db}]\n  db: {image: {name: a}}\n",
	"    depends: []\n    init: {steps: []}\n",
	"    health: {check: {type: tcp, port: 1}}\n",
	"    errors: {on_init_failure: {action: fail}, on_panic: {action: shutdown}}\n",
	"    errors: {on_panic: {action: isolate}}\n",
	"    node: {mode: shared, selector: {labels: {}}, spread: zone, tolerate: [batch]}\n",
	"    node: {mode: dedicated, selector: {labels: {disk: ssd}, prefer_labels: {zone: a}}}\n",
	"    node: {mode: exclusive}\n",
	"    network: {overlays: {service: {enabled: true}, global: {isolated: false}}}\n",
	"    network: {overlays: {service: {enabled: false}}}\n",
	"    network: {overlays: {service: {encrypted: false}}}\n",
	"    network: {overlays: {service: {isolated: false}}}\n",
	"    network: {overlays: {global: {enabled: false}}}\n",
	"    network: {overlays: {global: {encrypted: false}}}\n",
	"    network: {overlays: {global: {isolated: true}}}\n",
	EP "expose: public}]\n    scale: {mode: adaptive, min: 0, max: 3, cooldown: 15s,"
	   " targets: {cpu: 50%, rps: 10}}\n",
	"    storage: [{type: bind, source: /a, target: /a}, {type: named, name: n, target: /b},"
	" {type: anonymous, target: /c}, {type: tmpfs, target: /d, size: 1Mi}]\n",
	"    seccomp: unconfined\n    runtime: builtin\n    gpu: 0\n    wasm: false\n",
	SPEC_TEST_WEB "tunnels: {}\nroutes: []\nexternals: {}\n",
};

static size_t
count_findings(const char *lines, char *out, size_t cap)
{
	char text[2048];
	struct diag_list diags;
	struct doc *doc;
	size_t count;
	int rc;

	snprintf(text, sizeof(text), "%s%s", strncmp(lines, "version", 7) == 0 ? "" : SPEC_TEST_WEB,
		 lines);
	doc = spec_test_parse(text);
	diag_list_init(&diags);
	rc = doc_check_available(doc, &diags);
	count = diag_count(&diags);
	assert_int_equal(rc != 0, count != 0);
	if (count > 0) {
		snprintf(out, cap, "%s %s", diags.items[0].code, diags.items[0].text);
		assert_true(diags.items[0].pos.line > 0);
	}
	diag_list_fini(&diags);
	doc_free(doc);
	return count;
}

static void
test_refused(void **state)
{
	char text[256];

	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		if (refused[i] == NULL)
			continue;
		if (count_findings(refused[i], text, sizeof(text)) != 1)
			fail_msg("%s", refused[i]);
		assert_true(strncmp(text, "not-available ", 14) == 0 ||
			    strncmp(text, "not-supported ", 14) == 0);
	}
	assert_int_equal(count_findings("    rtype: job\n" EP "path: /a}]\n", text, sizeof(text)),
			 1);
	assert_int_equal(count_findings("    rtype: cron\n    schedule: '* * * * *'\n" EP
					"path: /a}]\n",
					text, sizeof(text)),
			 1);
	assert_int_equal(count_findings("    storage: [{type: named, name: n, target: /x, "
					"size: 1Gi}]\n",
					text, sizeof(text)),
			 1);
	assert_int_equal(count_findings(EP "limits: {rps: 5, burst: 6}}]\n", text, sizeof(text)),
			 2);
}

static void
test_accepted(void **state)
{
	char text[256];

	(void)state;
	for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++) {
		if (count_findings(accepted[i], text, sizeof(text)) != 0)
			fail_msg("%s: %s", accepted[i], text);
	}
}

/* The source itself: as many lines there as documents here. */
static void
test_each_line(void **state)
{
	char path[512];
	size_t lines = 0;
	struct err err = {0};
	struct buf source;

	(void)state;
	snprintf(path, sizeof(path), "%s/spec/doc_available.c", root);
	buf_init(&source, MEM_SPEC, 1 << 20);
	assert_int_equal(fd_read_file(AT_FDCWD, path, &source, &err), 0);
	for (const char *at = buf_cstr(&source); (at = strstr(at, "\n\t{\"")) != NULL; at++)
		lines++;
	buf_fini(&source);
	assert_int_equal(lines, sizeof(refused) / sizeof(refused[0]));
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_accepted),
		cmocka_unit_test(test_each_line),
	};
	struct err err = {0};

	if (argc < 3 || dl_load_yaml(&err) != 0)
		return 1;
	root = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
