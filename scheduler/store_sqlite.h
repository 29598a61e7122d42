/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_SQLITE_H
#define SCHEDULER_STORE_SQLITE_H

/*
 * The embedded engine of the store: one SQLite file, held exclusively by this process.
 * sqlite_load() comes first, before confinement; after that only the folder is needed: its files
 * are opened by names relative to it.
 */

#include <stdint.h>
#include "base/err.h"
#include "scheduler/store.h"

struct store_sqlite_options {
	int dirfd;          /* becomes the process's working directory; borrowed */
	const char *name;   /* of the file in it */
	uint64_t bytes_max; /* the file never grows past this; 0: the default, 1 GiB */
	uint32_t busy_ms;   /* how long to wait for a predecessor that still holds the file */
};

/* Opens or makes the file, checks its integrity, brings its schema up to date. ERR_CORRUPT: it is
 * damaged (nothing is repaired or deleted); ERR_UNSUPPORTED: a newer version wrote it;
 * ERR_CONFLICT: another process holds it. */
int store_sqlite_open(const struct store_sqlite_options *options, struct store **out,
		      struct err *err) MUST_CHECK;

#endif
