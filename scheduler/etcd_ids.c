/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids of new rows, of all kinds: one counter in the cluster, of which each node takes blocks, so
 * that two nodes never give the same id and a row has its id before it is anywhere. What is left of
 * a block when the process ends is never given. The counter is never below what the store holds.
 */
#include "scheduler/etcd_engine.h"

#include <inttypes.h>
#include <string.h>
#include "base/text.h"

enum { BLOCK = 65536, FEW = BLOCK / 2, BODY_BYTES = 4096, ANSWER_BYTES = 64 << 10 };

static void ask(struct etcd_engine *e);

static void
take_id(void *arg, const void *row)
{
	uint64_t id, *most = arg;

	memcpy(&id, row, sizeof(id));
	if (id > *most)
		*most = id;
}

static uint64_t
highest(struct etcd_engine *e)
{
	uint64_t most = 0;
	struct err ignored = {0};

	for (unsigned kind = 0; kind < STORE_KINDS_; kind++) {
		if (!store_kind_is_local(kind) &&
		    store_each(e->base.copy.rows, kind, most, 0, take_id, &most, &ignored) < 0)
			return most;
	}
	return most;
}

static uint64_t
first_free(struct etcd_engine *e)
{
	uint64_t most = highest(e);

	return e->ids.stored > most ? e->ids.stored : most + 1;
}

/* False: it is not there, or no number. That is somebody else's work, and how many were given is
 * not known any more. */
static bool
read_stored(struct etcd_engine *e, const struct etcd_json_answer *a)
{
	char number[24];

	return a->gets_count == 1 && a->gets[0].count == 1 &&
	       text_ncopy(number, sizeof(number), (const char *)a->gets[0].items[0].value,
			  a->gets[0].items[0].value_bytes) &&
	       text_u64(number, INT64_MAX / 2, &e->ids.stored);
}

static void
answered(void *arg, const struct etcd_rpc_answer *answer)
{
	struct etcd_engine *e = arg;
	struct etcd_json_answer a;
	struct err err = {0};
	struct arena arena;

	e->ids.call = NULL;
	if (answer->err)
		return; /* asked for again at the next look */
	arena_init(&arena, MEM_SCHEDULER, ANSWER_BYTES);
	bool fine = etcd_json_answer(answer->text, answer->bytes, &arena, &a, &err) == 0;
	bool got = fine && a.succeeded;
	if (got) {
		e->base.id_next = e->ids.asked;
		e->base.id_end = e->ids.stored = e->ids.asked + BLOCK;
	}
	e->ids.broken = fine && !got && !read_stored(e, &a);
	arena_fini(&arena);
	if (got)
		etcd_sync_settle(e);
	else if (fine && !e->ids.broken) /* otherwise at the next look */
		ask(e);
}

static void
ask(struct etcd_engine *e)
{
	char key[ETCD_ENGINE_KEY_BYTES], was[24], will[24];
	struct etcd_json_txn t;
	struct err err = {0};
	struct buf body;

	etcd_engine_key(e, "ids", key);
	e->ids.asked = first_free(e);
	text_format(was, sizeof(was), "%" PRIu64, e->ids.stored);
	text_format(will, sizeof(will), "%" PRIu64, e->ids.asked + BLOCK);
	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	etcd_json_txn(&t, &body);
	etcd_json_if_value(&t, key, was);
	etcd_json_then(&t);
	etcd_json_put(&t, key, will, strlen(will), 0);
	etcd_json_otherwise(&t);
	etcd_json_get(&t, &(struct etcd_json_range){.key = key});
	etcd_json_end(&t);
	e->ids.call = etcd_rpc_call(e->rpc, "/v3/kv/txn", &body, answered, e, &err);
	buf_fini(&body);
}

void
etcd_ids_fill(struct etcd_engine *e)
{
	if (!e->ids.call && e->base.id_end - e->base.id_next < FEW)
		ask(e);
}

int
etcd_ids_any(const struct etcd_engine *e, struct err *err)
{
	if (e->base.id_next != e->base.id_end)
		return 0;
	if (!e->ids.broken) {
		err_set(err, ERR_UNREACHABLE, "this node has no ids for new rows yet");
		return err_fix(err, "try again in a moment");
	}
	err_set(err, ERR_CORRUPT, "etcd does not say which ids for new rows are free");
	err_why(err, "the key %sids is gone, or no number", e->prefix);
	return err_fix(err, "put a number there that is higher than any id that was given");
}

void
etcd_ids_check(struct etcd_engine *e)
{
	if (e->base.id_next <= highest(e))
		e->base.id_next = e->base.id_end = 0;
}

void
etcd_ids_stop(struct etcd_engine *e)
{
	etcd_rpc_cancel(e->ids.call);
	e->ids.call = NULL;
}
