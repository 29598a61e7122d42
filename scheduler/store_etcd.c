/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shared engine's calls. A transaction is collected in store_txn.c, which works it out on the
 * copy; etcd_commit.c takes it to the cluster; everything that is read comes from the copy.
 */
#include "scheduler/store_etcd.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/etcd_engine.h"

/* ---- transactions ---- */

static int
engine_begin(void *engine, struct err *err)
{
	struct etcd_engine *e = engine;

	assert(!e->txn_open);
	if (!e->writable) {
		*err = e->why;
		return -1;
	}
	etcd_ids_fill(e);
	if (store_txn_begin(&e->txn, e->copy.rows, err) < 0)
		return -1;
	e->txn_open = true;
	return 0;
}

static void
engine_abort(void *engine)
{
	struct etcd_engine *e = engine;

	assert(e->txn_open);
	store_txn_fini(&e->txn);
	e->txn_open = false;
}

static int
engine_put(void *engine, enum store_kind kind, void *row, struct err *err)
{
	struct etcd_engine *e = engine;
	uint64_t head[2];

	memcpy(head, row, sizeof(head));
	if (!head[0]) {
		assert(!head[1]);
		head[0] = etcd_ids_take(e);
		if (!head[0]) {
			err_set(err, ERR_LIMIT, "this node has no ids for new rows");
			return err_fix(err, "try again in a moment");
		}
		memcpy(row, head, sizeof(head));
	}
	return store_txn_put(&e->txn, kind, row, err);
}

static int
engine_place(void *engine, enum store_kind kind, const void *row, struct err *err)
{
	struct etcd_engine *e = engine;

	return store_txn_place(&e->txn, kind, row, err);
}

static int
engine_drop(void *engine, enum store_kind kind, uint64_t id, uint64_t version, struct err *err)
{
	struct etcd_engine *e = engine;

	return store_txn_drop(&e->txn, kind, id, version, err);
}

static int
engine_drop_through(void *engine, enum store_kind kind, uint64_t id, struct err *err)
{
	struct etcd_engine *e = engine;

	return store_txn_drop_through(&e->txn, kind, id, err);
}

static int
engine_put_blob(void *engine, enum store_blob blob, uint64_t id, const void *data, size_t bytes,
		struct err *err)
{
	struct etcd_engine *e = engine;

	return store_txn_put_blob(&e->txn, blob, id, data, bytes, err);
}

static int
engine_put_note(void *engine, const char *name, const char *value, struct err *err)
{
	(void)engine;
	(void)name;
	(void)value;
	return err_set(err, ERR_UNSUPPORTED, "a shared store has no notes");
}

/* ---- reading: the copy ---- */

static int
engine_get_blob(void *engine, enum store_blob blob, uint64_t id, struct buf *out, struct err *err)
{
	struct etcd_engine *e = engine;

	return store_get_blob(e->copy.rows, blob, id, out, err);
}

static int
engine_each(void *engine, enum store_kind kind, uint64_t above, uint64_t parent, void *row,
	    store_visit_fn visit, void *arg, struct err *err)
{
	struct etcd_engine *e = engine;

	(void)row;
	return store_each(e->copy.rows, kind, above, parent, visit, arg, err);
}

static int
engine_get(void *engine, enum store_kind kind, uint64_t id, void *row, struct err *err)
{
	struct etcd_engine *e = engine;

	return store_get(e->copy.rows, kind, id, row, err);
}

static int
engine_version(void *engine, enum store_kind kind, uint64_t id, uint64_t *version_out,
	       struct err *err)
{
	struct etcd_engine *e = engine;
	struct store_key key = {.kind = kind, .id = id};
	struct err none = {0};
	struct buf value;

	buf_init(&value, MEM_SCHEDULER, STORE_CHUNK_BYTES);
	int rc = store_copy_value(e->copy.rows, &key, &value, &none);
	struct cursor at;
	cursor_init(&at, value.data, value.length);
	cursor_u8(&at); /* the format */
	*version_out = rc == 0 ? cursor_u64(&at) : 0;
	buf_fini(&value);
	if (rc < 0 && none.kind != ERR_NOT_FOUND) {
		*err = none;
		return -1;
	}
	return 0;
}

