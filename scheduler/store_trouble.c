/* SPDX-License-Identifier: Apache-2.0 */
/* The row that is tried is larger than most transactions are: room for a few bytes is no room. */
#include "scheduler/store_trouble.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include "base/fd.h"
#include "base/text.h"
#include "base/world.h"

#define AGAIN_NS 1000000000ull

int
store_trouble_init(struct store_trouble *t, int folder, const char *name, struct err *err)
{
	struct stat st;

	*t = (struct store_trouble){.folder = -1};
	if (!text_copy(t->name, sizeof(t->name), name))
		return err_set(err, ERR_LIMIT, "the name of the store's file is too long");
	t->folder = fcntl(folder, F_DUPFD_CLOEXEC, 0);
	if (t->folder < 0 || fstatat(t->folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		err_sys(err, errno, "cannot look at the store's file");
		fd_close(&t->folder);
		return -1;
	}
	t->dev = st.st_dev;
	t->ino = st.st_ino;
	return 0;
}

void
store_trouble_fini(struct store_trouble *t)
{
	fd_close(&t->folder);
}

static int
begin(const struct store_trouble *t, sqlite3 *db, struct err *err)
{
	struct stat st;

	if (fstatat(t->folder, t->name, &st, AT_SYMLINK_NOFOLLOW) == 0
		    ? st.st_dev != t->dev || st.st_ino != t->ino
		    : errno == ENOENT || errno == ENOTDIR)
		return sqlite_gone(err);
	return sqlite_begin(db, err);
}

int
store_trouble_begin(struct store_trouble *t, sqlite3 *db, struct err *err)
{
	if (begin(t, db, err) == 0)
		return 0;
	store_trouble_failed(t, err);
	return -1;
}

void
store_trouble_failed(struct store_trouble *t, const struct err *err)
{
	switch (err->kind) {
	case ERR_NO_SPACE:
	case ERR_DENIED:
	case ERR_SYSTEM:
		t->err = *err;
		t->tried_ns = world_mono_ns();
		break;
	default:
		break;
	}
}

void
store_trouble_kept(struct store_trouble *t)
{
	err_clear(&t->err);
}

static int
try(const struct store_trouble *t, sqlite3 *db, struct err *err)
{
	static const char what[] = "cannot keep a change in the store";

	if (begin(t, db, err) < 0)
		return -1;
	if (sqlite_run(db,
		       "INSERT OR REPLACE INTO settings(name,value)"
		       " VALUES('probe',printf('%.65536c','-'))",
		       what, err) == 0 &&
	    sqlite_commit(db, err) == 0)
		return sqlite_run(db, "DELETE FROM settings WHERE name='probe'", what, err);
	sqlite_abort(db);
	return -1;
}

int
store_trouble_look(struct store_trouble *t, sqlite3 *db, struct err *err)
{
	uint64_t now_ns = world_mono_ns();
	struct err why = {0};

	if (!t->err.kind)
		return 0;
	if (sqlite.sqlite3_get_autocommit(db) && now_ns >= t->tried_ns + AGAIN_NS) {
		if (try(t, db, &why) == 0) {
			err_clear(&t->err);
			return 0;
		}
		t->tried_ns = now_ns;
		if (why.kind != ERR_NO_MEMORY)
			t->err = why;
	}
	*err = t->err;
	return -1;
}
