/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A transaction on its way to the cluster. It becomes the next entry of the log, with its changes,
 * in one request of etcd's that holds only if that entry is not there and the one before is the
 * copy's own: so it is committed as a whole, on exactly what it was worked out on, or not at all.
 * Sent twice it counts once: the entry carries a number drawn for this transaction, and a refusal
 * brings the entry that is there.
 *
 * Whatever the answer, the entry is read back; ours there means committed. Another one means that
 * other nodes were faster: when the copy has followed, the transaction is worked out again. When
 * nobody answers, as when the leader has just died, it is in doubt: it is asked for, and sent again
 * if it is not there, for ETCD_DOUBT_MS more. Only when that was in vain the outcome stays open,
 * and the caller is told so.
 */
#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include "base/text.h"
#include "base/world.h"
#include "scheduler/etcd_engine.h"

enum {
	BODY_BYTES = 64 << 20,
	ANSWER_BYTES = 1 << 20,
	TURNS_MAX = 32, /* others were faster that often */
	AGAIN_MS = 250, /* while it is in doubt */
};

static void send_txn(struct etcd_engine *e);
static void read_back(struct etcd_engine *e);
static void too_late(uv_timer_t *timer);

/* ---- the end ---- */

/* why: what is told of changes that come after it; NULL: nothing is. */
static void
finish_as(struct etcd_engine *e, const struct err *err, const struct err *why)
{
	struct etcd_commit *c = &e->commit;
	store_done_fn done = c->done;

	assert(c->phase != ETCD_COMMIT_NONE);
	etcd_rpc_cancel(c->call);
	c->call = NULL;
	uv_timer_stop(&c->timer);
	c->phase = ETCD_COMMIT_NONE;
	buf_fini(&c->staged);
	store_txn_fini(&e->base.txn);
	if (why) {
		etcd_engine_unwritable(e, why);
		etcd_sync_look(e, 0);
	}
	done(c->arg, err);
}

static void
finish(struct etcd_engine *e, const struct err *err)
{
	bool away = err && (err->kind == ERR_UNREACHABLE || err->kind == ERR_TIMEOUT);

	finish_as(e, err, away ? err : NULL);
}

static void
kept(struct etcd_engine *e)
{
	struct etcd_commit *c = &e->commit;
	struct store_entry entry = c->next;
	bool staged = c->staged.length > 0;
	struct err err = {0}, why;
	int rc = 0;

	c->phase = ETCD_COMMIT_READS_BACK;
	if (e->base.copy.head.sequence < entry.sequence)
		rc = etcd_sync_apply(e, e->base.txn.changes, e->base.txn.changes_count, &entry,
				     c->revision, &err);
	if (staged) {
		entry.parts = etcd_stage_parts(e);
		e->sync.unspread = true;
		etcd_spread_start(e, &entry);
	}
	if (rc == 0) {
		finish(e, NULL);
		return;
	}
	/* Only this one is kept; the next ones are refused for that this node cannot write. */
	why = err;
	store_base_not_copied(&err);
	finish_as(e, &err, &why);
}

static void
start_waiting(struct etcd_engine *e)
{
	uint64_t ms = etcd_rpc_timeout_ms(e->rpc);

	uv_timer_start(&e->commit.timer, too_late, ms, ms);
}

/* Until the copy has `sequence` and nothing large is in the way. */
static void
wait_for(struct etcd_engine *e, uint64_t sequence)
{
	struct etcd_commit *c = &e->commit;

	c->phase = ETCD_COMMIT_WAITS;
	c->wait_for = sequence;
	c->fresh = false;
	start_waiting(e);
	etcd_sync_look(e, 0);
	etcd_commit_wake(e);
}

static void
beaten(struct etcd_engine *e)
{
	struct etcd_commit *c = &e->commit;
	struct err err = {0};

	if (c->staged.length)
		etcd_stage_leave(e);
	if (++c->turns > TURNS_MAX) {
		err_set(&err, ERR_CONFLICT, "other nodes change the store all the time");
		finish(e, &err);
		return;
	}
	wait_for(e, c->next.sequence);
}

/* ---- in doubt ---- */

static void
ask_again(uv_timer_t *timer)
{
	struct etcd_engine *e = timer->data;

	if (e->commit.phase == ETCD_COMMIT_DOUBTS)
		read_back(e);
}

/* Nobody has said whether it was kept. */
static void
doubt(struct etcd_engine *e)
{
	struct etcd_commit *c = &e->commit;
	uint64_t now = uv_now(e->loop);

	if (!c->doubt_until_ms)
		c->doubt_until_ms = now + ETCD_DOUBT_MS;
	if (now >= c->doubt_until_ms) {
		finish(e, &c->err);
		return;
	}
	c->phase = ETCD_COMMIT_DOUBTS;
	etcd_engine_unwritable(e, &c->err);
	etcd_sync_look(e, 0);
	uv_timer_start(&c->timer, ask_again, AGAIN_MS, 0);
}

/* A majority does not have it, and may get it from a member that was sent it before. It counts once
 * however often it comes. */
