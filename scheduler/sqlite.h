/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_SQLITE_H
#define SCHEDULER_SQLITE_H

/*
 * The part of SQLite that is called (base/dl.h), with its errors as ours: ERR_CONFLICT,
 * ERR_NO_SPACE, ERR_NO_MEMORY, ERR_CORRUPT, ERR_DENIED, ERR_SYSTEM. Threading: one owner of a
 * connection.
 */

#include <sqlite3.h>
#include "base/dl.h"
#include "base/err.h"

#define SQLITE_CALLS(X)              \
	X(sqlite3_bind_blob)         \
	X(sqlite3_bind_int64)        \
	X(sqlite3_bind_null)         \
	X(sqlite3_bind_text)         \
	X(sqlite3_busy_timeout)      \
	X(sqlite3_changes)           \
	X(sqlite3_close_v2)          \
	X(sqlite3_column_blob)       \
	X(sqlite3_column_bytes)      \
	X(sqlite3_column_int64)      \
	X(sqlite3_column_text)       \
	X(sqlite3_column_type)       \
	X(sqlite3_config)            \
	X(sqlite3_db_config)         \
	X(sqlite3_db_readonly)       \
	X(sqlite3_errmsg)            \
	X(sqlite3_exec)              \
	X(sqlite3_extended_errcode)  \
	X(sqlite3_finalize)          \
	X(sqlite3_get_autocommit)    \
	X(sqlite3_initialize)        \
	X(sqlite3_last_insert_rowid) \
	X(sqlite3_open_v2)           \
	X(sqlite3_prepare_v3)        \
	X(sqlite3_reset)             \
	X(sqlite3_step)              \
	X(sqlite3_system_errno)      \
	X(sqlite3_vfs_find)          \
	X(sqlite3_vfs_register)

DL_DECLARE(sqlite, SQLITE_CALLS);

/* Opens the library and gives it our memory: once, before confinement. */
int sqlite_load(struct err *err) MUST_CHECK;

/* How messages name the folder of the store, and the node ("": not at all). */
void sqlite_place(const char *folder_path, const char *node_name);

/* What SQLite says, as one of ours. rc: any result code of the last call, before which errno was 0.
 * db NULL: out of memory. */
int sqlite_report(sqlite3 *db, int rc, const char *what, struct err *err);
/* The file is not where it was. */
int sqlite_gone(struct err *err);
/* Statements without rows. what: failed when they fail. */
int sqlite_run(sqlite3 *db, const char *sql, const char *what, struct err *err) MUST_CHECK;
int sqlite_prepare(sqlite3 *db, const char *sql, unsigned flags, sqlite3_stmt **out,
		   struct err *err) MUST_CHECK;
/* The first column of the first row; "" when there is none. */
int sqlite_ask(sqlite3 *db, const char *sql, char *out, size_t cap, struct err *err) MUST_CHECK;

int sqlite_begin(sqlite3 *db, struct err *err) MUST_CHECK;
int sqlite_commit(sqlite3 *db, struct err *err) MUST_CHECK;
/* Harmless when there is no transaction. */
void sqlite_abort(sqlite3 *db);

#endif
