/* SPDX-License-Identifier: Apache-2.0 */
/* What container engines say and are answered: each key and variable, each way to be wrong. */
#include "cli/cni.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "tests/support/sweep.h"

#define HEAD "{\"cniVersion\":\"1.1.0\",\"type\":\"zlayer-cni\",\"name\":\"mesh\""

static const struct cni_environment add = {
	.command = "ADD", .container = "c1", .netns = "/run/netns/g", .interface = "eth0"};

static const char made_text[] =
	"{\"id\":1,\"addr4\":\"10.200.1.2\",\"addr6\":\"fd00::2\",\"gateway4\":\"169.254.1.1\","
	"\"gateway6\":\"fe80::1\",\"nameserver\":\"10.200.1.1\",\"mtu\":1360,"
	"\"mac\":\"02:00:00:00:00:01\",\"host_mac\":\"06:00:00:00:00:01\",\"link\":\"v1\"}";

static unsigned
parse(const struct cni_environment *env, const char *text, struct cni_request *r, struct err *err)
{
	unsigned code = 0;

	err_clear(err);
	return cni_parse(env, text, strlen(text), r, &code, err) == 0 ? 0 : code;
}

/* The code of a refusal whose text has this word. */
static void
refused(const struct cni_environment *env, const char *text, unsigned code, const char *word)
{
	struct cni_request r;
	struct err err = {0};

	assert_int_equal(parse(env, text, &r, &err), code);
	if (!strstr(err.what, word))
		fail_msg("\"%s\" does not say \"%s\"", err.what, word);
	cni_fini(&r);
}

static void
test_good(void **state)
{
	struct cni_environment env = add;
	struct cni_request r;
	struct err err = {0};

	(void)state;
	env.args = "IgnoreUnknown=1;;K8S_POD_NAME=web;OTHER=x=y";
	assert_int_equal(
		parse(&env, HEAD ",\"instance\":\"two\",\"capabilities\":{},\"args\":1}", &r, &err),
		0);
	assert_int_equal(r.verb, CNI_ADD);
	assert_int_equal(r.version, CNI_1_1_0);
	assert_string_equal(r.attach.key.network, "mesh");
	assert_string_equal(r.attach.key.container, "c1");
	assert_string_equal(r.attach.key.interface, "eth0");
	assert_string_equal(r.attach.netns, "/run/netns/g");
	assert_string_equal(r.attach.name, "web");
	assert_string_equal(r.instance, "two");
	cni_fini(&r);
	/* Our own name goes before theirs, wherever it stands; a name of theirs may be any text. */
	env.args = "ZLAYER_NAME=mine;K8S_POD_NAME=web";
	assert_int_equal(parse(&env, HEAD "}", &r, &err), 0);
	assert_string_equal(r.attach.name, "mine");
	cni_fini(&r);
	env.args = "K8S_POD_NAME=web;ZLAYER_NAME=mine";
	assert_int_equal(parse(&env, HEAD "}", &r, &err), 0);
	assert_string_equal(r.attach.name, "mine");
	cni_fini(&r);
	env.args = "K8S_POD_NAME=happy_turing";
	assert_int_equal(parse(&env, HEAD "}", &r, &err), 0);
	assert_string_equal(r.attach.name, "");
	cni_fini(&r);
	env.args = "ZLAYER_NAME=mine";
	assert_int_equal(parse(&env, HEAD ",\"names\":false,\"socket\":\"/s\"}", &r, &err), 0);
	assert_string_equal(r.attach.name, "");
	assert_string_equal(r.socket, "/s");
	cni_fini(&r);
}

