/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and spool files below a data folder, and the walks of folders. */
#include "node/vault.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "base/text.h"
#include "node/folder.h"

static char folder[64];
static int data_fd;

static int
set_up(void **state)
{
	(void)state;
	text_copy(folder, sizeof(folder), "/tmp/zlayer-vault-XXXXXX");
	assert_non_null(mkdtemp(folder));
	data_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(data_fd, "secrets", 0700), 0);
	assert_int_equal(mkdirat(data_fd, "secrets/sealed", 0700), 0);
	assert_int_equal(mkdirat(data_fd, "spool", 0700), 0);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	close(data_fd);
	assert_int_equal(folder_remove(AT_FDCWD, folder), 0);
	assert_int_equal(access(folder, F_OK), -1);
	return 0;
}

static void
test_key_is_made_once(void **state)
{
	struct err err = {0};
	struct stat sb;
	unsigned char a[VAULT_KEY_BYTES], b[VAULT_KEY_BYTES];
	int fd;

	(void)state;
	assert_int_equal(vault_key(data_fd, &fd, &err), 0);
	assert_int_equal(read(fd, a, sizeof(a)), sizeof(a));
	close(fd);
	assert_int_equal(vault_key(data_fd, &fd, &err), 0);
	assert_int_equal(read(fd, b, sizeof(b)), sizeof(b));
	assert_int_equal(fstat(fd, &sb), 0);
	assert_int_equal(sb.st_mode & 0777, 0600);
	close(fd);
	assert_memory_equal(a, b, sizeof(a));
	/* Gone, while something sealed with it is there: no other is made in silence. */
	int sealed = fd_memfd_sealed("a", "x", 1);
	assert_int_equal(vault_keep(data_fd, "authority", sealed, &err), 0);
	close(sealed);
	assert_int_equal(renameat(data_fd, "secrets/seal.key", data_fd, "away"), 0);
	assert_int_equal(vault_key(data_fd, &fd, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	assert_int_equal(faccessat(data_fd, "secrets/seal.key", F_OK, 0), -1);
	assert_int_equal(renameat(data_fd, "away", data_fd, "secrets/seal.key"), 0);
	err_clear(&err);
	/* Never silently replaced. */
	int file = openat(data_fd, "secrets/seal.key", O_WRONLY | O_TRUNC | O_CLOEXEC);
	close(file);
	assert_int_equal(vault_key(data_fd, &fd, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
}

static void
count(void *arg, const char *name, int fd)
{
	char text[16] = "";

	assert_string_equal(name, "authority");
	assert_int_equal(read(fd, text, sizeof(text)), 6);
	assert_string_equal(text, "second");
	++*(int *)arg;
}

static void
test_keep(void **state)
{
	struct err err = {0};
	int seen = 0;
	int first = fd_memfd_sealed("a", "first", 5), second = fd_memfd_sealed("b", "second", 6);
	int loose = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(vault_keep(data_fd, "authority", first, &err), 0);
	assert_int_equal(vault_keep(data_fd, "authority", second, &err), 0);
	static const char *const bad[] = {"", "../x", ".hidden", "a/b", "A"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(vault_keep(data_fd, bad[i], first, &err), -1);
	assert_int_equal(vault_keep(data_fd, "other", loose, &err), -1);
	vault_each(data_fd, count, &seen);
	assert_int_equal(seen, 1);
	close(first);
	close(second);
	close(loose);
}

static void
test_spool_has_no_name(void **state)
{
	int fd = vault_spool(data_fd);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_false(folder_holds(data_fd, "spool"));
	close(fd);
}

static void
test_trees_do_not_follow_links(void **state)
{
	(void)state;
	assert_int_equal(mkdirat(data_fd, "a", 0700), 0);
	assert_int_equal(mkdirat(data_fd, "b", 0700), 0);
	assert_int_equal(mkdirat(data_fd, "b/keep", 0700), 0);
	assert_int_equal(symlinkat("../b", data_fd, "a/link"), 0);
	assert_int_equal(folder_remove(data_fd, "a"), 0);
	assert_true(folder_holds(data_fd, "b"));
	assert_false(folder_holds_something(data_fd, "b"));
	assert_int_equal(folder_remove(data_fd, "never-there"), 0);
	close(openat(data_fd, "b/keep/file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_true(folder_holds_something(data_fd, "b"));
	/* Folders only: the file holds them. */
	assert_int_equal(folder_prune(data_fd, "b", false), -1);
	assert_int_equal(faccessat(data_fd, "b/keep/file", F_OK, 0), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_key_is_made_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_keep, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_spool_has_no_name, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_trees_do_not_follow_links, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
