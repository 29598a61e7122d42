/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and values on one side, rows and blobs of the embedded engine on the other. What a change
 * replaces is read from the rows themselves, so the digest of a copy cannot drift from what it
 * holds. Removals go first (a name may be given to another row), then parents before children.
 */
#include "scheduler/store_copy.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/store_aside.h"
#include "scheduler/store_row.h"

enum {
	VALUE_BYTES_MAX = STORE_CHUNK_BYTES,
	BLOB_BYTES_MAX = 64 << 20,
	ROW_BYTES_MAX = 16 << 10,
	NUMBER_BYTES = 24,
	IDS_BYTES_MAX = 64 << 20,
};

#define NOTE_ENTRY "copy.entry"
#define NOTE_REVISION "copy.revision"
#define NOTE_ID "copy.id"
#define NOTE_EXPECTED "copy.expected"
#define NOTE_LOG "copy.log."

/* ---- values ---- */

static size_t
chunks_of(size_t bytes)
{
	return bytes ? (bytes + STORE_CHUNK_BYTES - 1) / STORE_CHUNK_BYTES : 1;
}

static int
no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory for a change of the store");
}

static int
row_value(struct store *rows, const struct store_key *key, struct buf *out, struct err *err)
{
	defer_free void *row = mem_zalloc(MEM_SCHEDULER, store_row_bytes_max());

	if (!row)
		return no_memory(err);
	if (store_get(rows, key->kind, key->id, row, err) < 0)
		return -1;
	store_row_put(out, key->kind, row);
	return buf_ok(out) ? 0 : no_memory(err);
}

static int
chunk_value(struct store *rows, const struct store_key *key, struct buf *out, struct err *err)
{
	struct buf blob;

	buf_init(&blob, MEM_SCHEDULER, BLOB_BYTES_MAX);
	int rc = store_get_blob(rows, key->kind, key->id, &blob, err);
	size_t from = (size_t)key->chunk * STORE_CHUNK_BYTES;
	if (rc == 0 && key->chunk > 0 && from >= blob.length)
		rc = err_set(err, ERR_NOT_FOUND, "it is not in the store");
	if (rc == 0) {
		size_t left = blob.length - from;

		buf_put(out, blob.data + from, left < STORE_CHUNK_BYTES ? left : STORE_CHUNK_BYTES);
		rc = buf_ok(out) ? 0 : no_memory(err);
	}
	buf_fini(&blob);
	return rc;
}

int
store_copy_value(struct store *rows, const struct store_key *key, struct buf *out, struct err *err)
{
	buf_reset(out);
	return key->blob ? chunk_value(rows, key, out, err) : row_value(rows, key, out, err);
}

/* ---- all of a store ---- */

static void
collect_id(void *arg, const void *row)
{
	uint64_t id;

	memcpy(&id, row, sizeof(id));
	buf_u64(arg, id);
}

static int
visit_blob(struct store *rows, enum store_blob blob, uint64_t id, store_copy_visit_fn visit,
	   void *arg, struct err *err)
{
	struct store_change change = {.key = {.blob = true, .kind = blob, .id = id}};
	struct err none = {0};
	struct buf bytes;

	buf_init(&bytes, MEM_SCHEDULER, BLOB_BYTES_MAX);
	int rc = store_get_blob(rows, blob, id, &bytes, &none);
	if (rc < 0 && none.kind != ERR_NOT_FOUND)
		*err = none;
	bool there = rc == 0;
	if (rc < 0 && none.kind == ERR_NOT_FOUND)
		rc = 0;
	for (size_t at = 0; there && rc == 0; change.key.chunk++) {
		size_t left = bytes.length - at;

		change.data = bytes.data + at;
		change.bytes = left < STORE_CHUNK_BYTES ? left : STORE_CHUNK_BYTES;
		rc = visit(arg, &change, err);
		at += change.bytes;
		there = at < bytes.length;
	}
	buf_fini(&bytes);
	return rc;
}

static int
visit_row(struct store *rows, unsigned kind, uint64_t id, store_copy_visit_fn visit, void *arg,
	  struct err *err)
{
	struct store_change change = {.key = {.kind = kind, .id = id}};
	struct buf value;

