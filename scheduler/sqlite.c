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

enum {
	HEAD_BYTES = 16, /* before each block of SQLite's: its size */
	PLACE_BYTES = 256,
};

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

/* ---- errors ---- */

static char folder[PLACE_BYTES] = "state", node[PLACE_BYTES];

void
sqlite_place(const char *folder_path, const char *node_name)
{
	text_copy(folder, sizeof(folder), folder_path);
	text_copy(node, sizeof(node), node_name);
}

static int
no_space(const char *what, struct err *err)
{
	err_set(err, ERR_NO_SPACE, "%s: no space left on %s%s%s", what, folder,
		node[0] ? " of node " : "", node);
	return err_fix(err, "make room on the file system of that folder; it goes on by itself "
			    "then, and what runs goes on meanwhile");
}

static int
no_writing(const char *what, const char *why, struct err *err)
{
	err_set(err, ERR_DENIED, "%s: %s%s%s cannot be written", what, folder,
		node[0] ? " of node " : "", node);
	err_why(err, "%s", why);
	return err_fix(err, "mount its file system for writing, and give the folder to the "
			    "scheduler's user; what runs goes on meanwhile");
}

static int
damaged(const char *what, const char *why, struct err *err)
{
	err_set(err, ERR_CORRUPT, "%s: the file %s/zlayer.db is damaged", what, folder);
	err_why(err, "%s", why);
	return err_fix(err, "end zlayer, put a copy of the file back or move it away, and start "
			    "again; on a node alone then: zlayer restore BACKUP. What runs goes on "
			    "meanwhile");
}

int
sqlite_gone(struct err *err)
{
	err_set(err, ERR_SYSTEM, "the store's file is gone: %s/zlayer.db%s%s", folder,
		node[0] ? " of node " : "", node);
	err_why(err, "it was removed, moved or replaced while it was in use; until this process "
		     "ends it can be read");
	return err_fix(err, "zlayer backup FILE now; then end zlayer, put the folder back as it "
			    "was, and start again. What runs goes on meanwhile");
}

int
sqlite_report(sqlite3 *db, int rc, const char *what, struct err *err)
{
	int last = errno; /* SQLite has it for some calls only */
	const char *why = db ? sqlite.sqlite3_errmsg(db) : "out of memory";
	int code = db ? sqlite.sqlite3_system_errno(db) : 0;

	if (!code && (rc & 0xff) == SQLITE_IOERR)
		code = last;

	switch (rc & 0xff) {
	case SQLITE_CONSTRAINT:
		err_set(err, ERR_CONFLICT, "%s: it exists already, or what it belongs to does not",
			what);
		return err_why(err, "%s", why);
	case SQLITE_FULL:
		return no_space(what, err);
	case SQLITE_NOMEM:
		return err_set(err, ERR_NO_MEMORY, "%s: out of memory", what);
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		err_set(err, ERR_CONFLICT, "%s: another process holds the store", what);
		return err_fix(err, "let the other zlayer of this data folder end first");
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return damaged(what, why, err);
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return no_writing(what, why, err);
	default:
		if (code == ENOSPC || code == EDQUOT || code == EFBIG)
			return no_space(what, err);
		if (code == EROFS || code == EACCES)
			return no_writing(what, strerror(code), err);
		err_set(err, ERR_SYSTEM, "%s", what);
		err->code = code;
		return err_why(err, "%s", why);
	}
}

/* ---- calls ---- */

int
sqlite_run(sqlite3 *db, const char *sql, const char *what, struct err *err)
{
	errno = 0;
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
