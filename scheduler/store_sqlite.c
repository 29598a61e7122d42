/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQLite as an engine of the store. WAL with synchronous=FULL: what was committed survives a power
 * cut. The file is locked exclusively, so the WAL's index is in memory and nothing but the file and
 * its WAL is ever opened; both by bare names in the working directory, because after confinement
 * the way there from the root may be closed to this process (hence the small vfs below).
 *
 * Statements are made from the shapes of store_shape.c. What comes out of the file is checked like
 * any other input: a value of another type or range is ERR_CORRUPT.
 */
#include "scheduler/store_sqlite.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>
#include "base/dl.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/store_schema.h"

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
DL_DEFINE(sqlite, "libsqlite3.so.0", SQLITE_CALLS)

enum {
	SQL_BYTES = 2048,
	PAGE_BYTES = 4096,
	HEAD_BYTES = 16, /* before each block of SQLite's: its size */
};

enum verb { INSERT, UPDATE, DROP, VERSION, EACH, EACH_OF, VERBS };

struct engine {
	sqlite3 *db;
	sqlite3_stmt *statements[STORE_KINDS_][VERBS];
};

/* ---- the library: memory and file names ---- */

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
store_sqlite_load(struct err *err)
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

/* What SQLite says, as one of ours. rc: any result code of the last call. */
static int
report(struct engine *e, int rc, const char *what, struct err *err)
{
	const char *why = e->db ? sqlite.sqlite3_errmsg(e->db) : "out of memory";
	int code = e->db ? sqlite.sqlite3_system_errno(e->db) : 0;

	switch (rc & 0xff) {
	case SQLITE_CONSTRAINT:
		return err_set(err, ERR_CONFLICT,
			       "%s: it exists already, or what it belongs to "
			       "does not",
			       what),
		       err_why(err, "%s", why);
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
		return err_fix(err, "move the file state/zlayer.db away and deploy again, or put a "
				    "copy of it back; containers go on meanwhile");
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		err_set(err, ERR_DENIED, "%s: the store cannot be written", what);
		return err_why(err, "%s", why);
	default:
		if (code == ENOSPC || code == EDQUOT || code == EFBIG)
			return report(e, SQLITE_FULL, what, err);
		err_set(err, ERR_SYSTEM, "%s", what);
		err->code = code;
		return err_why(err, "%s", why);
	}
}

static int
damaged(const char *table, const char *column, struct err *err)
{
	err_set(err, ERR_CORRUPT, "the store holds a row that is wrong");
	return err_why(err, "%s.%s", table, column);
}

