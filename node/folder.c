/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking folders by descriptors: each level is opened from the one above without following links,
 * so that nothing that a confined process put there can lead root elsewhere. Depth is bounded; what
 * lies deeper stays and is reported.
 */
#include "node/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"

/* Called for each entry, a folder's after what it holds. 0, or -1 with errno. */
typedef int (*folder_visit)(void *arg, int dirfd, const char *name, bool folder);

static bool
dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int
walk(int dirfd, const char *name, unsigned depth, dev_t device, folder_visit visit, void *arg)
{
	int failed = 0;
	struct stat sb;
	defer_close int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (depth >= FOLDER_DEPTH_MAX || fstat(fd, &sb) < 0 || (depth && sb.st_dev != device)) {
		errno = EXDEV;
		return -1;
	}
	DIR *dir = fdopendir(dup(fd));
	if (!dir)
		return -1;
	for (struct dirent *e; (e = readdir(dir));) {
		struct stat one;

		if (dots(e->d_name) || fstatat(fd, e->d_name, &one, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		bool folder = S_ISDIR(one.st_mode);
		if (folder && walk(fd, e->d_name, depth + 1, sb.st_dev, visit, arg) < 0)
			failed = errno;
		if (visit(arg, fd, e->d_name, folder) < 0)
			failed = errno;
	}
	closedir(dir);
	errno = failed;
	return failed ? -1 : 0;
}

static int
remove_one(void *arg, int dirfd, const char *name, bool folder)
{
	const bool *keep_files = arg;

	if (!folder && *keep_files)
		return 0;
	if (unlinkat(dirfd, name, folder ? AT_REMOVEDIR : 0) < 0 && errno != ENOENT)
		return -1;
	return 0;
}

static int
remove_all(int dirfd, const char *name, bool keep_files)
{
	struct stat sb;

	if (fstatat(dirfd, name, &sb, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -1;
	int rc = 0;
	if (S_ISDIR(sb.st_mode))
		rc = walk(dirfd, name, 0, sb.st_dev, remove_one, &keep_files);
	int code = errno;
	if (remove_one(&keep_files, dirfd, name, S_ISDIR(sb.st_mode)) < 0)
		return -1;
	errno = code;
	return rc;
}

int
folder_remove(int dirfd, const char *name)
{
	return remove_all(dirfd, name, false);
}

int
folder_prune(int dirfd, const char *name, bool files)
{
	return remove_all(dirfd, name, !files);
}

struct owner {
	uid_t uid;
	gid_t gid;
};

static int
chown_one(void *arg, int dirfd, const char *name, bool folder)
{
	const struct owner *owner = arg;

	(void)folder;
	return fchownat(dirfd, name, owner->uid, owner->gid, AT_SYMLINK_NOFOLLOW);
}

int
folder_chown(int dirfd, const char *name, uid_t uid, gid_t gid)
{
	struct owner owner = {uid, gid};

	if (walk(dirfd, name, 0, 0, chown_one, &owner) < 0)
		return -1;
	return chown_one(&owner, dirfd, name, true);
}

static bool
any_entry(int dirfd, const char *name)
{
	(void)dirfd;
	(void)name;
	return true;
}

static bool
something(int dirfd, const char *name)
{
	struct stat sb;

	if (fstatat(dirfd, name, &sb, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(sb.st_mode))
		return true;
	return folder_holds(dirfd, name);
}

static bool
holds(int at, const char *name, bool (*counts)(int dirfd, const char *name))
{
	bool found = false;
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (!dir) {
		fd_close(&fd);
		return false;
	}
	for (struct dirent *e; !found && (e = readdir(dir));)
		found = !dots(e->d_name) && counts(fd, e->d_name);
	closedir(dir);
	return found;
}

bool
folder_holds(int dirfd, const char *name)
{
	return holds(dirfd, name, any_entry);
}

bool
folder_holds_something(int dirfd, const char *name)
{
	return holds(dirfd, name, something);
}
