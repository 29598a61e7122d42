/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_ERRAND_H
#define NODE_ERRAND_H

/*
 * A short-lived process that node sends out for work that it does not do itself (in another
 * namespace, with other rights), and its answer: one struct of a fixed size through a pipe. It is a
 * child of a child, so that nobody has to reap it (an upgrade of node may come between); its end
 * without an answer is its death, by its alarm if need be.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "base/err.h"

enum { ERRAND_FDS_MAX = 4 };

struct errand;

/* In the process, with default signals, in a session of its own; `fds` are its descriptors 3, 4 ..
 * in the order they were given, and all others are closed. False: it has no answer. */
typedef bool (*errand_work)(void *arg, void *answer);
/* whole: the answer is there, in what was given to errand_new. The errand is over already. */
typedef void (*errand_done)(void *arg, bool whole);

struct errand_order {
	errand_work work;
	void *arg;
	int fds[ERRAND_FDS_MAX]; /* to keep; borrowed */
	size_t fds_count;
	unsigned seconds; /* it may take at most */
};

/* answer: borrowed until errand_free. NULL: out of memory. */
struct errand *errand_new(uv_loop_t *loop, void *answer, size_t bytes, errand_done done, void *arg);
/* Forgets a process that is at work: it goes on, its answer is lost. */
void errand_free(struct errand *e);
bool errand_runs(const struct errand *e);
/* done is called from the loop when it is over. Not while one runs. */
int errand_send(struct errand *e, const struct errand_order *order, struct err *err) MUST_CHECK;
/* Waits for the one at work, without done; false: none, or it died without a whole answer. */
bool errand_wait(struct errand *e);

#endif
