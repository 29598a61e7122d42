/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_MOUNT_CALL_H
#define RUNTIME_MOUNT_CALL_H

/*
 * The mount API by descriptors (Linux 5.2, mount_setattr 5.12), called raw: C libraries before
 * glibc 2.36 have no wrappers, and that one's <sys/mount.h> cannot stand beside <linux/mount.h>.
 * All give what the kernel gives: -1 with errno.
 */

#include <fcntl.h>
#include <linux/mount.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOUNT_CALL_DETACH = 2 /* MNT_DETACH */ };

static inline int
mount_call_fsopen(const char *type)
{
	return (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
}

static inline int
mount_call_set(int fs, const char *key, const char *value)
{
	if (value == NULL)
		return (int)syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, key, NULL, 0);
	return (int)syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0);
}

static inline int
mount_call_set_fd(int fs, const char *key, int fd)
{
	return (int)syscall(SYS_fsconfig, fs, FSCONFIG_SET_FD, key, NULL, fd);
}

/* Creates the file system and gives a detached mount of it. */
static inline int
mount_call_create(int fs, uint64_t attributes)
{
	if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -1;
	return (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, (unsigned)attributes);
}

/* A detached copy of the mount tree at fd ("" path) or at a path below it. */
static inline int
mount_call_clone(int fd, const char *path, unsigned flags)
{
	return (int)syscall(SYS_open_tree, fd, path,
			    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | flags);
}

/* Attaches a detached mount exactly on what the descriptor `to` names. */
static inline int
mount_call_move(int mount, int to)
{
	return (int)syscall(SYS_move_mount, mount, "", to, "",
			    MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

static inline int
mount_call_attributes(int fd, uint64_t set, uint64_t clear, bool recursive)
{
	struct mount_attr attr = {.attr_set = set, .attr_clr = clear};
	return (int)syscall(SYS_mount_setattr, fd, "",
			    AT_EMPTY_PATH | (recursive ? 0x8000 /* AT_RECURSIVE */ : 0), &attr,
			    sizeof(attr));
}

static inline int
mount_call_mount(const char *source, const char *target, const char *type, unsigned long flags,
		 const char *data)
{
	return (int)syscall(SYS_mount, source, target, type, flags, data);
}

static inline int
mount_call_umount(const char *target, int flags)
{
	return (int)syscall(SYS_umount2, target, flags);
}

#endif