static void
send_again(struct etcd_engine *e)
{
	struct etcd_commit *c = &e->commit;

	if (e->base.copy.head.sequence + 1 != c->next.sequence) {
		beaten(e);
	} else {
		memset(&c->err, 0, sizeof(c->err));
		send_txn(e);
	}
}

/* ---- what is there ---- */

static bool
is_ours(const struct etcd_engine *e, const struct etcd_json_kvs *kvs)
{
	struct store_entry entry;
	struct err ignored = {0};

	return kvs->count == 1 &&
	       store_entry_get((const char *)kvs->items[0].value, kvs->items[0].value_bytes, &entry,
			       &ignored) == 0 &&
	       store_entry_same(&entry, &e->commit.next);
}

static void
read_back_done(void *arg, const struct etcd_rpc_answer *answer)
{
	struct etcd_engine *e = arg;
	struct etcd_commit *c = &e->commit;
	struct etcd_json_answer a;
	struct err err = {0};
	struct arena arena;

	c->call = NULL;
	if (answer->err) {
		/* What was said before is all there is. */
		if (c->err.kind == ERR_TIMEOUT)
			doubt(e);
		else if (c->err.kind)
			finish(e, &c->err);
		else
			kept(e);
		return;
	}
	arena_init(&arena, MEM_SCHEDULER, ANSWER_BYTES);
	int rc = etcd_json_answer(answer->text, answer->bytes, &arena, &a, &err);
	bool ours = rc == 0 && is_ours(e, &a.kvs);
	bool others = rc == 0 && !ours && a.kvs.count > 0;
	if (ours && !c->revision)
		c->revision = a.kvs.items[0].revision;
	arena_fini(&arena);
	if (rc < 0)
		finish(e, &err);
	else if (ours)
		kept(e);
	else if (others)
		beaten(e);
	else if (c->err.kind == ERR_TIMEOUT)
		send_again(e);
	else if (c->err.kind)
		finish(e, &c->err);
	else
		finish(e,
		       (err_set(&err, ERR_CORRUPT, "the store did not keep what it took"), &err));
}

static void
read_back(struct etcd_engine *e)
{
	struct etcd_commit *c = &e->commit;
	char key[ETCD_ENGINE_KEY_BYTES];
	struct err err = {0};
	struct buf body;

	c->phase = ETCD_COMMIT_READS_BACK;
	etcd_engine_log_key(e, c->next.sequence, key);
	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	etcd_json_range(&body, &(struct etcd_json_range){.key = key});
	c->call = etcd_rpc_call(e->rpc, "/v3/kv/range", &body, read_back_done, e, &err);
	buf_fini(&body);
	if (!c->call)
		finish(e, &err);
}

/* ---- the transaction ---- */

static void
sent_done(void *arg, const struct etcd_rpc_answer *answer)
{
	struct etcd_engine *e = arg;
	struct etcd_commit *c = &e->commit;
	struct etcd_json_answer a;
	struct err err = {0};
	struct arena arena;

	c->call = NULL;
	if (answer->err) {
		c->err = *answer->err;
		if (c->err.kind == ERR_TIMEOUT)
			doubt(e);
		else if (answer->lost && c->err.kind != ERR_UNREACHABLE)
			read_back(e);
		else
			finish(e, &c->err);
		return;
	}
	arena_init(&arena, MEM_SCHEDULER, ANSWER_BYTES);
	int rc = etcd_json_answer(answer->text, answer->bytes, &arena, &a, &err);
	bool ours = rc == 0 && !a.succeeded && a.gets_count > 0 && is_ours(e, &a.gets[0]);
	c->revision = rc == 0 && a.succeeded ? a.revision : 0;
	if (ours)
		c->revision = a.gets[0].items[0].revision;
	arena_fini(&arena);
	if (rc < 0) {
		c->err = err;
		read_back(e);
	} else if (a.succeeded) {
		read_back(e);
	} else if (ours) {
		kept(e);
	} else {
		beaten(e);
	}
}

static void
write_compares(struct etcd_engine *e, struct etcd_json_txn *t)
{
	char key[ETCD_ENGINE_KEY_BYTES], text[STORE_ENTRY_BYTES];

	etcd_engine_log_key(e, e->commit.next.sequence, key);
	etcd_json_if_absent(t, key);
	etcd_engine_log_key(e, e->base.copy.head.sequence, key);
	store_entry_put(&e->base.copy.head, text);
	etcd_json_if_value(t, key, text);
	if (e->commit.staged.length) {
		etcd_engine_stage_key(e, e->commit.next.txid, 0, key);
		etcd_json_if_there(t, key);
	}
}

static void
write_entry(struct etcd_engine *e, struct etcd_json_txn *t)
{
	char key[ETCD_ENGINE_KEY_BYTES], text[STORE_ENTRY_BYTES];
	struct store_entry entry = e->commit.next;

	entry.parts = etcd_stage_parts(e);
	etcd_engine_log_key(e, entry.sequence, key);
	store_entry_put(&entry, text);
	etcd_json_put(t, key, text, strlen(text), 0);
	if (entry.sequence < STORE_ETCD_LOG_KEPT)
		return;
	etcd_engine_log_key(e, entry.sequence - STORE_ETCD_LOG_KEPT, key);
	etcd_json_delete(t, key, NULL);
}

