/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_SHARED_STORE_H
#define TESTS_SUPPORT_SHARED_STORE_H

/*
 * A shared store without a network: a log in memory, and for each node an engine with a verified
 * copy of its own (the product's: store_copy.h, store_txn.h). Nothing moves but by shared_step():
 * what others committed arrives one transaction at a time, a transaction that was submitted is
 * committed when the copy is at the end of the log. A node can be cut off, and its answers can be
 * lost. Leases are in the log's memory, with the time that the test sets, and answered at once.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "scheduler/store_copy.h"
#include "scheduler/store_mine.h"
#include "scheduler/store_row.h"
#include "scheduler/store_sqlite.h"
#include "scheduler/store_txn.h"

enum {
	SHARED_IDS = 65536,
	SHARED_NODES_MAX = 4,
	SHARED_CHANGES_MAX = 4096,
	SHARED_LEASES_MAX = 32,
};

struct shared_lease {
	char name[256];
	char holder[64];
	uint64_t epoch, ttl_ns, until_ns;
};

struct shared_entry {
	struct store_entry entry;
	struct buf changes;
};

struct shared_log {
	struct shared_entry *entries;
	size_t count;
	uint64_t ids; /* blocks given */
	struct shared_lease leases[SHARED_LEASES_MAX];
	uint64_t now_ns;
	unsigned takes, keeps, drops; /* that were answered with yes */
};

enum shared_loss { SHARED_ANSWERED, SHARED_LOST_KEPT, SHARED_LOST };

struct shared_node {
	struct shared_log *log;
	struct store_copy copy;
	struct store_txn txn;
	bool txn_open;
	bool busy;
	store_done_fn done;
	void *done_arg;
	store_news_fn news;
	void *news_arg;
	uint64_t id, ids_end;
	bool cut;              /* cannot write, and hears nothing */
	enum shared_loss loss; /* of the next answer */
	unsigned news_alls;    /* told "anything" instead of rows, that often */
	uint64_t own;          /* sequence that is no news */
	bool closed;
	struct list mine;    /* leases */
	bool fails;          /* allocations of the next `done` ... */
	int64_t fails_after; /* ... after so many */
};

static inline void
shared_must(bool good, const char *what, const struct err *err)
{
	if (good)
		return;
	fprintf(stderr, "shared store: %s: %s\n", what, err ? err->what : "");
	abort();
}

static inline int
shared_begin(void *engine, struct err *err)
{
	struct shared_node *n = engine;

	if (n->cut)
		return err_set(err, ERR_UNREACHABLE, "no quorum: cut off");
	if (store_txn_begin(&n->txn, n->copy.rows, err) < 0)
		return -1;
	n->txn_open = true;
	return 0;
}

static inline void
shared_abort(void *engine)
{
	struct shared_node *n = engine;

	store_txn_fini(&n->txn);
	n->txn_open = false;
}

static inline int
shared_put(void *engine, enum store_kind kind, void *row, struct err *err)
{
	struct shared_node *n = engine;
	uint64_t id;

	shared_must(!store_kind_is_local(kind), "a local kind in a shared transaction", NULL);
	memcpy(&id, row, sizeof(id));
	if (!id) {
		if (n->id == n->ids_end) {
			n->id = ++n->log->ids * SHARED_IDS;
			n->ids_end = n->id + SHARED_IDS;
		}
		id = n->id++;
		memcpy(row, &id, sizeof(id));
	}
	return store_txn_put(&n->txn, kind, row, err);
}

static inline int
shared_drop(void *engine, enum store_kind kind, uint64_t id, uint64_t version, struct err *err)
{
	shared_must(!store_kind_is_local(kind), "a local kind in a shared transaction", NULL);
	return store_txn_drop(&((struct shared_node *)engine)->txn, kind, id, version, err);
}

static inline int
shared_drop_through(void *engine, enum store_kind kind, uint64_t id, struct err *err)
{
	return store_txn_drop_through(&((struct shared_node *)engine)->txn, kind, id, err);
}

