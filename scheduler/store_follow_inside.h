/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_FOLLOW_INSIDE_H
#define SCHEDULER_STORE_FOLLOW_INSIDE_H

/*
 * What the parts of a follower's engine have in common: store_follow.c (the engine, its
 * connection), store_follow_sync.c (what the writer says), store_follow_commit.c (a transaction
 * goes there), store_follow_ask.c (leases and checks). Not for anybody else.
 */

#include "base/list.h"
#include "scheduler/store_base.h"
#include "scheduler/store_follow.h"
#include "scheduler/store_wire.h"

enum store_follow_phase {
	STORE_FOLLOW_NONE,
	STORE_FOLLOW_SENT, /* or is being sent, or waits for a connection to be sent on again */
	STORE_FOLLOW_WAITS /* for the copy to follow */
};

struct store_follow_commit {
	enum store_follow_phase phase;
	store_done_fn done;
	void *arg;
	struct store_entry next;
	uint64_t question;
	struct buf out; /* frames */
	size_t at;      /* sent of them */
	bool may_be;    /* all of them were sent at least once */
	uint64_t wait_for;
	unsigned turns;
	uv_timer_t timer;
	uint64_t until_ns; /* for the answer */
	bool last_look;    /* it is over, but for what may be there unread */
};

struct store_follow {
	struct store_base base;
	uv_timer_t tick;
	unsigned closing; /* handles that are not closed yet */
	char writer[STORE_FOLLOW_WRITER_BYTES];
	uint32_t timeout_ms;
	void (*moved_fn)(void *arg);
	void *moved_arg;
	bool writable, moved;
	struct err why;
	int64_t since_wall_ns; /* not writable */
	/* the connection */
	const struct store_stream *calls; /* NULL: none */
	void *calls_arg;
	bool welcome; /* the writer has said what it is */
	bool to_close;
	unsigned inside;
	size_t unsent;
	uint64_t heard_ns;
	uint64_t tick_ns; /* the last one */
	bool looked;      /* and not answered */
	struct err full;  /* why the writer's own file cannot be written; kind 0: it can */
	struct store_wire_in in;
	/* what the writer says */
	char id[STORE_COPY_ID_BYTES];
	uint64_t level; /* sequence that the copy must have before it is up to date */
	struct buf staged;
	bool in_snapshot;
	struct store_entry snapshot;
	bool anew; /* what is here does not fit: ask for all of it */
	bool ids_asked;
	/* what is asked */
	uint64_t question;
	struct store_follow_commit commit;
	struct list mine, asks;
};

/* False: there is no connection, or it has just ended. Empties `b`. */
bool store_follow_send(struct store_follow *f, struct buf *b);
/* Ends the connection; `why` is what is said of it from now on. */
void store_follow_end(struct store_follow *f, const struct err *why);
void store_follow_unwritable(struct store_follow *f, const struct err *err);
/* Whether it can be changed may be different now. */
void store_follow_settle(struct store_follow *f);
/* The writer is not there, or says nothing. */
void store_follow_silent(const struct store_follow *f, const char *what, struct err *err);
void store_follow_ids_fill(struct store_follow *f);

/* ---- store_follow_sync.c ---- */
void store_follow_sync_greet(struct store_follow *f);
void store_follow_sync_take(struct store_follow *f, struct store_wire_frame *frame);

/* ---- store_follow_commit.c ---- */
void store_follow_commit_init(struct store_follow *f, uv_loop_t *loop);
void store_follow_commit_submit(void *engine, store_done_fn done, void *arg);
void store_follow_commit_stop(struct store_follow *f);
void store_follow_commit_down(struct store_follow *f);
void store_follow_commit_welcome(struct store_follow *f);
void store_follow_commit_pump(struct store_follow *f);
void store_follow_commit_result(struct store_follow *f, const struct store_wire_result *result);
/* The log's next entry; true: it is ours. */
bool store_follow_commit_is_ours(const struct store_follow *f, const struct store_entry *entry);
/* The copy has it. */
void store_follow_commit_seen(struct store_follow *f, const struct store_entry *entry);

/* ---- store_follow_ask.c ---- */
void store_follow_ask_lease(void *engine, enum store_lease_verb verb, const char *name,
			    const char *holder, uint32_t ttl_s, store_lease_fn done, void *arg);
void store_follow_ask_check(void *engine, store_done_fn done, void *arg);
void store_follow_ask_stop(struct store_follow *f);
void store_follow_ask_down(struct store_follow *f);
void store_follow_ask_tick(struct store_follow *f);
bool store_follow_ask_adopt(void *engine, const char *name, uint64_t epoch);
uint64_t store_follow_ask_mine(void *engine, const char *name);
void store_follow_ask_leased(struct store_follow *f, uint64_t question, uint64_t epoch,
			     const struct err *err);
void store_follow_ask_head(struct store_follow *f, uint64_t question,
			   const struct store_entry *head, const struct err *err);

#endif
