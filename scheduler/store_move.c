/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of a move: look whether it is there already; one transaction; read back; note.
 */
#include "scheduler/store_move.h"

#include <inttypes.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/store_copy.h"
#include "scheduler/store_role.h"

enum { BLOB_BYTES_MAX = 64 << 20, IDS_BYTES_MAX = 64 << 20, NOTE_BYTES = 128 };

#define NOTE_MOVED "moved"

struct move {
	struct store *from, *to;
	store_done_fn done;
	void *arg;
	struct store_digest digest; /* of what is moved */
	uint64_t count;
};

static void
end(struct move *m, const struct err *err)
{
	store_done_fn done = m->done;
	void *arg = m->arg;

	mem_free(m);
	done(arg, err);
}

/* ---- one transaction ---- */

struct placing {
	struct move *m;
	unsigned kind;
	struct buf *ids; /* of rows that may have blobs */
	struct err *err;
	int rc;
};

static void
place(void *arg, const void *row)
{
	struct placing *p = arg;
	uint64_t id;

	if (p->rc < 0)
		return;
	memcpy(&id, row, sizeof(id));
	buf_u64(p->ids, id);
	p->rc = store_place(p->m->to, p->kind, row, p->err);
}

static int
place_blob(struct move *m, enum store_blob blob, uint64_t id, struct err *err)
{
	struct err none = {0};
	struct buf bytes;

	buf_init(&bytes, MEM_SCHEDULER, BLOB_BYTES_MAX);
	int rc = store_get_blob(m->from, blob, id, &bytes, &none);
	if (rc == 0) {
		rc = store_put_blob(m->to, blob, id, bytes.data ? bytes.data : (void *)&none,
				    bytes.length, err);
	} else if (none.kind == ERR_NOT_FOUND) {
		rc = 0;
	} else {
		*err = none;
	}
	buf_fini(&bytes);
	return rc;
}

static int
place_kind(struct move *m, unsigned kind, struct err *err)
{
	struct buf ids;
	struct placing p = {.m = m, .kind = kind, .ids = &ids, .err = err};
	struct cursor at;

	buf_init(&ids, MEM_SCHEDULER, IDS_BYTES_MAX);
	int rc = store_each(m->from, kind, 0, 0, place, &p, err);
	if (rc == 0)
		rc = p.rc;
	if (rc == 0 && !buf_ok(&ids))
		rc = err_set(err, ERR_NO_MEMORY, "no memory to move a store");
	cursor_init(&at, ids.data, ids.length);
	while (rc == 0 && cursor_left(&at)) {
		uint64_t id = cursor_u64(&at);

		for (unsigned blob = 0; blob < STORE_BLOBS_ && rc == 0; blob++) {
			if (store_blob_parent(blob) == kind && !store_blob_is_local(blob))
				rc = place_blob(m, blob, id, err);
		}
	}
	buf_fini(&ids);
	return rc;
}

static int
place_all(struct move *m, struct err *err)
{
	if (store_begin(m->to, err) < 0)
		return -1;
	for (unsigned kind = 0; kind < STORE_KINDS_; kind++) {
		if (!store_kind_is_local(kind) && place_kind(m, kind, err) < 0) {
			store_abort(m->to);
			return -1;
		}
	}
	return 0;
}

/* ---- is it there? ---- */

static bool
is_there(const struct move *m)
{
	struct store_status status;

	store_status(m->to, &status);
	return status.count == m->count &&
	       !memcmp(status.digest, m->digest.word, sizeof(status.digest));
}

/* What `from` holds is what `to` holds: its file is a copy of it from now on. */
static int
write_notes(struct move *m, struct store *rows, struct err *err)
{
	char id[STORE_COPY_ID_BYTES], hash[2 * STORE_SHA256_BYTES + 1], note[NOTE_BYTES];
	struct store_entry entry;
	enum store_role role;
	int64_t revision;

	if (store_copy_read(m->to, id, &entry, &revision, err) < 0)
		return -1;
	text_hex(entry.hash, sizeof(entry.hash), hash, sizeof(hash));
	text_format(note, sizeof(note), "%" PRIu64 " %s", entry.sequence, hash);
	if (store_copy_adopt(rows, id, &entry, revision, err) < 0 ||
	    store_role_moved(rows, &role, err) < 0 || store_role_put(rows, role, err) < 0)
		return -1;
	return store_put_note(rows, NOTE_MOVED, note, err);
}

static int
write_note(struct move *m, struct err *err)
{
	struct store *rows = store_local(m->from);

	if (store_begin(rows, err) < 0)
		return -1;
	if (write_notes(m, rows, err) == 0)
		return store_commit(rows, err);
	store_abort(rows);
	return -1;
}

static void
checked(void *arg, const struct err *err)
{
	struct move *m = arg;
	struct err mine = {0};

	if (!err && !is_there(m)) {
		err_set(&mine, ERR_CORRUPT, "what the members have is not what was moved");
		err = &mine;
	}
	if (!err && write_note(m, &mine) < 0)
		err = &mine;
	end(m, err);
}

static void
placed(void *arg, const struct err *err)
{
	struct move *m = arg;

	if (err)
		end(m, err);
	else
		store_check(m->to, checked, m);
}

static int
start(struct move *m, struct err *err)
{
	struct store_status status;

	store_status(m->to, &status);
	if (!status.shared)
		return err_set(err, ERR_UNSUPPORTED, "a store is moved into a shared one only");
	if (!status.writable) {
		*err = status.why;
		return -1;
	}
	if (store_copy_sum(m->from, &m->digest, &m->count, err) < 0)
		return -1;
	if (status.count > 0 && !is_there(m)) {
		err_set(err, ERR_CONFLICT, "the cluster's store is in use already");
		return err_why(err, "it holds %" PRIu64 " keys that are not this node's",
			       status.count);
	}
	return status.count > 0 ? 0 : place_all(m, err);
}

void
store_move(struct store *from, struct store *to, store_done_fn done, void *arg)
{
	struct move *m = mem_zalloc(MEM_SCHEDULER, sizeof(*m));
	struct store_status status;
	struct err err = {0};

	if (!m) {
		err_set(&err, ERR_NO_MEMORY, "no memory to move a store");
		done(arg, &err);
		return;
	}
	*m = (struct move){.from = from, .to = to, .done = done, .arg = arg};
	store_status(to, &status);
	if (start(m, &err) < 0)
		end(m, &err);
	else if (status.count > 0)
		store_check(to, checked, m);
	else
		store_submit(to, placed, m);
}

int
store_move_is_done(struct store *from, bool *moved_out, struct err *err)
{
	char note[NOTE_BYTES];

	if (store_get_note(from, NOTE_MOVED, note, sizeof(note), err) < 0)
		return -1;
	*moved_out = note[0] != '\0';
	return 0;
}
