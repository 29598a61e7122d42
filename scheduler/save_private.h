/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_SAVE_PRIVATE_H
#define SCHEDULER_SAVE_PRIVATE_H

/* For the files of save.h among themselves: save_put.c fills a transaction, save_end.c does what
 * its end means for memory, save.c says when. */

#include "scheduler/save.h"

struct save_put {
	enum store_kind kind;
	uint64_t id;
	uint64_t before; /* version */
	void *row;       /* as it was put */
};

struct saving {
	struct model *m;
	struct store *store;
	bool local, shared; /* what of it */
	struct save_put *puts;
	size_t count;
	size_t capacity;
};

bool save_put_local_waits(struct model *m);
bool save_put_shared_waits(struct model *m);
/* Of a deployment, but its pins. */
bool save_put_rows_wait(const struct deployment *d);
bool save_put_operation_waits(struct model *m, const struct deployment *d);
/* What was put is not dirty any more, also when this fails: save_end_settle comes in any case. */
int save_put_all(struct saving *s, struct err *err) MUST_CHECK;

/* Objects get the versions that the store gave them, or are dirty again. */
void save_end_settle(struct saving *s, bool kept);
/* What the store has dropped, and what need not be remembered, is dropped here, too. */
void save_end_forget(struct saving *s);
void save_end_free(struct saving *s);

#endif
