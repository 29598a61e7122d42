/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_REQUEST_H
#define SCHEDULER_REQUEST_H

/*
 * What other roles may ask for, beside a document (apply.h). Bodies come from another process:
 * their size and texts are checked here. Each function is an answer to one operation of ring/msg.h.
 * Operations are written to the store before they are answered: what changes something ends by
 * r->done, exactly once, maybe before the function returns; what reads gives 0 and *answer or out
 * are filled in, or -1 with err.
 */

#include "base/buf.h"
#include "scheduler/write.h"

/* MSG_OP_APPLY, ROLLBACK, SCALE, STOP, START, REMOVE, RESTART, PAUSE, RESUME, ABORT. Body and fds
 * are not needed after the return. */
void request_change(struct model *m, uint16_t op, const void *body, size_t bytes, const int *fds,
		    size_t count, struct request *r);
/* These give the bytes of the descriptor that is answered. */
int request_document(struct model *m, const void *body, size_t bytes, struct buf *out,
		     struct err *err) MUST_CHECK;
int request_revisions(struct model *m, const void *body, size_t bytes, struct buf *out,
		      struct err *err) MUST_CHECK;
int request_events(struct model *m, const void *body, size_t bytes, struct buf *out,
		   struct err *err) MUST_CHECK;
int request_plan(struct model *m, const void *body, size_t bytes, struct buf *out,
		 struct err *err) MUST_CHECK;

/* ---- request_target.c ---- */

/* When the run has no place on this node: *elsewhere is one that has (0: none has). */
int request_run(struct model *m, const void *body, size_t bytes, const int *fds, size_t count,
		struct msg_run_answer *answer, uint32_t *elsewhere, struct err *err) MUST_CHECK;

/* ---- among themselves ---- */

int request_target(struct model *m, uint16_t op, const void *body, size_t bytes, struct request *r,
		   struct err *err) MUST_CHECK;

/* The oldest runs that have ended make room for a new one. */
void request_forget_runs(struct model *m, struct service *s);
/* A body that is not what ring/msg.h says. */
int request_malformed(struct err *err);

#endif
