/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_SPAWN_H
#define RUNTIME_SPAWN_H

/*
 * Starts zlayer-monitor with a launch description and the descriptors that it names. The program is
 * executed from a sealed copy in memory: a container that can see such a process cannot change the
 * program (CVE-2019-5736), and a package upgrade does not matter to monitors that run.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "base/err.h"
#include "runtime/launch.h"

struct spawn {
	uv_loop_t *loop;
	int program; /* sealed copy */
};

/* Finds the program: libexec/zlayer beside our bin, or runtime/ beside it in a build tree. */
int spawn_open(struct spawn *s, uv_loop_t *loop, struct err *err) MUST_CHECK;
/* The same from a given file. */
int spawn_open_file(struct spawn *s, uv_loop_t *loop, const char *path, struct err *err) MUST_CHECK;
void spawn_close(struct spawn *s);

/* Descriptors to pass, borrowed until spawn_start returned. */
struct spawn_fds {
	int fds[LAUNCH_FDS_MAX];
	size_t count;
};
void spawn_fds_init(struct spawn_fds *t);
/* The number under which the monitor will find fd; -1 when there are too many or fd is -1. */
int32_t spawn_fds_add(struct spawn_fds *t, int fd);

/* Called once when the process that was started has ended (for LAUNCH_RUN that is at once: the
 * monitor itself goes on). May be NULL. */
typedef void (*spawn_end_fn)(void *arg, int64_t exit_status, int signal);
int spawn_start(struct spawn *s, const struct launch *launch, const struct spawn_fds *fds,
		spawn_end_fn end, void *arg, struct err *err) MUST_CHECK;

#endif
