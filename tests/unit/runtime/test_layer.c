/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers into a folder: what is made, and what is refused. The folder under test has a sibling
 * "outside" that no layer may touch.
 */
#include "runtime/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "base/text.h"
#include "runtime/tree.h"
#include "tests/support/sweep.h"
#include "tests/support/tarball.h"

enum { BYTES = 1 << 20 };

static char top[] = "layer-XXXXXX";
static int topfd = -1;
static int root = -1;
static struct buf tar;
static const struct layer_limits usual = {.bytes_max = 10000, .entries_max = 100};

static int
setup(void **state)
{
	(void)state;
	buf_init(&tar, MEM_BASE, BYTES);
	if (mkdirat(topfd, "root", 0755) < 0 || mkdirat(topfd, "outside", 0755) < 0)
		return -1;
	root = openat(topfd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return root < 0 ? -1 : 0;
}

static int
teardown(void **state)
{
	(void)state;
	fd_close(&root);
	buf_fini(&tar);
	return tree_empty(topfd);
}

static int
apply_with(const int *lower, size_t lower_count, const struct layer_limits *limits, size_t step,
	   struct err *err)
{
	struct layer *l;
	int rc = 0;

	if (layer_new(root, lower, lower_count, limits, &l, err) < 0)
		return -1;
	for (size_t at = 0; rc == 0 && at < tar.length; at += step)
		rc = layer_feed(l, tar.data + at, tar.length - at < step ? tar.length - at : step,
				err);
	if (rc == 0)
		rc = layer_end(l, err);
	layer_free(l);
	return rc;
}

static void
apply(void)
{
	struct err err = {0};

	tarball_end(&tar);
	if (apply_with(NULL, 0, &usual, 100, &err) < 0)
		err_print(&err, "test", stderr);
	assert_int_equal(err.kind, 0);
}

/* Refused, with the entry's name and a reason; nothing was made outside. */
static void
refused(enum err_kind kind, const char *entry, const char *why)
{
	struct err err = {0};
	char where[256];

	tarball_end(&tar);
	assert_int_equal(apply_with(NULL, 0, &usual, BYTES, &err), -1);
	assert_int_equal(err.kind, kind);
	snprintf(where, sizeof(where), "entry %.180s", entry);
	assert_memory_equal(err.where[0], where, strlen(where));
	if (!strstr(err.why[0], why))
		fail_msg("%s: not %s", err.why[0], why);
	assert_int_equal(unlinkat(topfd, "outside", AT_REMOVEDIR), 0);
	assert_int_equal(tree_remove(topfd, "root"), 0);
	assert_int_equal(rmdir(top), 0);
	assert_int_equal(mkdir(top, 0755), 0);
	fd_close(&topfd);
	fd_close(&root);
	topfd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	buf_fini(&tar);
	assert_int_equal(setup(NULL), 0);
}

static struct stat
look(const char *path)
{
	struct stat st = {0};

	if (fstatat(root, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		fail_msg("%s: %s", path, strerror(errno));
	return st;
}

static bool
there(const char *path)
{
	struct stat st;

	return fstatat(root, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static const char *
content(const char *path)
{
	static char text[256];
	int fd = fd_open_beneath(root, path, O_RDONLY, 0);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	assert_true(n >= 0);
	text[n] = '\0';
	close(fd);
	return text;
}

static bool
opaque(const char *path)
{
	char value[8] = {0};
	int fd = fd_open_beneath(root, path, O_RDONLY | O_DIRECTORY, 0);
	ssize_t n = fgetxattr(fd, "user.overlay.opaque", value, sizeof(value));

	close(fd);
	return n == 1 && value[0] == 'y';
}

static bool
whiteout(const char *path)
{
	struct stat st = look(path);

	return S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0);
}

static void
test_kept(void **state)
{
	static const uint8_t cap[20] = {1, 0, 0, 2, 0, 4};
	char value[64];

	(void)state;
	tarball_add(&tar, &(struct tarball_entry){.path = "./", .type = '5', .mode = 0711});
	tarball_add(&tar, &(struct tarball_entry){.path = "bin/",
						  .type = '5',
						  .mode = 02751,
						  .uid = 3,
						  .gid = 4,
						  .mtime = 1000});
	tarball_pax(&tar, "SCHILY.xattr.user.mime", "text", 4);
	tarball_add(&tar, &(struct tarball_entry){.path = "bin/su",
						  .mode = 06755,
						  .uid = 1,
						  .gid = 2,
						  .mtime = 2000,
						  .data = "program",
						  .bytes = 7});
	tarball_pax(&tar, "SCHILY.xattr.security.capability", cap, sizeof(cap));
	tarball_file(&tar, "/bin/ping", "ping");
	tarball_pax(&tar, "SCHILY.xattr.trusted.other", "x", 1);
	tarball_file(&tar, "plain", "");
	tarball_link(&tar, '1', "bin/su2", "./bin/su");
	tarball_add(&tar, &(struct tarball_entry){.path = "sh",
						  .type = '2',
						  .link = "/../../outside",
						  .uid = 5,
						  .mtime = 3000});
	tarball_link(&tar, '6', "pipe", NULL);
	apply();

	assert_int_equal(look(".").st_mode & 07777, 0711);
	struct stat st = look("bin");
	assert_int_equal(st.st_mode, S_IFDIR | 02751);
	assert_true(st.st_uid == 3 && st.st_gid == 4 && st.st_mtim.tv_sec == 1000);
	st = look("bin/su");
	assert_int_equal(st.st_mode, S_IFREG | 06755);
	assert_true(st.st_uid == 1 && st.st_gid == 2 && st.st_mtim.tv_sec == 2000);
	assert_string_equal(content("bin/su"), "program");
	assert_int_equal(look("bin/su2").st_ino, st.st_ino);
	int fd = fd_open_beneath(root, "bin/su", O_RDONLY, 0);
	assert_int_equal(fgetxattr(fd, "user.mime", value, sizeof(value)), 4);
	close(fd);
	fd = fd_open_beneath(root, "bin/ping", O_RDONLY, 0);
	assert_int_equal(fgetxattr(fd, "security.capability", value, sizeof(value)), 20);
	close(fd);
	fd = fd_open_beneath(root, "plain", O_RDONLY, 0);
	assert_int_equal(fgetxattr(fd, "trusted.other", value, sizeof(value)), -1);
	close(fd);
	st = look("sh");
	assert_true(S_ISLNK(st.st_mode) && st.st_uid == 5 && st.st_mtim.tv_sec == 3000);
	assert_true(S_ISFIFO(look("pipe").st_mode));
}

static void
test_whiteouts(void **state)
{
	(void)state;
	tarball_file(&tar, "etc/.wh.passwd", "");
	tarball_file(&tar, "var/.wh..wh..opq", "");
	tarball_file(&tar, ".wh..wh.plnk/1.2", "");
	tarball_file(&tar, ".wh..wh.aufs", "");
	/* A folder that is removed and comes again, in any order. */
	tarball_file(&tar, ".wh.one", "");
	tarball_folder(&tar, "one/");
	tarball_folder(&tar, "two/");
	tarball_file(&tar, ".wh.two", "");
	tarball_file(&tar, ".wh.three", "");
	tarball_file(&tar, "three/deep/file", "3");
	/* A file of the same layer wins. */
	tarball_file(&tar, "four", "4");
	tarball_file(&tar, ".wh.four", "");
	tarball_file(&tar, ".wh.five", "");
	/* Below what replaced a folder there is nothing left to hide; a link is not followed. */
	tarball_file(&tar, "four/.wh.x", "");
	tarball_link(&tar, '2', "out", "../outside");
	tarball_file(&tar, "out/.wh.x", "");
	tarball_file(&tar, "out/.wh..wh..opq", "");
	tarball_file(&tar, ".wh.six", "");
	tarball_file(&tar, "six/.wh.x", "");
	tarball_file(&tar, "five", "5");
	apply();
	assert_true(whiteout("etc/passwd"));
	assert_true(opaque("var") && opaque("one") && opaque("two") && opaque("three"));
	assert_false(opaque("etc") || opaque("three/deep"));
	assert_false(there(".wh..wh.aufs") || there(".wh..wh.plnk"));
	assert_true(S_ISLNK(look("out").st_mode) && whiteout("six"));
	assert_int_equal(unlinkat(topfd, "outside", AT_REMOVEDIR), 0);
	assert_string_equal(content("four"), "4");
	assert_string_equal(content("five"), "5");
}

static void
test_replaced(void **state)
{
	(void)state;
	tarball_file(&tar, "a", "first");
	tarball_link(&tar, '1', "b", "a");
	tarball_file(&tar, "a", "second");
	tarball_folder(&tar, "d");
	tarball_file(&tar, "d/e/f", "deep");
	tarball_file(&tar, "d", "file");
	tarball_file(&tar, "g", "file");
	tarball_folder(&tar, "g");
	tarball_file(&tar, "g/h", "below");
	/* A link is replaced, not followed. */
	tarball_link(&tar, '2', "link", "../outside");
	tarball_folder(&tar, "link");
	tarball_file(&tar, "link/x", "inside");
	tarball_link(&tar, '2', "link2", "a");
	tarball_file(&tar, "link2", "own");
	tarball_add(&tar, &(struct tarball_entry){.path = "g", .type = '5', .mode = 0700});
	tarball_link(&tar, '1', "a", "a");
	apply();
	assert_string_equal(content("a"), "second");
	assert_string_equal(content("b"), "first");
	assert_string_equal(content("d"), "file");
	assert_string_equal(content("g/h"), "below");
	assert_string_equal(content("link/x"), "inside");
	assert_string_equal(content("link2"), "own");
	assert_int_equal(look("g").st_mode & 07777, 0700);
}

static void
test_missing_parents(void **state)
{
	struct err err = {0};
	int lower;

	(void)state;
	assert_int_equal(mkdirat(topfd, "lower", 0755), 0);
	lower = openat(topfd, "lower", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fchmod(lower, 0750), 0);
	assert_int_equal(mkdirat(lower, "tmp", 0755), 0);
	assert_int_equal(fchmodat(lower, "tmp", 01777, 0), 0);
	assert_int_equal(fchownat(lower, "tmp", 6, 7, 0), 0);
	tarball_file(&tar, "tmp/x/y", "");
	tarball_end(&tar);
	assert_int_equal(apply_with(&lower, 1, &usual, BYTES, &err), 0);
	struct stat st = look("tmp");
	assert_int_equal(st.st_mode & 07777, 01777);
	assert_true(st.st_uid == 6 && st.st_gid == 7);
	assert_int_equal(look("tmp/x").st_mode & 07777, 0755);
	assert_int_equal(look(".").st_mode & 07777, 0750);
	close(lower);
}

/* The layers below come later: owners and modes are the same in the end. */
static void
test_deferred_parents(void **state)
{
	struct err err = {0};
	struct layer *l;
	struct buf orphans;

	(void)state;
	assert_int_equal(mkdirat(topfd, "lower", 0755), 0);
	int lower = openat(topfd, "lower", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fchmod(lower, 0750), 0);
	assert_int_equal(mkdirat(lower, "tmp", 0755), 0);
	assert_int_equal(fchmodat(lower, "tmp", 01777, 0), 0);
	assert_int_equal(mkdirat(lower, "brought", 0700), 0);
	tarball_file(&tar, "tmp/x/y", "");
	tarball_file(&tar, "brought/z", "");
	tarball_folder(&tar, "brought"); /* after what is in it */
	tarball_file(&tar, "gone/a", "");
	tarball_file(&tar, "gone", "a file now");
	tarball_end(&tar);
	buf_init(&orphans, MEM_BASE, BYTES);
	assert_int_equal(layer_new(root, NULL, 0, &usual, &l, &err), 0);
	layer_defer(l, &orphans);
	assert_int_equal(layer_feed(l, tar.data, tar.length, &err), 0);
	assert_int_equal(layer_end(l, &err), 0);
	layer_free(l);
	uint32_t brought = look("brought").st_mode & 07777;
	assert_int_equal(layer_adopt(root, &lower, 1, orphans.data, orphans.length, &err), 0);
	assert_int_equal(look("tmp").st_mode & 07777, 01777);
	assert_int_equal(look("tmp/x").st_mode & 07777, 0755);
	assert_int_equal(look(".").st_mode & 07777, 0750);
	assert_int_equal(look("brought").st_mode & 07777, brought);
	assert_true(S_ISREG(look("gone").st_mode));
	/* A list that does not hold is refused. */
	assert_int_equal(layer_adopt(root, &lower, 1, "\377\0\0\0+x", 6, &err), -1);
	buf_fini(&orphans);
	close(lower);
}

static void
test_refused(void **state)
{
	char deep[800] = "";

	(void)state;
	tarball_file(&tar, "a/../../outside/x", "");
	refused(ERR_CORRUPT, "a/../../outside/x", "\"..\"");
	tarball_file(&tar, "..", "");
	refused(ERR_CORRUPT, "..", "\"..\"");
	tarball_link(&tar, '2', "out", "../outside");
	tarball_file(&tar, "out/x", "");
	refused(ERR_CORRUPT, "out/x", "symbolic link");
	tarball_link(&tar, '2', "abs", "/etc");
	tarball_folder(&tar, "abs/x");
	refused(ERR_CORRUPT, "abs/x", "symbolic link");
	tarball_file(&tar, "file", "");
	tarball_file(&tar, "file/x", "");
	refused(ERR_CORRUPT, "file/x", "no folder");
	tarball_link(&tar, '1', "hard", "../outside");
	refused(ERR_CORRUPT, "hard", "\"..\"");
	tarball_link(&tar, '2', "out", "..");
	tarball_link(&tar, '1', "hard", "out/outside");
	refused(ERR_CORRUPT, "hard", "symbolic link");
	tarball_link(&tar, '1', "hard", "/etc/passwd");
	refused(ERR_UNSUPPORTED, "hard", "not in the same layer");
	tarball_file(&tar, ".wh.gone", "");
	tarball_link(&tar, '1', "hard", "gone");
	refused(ERR_UNSUPPORTED, "hard", "not in the same layer");
	tarball_folder(&tar, "d");
	tarball_link(&tar, '1', "hard", "d");
	refused(ERR_CORRUPT, "hard", "folder");
	tarball_link(&tar, '3', "dev/null", NULL);
	refused(ERR_CORRUPT, "dev/null", "device node");
	tarball_link(&tar, '4', "dev/sda", NULL);
	refused(ERR_CORRUPT, "dev/sda", "device node");
	tarball_file(&tar, ".wh.", "");
	refused(ERR_CORRUPT, ".wh.", "whiteout of nothing");
	tarball_file(&tar, "a/.wh...", "");
	refused(ERR_CORRUPT, "a/.wh...", "\"..\"");
	tarball_file(&tar, ".wh.a/b", "");
	refused(ERR_CORRUPT, ".wh.a/b", "through a whiteout");
	tarball_pax(&tar, "SCHILY.xattr.user.overlay.redirect", "/etc", 4);
	tarball_folder(&tar, "d");
	refused(ERR_CORRUPT, "d", "overlayfs");
	tarball_pax(&tar, "SCHILY.xattr.trusted.overlay.opaque", "y", 1);
	tarball_folder(&tar, "d");
	refused(ERR_CORRUPT, "d", "overlayfs");
	tarball_link(&tar, '2', "to", "");
	refused(ERR_CORRUPT, "to", "nothing");
	tarball_file(&tar, "./", "");
	tarball_link(&tar, '2', "/", "x");
	refused(ERR_CORRUPT, "/", "root folder");
	for (int i = 0; i < 150; i++)
		strcat(deep, "d/");
	tarball_pax(&tar, "path", deep, strlen(deep));
	tarball_folder(&tar, "short");
	refused(ERR_CORRUPT, deep, "");
	memset(deep, 'x', 300);
	deep[300] = '\0';
	tarball_pax(&tar, "path", deep, strlen(deep));
	tarball_folder(&tar, "short");
	refused(ERR_CORRUPT, deep, "");
}

static void
test_limits(void **state)
{
	struct err err = {0};
	char big[6000] = {0};
	char name[16];

	(void)state;
	tarball_add(&tar, &(struct tarball_entry){.path = "a", .data = big, .bytes = 6000});
	tarball_add(&tar, &(struct tarball_entry){.path = "b", .data = big, .bytes = 6000});
	refused(ERR_LIMIT, "b", "more than is allowed");
	for (int i = 0; i < 101; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		tarball_file(&tar, name, "");
	}
	refused(ERR_LIMIT, "f100", "too many entries");
	/* A size that only the header has. */
	tarball_file(&tar, "huge", "");
	memcpy(tar.data + 124, "77777777777", 11);
	tarball_checksum(tar.data);
	assert_int_equal(apply_with(NULL, 0, &usual, BYTES, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
}

static void
test_truncated(void **state)
{
	(void)state;
	tarball_folder(&tar, "d");
	tarball_pax(&tar, "SCHILY.xattr.user.a", "b", 1);
	tarball_file(&tar, "d/a", "data");
	tarball_link(&tar, '2', "d/b", "a");
	tarball_file(&tar, ".wh.c", "");
	tarball_end(&tar);
	size_t whole = tar.length;
	for (size_t n = 0; n < whole; n += 512) {
		struct err err = {0};

		tar.length = n;
		assert_int_equal(apply_with(NULL, 0, &usual, BYTES, &err), -1);
		assert_int_equal(err.kind, ERR_CORRUPT);
		assert_int_equal(tree_empty(root), 0);
	}
}

static void
test_no_memory(void **state)
{
	(void)state;
	tarball_folder(&tar, "d");
	tarball_file(&tar, "e/f/a", "data");
	tarball_end(&tar);
	sweep_each(s)
	{
		struct err err = {0};
		int rc = apply_with(NULL, 0, &usual, BYTES, &err);

		assert_int_equal(rc < 0, sweep_failed());
		assert_int_equal(tree_empty(root), 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(test_whiteouts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_missing_parents, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deferred_parents, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_truncated, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
	};
	int rc;

	if (geteuid() != 0) {
		printf("1..0 # SKIP owners can be set by root only\n");
		return 0;
	}
	if (!mkdtemp(top))
		return 1;
	topfd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	fd_close(&topfd);
	rmdir(top);
	return rc;
}
