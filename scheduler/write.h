/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_WRITE_H
#define SCHEDULER_WRITE_H

/*
 * A change that somebody asked for, on its way to the store: one transaction of shared rows. When
 * it is kept, memory follows its rows (news.h) as it follows those of other nodes, an event says
 * so, and whoever asked hears of it. When it is not, nothing has changed.
 *
 * With a store of this machine all of this happens inside write_end(). Otherwise it takes time: no
 * second one can begin until then (ERR_CONFLICT), and its deployment rests.
 * Threading: the loop's.
 */

#include "scheduler/model.h"

/* A request that changes something; its asker's. */
struct request {
	union {
		struct msg_apply_answer applied;
		struct msg_target_answer target;
	} answer;
	/* It failed because another change came first; asked for again it may succeed. */
	bool overtaken;
	/* It was refused because something is being done; in a cluster that may be over already. */
	bool busy;
	/* Once: err NULL: answer is filled in. May free the request. */
	void (*done)(struct request *r, const struct err *err);
};

/* What the functions of a request return, beside -1. */
enum { REQUEST_ANSWERED, REQUEST_UNDER_WAY };

struct write {
	struct model *m;
	struct request *request;
	uint64_t deployment;
	/* What is said when it is kept. */
	uint64_t service; /* 0: none */
	bool deployed;    /* and what of the new revision is worth a warning */
	char name[MSG_NAME];
	char type[48];
	char text[MSG_TEXT];
};

/* NULL: cannot be begun; err says why. of: name of a deployment, which there need not be. One with
 * rows that could not be written yet is busy. */
struct write *write_begin(struct model *m, const char *of, struct request *r, struct err *err);
/* As store_put and store_put_blob. */
int write_row(struct write *w, enum store_kind kind, void *row, struct err *err) MUST_CHECK;
void write_say(struct write *w, const char *type, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Nothing is to change, as far as this node knows, which may not have heard of the newest change:
 * in a cluster the row that says so is written once more as it is, which fails if it is not so. */
int write_confirm(struct model *m, const struct deployment *d, enum store_kind kind,
		  const void *row, struct request *r, struct err *err);
/* rc of the steps so far: negative: nothing of it is kept, and gives -1. Else REQUEST_UNDER_WAY:
 * request->done was called or will be. Frees w either way. */
int write_end(struct write *w, int rc);

#endif
