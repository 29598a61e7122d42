/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Large transactions. etcd takes 128 operations and 1.5 MiB at once; what is more goes there in
 * three steps:
 *
 *   stages   the changes, encoded, as parts stage/TXID/N. Nobody looks at them. Part 0 comes last.
 *   flip     one small transaction: the next entry of the log, with the number of parts. Now it
 *            is committed, and the next one cannot begin before it is spread.
 *   spread   the changes are put into their keys, some at a time, each time only while that entry
 *            is the newest and unspread; at last the entry says so and the parts are removed.
 *
 * Any node can do the last step, and several at once: they all write the same. So a writer that
 * dies in the middle leaves nothing half done. Copies ignore the keys until the entry is spread,
 * then take over everything at that revision.
 *
 * Parts of a writer that died before its flip are removed by whoever comes later: once another
 * transaction was committed after they were put, their flip must fail.
 */
#include <inttypes.h>
#include <string.h>
#include "base/log.h"
#include "base/text.h"
#include "scheduler/etcd_engine.h"

enum {
	STAGED_BYTES_MAX = 300 << 20,
	BODY_BYTES = 4 << 20,
	ANSWER_BYTES = 8 << 20,
	SWEEP_ANSWER_BYTES = 16 << 20,
	SWEEP_KEYS = 4096,
};

static void read_part(struct etcd_engine *e);
static void put_some(struct etcd_engine *e);

static void
end(struct etcd_engine *e)
{
	buf_fini(&e->spread.staged);
	memset(&e->spread, 0, sizeof(e->spread));
}

/* Somebody else finished it, or it is tried again when it is looked at next. */
static void
leave(struct etcd_engine *e, const struct err *err)
{
	if (err)
		log_err(LOG_WARN, "a large change of the store is not in its keys yet", err);
	end(e);
	if (!err) {
		etcd_sync_look(e, 0);
		etcd_commit_wake(e);
	}
}

static void
call(struct etcd_engine *e, const char *path, struct buf *body, etcd_rpc_done_fn done)
{
	struct err err = {0};

	e->spread.call = etcd_rpc_call(e->rpc, path, body, done, e, &err);
	buf_fini(body);
	if (!e->spread.call)
		leave(e, &err);
}

/* ---- into the keys ---- */

static void
entry_is(struct etcd_engine *e, struct etcd_json_txn *t, char *key)
{
	char text[STORE_ENTRY_BYTES];

	etcd_engine_log_key(e, e->spread.entry.sequence, key);
	store_entry_put(&e->spread.entry, text);
	etcd_json_if_value(t, key, text);
}

static void
put_done(void *arg, const struct etcd_rpc_answer *answer)
{
	struct etcd_engine *e = arg;
	struct etcd_json_answer a;
	struct err err = {0};
	struct arena arena;

	e->spread.call = NULL;
	if (answer->err) {
		leave(e, answer->err);
		return;
	}
	arena_init(&arena, MEM_SCHEDULER, ANSWER_BYTES);
	int rc = etcd_json_answer(answer->text, answer->bytes, &arena, &a, &err);
	arena_fini(&arena);
	if (rc < 0)
		leave(e, &err);
	else if (!a.succeeded || !e->spread.entry.parts)
		leave(e, NULL);
	else
		put_some(e);
}

static void
put_end(struct etcd_engine *e)
{
	char key[ETCD_ENGINE_KEY_BYTES], last[ETCD_ENGINE_KEY_BYTES], text[STORE_ENTRY_BYTES];
	struct etcd_json_txn t;
	struct buf body;

	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	etcd_json_txn(&t, &body);
	entry_is(e, &t, key);
	etcd_json_then(&t);
	e->spread.entry.parts = 0;
	store_entry_put(&e->spread.entry, text);
	etcd_json_put(&t, key, text, strlen(text), 0);
	etcd_engine_stage_key(e, e->spread.entry.txid, -1, key);
	etcd_engine_stage_key(e, e->spread.entry.txid, -2, last);
	etcd_json_delete(&t, key, last);
	etcd_json_end(&t);
	call(e, "/v3/kv/txn", &body, put_done);
}

static void
put_some(struct etcd_engine *e)
{
	char key[ETCD_ENGINE_KEY_BYTES];
	struct etcd_json_txn t;
	struct err err = {0};
	struct buf body;
	size_t bytes = 0;

	if (!cursor_left(&e->spread.at)) {
		put_end(e);
		return;
	}
	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	etcd_json_txn(&t, &body);
	entry_is(e, &t, key);
	etcd_json_then(&t);
	for (int n = 0; n < STORE_ETCD_OPS_MAX && cursor_left(&e->spread.at); n++) {
		struct cursor before = e->spread.at;
		struct store_change change;

		if (!store_change_get(&e->spread.at, &change)) {
			err_set(&err, ERR_CORRUPT, "a large change of the store cannot be read");
			break;
		}
		bytes += STORE_KEY_BYTES + change.bytes;
		if (n > 0 && bytes > STORE_ETCD_REQUEST_BYTES_MAX) {
			e->spread.at = before;
			break;
		}
		etcd_engine_put_changes(e, &t, &change, 1);
	}
	etcd_json_end(&t);
	if (!err.kind) {
		call(e, "/v3/kv/txn", &body, put_done);
		return;
	}
	buf_fini(&body);
	leave(e, &err);
}

