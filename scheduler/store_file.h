/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_FILE_H
#define SCHEDULER_STORE_FILE_H

/* The store's file: opened or made, checked, and brought up to the schema of this version. */

#include "scheduler/sqlite.h"
#include "scheduler/store_sqlite.h"

/* Errors are those of store_sqlite_open(). The name is relative to the working directory. */
int store_file_open(const struct store_sqlite_options *options, sqlite3 **out,
		    struct err *err) MUST_CHECK;

#endif
