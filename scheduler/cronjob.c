/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One cron, from its times to its runs. Each step that must be kept is a transaction of its own,
 * one at a time; the next step follows when memory says that the one before is in the store. What
 * is not kept is found again. What becomes of a time once it is written down is in cronjob_run.c.
 *
 * The wall clock says which times are due, nothing else: waiting is done by the other one, and the
 * wall clock is looked at again at least every LOOK_S, since it may be set.
 */
#include "scheduler/cronjob.h"

#include <assert.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/cronjob_run.h"
#include "scheduler/cronjob_write.h"
#include "scheduler/event.h"
#include "scheduler/firing.h"
#include "scheduler/placing.h"
#include "scheduler/reconcile.h"

#define MS_NS UINT64_C(1000000)
#define SECOND_NS INT64_C(1000000000)

enum { LOOK_S = 5, BUSY_MS = 20, AGAIN_MS = 5000, SOON_MS = 1 };

static_assert((int)MSG_FIRING_ON_TIME == FIRING_ON_TIME, "reasons");
static_assert((int)MSG_FIRING_CAUGHT_UP == FIRING_CAUGHT_UP, "reasons");
static_assert((int)MSG_FIRING_MISSED == FIRING_MISSED, "reasons");
static_assert((int)MSG_FIRING_OVERLAPS == FIRING_OVERLAPS, "reasons");
static_assert((int)DOC_OVERLAP_FORBID == FIRING_FORBID, "overlaps");
static_assert((int)DOC_OVERLAP_ALLOW == FIRING_ALLOW, "overlaps");
static_assert((int)DOC_OVERLAP_REPLACE == FIRING_REPLACE, "overlaps");
static_assert((int)DOC_CATCH_UP_LAST == FIRING_LAST, "ways to catch up");
static_assert((int)DOC_CATCH_UP_ALL == FIRING_ALL, "ways to catch up");
static_assert((int)DOC_CATCH_UP_NONE == FIRING_NONE, "ways to catch up");

/* ---- objects ---- */

struct cronjob *
cronjob_get(struct service *s)
{
	if (s->cron)
		return s->cron;
	s->cron = mem_zalloc(MEM_SCHEDULER, sizeof(*s->cron));
	if (s->cron)
		list_init(&s->cron->firings);
	return s->cron;
}

/* As they were written: rows of several nodes are read one node after the other. */
static void
place(struct cronjob *job, struct cronjob_firing *f)
{
	struct list *after = job->firings.prev;

	while (after != &job->firings &&
	       container_of(after, struct cronjob_firing, link)->row.recorded_wall_ns >
		       f->row.recorded_wall_ns)
		after = after->prev;
	list_push(after->next, &f->link);
}

struct cronjob_firing *
cronjob_add(struct cronjob *job, const struct store_firing *row)
{
	struct cronjob_firing *f = mem_zalloc(MEM_SCHEDULER, sizeof(*f));

	if (!f)
		return NULL;
	f->row = *row;
	place(job, f);
	job->count++;
	return f;
}

void
cronjob_free(struct cronjob *job)
{
	struct list *it, *next;

	if (!job)
		return;
	list_each (it, next, &job->firings)
		mem_free(container_of(it, struct cronjob_firing, link));
	mem_free(job);
}

void
cronjob_hear(struct model *m, uint64_t service)
{
	struct list *it, *next, *at, *after;

	list_each (it, next, &m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		list_each (at, after, &d->services) {
			struct service *s = container_of(at, struct service, link);

			if ((!service || s->row.id == service) && cronjob_get(s))
				s->cron->unread = true;
		}
	}
}

/* ---- what is there ---- */

static int64_t
wall_s(const struct model *m)
{
	return (m->wall_ns + m->base_wall_ns) / SECOND_NS;
}

const struct doc_service *
cronjob_in_force(struct model *m, struct service *s)
{
	const struct doc_service *spec = model_service_doc(m, s, s->deployment->row.revision);

	return spec && spec->rtype == DOC_RTYPE_CRON ? spec : NULL;
}

bool
cronjob_is_removed(const struct deployment *d)
{
	return d->gone || d->lost ||
	       (d->operation && d->operation->row.kind == MSG_OPERATION_REMOVE);
}

bool
cronjob_is_single(const struct doc_service *spec)
{
	return spec && spec->rtype == DOC_RTYPE_CRON && spec->cron.overlap != DOC_OVERLAP_ALLOW;
}

bool
cronjob_is_leased(const struct doc_service *spec)
{
	return cronjob_is_single(spec) ||
	       (spec && spec->rtype == DOC_RTYPE_CRON && spec->cron.on_loss == DOC_ON_LOSS_RETRY);
}

bool
cronjob_is_over(const struct replica *p)
{
	return p->life.state == MSG_REPLICA_STOPPED || p->life.state == MSG_REPLICA_FAILED;
}

