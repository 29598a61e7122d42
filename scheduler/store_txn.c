/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations are kept as they were asked for (a row with the version that it must have) and run on
 * the copy; which keys they touch is noted on the way, with all that goes along with a row that is
 * dropped. What these keys then hold, against what they hold without, is the change.
 */
#include "scheduler/store_txn.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "scheduler/store_copy.h"

enum {
	TXN_BYTES_MAX = 256 << 20,
	IDS_BYTES_MAX = 16 << 20,
	ROW_BYTES_MAX = 16 << 10,
	BLOB_BYTES_MAX = 64 << 20,
};

struct store_op {
	struct store_op *next;
	enum { OP_PUT, OP_PLACE, OP_DROP, OP_DROP_THROUGH, OP_BLOB } what;
	unsigned kind;
	uint64_t id;
	uint64_t version;
	void *data; /* a row, or a blob */
	size_t bytes;
};

static int
no_memory(struct err *err)
{
	return err_set(err, ERR_LIMIT, "a change of the store is too large for this node's memory");
}

/* ---- which keys are touched ---- */

static int
touch(struct store_txn *t, bool blob, unsigned kind, uint64_t id, struct err *err)
{
	struct store_key key = {.blob = blob, .kind = kind, .id = id};

	if (blob ? store_blob_is_local(kind) : store_kind_is_local(kind))
		return 0; /* it goes along on every node by itself */
	uint8_t name[10] = {blob, (uint8_t)kind};

	memcpy(name + 2, &id, sizeof(id));
	if (map_get(&t->touched, name, sizeof(name)))
		return 0;
	struct store_key *kept = arena_new(&t->work, struct store_key);
	if (!kept)
		return no_memory(err);
	*kept = key;
	if (map_put(&t->touched, name, sizeof(name), kept, NULL) < 0)
		return no_memory(err);
	t->touched_count++;
	return 0;
}

static int touch_tree(struct store_txn *t, unsigned kind, uint64_t id, struct err *err);

static void
collect_id(void *arg, const void *row)
{
	uint64_t id;

	memcpy(&id, row, sizeof(id));
	buf_u64(arg, id);
}

/* Rows of a kind: those of a parent, or (parent 0) those with an id up to `through`. */
static int
touch_rows(struct store_txn *t, unsigned kind, uint64_t parent, uint64_t through, struct err *err)
{
	struct cursor at;
	struct buf ids;

	buf_init(&ids, MEM_SCHEDULER, IDS_BYTES_MAX);
	int rc = store_each(t->rows, kind, 0, parent, collect_id, &ids, err);
	if (rc == 0 && !buf_ok(&ids))
		rc = no_memory(err);
	cursor_init(&at, ids.data, ids.length);
	while (rc == 0 && cursor_left(&at)) {
		uint64_t id = cursor_u64(&at);

		if (id > through)
			break;
		rc = touch_tree(t, kind, id, err);
	}
	buf_fini(&ids);
	return rc;
}

static int
touch_tree(struct store_txn *t, unsigned kind, uint64_t id, struct err *err)
{
	int rc = touch(t, false, kind, id, err);

	for (unsigned blob = 0; blob < STORE_BLOBS_ && rc == 0; blob++) {
		if (store_blob_parent(blob) == kind)
			rc = touch(t, true, blob, id, err);
	}
	for (unsigned child = 0; child < STORE_KINDS_ && rc == 0; child++) {
		if (store_parent(child) == kind)
			rc = touch_rows(t, child, id, UINT64_MAX, err);
	}
	return rc;
}

/* ---- operations ---- */

/* A put's row is changed by it, so that a later one of the same row finds what it expects. */
static int
run(struct store_txn *t, const struct store_op *op, void *row, struct err *err)
{
	switch (op->what) {
	case OP_PUT:
		if (touch(t, false, op->kind, op->id, err) < 0)
			return -1;
		return store_put(t->rows, op->kind, row, err);
	case OP_PLACE:
		if (touch(t, false, op->kind, op->id, err) < 0)
			return -1;
		return store_place(t->rows, op->kind, op->data, err);
	case OP_DROP:
		if (touch_tree(t, op->kind, op->id, err) < 0)
			return -1;
		return store_drop(t->rows, op->kind, op->id, op->version, err);
	case OP_DROP_THROUGH:
		if (touch_rows(t, op->kind, 0, op->id, err) < 0)
			return -1;
		return store_drop_through(t->rows, op->kind, op->id, err);
	case OP_BLOB:
		if (touch(t, true, op->kind, op->id, err) < 0)
			return -1;
		return store_put_blob(t->rows, op->kind, op->id,
				      op->data ? op->data : (const void *)"", op->bytes, err);
	}
	return err_set(err, ERR_INTERNAL, "no such operation");
}