static inline int
shared_put_blob(void *engine, enum store_blob blob, uint64_t id, const void *data, size_t bytes,
		struct err *err)
{
	shared_must(!store_blob_is_local(blob), "a local blob in a shared transaction", NULL);
	return store_txn_put_blob(&((struct shared_node *)engine)->txn, blob, id, data, bytes, err);
}

static inline int
shared_get_blob(void *engine, enum store_blob blob, uint64_t id, struct buf *out, struct err *err)
{
	return store_get_blob(((struct shared_node *)engine)->copy.rows, blob, id, out, err);
}

static inline int
shared_each(void *engine, enum store_kind kind, uint64_t above, uint64_t parent, void *row,
	    store_visit_fn visit, void *arg, struct err *err)
{
	(void)row;
	return store_each(((struct shared_node *)engine)->copy.rows, kind, above, parent, visit,
			  arg, err);
}

static inline int
shared_get(void *engine, enum store_kind kind, uint64_t id, void *row, struct err *err)
{
	return store_get(((struct shared_node *)engine)->copy.rows, kind, id, row, err);
}

static inline int
shared_place(void *engine, enum store_kind kind, const void *row, struct err *err)
{
	return store_txn_place(&((struct shared_node *)engine)->txn, kind, row, err);
}

static inline int
shared_version(void *engine, enum store_kind kind, uint64_t id, uint64_t *out, struct err *err)
{
	(void)engine;
	(void)kind;
	(void)id;
	(void)out;
	return err_set(err, ERR_UNSUPPORTED, "not asked for");
}

static inline int
shared_get_note(void *engine, const char *name, char *out, size_t cap, struct err *err)
{
	return store_get_note(((struct shared_node *)engine)->copy.rows, name, out, cap, err);
}

static inline int
shared_put_note(void *engine, const char *name, const char *value, struct err *err)
{
	(void)engine;
	(void)name;
	(void)value;
	return err_set(err, ERR_UNSUPPORTED, "a shared store has no notes");
}

static inline void
shared_end(struct shared_node *n, const struct err *err)
{
	store_txn_fini(&n->txn);
	n->busy = false;
	if (n->fails)
		mem_fail_after(n->fails_after);
	n->done(n->done_arg, err);
	if (n->fails)
		mem_fail_after(-1);
	n->fails = false;
}

static inline void
shared_submit(void *engine, store_done_fn done, void *arg)
{
	struct shared_node *n = engine;
	struct err err = {0};

	n->txn_open = false;
	n->busy = true;
	n->done = done;
	n->done_arg = arg;
	if (store_txn_finish(&n->txn, &err) < 0)
		shared_end(n, &err);
	else if (!n->txn.changes_count)
		shared_end(n, NULL);
}

static inline void
shared_status(void *engine, struct store_status *out)
{
	const struct shared_node *n = engine;

	out->shared = true;
	out->writable = !n->cut;
	if (n->cut)
		err_set(&out->why, ERR_UNREACHABLE, "no quorum: cut off");
	out->sequence = n->copy.head.sequence;
}

static inline void
shared_watch(void *engine, store_news_fn fn, void *arg)
{
	struct shared_node *n = engine;

	n->news = fn;
	n->news_arg = arg;
}

static inline struct store *
shared_local(void *engine)
{
	return ((struct shared_node *)engine)->copy.rows;
}

static inline struct shared_lease *
shared_lease(struct shared_log *log, const char *name)
{
	struct shared_lease *l = log->leases;

	while (l->name[0] && strcmp(l->name, name) != 0)
		l++;
	shared_must(l < log->leases + SHARED_LEASES_MAX, "too many leases", NULL);
	snprintf(l->name, sizeof(l->name), "%s", name);
	return l;
}

