/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removal of a tree that only we have written, perhaps with the content of a hostile image: names
 * are removed one by one below an open folder; a symbolic link is removed, never followed. One
 * descriptor per level is open; the depth of what unpack makes is limited (runtime/layer.h).
 */
#include "runtime/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"

enum { DEPTH_MAX = 200 };

static int remove_below(int dirfd, const char *name, unsigned depth);

static int
empty(int dirfd, unsigned depth)
{
	int copy = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	int rc = 0;

	if (!dir) {
		fd_close(&copy);
		return -1;
	}
	while (rc == 0) {
		errno = 0;
		struct dirent *e = readdir(dir);

		if (!e) {
			rc = errno ? -1 : 0;
			break;
		}
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			rc = remove_below(dirfd, e->d_name, depth + 1);
	}
	int saved = errno;
	closedir(dir);
	errno = saved;
	return rc;
}

static int
remove_below(int dirfd, const char *name, unsigned depth)
{
	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -1;
	if (depth > DEPTH_MAX) {
		errno = ELOOP;
		return -1;
	}
	defer_close int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || empty(fd, depth) < 0)
		return -1;
	return unlinkat(dirfd, name, AT_REMOVEDIR);
}

int
tree_remove(int dirfd, const char *name)
{
	return remove_below(dirfd, name, 0);
}

int
tree_empty(int dirfd)
{
	return empty(dirfd, 0);
}
