/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_RESTORE_H
#define SCHEDULER_RESTORE_H

/*
 * From a backup (backup.h) back into a store. What is restored is what is wanted: deployments with
 * all that belongs to them, and their operations. Who is in a cluster is not: nodes, tickets and
 * admission stay as they are there. It is one transaction of the store's engine, so it is there as
 * a whole or not at all, and where a store is followed it comes to the others as any change does.
 *
 * Rows keep their ids where the store is the node's own. Where it is shared they get new ones: the
 * old may have been given to other rows since. Replicas are each node's own, and made anew.
 * Threading: one owner; waits for the disk.
 */

#include "scheduler/backup_scan.h"

/* Reads all of the file from its beginning; nothing is changed. Errors of backup.h. */
int restore_check(int fd, struct backup_scan *out, struct err *err) MUST_CHECK;
/* Within a transaction of s, after restore_check: what is wanted there goes, what is in the file
 * comes. self: this node's id, 0 alone. After an error store_abort is what is left to do. */
int restore_put(int fd, struct store *s, uint32_t self, struct err *err) MUST_CHECK;

#endif
