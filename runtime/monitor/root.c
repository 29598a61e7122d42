/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The new root. Order: private propagation, overlay, own files (proc, dev, sys, cgroup), the plan's
 * mounts from the outermost inwards, then pivot_root and the masks. Until the end there is no
 * process of the container, but a volume may be shared with one that runs: a path is therefore
 * resolved by the kernel in one go and never again.
 *
 * overlayfs: layers by descriptor where the kernel takes them (6.13), else mount(2) with
 * /proc/self/fd names, which keeps 128 layers below the page that mount(2) accepts. `userxattr`,
 * because layers were unpacked without privileges.
 */
#include "runtime/monitor/root.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include "base/fd.h"
#include "runtime/mount_call.h"

enum { PROC_MAGIC = 0x9fa0 };

/* ---- the overlay ---- */

struct overlay {
	int lower[LAUNCH_LIST_MAX];
	size_t count;
	int upper, work;
};

static void
overlay_close(struct overlay *o)
{
	for (size_t i = 0; i < o->count; i++)
		close(o->lower[i]);
	fd_close(&o->upper);
	fd_close(&o->work);
}

static int
overlay_find(struct overlay *o, const struct launch *launch, struct err *err)
{
	const int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
	for (size_t i = 0; i < launch->layers.count; i++) {
		o->lower[i] = open(launch->layers.items[i], flags);
		if (o->lower[i] < 0)
			return err_sys(err, errno, "cannot open the layer %s",
				       launch->layers.items[i]);
		o->count++;
	}
	o->upper = open(launch->upper, flags);
	o->work = open(launch->work, flags);
	if (o->upper < 0 || o->work < 0)
		return err_sys(err, errno, "cannot open the container's own layer");
	return 0;
}

static int
overlay_by_fd(const struct overlay *o)
{
	defer_close int fs = mount_call_fsopen("overlay");
	if (fs < 0)
		return -1;
	for (size_t i = 0; i < o->count; i++)
		if (mount_call_set_fd(fs, "lowerdir+", o->lower[i]) < 0)
			return -1;
	if (mount_call_set_fd(fs, "upperdir", o->upper) < 0 ||
	    mount_call_set_fd(fs, "workdir", o->work) < 0 ||
	    mount_call_set(fs, "userxattr", NULL) < 0 || mount_call_set(fs, "source", "zlayer") < 0)
		return -1;
	return mount_call_create(fs, 0);
}

static int
overlay_by_name(const struct overlay *o, const char *stage)
{
	char options[4000];
	size_t used = (size_t)snprintf(options, sizeof(options), "userxattr,lowerdir=");
	for (size_t i = 0; i < o->count && used < sizeof(options); i++)
		used += (size_t)snprintf(options + used, sizeof(options) - used,
					 "%s/proc/self/fd/%d", i > 0 ? ":" : "", o->lower[i]);
	if (used < sizeof(options))
		used += (size_t)snprintf(options + used, sizeof(options) - used,
					 ",upperdir=/proc/self/fd/%d,workdir=/proc/self/fd/%d",
					 o->upper, o->work);
	if (used >= sizeof(options)) {
		errno = E2BIG;
		return -1;
	}
	return mount_call_mount("zlayer", stage, "overlay", 0, options);
}

