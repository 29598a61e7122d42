/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/spec/spec_test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/text.h"
#include "spec/config.h"
#include "spec/yaml.h"
#include "tests/support/sweep.h"

static struct config config;

static bool
only_unavailable(const struct diag_list *diags)
{
	for (size_t i = 0; i < diags->count; i++)
		if (strcmp(diags->items[i].code, "not-available") != 0)
			return false;
	return !diags->no_memory;
}

static int
parse(const char *text, struct diag_list *diags)
{
	int rc, finished;

	config_defaults(&config);
	rc = config_parse(text, strlen(text), "node.yaml", &config, diags);
	if (rc != 0 && !only_unavailable(diags))
		return rc;
	finished = config_finish(&config, diags);
	return rc != 0 ? rc : finished;
}

/* Whole and well-formed; values that this version refuses may be in it. */
static void
check_read(const char *text)
{
	struct diag_list diags;

	diag_list_init(&diags);
	(void)!parse(text, &diags);
	assert_true(only_unavailable(&diags));
	diag_list_fini(&diags);
	assert_ptr_equal(config_check(&config, sizeof(config)), &config);
}

static void
check_good(const char *text)
{
	struct diag_list diags;
	struct buf out;

	diag_list_init(&diags);
	if (parse(text, &diags) != 0) {
		buf_init(&out, MEM_SPEC, 1 << 20);
		diag_render(&diags, &out);
		fail_msg("%s", buf_cstr(&out));
	}
	diag_list_fini(&diags);
	assert_ptr_equal(config_check(&config, sizeof(config)), &config);
}

/* The first finding that is more than a value this version refuses begins with `wanted` ("path:
 * text" or a code). */
static void
check_bad(const char *text, const char *wanted)
{
	struct diag_list diags;
	char got[512] = "nothing";

	diag_list_init(&diags);
	assert_int_equal(parse(text, &diags), -1);
	diag_sort(&diags);
	for (size_t i = diags.count; i-- > 0;)
		if (strcmp(diags.items[i].code, "not-available") != 0)
			snprintf(got, sizeof(got), "%s: %s", diags.items[i].path,
				 diags.items[i].text);
	if (strncmp(got, wanted, strlen(wanted)) != 0)
		fail_msg("%s\ngave \"%s\", wanted \"%s\"", text, got, wanted);
	diag_list_fini(&diags);
}

static void
test_defaults(void **state)
{
	(void)state;
	config_defaults(&config);
	assert_string_equal(config.node.zone, "default");
	assert_int_equal(config.node.uid_base, 790000);
	assert_int_equal(config.proxy.workers, 0);
	assert_int_equal(config.listen.http_count, 2);
	assert_int_equal(config.listen.api.addr.port, 9880);
	assert_int_equal(config.runtime.gc.keep_images_ms, 72 * 3600000);
	assert_int_equal(config.logs.access.sample_ppm, 1000000);
	assert_int_equal(config.deploy.keep_revisions, 10);
	check_good("");
	check_good("# nothing\n\n");
	check_good("node: {advertise: none}");
	assert_true(config.node.advertise_none && !config.node.advertise_auto);
	check_good("node: {advertise: auto}");
	assert_true(config.node.advertise_auto && !config.node.advertise_none);
	check_good("{}");
}

