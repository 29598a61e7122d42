/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions of one cron: its row with the mark, at most one new firing, those whose state
 * changed, and the oldest one away. They are made of copies: what is in memory changes only when
 * the store has it, found again by ids, since all may have gone meanwhile.
 */
#include "scheduler/cronjob_write.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/event.h"

#define SECOND_NS UINT64_C(1000000000)

enum { FIRINGS_MAX = 4 }; /* of one transaction; the next pass writes the others */

struct change {
	struct model *m;
	uint64_t service;
	bool has_row;
	struct store_cron row;
	struct cronjob_firing *fresh; /* ours until memory has it */
	struct store_firing changed[FIRINGS_MAX];
	uint64_t asked_epochs[FIRINGS_MAX];
	size_t count;
	uint64_t dropped; /* 0: none */
};

/* ---- memory follows ---- */

static struct cronjob_firing *
find(struct cronjob *job, uint64_t id)
{
	struct list *it, *next;

	list_each (it, next, &job->firings) {
		struct cronjob_firing *f = container_of(it, struct cronjob_firing, link);

		if (f->row.id == id)
			return f;
	}
	return NULL;
}

static void
drop(struct cronjob *job, uint64_t id)
{
	struct cronjob_firing *f = find(job, id);

	if (!f)
		return;
	list_remove(&f->link);
	job->count--;
	mem_free(f);
}

/* It may have changed again since the copy was made. */
static void
take_changed(struct change *w, struct cronjob *job, size_t i)
{
	const struct store_firing *row = &w->changed[i];
	struct cronjob_firing *f = find(job, row->id);

	if (!f)
		return;
	f->row.version = row->version;
	f->found = false;
	f->since_ns = w->m->now_ns;
	f->sure_epoch = w->asked_epochs[i];
	f->dirty = memcmp(&f->row, row, sizeof(*row)) != 0;
}

static bool
is_more_of_the_same(const struct cronjob *job, const struct store_firing *row)
{
	const struct cronjob_firing *last;

	if (list_empty(&job->firings))
		return false;
	last = container_of(job->firings.prev, struct cronjob_firing, link);
	return last->row.state == row->state && last->row.reason == row->reason && !row->skipped;
}

/* A long run under a dense schedule is told once. */
static void
tell(struct model *m, struct service *s, const struct store_firing *f)
{
	bool passed = f->state == MSG_FIRING_PASSED;
	uint32_t count = f->skipped + (passed ? 1 : 0);
	char at[48];

	if (!count || (passed && is_more_of_the_same(s->cron, f)))
		return;
	text_time(f->at_s * (int64_t)SECOND_NS, 0, at, sizeof(at));
	if (f->reason == MSG_FIRING_OVERLAPS && !f->skipped)
		event_deployment(m, s->deployment, s, "cron.passed", LOG_WARN, NULL,
				 "%s was not run for %s: a run is under way (cron.overlap)",
				 s->row.name, at);
	else
		event_deployment(m, s->deployment, s, "cron.passed", LOG_WARN, NULL,
				 "%s: %s%u time%s up to %s went by without a run", s->row.name,
				 f->skipped_more ? "more than " : "", count, count == 1 ? "" : "s",
				 at);
}

static void
take_over(struct change *w, struct service *s)
{
	struct cronjob *job = s->cron;

	if (w->has_row) {
		job->row = w->row;
		job->asked = false;
	}
	for (size_t i = 0; i < w->count; i++)
		take_changed(w, job, i);
	if (w->dropped)
		drop(job, w->dropped);
	if (w->fresh) {
		tell(w->m, s, &w->fresh->row);
		w->fresh->since_ns = w->m->now_ns;
		list_push(&job->firings, &w->fresh->link);
		job->count++;
		w->fresh = NULL;
	}
	job->failing = false;
	job->writes++;
}

