/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_PROCESS_H
#define NODE_PROCESS_H

/*
 * Starting and ending a role's process. It is this very program (/proc/self/exe) run again as
 * `zlayer role NAME INDEX`, in a session of its own, with the leash as descriptor 3, nothing else
 * open but the standard three, and an environment of three words.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"
#include "node/roles.h"

struct process_spec {
	const struct roles_entry *role;
	unsigned index;
	int leash;        /* the role's end; borrowed */
	int fabric;       /* network namespace for ROLES_FABRIC; -1: none, stays in the host's */
	int cgroup_procs; /* -1: none */
};

/* Waits until the program runs (or could not be started: then *err says which step failed). */
int process_spawn(const struct process_spec *spec, pid_t *pid_out, int *pidfd_out,
		  struct err *err) MUST_CHECK;

/* Takes the exit status of a child that has ended (its pidfd is readable) and puts it in words:
 * "exited with status 1", "killed by SIGSEGV", "ended by its system call filter". A process that is
 * not our child is "left". False: it has not ended. */
bool process_reap(int pidfd, char *text, size_t cap);
/* Kills a child, waits for its end and closes the pidfd. */
void process_end(pid_t pid, int *pidfd);

#endif