static const char full[] =
	"node:\n  name: edge-1\n  zone: b\n  labels: {gpu: \"true\", disk: ssd}\n"
	"  advertise: 10.0.0.1\n  reserve: {cpu: 0, memory: 1Gi}\n  uid_base: 800000\n"
	"  env: [NODE_REGION, HOME]\n"
	"listen:\n  http: [\"127.0.0.1:8080\"]\n  https: []\n  admin: unix\n  api: off\n"
	"  metrics: \"[::1]:9\"\n  gossip: off\n"
	"dataplane: {vips: [], uplink: off, mode: off, interfaces: auto, max_flows: 4096}\n"
	"tls: {minimum_version: \"1.3\", certificates: /srv/tls, self_signed: false, "
	"expiry_warning: 7d}\n"
	"cluster: {join: [], encrypt: false, suspect_after: 2s, dead_after: 5s}\n"
	"store: {etcd: {endpoints: [\"https://10.0.0.7:2379\", \"https://[fd00::8]:2379\"], "
	"ca: /srv/ca.crt, cert: /srv/c.crt, key: /srv/c.key, user: edge, password_file: "
	"/srv/password, prefix: /edge/one/}}\n"
	"deploy: {order: stop-first, max_surge: 2, health_timeout: 5m, keep_revisions: 3}\n"
	"runtime:\n  state: /srv/zlayer\n  cgroup_parent: /zl\n  mirrors: {docker.io: "
	"[\"http://127.0.0.1:5000\"]}\n"
	"  registries: /srv/registries\n"
	"  seccomp: unconfined\n  no_new_privileges: false\n"
	"  gc: {disk_high: 90, disk_low: 50%, keep_images: 1h}\n"
	"proxy: {workers: 4}\n"
	"logs:\n  format: json\n  level: debug\n"
	"  access: {enabled: false, sample: 0.25, exclude_paths: [/a, /b]}\n"
	"  containers: {max_size: 1Mi, max_files: 9}\n  forward: []\n"
	"metrics: {enabled: false, per_replica: false, max_series_per_service: 50, exemplars: "
	"false}\n"
	"tracing: {endpoint: \"\", sample: 1, propagate: none}\n"
	"dashboard: {enabled: false, auth: none}\n"
	"gitops: []\n";

static void
test_full(void **state)
{
	(void)state;
	check_read(full);
	assert_string_equal(config.node.name, "edge-1");
	assert_string_equal(config.node.labels[0].key, "disk");
	assert_string_equal(config.node.labels[1].value, "true");
	assert_false(config.node.advertise_auto);
	assert_int_equal(config.node.env_count, 2);
	assert_string_equal(config.node.env[1].text, "HOME");
	assert_int_equal(config.listen.https_count, 0);
	assert_int_equal(config.listen.http[0].port, 8080);
	assert_false(config.listen.api.on);
	assert_int_equal(config.logs.access.sample_ppm, 250000);
	assert_int_equal(config.logs.access.exclude_paths_count, 2);
	assert_int_equal(config.proxy.workers, 4);
	assert_int_equal(config.runtime.gc.disk_low_percent, 50);
	assert_int_equal(config.store.etcd.endpoints_count, 2);
	assert_string_equal(config.store.etcd.endpoints[1].text, "https://[fd00::8]:2379");
	assert_string_equal(config.store.etcd.ca, "/srv/ca.crt");
	assert_string_equal(config.store.etcd.key, "/srv/c.key");
	assert_string_equal(config.store.etcd.user, "edge");
	assert_string_equal(config.store.etcd.prefix, "/edge/one/");
}

static void
test_round_trip(void **state)
{
	static struct config first;
	struct buf out, json, again;

	(void)state;
	buf_init(&out, MEM_SPEC, 1 << 20);
	buf_init(&json, MEM_SPEC, 1 << 20);
	buf_init(&again, MEM_SPEC, 1 << 20);
	for (size_t i = 0; i < 2; i++) {
		check_read(i == 0 ? "" : full);
		first = config;
		buf_reset(&out);
		buf_reset(&json);
		buf_reset(&again);
		config_dump_yaml(&first, &out);
		config_dump_json(&first, &json);
		check_read(buf_cstr(&out));
		assert_memory_equal(&first, &config, sizeof(config));
		check_read(buf_cstr(&json));
		config_dump_yaml(&config, &again);
		assert_string_equal(buf_cstr(&again), buf_cstr(&out));
	}
	buf_fini(&out);
	buf_fini(&json);
	buf_fini(&again);
}

