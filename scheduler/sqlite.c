/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library as the store uses it: with our memory, and a vfs that leaves file names as they are,
 * because after confinement the way to them from the root may be closed to this process.
 */
#include "scheduler/sqlite.h"

#include <errno.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

DL_DEFINE(sqlite, "libsqlite3.so.0", SQLITE_CALLS)

enum { HEAD_BYTES = 16 /* before each block of SQLite's: its size */ };

/* ---- memory and file names ---- */

static void *
memory_alloc(int bytes)
{
	uint64_t *p = mem_alloc(MEM_LIBRARY, (size_t)bytes + HEAD_BYTES);

	if (!p)
		return NULL;
	p[0] = (uint64_t)bytes;
	return (char *)p + HEAD_BYTES;
}

static void
memory_free(void *p)
{
	if (p)
		mem_free((char *)p - HEAD_BYTES);
}

static int
memory_size(void *p)
{
	uint64_t bytes = 0;

	if (p)
		memcpy(&bytes, (char *)p - HEAD_BYTES, sizeof(bytes));
	return (int)bytes;
}

static void *
memory_resize(void *p, int bytes)
{
	if (!p)
		return memory_alloc(bytes);
	uint64_t *head =
		mem_resize(MEM_LIBRARY, (char *)p - HEAD_BYTES, 1, (size_t)bytes + HEAD_BYTES);
	if (!head)
		return NULL;
	head[0] = (uint64_t)bytes;
	return (char *)head + HEAD_BYTES;
}

static int
memory_round(int bytes)
{
	return (bytes + 7) & ~7;
}

static int
memory_begin(void *unused)
{
	(void)unused;
	return SQLITE_OK;
}

static void
memory_end(void *unused)
{
	(void)unused;
}

/* Names stay as they are: relative to the working directory. */
static int
name_as_is(sqlite3_vfs *unused, const char *name, int cap, char *out)
{
	(void)unused;
	return text_copy(out, (size_t)cap, name) ? SQLITE_OK : SQLITE_CANTOPEN;
}

int
sqlite_load(struct err *err)
{
	static const sqlite3_mem_methods memory = {
		.xMalloc = memory_alloc,
		.xFree = memory_free,
		.xRealloc = memory_resize,
		.xSize = memory_size,
		.xRoundup = memory_round,
		.xInit = memory_begin,
		.xShutdown = memory_end,
	};
	static sqlite3_vfs vfs;

	if (vfs.zName)
		return 0;
	if (dl_load_sqlite(err) < 0)
		return -1;
	/* Refused when somebody in this process used SQLite before: then its memory is not ours. */
	if (sqlite.sqlite3_config(SQLITE_CONFIG_MALLOC, &memory) != SQLITE_OK ||
	    sqlite.sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0) != SQLITE_OK ||
	    sqlite.sqlite3_initialize() != SQLITE_OK)
		return err_set(err, ERR_UNSUPPORTED, "SQLite cannot be set up");
	const sqlite3_vfs *unix_vfs = sqlite.sqlite3_vfs_find(NULL);
	if (!unix_vfs)
		return err_set(err, ERR_UNSUPPORTED, "SQLite cannot use files here");
	vfs = *unix_vfs;
	vfs.pNext = NULL;
	vfs.zName = "zlayer";
	vfs.xFullPathname = name_as_is;
	if (sqlite.sqlite3_vfs_register(&vfs, 0) != SQLITE_OK)
		return err_set(err, ERR_UNSUPPORTED, "SQLite cannot be set up");
	return 0;
}

/* ---- calls ---- */

int
sqlite_report(sqlite3 *db, int rc, const char *what, struct err *err)
{
	const char *why = db ? sqlite.sqlite3_errmsg(db) : "out of memory";
	int code = db ? sqlite.sqlite3_system_errno(db) : 0;

	switch (rc & 0xff) {
	case SQLITE_CONSTRAINT:
		err_set(err, ERR_CONFLICT, "%s: it exists already, or what it belongs to does not",
			what);
		return err_why(err, "%s", why);
	case SQLITE_FULL:
		err_set(err, ERR_NO_SPACE, "%s: no space left for the store", what);
		return err_fix(err, "free space on the file system of the data folder; nothing was "
				    "changed");
	case SQLITE_NOMEM:
		return err_set(err, ERR_NO_MEMORY, "%s: out of memory", what);
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		err_set(err, ERR_CONFLICT, "%s: another process holds the store", what);
		return err_fix(err, "let the other zlayer of this data folder end first");
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		err_set(err, ERR_CORRUPT, "%s: the store's file is damaged", what);
		err_why(err, "%s", why);
		return err_fix(
			err, "put a copy of the file state/zlayer.db back, or move it away: a "
			     "node of a cluster copies it from the others, on a node alone deploy "
			     "again; containers go on meanwhile");
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		err_set(err, ERR_DENIED, "%s: the store cannot be written", what);
		return err_why(err, "%s", why);
	default:
		if (code == ENOSPC || code == EDQUOT || code == EFBIG)
			return sqlite_report(db, SQLITE_FULL, what, err);
		err_set(err, ERR_SYSTEM, "%s", what);
		err->code = code;
		return err_why(err, "%s", why);
	}
}

int
sqlite_run(sqlite3 *db, const char *sql, const char *what, struct err *err)
{
	int rc = sqlite.sqlite3_exec(db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : sqlite_report(db, rc, what, err);
}

int
sqlite_prepare(sqlite3 *db, const char *sql, unsigned flags, sqlite3_stmt **out, struct err *err)
{
	int rc = sqlite.sqlite3_prepare_v3(db, sql, -1, flags, out, NULL);

	return rc == SQLITE_OK ? 0 : sqlite_report(db, rc, "cannot prepare a statement", err);
}

int
sqlite_ask(sqlite3 *db, const char *sql, char *out, size_t cap, struct err *err)
{
	sqlite3_stmt *st;

	if (sqlite_prepare(db, sql, 0, &st, err) < 0)
		return -1;
	int rc = sqlite.sqlite3_step(st);
	const char *text =
		rc == SQLITE_ROW ? (const char *)sqlite.sqlite3_column_text(st, 0) : NULL;
	text_copy(out, cap, text ? text : "");
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		rc = sqlite_report(db, rc, "cannot open the store", err);
	else
		rc = 0;
	sqlite.sqlite3_finalize(st);
	return rc;
}

int
sqlite_begin(sqlite3 *db, struct err *err)
{
	/* One that could not be undone for want of memory. */
	sqlite_abort(db);
	return sqlite_run(db, "BEGIN IMMEDIATE", "cannot begin a change of the store", err);
}

int
sqlite_commit(sqlite3 *db, struct err *err)
{
	return sqlite_run(db, "COMMIT", "cannot keep a change in the store", err);
}

void
sqlite_abort(sqlite3 *db)
{
	struct err ignored = {0};

	/* Some errors end the transaction by themselves. */
	if (!sqlite.sqlite3_get_autocommit(db) &&
	    sqlite_run(db, "ROLLBACK", "cannot undo a change of the store", &ignored) < 0)
		log_err(LOG_ERROR, "cannot undo a change of the store", &ignored);
}
