/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a backup as it comes, with the memory of one record. The file is taken for hostile: sizes
 * are bounded before they are kept; rows must be rows, in their order, each with the one that it
 * belongs to before it; blobs must be whole and follow their row; all together must come to the
 * digest of the head. The first thing that does not hold ends the reading, with its place.
 */
#include "scheduler/backup.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/store_row.h"

enum { START_BYTES = 5, CHECK_BYTES = 8, IDS_BYTES_MAX = 64 << 20 };

struct backup_read {
	struct backup_read_calls calls;
	EVP_MD_CTX *all, *now;
	struct buf record; /* as far as it has come */
	uint64_t bytes;    /* before the record */
	uint64_t records;
	bool magic, headed, ended;
	struct backup_head head;
	uint8_t sha256[STORE_SHA256_BYTES];
	struct buf keys;
	void *row;
	struct store_change last; /* key of the last row or part */
	bool any;
	struct store_digest digest;
	uint64_t count;
	struct buf ids[STORE_KINDS_]; /* of rows that others may belong to, ascending */
	uint64_t rows[STORE_KINDS_];
};

static int
no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory to read a backup");
}

static int
place(const struct backup_read *r, struct err *err)
{
	return err_where(err, "byte %" PRIu64 ", record %" PRIu64, r->bytes, r->records);
}

static int
damaged(const struct backup_read *r, struct err *err, const char *why)
{
	err_set(err, ERR_CORRUPT, "the backup is damaged");
	place(r, err);
	err_why(err, "%s", why);
	return err_fix(err, "use another backup; nothing of this one can be trusted");
}

int
backup_read_new(const struct backup_read_calls *calls, struct backup_read **out, struct err *err)
{
	struct backup_read *r = mem_zalloc(MEM_SCHEDULER, sizeof(*r));

	if (!r)
		return no_memory(err);
	r->calls = *calls;
	buf_init(&r->record, MEM_SCHEDULER, START_BYTES + BACKUP_RECORD_MAX + CHECK_BYTES);
	buf_init(&r->keys, MEM_SCHEDULER, BACKUP_KEYS_MAX);
	for (unsigned kind = 0; kind < STORE_KINDS_; kind++)
		buf_init(&r->ids[kind], MEM_SCHEDULER, IDS_BYTES_MAX);
	r->row = mem_zalloc(MEM_SCHEDULER, store_row_bytes_max());
	r->all = EVP_MD_CTX_new();
	r->now = EVP_MD_CTX_new();
	if (!r->row || !r->all || !r->now || EVP_DigestInit_ex(r->all, EVP_sha256(), NULL) != 1) {
		backup_read_free(r);
		return no_memory(err);
	}
	*out = r;
	return 0;
}

static void
wipe(struct buf *b)
{
	if (b->data)
		mem_wipe(b->data, b->capacity);
	buf_fini(b);
}

void
backup_read_free(struct backup_read *r)
{
	if (!r)
		return;
	EVP_MD_CTX_free(r->all);
	EVP_MD_CTX_free(r->now);
	wipe(&r->record);
	wipe(&r->keys);
	for (unsigned kind = 0; kind < STORE_KINDS_; kind++)
		buf_fini(&r->ids[kind]);
	mem_free(r->row);
	mem_free(r);
}

/* ---- rows and blobs ---- */

static int
by_number(const void *key, const void *item)
{
	uint64_t a, b;

	memcpy(&a, key, sizeof(a));
	memcpy(&b, item, sizeof(b));
	return a < b ? -1 : a > b;
}

static bool
is_there(const struct backup_read *r, enum store_kind kind, uint64_t id)
{
	const struct buf *ids = &r->ids[kind];

	return ids->length &&
	       bsearch(&id, ids->data, ids->length / sizeof(id), sizeof(id), by_number) != NULL;
}

static uint64_t
parent_of(const struct store_shape *shape, const void *row)
{
	uint64_t id = 0;

	for (size_t i = 0; i < shape->columns_count; i++) {
		if (!strcmp(shape->columns[i].name, shape->parent))
			memcpy(&id, (const char *)row + shape->columns[i].offset, sizeof(id));
	}
	return id;
}

static bool
row_follows(const struct backup_read *r, const struct store_key *key)
{
	const struct store_key *last = &r->last.key;
	unsigned kind = last->blob ? (unsigned)store_blob_parent(last->kind) : last->kind;

	return !r->any || key->kind > kind || (key->kind == kind && key->id > last->id);
}