bool
cronjob_is_under_way(const struct model *m, const struct replica *p)
{
	bool lost = !p->remote && !text_equal(p->row.boot, m->boot) && !p->has_container;

	return p->row.job && !p->life.gone && !cronjob_is_over(p) && !lost;
}

/* A run that its node, which cannot ask the store, has not begun is not waited for: it has no
 * lease, or ends with it. */
static bool
is_in_the_way(struct model *m, const struct replica *p, const struct doc_service *spec)
{
	return cronjob_is_under_way(m, p) &&
	       !(m->placing && p->remote && !p->has_container && cronjob_is_leased(spec) &&
		 placing_is_stuck(m->placing, p->node_id));
}

static uint32_t
count_runs(struct model *m, const struct service *s, const struct doc_service *spec)
{
	struct list *it, *next;
	uint32_t count = 0;

	list_each (it, next, &s->replicas)
		count += is_in_the_way(m, container_of(it, struct replica, link), spec);
	list_each (it, next, &s->cron->firings)
		count += container_of(it, struct cronjob_firing, link)->row.state == MSG_FIRING_DUE;
	return count;
}

static bool
is_recorded(const struct cronjob *job, int64_t at_s)
{
	struct list *it, *next;

	list_each (it, next, &job->firings) {
		if (container_of(it, struct cronjob_firing, link)->row.at_s == at_s)
			return true;
	}
	return false;
}

/* ---- overlap ---- */

const struct replica *
cronjob_follows(struct model *m, const struct replica *p)
{
	const struct doc_service *spec = cronjob_in_force(m, p->service);
	struct list *it, *next;

	if (!spec || spec->cron.overlap != DOC_OVERLAP_REPLACE)
		return NULL;
	list_each (it, next, &p->service->replicas) {
		const struct replica *other = container_of(it, struct replica, link);

		if (other->row.index < p->row.index && cronjob_is_under_way(m, other))
			return other;
	}
	return NULL;
}

int
cronjob_check_run(struct model *m, struct service *s, const struct doc_service *spec,
		  struct err *err)
{
	const char *deployment = s->deployment->row.name;
	struct list *it, *next;

	if (spec->rtype != DOC_RTYPE_CRON || spec->cron.overlap != DOC_OVERLAP_FORBID)
		return 0;
	list_each (it, next, &s->replicas) {
		const struct replica *p = container_of(it, struct replica, link);

		if (!is_in_the_way(m, p, spec))
			continue;
		err_set(err, ERR_CONFLICT, "run %u of %s/%s is under way (cron.overlap: forbid)",
			p->row.index, deployment, s->row.name);
		return err_fix(err, "wait until it has ended, or: zlayer job cancel %s/%s.%u",
			       deployment, s->row.name, p->row.index);
	}
	return 0;
}

/* The newest one that is under way, on any node. */
static const struct replica *
newest_run(const struct model *m, const struct service *s)
{
	const struct replica *newest = NULL;
	struct list *it, *next;

	list_each (it, next, &s->replicas) {
		const struct replica *p = container_of(it, struct replica, link);

		if (cronjob_is_under_way(m, p) && (!newest || p->row.index > newest->row.index))
			newest = p;
	}
	return newest;
}

void
cronjob_replace(struct model *m, struct service *s, const struct doc_service *spec)
{
	bool replaces =
		spec && spec->rtype == DOC_RTYPE_CRON && spec->cron.overlap == DOC_OVERLAP_REPLACE;
	const struct replica *newest = replaces ? newest_run(m, s) : NULL;
	struct list *it, *next;

	list_each (it, next, &s->replicas) {
		struct replica *p = container_of(it, struct replica, link);

		if (!newest || p->remote || p->row.index >= newest->row.index ||
		    !cronjob_is_under_way(m, p) || p->life.order != LIFECYCLE_RUN)
			continue;
		event_replica(m, p, "cron.replaced", LOG_WARN, NULL,
			      "run %u of %s is stopped: run %u takes its place", p->row.index,
			      s->row.name, newest->row.index);
		reconcile_order(m, p, LIFECYCLE_STOP);
	}
}

/* ---- keeping ---- */

static bool
is_dirty(const struct cronjob *job)
{
	struct list *it, *next;

	list_each (it, next, &job->firings) {
		if (container_of(it, struct cronjob_firing, link)->dirty)
			return true;
	}
	return false;
}

/* Which schedule it is and whether it goes; a change of that begins anew, from now. */
static bool
row_differs(const struct model *m, const struct service *s, const struct doc_service *spec,
	    struct store_cron *row)
{
	const char *schedule = spec ? spec->schedule : "";
	uint32_t halted = s->deployment->row.stopped != 0;

	*row = s->cron->row;
	if (row->id ? text_equal(row->schedule, schedule) && row->halted == halted : !spec)
		return false;
	row->service = s->row.id;
	row->halted = halted;
	memset(row->schedule, 0, sizeof(row->schedule));
	text_copy(row->schedule, sizeof(row->schedule), schedule);
	if (spec && !halted && row->mark_s < wall_s(m))
		row->mark_s = wall_s(m);
	return true;
}