static inline void
shared_lease_do(void *engine, enum store_lease_verb verb, const char *name, const char *holder,
		uint32_t ttl_s, store_lease_fn done, void *arg)
{
	struct shared_node *n = engine;
	struct shared_lease *l = shared_lease(n->log, name);
	bool held = n->log->now_ns < l->until_ns;
	bool ours = held && store_mine_find(&n->mine, name) == l->epoch;
	struct err err = {0};

	if (n->cut) {
		err_set(&err, ERR_UNREACHABLE, "no quorum: cut off");
	} else if (verb == STORE_LEASE_TAKE && held) {
		err_set(&err, ERR_CONFLICT, "%s is held", name);
		err_why(&err, "%s", l->holder);
	} else if (verb == STORE_LEASE_TAKE) {
		snprintf(l->holder, sizeof(l->holder), "%s", holder);
		l->ttl_ns = ttl_s * UINT64_C(1000000000);
		l->epoch++;
		l->until_ns = n->log->now_ns + l->ttl_ns;
		shared_must(store_mine_add(&n->mine, name, l->epoch), "memory", NULL);
		n->log->takes++;
	} else if (verb == STORE_LEASE_KEEP && !ours) {
		err_set(&err, ERR_NOT_FOUND, "%s is not held any more", name);
	} else if (verb == STORE_LEASE_KEEP) {
		l->until_ns = n->log->now_ns + l->ttl_ns;
		n->log->keeps++;
	} else if (ours) {
		l->until_ns = 0;
		n->log->drops++;
	}
	if (verb == STORE_LEASE_DROP)
		store_mine_remove(&n->mine, name);
	done(arg, err.kind ? 0 : l->epoch, err.kind ? &err : NULL);
}

static inline bool
shared_adopt(void *engine, const char *name, uint64_t epoch)
{
	return store_mine_add(&((struct shared_node *)engine)->mine, name, epoch);
}

static inline uint64_t
shared_mine(void *engine, const char *name)
{
	return store_mine_find(&((struct shared_node *)engine)->mine, name);
}

static inline void
shared_close(void *engine)
{
	struct shared_node *n = engine;
	struct err err = {0};

	err_set(&err, ERR_INTERRUPTED, "the store was closed");
	if (n->txn_open)
		shared_abort(n);
	if (n->busy)
		shared_end(n, &err);
	store_copy_close(&n->copy);
	store_mine_clear(&n->mine);
	n->news = NULL;
	n->closed = true;
}

static const struct store_engine shared_calls = {
	.begin = shared_begin,
	.abort = shared_abort,
	.put = shared_put,
	.drop = shared_drop,
	.drop_through = shared_drop_through,
	.put_blob = shared_put_blob,
	.get_blob = shared_get_blob,
	.each = shared_each,
	.version = shared_version,
	.get = shared_get,
	.place = shared_place,
	.get_note = shared_get_note,
	.put_note = shared_put_note,
	.close = shared_close,
	.submit = shared_submit,
	.status = shared_status,
	.watch = shared_watch,
	.local = shared_local,
	.lease = shared_lease_do,
	.adopt = shared_adopt,
	.mine = shared_mine,
};

/* name: of the copy's file in the folder, which must be the same for all nodes of a process. */
static inline struct store *
shared_open(struct shared_node *n, struct shared_log *log, int folder, const char *name)
{
	struct store_sqlite_options options = {.dirfd = folder, .name = name};
	const struct store_entry nothing = {0};
	struct store *rows = NULL, *out = NULL;
	struct err err = {0};

	memset(n, 0, sizeof(*n));
	n->log = log;
	list_init(&n->mine);
	shared_must(store_sqlite_open(&options, &rows, &err) == 0, "open", &err);
	shared_must(store_copy_open(&n->copy, rows, &err) == 0, "open a copy", &err);
	shared_must(n->copy.id[0] ||
			    store_copy_replace(&n->copy, NULL, 0, &nothing, 0, "shared", &err) == 0,
		    "begin a copy", &err);
	shared_must(store_new(&shared_calls, n, &out, &err) == 0, "new", &err);
	return out;
}

static inline void
shared_log_fini(struct shared_log *log)
{
	for (size_t i = 0; i < log->count; i++)
		buf_fini(&log->entries[i].changes);
	free(log->entries);
	memset(log, 0, sizeof(*log));
}

/* ---- what moves ---- */