static struct store_op *
add(struct store_txn *t, const void *data, size_t bytes, struct err *err)
{
	struct store_op *op = arena_new(&t->arena, struct store_op);
	void *copy = bytes ? arena_alloc(&t->arena, bytes) : NULL;

	assert(t->open);
	if (!op || (bytes && !copy)) {
		no_memory(err);
		return NULL;
	}
	if (bytes)
		memcpy(copy, data, bytes);
	op->data = copy;
	op->bytes = bytes;
	if (t->last)
		t->last->next = op;
	else
		t->first = op;
	t->last = op;
	return op;
}

int
store_txn_put(struct store_txn *t, enum store_kind kind, void *row, struct err *err)
{
	struct store_op *op = add(t, row, store_shape(kind)->row_bytes, err);

	assert(!store_kind_is_local(kind));
	if (!op)
		return -1;
	op->what = OP_PUT;
	op->kind = kind;
	memcpy(&op->id, row, sizeof(op->id));
	return run(t, op, row, err);
}

int
store_txn_place(struct store_txn *t, enum store_kind kind, const void *row, struct err *err)
{
	struct store_op *op = add(t, row, store_shape(kind)->row_bytes, err);

	assert(!store_kind_is_local(kind));
	if (!op)
		return -1;
	op->what = OP_PLACE;
	op->kind = kind;
	memcpy(&op->id, row, sizeof(op->id));
	return run(t, op, NULL, err);
}

int
store_txn_drop(struct store_txn *t, enum store_kind kind, uint64_t id, uint64_t version,
	       struct err *err)
{
	struct store_op *op = add(t, NULL, 0, err);

	assert(!store_kind_is_local(kind));
	if (!op)
		return -1;
	op->what = OP_DROP;
	op->kind = kind;
	op->id = id;
	op->version = version;
	return run(t, op, NULL, err);
}

int
store_txn_drop_through(struct store_txn *t, enum store_kind kind, uint64_t id, struct err *err)
{
	struct store_op *op = add(t, NULL, 0, err);

	assert(!store_kind_is_local(kind));
	if (!op)
		return -1;
	op->what = OP_DROP_THROUGH;
	op->kind = kind;
	op->id = id;
	return run(t, op, NULL, err);
}

int
store_txn_put_blob(struct store_txn *t, enum store_blob blob, uint64_t id, const void *data,
		   size_t bytes, struct err *err)
{
	assert(!store_blob_is_local(blob));
	if (bytes > (size_t)STORE_CHUNKS_MAX * STORE_CHUNK_BYTES || bytes > BLOB_BYTES_MAX)
		return err_set(err, ERR_LIMIT, "a blob of the store is too large");
	struct store_op *op = add(t, data, bytes, err);
	if (!op)
		return -1;
	op->what = OP_BLOB;
	op->kind = blob;
	op->id = id;
	return run(t, op, NULL, err);
}

/* ---- what it comes to ---- */

struct value {
	struct store_key key;
	uint8_t *data;
	size_t bytes;
	bool there;
};

static int
take_value(struct store_txn *t, struct value *v, struct buf *scratch, struct err *err)
{
	struct err none = {0};
	int rc;

	buf_reset(scratch);
	if (v->key.blob)
		rc = store_get_blob(t->rows, v->key.kind, v->key.id, scratch, &none);
	else
		rc = store_copy_value(t->rows, &v->key, scratch, &none);
	v->there = rc == 0;
	if (rc < 0 && none.kind != ERR_NOT_FOUND) {
		*err = none;
		return -1;
	}
	if (rc < 0)
		return 0;
	v->bytes = scratch->length;
	v->data = arena_alloc(&t->work, v->bytes + 1);
	if (!v->data)
		return no_memory(err);
	if (v->bytes)
		memcpy(v->data, scratch->data, v->bytes);
	return 0;
}

static int
by_key(const void *a, const void *b)
{
	return store_key_compare(&((const struct value *)a)->key, &((const struct value *)b)->key);
}

