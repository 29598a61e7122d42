/* SPDX-License-Identifier: Apache-2.0 */
/* What rows and blobs of the embedded engine are as keys and values; a blob in parts of a size. */
#include "scheduler/store_copy_inside.h"

#include <string.h>
#include "base/mem.h"
#include "scheduler/store_row.h"

enum { ROW_BYTES_MAX = 16 << 10, IDS_BYTES_MAX = 64 << 20 };

static int
row_value(struct store *rows, const struct store_key *key, struct buf *out, struct err *err)
{
	defer_free void *row = mem_zalloc(MEM_SCHEDULER, store_row_bytes_max());

	if (!row)
		return store_copy_no_memory(err);
	if (store_get(rows, key->kind, key->id, row, err) < 0)
		return -1;
	store_row_put(out, key->kind, row);
	return buf_ok(out) ? 0 : store_copy_no_memory(err);
}

static int
chunk_value(struct store *rows, const struct store_key *key, struct buf *out, struct err *err)
{
	struct buf blob;

	buf_init(&blob, MEM_SCHEDULER, STORE_COPY_BLOB_MAX);
	int rc = store_get_blob(rows, key->kind, key->id, &blob, err);
	size_t from = (size_t)key->chunk * STORE_CHUNK_BYTES;
	if (rc == 0 && key->chunk > 0 && from >= blob.length)
		rc = err_set(err, ERR_NOT_FOUND, "it is not in the store");
	if (rc == 0) {
		size_t left = blob.length - from;

		buf_put(out, blob.data + from, left < STORE_CHUNK_BYTES ? left : STORE_CHUNK_BYTES);
		rc = buf_ok(out) ? 0 : store_copy_no_memory(err);
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

	buf_init(&bytes, MEM_SCHEDULER, STORE_COPY_BLOB_MAX);
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
			rc = store_copy_no_memory(err);
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
