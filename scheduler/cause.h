/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CAUSE_H
#define SCHEDULER_CAUSE_H

/*
 * Names the cause of a replica that did not come up, or did not stay up, from what the other
 * processes saw: the runtime's row and the results of the checks. A core: no I/O, no clock, no
 * allocation. Texts from other processes are taken as they are (they were checked to end) and made
 * printable by err_render.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "ring/msg.h"

enum cause_check { CAUSE_TCP = 1, CAUSE_HTTP, CAUSE_COMMAND, CAUSE_UDP };

struct cause_result {
	enum cause_check check;
	const char *endpoint; /* its name; NULL: the check names a port of its own */
	uint16_t port;
	const char *path; /* http */
	uint32_t expect_status;
	uint32_t timeout_ms;
	const struct msg_result *result; /* NULL: none yet */
};

struct cause_input {
	const char *deployment;
	const char *service;
	uint32_t index;
	const char *node;
	bool relapsed;                         /* it had passed its gate */
	bool weak;                             /* no health block */
	uint64_t waited_ms;                    /* since it was made */
	uint32_t restarts;                     /* within that time */
	uint64_t memory_bytes;                 /* limit by the document; 0 none */
	const struct msg_container *container; /* as it is now; NULL: no row */
	const struct msg_container *ended;     /* as it was when it ended last; NULL: it did not */
	const struct cause_result *results;
	size_t results_count;
};

/* Starts *err with what, why and fix. */
void cause_name(const struct cause_input *in, struct err *err);
/* Of one that runs: the kernel ended `processes` of it for want of memory. */
void cause_oom_inside(const struct cause_input *in, uint32_t processes, struct err *err);
/* Its program has ended (in->ended), and its place is held. */
void cause_isolated(const struct cause_input *in, struct err *err);
/* "SEGV"; "signal 42" goes to out for one without a name. */
const char *cause_signal(uint32_t signal, char *out, size_t cap);

#endif
