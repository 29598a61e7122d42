/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The copy follows the cluster.
 *
 *   look    every 2 s the newest entry of the log is read from a majority: that is how this node
 *           knows that the cluster can be changed, and that the copy is not behind
 *   watch   changes come as etcd commits them; those of one revision belong together, and with the
 *           entry that came with them they are one transaction
 *   read    everything, at one revision (etcd_read.c): at the beginning, after what was missed is
 *           compacted, and whenever a transaction does not fit the copy
 *
 * While the copy cannot be written (a full disk) nothing but looking goes on, and nothing can be
 * changed.
 *
 * A copy is never set back: a cluster that is older than it, or has another history, is refused.
 */
#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/etcd_engine.h"

enum {
	BODY_BYTES = 16 << 10,
	LOOK_BYTES = 64 << 10,
	LINE_BYTES = 192 << 20,
	AGAIN_MS = 250,
	BEHIND_MAX = 3,
	ID_BYTES = 16,
};

static void ask(struct etcd_engine *e);
static void look_in(struct etcd_engine *e, uint64_t ms);
static void start_watch(struct etcd_engine *e);

int
etcd_sync_apply(struct etcd_engine *e, const struct store_change *changes, size_t count,
		const struct store_entry *entry, int64_t revision, struct err *err)
{
	bool own = e->commit.phase != ETCD_COMMIT_NONE && e->commit.fresh &&
		   store_entry_same(entry, &e->commit.next);

	if (revision < e->base.copy.revision)
		revision = e->base.copy.revision;
	if (store_copy_apply(&e->base.copy, changes, count, entry, revision, err) < 0)
		return -1;
	if (!own)
		store_base_tell(&e->base, changes, count);
	etcd_commit_seen(e, entry);
	if (!e->writable && entry->sequence >= e->sync.level)
		look_in(e, 0);
	return 0;
}

/* ---- looking ---- */

static void
on_time(uv_timer_t *timer)
{
	ask(timer->data);
}

static void
look_in(struct etcd_engine *e, uint64_t ms)
{
	if (!e->sync.look)
		uv_timer_start(&e->sync.timer, on_time, ms, 0);
}

/* The copy is what the cluster is, or will be in a moment. */
static void
settle(struct etcd_engine *e)
{
	struct err err = {0};

	etcd_ids_fill(e);
	if (!e->sync.watch)
		start_watch(e);
	etcd_commit_wake(e);
	/* Comes back when there are some; when the copy has followed. */
	if (etcd_ids_any(e, &err) == 0 && !e->writable &&
	    e->base.copy.head.sequence < e->sync.level) {
		err_set(&err, ERR_UNREACHABLE, "this node's copy of the store is not up to date");
		err_fix(&err, "try again in a moment");
	}
	if (err.kind) {
		etcd_engine_wait(e, &err);
		return;
	}
	if (!e->writable)
		log_event(LOG_INFO, "the store can be changed",
			  log_u("sequence", e->base.copy.head.sequence), LOG_END);
	e->writable = true;
	memset(&e->why, 0, sizeof(e->why));
}

void
etcd_sync_settle(struct etcd_engine *e)
{
	if (!e->sync.read && e->base.copy.id[0])
		settle(e);
}

static void
call_look(struct etcd_engine *e, const char *path, struct buf *body, etcd_rpc_done_fn done)
{
	struct err err = {0};

	e->sync.look = etcd_rpc_call(e->rpc, path, body, done, e, &err);
	buf_fini(body);
	if (!e->sync.look) {
		etcd_engine_unwritable(e, &err);
		look_in(e, AGAIN_MS);
	}
}

static void
made(void *arg, const struct etcd_rpc_answer *answer)
{
	struct etcd_engine *e = arg;

	e->sync.look = NULL;
	if (answer->err)
		etcd_engine_unwritable(e, answer->err);
	look_in(e, answer->err ? AGAIN_MS : 0);
}

