/* SPDX-License-Identifier: Apache-2.0 */
/* The files for a registry: which are found, in which order, and names that are none. */
#include "node/registries.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/err.h"
#include "base/fd.h"
#include "node/store_files.h"
#include "ring/leash.h"

static char top[] = "/tmp/registries-XXXXXX";

static void
make_file(const char *path, const char *text)
{
	char name[256];
	struct err err = {0};

	snprintf(name, sizeof(name), "%s/%s", top, path);
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text), &err), 0);
	close(fd);
}

static void
make_folder(const char *path)
{
	char name[256];

	snprintf(name, sizeof(name), "%s/%s", top, path);
	assert_int_equal(mkdir(name, 0700), 0);
}

/* What stands in the descriptor of this kind; NULL: there is none. */
static const char *
content(const char *host, enum leash_registry kind)
{
	static char text[64];
	int fds[REGISTRIES_FILES];
	uint64_t which;
	size_t count = registries_open(top, host, fds, &which), at = 0;
	bool found = false;

	for (unsigned bit = 0; bit < REGISTRIES_FILES; bit++) {
		if (!(which >> bit & 1))
			continue;
		assert_true(at < count);
		if (kind == 1u << bit) {
			ssize_t n = read(fds[at], text, sizeof(text) - 1);

			text[n > 0 ? n : 0] = '\0';
			found = true;
		}
		close(fds[at++]);
	}
	assert_int_equal(at, count);
	return found ? text : NULL;
}

static void
test_files(void **state)
{
	(void)state;
	assert_null(content("reg.test:5000", LEASH_REGISTRY_CA));
	make_file("config.json", "{}");
	make_folder("certs.d");
	make_folder("certs.d/reg.test:5000");
	make_file("certs.d/reg.test:5000/ca.crt", "PEM");
	make_file("ca.crt", "outside");
	assert_string_equal(content("reg.test:5000", LEASH_REGISTRY_LOGINS), "{}");
	assert_string_equal(content("reg.test:5000", LEASH_REGISTRY_CA), "PEM");
	assert_null(content("reg.test", LEASH_REGISTRY_CA));
	/* Names that would lead elsewhere. */
	assert_null(content("..", LEASH_REGISTRY_CA));
	assert_null(content("reg.test:5000/../..", LEASH_REGISTRY_CA));
	assert_null(content("", LEASH_REGISTRY_CA));
	/* An empty file is none. */
	make_file("certs.d/reg.test:5000/ca.crt", "");
	assert_null(content("reg.test:5000", LEASH_REGISTRY_CA));
}

/* What is named and not there is left out, and what is there keeps its bit. */
static void
test_store_files(void **state)
{
	struct config_store_etcd etcd = {0};
	int fds[STORE_FILES];
	uint64_t which;

	(void)state;
	assert_int_equal(store_files_open(&etcd, fds, &which), 0);
	assert_int_equal(which, 0);
	make_file("config.json", "CA");
	make_file("ca.crt", "password");
	snprintf(etcd.ca, sizeof(etcd.ca), "%s/config.json", top);
	snprintf(etcd.cert, sizeof(etcd.cert), "%s/missing", top);
	snprintf(etcd.key, sizeof(etcd.key), "%s", top); /* a folder */
	snprintf(etcd.password_file, sizeof(etcd.password_file), "%s/ca.crt", top);
	assert_int_equal(store_files_open(&etcd, fds, &which), 2);
	assert_int_equal(which, LEASH_STORE_CA | LEASH_STORE_PASSWORD);
	for (size_t i = 0; i < 2; i++) {
		char text[16] = "";

		assert_true(read(fds[i], text, sizeof(text) - 1) > 0);
		assert_string_equal(text, i ? "password" : "CA");
		close(fds[i]);
	}
}

static int
make_top(void **state)
{
	(void)state;
	return mkdtemp(top) ? 0 : -1;
}

static int
remove_top(void **state)
{
	static const char *const names[] = {"certs.d/reg.test:5000/ca.crt",
					    "certs.d/reg.test:5000",
					    "certs.d",
					    "ca.crt",
					    "config.json",
					    ""};
	char name[256];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(name, sizeof(name), "%s/%s", top, names[i]);
		remove(name);
	}
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_files),
					   cmocka_unit_test(test_store_files)};

	return cmocka_run_group_tests(tests, make_top, remove_top);
}
