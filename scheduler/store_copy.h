/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_COPY_H
#define SCHEDULER_STORE_COPY_H

/*
 * This node's verified copy of a store that is shared: an embedded store (store_sqlite.h) plus the
 * entry of the log up to which it goes, kept in the same file and changed in the same transaction.
 * Nothing is taken over whose digest does not come out as the entry says.
 *
 * Local kinds (store.h) are in the file and no part of the copy: they stay when the copy is
 * replaced, unless what they belong to is gone.
 *
 * Errors of apply and replace: ERR_CORRUPT: it does not fit (another history, or a change that did
 * not come whole); the copy is as before, always.
 * Threading: one owner; waits for the disk.
 */

#include "scheduler/store.h"
#include "scheduler/store_change.h"

enum {
	STORE_COPY_ID_BYTES = 33,
	STORE_COPY_LOG_KEPT = 256, /* entries, by a copy that is asked to */
};

struct store_copy {
	struct store *rows;
	struct store_entry head;      /* parts is 0 */
	int64_t revision;             /* of the engine, at least; 0 none */
	char id[STORE_COPY_ID_BYTES]; /* of the store that this is a copy of; "" of none yet */
	bool keeps_log;               /* notes the newest entries, for store_copy_entry */
};

/* Takes `rows` over, also when it fails. Reads and checks all of it. ERR_CORRUPT: it is not what it
 * was when it was written; ERR_CONFLICT: this file is no copy but a store of its own. */
int store_copy_open(struct store_copy *c, struct store *rows, struct err *err) MUST_CHECK;
void store_copy_close(struct store_copy *c);

/* The same of the file that all others are copies of: a store of its own becomes it, as `txid`,
 * with the id `id` and all that it holds. One that has an id already keeps it. */
int store_copy_open_record(struct store_copy *c, struct store *rows, const char *id,
			   const uint8_t *txid, struct err *err) MUST_CHECK;
/* Within a transaction: what these rows are from now on, without a change of theirs: a copy, at
 * `entry`, of another store that holds the same. */
int store_copy_adopt(struct store *rows, const char *id, const struct store_entry *entry,
		     int64_t revision, struct err *err) MUST_CHECK;
/* Within a transaction: what shared kinds hold here counts no more; the next copy replaces it,
 * whatever it is. Until then it can be read. */
int store_copy_expect(struct store *rows, struct err *err) MUST_CHECK;
/* Within a transaction: the rows are no copy of anything any more, but a store of its own. */
int store_copy_forget(struct store *rows, struct err *err) MUST_CHECK;
/* What a shared store, or a file, is a copy of; id "": of none. */
int store_copy_read(struct store *s, char *id, struct store_entry *entry, int64_t *revision,
		    struct err *err) MUST_CHECK;
/* An entry of a copy that keeps its log: ERR_NOT_FOUND. */
int store_copy_entry(struct store_copy *c, uint64_t sequence, struct store_entry *out,
		     struct err *err) MUST_CHECK;

/* What the store would be after these changes (in the order of store_key_compare): fills sequence,
 * digest, count and hash of `next`. */
int store_copy_next(struct store_copy *c, const struct store_change *changes, size_t count,
		    struct store_entry *next, struct err *err) MUST_CHECK;
/* Takes over one transaction. */
int store_copy_apply(struct store_copy *c, const struct store_change *changes, size_t count,
		     const struct store_entry *next, int64_t revision, struct err *err) MUST_CHECK;
/* Takes over a whole store: changes is all there is. */
int store_copy_replace(struct store_copy *c, const struct store_change *changes, size_t count,
		       const struct store_entry *next, int64_t revision, const char *id,
		       struct err *err) MUST_CHECK;

/* The value of a key as bytes, in `out` (emptied before). ERR_NOT_FOUND. */
int store_copy_value(struct store *rows, const struct store_key *key, struct buf *out,
		     struct err *err) MUST_CHECK;
/* Count and digest of all keys of a store, whichever its engine. */
int store_copy_sum(struct store *rows, struct store_digest *digest, uint64_t *count,
		   struct err *err) MUST_CHECK;
/* Visits all keys of a store with their values, in the order of store_key_compare but that a blob
 * follows its row. The first -1 of `visit` ends it. */
typedef int (*store_copy_visit_fn)(void *arg, const struct store_change *change, struct err *err);
int store_copy_each(struct store *rows, store_copy_visit_fn visit, void *arg,
		    struct err *err) MUST_CHECK;

#endif