/* Nobody used this prefix before. */
static void
make(struct etcd_engine *e)
{
	char key[ETCD_ENGINE_KEY_BYTES], text[STORE_ENTRY_BYTES], id[2 * ID_BYTES + 1];
	struct store_entry first = {0};
	struct etcd_json_txn t;
	uint8_t random[ID_BYTES];
	struct world world;
	struct buf body;

	world_real(&world);
	world_random(&world, random, sizeof(random));
	text_hex(random, sizeof(random), id, sizeof(id));
	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	etcd_json_txn(&t, &body);
	etcd_engine_key(e, "id", key);
	etcd_json_if_absent(&t, key);
	etcd_json_then(&t);
	etcd_json_put(&t, key, id, strlen(id), 0);
	etcd_engine_key(e, "ids", key);
	etcd_json_put(&t, key, "1", 1, 0);
	etcd_engine_log_key(e, 0, key);
	store_entry_put(&first, text);
	etcd_json_put(&t, key, text, strlen(text), 0);
	etcd_json_end(&t);
	call_look(e, "/v3/kv/txn", &body, made);
}

static int
another(struct err *err, const char *why)
{
	err_set(err, ERR_CORRUPT,
		"the cluster's store is not the one that this node has a copy of");
	err_why(err, "%s", why);
	return err_fix(err, "if the cluster is right, move this node's copy away: it is copied "
			    "again");
}

static int
get_entry(const struct etcd_json_kvs *kvs, struct store_entry *out, struct err *err)
{
	if (kvs->count != 1)
		return another(err, "its log is gone");
	return store_entry_get((const char *)kvs->items[0].value, kvs->items[0].value_bytes, out,
			       err);
}

static int
check_history(struct etcd_engine *e, const struct etcd_json_answer *a,
	      const struct store_entry *newest, struct err *err)
{
	const struct etcd_json_kvs *id = &a->gets[0], *mine = &a->gets[2];
	struct store_entry there;

	if (!e->base.copy.id[0])
		return 0;
	if (id->items[0].value_bytes != strlen(e->base.copy.id) ||
	    memcmp(id->items[0].value, e->base.copy.id, id->items[0].value_bytes) != 0)
		return another(err, "it is another store");
	if (newest->sequence < e->sync.look_from)
		return another(err, "it is older than the copy");
	if (mine->count == 0 || e->base.copy.head.sequence != e->sync.look_from)
		return 0;
	if (get_entry(mine, &there, err) < 0)
		return -1;
	return store_entry_same(&there, &e->base.copy.head)
		       ? 0
		       : another(err, "it has another history");
}

/* This node's file cannot be written: nothing is read that could not be kept. When there is room
 * again the watch begins where the copy is. */
static bool
stands_still(struct etcd_engine *e)
{
	struct err err = {0};

	if (store_base_can_write(&e->base, &err) == 0)
		return false;
	etcd_rpc_cancel(e->sync.watch);
	e->sync.watch = NULL;
	etcd_read_stop(e);
	etcd_engine_unwritable(e, &err);
	etcd_sync_checked(e, &err);
	look_in(e, STORE_ETCD_LOOK_MS);
	return true;
}

/* A transaction that its writer left unspread is finished by whoever sees it for long. */
static void
look_at_newest(struct etcd_engine *e, const struct store_entry *newest, int64_t revision)
{
	bool late = newest->sequence > e->base.copy.head.sequence || !e->base.copy.id[0];

	if (stands_still(e))
		return;
	e->sync.level = newest->parts ? newest->sequence - 1 : newest->sequence;
	if (newest->parts) {
		e->sync.unspread = true;
		if (++e->sync.behind >= BEHIND_MAX)
			etcd_spread_start(e, newest);
	} else {
		if (newest->sequence == e->base.copy.head.sequence)
			e->sync.unspread = false;
		e->sync.behind = late ? e->sync.behind + 1 : 0;
		etcd_spread_sweep(e, revision);
	}
	if (!e->base.copy.id[0] || (e->sync.check && !newest->parts) ||
	    (late && (!e->base.copy.revision || e->sync.behind > BEHIND_MAX)))
		etcd_read_start(e);
	else if (!e->sync.read)
		settle(e);
}

static int
begin_store(struct etcd_engine *e, struct err *err)
{
	if (!e->existing) {
		make(e);
		return 0;
	}
	err_set(err, ERR_NOT_FOUND, "etcd has no store of this cluster");
	err_why(err, "there is nothing below %s", e->prefix);
	return err_fix(err, "all nodes are to name the same etcd and the same prefix");
}

static int
read_look(struct etcd_engine *e, const struct etcd_rpc_answer *answer, struct arena *arena,
	  struct err *err)
{
	struct etcd_json_answer a;
	struct store_entry newest;