	buf_init(&value, MEM_SCHEDULER, ROW_BYTES_MAX);
	int rc = row_value(rows, &change.key, &value, err);
	if (rc == 0) {
		change.data = value.data;
		change.bytes = value.length;
		rc = visit(arg, &change, err);
	}
	buf_fini(&value);
	for (unsigned blob = 0; blob < STORE_BLOBS_ && rc == 0; blob++) {
		if (store_blob_parent(blob) == kind && !store_blob_is_local(blob))
			rc = visit_blob(rows, blob, id, visit, arg, err);
	}
	return rc;
}

int
store_copy_each(struct store *rows, store_copy_visit_fn visit, void *arg, struct err *err)
{
	int rc = 0;

	for (unsigned kind = 0; kind < STORE_KINDS_ && rc == 0; kind++) {
		struct cursor at;
		struct buf ids;

		if (store_kind_is_local(kind))
			continue;
		buf_init(&ids, MEM_SCHEDULER, IDS_BYTES_MAX);
		rc = store_each(rows, kind, 0, 0, collect_id, &ids, err);
		if (rc == 0 && !buf_ok(&ids))
			rc = no_memory(err);
		cursor_init(&at, ids.data, ids.length);
		while (rc == 0 && cursor_left(&at))
			rc = visit_row(rows, kind, cursor_u64(&at), visit, arg, err);
		buf_fini(&ids);
	}
	return rc;
}

struct sum {
	struct store_digest *digest;
	uint64_t count;
};

static int
add_up(void *arg, const struct store_change *change, struct err *err)
{
	struct sum *s = arg;

	(void)err;
	store_digest_add(s->digest, &change->key, change->data, change->bytes);
	s->count++;
	return 0;
}

int
store_copy_sum(struct store *rows, struct store_digest *digest, uint64_t *count, struct err *err)
{
	struct sum s = {.digest = digest};

	memset(digest, 0, sizeof(*digest));
	int rc = store_copy_each(rows, add_up, &s, err);
	*count = s.count;
	return rc;
}

/* ---- opening ---- */

int
store_copy_read(struct store *s, char *id, struct store_entry *entry, int64_t *revision,
		struct err *err)
{
	char text[STORE_ENTRY_BYTES], number[NUMBER_BYTES];
	uint64_t n = 0;

	memset(entry, 0, sizeof(*entry));
	*revision = 0;
	if (store_get_note(s, NOTE_ENTRY, text, sizeof(text), err) < 0 ||
	    store_get_note(s, NOTE_REVISION, number, sizeof(number), err) < 0 ||
	    store_get_note(s, NOTE_ID, id, STORE_COPY_ID_BYTES, err) < 0)
		return -1;
	if (!text[0])
		return 0;
	if (store_entry_get(text, strlen(text), entry, err) < 0)
		return -1;
	if (!text_u64(number, INT64_MAX, &n) || !id[0])
		return err_set(err, ERR_CORRUPT, "the copy of the store does not say of what");
	*revision = (int64_t)n;
	return 0;
}

static int
read_notes(struct store_copy *c, bool *expected_out, struct err *err)
{
	char expected[NUMBER_BYTES];

	if (store_get_note(c->rows, NOTE_EXPECTED, expected, sizeof(expected), err) < 0)
		return -1;
	*expected_out = expected[0] != '\0';
	return *expected_out ? 0 : store_copy_read(c->rows, c->id, &c->head, &c->revision, err);
}

static int
check(struct store_copy *c, struct err *err)
{
	struct store_digest digest;
	uint64_t count;

	if (store_copy_sum(c->rows, &digest, &count, err) < 0)
		return -1;
	if (!c->id[0] && count > 0) {
		err_set(err, ERR_CONFLICT, "this file is a store of its own, and no copy");
		return err_fix(err, "move the store into the cluster's, or move the file away");
	}
	if (count == c->head.count && !memcmp(&digest, &c->head.digest, sizeof(digest)))
		return 0;
	err_set(err, ERR_CORRUPT, "the copy of the store is not what was written");
	err_why(err, "%" PRIu64 " keys, %" PRIu64 " expected%s", count, c->head.count,
		count == c->head.count ? ", with other values" : "");
	return err_fix(err, "move the file away: it is copied again from the cluster");
}

