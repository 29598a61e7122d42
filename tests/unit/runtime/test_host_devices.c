/* SPDX-License-Identifier: Apache-2.0 */
/* The walk over /dev, in a folder made for it. */
#include "runtime/host_devices.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "base/mem.h"
#include "runtime/tree.h"

static int folder = -1;

static void
node(const char *name, mode_t type, unsigned major, unsigned minor)
{
	assert_int_equal(mknodat(folder, name, type | 0640, makedev(major, minor)), 0);
}

static const struct launch_device *
find(const struct launch_device *d, size_t count, const char *path)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(d[i].path, path))
			return &d[i];
	return NULL;
}

static void
test_list(void **state)
{
	struct launch_device *d;
	struct arena arena;
	struct err err = {0};
	size_t count;
	(void)state;
	arena_init(&arena, MEM_RUNTIME, 4 << 20);
	assert_int_equal(host_devices_list(folder, "/dev", &arena, &d, &count, &err), 0);
	assert_int_equal(count, 3);
	const struct launch_device *disk = find(d, count, "/dev/loop7");
	assert_non_null(disk);
	assert_true(disk->block);
	assert_int_equal(disk->major, 7);
	assert_int_equal(disk->minor, 7);
	const struct launch_device *tun = find(d, count, "/dev/net/tun");
	assert_non_null(tun);
	assert_false(tun->block);
	assert_int_equal(tun->mode & ~0640U, 0);
	/* Of that name only at the top is it the console. */
	assert_non_null(find(d, count, "/dev/net/console"));
	arena_fini(&arena);
}

static void
test_no_memory(void **state)
{
	(void)state;
	for (int64_t n = 0;; n++) {
		struct launch_device *d;
		struct arena arena;
		struct err err = {0};
		size_t count;
		mem_fail_after(n);
		arena_init(&arena, MEM_RUNTIME, 4 << 20);
		int rc = host_devices_list(folder, "/dev", &arena, &d, &count, &err);
		uint64_t failed = mem_failures();
		mem_fail_after(-1);
		arena_fini(&arena);
		if (failed == 0) {
			assert_int_equal(rc, 0);
			return;
		}
		assert_int_equal(rc, -1);
		assert_int_equal(err.kind, ERR_NO_MEMORY);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_no_memory),
	};
	char path[] = "/tmp/test_host_devices.XXXXXX";
	if (geteuid() != 0) {
		printf("1..0 # SKIP makes device nodes: needs root\n");
		return 0;
	}
	if (mkdtemp(path) == NULL)
		return 1;
	folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (mkdirat(folder, "net", 0755) < 0 ||
	    mknodat(folder, "probe", S_IFCHR, makedev(1, 3)) < 0 ||
	    unlinkat(folder, "probe", 0) < 0) {
		tree_empty(folder);
		rmdir(path);
		printf("1..0 # SKIP no device nodes can be made here\n");
		return 0;
	}
	node("console", S_IFCHR, 5, 1);
	node("loop7", S_IFBLK, 7, 7);
	node("net/tun", S_IFCHR, 10, 200);
	node("net/console", S_IFCHR, 5, 1);
	node("pipe", S_IFIFO, 0, 0);
	int linked = symlinkat("loop7", folder, "link");
	int status = linked < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
	tree_empty(folder);
	fd_close(&folder);
	rmdir(path);
	return status;
}
