/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writing node's engine. Every transaction, its own or a follower's, is applied to the file as
 * one of the log (store_copy_apply): with its number, its digest and its hash, checked against what
 * the rows come to. So a follower can check all that it takes over, and the file can become any
 * other engine's copy.
 */
#include "scheduler/store_serve.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/store_lease.h"
#include "scheduler/store_mine.h"
#include "scheduler/store_serve_inside.h"

enum { ID_BYTES = 16, BLOCK = 65536, FEW = 1024, NUMBER_BYTES = 24, TERM_SHIFT = 24 };

#define NOTE_IDS "serve.ids"

static void
draw(void *out, size_t bytes)
{
	struct world world;

	world_real(&world);
	world_random(&world, out, bytes);
}

/* ---- ids ---- */

static int
next_id(struct store *rows, uint64_t *out, struct err *err)
{
	uint64_t stored = 0, highest;
	char number[NUMBER_BYTES];

	if (store_get_note(rows, NOTE_IDS, number, sizeof(number), err) < 0 ||
	    store_highest_id(rows, &highest, err) < 0)
		return -1;
	if (number[0] && !text_u64(number, INT64_MAX, &stored))
		return err_set(err, ERR_CORRUPT, "the store's next id is none");
	*out = stored > highest ? stored : highest + 1;
	return 0;
}

/* What is left of a block when its node ends is never given. */
int
store_serve_ids(struct store_serve *s, uint64_t *first_out, uint64_t *end_out, struct err *err)
{
	struct store *rows = s->base.copy.rows;
	char number[NUMBER_BYTES];

	if (next_id(rows, first_out, err) < 0)
		return -1;
	*end_out = *first_out + BLOCK;
	if (*end_out > INT64_MAX)
		return err_set(err, ERR_LIMIT, "the store has no ids left");
	text_format(number, sizeof(number), "%" PRIu64, *end_out);
	if (store_begin(rows, err) < 0)
		return -1;
	if (store_put_note(rows, NOTE_IDS, number, err) == 0)
		return store_commit(rows, err);
	store_abort(rows);
	return -1;
}

/* ---- transactions ---- */

static int
is_over(const struct store_serve *s, struct err *err)
{
	if (s->fenced.kind) {
		*err = s->fenced;
		return -1;
	}
	err_set(err, ERR_UNREACHABLE, "the store is moving to another engine");
	return err_fix(err, "try again in a moment");
}

static int
engine_begin(void *engine, struct err *err)
{
	struct store_serve *s = engine;
	struct store_base *b = &s->base;

	if (s->held)
		return is_over(s, err);
	if (b->id_end - b->id_next < FEW && store_serve_ids(s, &b->id_next, &b->id_end, err) < 0)
		return -1;
	return store_base_begin(b, err);
}

/* It is on the disk. */
static void
kept(struct store_serve *s, const struct store_change *changes, size_t count)
{
	store_log_add(&s->log, &s->base.copy.head, changes, count);
	/* One that is on its way serves others too, if the log leads on from it. */
	if (s->snapshot &&
	    (s->snapshot->refs == 1 || !store_log_get(&s->log, s->snapshot->sequence + 1))) {
		store_log_frames_unref(s->snapshot);
		s->snapshot = NULL;
	}
}

int
store_serve_take(struct store_serve *s, const struct store_change *changes, size_t count,
		 const struct store_entry *entry, struct err *err)
{
	if (s->held)
		return is_over(s, err);
	if (store_base_can_write(&s->base, err) < 0)
		return -1;
	if (store_copy_apply(&s->base.copy, changes, count, entry, 0, err) < 0)
		return -1;
	kept(s, changes, count);
	store_base_tell(&s->base, changes, count);
	return 0;
}

static int
commit(struct store_serve *s, struct err *err)
{
	struct store_entry next = {0};
	struct store_base *b = &s->base;

	if (store_base_finish(b, err) < 0)
		return -1;
	if (!b->txn.changes_count)
		return 0;
	draw(next.txid, sizeof(next.txid));
	if (store_copy_next(&b->copy, b->txn.changes, b->txn.changes_count, &next, err) < 0 ||
	    store_copy_apply(&b->copy, b->txn.changes, b->txn.changes_count, &next, 0, err) < 0)
		return -1;
	kept(s, b->txn.changes, b->txn.changes_count);
	return 0;
}

static void
engine_submit(void *engine, store_done_fn done, void *arg)
{
	struct store_serve *s = engine;
	struct err err = {0};
	int rc = commit(s, &err);

	store_txn_fini(&s->base.txn);
	if (rc == 0)
		store_serve_peer_pump_all(s);
	done(arg, rc < 0 ? &err : NULL);
}

/* ---- all of it ---- */

struct listing {
	struct arena arena;
	struct buf changes; /* of struct store_change */
};

