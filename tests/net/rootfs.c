/* SPDX-License-Identifier: Apache-2.0 */
/* Folders and files of the tests that run containers. Everything is below one scratch folder. */
#include "tests/net/rootfs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/sandbox.h"

static const char busybox[] = "/bin/busybox";

bool
rootfs_can_run(void)
{
	const char *why = NULL;
	if (geteuid() != 0)
		why = "not root";
	else if ((sandbox_caps() & (UINT64_C(1) << 21)) == 0)
		why = "no CAP_SYS_ADMIN";
	else if (access(busybox, X_OK) != 0)
		why = "busybox-static is not installed";
	if (why != NULL)
		printf("1..0 # SKIP %s\n", why);
	return why == NULL;
}

void
rootfs_folder(const char *path)
{
	char copy[4096];
	snprintf(copy, sizeof(copy), "%s", path);
	for (char *at = copy + 1; *at != '\0'; at++) {
		if (*at != '/')
			continue;
		*at = '\0';
		mkdir(copy, 0755);
		*at = '/';
	}
	int made = mkdir(copy, 0755);
	assert(made == 0 || errno == EEXIST);
}

void
rootfs_scratch(char *out, size_t cap)
{
	snprintf(out, cap, "/tmp/zlayer-test-XXXXXX");
	char *made = mkdtemp(out);
	assert(made != NULL);
	assert(chmod(out, 0755) == 0);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

void
rootfs_remove(const char *path)
{
	nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

void
rootfs_write(const char *path, const char *text, unsigned mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	assert(fd >= 0);
	ssize_t n = write(fd, text, strlen(text));
	assert(n == (ssize_t)strlen(text));
	close(fd);
	chmod(path, mode);
}

static void
copy_busybox(const char *path)
{
	struct stat st;
	int from = open(busybox, O_RDONLY | O_CLOEXEC);
	int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	assert(from >= 0 && to >= 0 && fstat(from, &st) == 0);
	ssize_t n = sendfile(to, from, NULL, (size_t)st.st_size);
	assert(n == st.st_size);
	close(from);
	close(to);
}

void
rootfs_make(const char *path)
{
	static const char *const applets[] = {
		"sh",       "cat",      "echo",  "sleep",   "id",    "ls",     "mount",
		"umount",   "hostname", "test",  "true",    "false", "dd",     "head",
		"tail",     "ps",       "kill",  "stty",    "tty",   "wc",     "grep",
		"ip",       "ping",     "nc",    "touch",   "mkdir", "rm",     "chmod",
		"stat",     "env",      "seq",   "yes",     "tr",    "usleep", "mknod",
		"unshare",  "chroot",   "httpd", "printf",  "pwd",   "awk",    "sort",
		"readlink", "df",       "su",    "busybox",
	};
	static const char *const folders[] = {"bin", "etc", "proc", "tmp", "srv", "home/app"};
	char name[4096], link[4096];
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		snprintf(name, sizeof(name), "%s/%s", path, folders[i]);
		rootfs_folder(name);
	}
	snprintf(name, sizeof(name), "%s/bin/.busybox", path);
	copy_busybox(name);
	for (size_t i = 0; i < sizeof(applets) / sizeof(applets[0]); i++) {
		snprintf(link, sizeof(link), "%s/bin/%s", path, applets[i]);
		int made = symlink(".busybox", link);
		assert(made == 0 || errno == EEXIST);
	}
	snprintf(name, sizeof(name), "%s/etc/passwd", path);
	rootfs_write(name, "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n",
		     0644);
	snprintf(name, sizeof(name), "%s/etc/group", path);
	rootfs_write(name, "root:x:0:\napp:x:1001:\nextra:x:1002:nobody,app\n", 0644);
}