static void
test_bad(void **state)
{
	(void)state;
	check_bad("nodes: {}", "nodes: unknown key; did you mean \"node\"?");
	check_bad("node: {nam: x}", "node.nam: unknown key; did you mean \"name\"?");
	check_bad("node: {name: Edge_1}", "node.name: \"Edge_1\" is not a name");
	check_bad("node: {uid_base: 5}", "node.uid_base: 5 is out of range");
	check_bad("node: {env: [1A]}", "node.env[0]: \"1A\" is not a variable");
	check_bad("node: {advertise: [none]}", "node.advertise");
	check_bad("node: {advertise: here}", "node.advertise: \"here\" is not an IP address");
	check_bad("listen: {http: \"0.0.0.0:80\"}", "listen.http: is a text; a list is wanted");
	check_bad("listen: {http: [\"0.0.0.0\"]}", "listen.http[0]: \"0.0.0.0\" is not an address");
	check_bad("listen: {admin: tcp}", "listen.admin: the command line always talks");
	check_bad("listen: {api: \"127.0.0.1:9883\"}", "listen: two listeners have the same");
	check_bad("tls: {minimum_version: 1.1}", "tls.minimum_version: \"1.1\" is not one of");
	check_bad("proxy: {workers: 65}", "proxy.workers: 65 is out of range: 1 to 64");
	check_bad("proxy: {workers: many}", "proxy.workers: \"many\" is not a whole number");
	check_bad("logs: {access: {sample: 2}}", "logs.access.sample: \"2\" is not a number from");
	check_bad("cluster: {dead_after: 1s}", "cluster.dead_after: must be more than");
	check_bad("cluster: {join: [zl1-ticket]}", "cluster.join");
	check_bad("cluster: {join: [\"0.0.0.0:9881\"]}", "cluster.join");
	check_bad("cluster: {join: [\"192.0.2.1\"]}", "cluster.join");
	check_bad("cluster: {dead_after: 11m}", "cluster.dead_after: may be at most 10m");
	check_bad("runtime: {gc: {disk_high: 60}}", "runtime.gc.disk_low: must be less than");
	check_bad("deploy: {max_surge: 0}", "deploy.max_surge: max_surge and max_unavailable");
	check_bad("dashboard: {auth: none}\nlisten: {api: \"0.0.0.0:9880\"}",
		  "dashboard.auth: none is only allowed");
	check_bad("- a", ": is a list; a map is wanted");
	check_bad("node: [", ": did not find");
	check_bad("deploy: {health_timeout: 60}", "deploy.health_timeout: 60 has no unit");
	check_bad("node: {labels: {a: b, a: c}}", "node.labels.a: is given twice");
}

#define PEER(name, address, third)                                          \
	"{name: " name ", address: \"" address "\", prefix4: 10.200." third \
	".0/24, prefix6: \"fd00:" third "::/64\"}"

