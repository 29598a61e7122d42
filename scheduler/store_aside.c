/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows are kept as they lie in memory, each behind its kind; blobs behind theirs and their id. What
 * has no parent is not touched by a replacement and is not taken.
 */
#include "scheduler/store_aside.h"

#include <string.h>
#include "base/mem.h"

enum { ROWS_BYTES_MAX = 64 << 20, BLOBS_BYTES_MAX = 256 << 20, BLOB_BYTES_MAX = 64 << 20 };

void
store_aside_init(struct store_aside *a)
{
	buf_init(&a->rows, MEM_SCHEDULER, ROWS_BYTES_MAX);
	buf_init(&a->blobs, MEM_SCHEDULER, BLOBS_BYTES_MAX);
}

void
store_aside_fini(struct store_aside *a)
{
	buf_fini(&a->rows);
	buf_fini(&a->blobs);
}

static int
no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory for this node's own rows of the store");
}

/* ---- away ---- */

struct taking {
	struct store_aside *a;
	unsigned kind;
};

static void
take_row(void *arg, const void *row)
{
	struct taking *t = arg;

	buf_u32(&t->a->rows, t->kind);
	buf_put(&t->a->rows, row, store_shape(t->kind)->row_bytes);
}

static int
take_blob(struct store_aside *a, struct store *rows, enum store_blob blob, uint64_t id,
	  struct err *err)
{
	struct err none = {0};
	struct buf bytes;

	buf_init(&bytes, MEM_SCHEDULER, BLOB_BYTES_MAX);
	int rc = store_get_blob(rows, blob, id, &bytes, &none);
	if (rc == 0) {
		buf_u32(&a->blobs, blob);
		buf_u64(&a->blobs, id);
		buf_blob(&a->blobs, bytes.data, bytes.length);
	}
	buf_fini(&bytes);
	if (rc == 0 || none.kind == ERR_NOT_FOUND)
		return 0;
	*err = none;
	return -1;
}

static int
take_blobs(struct store_aside *a, struct store *rows, struct err *err)
{
	struct cursor at;

	cursor_init(&at, a->rows.data, a->rows.length);
	while (cursor_left(&at)) {
		unsigned kind = cursor_u32(&at);
		uint64_t id;

		memcpy(&id, cursor_take(&at, store_shape(kind)->row_bytes), sizeof(id));
		for (unsigned blob = 0; blob < STORE_BLOBS_; blob++) {
			if (store_blob_parent(blob) == kind &&
			    take_blob(a, rows, blob, id, err) < 0)
				return -1;
		}
	}
	return buf_ok(&a->blobs) ? 0 : no_memory(err);
}

int
store_aside_take(struct store_aside *a, struct store *rows, struct err *err)
{
	struct taking t = {.a = a};

	for (t.kind = 0; t.kind < STORE_KINDS_; t.kind++) {
		if (store_kind_is_local(t.kind) && store_parent(t.kind) != STORE_KINDS_ &&
		    store_each(rows, t.kind, 0, 0, take_row, &t, err) < 0)
			return -1;
	}
	return buf_ok(&a->rows) ? take_blobs(a, rows, err) : no_memory(err);
}

/* ---- and back ---- */

static uint64_t
parent_of(const struct store_shape *shape, const void *row)
{
	uint64_t id = 0;

	for (size_t i = 0; i < shape->columns_count; i++) {
		const struct store_column *c = &shape->columns[i];

		if (!strcmp(c->name, shape->parent))
			memcpy(&id, (const char *)row + c->offset, sizeof(id));
	}
	return id;
}

/* 1: it is there; 0: it is not. */
static int
is_there(struct store *rows, enum store_kind kind, uint64_t id, struct err *err)
{
	defer_free void *row = mem_zalloc(MEM_SCHEDULER, store_shape(kind)->row_bytes);
	struct err none = {0};

	if (!row)
		return no_memory(err);
	if (store_get(rows, kind, id, row, &none) == 0)
		return 1;
	if (none.kind == ERR_NOT_FOUND)
		return 0;
	*err = none;
	return -1;
}

static int
give_row(struct store *rows, enum store_kind kind, const void *row, struct err *err)
{
	int rc = is_there(rows, store_parent(kind), parent_of(store_shape(kind), row), err);

	return rc > 0 ? store_place(rows, kind, row, err) : rc;
}

static int
give_blob(struct store *rows, struct cursor *at, struct err *err)
{
	unsigned blob = cursor_u32(at);
	uint64_t id = cursor_u64(at);
	size_t bytes;
	const void *data = cursor_blob(at, BLOB_BYTES_MAX, &bytes);
	int rc = is_there(rows, store_blob_parent(blob), id, err);

	return rc > 0 ? store_put_blob(rows, blob, id, data, bytes, err) : rc;
}

int
store_aside_give(struct store_aside *a, struct store *rows, struct err *err)
{
	struct cursor at;
	int rc = 0;

	cursor_init(&at, a->rows.data, a->rows.length);
	while (rc == 0 && cursor_left(&at)) {
		unsigned kind = cursor_u32(&at);

		rc = give_row(rows, kind, cursor_take(&at, store_shape(kind)->row_bytes), err);
	}
	cursor_init(&at, a->blobs.data, a->blobs.length);
	while (rc == 0 && cursor_left(&at))
		rc = give_blob(rows, &at, err);
	return rc;
}
