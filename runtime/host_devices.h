/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOST_DEVICES_H
#define RUNTIME_HOST_DEVICES_H

/* The device nodes of this machine, for containers that get all of them. Threading: any. */

#include <stddef.h>
#include "base/arena.h"
#include "base/err.h"
#include "runtime/launch.h"

enum { HOST_DEVICES_MAX = 2048, HOST_DEVICES_DEPTH_MAX = 8 };

/* Character and block devices below dev_fd (/dev), named by their paths below `prefix` ("/dev").
 * Left out: what stands on another file system there (pts, shm, mqueue: a container has its own),
 * links, and the console. Memory is the arena's. */
int host_devices_list(int dev_fd, const char *prefix, struct arena *arena,
		      struct launch_device **out, size_t *count_out, struct err *err) MUST_CHECK;

#endif