static void
test_overlay(void **state)
{
	static const char good[] =
		"cluster: {encrypt: false}\nlisten: {vxlan: \"192.0.2.1:4789\"}\n"
		"overlay: {prefix4: 10.200.1.0/24, prefix6: \"fd00:1::/64\", vni: 7, "
		"mtu: 9000, peers: [" PEER("b", "192.0.2.2", "2") ", " PEER("c", "2001:db8::3",
									    "3") "]}\n";

	(void)state;
	check_good(good);
	assert_int_equal(config.overlay.peers_count, 2);
	assert_string_equal(config.overlay.peers[1].name, "c");
	assert_int_equal(config.overlay.peers[0].prefix4.bits, 120);
	assert_int_equal(config.overlay.prefix6.bits, 64);
	assert_int_equal(config.overlay.vni, 7);
	assert_true(config.overlay.rotate_ms == UINT64_C(30) * 86400000);
	/* Bytes from elsewhere. */
	config.overlay.peers[1].prefix4.bits = 119;
	assert_null(config_check(&config, sizeof(config)));
	check_good("overlay: {prefix4: auto}");
	assert_int_equal(config.overlay.prefix4.bits, 0);

	check_good("overlay: {network: auto}");
	assert_int_equal(config.overlay.network.bits, 0);
	assert_int_equal(config_network(&config.overlay).bits, 96 + 16);
	check_good("overlay: {network: 10.128.0.0/9}");
	assert_int_equal(config_network(&config.overlay).bits, 96 + 9);
	config.overlay.network.bits = 96 + 7;
	assert_null(config_check(&config, sizeof(config)));
	check_good("overlay: {network: 192.168.4.0/22, prefix4: 10.200.1.0/24}");
	static const char *const refused[] = {"10.200.1.0/23", "10.0.0.0/7", "11.0.0.0/8",
					      "172.0.0.0/11",  "none",       "fd00::/8",
					      "10.200.0.0"};
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		char text[64];

		text_format(text, sizeof(text), "overlay: {network: \"%s\"}", refused[i]);
		check_bad(text, "overlay.network: ");
	}
	check_bad("overlay: {prefix4: 10.200.0.0/16}",
		  "overlay.prefix4: a prefix here is an IPv4 /24");
	check_bad("overlay: {prefix6: 10.200.1.0/24}",
		  "overlay.prefix6: a prefix here is an IPv6 /64");
	check_bad("overlay: {vni: 16777216}", "overlay.vni: ");
	check_bad("overlay: {mtu: 1300}", "overlay.mtu: ");
	check_good("overlay: {rotate: 0s}\nlisten: {overlay: \"192.0.2.1:1\"}");
	assert_true(config.overlay.rotate_ms == 0 && config.listen.overlay.addr.port == 1);
	check_bad("overlay: {rotate: often}", "overlay.rotate: ");
	check_good("overlay: {rotate: 10m}");
	assert_true(config.overlay.rotate_ms == 600000);
	check_bad("overlay: {rotate: 1s}", "overlay.rotate: must be at least 10m, or 0s for never");
	check_bad("overlay: {rotate: 599s}", "overlay.rotate: must be at least 10m");
	assert_int_equal(config.overlay.backend, CONFIG_BACKEND_AUTO);
	check_good("overlay: {backend: kernel}\nlisten: {overlay: \"[::]:9\"}");
	assert_int_equal(config.overlay.backend, CONFIG_BACKEND_KERNEL);
	check_good("overlay: {backend: kernel}\nlisten: {overlay: off}");
	check_good("overlay: {backend: engine}\nlisten: {overlay: \"192.0.2.1:1\"}");
	assert_int_equal(config.overlay.backend, CONFIG_BACKEND_ENGINE);
	check_bad("overlay: {backend: wireguard}", "overlay.backend: ");
	check_bad("overlay: {backend: kernel}\nlisten: {overlay: \"192.0.2.1:1\"}",
		  "listen.overlay: the kernel's WireGuard listens at all addresses");
	check_bad("overlay: {peers: [{name: b}]}", "overlay.peers[0].address: is required");
	check_bad("overlay: {peers: [" PEER("b", "b.test", "2") "]}", "overlay.peers[0].address: ");
	check_bad("overlay: {peers: [" PEER("b", "0.0.0.0", "2") "]}",
		  "overlay.peers[0].address: ");
	check_bad("overlay: {peers: [" PEER("b", "192.0.2.2", "2") "]}", "cluster.encrypt: ");
	check_bad("cluster: {encrypt: false}\noverlay: {peers: [" PEER(
			  "b", "192.0.2.2", "2") ", " PEER("b", "192.0.2.3", "3") "]}",
		  "overlay.peers: two peers have the same name");
	check_bad("cluster: {encrypt: false}\noverlay: {peers: [" PEER(
			  "b", "192.0.2.2", "2") ", " PEER("c", "192.0.2.2", "3") "]}",
		  "overlay.peers: two peers have the same address");
	check_bad("cluster: {encrypt: false}\noverlay: {peers: [" PEER(
			  "b", "192.0.2.2", "2") ", " PEER("c", "192.0.2.3", "2") "]}",
		  "overlay.peers: two peers have the same prefix");
	check_bad("cluster: {encrypt: false}\noverlay: {prefix4: 10.200.2.0/24, peers: [" PEER(
			  "b", "192.0.2.2", "2") "]}",
		  "overlay.peers: a peer has this node's own prefix");
}

