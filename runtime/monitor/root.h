/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_MONITOR_ROOT_H
#define RUNTIME_MONITOR_ROOT_H

/*
 * The container's file system, put together by its own first process in its new namespaces:
 * overlay, /proc, /dev, /sys, the mounts of the plan, masked paths; then pivot_root. Nothing is
 * mounted by a path of the container: each target is resolved once, inside the new root
 * (openat2 RESOLVE_IN_ROOT, no magic links), to a descriptor that the mount is moved to.
 */

#include "base/err.h"
#include "runtime/launch.h"

/* Cuts off propagation, mounts the overlay at the stage; gives a descriptor of the new root. */
int root_open(const struct launch *launch, int *root_out, struct err *err) MUST_CHECK;
/* Everything inside. proc_out: a proc mount of our own that no path of the container leads to. */
int root_fill(const struct launch *launch, int root, int *proc_out, struct err *err) MUST_CHECK;
/* Makes the new root the root, drops the old one, then what must be read-only or hidden. */
int root_enter(const struct launch *launch, int root, struct err *err) MUST_CHECK;

/* Resolves below root and makes what is missing (a folder, or an empty file); an O_PATH
 * descriptor, or -1 with err. */
int root_resolve(int root, const char *path, bool directory, struct err *err);

/* /dev on a tmpfs of its own (device.c). */
int root_make_dev(const struct launch *launch, int root, struct err *err) MUST_CHECK;
/* A detached tmpfs with options, NULL for the default; -1 with errno. */
int root_tmpfs(const char *size, const char *mode, uint64_t attributes);
/* Moves the mount to path in the new root; closes it. */
int root_attach(int root, int *mount, const char *path, struct err *err) MUST_CHECK;

#endif
