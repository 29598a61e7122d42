/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_SERVE_H
#define SCHEDULER_STORE_SERVE_H

/*
 * The store's engine of the writing node of a small cluster. Its file is the copy of record: a
 * change is kept when it is on this node's disk, and goes from here to all others, which follow
 * (store_follow.h). store_submit() is done before it returns.
 *
 * A peer is one follower's connection. Somebody else makes it, knows who is at the other end, and
 * brings the bytes.
 *
 * Threading: the loop's thread.
 */

#include "scheduler/store.h"
#include "scheduler/store_change.h"

enum { STORE_SERVE_PEERS_MAX = 1024 };

struct store_serve;

/* What a connection does for the store. `close`: the store uses it no more; it is called at most
 * once, and last, so that the peer may be freed in it. */
struct store_stream {
	/* False: it is broken, and this end is about to be told. */
	bool (*send)(void *arg, const void *data, size_t bytes);
	void (*close)(void *arg);
};

/* rows: an embedded store, taken over, also on failure. One of its own becomes a store that can be
 * followed, with all it has; a copy becomes the store that it was a copy of: nobody else may be
 * that one then. *serve_out is valid until *out is freed. */
int store_serve_open(struct store *rows, struct store **out, struct store_serve **serve_out,
		     struct err *err) MUST_CHECK;

struct store_serve_peer;

/* node: who is at the other end, for the log. The calls must outlive the peer. */
int store_serve_peer_new(struct store_serve *s, uint32_t node, const struct store_stream *calls,
			 void *arg, struct store_serve_peer **out, struct err *err) MUST_CHECK;
void store_serve_peer_data(struct store_serve_peer *p, const void *data, size_t bytes);
/* All that was sent has left. */
void store_serve_peer_room(struct store_serve_peer *p);
/* NULL is fine. Also after the store was freed. */
void store_serve_peer_free(struct store_serve_peer *p);
size_t store_serve_peers(const struct store_serve *s);
/* Whether this follower has all that the store has, as far as was sent. */
bool store_serve_peer_is_level(const struct store_serve_peer *p);

/* Nobody can change it, for as long as it is being moved (store_move.h). */
void store_serve_hold(struct store_serve *s, bool hold);
/* Somebody else has become the writer: nobody can change it or follow it any more, and `why` is
 * said. For good, as far as this process is concerned. */
void store_serve_fence(struct store_serve *s, const struct err *why);
/* Within a transaction, of a copy: it is to become the store (store_serve_open) in this term. Ids
 * and leases' epochs that the writer before may have given are passed over. */
int store_serve_take_over(struct store *rows, uint32_t term, struct err *err) MUST_CHECK;
/* It was moved: followers are told what it is now, so that they need not copy it again. It can be
 * read, and never be changed any more. */
int store_serve_moved(struct store_serve *s, struct err *err) MUST_CHECK;

#endif
