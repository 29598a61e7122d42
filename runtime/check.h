/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_CHECK_H
#define RUNTIME_CHECK_H

/*
 * The command check of a replica: the plan's health command, run in the container every interval,
 * with a time limit, and its result in MSG_TABLE_RESULT (n = 255). The scheduler judges.
 * Threading: the loop's thread.
 */

struct container;

/* Harmless when there is no such check, or it runs already. */
void check_start(struct container *c);
/* Ends it, with the command that may be under way. */
void check_stop(struct container *c);

#endif
