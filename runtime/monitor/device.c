/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /dev of a container: a small tmpfs with the six devices that programs expect, pts, shm and
 * mqueue, the usual links, and the devices of the plan. It is filled before it is attached, through
 * its own descriptor, so that no link of the image can lead a node elsewhere. What a process may
 * open is decided by the device rules of its cgroup, not by what stands here.
 */
#include "runtime/monitor/root.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include "base/fd.h"
#include "runtime/mount_call.h"

static const struct {
	const char *name;
	unsigned major, minor;
} nodes[] = {
	{"null", 1, 3},   {"zero", 1, 5},    {"full", 1, 7},
	{"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
};

static const struct {
	const char *name, *to;
} links[] = {
	{"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},
};

static int
make_node(int dir, const char *name, mode_t mode, unsigned major, unsigned minor)
{
	if (mknodat(dir, name, mode, makedev(major, minor)) < 0)
		return -1;
	/* The process's umask does not count here. */
	return fchmodat(dir, name, mode & 07777, 0);
}

static int
make_standard(int dev, struct err *err)
{
	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
		if (make_node(dev, nodes[i].name, S_IFCHR | 0666, nodes[i].major, nodes[i].minor) <
		    0)
			return err_sys(err, errno, "cannot make /dev/%s", nodes[i].name);
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		if (symlinkat(links[i].to, dev, links[i].name) < 0)
			return err_sys(err, errno, "cannot make /dev/%s", links[i].name);
	return 0;
}

static int
make_given(const struct launch_device *d, int root, struct err *err)
{
	char parent[512];
	const char *slash = strrchr(d->path, '/');
	if (slash == NULL || (size_t)(slash - d->path) >= sizeof(parent) || slash[1] == '\0')
		return err_set(err, ERR_INVALID, "the device %s has no usable path", d->path);
	snprintf(parent, sizeof(parent), "%.*s/.", (int)(slash - d->path), d->path);
	parent[slash - d->path] = '\0';
	defer_close int dir = root_resolve(root, parent[0] == '\0' ? "/" : parent, true, err);
	if (dir < 0)
		return -1;
	mode_t type = d->block ? S_IFBLK : S_IFCHR;
	if (make_node(dir, slash + 1, type | d->mode, d->major, d->minor) < 0 && errno != EEXIST)
		return err_sys(err, errno, "cannot make the device %s", d->path);
	return 0;
}

static int
add_pts(int root, struct err *err)
{
	defer_close int fs = mount_call_fsopen("devpts");
	if (fs < 0 || mount_call_set(fs, "source", "devpts") < 0 ||
	    mount_call_set(fs, "newinstance", NULL) < 0 ||
	    mount_call_set(fs, "ptmxmode", "0666") < 0 || mount_call_set(fs, "mode", "0620") < 0 ||
	    mount_call_set(fs, "gid", "5") < 0)
		return err_sys(err, errno, "cannot make /dev/pts");
	defer_close int mount = mount_call_create(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	if (mount < 0)
		return err_sys(err, errno, "cannot make /dev/pts");
	return root_attach(root, &mount, "/dev/pts", err);
}

static int
add_mqueue(int root, struct err *err)
{
	defer_close int fs = mount_call_fsopen("mqueue");
	defer_close int mount =
		fs < 0 ? -1
		       : mount_call_create(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
						       MOUNT_ATTR_NOEXEC);
	/* A kernel without POSIX message queues has nothing to show. */
	return mount < 0 ? 0 : root_attach(root, &mount, "/dev/mqueue", err);
}

int
root_make_dev(const struct launch *launch, int root, struct err *err)
{
	const uint64_t safe = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
	defer_close int dev = root_tmpfs("65536k", "755", MOUNT_ATTR_NOSUID);
	defer_close int shm = root_tmpfs("64m", "1777", safe);
	if (dev < 0 || shm < 0)
		return err_sys(err, errno, "cannot make /dev");
	if (make_standard(dev, err) < 0 || root_attach(root, &dev, "/dev", err) < 0)
		return -1;
	if (add_pts(root, err) < 0 || root_attach(root, &shm, "/dev/shm", err) < 0 ||
	    add_mqueue(root, err) < 0)
		return -1;
	for (size_t i = 0; i < launch->devices_count; i++)
		if (make_given(&launch->devices[i], root, err) < 0)
			return -1;
	return 0;
}
