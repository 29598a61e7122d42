/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_MONITOR_CHILD_H
#define RUNTIME_MONITOR_CHILD_H

/*
 * The first process of a container, from its creation to the execution of the program, and how it
 * tells its monitor what went wrong: packets of struct child_report in a pipe that closes at exec.
 * A report with kind ERR_NONE says that everything is prepared and the execution comes next; the
 * end of the pipe after it, without another, is success.
 */

#include <stdint.h>
#include "base/err.h"
#include "runtime/launch.h"
#include "runtime/monitor/control.h"

struct child_report {
	uint32_t kind; /* enum err_kind */
	uint32_t code;
	uint32_t exit; /* 125, 126, 127 */
	char what[CONTROL_TEXT];
	char why[CONTROL_TEXT];
	char fix[CONTROL_TEXT];
};

/* `exit` of a report with ERR_NONE; code: how many init steps are done. */
enum { CHILD_STEP = 1, CHILD_STEP_WARNED, CHILD_STEP_FAILED /* and that is to be passed over */ };

struct child_stdio {
	int out, err; /* writing ends */
	int report;   /* writing end, close-on-exec */
	int go[2];    /* reading and writing end: it begins with a byte from there; -1: at once */
};

void child_report_from(const struct err *err, unsigned exit_status, struct child_report *out);
/* Sends the report and ends the process with its exit status. */
void child_fail(int report_fd, const struct err *err, unsigned exit_status)
	__attribute__((noreturn));
/* Closes all but 0, 1, 2 and the report, which is close-on-exec. To be called before a path of the
 * container's is looked up: /proc/self/fd/N/.. leads to the host as long as a descriptor of the
 * host's is open, also one that the execution would close (CVE-2024-21626). */
int child_close_others(int report_fd, struct err *err) MUST_CHECK;
/* In the new process. Never returns. */
void child_main(const struct launch *launch, const struct child_stdio *stdio)
	__attribute__((noreturn));

#endif