static struct value *
take_values(struct store_txn *t, struct err *err)
{
	struct value *values = arena_array(&t->work, t->touched_count + 1, sizeof(*values));
	struct map_iter it = {0};
	struct buf scratch;
	size_t n = 0;
	int rc = 0;

	if (!values) {
		no_memory(err);
		return NULL;
	}
	buf_init(&scratch, MEM_SCHEDULER, BLOB_BYTES_MAX);
	while (rc == 0 && map_next(&t->touched, &it)) {
		values[n].key = *(struct store_key *)it.value;
		rc = take_value(t, &values[n++], &scratch, err);
	}
	buf_fini(&scratch);
	qsort(values, n, sizeof(*values), by_key);
	return rc < 0 ? NULL : values;
}

/* Part n of a value; false: it has no such part. A row is one part. */
static bool
part(const struct value *v, uint32_t n, const uint8_t **data, size_t *bytes)
{
	size_t from = (size_t)n * STORE_CHUNK_BYTES;

	if (!v->there || (n > 0 && (!v->key.blob || from >= v->bytes)))
		return false;
	*data = v->data + from;
	*bytes = v->bytes - from;
	if (v->key.blob && *bytes > STORE_CHUNK_BYTES)
		*bytes = STORE_CHUNK_BYTES;
	return true;
}

static size_t
parts_most(const struct value *v)
{
	return v->key.blob ? v->bytes / STORE_CHUNK_BYTES + 1 : 1;
}

static void
compare(struct store_txn *t, const struct value *now, const struct value *before)
{
	for (uint32_t n = 0;; n++) {
		struct store_change c = {.key = now->key};
		const uint8_t *old = NULL;
		size_t old_bytes = 0;
		bool was = part(before, n, &old, &old_bytes);

		c.key.chunk = n;
		c.gone = !part(now, n, &c.data, &c.bytes);
		if (c.gone && !was)
			return;
		if (!c.gone && was && c.bytes == old_bytes && !memcmp(c.data, old, old_bytes))
			continue;
		t->changes[t->changes_count++] = c;
		t->changes_bytes += STORE_KEY_BYTES + c.bytes;
	}
}

int
store_txn_finish(struct store_txn *t, struct err *err)
{
	size_t most = 0;

	assert(t->open);
	struct value *now = take_values(t, err);
	t->open = false;
	store_abort(t->rows);
	struct value *before = now ? take_values(t, err) : NULL;
	if (!before)
		return -1;
	for (size_t i = 0; i < t->touched_count; i++)
		most += parts_most(&now[i]) + parts_most(&before[i]);
	t->changes = arena_array(&t->work, most + 1, sizeof(*t->changes));
	if (!t->changes)
		return no_memory(err);
	t->changes_count = t->changes_bytes = 0;
	for (size_t i = 0; i < t->touched_count; i++)
		compare(t, &now[i], &before[i]);
	return 0;
}

/* ---- life ---- */

static int
open_copy(struct store_txn *t, struct err *err)
{
	arena_init(&t->work, MEM_SCHEDULER, TXN_BYTES_MAX);
	map_init(&t->touched, MEM_SCHEDULER);
	t->touched_count = t->changes_count = t->changes_bytes = 0;
	t->open = store_begin(t->rows, err) == 0;
	return t->open ? 0 : -1;
}

static void
close_copy(struct store_txn *t)
{
	if (t->open)
		store_abort(t->rows);
	t->open = false;
	map_fini(&t->touched);
	arena_fini(&t->work);
	t->changes = NULL;
	t->changes_count = 0;
}

int
store_txn_begin(struct store_txn *t, struct store *rows, struct err *err)
{
	memset(t, 0, sizeof(*t));
	t->rows = rows;
	arena_init(&t->arena, MEM_SCHEDULER, TXN_BYTES_MAX);
	if (open_copy(t, err) == 0)
		return 0;
	store_txn_fini(t);
	return -1;
}

void
store_txn_fini(struct store_txn *t)
{
	close_copy(t);
	arena_fini(&t->arena);
	t->first = t->last = NULL;
}

int
store_txn_again(struct store_txn *t, struct err *err)
{
	close_copy(t);
	if (open_copy(t, err) < 0)
		return -1;
	defer_free void *row = mem_zalloc(MEM_SCHEDULER, ROW_BYTES_MAX);
	if (!row)
		return no_memory(err);
	for (const struct store_op *op = t->first; op; op = op->next) {
		if (op->what == OP_PUT) {
			assert(op->bytes <= ROW_BYTES_MAX);
			memcpy(row, op->data, op->bytes);
		}
		if (run(t, op, row, err) < 0)
			return -1;
	}
	return 0;
}
