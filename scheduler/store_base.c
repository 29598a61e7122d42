/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that every engine of a shared store answers in the same way. A transaction is collected in
 * store_txn.c; only its commit is the engine's own.
 */
#include "scheduler/store_base.h"

#include <assert.h>
#include <string.h>
#include "base/mem.h"
#include "scheduler/store_row.h"

/* ---- transactions ---- */

int
store_base_can_write(const struct store_base *b, struct err *err)
{
	struct store_status own;

	store_status(b->copy.rows, &own);
	if (own.writable)
		return 0;
	*err = own.why;
	return -1;
}

int
store_base_begin(struct store_base *b, struct err *err)
{
	assert(!b->txn_open);
	if (store_base_can_write(b, err) < 0 || store_txn_begin(&b->txn, b->copy.rows, err) < 0)
		return -1;
	b->txn_open = true;
	return 0;
}

int
store_base_finish(struct store_base *b, struct err *err)
{
	assert(b->txn_open);
	b->txn_open = false;
	return store_txn_finish(&b->txn, err);
}

void
store_base_not_copied(struct err *err)
{
	struct err why = *err;

	err_set(err, ERR_TIMEOUT,
		"the change is kept, but this node's copy of the store could not be written");
	err_why(err, "%s", why.what);
	for (unsigned i = 0; i < why.whys; i++)
		err_why(err, "%s", why.why[i]);
	err_fix(err, "%s", why.fix[0] ? why.fix : "look again in a moment");
}

void
store_base_abort(void *engine)
{
	struct store_base *b = engine;

	assert(b->txn_open);
	store_txn_fini(&b->txn);
	b->txn_open = false;
}

int
store_base_put(void *engine, enum store_kind kind, void *row, struct err *err)
{
	struct store_base *b = engine;
	uint64_t head[2];

	memcpy(head, row, sizeof(head));
	if (!head[0]) {
		assert(!head[1]);
		if (b->id_next >= b->id_end) {
			err_set(err, ERR_LIMIT, "this node has no ids for new rows");
			return err_fix(err, "try again in a moment");
		}
		head[0] = b->id_next++;
		memcpy(row, head, sizeof(head));
	}
	return store_txn_put(&b->txn, kind, row, err);
}

int
store_base_place(void *engine, enum store_kind kind, const void *row, struct err *err)
{
	struct store_base *b = engine;

	return store_txn_place(&b->txn, kind, row, err);
}

int
store_base_drop(void *engine, enum store_kind kind, uint64_t id, uint64_t version, struct err *err)
{
	struct store_base *b = engine;

	return store_txn_drop(&b->txn, kind, id, version, err);
}

int
store_base_drop_through(void *engine, enum store_kind kind, uint64_t id, struct err *err)
{
	struct store_base *b = engine;

	return store_txn_drop_through(&b->txn, kind, id, err);
}

int
store_base_put_blob(void *engine, enum store_blob blob, uint64_t id, const void *data, size_t bytes,
		    struct err *err)
{
	struct store_base *b = engine;

	return store_txn_put_blob(&b->txn, blob, id, data, bytes, err);
}

int
store_base_put_note(void *engine, const char *name, const char *value, struct err *err)
{
	(void)engine;
	(void)name;
	(void)value;
	return err_set(err, ERR_UNSUPPORTED, "a shared store has no notes");
}

/* ---- reading: the copy ---- */

int
store_base_get_blob(void *engine, enum store_blob blob, uint64_t id, struct buf *out,
		    struct err *err)
{
	struct store_base *b = engine;

	return store_get_blob(b->copy.rows, blob, id, out, err);
}

int
store_base_each(void *engine, enum store_kind kind, uint64_t above, uint64_t parent, void *row,
		store_visit_fn visit, void *arg, struct err *err)
{
	struct store_base *b = engine;

	(void)row;
	return store_each(b->copy.rows, kind, above, parent, visit, arg, err);
}

int
store_base_get(void *engine, enum store_kind kind, uint64_t id, void *row, struct err *err)
{
	struct store_base *b = engine;

	return store_get(b->copy.rows, kind, id, row, err);
}

int
store_base_version(void *engine, enum store_kind kind, uint64_t id, uint64_t *version_out,
		   struct err *err)
{
	struct store_base *b = engine;
	const struct store_engine *calls;
	void *rows;

	calls = store_calls(b->copy.rows, &rows);
	return calls->version(rows, kind, id, version_out, err);
}

int
store_base_get_note(void *engine, const char *name, char *out, size_t cap, struct err *err)
{
	struct store_base *b = engine;

	return store_get_note(b->copy.rows, name, out, cap, err);
}

struct store *
store_base_local(void *engine)
{
	struct store_base *b = engine;

	return b->copy.rows;
}

void
store_base_status(const struct store_base *b, const struct err *why, struct store_status *out)
{
	out->shared = true;
	out->unwritten = store_base_can_write(b, &out->why) < 0;
	if (!out->unwritten && why)
		out->why = *why;
	out->writable = !out->why.kind;
	out->sequence = b->copy.head.sequence;
	out->count = b->copy.head.count;
	memcpy(out->digest, b->copy.head.digest.word, sizeof(out->digest));
	memcpy(out->hash, b->copy.head.hash, sizeof(out->hash));
	out->revision = b->copy.revision;
}

/* ---- news ---- */

void
store_base_watch(void *engine, store_news_fn fn, void *arg)
{
	struct store_base *b = engine;

	b->news = fn;
	b->news_arg = arg;
}

static void
tell(struct store_base *b, const struct store_news *news)
{
	if (b->news)
		b->news(b->news_arg, news);
}

static void
tell_row(struct store_base *b, const struct store_change *change)
{
	struct store_news news = {
		.what = STORE_NEWS_GONE,
		.sequence = b->copy.head.sequence,
		.kind = change->key.kind,
		.id = change->key.id,
	};
	struct err ignored = {0};

	if (change->gone) {
		tell(b, &news);
		return;
	}
	defer_free void *row = mem_zalloc(MEM_SCHEDULER, store_shape(change->key.kind)->row_bytes);
	/* Without memory for it: read it yourself. */
	if (!row || store_row_get(change->key.kind, change->key.id, change->data, change->bytes,
				  row, &ignored) < 0) {
		news.what = STORE_NEWS_ALL;
	} else {
		news.what = STORE_NEWS_ROW;
		news.row = row;
	}
	tell(b, &news);
}

void
store_base_tell(struct store_base *b, const struct store_change *changes, size_t count)
{
	struct store_news news = {.sequence = b->copy.head.sequence};

	for (size_t i = 0; i < count && b->news; i++) {
		if (!changes[i].key.blob) {
			tell_row(b, &changes[i]);
		} else if (!changes[i].gone && (i == 0 || !changes[i - 1].key.blob ||
						changes[i - 1].key.id != changes[i].key.id)) {
			news.what = STORE_NEWS_BLOB;
			news.kind = changes[i].key.kind;
			news.id = changes[i].key.id;
			tell(b, &news);
		}
	}
	news = (struct store_news){.what = STORE_NEWS_END, .sequence = b->copy.head.sequence};
	tell(b, &news);
}

void
store_base_tell_all(struct store_base *b)
{
	tell(b, &(struct store_news){.what = STORE_NEWS_ALL, .sequence = b->copy.head.sequence});
}
