/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_COPY_INSIDE_H
#define SCHEDULER_STORE_COPY_INSIDE_H

/* Between store_copy.c (the entry of the log), store_copy_walk.c (what is there) and
 * store_copy_write.c (what comes). */

#include "scheduler/store_copy.h"

enum { STORE_COPY_BLOB_MAX = 64 << 20 }; /* bytes, of all its parts */

int store_copy_no_memory(struct err *err);
int store_copy_misfit(struct err *err, const char *why);
/* Within a transaction. fresh: in place of all that is there, but this node's own. row: room for a
 * row of any kind. */
int store_copy_write(struct store_copy *c, const struct store_change *changes, size_t count,
		     bool fresh, void *row, struct err *err) MUST_CHECK;

#endif
