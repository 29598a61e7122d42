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

static int
engine_begin(void *engine, struct err *err)
{
	struct etcd_engine *e = engine;

	if (!e->writable) {
		*err = e->why;
		return -1;
	}
	etcd_ids_fill(e);
	return store_base_begin(&e->base, err);
}

static void
engine_status(void *engine, struct store_status *out)
{
	const struct etcd_engine *e = engine;

	store_base_status(&e->base, e->writable ? NULL : &e->why, out);
}

/* ---- life ---- */

static void
engine_free(struct etcd_engine *e)
{
	if (e->base.copy.rows)
		store_copy_close(&e->base.copy);
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

	if (e->base.txn_open)
		store_base_abort(e);
	etcd_commit_stop(e);
	etcd_sync_stop(e);
	etcd_spread_stop(e);
	etcd_ids_stop(e);
	etcd_keep_stop(e);
	etcd_lease_stop(e);
	etcd_rpc_close(e->rpc);
	store_copy_close(&e->base.copy);
	e->closing = 3;
	uv_close((uv_handle_t *)&e->keep_timer, handle_closed);
	uv_close((uv_handle_t *)&e->sync.timer, handle_closed);
	uv_close((uv_handle_t *)&e->commit.timer, handle_closed);
}

static const struct store_engine calls = {
	STORE_BASE_CALLS, /* and its own: */
	.begin = engine_begin,     .close = engine_close,    .submit = etcd_commit_submit,
	.status = engine_status,   .check = etcd_sync_check, .lease = etcd_lease_do,
	.adopt = etcd_lease_adopt, .mine = etcd_lease_mine,
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
	e->existing = o->existing;
	e->ids.stored = 1;
	list_init(&e->leases);
	list_init(&e->lease_ops);
	err_set(&e->why, ERR_UNREACHABLE, "no quorum: the store's members were not reached yet");
	if (store_copy_open(&e->base.copy, copy, err) < 0 || take_prefix(e, o->prefix, err) < 0 ||
	    etcd_rpc_open(&o->rpc, &e->rpc, err) < 0) {
		engine_free(e);
		return -1;
	}
	etcd_commit_init(e);
	etcd_sync_init(e);
	etcd_keep_init(e);
	return store_new(&calls, e, out, err);
}

void
store_etcd_none(struct store *s, const struct err *why)
{
	struct etcd_engine *e = store_engine_of(s, &calls);

	assert(e);
	etcd_rpc_none(e->rpc, why);
	/* What is open still ends, too. */
	etcd_rpc_cancel(e->sync.watch);
	e->sync.watch = NULL;
	etcd_sync_look(e, 0);
}

int
store_etcd_renew(struct store *s, const struct etcd_rpc_options *rpc, struct err *err)
{
	struct etcd_engine *e = store_engine_of(s, &calls);

	assert(e);
	if (etcd_rpc_renew(e->rpc, rpc, err) < 0)
		return -1;
	if (!e->writable)
		etcd_sync_look(e, 0);
	return 0;
}