/* An etcd of others: members are addresses, and what goes together is there together. */
static void
test_store(void **state)
{
#define ETCD(text) "store: {etcd: {" text "}}"
	(void)state;
	check_good(ETCD("endpoints: [\"http://127.0.0.1:2379\"]"));
	assert_string_equal(config.store.etcd.prefix, "/zlayer/");
	check_good(ETCD("endpoints: [\"https://10.0.0.7:2379\"], ca: /ca"));
	check_bad(ETCD("endpoints: [\"https://10.0.0.7:2379\"]"), "store.etcd: ca is missing");
	check_bad(ETCD("endpoints: [\"http://10.0.0.7:2379\"]"), "store.etcd.endpoints[0]: ");
	check_bad(ETCD("endpoints: [\"https://etcd.test:2379\"], ca: /ca"),
		  "store.etcd.endpoints[0]: ");
	check_bad(ETCD("endpoints: [\"https://10.0.0.7\"], ca: /ca"), "store.etcd.endpoints[0]: ");
	check_bad(ETCD("endpoints: [\"https://10.0.0.7:2379\"], ca: ca.crt"), "store.etcd.ca: ");
	check_bad(ETCD("endpoints: [\"http://127.0.0.1:1\"], cert: /c"),
		  "store.etcd: cert and key");
	check_bad(ETCD("endpoints: [\"http://127.0.0.1:1\"], user: edge"),
		  "store.etcd: user and password_file");
	check_bad(ETCD("ca: /ca"), "store.etcd: endpoints are missing");
	check_bad(ETCD("endpoints: [\"http://127.0.0.1:1\"], prefix: edge"), "store.etcd.prefix: ");
	check_bad(ETCD("endpoints: [\"http://127.0.0.1:1\"], prefix: /a//"), "store.etcd.prefix: ");
#undef ETCD
}

static void
test_not_available(void **state)
{
	static const char *const cases[] = {
		"tls: {expiry_warning: 1h}",
		"runtime: {gc: {disk_high: 90%}}",
		"runtime: {gc: {disk_low: 60%}}",
		"runtime: {gc: {keep_images: 1h}}",
		"tracing: {sample: 0.5}",
		"tracing: {propagate: none}",
		"dashboard: {auth: none}",
		"tls: {acme: {enabled: true}}",
		"tls: {acme: {directory: \"https://ca.test/dir\"}}",
		"tls: {acme: {email: a@b.test}}",
		"deploy: {on_failure: pause}",
		"runtime: {seccomp: /etc/s.json}",
		"logs: {forward: [{type: fluent, address: \"127.0.0.1:24224\"}]}",
		"tracing: {endpoint: \"http://127.0.0.1:4318\"}",
		"gitops: [{url: \"https://git.test/app.git\"}]",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct diag_list diags;

		diag_list_init(&diags);
		assert_int_equal(parse(cases[i], &diags), -1);
		assert_int_equal(diags.count, 1);
		assert_string_equal(diags.items[0].code, "not-available");
		assert_int_equal(diags.items[0].pos.line, 1);
		diag_list_fini(&diags);
		/* What was read is whole all the same. */
		assert_non_null(config_check(&config, sizeof(config)));
	}
	/* The default is the default, however it is written. */
	check_good("cluster: {suspect_after: 1000ms, encrypt: true}\n"
		   "tls: {expiry_warning: 14d}\nruntime: {gc: {keep_images: 3d}}\n"
		   "dashboard: {enabled: false}\nmetrics: {exemplars: false}\n");
}

