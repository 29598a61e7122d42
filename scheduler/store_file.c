/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WAL with synchronous=FULL: what was committed survives a power cut. The file is locked
 * exclusively, so the WAL's index is in memory and nothing but the file and its WAL is ever opened.
 * A file that is damaged, of another program, or of a newer version is refused and left as it is.
 */
#include "scheduler/store_file.h"

#include <inttypes.h>
#include "base/text.h"
#include "scheduler/store_schema.h"

enum { PAGE_BYTES = 4096 };

static int
set_up(sqlite3 *db, const struct store_sqlite_options *o, struct err *err)
{
	uint64_t bytes_max = o->bytes_max ? o->bytes_max : 1ull << 30;
	char sql[128], mode[32];

	sqlite.sqlite3_busy_timeout(db, (int)o->busy_ms);
	sqlite.sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite.sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	if (sqlite.sqlite3_db_readonly(db, "main") > 0)
		return sqlite_report(db, SQLITE_READONLY, "cannot open the store", err);
	if (sqlite_run(db, "PRAGMA locking_mode=EXCLUSIVE", "cannot open the store", err) < 0 ||
	    sqlite_ask(db, "PRAGMA journal_mode=WAL", mode, sizeof(mode), err) < 0)
		return -1;
	if (!text_equal(mode, "wal")) {
		err_set(err, ERR_UNSUPPORTED, "cannot open the store");
		return err_why(err, "its file system does not allow write-ahead logging");
	}
	text_format(sql, sizeof(sql),
		    "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY;"
		    "PRAGMA max_page_count=%" PRIu64,
		    bytes_max / PAGE_BYTES);
	return sqlite_run(db, sql, "cannot open the store", err);
}

static int
check(sqlite3 *db, struct err *err)
{
	char answer[128], application[32], pages[32];

	if (sqlite_ask(db, "PRAGMA integrity_check(1)", answer, sizeof(answer), err) < 0)
		return -1;
	if (!text_equal(answer, "ok")) {
		sqlite_report(db, SQLITE_CORRUPT, "cannot open the store", err);
		return err_why(err, "%s", answer);
	}
	if (sqlite_ask(db, "PRAGMA foreign_key_check", answer, sizeof(answer), err) < 0)
		return -1;
	if (answer[0]) {
		sqlite_report(db, SQLITE_CORRUPT, "cannot open the store", err);
		return err_why(err, "a row of %s belongs to nothing", answer);
	}
	if (sqlite_ask(db, "PRAGMA application_id", application, sizeof(application), err) < 0 ||
	    sqlite_ask(db, "PRAGMA page_count", pages, sizeof(pages), err) < 0)
		return -1;
	uint64_t id;
	if (!text_equal(pages, "0") && text_u64(application, UINT32_MAX, &id) &&
	    id != STORE_SCHEMA_APPLICATION && id != 0)
		return err_set(err, ERR_CORRUPT, "the store's file belongs to another program");
	return 0;
}

static int
migrate_one(sqlite3 *db, size_t i, struct err *err)
{
	char sql[256];

	text_format(sql, sizeof(sql),
		    "INSERT INTO migrations VALUES(%zu, unixepoch(), '" ZLAYER_VERSION "');"
		    "INSERT OR REPLACE INTO settings VALUES('program', '" ZLAYER_VERSION "');"
		    "PRAGMA user_version=%zu; PRAGMA application_id=%d",
		    i + 1, i + 1, STORE_SCHEMA_APPLICATION);
	if (sqlite_begin(db, err) < 0)
		return -1;
	if (sqlite_run(db, store_schema_migration(i), "cannot set up the store", err) < 0 ||
	    sqlite_run(db, sql, "cannot set up the store", err) < 0 || sqlite_commit(db, err) < 0) {
		sqlite_abort(db);
		return -1;
	}
	return 0;
}

static int
migrate(sqlite3 *db, struct err *err)
{
	char text[32], program[64];
	uint64_t version;

	if (sqlite_ask(db, "PRAGMA user_version", text, sizeof(text), err) < 0)
		return -1;
	if (!text_u64(text, UINT32_MAX, &version))
		return err_set(err, ERR_CORRUPT, "the store's file has no version");
	if (version > store_schema_version()) {
		if (sqlite_ask(db, "SELECT value FROM settings WHERE name='program'", program,
			       sizeof(program), err) < 0)
			return -1;
		err_set(err, ERR_UNSUPPORTED, "the store was written by a newer zlayer (%s)",
			program);
		err_why(err, "its schema is version %" PRIu64 "; this program knows %zu", version,
			store_schema_version());
		return err_fix(err, "install that version again: going back is not possible");
	}
	for (size_t i = version; i < store_schema_version(); i++) {
		if (migrate_one(db, i, err) < 0)
			return -1;
	}
	return 0;
}

int
store_file_open(const struct store_sqlite_options *o, sqlite3 **out, struct err *err)
{
	sqlite3 *db = NULL;
	int rc = sqlite.sqlite3_open_v2(o->name, &db,
					SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
						SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
					"zlayer");

	if (rc != SQLITE_OK)
		sqlite_report(db, rc, "cannot open the store", err);
	if (rc != SQLITE_OK || set_up(db, o, err) < 0 || check(db, err) < 0 ||
	    migrate(db, err) < 0) {
		sqlite.sqlite3_close_v2(db);
		return err_where(err, "%s", o->name);
	}
	*out = db;
	return 0;
}