/* Parts are full but for the last one, and come in their order behind their row. */
static bool
part_follows(const struct backup_read *r, const struct store_key *key)
{
	const struct store_key *last = &r->last.key;

	if (!r->any || key->id != last->id)
		return false;
	if (last->blob && key->kind == last->kind)
		return key->chunk == last->chunk + 1 && r->last.bytes == STORE_CHUNK_BYTES;
	unsigned kind = last->blob ? (unsigned)store_blob_parent(last->kind) : last->kind;
	return key->chunk == 0 && (unsigned)store_blob_parent(key->kind) == kind &&
	       (!last->blob || key->kind > last->kind);
}

static int
take_row(struct backup_read *r, const struct store_change *change, struct err *err)
{
	const struct store_key *key = &change->key;
	const struct store_shape *shape = store_shape(key->kind);
	enum store_kind parent = store_parent(key->kind);

	if (!row_follows(r, key))
		return damaged(r, err, "a row is not in its place");
	memset(r->row, 0, shape->row_bytes);
	if (store_row_get(key->kind, key->id, change->data, change->bytes, r->row, err) < 0)
		return place(r, err);
	if (parent != STORE_KINDS_ && !is_there(r, parent, parent_of(shape, r->row)))
		return damaged(r, err, "a row belongs to nothing");
	buf_put(&r->ids[key->kind], &key->id, sizeof(key->id));
	if (!buf_ok(&r->ids[key->kind]))
		return no_memory(err);
	r->rows[key->kind]++;
	return 0;
}

static int
take_change(struct backup_read *r, const struct store_change *change, struct err *err)
{
	const struct store_key *key = &change->key;

	if (change->gone)
		return damaged(r, err, "a row is said to be gone");
	if (key->blob && !part_follows(r, key))
		return damaged(r, err, "a part of a document is not in its place");
	if (!key->blob && take_row(r, change, err) < 0)
		return -1;
	store_digest_add(&r->digest, key, change->data, change->bytes);
	r->count++;
	r->any = true;
	r->last = (struct store_change){.key = *key, .bytes = change->bytes};
	return r->calls.change
		       ? r->calls.change(r->calls.arg, change, key->blob ? NULL : r->row, err)
		       : 0;
}

