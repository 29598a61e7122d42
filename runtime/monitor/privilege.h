/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_MONITOR_PRIVILEGE_H
#define RUNTIME_MONITOR_PRIVILEGE_H

/*
 * The last things before a program of a container is executed: limits, place in the cgroups, who it
 * is, what it may do, and the execution itself with a message that names the true cause.
 * All run in the child, single-threaded.
 */

#include "base/err.h"
#include "runtime/launch.h"
#include "runtime/monitor/user.h"

/* Writes "0" to every cgroup.procs file: the caller moves itself. */
int privilege_join_cgroups(const struct launch *launch, struct err *err) MUST_CHECK;
/* The runtime has a uid of its own, and the right to be another: what is made in the new root
 * belongs to root. After joining the cgroups, which v1 allows only to a process of the same uid. */
int privilege_become_root(struct err *err) MUST_CHECK;
/* proc_fd: a proc mount of our own. Limits by default are cut to what is allowed. */
int privilege_set_limits(const struct launch *launch, int proc_fd, struct err *err) MUST_CHECK;
/* Ids, capabilities, no_new_privs, seccomp. */
int privilege_drop(const struct launch *launch, const struct user *user,
		   struct err *err) MUST_CHECK;
/* Reads /etc/passwd and /etc/group below rootfd and looks launch->user up. proc_fd as above. */
int privilege_find_user(const struct launch *launch, int rootfd, int proc_fd, struct user *out,
			struct err *err) MUST_CHECK;
/* Signals to their defaults, none blocked; descriptors from 3 on close at exec. */
void privilege_reset_signals(void);
/* Looks argv[0] up in the environment's PATH and executes it. Returns only on failure; *exit_out
 * is then 126 (not executable) or 127 (not found). */
int privilege_exec(const struct launch *launch, const struct user *user, int *exit_out,
		   struct err *err) MUST_CHECK;

#endif
