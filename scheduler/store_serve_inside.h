/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_SERVE_INSIDE_H
#define SCHEDULER_STORE_SERVE_INSIDE_H

/*
 * What the two parts of the writing node's engine have in common: store_serve.c (the engine) and
 * store_serve_peer.c (its followers). Not for anybody else.
 */

#include "base/list.h"
#include "scheduler/store_base.h"
#include "scheduler/store_log.h"
#include "scheduler/store_serve.h"

struct store_serve {
	struct store_base base;
	struct store_log log;
	struct list peers;
	size_t peers_count;
	struct list mine;              /* leases of this node */
	struct store_frames *snapshot; /* of the newest transaction; NULL: none was made */
	struct err fenced;             /* kind 0: it is not */
	bool held;                     /* moves, or was moved */
	struct store_frames *farewell; /* MOVED */
};

/* A follower's transaction, whose changes are in order. */
int store_serve_take(struct store_serve *s, const struct store_change *changes, size_t count,
		     const struct store_entry *entry, struct err *err) MUST_CHECK;
int store_serve_ids(struct store_serve *s, uint64_t *first_out, uint64_t *end_out,
		    struct err *err) MUST_CHECK;
int store_serve_check(struct store_serve *s, struct err *err) MUST_CHECK;
/* All of the store, as frames; borrowed until the next change. NULL: no memory. */
struct store_frames *store_serve_snapshot(struct store_serve *s, struct err *err);

/* ---- store_serve_peer.c ---- */
/* Something can be sent. */
void store_serve_peer_pump_all(struct store_serve *s);
void store_serve_peer_end_all(struct store_serve *s);

#endif
