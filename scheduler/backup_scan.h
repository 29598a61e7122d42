/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_BACKUP_SCAN_H
#define SCHEDULER_BACKUP_SCAN_H

/* A backup (backup.h) that lies in a file: all of it through a reader, and what it was. Threading:
 * one owner; waits for the disk. */

#include "scheduler/backup.h"

struct backup_scan {
	struct backup_head head;
	uint64_t rows[STORE_KINDS_];
	uint64_t bytes;
	uint8_t sha256[STORE_SHA256_BYTES];
};

/* From the file's beginning, wherever the descriptor stands, to backup_read_end. */
int backup_scan_feed(struct backup_read *r, int fd, struct err *err) MUST_CHECK;
/* Of a reader that has come to the end. */
void backup_scan_take(const struct backup_read *r, struct backup_scan *out);

#endif