int
store_copy_open(struct store_copy *c, struct store *rows, struct err *err)
{
	bool expected = false;

	memset(c, 0, sizeof(*c));
	c->rows = rows;
	if (read_notes(c, &expected, err) == 0 && (expected || check(c, err) == 0))
		return 0;
	store_copy_close(c);
	return -1;
}

void
store_copy_close(struct store_copy *c)
{
	store_free(c->rows);
	c->rows = NULL;
}

static int
put_notes(struct store *rows, const struct store_entry *next, int64_t revision, const char *id,
	  struct err *err)
{
	char entry[STORE_ENTRY_BYTES], number[NUMBER_BYTES];

	store_entry_put(next, entry);
	text_format(number, sizeof(number), "%" PRIi64, revision);
	if (store_put_note(rows, NOTE_ENTRY, entry, err) < 0 ||
	    store_put_note(rows, NOTE_REVISION, number, err) < 0 ||
	    store_put_note(rows, NOTE_EXPECTED, "", err) < 0)
		return -1;
	return store_put_note(rows, NOTE_ID, id, err);
}

static int
commit_or_abort(struct store *rows, int rc, struct err *err)
{
	if (rc == 0)
		return store_commit(rows, err);
	store_abort(rows);
	return -1;
}

int
store_copy_adopt(struct store *rows, const char *id, const struct store_entry *entry,
		 int64_t revision, struct err *err)
{
	struct store_entry spread = *entry;

	spread.parts = 0;
	return put_notes(rows, &spread, revision, id, err);
}

int
store_copy_expect(struct store *rows, struct err *err)
{
	return store_put_note(rows, NOTE_EXPECTED, "1", err);
}

int
store_copy_forget(struct store *rows, struct err *err)
{
	static const char *const notes[] = {NOTE_ENTRY, NOTE_REVISION, NOTE_ID, NOTE_EXPECTED};

	for (size_t i = 0; i < sizeof(notes) / sizeof(notes[0]); i++)
		if (store_put_note(rows, notes[i], "", err) < 0)
			return -1;
	return 0;
}

static int
found(struct store_copy *c, const char *id, const uint8_t *txid, struct err *err)
{
	static const uint8_t before[STORE_SHA256_BYTES];

	memcpy(c->head.txid, txid, sizeof(c->head.txid));
	c->head.sequence = 1;
	if (store_copy_sum(c->rows, &c->head.digest, &c->head.count, err) < 0)
		return -1;
	store_entry_chain(&c->head, before, NULL, 0);
	text_copy(c->id, sizeof(c->id), id);
	if (store_begin(c->rows, err) < 0)
		return -1;
	return commit_or_abort(c->rows, store_copy_adopt(c->rows, id, &c->head, 0, err), err);
}

int
store_copy_open_record(struct store_copy *c, struct store *rows, const char *id,
		       const uint8_t *txid, struct err *err)
{
	bool expected = false;

	memset(c, 0, sizeof(*c));
	c->rows = rows;
	int rc = read_notes(c, &expected, err);
	if (rc == 0 && expected) {
		err_set(err, ERR_CONFLICT, "this file waits for a copy of another store");
		rc = err_fix(err, "restore a backup, or join the cluster again");
	}
	if (rc == 0)
		rc = c->id[0] ? check(c, err) : found(c, id, txid, err);
	if (rc < 0)
		store_copy_close(c);
	return rc;
}

static void
log_note(uint64_t sequence, char *out)
{
	text_format(out, NUMBER_BYTES, NOTE_LOG "%" PRIu64, sequence % STORE_COPY_LOG_KEPT);
}

int
store_copy_entry(struct store_copy *c, uint64_t sequence, struct store_entry *out, struct err *err)
{
	char name[NUMBER_BYTES], text[STORE_ENTRY_BYTES];

	if (sequence == c->head.sequence) {
		*out = c->head;
		return 0;
	}
	log_note(sequence, name);
	if (store_get_note(c->rows, name, text, sizeof(text), err) < 0)
		return -1;
	if (text[0] && store_entry_get(text, strlen(text), out, err) < 0)
		return -1;
	if (!text[0] || out->sequence != sequence)
		return err_set(err, ERR_NOT_FOUND, "the store's log does not go back that far");
	return 0;
}

