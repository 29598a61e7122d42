/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of a transaction that is too large for one request of etcd's: they are put first, the
 * last one before all others, and count for nothing until the entry is there that names them. What
 * is left of one that did not come that far is garbage, which the next start of a node removes.
 */
#include <string.h>
#include "scheduler/etcd_engine.h"

enum {
	BODY_BYTES = 64 << 20,
	STAGED_BYTES_MAX = 300 << 20,
	PART_BYTES = 512 << 10,
};

uint32_t
etcd_stage_parts(const struct etcd_engine *e)
{
	return (uint32_t)((e->commit.staged.length + PART_BYTES - 1) / PART_BYTES);
}

void
etcd_stage_leave(struct etcd_engine *e)
{
	e->swept = false;
}

static void
part_done(void *arg, const struct etcd_rpc_answer *answer)
{
	struct etcd_engine *e = arg;

	e->commit.call = NULL;
	if (answer->err) {
		struct err err = *answer->err;

		/* Nothing counts before the entry is there. */
		if (err.kind == ERR_TIMEOUT)
			err.kind = ERR_UNREACHABLE;
		etcd_stage_leave(e);
		etcd_commit_staged(e, &err);
	} else if (e->commit.part > 0) {
		etcd_stage_put(e);
	} else {
		etcd_commit_staged(e, NULL);
	}
}

void
etcd_stage_put(struct etcd_engine *e)
{
	struct etcd_commit *c = &e->commit;
	char key[ETCD_ENGINE_KEY_BYTES];
	struct etcd_json_txn t;
	struct err err = {0};
	struct buf body;

	c->part--;
	size_t from = (size_t)c->part * PART_BYTES, left = c->staged.length - from;
	etcd_engine_stage_key(e, c->next.txid, c->part, key);
	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	etcd_json_txn(&t, &body);
	etcd_json_then(&t);
	etcd_json_put(&t, key, c->staged.data + from, left < PART_BYTES ? left : PART_BYTES, 0);
	etcd_json_end(&t);
	c->call = etcd_rpc_call(e->rpc, "/v3/kv/txn", &body, part_done, e, &err);
	buf_fini(&body);
	if (!c->call)
		etcd_commit_staged(e, &err);
}

static bool
is_large(const struct store_txn *t)
{
	/* With the entry, and the removal of an old one. */
	return t->changes_count + 2 > STORE_ETCD_OPS_MAX ||
	       t->changes_bytes > STORE_ETCD_REQUEST_BYTES_MAX;
}

int
etcd_stage_make(struct etcd_engine *e, struct err *err)
{
	struct etcd_commit *c = &e->commit;

	buf_fini(&c->staged);
	buf_init(&c->staged, MEM_SCHEDULER, STAGED_BYTES_MAX);
	if (!is_large(&e->base.txn))
		return 0;
	for (size_t i = 0; i < e->base.txn.changes_count; i++)
		store_change_put(&c->staged, &e->base.txn.changes[i]);
	if (!buf_ok(&c->staged))
		return err_set(err, ERR_LIMIT, "a change of the store is too large");
	c->part = etcd_stage_parts(e);
	return 0;
}
