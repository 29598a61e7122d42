/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static void
make(int folder, const char *name)
{
	int fd = openat(folder, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	close(fd);
}

static void
test_folder(void **state)
{
	static const char *const others[] = {"other.yaml", "compose.yaml", ".hidden.zlayer.yaml"};
	char path[] = "/tmp/zlayer-file-XXXXXX", name[FILE_NAME_BYTES];
	struct err err = {0};

	(void)state;
	assert_non_null(mkdtemp(path));
	int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(folder >= 0);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		make(folder, others[i]);
	assert_int_equal(mkdirat(folder, "folder.zlayer.yaml", 0700), 0);
	assert_int_equal(file_find(folder, name, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_non_null(strstr(err.why[0], "*.zlayer.yml"));
	make(folder, "shop.zlayer.yml");
	assert_int_equal(file_find(folder, name, &err), 0);
	assert_string_equal(name, "shop.zlayer.yml");
	make(folder, "deployment.yaml");
	assert_int_equal(file_find(folder, name, &err), -1);
	assert_int_equal(err.kind, ERR_USAGE);
	assert_string_equal(err.why[0], "deployment.yaml, shop.zlayer.yml");
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		unlinkat(folder, others[i], 0);
	unlinkat(folder, "folder.zlayer.yaml", AT_REMOVEDIR);
	unlinkat(folder, "shop.zlayer.yml", 0);
	unlinkat(folder, "deployment.yaml", 0);
	close(folder);
	assert_int_equal(rmdir(path), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_folder)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