static void
send_txn(struct etcd_engine *e)
{
	struct etcd_commit *c = &e->commit;
	char key[ETCD_ENGINE_KEY_BYTES];
	struct etcd_json_txn t;
	struct err err = {0};
	struct buf body;

	c->phase = ETCD_COMMIT_SENT;
	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	etcd_json_txn(&t, &body);
	write_compares(e, &t);
	etcd_json_then(&t);
	if (!c->staged.length)
		etcd_engine_put_changes(e, &t, e->base.txn.changes, e->base.txn.changes_count);
	write_entry(e, &t);
	etcd_json_otherwise(&t);
	etcd_engine_log_key(e, c->next.sequence, key);
	etcd_json_get(&t, &(struct etcd_json_range){.key = key});
	etcd_json_end(&t);
	c->call = etcd_rpc_call(e->rpc, "/v3/kv/txn", &body, sent_done, e, &err);
	buf_fini(&body);
	if (!c->call)
		finish(e, &err);
}

/* The changes are of the copy as it is now. */
static void
go(struct etcd_engine *e)
{
	struct etcd_commit *c = &e->commit;
	struct err err = {0};
	struct world world;

	if (!e->base.txn.changes_count) {
		finish(e, NULL);
		return;
	}
	if (e->sync.unspread) {
		wait_for(e, e->base.copy.head.sequence);
		return;
	}
	world_real(&world);
	memset(&c->next, 0, sizeof(c->next));
	world_random(&world, c->next.txid, sizeof(c->next.txid));
	if (store_copy_next(&e->base.copy, e->base.txn.changes, e->base.txn.changes_count, &c->next,
			    &err) < 0 ||
	    etcd_stage_make(e, &err) < 0) {
		finish(e, &err);
		return;
	}
	c->fresh = true;
	c->revision = 0;
	memset(&c->err, 0, sizeof(c->err));
	if (!c->staged.length) {
		send_txn(e);
		return;
	}
	c->phase = ETCD_COMMIT_STAGES;
	etcd_stage_put(e);
}

static void
again(struct etcd_engine *e)
{
	struct err err = {0};

	if (store_txn_again(&e->base.txn, &err) < 0 || store_txn_finish(&e->base.txn, &err) < 0)
		finish(e, &err);
	else
		go(e);
}

static void
too_late(uv_timer_t *timer)
{
	struct etcd_engine *e = timer->data;
	struct err err = {0};

	if (e->commit.phase != ETCD_COMMIT_WAITS)
		return;
	err_set(&err, ERR_UNREACHABLE, "this node's copy of the store does not follow");
	if (!e->writable)
		err_why(&err, "%s", e->why.what);
	finish(e, &err);
}

/* ---- from outside ---- */

void
etcd_commit_init(struct etcd_engine *e)
{
	uv_timer_init(e->loop, &e->commit.timer);
	e->commit.timer.data = e;
	buf_init(&e->commit.staged, MEM_SCHEDULER, 0);
}

void
etcd_commit_submit(void *engine, store_done_fn done, void *arg)
{
	struct etcd_engine *e = engine;
	struct etcd_commit *c = &e->commit;
	struct err err = {0};

	assert(e->base.txn_open && c->phase == ETCD_COMMIT_NONE);
	e->base.txn_open = false;
	c->done = done;
	c->arg = arg;
	c->turns = 0;
	c->doubt_until_ms = 0;
	c->phase = ETCD_COMMIT_WAITS;
	start_waiting(e);
	if (store_txn_finish(&e->base.txn, &err) < 0)
		finish(e, &err);
	else
		go(e);
}

void
etcd_commit_stop(struct etcd_engine *e)
{
	struct err err = {0};

	if (e->commit.phase == ETCD_COMMIT_NONE)
		return;
	err_set(&err, ERR_INTERRUPTED, "the store was closed");
	finish(e, &err);
}

void
etcd_commit_staged(struct etcd_engine *e, const struct err *err)
{
	if (err)
		finish(e, err);
	else
		send_txn(e);
}

void
etcd_commit_seen(struct etcd_engine *e, const struct store_entry *entry)
{
	struct etcd_commit *c = &e->commit;

	/* Its answer is late or lost, but it came with the news. */
	if ((c->phase == ETCD_COMMIT_SENT || c->phase == ETCD_COMMIT_DOUBTS) && c->fresh &&
	    store_entry_same(entry, &c->next) && !c->staged.length)
		kept(e);
}

void
etcd_commit_wake(struct etcd_engine *e)
{
	struct etcd_commit *c = &e->commit;

	if (c->phase == ETCD_COMMIT_WAITS && !e->sync.unspread &&
	    e->base.copy.head.sequence >= c->wait_for)
		again(e);
}