static int
engine_get_note(void *engine, const char *name, char *out, size_t cap, struct err *err)
{
	struct etcd_engine *e = engine;

	return store_get_note(e->copy.rows, name, out, cap, err);
}

static struct store *
engine_local(void *engine)
{
	struct etcd_engine *e = engine;

	return e->copy.rows;
}

static void
engine_status(void *engine, struct store_status *out)
{
	const struct etcd_engine *e = engine;

	out->shared = true;
	out->writable = e->writable;
	if (!e->writable)
		out->why = e->why;
	out->sequence = e->copy.head.sequence;
	out->count = e->copy.head.count;
	memcpy(out->digest, e->copy.head.digest.word, sizeof(out->digest));
	memcpy(out->hash, e->copy.head.hash, sizeof(out->hash));
	out->revision = e->copy.revision;
}

static void
engine_watch(void *engine, store_news_fn fn, void *arg)
{
	struct etcd_engine *e = engine;

	e->news = fn;
	e->news_arg = arg;
}

/* ---- life ---- */

static void
engine_free(struct etcd_engine *e)
{
	if (e->copy.rows)
		store_copy_close(&e->copy);
	mem_free(e);
}

static void
handle_closed(uv_handle_t *handle)
{
	struct etcd_engine *e = handle->data;

	if (--e->closing == 0)
		mem_free(e);
}

static void
engine_close(void *engine)
{
	struct etcd_engine *e = engine;

	if (e->txn_open)
		engine_abort(e);
	etcd_commit_stop(e);
	etcd_sync_stop(e);
	etcd_spread_stop(e);
	etcd_ids_stop(e);
	etcd_lease_stop(e);
	etcd_rpc_close(e->rpc);
	store_copy_close(&e->copy);
	e->closing = 2;
	uv_close((uv_handle_t *)&e->sync.timer, handle_closed);
	uv_close((uv_handle_t *)&e->commit.timer, handle_closed);
}

static const struct store_engine calls = {
	.begin = engine_begin,
	.abort = engine_abort,
	.put = engine_put,
	.drop = engine_drop,
	.drop_through = engine_drop_through,
	.put_blob = engine_put_blob,
	.get_blob = engine_get_blob,
	.each = engine_each,
	.version = engine_version,
	.get = engine_get,
	.place = engine_place,
	.get_note = engine_get_note,
	.put_note = engine_put_note,
	.close = engine_close,
	.submit = etcd_commit_submit,
	.status = engine_status,
	.watch = engine_watch,
	.check = etcd_sync_check,
	.lease = etcd_lease_do,
	.local = engine_local,
};

int
store_etcd_load(struct err *err)
{
	return etcd_rpc_load(err);
}

static int
take_prefix(struct etcd_engine *e, const char *prefix, struct err *err)
{
	if (!text_copy(e->prefix, sizeof(e->prefix), prefix) || prefix[0] != '/' ||
	    !text_ends(prefix, "/"))
		return err_set(err, ERR_INVALID, "the keys of a store begin with /NAME/, not %s",
			       prefix);
	return 0;
}

int
store_etcd_open(const struct store_etcd_options *o, struct store *copy, struct store **out,
		struct err *err)
{
	struct etcd_engine *e = mem_zalloc(MEM_SCHEDULER, sizeof(*e));

	if (!e) {
		store_free(copy);
		return err_set(err, ERR_NO_MEMORY, "no memory for the store");
	}
	e->loop = o->rpc.loop;
	e->ids.stored = 1;
	list_init(&e->leases);
	list_init(&e->lease_ops);
	err_set(&e->why, ERR_UNREACHABLE, "no quorum: the store's members were not reached yet");
	if (store_copy_open(&e->copy, copy, err) < 0 || take_prefix(e, o->prefix, err) < 0 ||
	    etcd_rpc_open(&o->rpc, &e->rpc, err) < 0) {
		engine_free(e);
		return -1;
	}
	etcd_commit_init(e);
	etcd_sync_init(e);
	return store_new(&calls, e, out, err);
}