/* ---- times ---- */

static void
wait_for(struct model *m, const struct cronjob *job)
{
	int64_t left = job->next_s * SECOND_NS - m->wall_ns - m->base_wall_ns;

	if (!job->next_s)
		return;
	if (left > LOOK_S * SECOND_NS)
		left = LOOK_S * SECOND_NS;
	model_wake_at(m, m->now_ns + (uint64_t)(left > 0 ? left : 0));
}

static bool
record(struct model *m, struct service *s, const struct firing_step *step)
{
	struct store_cron row = s->cron->row;
	struct store_firing firing = {
		.service = s->row.id,
		.at_s = step->at_s,
		.state = step->verb == FIRING_FIRE ? MSG_FIRING_DUE : MSG_FIRING_PASSED,
		.reason = (uint32_t)step->reason,
		.skipped = step->skipped,
		.skipped_more = step->skipped_more,
		.owner = cronjob_run_owner(m, s, step->at_s),
		.recorded_wall_ns = m->wall_ns,
		.exit_status = (uint32_t)-1,
	};
	struct cronjob_change change = {.row = &row, .fresh = &firing};

	row.mark_s = step->at_s;
	/* It was dealt with before the mark was set back by hand. */
	if (is_recorded(s->cron, step->at_s))
		change.fresh = NULL;
	bool kept = cronjob_write(m, s, &change);
	model_wake_at(m, m->now_ns + SOON_MS * MS_NS);
	return kept;
}

/* All times are to be run and no two at once: one after the other. */
static bool
is_queue(const struct doc_service *spec)
{
	return spec->cron.overlap == DOC_OVERLAP_FORBID && spec->cron.catch_up == DOC_CATCH_UP_ALL;
}

static bool
ask(struct model *m, struct service *s, const struct doc_service *spec)
{
	struct cronjob *job = s->cron;

	if (job->asked && (!job->next_s || wall_s(m) < job->next_s)) {
		wait_for(m, job);
		return false;
	}
	struct firing_now now = {
		.wall_s = wall_s(m),
		.mark_s = job->row.mark_s,
		.running = count_runs(m, s, spec),
	};
	struct firing_rule rule = {
		.schedule = &spec->times,
		.catch_up = (enum firing_catch_up)spec->cron.catch_up,
		.overlap = now.running >= CRONJOB_RUNS_MAX
				   ? FIRING_FORBID
				   : (enum firing_overlap)spec->cron.overlap,
		.enabled = true,
	};
	if (is_queue(spec) && now.running > 0)
		return false;
	struct firing_step step = firing_step(&rule, &now);
	if (step.verb != FIRING_WAIT)
		return record(m, s, &step);
	job->asked = true;
	job->next_s = step.next_s;
	job->over = step.reason == FIRING_OVER;
	wait_for(m, job);
	return false;
}

static bool
read_again(struct model *m, struct service *s)
{
	struct err err = {0};

	if (cronjob_write_reload(m, s, &err) == 0)
		return true;
	log_err(LOG_WARN, "a cron cannot be read from the store", &err);
	s->cron->retry_ns = m->now_ns + AGAIN_MS * MS_NS;
	model_wake_at(m, s->cron->retry_ns);
	return false;
}

/* One step, if there is one to take. */
static bool
advance(struct model *m, struct service *s, const struct doc_service *spec)
{
	bool conducts = model_conducts(m, s->deployment);
	struct store_cron row;

	if (s->cron->unread)
		return read_again(m, s);
	cronjob_run_settle(m, s, spec);
	cronjob_replace(m, s, spec);
	if (conducts && row_differs(m, s, spec, &row))
		return cronjob_write(m, s, &(struct cronjob_change){.row = &row});
	if (cronjob_run_take_gone(m, s, spec) || is_dirty(s->cron))
		return cronjob_write(m, s, &(struct cronjob_change){0});
	if (cronjob_run_start(m, s, spec))
		return true;
	if (!conducts || !spec || s->cron->row.disabled || s->cron->row.halted ||
	    m->now_ns < s->cron->retry_ns)
		return false;
	return ask(m, s, spec);
}

bool
cronjob_look(struct model *m, struct service *s)
{
	const struct doc_service *spec;

	if (cronjob_is_removed(s->deployment))
		return false;
	spec = cronjob_in_force(m, s);
	if (!spec && !s->cron)
		return false;
	if (!cronjob_get(s)) {
		model_wake_at(m, m->now_ns + AGAIN_MS * MS_NS);
		return false;
	}
	if (!model_knows_runtime(m))
		return false;
	if (store_busy(m->store)) {
		model_wake_at(m, m->now_ns + BUSY_MS * MS_NS);
		return false;
	}
	if (m->now_ns < s->cron->retry_ns) {
		model_wake_at(m, s->cron->retry_ns);
		return false;
	}
	return advance(m, s, spec);
}
