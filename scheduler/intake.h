/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_INTAKE_H
#define SCHEDULER_INTAKE_H

/*
 * Requests that change something, from their arrival to their answer. A store of this machine
 * answers at once, and nothing ever waits here. A shared one takes its time, and takes one
 * transaction after the other: what is asked for meanwhile waits in its order, until its deadline.
 * A store that cannot be changed now makes nobody wait: the request is refused at once, unless it
 * is known to be different in a moment (`holds`); one that was refused in that moment waits, too.
 * One that another node's change came before is begun again, some times. One that is refused
 * because something is being done with its deployment is so, too, for INTAKE_BUSY_MS: that may be
 * over, and only this node has not heard of it yet.
 * Threading: the loop's.
 */

#include "base/list.h"
#include "ring/station.h"
#include "scheduler/request.h"

enum {
	INTAKE_WAITING_MAX = 64, /* requests that wait for a shared store */
	INTAKE_BUSY_MS = 1500,
	INTAKE_AGAIN_MS = 25,
};

struct intake_out {
	void *arg;
	/* What was kept takes effect, before it is answered. */
	void (*pass)(void *arg);
	/* Once for each request: err, or a body. */
	void (*answer)(void *arg, const struct station_request *q, const struct err *err,
		       const void *body, size_t bytes);
	/* Nothing is to begin for a moment. NULL: that is never so. */
	bool (*holds)(void *arg);
};

struct intake {
	struct model *m;
	struct intake_out out;
	struct list waiting;
	size_t count;
	struct list ended; /* to be answered */
	bool closing;
};

void intake_init(struct intake *i, struct model *m, const struct intake_out *out);
/* Before the model is closed, after its last pass. What waits is answered by nobody: the asker
 * turns to the successor. */
void intake_close(struct intake *i);
/* Body and fds are borrowed. */
void intake_take(struct intake *i, const struct station_request *q, const void *body, size_t bytes,
		 const int *fds, size_t count);
/* Answers what has ended or has waited too long, and begins what can begin. Call whenever the loop
 * has turned: never from within the store. */
void intake_run(struct intake *i, uint64_t now_ns);
/* When something is due of what waits; 0: nothing does. */
uint64_t intake_due_ns(const struct intake *i);

#endif