/* ---- one transaction ---- */

static int
account(struct store_copy *c, const struct store_change *change, struct store_entry *next,
	struct buf *old, struct err *err)
{
	struct err none = {0};
	bool there = store_copy_value(c->rows, &change->key, old, &none) == 0;

	if (!there && none.kind != ERR_NOT_FOUND) {
		*err = none;
		return -1;
	}
	if (there) {
		store_digest_remove(&next->digest, &change->key, old->data, old->length);
		next->count--;
	}
	if (!change->gone) {
		store_digest_add(&next->digest, &change->key, change->data, change->bytes);
		next->count++;
	}
	return 0;
}

int
store_copy_next(struct store_copy *c, const struct store_change *changes, size_t count,
		struct store_entry *next, struct err *err)
{
	struct buf old;
	int rc = 0;

	next->sequence = c->head.sequence + 1;
	next->digest = c->head.digest;
	next->count = c->head.count;
	buf_init(&old, MEM_SCHEDULER, VALUE_BYTES_MAX);
	for (size_t i = 0; i < count && rc == 0; i++) {
		assert(i == 0 || store_key_compare(&changes[i - 1].key, &changes[i].key) < 0);
		rc = account(c, &changes[i], next, &old, err);
	}
	buf_fini(&old);
	if (rc == 0)
		store_entry_chain(next, c->head.hash, changes, count);
	return rc;
}

static int
misfit(struct err *err, const char *why)
{
	err_set(err, ERR_CORRUPT, "a change of the store does not fit this copy");
	return err_why(err, "%s", why);
}

static void
count_row(void *arg, const void *row)
{
	(void)row;
	++*(size_t *)arg;
}

/* How many of the changes take a part of this blob away; they stand one behind the other. */
static size_t
parts_gone(const struct store_change *changes, size_t count, enum store_blob blob, uint64_t id)
{
	struct store_key first = {.blob = true, .kind = blob, .id = id};
	size_t low = 0, high = count, n = 0;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (store_key_compare(&changes[middle].key, &first) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low + n < count && changes[low + n].gone; n++) {
		const struct store_key *key = &changes[low + n].key;

		if (!key->blob || key->kind != blob || key->id != id || key->chunk != n)
			break;
	}
	return n;
}

/* What goes along with a row must be among the changes, or the digest is not that of the rows. */
static int
goes_alone(struct store_copy *c, const struct store_change *changes, size_t count,
	   const struct store_key *key, struct err *err)
{
	for (unsigned kind = 0; kind < STORE_KINDS_; kind++) {
		size_t left = 0;

		if (store_kind_is_local(kind) || store_parent(kind) != key->kind)
			continue;
		if (store_each(c->rows, kind, 0, key->id, count_row, &left, err) < 0)
			return -1;
		if (left)
			return misfit(err, "what belongs to a row does not go with it");
	}
	for (unsigned blob = 0; blob < STORE_BLOBS_; blob++) {
		struct err none = {0};
		struct buf bytes;

		if (store_blob_is_local(blob) || store_blob_parent(blob) != key->kind)
			continue;
		buf_init(&bytes, MEM_SCHEDULER, BLOB_BYTES_MAX);
		int rc = store_get_blob(c->rows, blob, key->id, &bytes, &none);
		size_t parts = rc == 0 ? chunks_of(bytes.length) : 0;
		buf_fini(&bytes);
		if (rc < 0 && none.kind != ERR_NOT_FOUND) {
			*err = none;
			return -1;
		}
		if (parts_gone(changes, count, blob, key->id) < parts)
			return misfit(err, "a blob does not go with its row");
	}
	return 0;
}