	if (etcd_json_answer(answer->text, answer->bytes, arena, &a, err) < 0)
		return -1;
	if (a.gets_count != 3)
		return err_set(err, ERR_CORRUPT, "etcd gave an answer that is none");
	if (a.gets[0].count != 1) {
		if (e->base.copy.id[0] && !e->existing)
			return another(err, "it is empty");
		return begin_store(e, err);
	}
	if (get_entry(&a.gets[1], &newest, err) < 0 || check_history(e, &a, &newest, err) < 0)
		return -1;
	look_at_newest(e, &newest, a.gets[1].items[0].revision);
	return 0;
}

static void
looked(void *arg, const struct etcd_rpc_answer *answer)
{
	struct etcd_engine *e = arg;
	struct err err = {0};
	struct arena arena;

	e->sync.look = NULL;
	if (answer->err) {
		etcd_engine_unwritable(e, answer->err);
		look_in(e, AGAIN_MS);
		return;
	}
	arena_init(&arena, MEM_SCHEDULER, LOOK_BYTES);
	if (read_look(e, answer, &arena, &err) < 0)
		etcd_engine_unwritable(e, &err);
	arena_fini(&arena);
	look_in(e, STORE_ETCD_LOOK_MS);
}

static void
ask(struct etcd_engine *e)
{
	char id[ETCD_ENGINE_KEY_BYTES], from[ETCD_ENGINE_KEY_BYTES], to[ETCD_ENGINE_KEY_BYTES];
	char mine[ETCD_ENGINE_KEY_BYTES];
	struct etcd_json_txn t;
	struct buf body;

	if (e->sync.look)
		return;
	e->sync.look_from = e->base.copy.head.sequence;
	etcd_engine_key(e, "id", id);
	etcd_engine_key(e, "log/", from);
	etcd_engine_key(e, "log0", to);
	etcd_engine_log_key(e, e->base.copy.head.sequence, mine);
	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	etcd_json_txn(&t, &body);
	etcd_json_then(&t);
	etcd_json_get(&t, &(struct etcd_json_range){.key = id});
	etcd_json_get(&t, &(struct etcd_json_range){
				  .key = from,
				  .end = to,
				  .limit = 1,
				  .newest_first = true,
			  });
	etcd_json_get(&t, &(struct etcd_json_range){.key = mine});
	etcd_json_end(&t);
	call_look(e, "/v3/kv/txn", &body, looked);
}

/* ---- watching ---- */

struct group {
	struct store_change *changes;
	size_t count;
	struct store_entry entry;
	bool has_entry;
};

static int
sort_group(const struct etcd_engine *e, const struct etcd_json_kv *kvs, size_t count,
	   struct group *g, struct err *err)
{
	char log[ETCD_ENGINE_KEY_BYTES];

	etcd_engine_key(e, "log/", log);
	for (size_t i = 0; i < count; i++) {
		int rc = etcd_read_change(e, &kvs[i], &g->changes[g->count], err);

		if (rc < 0)
			return -1;
		g->count += (size_t)rc;
		if (rc || kvs[i].gone || !text_starts(kvs[i].key, log))
			continue;
		if (store_entry_get((const char *)kvs[i].value, kvs[i].value_bytes, &g->entry,
				    err) < 0)
			return -1;
		g->has_entry = true;
	}
	etcd_read_sort(g->changes, g->count);
	return 0;
}

/* What one revision changed. 1: a large one, which only reading everything gives. */
static int
take_group(struct etcd_engine *e, const struct etcd_json_kv *kvs, size_t count, struct arena *arena,
	   struct err *err)
{
	struct group g = {.changes = arena_array(arena, count + 1, sizeof(*g.changes))};
	uint64_t mine = e->base.copy.head.sequence;

	if (!g.changes)
		return err_set(err, ERR_NO_MEMORY, "no memory for changes of the store");
	if (sort_group(e, kvs, count, &g, err) < 0)
		return -1;
	if (!g.has_entry) {
		if (g.count && !e->sync.loose_may_be)
			return err_set(err, ERR_CORRUPT, "the store was changed by something else");
		e->sync.loose |= g.count > 0;
		return 0; /* a lease, a part, a piece of a large one */
	}
	if (g.entry.sequence < mine)
		return 0;
	if (g.entry.parts) {
		e->sync.unspread = e->sync.loose_may_be = true;
		e->sync.large = g.entry.sequence;
		return 0;
	}
	bool whole = !e->sync.loose && g.entry.sequence != e->sync.large;
	e->sync.loose_may_be = e->sync.loose = false;
	if (g.entry.sequence == mine) {
		e->sync.unspread = false;
		etcd_commit_wake(e);
		return 0;
	}
	if (!whole)
		return 1;
	if (etcd_sync_apply(e, g.changes, g.count, &g.entry, kvs[0].revision, err) < 0)
		return -1;
	e->sync.unspread = false;
	etcd_commit_wake(e);
	return 0;
}

