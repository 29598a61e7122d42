/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entry of the log that a copy is at, kept in one transaction with its rows. What a change
 * replaces is read from the rows themselves, so the digest of a copy cannot drift from what it
 * holds.
 */
#include "scheduler/store_copy_inside.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/store_row.h"

enum {
	VALUE_BYTES_MAX = STORE_CHUNK_BYTES,
	NUMBER_BYTES = 24,
};

#define NOTE_ENTRY "copy.entry"
#define NOTE_REVISION "copy.revision"
#define NOTE_ID "copy.id"
#define NOTE_EXPECTED "copy.expected"
#define NOTE_LOG "copy.log."

int
store_copy_no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory for a change of the store");
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

int
store_copy_misfit(struct err *err, const char *why)
{
	err_set(err, ERR_CORRUPT, "a change of the store does not fit this copy");
	return err_why(err, "%s", why);
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
take_over(struct store_copy *c, const struct store_change *changes, size_t count, bool fresh,
	  const struct store_entry *next, int64_t revision, const char *id, struct err *err)
{
	defer_free void *row = mem_zalloc(MEM_SCHEDULER, store_row_bytes_max());
	struct store_entry spread = *next;

	spread.parts = 0;
	if (!row)
		return store_copy_no_memory(err);
	if (store_begin(c->rows, err) < 0)
		return -1;
	int rc = store_copy_write(c, changes, count, fresh, row, err);
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
		return store_copy_misfit(err, "a transaction before it is missing");
	if (store_copy_next(c, changes, count, &mine, err) < 0)
		return -1;
	if (!store_entry_same(&mine, next))
		return store_copy_misfit(err, "its digest is another one");
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
			return store_copy_misfit(err, "its keys are not in order");
	}
	if (count != next->count || memcmp(&digest, &next->digest, sizeof(digest)) != 0) {
		err_set(err, ERR_CORRUPT, "the shared store is not what its log says");
		err_why(err, "%zu keys, %" PRIu64 " expected%s", count, next->count,
			count == next->count ? ", with other values" : "");
		return err_fix(err, "undo what was changed by hand, or restore a backup");
	}
	return take_over(c, changes, count, true, next, revision, id, err);
}
