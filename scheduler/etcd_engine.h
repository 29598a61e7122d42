/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_ETCD_ENGINE_H
#define SCHEDULER_ETCD_ENGINE_H

/*
 * What the parts of the shared engine have in common: store_etcd.c (the engine's calls), etcd_sync
 * (the copy follows the cluster), etcd_commit (a transaction goes there), etcd_spread (a large one
 * becomes rows), etcd_ids. Not for anybody else. Threading: the loop's thread.
 */

#include "base/list.h"
#include "scheduler/etcd_rpc.h"
#include "scheduler/store_base.h"
#include "scheduler/store_etcd.h"

enum {
	ETCD_ENGINE_KEY_BYTES = STORE_ETCD_PREFIX_BYTES + 320,
	ETCD_DOUBT_MS =
		4000, /* so long it is found out whether a change was kept, and sent again */
};

enum etcd_commit_phase {
	ETCD_COMMIT_NONE,
	ETCD_COMMIT_STAGES, /* its parts are put, the last first */
	ETCD_COMMIT_SENT,
	ETCD_COMMIT_READS_BACK,
	ETCD_COMMIT_DOUBTS, /* it may have been kept: asked for again in a moment */
	ETCD_COMMIT_WAITS,  /* for the copy to follow, or for a large one before it */
};

struct etcd_commit {
	enum etcd_commit_phase phase;
	store_done_fn done;
	void *arg;
	struct store_entry next;
	bool fresh; /* next is of this attempt */
	int64_t revision;
	struct buf staged;       /* empty: it fits into one request */
	uint32_t part;           /* to be put next, from the end */
	uint64_t wait_for;       /* sequence that the copy must have */
	struct err err;          /* to be told unless it is found there */
	uint64_t doubt_until_ms; /* 0: it never was in doubt */
	unsigned turns;
	struct etcd_call *call;
	uv_timer_t timer;
};

struct etcd_sync {
	struct etcd_call *look, *watch, *read;
	uv_timer_t timer;
	uint64_t look_from;  /* sequence of the copy when it was asked */
	uint64_t level;      /* sequence that the cluster was at when it was looked at last */
	unsigned behind;     /* looks that found the copy late */
	bool unspread;       /* the newest transaction is not in its keys yet */
	bool loose_may_be;   /* changes without an entry: of a large one before the watch began */
	bool loose;          /* there were some */
	uint64_t large;      /* the last entry with parts that was seen */
	store_done_fn check; /* waits for the next reading of everything */
	void *check_arg;
	/* a reading of everything */
	int64_t revision;
	uint64_t limit;
	char from[ETCD_ENGINE_KEY_BYTES];
	struct arena arena;
	struct buf changes; /* of struct store_change */
	struct store_entry entry;
	char id[STORE_COPY_ID_BYTES];
};

struct etcd_spread {
	struct etcd_call *call;
	struct store_entry entry;
	struct buf staged;
	struct cursor at;
	uint32_t part;
};

struct etcd_ids {
	uint64_t stored; /* as it was seen last */
	uint64_t asked;  /* the first of the block that is asked for */
	bool broken;     /* there is no counter, or it is no number */
	struct etcd_call *call;
};

/* A lease of etcd's that is to be kept. */
struct etcd_keep {
	struct list link;
	int64_t lease;
	/* ttl_s 0: there is none any more. The last word about it. */
	void (*done)(struct etcd_keep *k, int64_t ttl_s, const struct err *err);
};

struct etcd_engine {
	struct store_base base;
	uv_loop_t *loop;
	struct etcd_rpc *rpc;
	char prefix[STORE_ETCD_PREFIX_BYTES];
	bool existing; /* it is not for this one to make the store */
	bool writable;
	struct err why;
	struct etcd_commit commit;
	struct etcd_sync sync;
	struct etcd_spread spread;
	struct etcd_ids ids;
	struct list leases;    /* that this process has */
	struct list lease_ops; /* under way */
	struct list keeps;     /* struct etcd_keep that wait to go together */
	struct list batches;   /* that are asked for */
	uv_timer_t keep_timer;
	struct etcd_call *sweep;
	int64_t sweep_before; /* revision */
	bool swept;
	unsigned closing; /* handles that are not closed yet */
};