static int
take_changes(struct backup_read *r, struct cursor *in, struct err *err)
{
	struct store_change change;

	while (cursor_left(in)) {
		if (!store_change_get(in, &change))
			return damaged(r, err, "a row is cut");
		if (take_change(r, &change, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- records ---- */

static int
take_head(struct backup_read *r, const struct cursor *in, struct err *err)
{
	if (r->headed)
		return damaged(r, err, "it has two heads");
	if (backup_take_head(in->at, cursor_left(in), &r->head, err) < 0)
		return place(r, err);
	r->headed = true;
	return 0;
}

static int
take_keys(struct backup_read *r, const struct cursor *in, struct err *err)
{
	if (r->keys.length || !r->head.keys || !cursor_left(in))
		return damaged(r, err, "keys stand where none are announced");
	buf_put(&r->keys, in->at, cursor_left(in));
	return buf_ok(&r->keys) ? 0 : damaged(r, err, "its keys are too long");
}

static int
take_end(struct backup_read *r, struct cursor *in, const uint8_t *all, struct err *err)
{
	uint64_t count = cursor_u64(in);
	const void *sha256 = cursor_take(in, STORE_SHA256_BYTES);

	if (!cursor_done(in) || memcmp(sha256, all, STORE_SHA256_BYTES) != 0)
		return damaged(r, err, "its checksum (SHA-256) is another one");
	if (count != r->count || count != r->head.entry.count ||
	    memcmp(&r->digest, &r->head.entry.digest, sizeof(r->digest)) != 0)
		return damaged(r, err, "it does not hold what its head says");
	if (r->head.keys != (r->keys.length > 0))
		return damaged(r, err, "the keys that it announces are not there");
	memcpy(r->sha256, all, sizeof(r->sha256));
	r->ended = true;
	return 0;
}

static int
hash_now(struct backup_read *r, uint8_t out[STORE_SHA256_BYTES], struct err *err)
{
	if (EVP_MD_CTX_copy_ex(r->now, r->all) != 1 || EVP_DigestFinal_ex(r->now, out, NULL) != 1)
		return no_memory(err);
	return 0;
}

static int
add_up(struct backup_read *r, const void *data, size_t bytes, struct err *err)
{
	return EVP_DigestUpdate(r->all, data, bytes) == 1 ? 0 : no_memory(err);
}

/* A record that is all there: at data, with a body of `length`. */
static int
take_record(struct backup_read *r, const uint8_t *data, size_t length, struct err *err)
{
	uint8_t before[STORE_SHA256_BYTES], check[STORE_SHA256_BYTES];
	const uint8_t *behind = data + START_BYTES + length;
	unsigned type = data[START_BYTES - 1];
	struct cursor in;

	if (hash_now(r, before, err) < 0 || add_up(r, data, START_BYTES + length, err) < 0 ||
	    hash_now(r, check, err) < 0)
		return -1;
	if (memcmp(check, behind, CHECK_BYTES) != 0)
		return damaged(r, err, "its checksum does not fit what stands there");
	if (add_up(r, behind, CHECK_BYTES, err) < 0)
		return -1;
	cursor_init(&in, data + START_BYTES, length);
	if (!r->headed && type != BACKUP_HEAD)
		return damaged(r, err, "it has no head");
	switch (type) {
	case BACKUP_HEAD:
		return take_head(r, &in, err);
	case BACKUP_CHANGES:
		return r->keys.length ? damaged(r, err, "rows stand behind the keys")
				      : take_changes(r, &in, err);
	case BACKUP_KEYS:
		return take_keys(r, &in, err);
	case BACKUP_END:
		return take_end(r, &in, before, err);
	default:
		return damaged(r, err, "it holds a record of no kind");
	}
}

static int
take_magic(struct backup_read *r, const uint8_t *data, struct err *err)
{
	enum { DIGIT = BACKUP_MAGIC_BYTES - 2 };

	if (memcmp(data, backup_magic, DIGIT) != 0 || data[DIGIT + 1] != '\n') {
		err_set(err, ERR_CORRUPT, "this is no backup of zlayer, or it is damaged");
		place(r, err);
		return err_why(err, "it does not begin as one");
	}
	if (data[DIGIT] != (uint8_t)backup_magic[DIGIT]) {
		err_set(err, ERR_UNSUPPORTED,
			"this backup is of a format that this zlayer does not know");
		place(r, err);
		return err_fix(err, "use the zlayer that wrote it, or a newer one");
	}
	r->magic = true;
	return add_up(r, data, BACKUP_MAGIC_BYTES, err);
}

static size_t
body_length(const uint8_t *at)
{
	return (size_t)at[0] | (size_t)at[1] << 8 | (size_t)at[2] << 16 | (size_t)at[3] << 24;
}

/* How many bytes the thing that comes next has, as far as is known; 0: it cannot be. */
static size_t
wanted(const struct backup_read *r)
{
	if (!r->magic)
		return BACKUP_MAGIC_BYTES;
	if (r->record.length < START_BYTES)
		return START_BYTES;
	size_t length = body_length(r->record.data);
	return length <= BACKUP_RECORD_MAX ? START_BYTES + length + CHECK_BYTES : 0;
}

static int
take_whole(struct backup_read *r, struct err *err)
{
	size_t bytes = r->record.length;
	int rc;

	if (!r->magic) {
		rc = take_magic(r, r->record.data, err);
	} else {
		rc = take_record(r, r->record.data, body_length(r->record.data), err);
		r->records++;
	}
	r->bytes += bytes;
	buf_reset(&r->record);
	return rc;
}

int
backup_read_add(struct backup_read *r, const void *data, size_t bytes, struct err *err)
{
	const uint8_t *at = data;

	while (bytes > 0) {
		size_t want = wanted(r);

		if (r->ended)
			return damaged(r, err, "something stands behind its end");
		if (want == 0)
			return damaged(r, err, "a record is longer than any can be");
		size_t some = want - r->record.length;
		if (some > bytes)
			some = bytes;
		buf_put(&r->record, at, some);
		if (!buf_ok(&r->record))
			return no_memory(err);
		at += some;
		bytes -= some;
		if (r->record.length == want && want == wanted(r) && take_whole(r, err) < 0)
			return -1;
	}
	return 0;
}

int
backup_read_end(struct backup_read *r, struct err *err)
{
	if (r->ended)
		return 0;
	err_set(err, ERR_CORRUPT, "the backup is cut off");
	err_where(err, "byte %" PRIu64 ", record %" PRIu64, r->bytes + r->record.length,
		  r->records);
	err_why(err, "it ends before its end is marked");
	return err_fix(err, "copy it again from where it was made, or use another backup");
}

/* ---- what it said ---- */

const struct backup_head *
backup_read_head(const struct backup_read *r)
{
	return r->headed ? &r->head : NULL;
}

uint64_t
backup_read_rows(const struct backup_read *r, enum store_kind kind)
{
	return r->rows[kind];
}

uint64_t
backup_read_bytes(const struct backup_read *r)
{
	return r->bytes;
}

const char *
backup_read_keys(const struct backup_read *r, size_t *bytes_out)
{
	*bytes_out = r->keys.length;
	return r->keys.length ? (const char *)r->keys.data : NULL;
}

const uint8_t *
backup_read_sha256(const struct backup_read *r)
{
	return r->sha256;
}
