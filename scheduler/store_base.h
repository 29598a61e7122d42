/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_BASE_H
#define SCHEDULER_STORE_BASE_H

/*
 * What engines of a shared store have in common: transactions are worked out on the copy, all
 * reading is from it, new rows get ids of a block, and what others changed is told. It is the first
 * member of an engine, so that its functions serve as the engine's calls.
 * Threading: the loop's thread.
 */

#include "scheduler/store_copy.h"
#include "scheduler/store_txn.h"

struct store_base {
	struct store_copy copy;
	struct store_txn txn;
	bool txn_open;            /* from begin to submit or abort */
	uint64_t id_next, id_end; /* of new rows */
	store_news_fn news;
	void *news_arg;
};

/* -1: this node's own file cannot be written, so nothing that is kept could be taken over. */
int store_base_can_write(const struct store_base *b, struct err *err) MUST_CHECK;
/* After the engine has found that it can be changed. */
int store_base_begin(struct store_base *b, struct err *err) MUST_CHECK;
/* Ends the transaction's work; its changes stay in b->txn until store_txn_fini. */
int store_base_finish(struct store_base *b, struct err *err) MUST_CHECK;

/* What a change that is kept, and could not be taken over here because of `err`, is told: it is no
 * failure. */
void store_base_not_copied(struct err *err);

/* The calls of a struct store_engine, in its initializer; the engine's own follow. */
#define STORE_BASE_CALLS                                                                         \
	.abort = store_base_abort, .put = store_base_put, .drop = store_base_drop,               \
	.drop_through = store_base_drop_through, .put_blob = store_base_put_blob,                \
	.get_blob = store_base_get_blob, .each = store_base_each, .version = store_base_version, \
	.get = store_base_get, .place = store_base_place, .get_note = store_base_get_note,       \
	.put_note = store_base_put_note, .watch = store_base_watch, .local = store_base_local

void store_base_abort(void *engine);
int store_base_put(void *engine, enum store_kind kind, void *row, struct err *err);
int store_base_place(void *engine, enum store_kind kind, const void *row, struct err *err);
int store_base_drop(void *engine, enum store_kind kind, uint64_t id, uint64_t version,
		    struct err *err);
int store_base_drop_through(void *engine, enum store_kind kind, uint64_t id, struct err *err);
int store_base_put_blob(void *engine, enum store_blob blob, uint64_t id, const void *data,
			size_t bytes, struct err *err);
int store_base_put_note(void *engine, const char *name, const char *value, struct err *err);
int store_base_get_blob(void *engine, enum store_blob blob, uint64_t id, struct buf *out,
			struct err *err);
int store_base_each(void *engine, enum store_kind kind, uint64_t above, uint64_t parent, void *row,
		    store_visit_fn visit, void *arg, struct err *err);
int store_base_get(void *engine, enum store_kind kind, uint64_t id, void *row, struct err *err);
int store_base_version(void *engine, enum store_kind kind, uint64_t id, uint64_t *version_out,
		       struct err *err);
int store_base_get_note(void *engine, const char *name, char *out, size_t cap, struct err *err);
void store_base_watch(void *engine, store_news_fn fn, void *arg);
struct store *store_base_local(void *engine);
/* `why` is the engine's own reason that it takes no change: NULL, or of kind ERR_NONE: there is
 * none.
 */
void store_base_status(const struct store_base *b, const struct err *why, struct store_status *out);

/* What others changed, which the copy has taken over. */
void store_base_tell(struct store_base *b, const struct store_change *changes, size_t count);
void store_base_tell_all(struct store_base *b);

#endif