static void
fail(const struct model *m, struct cronjob *job, const struct err *err)
{
	/* Another node was faster: what it wrote counts. */
	job->unread = err->kind == ERR_CONFLICT || err->kind == ERR_NOT_FOUND;
	if (!job->failing && !job->unread)
		log_err(LOG_ERROR, "a cron cannot be written to the store", err);
	job->failing = !job->unread;
	job->retry_ns = m->now_ns + SECOND_NS;
}

static void
ended(void *arg, const struct err *err)
{
	struct change *w = arg;
	struct service *s = model_service_by_id(w->m, w->service);

	if (s && s->cron && err)
		fail(w->m, s->cron, err);
	else if (s && s->cron)
		take_over(w, s);
	if (model_is_shared(w->m))
		model_stir(w->m);
	mem_free(w->fresh);
	mem_free(w);
}

/* ---- the transaction ---- */

static int
put_changed(struct change *w, struct cronjob *job, struct err *err)
{
	struct list *it, *next;

	list_each (it, next, &job->firings) {
		const struct cronjob_firing *f = container_of(it, struct cronjob_firing, link);

		if (!f->dirty || w->count == FIRINGS_MAX)
			continue;
		memcpy(&w->changed[w->count], &f->row, sizeof(f->row));
		w->asked_epochs[w->count] = f->asked_epoch;
		if (store_put(w->m->store, STORE_FIRING, &w->changed[w->count++], err) < 0)
			return -1;
	}
	return 0;
}

/* One that still has something to come is kept, as long as there are not too many of those. */
static int
drop_oldest(struct change *w, const struct cronjob *job, struct err *err)
{
	struct list *it, *next;

	if (job->count < CRONJOB_FIRINGS_KEPT)
		return 0;
	list_each (it, next, &job->firings) {
		const struct cronjob_firing *f = container_of(it, struct cronjob_firing, link);
		bool open = f->row.state == MSG_FIRING_DUE || f->row.state == MSG_FIRING_STARTED;

		if (f->dirty || (open && job->count < CRONJOB_FIRINGS_KEPT + CRONJOB_RUNS_MAX))
			continue;
		w->dropped = f->row.id;
		return store_drop(w->m->store, STORE_FIRING, f->row.id, f->row.version, err);
	}
	return 0;
}

static int
put_all(struct change *w, struct cronjob *job, struct err *err)
{
	if (put_changed(w, job, err) < 0)
		return -1;
	if (w->has_row && store_put(w->m->store, STORE_CRON, &w->row, err) < 0)
		return -1;
	if (!w->fresh)
		return 0;
	if (drop_oldest(w, job, err) < 0)
		return -1;
	return store_put(w->m->store, STORE_FIRING, &w->fresh->row, err);
}

static struct change *
prepare(struct model *m, struct service *s, const struct cronjob_change *change)
{
	struct change *w = mem_zalloc(MEM_SCHEDULER, sizeof(*w));

	if (!w)
		return NULL;
	w->m = m;
	w->service = s->row.id;
	if (change->row) {
		w->has_row = true;
		w->row = *change->row;
	}
	if (!change->fresh)
		return w;
	w->fresh = mem_zalloc(MEM_SCHEDULER, sizeof(*w->fresh));
	if (!w->fresh) {
		mem_free(w);
		return NULL;
	}
	w->fresh->row = *change->fresh;
	return w;
}

static bool
refuse(struct model *m, struct service *s, struct change *w, const struct err *err)
{
	fail(m, s->cron, err);
	model_wake_at(m, s->cron->retry_ns);
	if (w)
		mem_free(w->fresh);
	mem_free(w);
	return false;
}

bool
cronjob_write(struct model *m, struct service *s, const struct cronjob_change *change)
{
	struct change *w = prepare(m, s, change);
	uint64_t before = s->cron->writes;
	struct err err = {0};

	if (!w) {
		err_set(&err, ERR_NO_MEMORY, "no memory to write to the store");
		return refuse(m, s, NULL, &err);
	}
	if (store_begin(m->store, &err) < 0)
		return refuse(m, s, w, &err);
	if (put_all(w, s->cron, &err) < 0) {
		store_abort(m->store);
		return refuse(m, s, w, &err);
	}
	store_submit(m->store, ended, w);
	if (s->cron->retry_ns > m->now_ns)
		model_wake_at(m, s->cron->retry_ns);
	return s->cron->writes != before;
}