static int
remove_rows(struct store_copy *c, const struct store_change *changes, size_t count, void *row,
	    struct err *err)
{
	for (size_t i = count; i-- > 0;) {
		const struct store_key *key = &changes[i].key;
		struct err none = {0};
		uint64_t head[2];

		if (!changes[i].gone || key->blob)
			continue;
		if (store_get(c->rows, key->kind, key->id, row, &none) < 0) {
			*err = none;
			return none.kind == ERR_NOT_FOUND ? misfit(err, "a row is gone already")
							  : -1;
		}
		memcpy(head, row, sizeof(head));
		if (goes_alone(c, changes, count, key, err) < 0 ||
		    store_drop(c->rows, key->kind, head[0], head[1], err) < 0)
			return -1;
	}
	return 0;
}

static int
blob_is_gone(struct store_copy *c, const struct store_key *key, struct err *err)
{
	struct err none = {0};
	struct buf bytes;

	buf_init(&bytes, MEM_SCHEDULER, BLOB_BYTES_MAX);
	int rc = store_get_blob(c->rows, key->kind, key->id, &bytes, &none);
	buf_fini(&bytes);
	if (rc == 0)
		return misfit(err, "a blob is gone, and its row is not");
	if (none.kind == ERR_NOT_FOUND)
		return 0;
	*err = none;
	return -1;
}

/* The chunks of one blob: those that changed, else those that were there. */
static int
join_blob(const struct buf *old, const struct store_change *changes, size_t count, struct buf *out,
	  struct err *err)
{
	size_t next = 0, before = old->data ? chunks_of(old->length) : 0;
	uint32_t chunk = 0;

	for (;; chunk++) {
		size_t from = (size_t)chunk * STORE_CHUNK_BYTES;
		size_t left = old->length > from ? old->length - from : 0;
		const struct store_change *change = NULL;

		if (next < count && changes[next].key.chunk == chunk)
			change = &changes[next++];
		if (change ? change->gone : !left)
			break;
		if (out->length != from || (change && chunk > 0 && !change->bytes))
			return misfit(err, "a part of a blob is not whole");
		if (change)
			buf_put(out, change->data, change->bytes);
		else
			buf_put(out, old->data + from,
				left < STORE_CHUNK_BYTES ? left : STORE_CHUNK_BYTES);
	}
	if (next > 0 && changes[next - 1].gone)
		next--;
	for (; next < count || chunk < before; next++, chunk++) {
		if (next >= count || !changes[next].gone ||
		    (chunk < before && changes[next].key.chunk != chunk))
			return misfit(err, "a part of a blob is missing");
	}
	return buf_ok(out) ? 0 : no_memory(err);
}

static int
place_blob(struct store_copy *c, const struct store_change *changes, size_t count, bool fresh,
	   struct err *err)
{
	const struct store_key *key = &changes[0].key;
	struct buf old, blob;
	struct err none = {0};
	int rc = 0;

	buf_init(&old, MEM_SCHEDULER, BLOB_BYTES_MAX);
	buf_init(&blob, MEM_SCHEDULER, BLOB_BYTES_MAX);
	if (!fresh && store_get_blob(c->rows, key->kind, key->id, &old, &none) < 0 &&
	    none.kind != ERR_NOT_FOUND) {
		*err = none;
		rc = -1;
	}
	if (rc == 0)
		rc = join_blob(&old, changes, count, &blob, err);
	if (rc == 0)
		rc = store_put_blob(c->rows, key->kind, key->id,
				    blob.data ? blob.data : (const void *)"", blob.length, err);
	buf_fini(&old);
	buf_fini(&blob);
	return rc;
}

static int
place_all(struct store_copy *c, const struct store_change *changes, size_t count, void *row,
	  bool fresh, struct err *err)
{
	for (size_t i = 0; i < count;) {
		const struct store_key *key = &changes[i].key;
		size_t n = 1;

		while (key->blob && i + n < count && changes[i + n].key.blob &&
		       changes[i + n].key.kind == key->kind && changes[i + n].key.id == key->id)
			n++;
		if (key->blob) {
			/* A blob whose beginning is gone goes with its row. */
			bool gone = key->chunk == 0 && changes[i].gone;

			if ((gone ? blob_is_gone(c, key, err)
				  : place_blob(c, &changes[i], n, fresh, err)) < 0)
				return -1;
		} else if (!changes[i].gone) {
			if (store_row_get(key->kind, key->id, changes[i].data, changes[i].bytes,
					  row, err) < 0 ||
			    store_place(c->rows, key->kind, row, err) < 0)
				return -1;
		}
		i += n;
	}
	return 0;
}

