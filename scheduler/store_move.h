/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_MOVE_H
#define SCHEDULER_STORE_MOVE_H

/*
 * From the embedded store of a node, or that of a writing one (store_serve.h), into another shared
 * one: all rows of shared kinds with their ids and versions, all blobs, in one transaction. The
 * shared store has all of it at one moment and nothing before; then it is read back from its
 * members and compared by count and digest; then the file of `from` is noted to be a copy of `to`:
 * the next that opens it is the engine of `to`, and what is the node's own is still in it.
 *
 * Whatever ends it before that note, it is begun again by the same call: it finds what is there.
 * Nobody may change `from` meanwhile (store_serve_hold). Threading: the loop's thread.
 */

#include "scheduler/store.h"

/* `done`: as of store_submit. ERR_CONFLICT: `to` is in use already, with something else in it. Both
 * stores stay open until then. */
void store_move(struct store *from, struct store *to, store_done_fn done, void *arg);
/* Whether it was moved. */
int store_move_is_done(struct store *from, bool *moved_out, struct err *err) MUST_CHECK;

#endif
