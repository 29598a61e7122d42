/* SPDX-License-Identifier: Apache-2.0 */
/* Documents of images: the chain of digests, platforms, and types that are refused by name. */
#include "runtime/documents.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/support/sweep.h"
#include "wire/json_read.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OCI "application/vnd.oci.image."

static char config[1024], manifest[2048], index_[2048];

static void
make(const char *architecture, const char *layer_type, size_t diff_ids)
{
	char digest[MSG_DIGEST];

	snprintf(config, sizeof(config),
		 "{\"architecture\":\"%s\",\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\","
		 "\"diff_ids\":[%s]},\"config\":{\"Cmd\":[\"/a\"]}}",
		 architecture, diff_ids ? "\"sha256:" HEX64 "\"" : "");
	documents_digest(config, strlen(config), digest);
	snprintf(manifest, sizeof(manifest),
		 "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"" OCI "config.v1+json\","
		 "\"digest\":\"%s\",\"size\":%zu},\"layers\":[{\"mediaType\":\"%s\","
		 "\"digest\":\"sha256:" HEX64 "\",\"size\":5}]}",
		 digest, strlen(config), layer_type);
	documents_digest(manifest, strlen(manifest), digest);
	snprintf(index_, sizeof(index_),
		 "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"" OCI "manifest.v1+json\","
		 "\"digest\":\"sha256:" HEX64 "\",\"size\":7,\"platform\":{\"os\":\"linux\","
		 "\"architecture\":\"s390x\"}},{\"mediaType\":\"" OCI "manifest.v1+json\","
		 "\"digest\":\"%s\",\"size\":%zu,\"platform\":{\"os\":\"linux\","
		 "\"architecture\":\"%s\"}}]}",
		 digest, strlen(manifest), architecture);
}

/* Reads what the three texts say; the digest is of the first. */
static int
read_all(bool with_index, struct arena *arena, struct documents *out, struct err *err)
{
	char digest[MSG_DIGEST];
	const char *first = with_index ? index_ : manifest;
	struct buf b;

	buf_init(&b, MEM_BASE, DOCUMENTS_BYTES_MAX);
	documents_begin(&b);
	if (with_index)
		documents_add(&b, index_, strlen(index_));
	documents_add(&b, manifest, strlen(manifest));
	documents_add(&b, config, strlen(config));
	documents_digest(first, strlen(first), digest);
	int rc = buf_ok(&b) ? documents_read(b.data, b.length, digest, "amd64", arena, out, err)
			    : -1;
	buf_fini(&b);
	return rc;
}

static enum err_kind
kind(bool with_index, char *why, size_t cap)
{
	struct arena arena;
	struct documents d;
	struct err err = {0};

	arena_init(&arena, MEM_BASE, 1 << 20);
	int rc = read_all(with_index, &arena, &d, &err);
	assert_int_equal(rc < 0, err.kind != 0);
	snprintf(why, cap, "%s; %s", err.what, err.whys ? err.why[0] : "");
	arena_fini(&arena);
	return err.kind;
}

static void
test_chain(void **state)
{
	struct arena arena;
	struct documents d;
	struct err err = {0};
	char why[1200];

	(void)state;
	make("amd64", OCI "layer.v1.tar+gzip", 1);
	arena_init(&arena, MEM_BASE, 1 << 20);
	assert_int_equal(read_all(true, &arena, &d, &err), 0);
	assert_int_equal(d.record.layers.count, 1);
	assert_string_equal(d.record.cmd.items[0], "/a");
	arena_fini(&arena);
	assert_int_equal(kind(false, why, sizeof(why)), 0);
	/* A change of any document breaks the chain before or behind it. */
	config[strlen(config) - 4] ^= 1;
	assert_int_equal(kind(true, why, sizeof(why)), ERR_CORRUPT);
	assert_non_null(strstr(why, "configuration"));
	make("amd64", OCI "layer.v1.tar+gzip", 1);
	manifest[strlen(manifest) - 4]++;
	assert_int_equal(kind(true, why, sizeof(why)), ERR_CORRUPT);
	assert_non_null(strstr(why, "manifest"));
	make("amd64", OCI "layer.v1.tar+gzip", 0);
	assert_int_equal(kind(false, why, sizeof(why)), ERR_CORRUPT);
	assert_non_null(strstr(why, "disagree"));
}

static void
test_platforms(void **state)
{
	char why[1200];

	(void)state;
	make("riscv64", OCI "layer.v1.tar", 1);
	assert_int_equal(kind(true, why, sizeof(why)), ERR_UNSUPPORTED);
	assert_non_null(strstr(why, "linux/s390x, linux/riscv64"));
	assert_int_equal(kind(false, why, sizeof(why)), ERR_UNSUPPORTED);
	assert_non_null(strstr(why, "riscv64"));
}

static void
test_types(void **state)
{
	static const char *const bad[] = {
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
		OCI "layer.nondistributable.v1.tar+gzip",
		OCI "layer.v1.tar+gzip+encrypted",
		"application/vnd.docker.plugin.v1+json",
	};
	char why[1200];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		make("amd64", bad[i], 1);
		assert_int_equal(kind(false, why, sizeof(why)), ERR_UNSUPPORTED);
		assert_non_null(strstr(why, bad[i]));
	}
	make("amd64", "application/vnd.docker.image.rootfs.diff.tar.gzip", 1);
	assert_int_equal(kind(false, why, sizeof(why)), 0);
}

static void
test_kinds(void **state)
{
	static const struct {
		const char *text, *header;
		enum documents_kind kind;
	} cases[] = {
		{"{}", OCI "index.v1+json", DOCUMENTS_INDEX},
		{"{}", "application/vnd.docker.distribution.manifest.v2+json", DOCUMENTS_MANIFEST},
		{"{\"mediaType\":\"" OCI "index.v1+json\"}", "text/plain", DOCUMENTS_INDEX},
		{"{\"schemaVersion\":2,\"manifests\":[]}", "application/json", DOCUMENTS_INDEX},
		{"{\"schemaVersion\":2}", "", DOCUMENTS_MANIFEST},
		{"{\"schemaVersion\":1}", "", DOCUMENTS_OTHER},
		{"{}", "application/vnd.docker.distribution.manifest.v1+prettyjws",
		 DOCUMENTS_OTHER},
		{"nonsense", "text/html", DOCUMENTS_OTHER},
	};
	struct arena arena;
	struct err err = {0};
	const char *name;

	(void)state;
	arena_init(&arena, MEM_BASE, 1 << 20);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(documents_kind(cases[i].text, strlen(cases[i].text),
						cases[i].header, &arena, &name),
				 cases[i].kind);
	arena_fini(&arena);
	documents_refuse("application/vnd.docker.distribution.manifest.v1+prettyjws", &err);
	assert_non_null(strstr(err.fix, "push it again"));
}

static void
test_no_memory(void **state)
{
	(void)state;
	make("amd64", OCI "layer.v1.tar+gzip", 1);
	sweep_each(s)
	{
		struct arena arena;
		struct documents d;
		struct err err = {0};

		arena_init(&arena, MEM_BASE, 1 << 20);
		if (read_all(true, &arena, &d, &err) < 0)
			assert_true(sweep_failed());
		arena_fini(&arena);
	}
}

static int
open_json(void **state)
{
	struct err err = {0};

	(void)state;
	return layout_load(&err) < 0 ? -1 : json_read_open(&err);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chain),     cmocka_unit_test(test_platforms),
		cmocka_unit_test(test_types),     cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, open_json, NULL);
}
