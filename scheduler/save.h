/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_SAVE_H
#define SCHEDULER_SAVE_H

/*
 * Writing the model's dirty objects and waiting events: with a store of this machine all in one
 * transaction. With a shared one what is this node's own is written at once, in one of its own, and
 * what is shared in another, which takes its time: until it has ended no other one begins, and what
 * changes meanwhile is written after it.
 */

#include "scheduler/model.h"

/* When it fails, everything stays dirty, the model says when to try again, and the first failure is
 * logged; so is the recovery. A conflict is no failure: the store's rows are taken instead. */
void save_all(struct model *m);
/* Keeps the newest `deploy.keep_revisions` of a deployment and those in use: the others go with the
 * next transaction. */
void save_prune(struct deployment *d);
/* Rows of it that are everybody's have changed here, and the store has not got them yet. */
bool save_waits(struct model *m, const struct deployment *d);

#endif