static int
list_change(void *arg, const struct store_change *change, struct err *err)
{
	struct listing *l = arg;
	struct store_change mine = *change;
	void *data = arena_alloc(&l->arena, change->bytes + 1);

	if (!data)
		return err_set(err, ERR_NO_MEMORY, "no memory for a snapshot of the store");
	memcpy(data, change->data, change->bytes);
	mine.data = data;
	buf_put(&l->changes, &mine, sizeof(mine));
	return 0;
}

static int
by_key(const void *a, const void *b)
{
	return store_key_compare(&((const struct store_change *)a)->key,
				 &((const struct store_change *)b)->key);
}

static void
write_snapshot(struct store_frames *f, const struct store_entry *entry, struct listing *l)
{
	struct store_change *changes = (struct store_change *)(void *)l->changes.data;
	size_t count = l->changes.length / sizeof(*changes);

	if (count)
		qsort(changes, count, sizeof(*changes), by_key);
	size_t begun = store_wire_begin(&f->bytes, STORE_WIRE_SNAPSHOT);
	store_wire_put_entry(&f->bytes, entry);
	store_wire_end(&f->bytes, begun);
	store_wire_put_changes(&f->bytes, changes, count);
	store_wire_end(&f->bytes, store_wire_begin(&f->bytes, STORE_WIRE_END));
}

struct store_frames *
store_serve_snapshot(struct store_serve *s, struct err *err)
{
	struct listing l;

	if (s->snapshot)
		return s->snapshot;
	arena_init(&l.arena, MEM_SCHEDULER, STORE_WIRE_SNAPSHOT_MAX);
	buf_init(&l.changes, MEM_SCHEDULER, STORE_WIRE_SNAPSHOT_MAX);
	struct store_frames *f =
		store_log_frames_new(s->base.copy.head.sequence, STORE_WIRE_SNAPSHOT_MAX);
	int rc = f ? store_copy_each(s->base.copy.rows, list_change, &l, err) : -1;
	if (rc == 0)
		write_snapshot(f, &s->base.copy.head, &l);
	bool fine = rc == 0 && buf_ok(&l.changes) && buf_ok(&f->bytes);
	buf_fini(&l.changes);
	arena_fini(&l.arena);
	if (!fine) {
		store_log_frames_unref(f);
		if (!err->kind)
			err_set(err, ERR_NO_MEMORY, "no memory for a snapshot of the store");
		return NULL;
	}
	s->snapshot = f;
	return f;
}

int
store_serve_check(struct store_serve *s, struct err *err)
{
	struct store_digest digest;
	uint64_t count;

	if (store_copy_sum(s->base.copy.rows, &digest, &count, err) < 0)
		return -1;
	if (count == s->base.copy.head.count &&
	    !memcmp(&digest, &s->base.copy.head.digest, sizeof(digest)))
		return 0;
	err_set(err, ERR_CORRUPT, "the store is not what its log says");
	return err_fix(err, "restore a backup");
}

static void
engine_check(void *engine, store_done_fn done, void *arg)
{
	struct err err = {0};

	done(arg, store_serve_check(engine, &err) < 0 ? &err : NULL);
}

/* ---- leases ---- */

struct leasing {
	struct store_serve *s;
	const char *name;
	enum store_lease_verb verb;
	store_lease_fn done;
	void *arg;
};

static void
leased(void *arg, uint64_t epoch, const struct err *err)
{
	struct leasing *l = arg;
	struct err mine = {0};

	if (!err && l->verb == STORE_LEASE_TAKE && !store_mine_add(&l->s->mine, l->name, epoch)) {
		err_set(&mine, ERR_NO_MEMORY, "no memory for a lease");
		err = &mine;
	}
	if (l->verb == STORE_LEASE_DROP || (err && l->verb == STORE_LEASE_KEEP))
		store_mine_remove(&l->s->mine, l->name);
	l->done(l->arg, err ? 0 : epoch, err);
}

static void
engine_lease(void *engine, enum store_lease_verb verb, const char *name, const char *holder,
	     uint32_t ttl_s, store_lease_fn done, void *arg)
{
	struct store_serve *s = engine;
	struct store *rows = s->base.copy.rows;
	struct leasing l = {s, name, verb, done, arg};
	uint64_t epoch = store_mine_find(&s->mine, name);
	bool ours = epoch && epoch == store_lease_epoch(rows, name);
	struct err err = {0};

	/* Who takes it over gives no lease before all that were given here have ended. */
	if (s->held && verb != STORE_LEASE_DROP) {
		is_over(s, &err);
		done(arg, 0, &err);
		return;
	}
	if (verb == STORE_LEASE_TAKE) {
		store_lease_take(rows, name, holder, ttl_s, leased, &l);
	} else if (!ours && verb == STORE_LEASE_KEEP) {
		err_set(&err, ERR_NOT_FOUND, "%s is not held any more", name);
		leased(&l, 0, &err);
	} else if (!ours) {
		leased(&l, 0, NULL);
	} else if (verb == STORE_LEASE_KEEP) {
		store_lease_keep(rows, name, epoch, leased, &l);
	} else {
		store_lease_drop(rows, name, epoch, leased, &l);
	}
}

