/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cluster's changes of the store, one after the other, between those of the model. A change
 * that met another one (of this or another node) is worked out again from the rows as they are
 * then, some times; every one ends with a word to its owner.
 */
#include "scheduler/cluster_inside.h"

#include "base/mem.h"

enum { TRIES_MAX = 5, AGAIN_MS = 10 };

static void try_again(uv_timer_t *timer);

static void
finish(struct cluster *c, struct cluster_change *change, const struct err *err)
{
	list_remove(&change->link);
	c->change = NULL;
	if (!err)
		c->rows_changed = true;
	change->done(change->arg, err);
	mem_free(change);
}

static void
submitted(void *arg, const struct err *err)
{
	struct cluster *c = arg;
	struct cluster_change *change = c->change;

	bool again = err && ((err->kind == ERR_CONFLICT && change->tries < TRIES_MAX) ||
			     (err->kind == ERR_UNREACHABLE && cluster_holds(c)));

	if (again && !c->freed)
		c->change = NULL;
	else
		finish(c, change, err);
	if (!c->freed)
		uv_timer_start(&c->again, try_again, 0, 0);
}

static void
begin(struct cluster *c, struct cluster_change *change)
{
	struct store *s = c->m->store;
	struct err err = {0};

	change->tries++;
	if (store_begin(s, &err) < 0) {
		finish(c, change, &err);
		return;
	}
	int rc = change->work(change->arg, s, &err);
	if (rc != 0) {
		store_abort(s);
		finish(c, change, rc < 0 ? &err : NULL);
		return;
	}
	c->change = change;
	store_submit(s, submitted, c);
}

static void
try_next(struct cluster *c)
{
	while (!c->change && !list_empty(&c->changes)) {
		if (store_busy(c->m->store) || cluster_holds(c)) {
			uv_timer_start(&c->again, try_again, AGAIN_MS, 0);
			return;
		}
		begin(c, container_of(c->changes.next, struct cluster_change, link));
	}
}

static void
try_again(uv_timer_t *timer)
{
	try_next(timer->data);
}

int
cluster_store_change(struct cluster *c, int (*work)(void *, struct store *, struct err *),
		     void (*done)(void *, const struct err *), void *arg, struct err *err)
{
	struct cluster_change *change = mem_zalloc(MEM_SCHEDULER, sizeof(*change));

	if (!change)
		return err_set(err, ERR_NO_MEMORY, "no memory for a change of the store");
	change->work = work;
	change->done = done;
	change->arg = arg;
	list_init(&change->link);
	list_push(&c->changes, &change->link);
	/* Later: `done` shall not come before this returns. */
	uv_timer_start(&c->again, try_again, 0, 0);
	return 0;
}

void
cluster_store_end(struct cluster *c)
{
	const struct err err = {.kind = ERR_INTERRUPTED, .what = "this process ends"};

	while (!list_empty(&c->changes))
		finish(c, container_of(c->changes.next, struct cluster_change, link), &err);
}

/* ---- reading ---- */

struct visit {
	struct buf *out;
	size_t bytes;
};

static void
keep_row(void *arg, const void *row)
{
	const struct visit *v = arg;

	buf_put(v->out, row, v->bytes);
}

int
cluster_store_rows(struct store *s, enum store_kind kind, struct buf *out, struct err *err)
{
	size_t bytes = store_shape(kind)->row_bytes;
	struct visit v = {.out = out, .bytes = bytes};
	int rc = store_each(s, kind, 0, 0, keep_row, &v, err);

	if (rc == 0 && !buf_ok(out))
		rc = err_set(err, ERR_NO_MEMORY, "no memory to read the store");
	return rc;
}