static void
test_check(void **state)
{
	static struct config copy;

	(void)state;
	check_read(full);
	copy = config;
	assert_null(config_check(&copy, sizeof(copy) - 1));
	copy.abi++;
	assert_null(config_check(&copy, sizeof(copy)));
	copy = config;
	copy.node.labels_count = CONFIG_LABELS_MAX + 1;
	assert_null(config_check(&copy, sizeof(copy)));
	copy = config;
	memset(copy.tls.certificates, 'a', sizeof(copy.tls.certificates));
	assert_null(config_check(&copy, sizeof(copy)));
	copy = config;
	memset(copy.node.labels[0].key, 'a', sizeof(copy.node.labels[0].key));
	assert_null(config_check(&copy, sizeof(copy)));
	copy = config;
	copy.runtime.mirrors_count = 1;
	copy.runtime.mirrors[0].urls_count = 99;
	assert_null(config_check(&copy, sizeof(copy)));
	copy = config;
	copy.dataplane.interfaces_count = 99;
	assert_null(config_check(&copy, sizeof(copy)));
	copy = config;
	*(int *)(void *)&copy.deploy.order = 7;
	assert_null(config_check(&copy, sizeof(copy)));
}

static void
test_sweep(void **state)
{
	static struct config out;

	(void)state;
	sweep_each(s)
	{
		struct diag_list diags;
		int rc;

		diag_list_init(&diags);
		config_defaults(&out);
		rc = config_parse(full, strlen(full), "node.yaml", &out, &diags);
		assert_int_equal(rc != 0 && !only_unavailable(&diags), sweep_failed());
		diag_list_fini(&diags);
	}
}

static void
write_file(const char *folder, const char *name, const char *text)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void
test_load(void **state)
{
	char folder[] = "/tmp/zlayer-config-XXXXXX", path[256], sub[256];
	struct diag_list diags;
	struct err err = {0};

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/node.yaml", folder);
	snprintf(sub, sizeof(sub), "%s/conf.d", folder);
	diag_list_init(&diags);
	assert_int_equal(config_load(path, false, &config, &diags, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_int_equal(config_load(path, true, &config, &diags, &err), 0);
	assert_int_equal(mkdir(sub, 0700), 0);
	write_file(folder, "node.yaml", "node: {zone: a, labels: {x: one, y: two}, env: [A, B]}\n");
	write_file(sub, "20.yaml", "node: {zone: c}\n");
	write_file(sub, "10.yaml", "node: {zone: b, labels: {x: three, z: four}, env: [C]}\n");
	write_file(sub, "30.txt", "broken: [\n");
	assert_int_equal(config_load(path, false, &config, &diags, &err), 0);
	assert_string_equal(config.node.zone, "c");
	assert_int_equal(config.node.labels_count, 3);
	assert_string_equal(config.node.labels[0].value, "three");
	assert_string_equal(config.node.labels[1].value, "two");
	assert_int_equal(config.node.env_count, 1);
	write_file(folder, "node.yaml", "node: {zone: a}\n");
	write_file(sub, "10.yaml", "node: {zone: b}\n");
	assert_int_equal(config_load(path, false, &config, &diags, &err), 0);
	write_file(sub, "40.yaml", "node: {zone: B!}\n");
	write_file(sub, "50.yaml", "nope: 1\n");
	assert_int_equal(config_load(path, false, &config, &diags, &err), -1);
	assert_int_equal(diags.count, 2);
	assert_non_null(strstr(diags.items[1].file, "conf.d/50.yaml"));
	diag_list_fini(&diags);
	snprintf(path, sizeof(path), "rm -r '%s'", folder);
	assert_int_equal(system(path), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),   cmocka_unit_test(test_full),
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_bad),
		cmocka_unit_test(test_overlay),    cmocka_unit_test(test_not_available),
		cmocka_unit_test(test_store),      cmocka_unit_test(test_check),
		cmocka_unit_test(test_sweep),      cmocka_unit_test(test_load),
	};
	struct err err = {0};

	if (dl_load_yaml(&err) != 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
