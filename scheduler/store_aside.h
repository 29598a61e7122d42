/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_ASIDE_H
#define SCHEDULER_STORE_ASIDE_H

/*
 * Rows of local kinds that belong to rows of shared ones, put aside while all of the shared ones
 * are replaced: they would go with their parents. Within one transaction of the embedded store.
 * Threading: one owner.
 */

#include "base/buf.h"
#include "scheduler/store.h"

struct store_aside {
	struct buf rows;
	struct buf blobs;
};

void store_aside_init(struct store_aside *a);
void store_aside_fini(struct store_aside *a);
int store_aside_take(struct store_aside *a, struct store *rows, struct err *err) MUST_CHECK;
/* Those whose parents are there. */
int store_aside_give(struct store_aside *a, struct store *rows, struct err *err) MUST_CHECK;

#endif