static void
take_events(struct etcd_engine *e, const struct etcd_json_kvs *kvs, struct arena *arena)
{
	struct etcd_call *watch = e->sync.watch;
	struct err err = {0};

	for (size_t i = 0, n; i < kvs->count; i += n) {
		for (n = 1;
		     i + n < kvs->count && kvs->items[i + n].revision == kvs->items[i].revision;)
			n++;
		int rc = take_group(e, &kvs->items[i], n, arena, &err);

		if (rc < 0 && stands_still(e))
			return;
		if (rc != 0) {
			if (rc < 0)
				log_err(LOG_WARN, "the store is copied anew", &err);
			etcd_read_start(e);
			return;
		}
		if (e->sync.watch != watch)
			return;
	}
	/* It follows, if slowly. News of anything else do not count. */
	if (e->base.copy.head.sequence > e->sync.look_from)
		e->sync.behind = 0;
}

static void
on_line(void *arg, const char *text, size_t bytes)
{
	struct etcd_engine *e = arg;
	struct etcd_json_events events;
	struct err err = {0};
	struct arena arena;

	arena_init(&arena, MEM_SCHEDULER, LINE_BYTES);
	if (etcd_json_events(text, bytes, &arena, &events, &err) < 0) {
		log_err(LOG_WARN, "the store is copied anew", &err);
		etcd_read_start(e);
	} else if (events.canceled) {
		etcd_rpc_cancel(e->sync.watch);
		e->sync.watch = NULL;
		if (events.compacted)
			etcd_read_start(e);
		else
			look_in(e, AGAIN_MS);
	} else {
		take_events(e, &events.kvs, &arena);
	}
	arena_fini(&arena);
}

static void
watch_ended(void *arg, const struct etcd_rpc_answer *answer)
{
	struct etcd_engine *e = arg;

	(void)answer;
	e->sync.watch = NULL;
	look_in(e, AGAIN_MS);
}

static void
start_watch(struct etcd_engine *e)
{
	char from[ETCD_ENGINE_KEY_BYTES], to[ETCD_ENGINE_KEY_BYTES];
	struct err err = {0};
	struct buf body;

	e->sync.loose_may_be = true;
	e->sync.loose = false;
	e->sync.large = 0;
	etcd_engine_key(e, "", from);
	text_copy(to, sizeof(to), from);
	to[strlen(to) - 1] = '0'; /* follows '/' */
	buf_init(&body, MEM_SCHEDULER, BODY_BYTES);
	etcd_json_watch(&body, from, to, e->base.copy.revision + 1);
	e->sync.watch = etcd_rpc_stream(e->rpc, "/v3/watch", &body, on_line, watch_ended, e, &err);
	buf_fini(&body);
}

/* ---- from outside ---- */

void
etcd_sync_init(struct etcd_engine *e)
{
	uv_timer_init(e->loop, &e->sync.timer);
	e->sync.timer.data = e;
	buf_init(&e->sync.changes, MEM_SCHEDULER, 0);
	arena_init(&e->sync.arena, MEM_SCHEDULER, 0);
	ask(e);
}

void
etcd_sync_stop(struct etcd_engine *e)
{
	struct err err = {0};

	etcd_rpc_cancel(e->sync.look);
	etcd_rpc_cancel(e->sync.watch);
	e->sync.look = e->sync.watch = NULL;
	etcd_read_stop(e);
	uv_timer_stop(&e->sync.timer);
	err_set(&err, ERR_INTERRUPTED, "the store was closed");
	etcd_sync_checked(e, &err);
}

void
etcd_sync_look(struct etcd_engine *e, uint64_t ms)
{
	look_in(e, ms);
}

void
etcd_sync_check(void *engine, store_done_fn done, void *arg)
{
	struct etcd_engine *e = engine;

	assert(!e->sync.check);
	e->sync.check = done;
	e->sync.check_arg = arg;
	etcd_read_start(e);
}

void
etcd_sync_checked(struct etcd_engine *e, const struct err *err)
{
	store_done_fn done = e->sync.check;

	e->sync.check = NULL;
	if (done)
		done(e->sync.check_arg, err);
}