/* prefix + name */
void etcd_engine_key(const struct etcd_engine *e, const char *name, char *out);
void etcd_engine_log_key(const struct etcd_engine *e, uint64_t sequence, char *out);
/* part -1: the beginning of all; -2: behind all */
void etcd_engine_stage_key(const struct etcd_engine *e, const uint8_t *txid, long part, char *out);
/* Appends the puts and deletes of changes. */
void etcd_engine_put_changes(const struct etcd_engine *e, struct etcd_json_txn *t,
			     const struct store_change *changes, size_t count);
/* The cluster is not to be changed now, and why: logged once. */
void etcd_engine_unwritable(struct etcd_engine *e, const struct err *err);
/* Likewise, but that is over in a moment. */
void etcd_engine_wait(struct etcd_engine *e, const struct err *err);

/* ---- etcd_sync.c ---- */
void etcd_sync_init(struct etcd_engine *e);
void etcd_sync_stop(struct etcd_engine *e);
void etcd_sync_look(struct etcd_engine *e, uint64_t in_ms);
/* The copy is what the cluster is; there are ids. */
void etcd_sync_settle(struct etcd_engine *e);
void etcd_sync_check(void *engine, store_done_fn done, void *arg);
void etcd_sync_checked(struct etcd_engine *e, const struct err *err);
/* Takes a transaction over into the copy, and tells. */
int etcd_sync_apply(struct etcd_engine *e, const struct store_change *changes, size_t count,
		    const struct store_entry *entry, int64_t revision, struct err *err) MUST_CHECK;

/* ---- etcd_read.c ---- */
void etcd_read_start(struct etcd_engine *e);
void etcd_read_stop(struct etcd_engine *e);
/* 1: a change of row/ or blob/, borrowed; 0: another key. */
int etcd_read_change(const struct etcd_engine *e, const struct etcd_json_kv *kv,
		     struct store_change *out, struct err *err) MUST_CHECK;
void etcd_read_sort(struct store_change *changes, size_t count);

/* ---- etcd_lease.c ---- */
void etcd_lease_do(void *engine, enum store_lease_verb verb, const char *name, const char *holder,
		   uint32_t ttl_s, store_lease_fn done, void *arg);
bool etcd_lease_adopt(void *engine, const char *name, uint64_t epoch);
uint64_t etcd_lease_mine(void *engine, const char *name);
void etcd_lease_stop(struct etcd_engine *e);

/* ---- etcd_keep.c ---- */
void etcd_keep_init(struct etcd_engine *e);
void etcd_keep_ask(struct etcd_engine *e, struct etcd_keep *k);
/* Nobody is told any more. */
void etcd_keep_stop(struct etcd_engine *e);

/* ---- etcd_commit.c ---- */
void etcd_commit_init(struct etcd_engine *e);
void etcd_commit_submit(void *engine, store_done_fn done, void *arg);
void etcd_commit_stop(struct etcd_engine *e);
/* Its parts are put, or not: err. */
void etcd_commit_staged(struct etcd_engine *e, const struct err *err);
/* The copy has taken this over. */
void etcd_commit_seen(struct etcd_engine *e, const struct store_entry *entry);
/* The copy follows, or the large one is spread. */
void etcd_commit_wake(struct etcd_engine *e);

/* ---- etcd_stage.c ---- */
/* What the transaction has to be cut into; nothing when it is not large. */
int etcd_stage_make(struct etcd_engine *e, struct err *err) MUST_CHECK;
uint32_t etcd_stage_parts(const struct etcd_engine *e);
/* All of them, then etcd_commit_staged. */
void etcd_stage_put(struct etcd_engine *e);
/* They will not be used. */
void etcd_stage_leave(struct etcd_engine *e);

/* ---- etcd_spread.c ---- */
/* The newest entry has parts. Does nothing when it is under way. */
void etcd_spread_start(struct etcd_engine *e, const struct store_entry *entry);
void etcd_spread_stop(struct etcd_engine *e);
/* Removes parts that nobody will ever use; head_revision: of the newest entry. */
void etcd_spread_sweep(struct etcd_engine *e, int64_t head_revision);

/* ---- etcd_ids.c ---- */
void etcd_ids_fill(struct etcd_engine *e); /* when there are few */
/* Whether there is one for the next row. */
int etcd_ids_any(const struct etcd_engine *e, struct err *err) MUST_CHECK;
void etcd_ids_check(struct etcd_engine *e); /* the store may hold some of the block */
void etcd_ids_stop(struct etcd_engine *e);

#endif
