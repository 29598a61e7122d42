/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_ROLE_H
#define SCHEDULER_STORE_ROLE_H

/* Which engine opens a node's file: a note in it, "cluster.engine". Threading: one owner. */

#include "scheduler/store.h"

enum store_role {
	STORE_ROLE_ALONE,   /* no note: the embedded engine */
	STORE_ROLE_SERVE,   /* store_serve.h */
	STORE_ROLE_FOLLOW,  /* store_follow.h */
	STORE_ROLE_ETCD,    /* store_etcd.h */
	STORE_ROLE_OUTSIDE, /* likewise, where node.yaml says */
};

const char *store_role_name(enum store_role role); /* "" alone */
/* rows: the embedded store. ERR_UNSUPPORTED: a newer zlayer wrote it. */
int store_role_get(struct store *rows, enum store_role *out, struct err *err) MUST_CHECK;
/* Within a transaction. */
int store_role_put(struct store *rows, enum store_role role, struct err *err) MUST_CHECK;

/* Of a file whose store moves: which of the two row CLUSTER says. */
int store_role_moved(struct store *rows, enum store_role *out, struct err *err) MUST_CHECK;

#endif
