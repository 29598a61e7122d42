/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_TXN_H
#define SCHEDULER_STORE_TXN_H

/*
 * A transaction as a value. It is worked out on this node's copy, in a transaction of the embedded
 * engine that is never kept: so names are unique, rows have their parents and versions are compared
 * by the same rules as on one machine, and what it comes to is a list of changed keys. When other
 * nodes were faster it is worked out again on the newer copy (store_txn_again): then it either
 * still holds, or is a conflict.
 *
 * Between begin (or again) and finish the copy's rows show what the transaction has done so far.
 * Errors: those of store.h; after one only store_txn_fini is allowed.
 * Threading: one owner.
 */

#include "base/arena.h"
#include "base/map.h"
#include "scheduler/store.h"
#include "scheduler/store_change.h"

struct store_op;

struct store_txn {
	struct store *rows; /* the copy's */
	struct arena arena; /* operations */
	struct store_op *first, *last;
	struct arena work; /* keys and changes */
	struct map touched;
	size_t touched_count;
	bool open; /* a transaction of rows */
	struct store_change *changes;
	size_t changes_count;
	size_t changes_bytes; /* keys and values */
};

int store_txn_begin(struct store_txn *t, struct store *rows, struct err *err) MUST_CHECK;
void store_txn_fini(struct store_txn *t);

/* As in store.h, of shared kinds. A new row has its id already. */
int store_txn_put(struct store_txn *t, enum store_kind kind, void *row, struct err *err) MUST_CHECK;
int store_txn_place(struct store_txn *t, enum store_kind kind, const void *row,
		    struct err *err) MUST_CHECK;
int store_txn_drop(struct store_txn *t, enum store_kind kind, uint64_t id, uint64_t version,
		   struct err *err) MUST_CHECK;
int store_txn_drop_through(struct store_txn *t, enum store_kind kind, uint64_t id,
			   struct err *err) MUST_CHECK;
int store_txn_put_blob(struct store_txn *t, enum store_blob blob, uint64_t id, const void *data,
		       size_t bytes, struct err *err) MUST_CHECK;

/* Leaves the copy as it was and fills `changes`, in the order of store_key_compare. */
int store_txn_finish(struct store_txn *t, struct err *err) MUST_CHECK;
/* The same operations, on what the copy is now; followed by finish. */
int store_txn_again(struct store_txn *t, struct err *err) MUST_CHECK;

#endif