static void
test_environment(void **state)
{
	static const char *const bad_ids[] = {"", "-a", "a/b", "a b", ".a", "a\n"};
	static const char *const bad_links[] = {
		"", ".", "..", "a/b", "a:b", "a%d", "a b", "sixteen-letters-", "all", "default"};
	struct cni_environment env = add;

	(void)state;
	env.command = NULL;
	refused(&env, HEAD "}", CNI_BAD_ENVIRONMENT, "not set");
	env.command = "ADDS";
	refused(&env, HEAD "}", CNI_BAD_ENVIRONMENT, "ADDS");
	env = add;
	for (size_t i = 0; i < sizeof(bad_ids) / sizeof(bad_ids[0]); i++) {
		env.container = bad_ids[i];
		refused(&env, HEAD "}", CNI_BAD_ENVIRONMENT, i ? "container" : "CNI_CONTAINERID");
	}
	env = add;
	for (size_t i = 0; i < sizeof(bad_links) / sizeof(bad_links[0]); i++) {
		env.interface = bad_links[i];
		refused(&env, HEAD "}", CNI_BAD_ENVIRONMENT,
			i == 0 || i == 7 ? "CNI_IFNAME" : "interface");
	}
	env = add;
	env.netns = NULL;
	refused(&env, HEAD "}", CNI_BAD_ENVIRONMENT, "CNI_NETNS");
	env.netns = "here";
	refused(&env, HEAD "}", CNI_BAD_ENVIRONMENT, "here");
	env = add;
	env.args = "a=b;c";
	refused(&env, HEAD "}", CNI_BAD_ENVIRONMENT, "\"c\"");
	env.args = "ZLAYER_NAME=A";
	refused(&env, HEAD "}", CNI_BAD_ENVIRONMENT, "ZLAYER_NAME");
}

static void
test_configuration(void **state)
{
	struct cni_environment check = add;

	(void)state;
	refused(&add, "", CNI_BAD_JSON, "standard input");
	refused(&add, "{", CNI_BAD_JSON, "");
	refused(&add, "{\"a\":1,\"a\":2}", CNI_BAD_JSON, "");
	refused(&add, "[]", CNI_BAD_JSON, "standard input");
	refused(&add, "{}", CNI_BAD_VERSION, "cniVersion");
	refused(&add, "{\"cniVersion\":\"0.3.1\",\"name\":\"mesh\"}", CNI_BAD_VERSION, "0.3.1");
	refused(&add, "{\"cniVersion\":\"1.0.0\"}", CNI_BAD_CONFIG, "name");
	refused(&add, "{\"cniVersion\":\"1.0.0\",\"name\":7}", CNI_BAD_CONFIG, "name");
	refused(&add, HEAD ",\"ipam\":{}}", CNI_BAD_FIELD, "ipam");
	refused(&add, HEAD ",\"runtimeConfig\":{\"mac\":\"x\"}}", CNI_BAD_FIELD, "mac");
	refused(&add, HEAD ",\"runtimeConfig\":[]}", CNI_BAD_CONFIG, "runtimeConfig");
	refused(&add, HEAD ",\"instance\":\"A\"}", CNI_BAD_CONFIG, "instance");
	refused(&add, HEAD ",\"instance\":\"a\",\"socket\":\"/b\"}", CNI_BAD_CONFIG, "both");
	refused(&add, HEAD ",\"names\":1}", CNI_BAD_CONFIG, "names");
	refused(&add, HEAD ",\"prevResult\":{}}", CNI_BAD_CONFIG, "before");
	refused(&add, HEAD ",\"prevResult\":1}", CNI_BAD_CONFIG, "prevResult");
	check.command = "CHECK";
	refused(&check, HEAD "}", CNI_BAD_CONFIG, "prevResult");
}