/* ---- memory from the store ---- */

struct reading {
	struct cronjob *fresh;
	const struct cronjob *known;
	uint64_t now_ns;
	bool no_memory;
};

static void
read_row(void *arg, const void *row)
{
	struct reading *r = arg;

	r->fresh->row = *(const struct store_cron *)row;
}

static void
read_firing(void *arg, const void *row)
{
	const struct store_firing *f = row;
	struct reading *r = arg;
	struct cronjob_firing *before = find((struct cronjob *)(uintptr_t)r->known, f->id);
	struct cronjob_firing *added = cronjob_add(r->fresh, f);

	r->no_memory |= !added;
	if (added)
		added->since_ns = r->now_ns;
	if (added && before && before->row.version == f->version) {
		added->found = before->found;
		added->since_ns = before->since_ns;
		added->waited = before->waited;
		added->asked_epoch = before->asked_epoch;
		added->sure_epoch = before->sure_epoch;
	}
}

int
cronjob_write_reload(struct model *m, struct service *s, struct err *err)
{
	struct cronjob *known = s->cron;
	struct reading r = {.known = known, .now_ns = m->now_ns};
	int rc = -1;

	s->cron = NULL;
	r.fresh = cronjob_get(s);
	s->cron = known;
	if (!r.fresh)
		return err_set(err, ERR_NO_MEMORY, "no memory for a cron");
	if (store_each(m->store, STORE_CRON, 0, s->row.id, read_row, &r, err) == 0 &&
	    store_each(m->store, STORE_FIRING, 0, s->row.id, read_firing, &r, err) == 0)
		rc = r.no_memory ? err_set(err, ERR_NO_MEMORY, "no memory for a cron") : 0;
	if (rc == 0) {
		r.fresh->writes = known->writes + 1;
		s->cron = r.fresh;
	}
	cronjob_free(rc == 0 ? known : r.fresh);
	return rc;
}

/* ---- on and off ---- */

int
cronjob_write_switch(struct model *m, struct service *s, bool on, struct request *r,
		     struct err *err)
{
	const struct doc_service *spec = s ? model_in_force(m, s) : NULL;
	int64_t now_s = m->wall_ns / (int64_t)SECOND_NS;

	if (!spec || spec->rtype != DOC_RTYPE_CRON) {
		err_set(err, ERR_INVALID, "%s is not a cron that is deployed",
			s ? s->row.name : "a whole deployment");
		return err_fix(err, "zlayer cron ls shows those that there are");
	}
	if (!cronjob_get(s))
		return err_set(err, ERR_NO_MEMORY, "no memory for a cron");
	struct store_cron row = s->cron->row;
	bool behind = on && row.mark_s > now_s;
	if (row.disabled == !on && !behind) {
		r->answer.target.unchanged = 1;
		return row.id ? write_confirm(m, s->deployment, STORE_CRON, &row, r, err)
			      : REQUEST_ANSWERED;
	}
	struct write *w = write_begin(m, s->deployment->row.name, r, err);
	if (!w)
		return -1;
	row.service = s->row.id;
	row.disabled = !on;
	if (on)
		row.mark_s = now_s;
	int rc = write_row(w, STORE_CRON, &row, err);
	w->deployment = s->deployment->row.id;
	w->service = s->row.id;
	write_say(w, on ? "cron.enabled" : "cron.disabled", "%s %s", s->row.name,
		  on ? "runs again at the times of its schedule" : "does not run any more");
	/* Memory follows when the store can be read again. */
	s->cron->unread = true;
	return write_end(w, rc);
}