static inline void
shared_append(struct shared_log *log, const struct store_entry *entry,
	      const struct store_change *changes, size_t count)
{
	log->entries = realloc(log->entries, (log->count + 1) * sizeof(*log->entries));
	shared_must(log->entries, "memory", NULL);
	struct shared_entry *e = &log->entries[log->count++];
	e->entry = *entry;
	buf_init(&e->changes, MEM_BASE, 64 << 20);
	for (size_t i = 0; i < count; i++)
		store_change_put(&e->changes, &changes[i]);
	shared_must(buf_ok(&e->changes), "memory", NULL);
}

static inline void
shared_tell(struct shared_node *n, const struct store_change *changes, size_t count)
{
	static uint64_t row[16384 / 8];
	struct store_news news = {.what = STORE_NEWS_ALL, .sequence = n->copy.head.sequence};
	struct err err = {0};

	if (!n->news)
		return;
	if (n->news_alls > 0) {
		n->news_alls--;
		n->news(n->news_arg, &news);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		const struct store_key *key = &changes[i].key;

		news.kind = key->kind;
		news.id = key->id;
		news.row = NULL;
		if (key->blob) {
			if (key->chunk || changes[i].gone)
				continue;
			news.what = STORE_NEWS_BLOB;
		} else if (changes[i].gone) {
			news.what = STORE_NEWS_GONE;
		} else {
			news.what = STORE_NEWS_ROW;
			news.row = row;
			shared_must(store_row_get(key->kind, key->id, changes[i].data,
						  changes[i].bytes, row, &err) == 0,
				    "a row", &err);
		}
		n->news(n->news_arg, &news);
	}
	news = (struct store_news){.what = STORE_NEWS_END, .sequence = n->copy.head.sequence};
	n->news(n->news_arg, &news);
}

static inline void
shared_take(struct shared_node *n, const struct shared_entry *e, bool news)
{
	static struct store_change changes[SHARED_CHANGES_MAX];
	struct cursor at;
	struct err err = {0};
	size_t count = 0;

	cursor_init(&at, e->changes.data, e->changes.length);
	while (cursor_left(&at) > 0) {
		shared_must(count < SHARED_CHANGES_MAX, "too many changes", NULL);
		shared_must(store_change_get(&at, &changes[count++]), "a change", NULL);
	}
	shared_must(store_copy_apply(&n->copy, changes, count, &e->entry, 0, &err) == 0, "apply",
		    &err);
	if (news)
		shared_tell(n, changes, count);
}

static inline void
shared_commit(struct shared_node *n)
{
	struct store_entry next = {0};
	struct err err = {0};
	enum shared_loss loss = n->loss;

	n->loss = SHARED_ANSWERED;
	if (loss == SHARED_LOST) {
		err_set(&err, ERR_TIMEOUT, "nobody answered");
		shared_end(n, &err);
		return;
	}
	if (store_copy_next(&n->copy, n->txn.changes, n->txn.changes_count, &next, &err) < 0) {
		shared_end(n, &err);
		return;
	}
	shared_append(n->log, &next, n->txn.changes, n->txn.changes_count);
	if (loss == SHARED_LOST_KEPT) {
		err_set(&err, ERR_TIMEOUT, "nobody answered");
		shared_end(n, &err);
		return;
	}
	shared_take(n, &n->log->entries[n->log->count - 1], false);
	shared_end(n, NULL);
}

/* One thing happens to this node; false: there is nothing. */
static inline bool
shared_step(struct shared_node *n)
{
	struct err err = {0};

	if (n->closed)
		return false;
	if (n->cut) {
		if (!n->busy)
			return false;
		err_set(&err, ERR_UNREACHABLE, "no quorum: cut off");
		shared_end(n, &err);
		return true;
	}
	if (n->copy.head.sequence < n->log->count) {
		/* Between two transactions of its own, or while one waits: that is worked out
		 * again. */
		shared_take(n, &n->log->entries[n->copy.head.sequence], true);
		if (n->busy &&
		    (store_txn_again(&n->txn, &err) < 0 || store_txn_finish(&n->txn, &err) < 0))
			shared_end(n, &err);
		return true;
	}
	if (!n->busy)
		return false;
	shared_commit(n);
	return true;
}

#endif
