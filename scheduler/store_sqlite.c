/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQLite as an engine of the store. Statements are made from the shapes of store_shape.c. What
 * comes out of the file is checked like any other input: a value of another type or range is
 * ERR_CORRUPT.
 */
#include "scheduler/store_sqlite.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/sqlite.h"
#include "scheduler/store_file.h"
#include "scheduler/store_trouble.h"

enum { SQL_BYTES = 2048 };

enum verb { INSERT, UPDATE, PLACE, DROP, VERSION, ONE, EACH, EACH_OF, VERBS };

struct engine {
	sqlite3 *db;
	sqlite3_stmt *statements[STORE_KINDS_][VERBS];
	sqlite3_stmt *rollback; /* ready before it is needed: then there may be no memory */
	struct store_trouble trouble;
};

static int
damaged(const char *table, const char *column, struct err *err)
{
	err_set(err, ERR_CORRUPT, "the store holds a row that is wrong");
	return err_why(err, "%s.%s", table, column);
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
	case PLACE: /* not REPLACE: that would drop what belongs to the row */
		buf_printf(sql, "INSERT INTO %s(id,version", shape->table);
		for (size_t i = 0; i < shape->columns_count; i++)
			buf_printf(sql, ",%s", shape->columns[i].name);
		buf_puts(sql, ") VALUES(?1,?2");
		for (size_t i = 0; i < shape->columns_count; i++)
			buf_printf(sql, ",?%zu", i + 3);
		buf_puts(sql, ") ON CONFLICT(id) DO UPDATE SET version=?2");
		for (size_t i = 0; i < shape->columns_count; i++)
			buf_printf(sql, ",%s=?%zu", shape->columns[i].name, i + 3);
		break;
	case DROP:
		buf_printf(sql, "DELETE FROM %s WHERE id=?1 AND version=?2", shape->table);
		break;
	case VERSION:
		buf_printf(sql, "SELECT version FROM %s WHERE id=?1", shape->table);
		break;
	case ONE:
	case EACH:
	case EACH_OF:
	default:
		buf_puts(sql, "SELECT id,version");
		for (size_t i = 0; i < shape->columns_count; i++)
			buf_printf(sql, ",%s", shape->columns[i].name);
		buf_printf(sql, " FROM %s WHERE id%s?1", shape->table, verb == ONE ? "=" : ">");
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
	else if (sqlite_prepare(e->db, text, SQLITE_PREPARE_PERSISTENT, slot, err) < 0)
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

static int
bind_row(sqlite3_stmt *st, const struct store_shape *shape, const void *row)
{
	uint64_t head[2];

	memcpy(head, row, sizeof(head));
	int rc = sqlite.sqlite3_bind_int64(st, 1, (int64_t)head[0]);
	if (rc == SQLITE_OK)
		rc = sqlite.sqlite3_bind_int64(st, 2, (int64_t)head[1]);
	for (size_t i = 0; i < shape->columns_count && rc == SQLITE_OK; i++)
		rc = bind_value(st, (int)i + 3, &shape->columns[i], row);
	return rc;
}

/* ---- the engine's calls ---- */

static int
engine_begin(void *engine, struct err *err)
{
	struct engine *e = engine;

	return store_trouble_begin(&e->trouble, e->db, err);
}

static int
engine_commit(void *engine, struct err *err)
{
	struct engine *e = engine;

	if (sqlite_commit(e->db, err) < 0) {
		store_trouble_failed(&e->trouble, err);
		return -1;
	}
	store_trouble_kept(&e->trouble);
	return 0;
}

static void
engine_abort(void *engine)
{
	struct engine *e = engine;

	for (unsigned kind = 0; kind < STORE_KINDS_; kind++) {
		for (unsigned verb = 0; verb < VERBS; verb++) {
			if (e->statements[kind][verb])
				sqlite.sqlite3_reset(e->statements[kind][verb]);
		}
	}
	if (!sqlite.sqlite3_get_autocommit(e->db)) {
		sqlite.sqlite3_step(e->rollback);
		sqlite.sqlite3_reset(e->rollback);
	}
	sqlite_abort(e->db);
}

/* Runs a statement that gives no rows. */
static int
step_done(struct engine *e, sqlite3_stmt *st, const char *what, struct err *err)
{
	errno = 0;
	int rc = sqlite.sqlite3_step(st);

	if (rc != SQLITE_DONE) {
		sqlite_report(e->db, rc, what, err);
		store_trouble_failed(&e->trouble, err);
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
	int rc = bind_row(st, shape, row);
	if (rc != SQLITE_OK)
		return sqlite_report(e->db, rc, "cannot change the store", err);
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
engine_place(void *engine, enum store_kind kind, const void *row, struct err *err)
{
	struct engine *e = engine;
	sqlite3_stmt *st = statement(e, kind, PLACE, err);

	if (!st)
		return -1;
	int rc = bind_row(st, store_shape(kind), row);
	if (rc != SQLITE_OK)
		return sqlite_report(e->db, rc, "cannot change the store", err);
	return step_done(e, st, "cannot change the store", err);
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

	if (sqlite_prepare(e->db, sql, 0, &st, err) < 0)
		return -1;
	int rc = sqlite.sqlite3_bind_int64(st, 1, (int64_t)id);
	if (rc == SQLITE_OK && data)
		rc = sqlite.sqlite3_bind_blob(st, 2, data, (int)bytes, SQLITE_STATIC);
	if (rc != SQLITE_OK)
		rc = sqlite_report(e->db, rc, "cannot change the store", err);
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
		return sqlite_report(e->db, rc, "cannot read the store", err);
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
	if (sqlite_prepare(e->db, sql, 0, &st, err) < 0)
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
		sqlite_report(e->db, rc, "cannot read the store", err);
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
		sqlite_report(e->db, rc, "cannot read the store", err);
	sqlite.sqlite3_reset(st);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : -1;
}

static int
engine_get(void *engine, enum store_kind kind, uint64_t id, void *row, struct err *err)
{
	struct engine *e = engine;
	sqlite3_stmt *st = statement(e, kind, ONE, err);

	if (!st)
		return -1;
	sqlite.sqlite3_bind_int64(st, 1, (int64_t)id);
	int rc = sqlite.sqlite3_step(st);
	if (rc == SQLITE_ROW)
		rc = read_row(st, store_shape(kind), row, err);
	else if (rc == SQLITE_DONE)
		rc = err_set(err, ERR_NOT_FOUND, "it is not in the store (%s %" PRIu64 ")",
			     store_shape(kind)->table, id);
	else
		rc = sqlite_report(e->db, rc, "cannot read the store", err);
	sqlite.sqlite3_reset(st);
	return rc;
}

static int
take_note(struct engine *e, sqlite3_stmt *st, char *out, size_t cap, struct err *err)
{
	int rc = sqlite.sqlite3_step(st);

	out[0] = '\0';
	if (rc == SQLITE_DONE)
		return 0;
	if (rc != SQLITE_ROW)
		return sqlite_report(e->db, rc, "cannot read the store", err);
	const char *text = (const char *)sqlite.sqlite3_column_text(st, 0);
	if (!text || !text_copy(out, cap, text))
		return err_set(err, ERR_LIMIT, "a note of the store is too long");
	return 0;
}

static int
engine_get_note(void *engine, const char *name, char *out, size_t cap, struct err *err)
{
	struct engine *e = engine;
	sqlite3_stmt *st;

	if (sqlite_prepare(e->db, "SELECT value FROM settings WHERE name=?1", 0, &st, err) < 0)
		return -1;
	int rc = sqlite.sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
	rc = rc == SQLITE_OK ? take_note(e, st, out, cap, err)
			     : sqlite_report(e->db, rc, "cannot read the store", err);
	sqlite.sqlite3_finalize(st);
	return rc;
}

static int
engine_put_note(void *engine, const char *name, const char *value, struct err *err)
{
	struct engine *e = engine;
	sqlite3_stmt *st;

	if (sqlite_prepare(e->db, "INSERT OR REPLACE INTO settings(name,value) VALUES(?1,?2)", 0,
			   &st, err) < 0)
		return -1;
	int rc = sqlite.sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite.sqlite3_bind_text(st, 2, value, -1, SQLITE_STATIC);
	rc = rc == SQLITE_OK ? step_done(e, st, "cannot change the store", err)
			     : sqlite_report(e->db, rc, "cannot change the store", err);
	sqlite.sqlite3_finalize(st);
	return rc;
}

/* Replicas are numbered by each node, below its own id. */
static int
engine_highest_id(void *engine, uint64_t *out, struct err *err)
{
	struct engine *e = engine;
	sqlite3_stmt *st;

	if (sqlite_prepare(e->db,
			   "SELECT coalesce(max(seq),0) FROM sqlite_sequence"
			   " WHERE name<>'replicas'",
			   0, &st, err) < 0)
		return -1;
	int rc = sqlite.sqlite3_step(st);
	*out = rc == SQLITE_ROW ? (uint64_t)sqlite.sqlite3_column_int64(st, 0) : 0;
	rc = rc == SQLITE_ROW ? 0 : sqlite_report(e->db, rc, "cannot read the store", err);
	sqlite.sqlite3_finalize(st);
	return rc;
}

static void
engine_status(void *engine, struct store_status *out)
{
	struct engine *e = engine;

	out->writable = store_trouble_look(&e->trouble, e->db, &out->why) == 0;
	out->unwritten = !out->writable;
}

static void
engine_close(void *engine)
{
	struct engine *e = engine;

	for (unsigned kind = 0; kind < STORE_KINDS_; kind++) {
		for (unsigned verb = 0; verb < VERBS; verb++)
			sqlite.sqlite3_finalize(e->statements[kind][verb]);
	}
	sqlite.sqlite3_finalize(e->rollback);
	sqlite.sqlite3_close_v2(e->db);
	store_trouble_fini(&e->trouble);
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
	.get = engine_get,
	.place = engine_place,
	.get_note = engine_get_note,
	.put_note = engine_put_note,
	.close = engine_close,
	.highest_id = engine_highest_id,
	.status = engine_status,
};

/* ---- opening ---- */

int
store_sqlite_open(const struct store_sqlite_options *o, struct store **out, struct err *err)
{
	if (fchdir(o->dirfd) < 0)
		return err_sys(err, errno, "cannot enter the store's folder");
	struct engine *e = mem_zalloc(MEM_SCHEDULER, sizeof(*e));
	if (!e)
		return err_set(err, ERR_NO_MEMORY, "no memory for the store");
	e->trouble.folder = -1;
	if (store_file_open(o, &e->db, err) < 0 ||
	    sqlite_prepare(e->db, "ROLLBACK", SQLITE_PREPARE_PERSISTENT, &e->rollback, err) < 0 ||
	    store_trouble_init(&e->trouble, o->dirfd, o->name, err) < 0) {
		engine_close(e);
		return -1;
	}
	return store_new(&calls, e, out, err);
}
