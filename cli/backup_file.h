/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_BACKUP_FILE_H
#define CLI_BACKUP_FILE_H

/* A backup as commands see it: read to its end and found whole, then described. Nothing of the node
 * is needed for that. */

#include <stdio.h>
#include "base/buf.h"
#include "scheduler/backup_scan.h"

struct cli;

/* NULL or "-": standard input, which is kept in memory. The descriptor stands at its beginning; -1
 * with err. */
int backup_file_open(const char *name, struct err *err) MUST_CHECK;
/* Reads all of it from its beginning. keys: NULL, or gets the authority's key (wipe it), nothing
 * when there is none. */
int backup_file_check(int fd, const char *name, struct backup_scan *out, struct buf *keys,
		      struct err *err) MUST_CHECK;
/* name: of the file. For people on one or two lines, or as -o asks for. */
void backup_file_show(const struct cli *cli, const struct backup_scan *f, const char *name,
		      FILE *to);

#endif
