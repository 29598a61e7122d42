/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and values on one side, rows and blobs of the embedded engine on the other. Removals go
 * first (a name may be given to another row), then parents before children. What does not fit is
 * found before anything is kept: the caller's transaction is given up then.
 */
#include "scheduler/store_copy_inside.h"

#include <string.h>
#include "scheduler/store_aside.h"
#include "scheduler/store_row.h"

static size_t
chunks_of(size_t bytes)
{
	return bytes ? (bytes + STORE_CHUNK_BYTES - 1) / STORE_CHUNK_BYTES : 1;
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
			return store_copy_misfit(err, "what belongs to a row does not go with it");
	}
	for (unsigned blob = 0; blob < STORE_BLOBS_; blob++) {
		struct err none = {0};
		struct buf bytes;

		if (store_blob_is_local(blob) || store_blob_parent(blob) != key->kind)
			continue;
		buf_init(&bytes, MEM_SCHEDULER, STORE_COPY_BLOB_MAX);
		int rc = store_get_blob(c->rows, blob, key->id, &bytes, &none);
		size_t parts = rc == 0 ? chunks_of(bytes.length) : 0;
		buf_fini(&bytes);
		if (rc < 0 && none.kind != ERR_NOT_FOUND) {
			*err = none;
			return -1;
		}
		if (parts_gone(changes, count, blob, key->id) < parts)
			return store_copy_misfit(err, "a blob does not go with its row");
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
			return none.kind == ERR_NOT_FOUND
				       ? store_copy_misfit(err, "a row is gone already")
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

	buf_init(&bytes, MEM_SCHEDULER, STORE_COPY_BLOB_MAX);
	int rc = store_get_blob(c->rows, key->kind, key->id, &bytes, &none);
	buf_fini(&bytes);
	if (rc == 0)
		return store_copy_misfit(err, "a blob is gone, and its row is not");
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
			return store_copy_misfit(err, "a part of a blob is not whole");
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
			return store_copy_misfit(err, "a part of a blob is missing");
	}
	return buf_ok(out) ? 0 : store_copy_no_memory(err);
}

static int
place_blob(struct store_copy *c, const struct store_change *changes, size_t count, bool fresh,
	   struct err *err)
{
	const struct store_key *key = &changes[0].key;
	struct buf old, blob;
	struct err none = {0};
	int rc = 0;

	buf_init(&old, MEM_SCHEDULER, STORE_COPY_BLOB_MAX);
	buf_init(&blob, MEM_SCHEDULER, STORE_COPY_BLOB_MAX);
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
drop_all(struct store_copy *c, struct err *err)
{
	for (unsigned kind = 0; kind < STORE_KINDS_; kind++) {
		if (store_parent(kind) == STORE_KINDS_ && !store_kind_is_local(kind) &&
		    store_drop_through(c->rows, kind, INT64_MAX, err) < 0)
			return -1;
	}
	return 0;
}

int
store_copy_write(struct store_copy *c, const struct store_change *changes, size_t count, bool fresh,
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