static int
keep_entry(struct store_copy *c, const struct store_entry *next, struct err *err)
{
	char name[NUMBER_BYTES], text[STORE_ENTRY_BYTES];

	if (!c->keeps_log)
		return 0;
	log_note(next->sequence, name);
	store_entry_put(next, text);
	return store_put_note(c->rows, name, text, err);
}

static int
drop_all(struct store_copy *c, struct err *err)
{
	for (unsigned kind = 0; kind < STORE_KINDS_; kind++) {
		if (store_parent(kind) == STORE_KINDS_ && !store_kind_is_local(kind) &&
		    store_drop_through(c->rows, kind, INT64_MAX, err) < 0)
			return -1;
	}
	return 0;
}

static int
write_changes(struct store_copy *c, const struct store_change *changes, size_t count, bool fresh,
	      void *row, struct err *err)
{
	struct store_aside aside;

	if (!fresh) {
		if (remove_rows(c, changes, count, row, err) < 0)
			return -1;
		return place_all(c, changes, count, row, false, err);
	}
	/* In place of all that is there, but this node's own. */
	store_aside_init(&aside);
	int rc = store_aside_take(&aside, c->rows, err);
	if (rc == 0)
		rc = drop_all(c, err);
	if (rc == 0)
		rc = place_all(c, changes, count, row, true, err);
	if (rc == 0)
		rc = store_aside_give(&aside, c->rows, err);
	store_aside_fini(&aside);
	return rc;
}

static int
take_over(struct store_copy *c, const struct store_change *changes, size_t count, bool fresh,
	  const struct store_entry *next, int64_t revision, const char *id, struct err *err)
{
	defer_free void *row = mem_zalloc(MEM_SCHEDULER, store_row_bytes_max());
	struct store_entry spread = *next;

	spread.parts = 0;
	if (!row)
		return no_memory(err);
	if (store_begin(c->rows, err) < 0)
		return -1;
	int rc = write_changes(c, changes, count, fresh, row, err);
	if (rc == 0)
		rc = keep_entry(c, &spread, err);
	if (rc == 0)
		rc = put_notes(c->rows, &spread, revision, id, err);
	if (commit_or_abort(c->rows, rc, err) < 0)
		return -1;
	c->head = spread;
	c->revision = revision;
	if (id != c->id)
		text_copy(c->id, sizeof(c->id), id);
	return 0;
}

int
store_copy_apply(struct store_copy *c, const struct store_change *changes, size_t count,
		 const struct store_entry *next, int64_t revision, struct err *err)
{
	struct store_entry mine = *next;

	if (next->sequence != c->head.sequence + 1)
		return misfit(err, "a transaction before it is missing");
	if (store_copy_next(c, changes, count, &mine, err) < 0)
		return -1;
	if (!store_entry_same(&mine, next))
		return misfit(err, "its digest is another one");
	return take_over(c, changes, count, false, next, revision, c->id, err);
}

int
store_copy_replace(struct store_copy *c, const struct store_change *changes, size_t count,
		   const struct store_entry *next, int64_t revision, const char *id,
		   struct err *err)
{
	struct store_digest digest = {{0}};

	for (size_t i = 0; i < count; i++) {
		store_digest_add(&digest, &changes[i].key, changes[i].data, changes[i].bytes);
		if (changes[i].gone ||
		    (i > 0 && store_key_compare(&changes[i - 1].key, &changes[i].key) >= 0))
			return misfit(err, "its keys are not in order");
	}
	if (count != next->count || memcmp(&digest, &next->digest, sizeof(digest)) != 0) {
		err_set(err, ERR_CORRUPT, "the shared store is not what its log says");
		err_why(err, "%zu keys, %" PRIu64 " expected%s", count, next->count,
			count == next->count ? ", with other values" : "");
		return err_fix(err, "undo what was changed by hand, or restore a backup");
	}
	return take_over(c, changes, count, true, next, revision, id, err);
}
