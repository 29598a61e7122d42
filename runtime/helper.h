/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HELPER_H
#define RUNTIME_HELPER_H

/*
 * Commands in a container and reading its log: helpers of their own (zlayer-monitor exec, logs)
 * that get the caller's stream and nothing else of the node. Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"
#include "ring/station.h"
#include "runtime/container.h"

struct helper_command {
	char *const *argv;
	size_t argc;
	const char *user;    /* "" or NULL: the container's */
	const char *workdir; /* likewise */
	bool tty;
	uint32_t rows, columns;
	bool kill_on_close;
};

/* Runs a command; the stream is borrowed (the helper gets a copy). */
int helper_exec(struct container *c, const struct helper_command *command, int stream,
		struct err *err) MUST_CHECK;
/* MSG_OP_EXEC and MSG_OP_LOGS; true when it was one of them (it is answered then). */
bool helper_request(struct container_host *host, const struct station_request *request,
		    const void *body, size_t bytes, int *fds, size_t count);

#endif
