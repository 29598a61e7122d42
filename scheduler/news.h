/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_NEWS_H
#define SCHEDULER_NEWS_H

/*
 * Memory follows the store: what other nodes changed in a store that is shared, and what this one
 * wrote because it was asked to (write.h). A deployment is always brought to its rows as a whole
 * (model_sync.c). Where a row is another version than memory's, the row counts, and what was not
 * written yet of its deployment is forgotten: the roll-out goes on from what the rows say.
 * Threading: the loop's.
 */

#include "scheduler/model.h"

/* From now on; nothing happens with a store of this machine. */
void news_follow(struct model *m);
/* This node's own transaction about a deployment is kept. */
void news_own(struct model *m, uint64_t deployment);
/* Reads what was heard of; what cannot be read now (memory) is tried again by the next call. */
void news_read(struct model *m);
/* Something does not fit: everything is read again. */
void news_all(struct model *m);

/* ---- model_sync.c ---- */

/* own: what memory has and the store does not have yet stays. */
int model_sync_deployment(struct model *m, uint64_t id, bool own, struct err *err) MUST_CHECK;
int model_sync_operation(struct model *m, uint64_t id, struct err *err) MUST_CHECK;
int model_sync_all(struct model *m, struct err *err) MUST_CHECK;

#endif