/* ---- the parts ---- */

static void
part_done(void *arg, const struct etcd_rpc_answer *answer)
{
	struct etcd_engine *e = arg;
	struct etcd_json_answer a;
	struct err err = {0};
	struct arena arena;

	e->spread.call = NULL;
	if (answer->err) {
		leave(e, answer->err);
		return;
	}
	arena_init(&arena, MEM_SCHEDULER, ANSWER_BYTES);
	int rc = etcd_json_answer(answer->text, answer->bytes, &arena, &a, &err);
	bool there = rc == 0 && a.kvs.count == 1;
	if (there)
		buf_put(&e->spread.staged, a.kvs.items[0].value, a.kvs.items[0].value_bytes);
	arena_fini(&arena);
	if (there && !buf_ok(&e->spread.staged))
		rc = err_set(&err, ERR_NO_MEMORY, "no memory for a large change of the store");
	if (rc < 0) {
		leave(e, &err);
	} else if (!there) {
		leave(e, NULL); /* it is spread */
	} else if (++e->spread.part < e->spread.entry.parts) {
		read_part(e);
	} else {
		cursor_init(&e->spread.at, e->spread.staged.data, e->spread.staged.length);
		put_some(e);
	}
}

static void
read_part(struct etcd_engine *e)
{
	char key[ETCD_ENGINE_KEY_BYTES];
	struct buf body;

	etcd_engine_stage_key(e, e->spread.entry.txid, e->spread.part, key);
	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	etcd_json_range(&body, &(struct etcd_json_range){.key = key});
	call(e, "/v3/kv/range", &body, part_done);
}

void
etcd_spread_start(struct etcd_engine *e, const struct store_entry *entry)
{
	if (e->spread.call)
		return;
	e->spread.entry = *entry;
	e->spread.part = 0;
	buf_init(&e->spread.staged, MEM_SCHEDULER, STAGED_BYTES_MAX);
	read_part(e);
}

void
etcd_spread_stop(struct etcd_engine *e)
{
	etcd_rpc_cancel(e->spread.call);
	end(e);
	etcd_rpc_cancel(e->sweep);
	e->sweep = NULL;
}

/* ---- parts that nobody will use ---- */

static void
swept(void *arg, const struct etcd_rpc_answer *answer)
{
	struct etcd_engine *e = arg;

	e->sweep = NULL;
	e->swept = !answer->err;
}

struct sweep_rule {
	char stages[ETCD_ENGINE_KEY_BYTES];
	char kept[ETCD_ENGINE_KEY_BYTES]; /* of the newest entry */
	int64_t before;
};

/* Deletes at most so many at a time; the rest is found at the next start. */
static size_t
write_sweep(const struct etcd_json_kvs *kvs, const struct sweep_rule *rule, struct buf *body)
{
	struct etcd_json_txn t;
	size_t n = 0;

	etcd_json_txn(&t, body);
	etcd_json_then(&t);
	for (size_t i = 0; i < kvs->count && n < STORE_ETCD_OPS_MAX; i++) {
		const struct etcd_json_kv *kv = &kvs->items[i];

		if (kv->revision < rule->before && text_starts(kv->key, rule->stages) &&
		    !text_starts(kv->key, rule->kept)) {
			etcd_json_delete(&t, kv->key, NULL);
			n++;
		}
	}
	etcd_json_end(&t);
	return n;
}

static void
sweep_found(void *arg, const struct etcd_rpc_answer *answer)
{
	struct etcd_engine *e = arg;
	struct sweep_rule rule = {.before = e->sweep_before};
	struct etcd_json_answer a;
	struct err err = {0};
	struct arena arena;
	struct buf body;

	e->sweep = NULL;
	if (answer->err)
		return;
	etcd_engine_key(e, "stage/", rule.stages);
	etcd_engine_stage_key(e, e->base.copy.head.txid, -1, rule.kept);
	arena_init(&arena, MEM_SCHEDULER, SWEEP_ANSWER_BYTES);
	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	if (etcd_json_answer(answer->text, answer->bytes, &arena, &a, &err) == 0) {
		e->swept = write_sweep(&a.kvs, &rule, &body) == 0;
		if (!e->swept)
			e->sweep = etcd_rpc_call(e->rpc, "/v3/kv/txn", &body, swept, e, &err);
	}
	buf_fini(&body);
	arena_fini(&arena);
}

void
etcd_spread_sweep(struct etcd_engine *e, int64_t head_revision)
{
	char from[ETCD_ENGINE_KEY_BYTES], to[ETCD_ENGINE_KEY_BYTES];
	struct err err = {0};
	struct buf body;

	if (e->swept || e->sweep)
		return;
	e->sweep_before = head_revision;
	etcd_engine_key(e, "stage/", from);
	etcd_engine_key(e, "stage0", to);
	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	etcd_json_range(&body, &(struct etcd_json_range){
				       .key = from,
				       .end = to,
				       .limit = SWEEP_KEYS,
				       .keys_only = true,
			       });
	e->sweep = etcd_rpc_call(e->rpc, "/v3/kv/range", &body, sweep_found, e, &err);
	buf_fini(&body);
}