static bool
engine_adopt(void *engine, const char *name, uint64_t epoch)
{
	struct store_serve *s = engine;

	return store_mine_add(&s->mine, name, epoch);
}

static uint64_t
engine_mine(void *engine, const char *name)
{
	const struct store_serve *s = engine;

	return store_mine_find(&s->mine, name);
}

/* ---- life ---- */

static void
engine_status(void *engine, struct store_status *out)
{
	const struct store_serve *s = engine;
	struct err why = {0};

	if (s->held)
		is_over(s, &why);
	store_base_status(&s->base, &why, out);
}

void
store_serve_hold(struct store_serve *s, bool hold)
{
	s->held = hold || s->farewell || s->fenced.kind;
}

void
store_serve_fence(struct store_serve *s, const struct err *why)
{
	s->fenced = *why;
	s->held = true;
	store_serve_peer_end_all(s);
}

int
store_serve_take_over(struct store *rows, uint32_t term, struct err *err)
{
	char number[NUMBER_BYTES];
	uint64_t next;

	if (next_id(rows, &next, err) < 0)
		return -1;
	/* Of 65,536 blocks the writer before cannot have given more without a row of them. */
	next += (uint64_t)BLOCK << 16;
	text_format(number, sizeof(number), "%" PRIu64, next);
	if (store_put_note(rows, NOTE_IDS, number, err) < 0)
		return -1;
	return store_lease_raise(rows, (uint64_t)term << TERM_SHIFT, err);
}

int
store_serve_moved(struct store_serve *s, struct err *err)
{
	char id[STORE_COPY_ID_BYTES];
	struct store_entry entry;
	int64_t revision;

	if (store_copy_read(s->base.copy.rows, id, &entry, &revision, err) < 0)
		return -1;
	struct store_frames *f = store_log_frames_new(entry.sequence, STORE_WIRE_FRAME_MAX);
	if (!f)
		return err_set(err, ERR_NO_MEMORY, "no memory to tell of a store's move");
	size_t begun = store_wire_begin(&f->bytes, STORE_WIRE_MOVED);
	buf_text(&f->bytes, id);
	store_wire_put_entry(&f->bytes, &entry);
	buf_u64(&f->bytes, (uint64_t)revision);
	store_wire_end(&f->bytes, begun);
	if (!buf_ok(&f->bytes)) {
		store_log_frames_unref(f);
		return err_set(err, ERR_NO_MEMORY, "no memory to tell of a store's move");
	}
	s->held = true;
	s->farewell = f;
	store_serve_peer_pump_all(s);
	return 0;
}

static void
engine_close(void *engine)
{
	struct store_serve *s = engine;

	if (s->base.txn_open)
		store_base_abort(s);
	store_serve_peer_end_all(s);
	store_mine_clear(&s->mine);
	store_log_fini(&s->log);
	store_log_frames_unref(s->snapshot);
	store_log_frames_unref(s->farewell);
	if (s->base.copy.rows)
		store_copy_close(&s->base.copy);
	mem_free(s);
}

static const struct store_engine calls = {
	STORE_BASE_CALLS, /* and its own: */
	.begin = engine_begin,   .close = engine_close, .submit = engine_submit,
	.status = engine_status, .check = engine_check, .lease = engine_lease,
	.adopt = engine_adopt,   .mine = engine_mine,
};

int
store_serve_open(struct store *rows, struct store **out, struct store_serve **serve_out,
		 struct err *err)
{
	struct store_serve *s = mem_zalloc(MEM_SCHEDULER, sizeof(*s));
	uint8_t random[ID_BYTES], txid[STORE_TXID_BYTES];
	char id[STORE_COPY_ID_BYTES];

	if (!s) {
		store_free(rows);
		return err_set(err, ERR_NO_MEMORY, "no memory for the store");
	}
	list_init(&s->peers);
	list_init(&s->mine);
	store_log_init(&s->log);
	draw(random, sizeof(random));
	draw(txid, sizeof(txid));
	text_hex(random, sizeof(random), id, sizeof(id));
	if (store_copy_open_record(&s->base.copy, rows, id, txid, err) < 0) {
		engine_close(s);
		return -1;
	}
	s->base.copy.keeps_log = true;
	store_lease_outlive(rows);
	*serve_out = s;
	return store_new(&calls, s, out, err);
}

size_t
store_serve_peers(const struct store_serve *s)
{
	return s->peers_count;
}
