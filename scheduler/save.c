/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way from memory to the store. What is put is a copy of the row; when the transaction has
 * ended the object is looked for again (it may be gone by then, or have changed) and gets the
 * version that the store gave it, or is dirty as before.
 *
 * Two nodes that both believe to conduct a deployment meet here: the one whose row comes second has
 * a conflict, reads what the other wrote (news.h) and goes on from there.
 */
#include "scheduler/save_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "scheduler/news.h"

#define MS_NS 1000000ull
#define SECOND_NS (1000 * MS_NS)

enum { CONFLICT_MS = 50, CONFLICT_DOUBLINGS = 5 };

static void
failed(struct model *m, const struct saving *s, const struct err *err)
{
	bool *failing = s->local ? &m->store_failing : &m->shared_failing;
	uint64_t *retry_ns = s->local ? &m->retry_ns : &m->shared_retry_ns;
	uint64_t wait_ns = SECOND_NS;

	if (!s->local && err->kind == ERR_CONFLICT) {
		uint32_t n = m->conflicts < CONFLICT_DOUBLINGS ? m->conflicts : CONFLICT_DOUBLINGS;

		m->conflicts++;
		wait_ns = (CONFLICT_MS << n) * MS_NS;
		news_all(m);
	} else if (!*failing) {
		log_err(LOG_ERROR, "the store cannot be written; containers go on", err);
		*failing = true;
	}
	*retry_ns = m->now_ns + wait_ns;
	model_wake_at(m, *retry_ns);
}

static void
succeeded(struct model *m, struct saving *s)
{
	bool *failing = s->local ? &m->store_failing : &m->shared_failing;

	if (*failing)
		log_event(LOG_INFO, "the store is written again", LOG_END);
	*failing = false;
	save_end_forget(s);
	if (s->shared) {
		m->conflicts = 0;
		m->shared_retry_ns = 0;
	}
}

static void
ended(void *arg, const struct err *err)
{
	struct saving *s = arg;
	struct model *m = s->m;

	if (!s->local)
		model_stir(m);
	save_end_settle(s, !err);
	if (err)
		failed(m, s, err);
	else
		succeeded(m, s);
	save_end_free(s);
}

static void
save(struct model *m, struct store *store, bool local, bool shared)
{
	struct saving *s = mem_zalloc(MEM_SCHEDULER, sizeof(*s));
	struct saving none = {.m = m, .local = local, .shared = shared};
	struct err err = {0};

	if (!s) {
		err_set(&err, ERR_NO_MEMORY, "no memory to write to the store");
		failed(m, &none, &err);
		return;
	}
	*s = none;
	s->store = store;
	if (store_begin(store, &err) < 0) {
		ended(s, &err);
	} else if (save_put_all(s, &err) < 0) {
		store_abort(store);
		ended(s, &err);
	} else {
		store_submit(store, ended, s);
	}
}

static bool
waits(struct model *m, bool failing, uint64_t retry_ns)
{
	if (m->now_ns >= retry_ns)
		return false;
	if (failing)
		model_wake_at(m, retry_ns);
	return failing;
}

/* What another node conducts by now: its rows count. */
static void
give_back(struct model *m)
{
	struct list *it, *next;

	list_each (it, next, &m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		if (d->lost || d->changing || model_conducts(m, d) ||
		    (!save_put_rows_wait(d) && !(d->operation && d->operation->dirty)))
			continue;
		d->unread = true;
		d->prune = false;
		news_own(m, d->row.id);
	}
}

static void
save_apart(struct model *m)
{
	if (save_put_local_waits(m) && !waits(m, m->store_failing, m->retry_ns))
		save(m, store_local(m->store), true, false);
	if (store_busy(m->store))
		return;
	give_back(m);
	if (save_put_shared_waits(m) && !waits(m, true, m->shared_retry_ns))
		save(m, m->store, false, true);
}

void
save_all(struct model *m)
{
	if (model_is_shared(m)) {
		save_apart(m);
		return;
	}
	if (waits(m, m->store_failing, m->retry_ns) ||
	    (!save_put_local_waits(m) && !save_put_shared_waits(m)))
		return;
	save(m, m->store, true, true);
}

bool
save_waits(struct model *m, const struct deployment *d)
{
	return save_put_rows_wait(d) || save_put_operation_waits(m, d);
}

void
save_prune(struct deployment *d)
{
	d->prune = true;
}
