/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A walk over /dev. What changes while it is read is as if it had changed before or after. More
 * devices than a container can be given are an error, not a part of them.
 */
#include "runtime/host_devices.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "base/fd.h"

struct walk {
	struct arena *arena;
	struct launch_device *items;
	size_t count;
	dev_t file_system;
};

static int walk_folder(struct walk *w, int folder, const char *path, unsigned depth,
		       struct err *err);

static int
no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory for the list of devices");
}

static int
add_device(struct walk *w, const char *path, const struct stat *st, struct err *err)
{
	if (w->count == HOST_DEVICES_MAX) {
		err_set(err, ERR_LIMIT, "this machine has more than %d devices", HOST_DEVICES_MAX);
		return err_fix(err, "name the ones that are needed in devices, without privileged");
	}
	w->items[w->count++] = (struct launch_device){
		.path = arena_strdup(w->arena, path),
		.block = S_ISBLK(st->st_mode),
		.major = major(st->st_rdev),
		.minor = minor(st->st_rdev),
		.mode = st->st_mode & 0777,
	};
	return arena_ok(w->arena) ? 0 : no_memory(err);
}

static int
look_at(struct walk *w, int folder, const char *name, const char *path, unsigned depth,
	struct err *err)
{
	struct stat st;

	if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0; /* gone meanwhile */
	if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
		return depth == 0 && !strcmp(name, "console") ? 0 : add_device(w, path, &st, err);
	if (!S_ISDIR(st.st_mode) || st.st_dev != w->file_system || depth >= HOST_DEVICES_DEPTH_MAX)
		return 0;
	int below = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return below < 0 ? 0 : walk_folder(w, below, path, depth + 1, err);
}

/* Takes the folder over. */
static int
walk_folder(struct walk *w, int folder, const char *path, unsigned depth, struct err *err)
{
	DIR *dir = fdopendir(folder);
	int rc = 0;

	if (dir == NULL) {
		err_sys(err, errno, "cannot read %s", path);
		fd_close(&folder);
		return -1;
	}
	for (struct dirent *e = readdir(dir); rc == 0 && e != NULL; e = readdir(dir)) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		const char *full = arena_printf(w->arena, "%s/%s", path, e->d_name);
		rc = full == NULL ? no_memory(err)
				  : look_at(w, dirfd(dir), e->d_name, full, depth, err);
	}
	closedir(dir);
	return rc;
}

int
host_devices_list(int dev_fd, const char *prefix, struct arena *arena, struct launch_device **out,
		  size_t *count_out, struct err *err)
{
	struct walk w = {.arena = arena};
	struct stat st;

	w.items = arena_array(arena, HOST_DEVICES_MAX, sizeof(*w.items));
	if (w.items == NULL)
		return no_memory(err);
	int folder = openat(dev_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0 || fstat(folder, &st) < 0) {
		err_sys(err, errno, "cannot read %s", prefix);
		fd_close(&folder);
		return -1;
	}
	w.file_system = st.st_dev;
	if (walk_folder(&w, folder, prefix, 0, err) < 0)
		return -1;
	*out = w.items;
	*count_out = w.count;
	return 0;
}