static int
run(struct engine *e, const char *sql, const char *what, struct err *err)
{
	int rc = sqlite.sqlite3_exec(e->db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : report(e, rc, what, err);
}

static int
prepare(struct engine *e, const char *sql, unsigned flags, sqlite3_stmt **out, struct err *err)
{
	int rc = sqlite.sqlite3_prepare_v3(e->db, sql, -1, flags, out, NULL);

	return rc == SQLITE_OK ? 0 : report(e, rc, "cannot prepare a statement", err);
}

/* ---- statements from shapes ---- */

static void
write_sql(struct buf *sql, const struct store_shape *shape, enum verb verb)
{
	switch (verb) {
	case INSERT:
		buf_printf(sql, "INSERT INTO %s(id,version", shape->table);
		for (size_t i = 0; i < shape->columns_count; i++)
			buf_printf(sql, ",%s", shape->columns[i].name);
		buf_puts(sql, ") VALUES(nullif(?1,0),1");
		for (size_t i = 0; i < shape->columns_count; i++)
			buf_printf(sql, ",?%zu", i + 3);
		buf_puts(sql, ")");
		break;
	case UPDATE:
		buf_printf(sql, "UPDATE %s SET version=version+1", shape->table);
		for (size_t i = 0; i < shape->columns_count; i++)
			buf_printf(sql, ",%s=?%zu", shape->columns[i].name, i + 3);
		buf_puts(sql, " WHERE id=?1 AND version=?2");
		break;
	case DROP:
		buf_printf(sql, "DELETE FROM %s WHERE id=?1 AND version=?2", shape->table);
		break;
	case VERSION:
		buf_printf(sql, "SELECT version FROM %s WHERE id=?1", shape->table);
		break;
	case EACH:
	case EACH_OF:
	default:
		buf_puts(sql, "SELECT id,version");
		for (size_t i = 0; i < shape->columns_count; i++)
			buf_printf(sql, ",%s", shape->columns[i].name);
		buf_printf(sql, " FROM %s WHERE id>?1", shape->table);
		if (verb == EACH_OF)
			buf_printf(sql, " AND %s=?2", shape->parent);
		buf_puts(sql, " ORDER BY id");
		break;
	}
}

/* A statement that is kept; reset and ready to be bound. */
static sqlite3_stmt *
statement(struct engine *e, enum store_kind kind, enum verb verb, struct err *err)
{
	sqlite3_stmt **slot = &e->statements[kind][verb];
	struct buf sql;

	if (*slot) {
		sqlite.sqlite3_reset(*slot);
		return *slot;
	}
	buf_init(&sql, MEM_SCHEDULER, SQL_BYTES);
	write_sql(&sql, store_shape(kind), verb);
	const char *text = buf_cstr(&sql);
	if (!buf_ok(&sql))
		err_set(err, ERR_NO_MEMORY, "no memory for a statement of the store");
	else if (prepare(e, text, SQLITE_PREPARE_PERSISTENT, slot, err) < 0)
		*slot = NULL;
	buf_fini(&sql);
	return *slot;
}

static int
bind_value(sqlite3_stmt *st, int at, const struct store_column *c, const void *row)
{
	const char *field = (const char *)row + c->offset;
	uint32_t u32;
	int64_t i64;

	switch (c->type) {
	case STORE_U32:
		memcpy(&u32, field, sizeof(u32));
		return sqlite.sqlite3_bind_int64(st, at, u32);
	case STORE_U64:
	case STORE_I64:
		memcpy(&i64, field, sizeof(i64));
		return sqlite.sqlite3_bind_int64(st, at, i64);
	case STORE_TEXT:
		return sqlite.sqlite3_bind_text(st, at, field, (int)strnlen(field, c->bytes),
						SQLITE_STATIC);
	case STORE_BYTES:
	default:
		return sqlite.sqlite3_bind_blob(st, at, field, (int)c->bytes, SQLITE_STATIC);
	}
}

static bool
read_value(sqlite3_stmt *st, int at, const struct store_column *c, void *row)
{
	char *field = (char *)row + c->offset;
	int type = sqlite.sqlite3_column_type(st, at);
	int64_t i64 = type == SQLITE_INTEGER ? sqlite.sqlite3_column_int64(st, at) : 0;
	uint32_t u32 = (uint32_t)i64;

	switch (c->type) {
	case STORE_U32:
		memcpy(field, &u32, sizeof(u32));
		return type == SQLITE_INTEGER && i64 >= 0 && i64 <= UINT32_MAX;
	case STORE_U64:
		memcpy(field, &i64, sizeof(i64));
		return type == SQLITE_INTEGER && i64 >= 0;
	case STORE_I64:
		memcpy(field, &i64, sizeof(i64));
		return type == SQLITE_INTEGER;
	case STORE_TEXT: {
		const char *text = (const char *)sqlite.sqlite3_column_text(st, at);
		size_t bytes = (size_t)sqlite.sqlite3_column_bytes(st, at);

		return type == SQLITE_TEXT && text && !memchr(text, 0, bytes) &&
		       text_ncopy(field, c->bytes, text, bytes);
	}
	case STORE_BYTES:
	default: {
		const void *data = sqlite.sqlite3_column_blob(st, at);

		if (type != SQLITE_BLOB || !data ||
		    (size_t)sqlite.sqlite3_column_bytes(st, at) != c->bytes)
			return false;
		memcpy(field, data, c->bytes);
		return true;
	}
	}
}

/* ---- the engine's calls ---- */

static int
engine_begin(void *engine, struct err *err)
{
	return run(engine, "BEGIN IMMEDIATE", "cannot begin a change of the store", err);
}

static int
engine_commit(void *engine, struct err *err)
{
	return run(engine, "COMMIT", "cannot keep a change in the store", err);
}

static void
engine_abort(void *engine)
{
	struct engine *e = engine;
	struct err ignored = {0};

	for (unsigned kind = 0; kind < STORE_KINDS_; kind++) {
		for (unsigned verb = 0; verb < VERBS; verb++) {
			if (e->statements[kind][verb])
				sqlite.sqlite3_reset(e->statements[kind][verb]);
		}
	}
	/* Some errors end the transaction by themselves. */
	if (!sqlite.sqlite3_get_autocommit(e->db) &&
	    run(e, "ROLLBACK", "cannot undo a change of the store", &ignored) < 0)
		log_err(LOG_ERROR, "cannot undo a change of the store", &ignored);
}

/* Runs a statement that gives no rows. */
static int
step_done(struct engine *e, sqlite3_stmt *st, const char *what, struct err *err)
{
	int rc = sqlite.sqlite3_step(st);

	if (rc != SQLITE_DONE) {
		report(e, rc, what, err);
		sqlite.sqlite3_reset(st);
		return -1;
	}
	sqlite.sqlite3_reset(st);
	return 0;
}

static int
engine_put(void *engine, enum store_kind kind, void *row, struct err *err)
{
	struct engine *e = engine;
	const struct store_shape *shape = store_shape(kind);
	uint64_t head[2];

	memcpy(head, row, sizeof(head));
	enum verb verb = head[1] ? UPDATE : INSERT;
	sqlite3_stmt *st = statement(e, kind, verb, err);
	if (!st)
		return -1;
	int rc = sqlite.sqlite3_bind_int64(st, 1, (int64_t)head[0]);
	if (rc == SQLITE_OK && verb == UPDATE)
		rc = sqlite.sqlite3_bind_int64(st, 2, (int64_t)head[1]);
	for (size_t i = 0; i < shape->columns_count && rc == SQLITE_OK; i++)
		rc = bind_value(st, (int)i + 3, &shape->columns[i], row);
	if (rc != SQLITE_OK)
		return report(e, rc, "cannot change the store", err);
	if (step_done(e, st, "cannot change the store", err) < 0)
		return -1;
	if (verb == UPDATE && sqlite.sqlite3_changes(e->db) != 1) {
		err_set(err, ERR_CONFLICT, "somebody else changed it meanwhile");
		return err_why(err, "%s %" PRIu64 " is not version %" PRIu64, shape->table, head[0],
			       head[1]);
	}
	if (verb == INSERT)
		head[0] = (uint64_t)sqlite.sqlite3_last_insert_rowid(e->db);
	head[1]++;
	memcpy(row, head, sizeof(head));
	return 0;
}

static int
engine_drop(void *engine, enum store_kind kind, uint64_t id, uint64_t version, struct err *err)
{
	struct engine *e = engine;
	sqlite3_stmt *st = statement(e, kind, DROP, err);

	if (!st)
		return -1;
	sqlite.sqlite3_bind_int64(st, 1, (int64_t)id);
	sqlite.sqlite3_bind_int64(st, 2, (int64_t)version);
	if (step_done(e, st, "cannot remove from the store", err) < 0)
		return -1;
	if (sqlite.sqlite3_changes(e->db) == 1)
		return 0;
	err_set(err, ERR_CONFLICT, "somebody else changed it meanwhile");
	return err_why(err, "%s %" PRIu64 " is not version %" PRIu64, store_shape(kind)->table, id,
		       version);
}

/* A statement that is used once. */
static int
run_with(struct engine *e, const char *sql, uint64_t id, const void *data, size_t bytes,
	 struct err *err)
{
	sqlite3_stmt *st;

	if (prepare(e, sql, 0, &st, err) < 0)
		return -1;
	int rc = sqlite.sqlite3_bind_int64(st, 1, (int64_t)id);
	if (rc == SQLITE_OK && data)
		rc = sqlite.sqlite3_bind_blob(st, 2, data, (int)bytes, SQLITE_STATIC);
	if (rc != SQLITE_OK)
		rc = report(e, rc, "cannot change the store", err);
	else
		rc = step_done(e, st, "cannot change the store", err);
	sqlite.sqlite3_finalize(st);
	return rc;
}

static int
engine_drop_through(void *engine, enum store_kind kind, uint64_t id, struct err *err)
{
	char sql[128];

	text_format(sql, sizeof(sql), "DELETE FROM %s WHERE id<=?1", store_shape(kind)->table);
	return run_with(engine, sql, id, NULL, 0, err);
}

static int
engine_put_blob(void *engine, enum store_blob blob, uint64_t id, const void *data, size_t bytes,
		struct err *err)
{
	char sql[128];

	assert(bytes < INT32_MAX);
	text_format(sql, sizeof(sql), "INSERT OR REPLACE INTO %s(id,bytes) VALUES(?1,?2)",
		    store_blob_table(blob));
	return run_with(engine, sql, id, data, bytes, err);
}

static int
take_blob(struct engine *e, sqlite3_stmt *st, const char *table, struct buf *out, struct err *err)
{
	int rc = sqlite.sqlite3_step(st);

	if (rc == SQLITE_DONE)
		return err_set(err, ERR_NOT_FOUND, "it is not in the store (%s)", table);
	if (rc != SQLITE_ROW)
		return report(e, rc, "cannot read the store", err);
	size_t bytes = (size_t)sqlite.sqlite3_column_bytes(st, 0);
	buf_put(out, sqlite.sqlite3_column_blob(st, 0), bytes);
	if (!buf_ok(out))
		return err_set(err, ERR_NO_MEMORY, "no memory for what the store holds (%s)",
			       table);
	return 0;
}

static int
engine_get_blob(void *engine, enum store_blob blob, uint64_t id, struct buf *out, struct err *err)
{
	struct engine *e = engine;
	sqlite3_stmt *st;
	char sql[128];

	text_format(sql, sizeof(sql), "SELECT bytes FROM %s WHERE id=?1", store_blob_table(blob));
	if (prepare(e, sql, 0, &st, err) < 0)
		return -1;
	sqlite.sqlite3_bind_int64(st, 1, (int64_t)id);
	int rc = take_blob(e, st, store_blob_table(blob), out, err);
	sqlite.sqlite3_finalize(st);
	return rc;
}

static int
read_row(sqlite3_stmt *st, const struct store_shape *shape, void *row, struct err *err)
{
	int64_t id = sqlite.sqlite3_column_int64(st, 0);
	int64_t version = sqlite.sqlite3_column_int64(st, 1);

	if (id <= 0 || version <= 0)
		return damaged(shape->table, "id", err);
	memset(row, 0, shape->row_bytes);
	memcpy(row, &id, sizeof(id));
	memcpy((char *)row + sizeof(id), &version, sizeof(version));
	for (size_t i = 0; i < shape->columns_count; i++) {
		if (!read_value(st, (int)i + 2, &shape->columns[i], row))
			return damaged(shape->table, shape->columns[i].name, err);
	}
	return 0;
}

static int
engine_each(void *engine, enum store_kind kind, uint64_t above, uint64_t parent, void *row,
	    store_visit_fn visit, void *arg, struct err *err)
{
	struct engine *e = engine;
	const struct store_shape *shape = store_shape(kind);
	int rc;

	assert(!parent || shape->parent);
	sqlite3_stmt *st = statement(e, kind, parent ? EACH_OF : EACH, err);
	if (!st)
		return -1;
	sqlite.sqlite3_bind_int64(st, 1, (int64_t)above);
	if (parent)
		sqlite.sqlite3_bind_int64(st, 2, (int64_t)parent);
	while ((rc = sqlite.sqlite3_step(st)) == SQLITE_ROW) {
		if (read_row(st, shape, row, err) < 0) {
			sqlite.sqlite3_reset(st);
			return -1;
		}
		visit(arg, row);
	}
	if (rc != SQLITE_DONE)
		report(e, rc, "cannot read the store", err);
	sqlite.sqlite3_reset(st);
	return rc == SQLITE_DONE ? 0 : -1;
}

static int
engine_version(void *engine, enum store_kind kind, uint64_t id, uint64_t *version_out,
	       struct err *err)
{
	struct engine *e = engine;
	sqlite3_stmt *st = statement(e, kind, VERSION, err);

	if (!st)
		return -1;
	sqlite.sqlite3_bind_int64(st, 1, (int64_t)id);
	int rc = sqlite.sqlite3_step(st);
	*version_out = rc == SQLITE_ROW ? (uint64_t)sqlite.sqlite3_column_int64(st, 0) : 0;
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		report(e, rc, "cannot read the store", err);
	sqlite.sqlite3_reset(st);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : -1;
}

static void
engine_close(void *engine)
{
	struct engine *e = engine;

	for (unsigned kind = 0; kind < STORE_KINDS_; kind++) {
		for (unsigned verb = 0; verb < VERBS; verb++)
			sqlite.sqlite3_finalize(e->statements[kind][verb]);
	}
	sqlite.sqlite3_close_v2(e->db);
	mem_free(e);
}

static const struct store_engine calls = {
	.begin = engine_begin,
	.commit = engine_commit,
	.abort = engine_abort,
	.put = engine_put,
	.drop = engine_drop,
	.drop_through = engine_drop_through,
	.put_blob = engine_put_blob,
	.get_blob = engine_get_blob,
	.each = engine_each,
	.version = engine_version,
	.close = engine_close,
};

/* ---- opening ---- */

/* The first column of the first row. */
static int
ask(struct engine *e, const char *sql, char *out, size_t cap, struct err *err)
{
	sqlite3_stmt *st;

	if (prepare(e, sql, 0, &st, err) < 0)
		return -1;
	int rc = sqlite.sqlite3_step(st);
	const char *text =
		rc == SQLITE_ROW ? (const char *)sqlite.sqlite3_column_text(st, 0) : NULL;
	text_copy(out, cap, text ? text : "");
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		rc = report(e, rc, "cannot open the store", err);
	else
		rc = 0;
	sqlite.sqlite3_finalize(st);
	return rc;
}

static int
set_up(struct engine *e, const struct store_sqlite_options *o, struct err *err)
{
	uint64_t bytes_max = o->bytes_max ? o->bytes_max : 1ull << 30;
	char sql[128], mode[32];

	sqlite.sqlite3_busy_timeout(e->db, (int)o->busy_ms);
	sqlite.sqlite3_db_config(e->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite.sqlite3_db_config(e->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	if (run(e, "PRAGMA locking_mode=EXCLUSIVE", "cannot open the store", err) < 0 ||
	    ask(e, "PRAGMA journal_mode=WAL", mode, sizeof(mode), err) < 0)
		return -1;
	if (!text_equal(mode, "wal")) {
		err_set(err, ERR_UNSUPPORTED, "cannot open the store");
		return err_why(err, "its file system does not allow write-ahead logging");
	}
	text_format(sql, sizeof(sql),
		    "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY;"
		    "PRAGMA max_page_count=%" PRIu64,
		    bytes_max / PAGE_BYTES);
	return run(e, sql, "cannot open the store", err);
}

static int
check(struct engine *e, struct err *err)
{
	char answer[128], application[32], pages[32];

	if (ask(e, "PRAGMA integrity_check(1)", answer, sizeof(answer), err) < 0)
		return -1;
	if (!text_equal(answer, "ok")) {
		report(e, SQLITE_CORRUPT, "cannot open the store", err);
		return err_why(err, "%s", answer);
	}
	if (ask(e, "PRAGMA foreign_key_check", answer, sizeof(answer), err) < 0)
		return -1;
	if (answer[0]) {
		report(e, SQLITE_CORRUPT, "cannot open the store", err);
		return err_why(err, "a row of %s belongs to nothing", answer);
	}
	if (ask(e, "PRAGMA application_id", application, sizeof(application), err) < 0 ||
	    ask(e, "PRAGMA page_count", pages, sizeof(pages), err) < 0)
		return -1;
	uint64_t id;
	if (!text_equal(pages, "0") && text_u64(application, UINT32_MAX, &id) &&
	    id != STORE_SCHEMA_APPLICATION && id != 0)
		return err_set(err, ERR_CORRUPT, "the store's file belongs to another program");
	return 0;
}

static int
migrate_one(struct engine *e, size_t i, struct err *err)
{
	char sql[256];

	text_format(sql, sizeof(sql),
		    "INSERT INTO migrations VALUES(%zu, unixepoch(), '" ZLAYER_VERSION "');"
		    "INSERT OR REPLACE INTO settings VALUES('program', '" ZLAYER_VERSION "');"
		    "PRAGMA user_version=%zu; PRAGMA application_id=%d",
		    i + 1, i + 1, STORE_SCHEMA_APPLICATION);
	if (engine_begin(e, err) < 0)
		return -1;
	if (run(e, store_schema_migration(i), "cannot set up the store", err) < 0 ||
	    run(e, sql, "cannot set up the store", err) < 0 || engine_commit(e, err) < 0) {
		engine_abort(e);
		return -1;
	}
	return 0;
}

static int
migrate(struct engine *e, struct err *err)
{
	char text[32], program[64];
	uint64_t version;

	if (ask(e, "PRAGMA user_version", text, sizeof(text), err) < 0)
		return -1;
	if (!text_u64(text, UINT32_MAX, &version))
		return err_set(err, ERR_CORRUPT, "the store's file has no version");
	if (version > store_schema_version()) {
		if (ask(e, "SELECT value FROM settings WHERE name='program'", program,
			sizeof(program), err) < 0)
			return -1;
		err_set(err, ERR_UNSUPPORTED, "the store was written by a newer zlayer (%s)",
			program);
		err_why(err, "its schema is version %" PRIu64 "; this program knows %zu", version,
			store_schema_version());
		return err_fix(err, "install that version again: going back is not possible");
	}
	for (size_t i = version; i < store_schema_version(); i++) {
		if (migrate_one(e, i, err) < 0)
			return -1;
	}
	return 0;
}

int
store_sqlite_open(const struct store_sqlite_options *o, struct store **out, struct err *err)
{
	if (fchdir(o->dirfd) < 0)
		return err_sys(err, errno, "cannot enter the store's folder");
	struct engine *e = mem_zalloc(MEM_SCHEDULER, sizeof(*e));
	if (!e)
		return err_set(err, ERR_NO_MEMORY, "no memory for the store");
	int rc = sqlite.sqlite3_open_v2(o->name, &e->db,
					SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
						SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
					"zlayer");
	if (rc != SQLITE_OK)
		report(e, rc, "cannot open the store", err);
	if (rc != SQLITE_OK || set_up(e, o, err) < 0 || check(e, err) < 0 || migrate(e, err) < 0) {
		engine_close(e);
		return err_where(err, "%s", o->name);
	}
	return store_new(&calls, e, out, err);
}
