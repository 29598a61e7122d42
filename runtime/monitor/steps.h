/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_MONITOR_STEPS_H
#define RUNTIME_MONITOR_STEPS_H

/*
 * Init steps: what the container's first process does before it becomes the program, with the
 * rights of the program and in its namespaces. A step is a process of its own: a command of the
 * container's, or a wait for an address. Its output is the container's.
 */

#include "base/err.h"
#include "runtime/launch.h"
#include "runtime/monitor/user.h"

/* In the child, after privilege_drop(). Tells each step through report_fd (child.h). 0: go on;
 * -1: a step failed that must not. A stop order ends the process. */
int steps_run(const struct launch *launch, const struct user *user, int report_fd,
	      struct err *err) MUST_CHECK;

#endif
