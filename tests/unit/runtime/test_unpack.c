/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Archives into the store: every archive that make_images.py writes. Whatever is refused leaves
 * layers/ and tmp/ empty.
 *
 * `test_runtime_unpack import FOLDER ARCHIVE NAME` imports one archive and prints the layers'
 * folders, for unpack_compare.py.
 */
#include "runtime/import.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "base/text.h"
#include "runtime/image_record.h"
#include "runtime/inflate.h"
#include "runtime/layout.h"
#include "runtime/tree.h"
#include "tests/support/sweep.h"

static char top[] = "unpack-XXXXXX";
static int topfd = -1;
static int images = -1;
static struct arena arena;

struct result {
	struct msg_imported imported;
	struct image_record *record;
	struct err err;
};

static int
load_libraries(void)
{
	struct err err = {0};

	if (inflate_load(&err) == 0 && layout_load(&err) == 0)
		return 0;
	err_print(&err, "test", stderr);
	return -1;
}

static int
setup(void **state)
{
	struct err err = {0};

	(void)state;
	arena_init(&arena, MEM_BASE, 8 << 20);
	if (mkdirat(topfd, "images", 0755) < 0)
		return -1;
	images = openat(topfd, "images", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return images < 0 ? -1 : import_prepare(images, &err);
}

static int
teardown(void **state)
{
	(void)state;
	fd_close(&images);
	arena_fini(&arena);
	return tree_remove(topfd, "images");
}

static int
import_fd(int fd, const struct import_request *how, struct result *out)
{
	struct import_request request = *how;
	struct buf data;

	memset(out, 0, sizeof(*out));
	buf_init(&data, MEM_BASE, IMAGE_RECORD_BYTES_MAX);
	request.archive = fd;
	request.name = how->name ? how->name : "";
	int rc = import_run(images, &request, &data, &out->imported, &out->err);
	if (rc == 0)
		rc = image_record_decode(data.data, data.length, &arena, &out->record, &out->err);
	buf_fini(&data);
	assert_int_equal(rc < 0, out->err.kind != 0);
	return rc;
}

static int
import_with(const char *archive, const struct import_request *how, struct result *out)
{
	char path[300];

	snprintf(path, sizeof(path), "made/%s", archive);
	int fd = openat(topfd, path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	int rc = import_fd(fd, how, out);
	close(fd);
	return rc;
}

static struct result
import(const char *archive, const char *name)
{
	struct import_request how = {.name = name};
	struct result r;

	if (import_with(archive, &how, &r) < 0)
		err_print(&r.err, archive, stderr);
	return r;
}

static size_t
entries(const char *folder)
{
	int fd = openat(images, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fdopendir(fd);
	size_t count = 0;
	struct dirent *e;

	assert_non_null(dir);
	while ((e = readdir(dir)))
		count += e->d_name[0] != '.';
	closedir(dir);
	return count;
}

static void
expect_nothing_left(void)
{
	assert_int_equal(entries("layers"), 0);
	assert_int_equal(entries("tmp"), 0);
}

static bool
in_layer(const struct result *r, size_t i, const char *path)
{
	char full[400];
	struct stat st;

	snprintf(full, sizeof(full), "layers/%s/fs/%s", r->record->layers.items[i], path);
	return fstatat(images, full, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void
test_good(void **state)
{
	struct result r = import("good.tar", NULL);

	(void)state;
	assert_int_equal(r.err.kind, 0);
	assert_string_equal(r.imported.name, "shop/web:1");
	assert_string_equal(r.imported.digest, r.record->digest);
	assert_int_equal(r.imported.layers, 2);
	assert_int_equal(r.imported.layers_new, 2);
	assert_int_equal(r.imported.bytes, 5 + 6 + 3 + 3);
	assert_string_equal(r.record->entrypoint.items[0], "/bin/web");
	assert_string_equal(r.record->cmd.items[1], "80");
	assert_string_equal(r.record->env.items[1], "EMPTY=");
	assert_string_equal(r.record->workdir, "/srv");
	assert_string_equal(r.record->user, "33");
	assert_string_equal(r.record->stop_signal, "SIGQUIT");
	assert_string_equal(r.record->ports.items[0], "80/tcp");
	assert_string_equal(r.record->volumes.items[0], "/data");
	assert_int_equal(r.record->created_s, 1767323045);
	assert_true(in_layer(&r, 0, "etc/passwd") && in_layer(&r, 1, "etc/passwd"));
	assert_true(in_layer(&r, 0, "bin/w") && !in_layer(&r, 1, "bin"));
	assert_int_equal(entries("layers"), 2);
	assert_int_equal(entries("tmp"), 0);
}

static void
test_forms(void **state)
{
	static const char *const same[] = {"plain.tar", "whole_gzip.tar", "zstd.tar",
					   "whole_zstd.tar", "docker.tar"};
	struct result first = import("good.tar", NULL);

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		struct result r = import(same[i], NULL);

		assert_int_equal(r.err.kind, 0);
		assert_int_equal(r.imported.layers_new, 0);
		assert_int_equal(r.imported.bytes, first.imported.bytes);
		assert_string_equal(r.record->layers.items[0], first.record->layers.items[0]);
		assert_string_equal(r.record->layers.items[1], first.record->layers.items[1]);
	}
	struct result r = import("shares_base.tar", "own/name:5");
	assert_int_equal(r.imported.layers_new, 1);
	assert_string_equal(r.imported.name, "own/name:5");
	r = import("repeated.tar", NULL);
	assert_int_equal(r.imported.layers, 3);
	assert_int_equal(r.imported.layers_new, 1);
	assert_string_equal(r.record->layers.items[1], first.record->layers.items[1]);
	assert_string_not_equal(r.record->layers.items[2], first.record->layers.items[0]);
	assert_int_equal(import("empty_layer.tar", NULL).imported.layers, 1);
	assert_string_equal(import("docker.tar", NULL).imported.name, "saved:3");
}

static struct stat
look_in_layer(const struct result *r, size_t i, const char *path)
{
	char full[400];
	struct stat st = {0};

	snprintf(full, sizeof(full), "layers/%s/fs/%s", r->record->layers.items[i], path);
	assert_int_equal(fstatat(images, full, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

/* A folder without an entry is as the layers below have it: in each image as in its own. An image
 * that came before, with the same layer on another base, has no say. */
static void
test_folders_of_another_base(void **state)
{
	struct result theirs = import("base_theirs.tar", "theirs:1");
	struct result ours = import("base_ours.tar", "ours:1");
	struct stat st = look_in_layer(&theirs, 1, "srv");

	(void)state;
	assert_int_equal(st.st_mode & 07777, 0777);
	assert_int_equal(st.st_uid, 1234);
	assert_int_equal(ours.imported.layers_new, 2);
	st = look_in_layer(&ours, 1, "srv");
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(st.st_uid, 33);
	assert_int_equal(look_in_layer(&ours, 1, "srv/page").st_size, 4);
	/* The same chain still is there once. */
	assert_int_equal(import("base_ours.tar", "ours:2").imported.layers_new, 0);
	assert_int_equal(entries("layers"), 4);
}

static void
test_which_image(void **state)
{
	struct result r = import("index.tar", NULL);

	(void)state;
	assert_int_equal(r.err.kind, 0);
	assert_int_equal(r.imported.layers, 1);
	assert_string_equal(r.imported.name, "shop/multi:2");
	assert_int_equal(import("two_images.tar", "shop/b:1").imported.layers, 2);
	assert_int_equal(import("two_images.tar", "registry.test/shop/a:1").imported.layers, 1);

	struct import_request none = {0};
	assert_int_equal(import_with("two_images.tar", &none, &r), -1);
	assert_int_equal(r.err.kind, ERR_INVALID);
	assert_non_null(strstr(r.err.why[1], "shop/b:1"));
	for (int i = 0; i < 2; i++) {
		assert_int_equal(import_with(i ? "other_machine_hidden.tar" : "other_machine.tar",
					     &none, &r),
				 -1);
		assert_int_equal(r.err.kind, ERR_UNSUPPORTED);
		assert_non_null(strstr(r.err.why[0], layout_machine()));
		assert_non_null(strstr(r.err.why[1], i ? "linux/vax" : "linux/pdp11"));
	}
	struct import_request pdp = {.architecture = "pdp11"};
	assert_int_equal(import_with("index.tar", &pdp, &r), 0);
	assert_int_equal(import_with("other_machine.tar", &pdp, &r), 0);
}

static void
test_refused(void **state)
{
	struct import_request how = {.limits = {.bytes_max = 64 << 20, .entries_max = 1000}};
	int fd = openat(topfd, "made", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fdopendir(fd);
	struct dirent *e;
	unsigned count = 0;
	struct stat st;

	(void)state;
	assert_non_null(dir);
	while ((e = readdir(dir))) {
		struct result r;

		if (!text_starts(e->d_name, "bad_") && !text_starts(e->d_name, "evil_"))
			continue;
		if (import_with(e->d_name, &how, &r) == 0)
			fail_msg("%s was imported", e->d_name);
		if (r.err.kind != ERR_CORRUPT && r.err.kind != ERR_LIMIT &&
		    r.err.kind != ERR_INVALID && r.err.kind != ERR_UNSUPPORTED)
			fail_msg("%s: %s", e->d_name, r.err.what);
		assert_true(r.err.whys > 0 || r.err.fix[0] || r.err.kind == ERR_LIMIT);
		expect_nothing_left();
		count++;
	}
	closedir(dir);
	assert_true(count > 25);
	assert_int_equal(fstatat(topfd, "outside", &st, 0), -1);
	assert_int_equal(fstatat(topfd, "images/outside", &st, 0), -1);
	assert_int_equal(stat("/outside", &st), -1);
}

static void
test_bomb_by_its_ratio(void **state)
{
	struct import_request how = {0};
	struct result r;

	(void)state;
	assert_int_equal(import_with("evil_bomb.tar", &how, &r), -1);
	assert_int_equal(r.err.kind, ERR_LIMIT);
	assert_non_null(strstr(r.err.what, "bomb"));
	expect_nothing_left();
}

static void
test_truncated(void **state)
{
	char data[1 << 16];
	int fd = openat(topfd, "made/good.tar", O_RDONLY | O_CLOEXEC);
	ssize_t whole = read(fd, data, sizeof(data));
	struct import_request how = {.name = ""};

	(void)state;
	close(fd);
	assert_true(whole > 4096);
	/* Behind the index there is the end mark, and padding that nobody needs. */
	while (data[whole - 1] == '\0')
		whole--;
	for (ssize_t n = 0; n < whole; n += 512) {
		struct result r;
		int cut = memfd_create("cut", MFD_CLOEXEC);

		assert_int_equal(write(cut, data, (size_t)n), n);
		assert_int_equal(import_fd(cut, &how, &r), -1);
		expect_nothing_left();
		close(cut);
	}
}

static void
test_full_disk(void **state)
{
	struct import_request how = {0};
	struct err err = {0};
	struct result r;

	(void)state;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return;
	char path[64];
	snprintf(path, sizeof(path), "%s/images", top);
	if (mount("tmpfs", path, "tmpfs", 0, "size=3m") < 0)
		return;
	fd_close(&images);
	images = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(import_prepare(images, &err), 0);
	/* The tmpfs of older kernels has no user attributes: only data is needed here. */
	assert_int_equal(import_with("big.tar", &how, &r), -1);
	assert_int_equal(r.err.kind, ERR_NO_SPACE);
	assert_non_null(strstr(r.err.fix, "room"));
	expect_nothing_left();
	struct import_request grown = {0};
	assert_int_equal(mount(NULL, path, NULL, MS_REMOUNT, "size=64m"), 0);
	assert_int_equal(import_with("big.tar", &grown, &r), 0);
	assert_int_equal(r.imported.layers_new, 2);
	fd_close(&images);
	assert_int_equal(umount2(path, MNT_DETACH), 0);
}

static bool
has_file(const char *folder, const char *name)
{
	int fd = openat(images, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	bool found = false;

	while (dir && (e = readdir(dir)) && !found) {
		char path[600];
		struct stat st;

		snprintf(path, sizeof(path), "%s/%s/fs/%s", folder, e->d_name, name);
		found = e->d_name[0] != '.' && fstatat(images, path, &st, 0) == 0;
	}
	if (dir)
		closedir(dir);
	return found;
}

/* Killed when the second layer has begun: nothing can be seen, and the next import does it all. */
static void
test_killed(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		static const char *const files[] = {"etc", "big0", "big1", "big3"};
		struct err err = {0};
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0) {
			import("big.tar", NULL);
			_exit(0);
		}
		while (!has_file("tmp", files[i]) && !has_file("layers", files[i]) &&
		       waitpid(pid, &status, WNOHANG) == 0)
			sched_yield();
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		assert_true(entries("layers") == 0 || entries("layers") == 2);
		assert_int_equal(import_prepare(images, &err), 0);
		assert_int_equal(entries("tmp"), 0);
		assert_int_equal(import("big.tar", NULL).imported.layers, 2);
		assert_int_equal(tree_remove(images, "layers"), 0);
		assert_int_equal(import_prepare(images, &err), 0);
	}
}

static void
test_no_memory(void **state)
{
	struct import_request how = {0};

	(void)state;
	sweep_each(s)
	{
		struct buf data;
		struct msg_imported imported;
		struct err err = {0};
		struct import_request request = how;

		request.name = "";
		request.archive = openat(topfd, "made/good.tar", O_RDONLY | O_CLOEXEC);
		buf_init(&data, MEM_BASE, IMAGE_RECORD_BYTES_MAX);
		int rc = import_run(images, &request, &data, &imported, &err);
		if (rc < 0)
			assert_true(sweep_failed());
		assert_int_equal(entries("tmp"), 0);
		buf_fini(&data);
		close(request.archive);
		/* So that all is done again. */
		assert_int_equal(tree_remove(images, "layers"), 0);
		assert_int_equal(mkdirat(images, "layers", 0755), 0);
	}
}

static int
import_one(char **argv)
{
	struct import_request request = {.name = argv[4]};
	struct err err = {0};
	struct buf data;
	struct msg_imported imported;
	struct image_record *record;

	images = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	request.archive = open(argv[3], O_RDONLY | O_CLOEXEC);
	buf_init(&data, MEM_BASE, IMAGE_RECORD_BYTES_MAX);
	arena_init(&arena, MEM_BASE, 8 << 20);
	if (load_libraries() < 0 || import_prepare(images, &err) < 0 ||
	    import_run(images, &request, &data, &imported, &err) < 0 ||
	    image_record_decode(data.data, data.length, &arena, &record, &err) < 0) {
		err_print(&err, "import", stderr);
		return 1;
	}
	for (size_t i = 0; i < record->layers.count; i++)
		printf("%s/layers/%s/fs\n", argv[2], record->layers.items[i]);
	arena_fini(&arena);
	buf_fini(&data);
	close(request.archive);
	fd_close(&images);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_good),        TEST(test_forms),   TEST(test_folders_of_another_base),
		TEST(test_which_image), TEST(test_refused), TEST(test_bomb_by_its_ratio),
		TEST(test_truncated),   TEST(test_killed),  TEST(test_no_memory),
		TEST(test_full_disk),
	};
	char line[600];

	if (argc == 5 && !strcmp(argv[1], "import"))
		return import_one(argv);
	if (geteuid() != 0) {
		printf("1..0 # SKIP owners can be set by root only\n");
		return 0;
	}
	if (argc != 2 || load_libraries() < 0 || !mkdtemp(top))
		return 1;
	topfd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	mkdirat(topfd, "made", 0755);
	snprintf(line, sizeof(line), "/usr/bin/python3 '%s' %s/made", argv[1], top);
	int rc = system(line) ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
	tree_empty(topfd);
	fd_close(&topfd);
	rmdir(top);
	return rc;
}
