/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_CONTAINER_PROCESS_H
#define RUNTIME_CONTAINER_PROCESS_H

/*
 * The process part of a launch description, for run and exec. The container has its plan and image;
 * texts are in the arena, or the plan's and the image's own. Threading: the loop's.
 */

#include "runtime/container.h"

struct launch;

/* Environment, user, working directory, capabilities, limits, seccomp filter: all but argv. */
int container_process(struct container *c, struct launch *l, struct arena *a,
		      struct err *err) MUST_CHECK;
/* What the plan and the image say is run. */
int container_process_argv(const struct container *c, struct launch *l, struct arena *a,
			   struct err *err) MUST_CHECK;
/* The plan's, or one made of service and index in out. */
const char *container_process_hostname(const struct container *c, char out[MSG_NAME]);

#endif