static void
test_other_verbs(void **state)
{
	const struct cni_environment del = {.command = "DEL", .container = "c", .interface = "e"};
	const struct cni_environment gc = {.command = "GC"}, status = {.command = "STATUS"};
	const struct cni_environment version = {.command = "VERSION"};
	struct cni_request r;
	struct err err = {0};

	(void)state;
	assert_int_equal(parse(&del, HEAD ",\"prevResult\":{\"ips\":[]}}", &r, &err), 0);
	assert_string_equal(r.attach.netns, "");
	cni_fini(&r);
	assert_int_equal(parse(&status, HEAD "}", &r, &err), 0);
	cni_fini(&r);
	assert_int_equal(parse(&version, "", &r, &err), 0);
	cni_fini(&r);
	assert_int_equal(parse(&version, "{\"cniVersion\":\"0.4.0\"}", &r, &err), 0);
	assert_int_equal(r.version, CNI_0_4_0);
	cni_fini(&r);
	assert_int_equal(parse(&version, "{\"cniVersion\":\"9\"}", &r, &err), 0);
	assert_int_equal(r.version, CNI_1_1_0);
	cni_fini(&r);
	refused(&status, "{\"cniVersion\":\"1.0.0\",\"name\":\"a\"}", CNI_BAD_VERSION, "STATUS");
	refused(&gc, HEAD "}", CNI_BAD_CONFIG, "valid-attachments");
	refused(&gc, HEAD ",\"cni.dev/valid-attachments\":{}}", CNI_BAD_CONFIG, "list");
	refused(&gc, HEAD ",\"cni.dev/valid-attachments\":[{\"ifname\":\"e\"}]}", CNI_BAD_CONFIG,
		"containerID");
	assert_int_equal(
		parse(&gc,
		      HEAD
		      ",\"cni.dev/valid-attachments\":[{\"containerID\":\"a\",\"ifname\":\"e\"}],"
		      "\"cni.dev/attachments\":[]}",
		      &r, &err),
		0);
	assert_true(cni_is_valid(&r, "a", "e"));
	assert_false(cni_is_valid(&r, "a", "f"));
	assert_false(cni_is_valid(&r, "b", "e"));
	cni_fini(&r);
	assert_int_equal(
		parse(&gc,
		      HEAD ",\"cni.dev/attachments\":[{\"containerID\":\"a\",\"ifname\":\"e\"}]}",
		      &r, &err),
		0);
	assert_true(cni_is_valid(&r, "a", "e"));
	cni_fini(&r);
}

/* ---- answers ---- */

static void
result(const char *version, const char *made_json, struct buf *out)
{
	char text[128];
	struct cni_request r;
	struct err err = {0};
	json_t *made = json_read_parse(made_json, strlen(made_json), &err);

	assert_non_null(made);
	snprintf(text, sizeof(text), "{\"cniVersion\":\"%s\",\"name\":\"mesh\"}", version);
	assert_int_equal(parse(&add, text, &r, &err), 0);
	buf_reset(out);
	cni_put_result(&r, made, "/fabric", out);
	json_read_free(made);
	cni_fini(&r);
}

static void
test_result(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, MEM_CLI, 1 << 16);
	result("1.1.0", made_text, &out);
	assert_string_equal(
		buf_cstr(&out),
		"{\"cniVersion\":\"1.1.0\",\"interfaces\":[{\"name\":\"v1\",\"mac\":"
		"\"06:00:00:00:00:01\",\"sandbox\":\"/fabric\"},{\"name\":\"eth0\",\"mac\":"
		"\"02:00:00:00:00:01\",\"mtu\":1360,\"sandbox\":\"/run/netns/g\"}],\"ips\":["
		"{\"address\":\"10.200.1.2/32\",\"gateway\":\"169.254.1.1\",\"interface\":1},"
		"{\"address\":\"fd00::2/128\",\"gateway\":\"fe80::1\",\"interface\":1}],"
		"\"routes\":[{\"dst\":\"0.0.0.0/0\",\"gw\":\"169.254.1.1\"},{\"dst\":\"::/0\","
		"\"gw\":\"fe80::1\"}],\"dns\":{\"nameservers\":[\"10.200.1.1\"]}}\n");
	result("1.0.0", made_text, &out);
	assert_null(strstr(buf_cstr(&out), "mtu"));
	assert_null(strstr(buf_cstr(&out), "\"version\""));
	result("0.4.0", "{\"addr4\":\"10.200.1.2\",\"gateway4\":\"169.254.1.1\"}", &out);
	assert_non_null(strstr(buf_cstr(&out), "\"ips\":[{\"version\":\"4\",\"address\":"
					       "\"10.200.1.2/32\""));
	assert_null(strstr(buf_cstr(&out), "::/0"));
	assert_non_null(strstr(buf_cstr(&out), "\"nameservers\":[]"));
	buf_fini(&out);
}