int
root_open(const struct launch *launch, int *root_out, struct err *err)
{
	struct overlay overlay = {.upper = -1, .work = -1};
	int root = -1, mount = -1;

	if (mount_call_mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_sys(err, errno, "cannot make the mounts private");
	if (overlay_find(&overlay, launch, err) < 0)
		goto out;
	mount = overlay_by_fd(&overlay);
	if (mount >= 0) {
		int stage = open(launch->stage, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (stage < 0 || mount_call_move(mount, stage) < 0) {
			err_sys(err, errno, "cannot attach the root file system");
			fd_close(&stage);
			goto out;
		}
		fd_close(&stage);
	} else if (overlay_by_name(&overlay, launch->stage) < 0) {
		err_sys(err, errno, "cannot mount the root file system (overlay)");
		err_fix(err, "the data folder must be on a file system with user xattrs, such as "
			     "ext4 or xfs");
		goto out;
	}
	root = open(launch->stage, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (root < 0)
		err_sys(err, errno, "cannot open the root file system");
out:
	fd_close(&mount);
	overlay_close(&overlay);
	*root_out = root;
	return root < 0 ? -1 : 0;
}

/* ---- paths inside ---- */

/* Makes one missing piece below what is there already. */
static int
make_piece(int root, char *path, bool directory)
{
	char *slash = strrchr(path, '/');
	const char *name = slash == NULL ? path : slash + 1;
	int parent = -1;
	if (slash != NULL)
		*slash = '\0';
	parent = fd_open_in_root(root, slash == NULL || *path == '\0' ? "." : path,
				 O_PATH | O_DIRECTORY, 0);
	if (slash != NULL)
		*slash = '/';
	if (parent < 0)
		return -1;
	int result = 0;
	if (directory) {
		result = mkdirat(parent, name, 0755);
	} else {
		int fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
				0644);
		result = fd < 0 ? -1 : 0;
		fd_close(&fd);
	}
	fd_close(&parent);
	return result;
}

int
root_resolve(int root, const char *path, bool directory, struct err *err)
{
	char copy[PATH_MAX];
	size_t length = strlen(path);
	while (length > 1 && path[length - 1] == '/')
		length--;
	if (length >= sizeof(copy)) {
		err_set(err, ERR_INVALID, "the path %s is too long", path);
		return -1;
	}
	memcpy(copy, path, length);
	copy[length] = '\0';
	if (strstr(copy, "/../") != NULL ||
	    (length >= 3 && strcmp(copy + length - 3, "/..") == 0)) {
		err_set(err, ERR_INVALID, "the path %s has a component ..", path);
		return -1;
	}
	/* Every prefix that is not there is made, from the left. */
	for (char *at = copy; *at != '\0';) {
		at += strspn(at, "/");
		at += strcspn(at, "/");
		char kept = *at;
		bool last = kept == '\0';
		*at = '\0';
		int fd = fd_open_in_root(root, copy, O_PATH, 0);
		if (fd < 0 && errno == ENOENT && make_piece(root, copy, directory || !last) < 0) {
			int code = errno;
			err_sys(err, code, "cannot make %s in the container", copy);
			if (code == EEXIST)
				err_why(err, "it is a symbolic link to nowhere");
			return -1;
		}
		if (last) {
			fd_close(&fd);
			break;
		}
		fd_close(&fd);
		*at = kept;
	}
	int fd = fd_open_in_root(root, copy, O_PATH | (directory ? O_DIRECTORY : 0), 0);
	if (fd < 0)
		err_sys(err, errno, "cannot open %s in the container", path);
	return fd;
}

int
root_attach(int root, int *mount, const char *path, struct err *err)
{
	defer_close int target = root_resolve(root, path, true, err);
	if (target < 0)
		return -1;
	if (mount_call_move(*mount, target) < 0)
		return err_sys(err, errno, "cannot mount %s", path);
	fd_close(mount);
	return 0;
}

int
root_tmpfs(const char *size, const char *mode, uint64_t attributes)
{
	defer_close int fs = mount_call_fsopen("tmpfs");
	if (fs < 0 || mount_call_set(fs, "source", "tmpfs") < 0)
		return -1;
	if (size != NULL && mount_call_set(fs, "size", size) < 0)
		return -1;
	if (mode != NULL && mount_call_set(fs, "mode", mode) < 0)
		return -1;
	return mount_call_create(fs, attributes);
}

/* ---- proc, sys, cgroup ---- */

static int
simple_mount(const char *type, uint64_t attributes)
{
	defer_close int fs = mount_call_fsopen(type);
	if (fs < 0 || mount_call_set(fs, "source", type) < 0)
		return -1;
	return mount_call_create(fs, attributes);
}

static int
add_simple(int root, const char *type, const char *path, uint64_t attributes, struct err *err)
{
	defer_close int mount = simple_mount(type, attributes);
	if (mount < 0)
		return err_sys(err, errno, "cannot make %s for %s", type, path);
	return root_attach(root, &mount, path, err);
}

static int
cgroup_v1_mount(const char *controllers, uint64_t attributes)
{
	char one[64];
	defer_close int fs = mount_call_fsopen("cgroup");
	if (fs < 0)
		return -1;
	while (*controllers != '\0') {
		size_t length = strcspn(controllers, ",");
		if (length == 0 || length >= sizeof(one))
			return -1;
		memcpy(one, controllers, length);
		one[length] = '\0';
		controllers += length + (controllers[length] == ',');
		if (mount_call_set(fs, one, NULL) < 0)
			return -1;
	}
	return mount_call_create(fs, attributes);
}

/* A hierarchy that cannot be shown (a kernel without cgroup namespaces for it) is left out. */
static int
add_cgroup_v1(const struct launch *launch, int root, uint64_t attributes, struct err *err)
{
	char path[160];
	defer_close int mount =
		root_tmpfs("64k", "755", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (mount < 0)
		return err_sys(err, errno, "cannot make a folder for the cgroups");
	defer_close int top = dup(mount);
	if (root_attach(root, &mount, "/sys/fs/cgroup", err) < 0)
		return -1;
	for (size_t i = 0; i < launch->cgroup_v1_mounts.count; i++) {
		defer_close int one =
			cgroup_v1_mount(launch->cgroup_v1_mounts.items[i], attributes);
		if (one < 0)
			continue;
		snprintf(path, sizeof(path), "/sys/fs/cgroup/%s",
			 launch->cgroup_v1_mounts.items[i]);
		if (root_attach(root, &one, path, err) < 0)
			return -1;
	}
	if (attributes & MOUNT_ATTR_RDONLY)
		mount_call_attributes(top, MOUNT_ATTR_RDONLY, 0, false);
	return 0;
}

static int
fill_system(const struct launch *launch, int root, int *proc_out, struct err *err)
{
	const uint64_t safe = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
	const uint64_t sys = launch->privileged ? safe : safe | MOUNT_ATTR_RDONLY;
	struct statfs fs;

	*proc_out = simple_mount("proc", safe);
	if (*proc_out < 0 || fstatfs(*proc_out, &fs) < 0 || fs.f_type != PROC_MAGIC)
		return err_sys(err, errno, "cannot make /proc");
	if (add_simple(root, "proc", "/proc", safe, err) < 0 ||
	    root_make_dev(launch, root, err) < 0 || add_simple(root, "sysfs", "/sys", sys, err) < 0)
		return -1;
	if (launch->cgroup_v2_mount)
		return add_simple(root, "cgroup2", "/sys/fs/cgroup", sys, err);
	return add_cgroup_v1(launch, root, sys, err);
}

/* ---- the plan's mounts ---- */

static bool
is_empty(int mount)
{
	char entries[1024];
	defer_close int fd = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return false;
	long n = syscall(SYS_getdents64, fd, entries, sizeof(entries));
	size_t at = 0, names = 0;
	while (n > 0 && at + 19 < (size_t)n && names < 3) {
		uint16_t length;
		memcpy(&length, entries + at + 16, sizeof(length));
		names++;
		at += length;
	}
	return n > 0 && names == 2;
}

/* A new volume looks like the folder of the image that it covers. */
static void
take_owner(int mount, int target)
{
	struct stat st;
	if (fstat(target, &st) < 0 || !is_empty(mount))
		return;
	if (fchownat(mount, "", st.st_uid, st.st_gid, AT_EMPTY_PATH) < 0)
		return;
	/* Only a look: a volume that refuses the mode is still a volume. */
	if (fchmodat(mount, ".", st.st_mode & 07777, 0) < 0)
		return;
}

/* A link in a volume, which another container may have put there, must not lead a mount onto /proc:
 * what is masked there would be masked in the mount, and shown below it (CVE-2019-19921). */
static int
resolve_for_plan(const struct launch_mount *m, int root, struct err *err)
{
	struct statfs fs;
	bool directory = m->kind != LAUNCH_TREE || m->directory;
	defer_close int target = root_resolve(root, m->target, directory, err);
	if (target < 0)
		return -1;
	if (fstatfs(target, &fs) < 0)
		return err_sys(err, errno, "cannot look at %s", m->target);
	if (fs.f_type == PROC_MAGIC) {
		err_set(err, ERR_INVALID, "cannot mount %s: it is in the container's /proc",
			m->target);
		return err_fix(err, "mount it somewhere else");
	}
	return fd_take(&target);
}

static int
add_tree(const struct launch_mount *m, int root, struct err *err)
{
	defer_close int target = resolve_for_plan(m, root, err);
	if (target < 0)
		return -1;
	if (m->inherit)
		take_owner(m->fd, target);
	if (mount_call_move(m->fd, target) < 0)
		return err_sys(err, errno, "cannot mount %s", m->target);
	return 0;
}

static int
add_tmpfs(const struct launch_mount *m, int root, struct err *err)
{
	char size[32], mode[16];
	uint64_t attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
	snprintf(size, sizeof(size), "%llu", (unsigned long long)m->size_bytes);
	snprintf(mode, sizeof(mode), "%o", m->mode == 0 ? 01777U : m->mode);
	if (m->readonly)
		attributes |= MOUNT_ATTR_RDONLY;
	defer_close int mount = root_tmpfs(m->size_bytes == 0 ? NULL : size, mode, attributes);
	if (mount < 0)
		return err_sys(err, errno, "cannot make a tmpfs for %s", m->target);
	defer_close int target = resolve_for_plan(m, root, err);
	if (target < 0)
		return -1;
	if (mount_call_move(mount, target) < 0)
		return err_sys(err, errno, "cannot mount %s", m->target);
	return 0;
}

/* ---- sysctls ---- */

static int
set_sysctl(int proc, const struct launch_pair *pair, struct err *err)
{
	char path[256];
	int n = snprintf(path, sizeof(path), "sys/%s", pair->key);
	for (int i = 0; i < n; i++)
		if (path[i] == '.')
			path[i] = '/';
	if (n >= (int)sizeof(path))
		return err_set(err, ERR_INVALID, "the sysctl %s is too long", pair->key);
	defer_close int fd = fd_open_beneath(proc, path, O_WRONLY | O_NOFOLLOW, 0);
	size_t length = strlen(pair->value);
	if (fd < 0 || write(fd, pair->value, length) != (ssize_t)length)
		return err_sys(err, errno, "cannot set the sysctl %s", pair->key);
	return 0;
}

int
root_fill(const struct launch *launch, int root, int *proc_out, struct err *err)
{
	*proc_out = -1;
	if (fill_system(launch, root, proc_out, err) < 0)
		return -1;
	for (size_t i = 0; i < launch->mounts_count; i++) {
		const struct launch_mount *m = &launch->mounts[i];
		int done =
			m->kind == LAUNCH_TREE ? add_tree(m, root, err) : add_tmpfs(m, root, err);
		if (done < 0)
			return -1;
	}
	for (size_t i = 0; i < launch->sysctls_count; i++)
		if (set_sysctl(*proc_out, &launch->sysctls[i], err) < 0)
			return -1;
	defer_close int workdir = root_resolve(root, launch->workdir, true, err);
	return workdir < 0 ? -1 : 0;
}

/* ---- entering ---- */

static int
hide_folder(int target, struct err *err)
{
	defer_close int mount = root_tmpfs("0", "755",
					   MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
						   MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (mount < 0 || mount_call_move(mount, target) < 0)
		return err_sys(err, errno, "cannot hide a folder");
	return 0;
}

/* null: the device of our own /dev, checked to be it. */
static int
hide_file(int target, int null, struct err *err)
{
	defer_close int mount = mount_call_clone(null, "", 0);
	if (mount < 0 || mount_call_move(mount, target) < 0)
		return err_sys(err, errno, "cannot hide a file");
	return 0;
}

static int
hide(int root, const char *path, int null, struct err *err)
{
	struct stat st;
	defer_close int target = fd_open_in_root(root, path, O_PATH | O_NOFOLLOW, 0);
	if (target < 0)
		return errno == ENOENT || errno == ENOTDIR
			       ? 0
			       : err_sys(err, errno, "cannot open %s to hide it", path);
	if (fstat(target, &st) < 0)
		return err_sys(err, errno, "cannot hide %s", path);
	int done = S_ISDIR(st.st_mode) ? hide_folder(target, err) : hide_file(target, null, err);
	return done < 0 ? err_where(err, "masking %s", path) : 0;
}

static int
freeze(int root, const char *path, struct err *err)
{
	defer_close int target = fd_open_in_root(root, path, O_PATH | O_NOFOLLOW, 0);
	if (target < 0)
		return errno == ENOENT ? 0 : err_sys(err, errno, "cannot open %s", path);
	defer_close int mount = mount_call_clone(target, "", 0x8000 /* AT_RECURSIVE */);
	if (mount < 0 ||
	    mount_call_attributes(mount,
				  MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
					  MOUNT_ATTR_NOEXEC,
				  0, true) < 0 ||
	    mount_call_move(mount, target) < 0)
		return err_sys(err, errno, "cannot make %s read-only", path);
	return 0;
}

static int
open_null(int root, struct err *err)
{
	struct stat st;
	int null = fd_open_in_root(root, "/dev/null", O_PATH | O_NOFOLLOW, 0);
	if (null >= 0 && fstat(null, &st) == 0 && S_ISCHR(st.st_mode) &&
	    st.st_rdev == makedev(1, 3))
		return null;
	err_set(err, ERR_CORRUPT, "/dev/null of the container is not the null device");
	fd_close(&null);
	return -1;
}

static int
protect(const struct launch *launch, int root, struct err *err)
{
	defer_close int null = open_null(root, err);
	if (null < 0)
		return -1;
	for (size_t i = 0; i < launch->masked.count; i++)
		if (hide(root, launch->masked.items[i], null, err) < 0)
			return -1;
	for (size_t i = 0; i < launch->readonly.count; i++)
		if (freeze(root, launch->readonly.items[i], err) < 0)
			return -1;
	if (launch->read_only_root && mount_call_attributes(root, MOUNT_ATTR_RDONLY, 0, false) < 0)
		return err_sys(err, errno, "cannot make the root file system read-only");
	return 0;
}

int
root_enter(const struct launch *launch, int root, struct err *err)
{
	if (protect(launch, root, err) < 0)
		return -1;
	if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
		return err_sys(err, errno, "cannot enter the root file system");
	/* The old root lies over the new one now. */
	if (mount_call_umount(".", MOUNT_CALL_DETACH) < 0 || chdir("/") < 0)
		return err_sys(err, errno, "cannot leave the old root file system");
	return 0;
}
