/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_CONTAINER_BUILD_H
#define RUNTIME_CONTAINER_BUILD_H

/*
 * An attempt that is being made: container_start.c calls the parts one after the other, and each
 * adds to the launch description and to what the monitor inherits. Threading: the loop's.
 */

#include "runtime/container.h"
#include "runtime/launch.h"

enum { CONTAINER_BUILD_MOUNTS = 256 };

/* What is being made: the description, what the monitor inherits, and what is closed after. */
struct container_build {
	struct container *c;
	struct arena *arena;
	struct launch *l;
	struct spawn_fds *fds;
	int opened[LAUNCH_FDS_MAX];
	size_t opened_count;
	struct launch_mount mounts[CONTAINER_BUILD_MOUNTS];
	size_t mounts_count;
};

/* container_start.c: takes fd over; gives its number in the monitor, -1 with err when there are too
 * many. */
int32_t container_build_pass(struct container_build *b, int fd, struct err *err);

/* container_root.c */
int container_root_layers(struct container_build *b, struct err *err) MUST_CHECK;
/* Volumes, binds and memory file systems, of the plan and of the image. */
int container_root_volumes(struct container_build *b, struct err *err) MUST_CHECK;
/* The container's own layer, and our files in /etc. */
int container_root_upper(struct container_build *b, struct err *err) MUST_CHECK;
/* All mounts of these into the description, outer ones first. */
void container_root_mounts(struct container_build *b);

/* container_groups.c */
int container_groups_make(struct container_build *b, struct err *err) MUST_CHECK;
/* What the container sees of the hierarchies. */
int container_groups_mounts(struct container_build *b, struct err *err) MUST_CHECK;

#endif