static void
test_error(void **state)
{
	static const struct {
		enum err_kind kind;
		unsigned code;
	} codes[] = {
		{ERR_NOT_FOUND, CNI_NO_CONTAINER},
		{ERR_UNREACHABLE, CNI_AGAIN},
		{ERR_TIMEOUT, CNI_AGAIN},
		{ERR_INTERRUPTED, CNI_AGAIN},
		{ERR_INVALID, CNI_BAD_CONFIG},
		{ERR_CONFLICT, CNI_CONFLICT},
		{ERR_SYSTEM, CNI_IO},
		{ERR_DENIED, CNI_IO},
		{ERR_NO_SPACE, CNI_IO},
		{ERR_LIMIT, CNI_REFUSED},
		{ERR_NO_MEMORY, CNI_REFUSED},
		{ERR_INTERNAL, CNI_REFUSED},
	};
	struct err err = {0};
	struct buf out;

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		err_set(&err, codes[i].kind, "x");
		assert_int_equal(cni_code(&err), codes[i].code);
	}
	buf_init(&out, MEM_CLI, 1 << 16);
	err_set(&err, ERR_LIMIT, "no \"more\"");
	cni_put_error(CNI_1_0_0, 100, &err, &out);
	assert_string_equal(
		buf_cstr(&out),
		"{\"cniVersion\":\"1.0.0\",\"code\":100,\"msg\":\"no \\\"more\\\"\"}\n");
	err_where(&err, "here");
	err_why(&err, "so");
	err_fix(&err, "thus");
	buf_reset(&out);
	cni_put_error(CNI_0_4_0, 1, &err, &out);
	assert_non_null(
		strstr(buf_cstr(&out), "\"details\":\"where: here\\nwhy: so\\nfix: thus\"}"));
	buf_fini(&out);
}

static int
compare(const char *previous)
{
	struct cni_environment env = add;
	char text[1024];
	struct cni_request r;
	struct err err = {0};
	json_t *made = json_read_parse(made_text, strlen(made_text), &err);

	env.command = "CHECK";
	snprintf(text, sizeof(text), HEAD ",\"prevResult\":%s}", previous);
	assert_int_equal(parse(&env, text, &r, &err), 0);
	int rc = cni_compare(&r, made, &err);
	assert_int_equal(err.kind, rc ? ERR_CONFLICT : ERR_NONE);
	json_read_free(made);
	cni_fini(&r);
	return rc;
}

#define IPS "\"ips\":[{\"address\":\"fd00::2/128\"},{\"address\":\"10.200.1.2/32\"}]"

static void
test_compare(void **state)
{
	(void)state;
	assert_int_equal(
		compare("{\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"/x\"}]," IPS "}"), 0);
	assert_int_equal(compare("{\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"/x\",\"mac\":"
				 "\"02:00:00:00:00:01\"}]," IPS "}"),
			 0);
	assert_int_equal(compare("{\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"/x\",\"mac\":"
				 "\"02:00:00:00:00:02\"}]," IPS "}"),
			 -1);
	/* Of the machine, not of the container. */
	assert_int_equal(compare("{\"interfaces\":[{\"name\":\"eth0\"}]," IPS "}"), -1);
	assert_int_equal(compare("{" IPS "}"), -1);
	assert_int_equal(compare("{\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"/x\"}],"
				 "\"ips\":[{\"address\":\"10.200.1.2/32\"}]}"),
			 -1);
	assert_int_equal(compare("{\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"/x\"}],"
				 "\"ips\":[{\"address\":\"fd00::2/128\"},{\"address\":"
				 "\"10.200.1.3/32\"}]}"),
			 -1);
}

static void
test_memory(void **state)
{
	const char *text = HEAD ",\"instance\":\"two\",\"names\":true}";

	(void)state;
	sweep_each(s)
	{
		struct cni_request r;
		struct err err = {0};

		unsigned code = parse(&add, text, &r, &err);

		assert_int_equal(code != 0, sweep_failed());
		cni_fini(&r);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),          cmocka_unit_test(test_environment),
		cmocka_unit_test(test_configuration), cmocka_unit_test(test_other_verbs),
		cmocka_unit_test(test_result),        cmocka_unit_test(test_error),
		cmocka_unit_test(test_compare),       cmocka_unit_test(test_memory),
	};
	struct err err = {0};

	if (json_read_open(&err) < 0) {
		printf("1..0 # SKIP %s\n", err.what);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
