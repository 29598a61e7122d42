/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_MONITOR_WATCHDOG_H
#define RUNTIME_MONITOR_WATCHDOG_H

/*
 * A process beside a container's monitor, for as long as the container has a deadline: it kills
 * the container when the deadline has passed, whatever its monitor does. It hears of a new deadline
 * through memory that both share, and ends when the container has.
 * Threading: single-threaded programs only (it is made without the C library's fork).
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

/* After the deadline: the monitor comes first, since it writes down why. */
enum { WATCHDOG_LATE_MS = 250 };

struct watchdog {
	_Atomic uint64_t *until_ns; /* CLOCK_BOOTTIME; 0: no deadline */
	int pidfd;                  /* of the process; -1: there is none */
};

/* What it is for; borrowed. */
struct watchdog_task {
	int pidfd;   /* of the container's first process */
	int kill_fd; /* its group's cgroup.kill; -1: none */
	int go_fd;   /* gets one byte when the process is ready; -1: nobody waits for it */
};

/* The shared memory; before the caller confines itself. */
int watchdog_open(struct watchdog *w, struct err *err) MUST_CHECK;
/* Makes the process, which takes over the caller's rights, and then has a filter of its own: the
 * caller has no_new_privs. */
int watchdog_start(struct watchdog *w, const struct watchdog_task *task,
		   struct err *err) MUST_CHECK;
/* The deadline from now on; never waits for anything. */
void watchdog_tell(struct watchdog *w, uint64_t until_ns);
/* False when there is none, or it was killed: another one may be started. */
bool watchdog_lives(struct watchdog *w);
/* Ends the process, for a container that has ended. */
void watchdog_end(struct watchdog *w);

/* Pure: whether it is to kill now, and when it is to look again (0: not by itself). */
bool watchdog_due(uint64_t until_ns, uint64_t now_ns, uint64_t *wake_ns_out);

#endif
