/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One cron, from its times to its runs. Each step that must be kept is a transaction of its own,
 * one at a time; the next step follows when memory says that the one before is in the store. What
 * is not kept is found again: a firing that is due, from the run that names it; how far a run is,
 * from the run. Only the end of a run is written once more, so that it outlives the run.
 *
 * The wall clock says which times are due, nothing else: waiting is done by the other one, and the
 * wall clock is looked at again at least every LOOK_S, since it may be set.
 */
#include "scheduler/cronjob.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/capacity.h"
#include "scheduler/create.h"
#include "scheduler/cronjob_write.h"
#include "scheduler/event.h"
#include "scheduler/firing.h"
#include "scheduler/placing.h"
#include "scheduler/reconcile.h"
#include "scheduler/request.h"

#define MS_NS UINT64_C(1000000)
#define SECOND_NS INT64_C(1000000000)

enum { LOOK_S = 5, BUSY_MS = 20, AGAIN_MS = 5000, SOON_MS = 1, NEWS_S = 60 };

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
	return m->wall_ns / SECOND_NS;
}

static bool
runtime_is_known(const struct model *m)
{
	return m->runtime && ring_table_version(m->runtime, MSG_TABLE_CONTAINER) > 0;
}

static bool
is_removed(const struct deployment *d)
{
	return d->gone || d->lost ||
	       (d->operation && d->operation->row.kind == MSG_OPERATION_REMOVE);
}

const struct doc_service *
cronjob_in_force(struct model *m, struct service *s)
{
	const struct doc_service *spec = model_service_doc(m, s, s->deployment->row.revision);

	return spec && spec->rtype == DOC_RTYPE_CRON ? spec : NULL;
}

static bool
is_over(const struct replica *p)
{
	return p->life.state == MSG_REPLICA_STOPPED || p->life.state == MSG_REPLICA_FAILED;
}

bool
cronjob_is_under_way(const struct model *m, const struct replica *p)
{
	bool lost = !p->remote && !text_equal(p->row.boot, m->boot) && !p->has_container;

	return p->row.job && !p->life.gone && !is_over(p) && !lost;
}

static uint32_t
count_runs(const struct model *m, const struct service *s)
{
	struct list *it, *next;
	uint32_t count = 0;

	list_each (it, next, &s->replicas)
		count += cronjob_is_under_way(m, container_of(it, struct replica, link));
	list_each (it, next, &s->cron->firings)
		count += container_of(it, struct cronjob_firing, link)->row.state == MSG_FIRING_DUE;
	return count;
}

static struct cronjob_firing *
firing_of(const struct service *s, uint64_t id)
{
	struct list *it, *next;

	if (!s->cron || !id)
		return NULL;
	list_each (it, next, &s->cron->firings) {
		struct cronjob_firing *f = container_of(it, struct cronjob_firing, link);

		if (f->row.id == id)
			return f;
	}
	return NULL;
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

/* ---- runs and their firings ---- */

/* The run that was made for a firing after the ones that were lost. */
static struct replica *
run_of(const struct service *s, const struct store_firing *f)
{
	struct replica *found = NULL;
	struct list *it, *next;

	list_each (it, next, &s->replicas) {
		struct replica *p = container_of(it, struct replica, link);

		if (p->row.firing == f->id && p->row.index > f->index)
			found = p;
	}
	return found;
}

static void
take_run(struct cronjob_firing *f, const struct replica *p)
{
	f->row.state = MSG_FIRING_STARTED;
	f->row.replica = p->row.id;
	f->row.index = p->row.index;
	memset(&f->row.why, 0, sizeof(f->row.why));
}

static void
take_end(struct model *m, struct cronjob_firing *f, const struct replica *p)
{
	bool lost =
		p && (p->has_ended ? p->ended.lease_over != 0 : p->reason.kind == ERR_INTERRUPTED);
	int32_t status = -1;

	f->row.state = lost ? MSG_FIRING_LOST : MSG_FIRING_DONE;
	f->row.ended_wall_ns = m->wall_ns;
	f->dirty = true;
	if (p && p->has_ended) {
		if (p->ended.state == MSG_CONTAINER_EXITED)
			status = p->ended.exit_status;
		f->row.exit_signal = p->ended.exit_signal;
		if (p->ended.exited_wall_ns)
			f->row.ended_wall_ns = p->ended.exited_wall_ns;
	}
	f->row.exit_status = (uint32_t)status;
	if (p)
		f->row.why = p->reason;
}

static bool
may_retry(const struct doc_service *spec, const struct service *s, const struct store_firing *f)
{
	return spec && spec->cron.on_loss == DOC_ON_LOSS_RETRY && f->tries < CRONJOB_TRIES_MAX &&
	       !s->cron->row.disabled && !s->cron->row.halted;
}

/* It is to be run once more, by that node. */
static void
retry(struct model *m, struct cronjob_firing *f, uint32_t owner)
{
	f->row.state = MSG_FIRING_DUE;
	f->row.owner = owner;
	f->row.tries++;
	memset(&f->row.why, 0, sizeof(f->row.why));
	f->dirty = true;
	model_wake_at(m, m->now_ns + SOON_MS * MS_NS);
}

/* Brings the firings up to what is known of their runs. */
static void
settle(struct model *m, struct service *s, const struct doc_service *spec)
{
	struct list *it, *next;

	list_each (it, next, &s->cron->firings) {
		struct cronjob_firing *f = container_of(it, struct cronjob_firing, link);
		struct replica *p;

		if (f->row.state == MSG_FIRING_DUE && (p = run_of(s, &f->row)))
			take_run(f, p);
		/* How a run of another node ended that one says. */
		if (f->row.state != MSG_FIRING_STARTED ||
		    (f->row.owner && f->row.owner != m->node_id))
			continue;
		p = model_replica(m, f->row.replica);
		if (p && is_over(p) && p->has_ended && p->ended.lease_over &&
		    may_retry(spec, s, &f->row))
			retry(m, f, m->node_id);
		else if (p ? is_over(p) : f->row.owner == m->node_id)
			take_end(m, f, p);
	}
}

bool
cronjob_keeps(struct model *m, struct replica *p)
{
	struct cronjob_firing *f = firing_of(p->service, p->row.firing);
	const struct doc_service *spec = f ? cronjob_in_force(m, p->service) : NULL;

	if (!spec || spec->cron.on_loss != DOC_ON_LOSS_RETRY || f->row.replica != p->row.id ||
	    is_removed(p->service->deployment))
		return false;
	if (f->row.state == MSG_FIRING_DUE)
		return f->dirty;
	if (f->row.state != MSG_FIRING_STARTED || f->row.tries >= CRONJOB_TRIES_MAX ||
	    p->life.order != LIFECYCLE_RUN || p->has_container || !runtime_is_known(m))
		return false;
	retry(m, f, f->row.owner);
	return true;
}

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

		if (!cronjob_is_under_way(m, p))
			continue;
		err_set(err, ERR_CONFLICT, "run %u of %s/%s is under way (cron.overlap: forbid)",
			p->row.index, deployment, s->row.name);
		return err_fix(err, "wait until it has ended, or: zlayer job cancel %s/%s.%u",
			       deployment, s->row.name, p->row.index);
	}
	return 0;
}

void
cronjob_replace(struct model *m, const struct doc_service *spec, struct replica *p)
{
	struct list *it, *next;

	if (spec->rtype != DOC_RTYPE_CRON || spec->cron.overlap != DOC_OVERLAP_REPLACE)
		return;
	list_each (it, next, &p->service->replicas) {
		struct replica *other = container_of(it, struct replica, link);

		if (other == p || !cronjob_is_under_way(m, other) ||
		    other->life.order != LIFECYCLE_RUN)
			continue;
		event_replica(m, other, "cron.replaced", LOG_WARN, NULL,
			      "run %u of %s is stopped: run %u takes its place", other->row.index,
			      p->service->row.name, p->row.index);
		reconcile_order(m, other, LIFECYCLE_STOP);
	}
}

/* ---- starting what is due ---- */

static void
lose(struct model *m, struct service *s, struct cronjob_firing *f, const struct err *why)
{
	char at[48];

	f->row.state = MSG_FIRING_LOST;
	f->row.ended_wall_ns = m->wall_ns;
	msg_reason_from(why, &f->row.why);
	f->dirty = true;
	text_time(f->row.at_s * SECOND_NS, 0, at, sizeof(at));
	event_deployment(m, s->deployment, s, "cron.lost", LOG_ERROR, &f->row.why,
			 "%s was not run for %s", s->row.name, at);
}

/* 1: another node takes it instead. */
static int
find_room(struct model *m, struct service *s, const struct doc_service *spec,
	  struct cronjob_firing *f, struct err *err)
{
	struct capacity_want want = {spec, 1};
	uint32_t owner;

	if (!m->placing)
		return capacity_check(m, NULL, s->deployment->row.name, &want, 1, err);
	if (placing_check_here(m->placing, s, err) == 0)
		return 0;
	owner = placing_pick(m->placing, s, (uint32_t)f->row.at_s, err);
	if (!owner || owner == m->node_id)
		return -1;
	f->row.owner = owner;
	f->dirty = true;
	model_wake_at(m, m->now_ns + SOON_MS * MS_NS);
	return 1;
}

static int
make_run(struct model *m, struct service *s, const struct doc_service *spec,
	 struct cronjob_firing *f, struct err *err)
{
	char at[48];
	int rc = find_room(m, s, spec, f, err);

	if (rc != 0)
		return rc < 0 ? -1 : 0;
	request_forget_runs(m, s);
	struct replica *p = create_run(m, s, NULL, &f->row, err);
	if (!p)
		return -1;
	take_run(f, p);
	text_time(f->row.at_s * SECOND_NS, 0, at, sizeof(at));
	event_replica(m, p, "job.started", LOG_INFO, NULL, "run %u of %s, for %s", p->row.index,
		      s->row.name, at);
	cronjob_replace(m, spec, p);
	return 0;
}

/* It may have been recorded by a process that ended then: it was not started, but its time may be
 * over. */
static bool
is_stale(const struct model *m, const struct cronjob_firing *f)
{
	/* The clock of who recorded it may be another one. */
	int64_t grace_s = f->found ? FIRING_GRACE_S : NEWS_S;

	return (f->found || f->heard) && m->wall_ns - f->row.recorded_wall_ns > grace_s * SECOND_NS;
}

static bool
start_firing(struct model *m, struct service *s, const struct doc_service *spec,
	     struct cronjob_firing *f)
{
	bool retry = spec && spec->cron.on_loss == DOC_ON_LOSS_RETRY;
	bool first = !f->row.why.kind;
	struct err err = {0};

	if (!spec || s->cron->row.disabled || s->cron->row.halted) {
		err_set(&err, ERR_INTERRUPTED, "it was %s before its run began",
			!spec                   ? "removed"
			: s->cron->row.disabled ? "disabled"
						: "stopped");
		lose(m, s, f, &err);
		return true;
	}
	if (is_stale(m, f) && !retry) {
		err_set(&err, ERR_INTERRUPTED, "the node ended before its run began");
		err_fix(&err,
			"zlayer cron trigger %s/%s; to have such times made up for: "
			"cron: {on_loss: retry}",
			s->deployment->row.name, s->row.name);
		lose(m, s, f, &err);
		return true;
	}
	if (make_run(m, s, spec, f, &err) == 0)
		return true;
	if (!retry) {
		lose(m, s, f, &err);
		return true;
	}
	msg_reason_from(&err, &f->row.why);
	if (first)
		log_err(LOG_WARN, "a run of a cron cannot be made yet", &err);
	s->cron->retry_ns = m->now_ns + AGAIN_MS * MS_NS;
	model_wake_at(m, s->cron->retry_ns);
	return false;
}

static bool
start_due(struct model *m, struct service *s, const struct doc_service *spec)
{
	struct list *it, *next;

	list_each (it, next, &s->cron->firings) {
		struct cronjob_firing *f = container_of(it, struct cronjob_firing, link);

		if (f->row.state == MSG_FIRING_DUE && !f->dirty && f->row.owner == m->node_id)
			return start_firing(m, s, spec, f);
	}
	return false;
}

/* ---- nodes that are gone ---- */

static void
say_gone(const struct service *s, const struct store_firing *f, struct err *err)
{
	err_set(err, ERR_INTERRUPTED, "its node (%u) went away before it was known to have ended",
		f->owner);
	err_fix(err,
		"zlayer cron trigger %s/%s; to have such times run again: cron: {on_loss: retry}",
		s->deployment->row.name, s->row.name);
}

/* What became of their runs nobody can say. One at a time: it is written before the next. */
static bool
take_from_the_gone(struct model *m, struct service *s, const struct doc_service *spec)
{
	struct list *it, *next;

	if (!m->placing || !model_conducts(m, s->deployment))
		return false;
	list_each (it, next, &s->cron->firings) {
		struct cronjob_firing *f = container_of(it, struct cronjob_firing, link);
		struct err err = {0};

		if ((f->row.state != MSG_FIRING_DUE && f->row.state != MSG_FIRING_STARTED) ||
		    f->dirty || !placing_is_gone(m->placing, f->row.owner))
			continue;
		if (may_retry(spec, s, &f->row)) {
			uint32_t owner = placing_pick(m->placing, s, (uint32_t)f->row.at_s, &err);

			retry(m, f, owner ? owner : m->node_id);
		} else {
			say_gone(s, &f->row, &err);
			lose(m, s, f, &err);
		}
		return true;
	}
	return false;
}

/* The node that is to make the run; when none can, the one that writes it down says why. */
static uint32_t
owner_of(struct model *m, const struct service *s, int64_t at_s)
{
	struct err ignored = {0};
	uint32_t owner = 0;

	if (m->placing)
		owner = placing_pick(m->placing, s, (uint32_t)at_s, &ignored);
	return owner ? owner : m->node_id;
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
	int64_t left = job->next_s * SECOND_NS - m->wall_ns;

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
		.owner = owner_of(m, s, step->at_s),
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
		.running = count_runs(m, s),
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
	settle(m, s, spec);
	if (conducts && row_differs(m, s, spec, &row))
		return cronjob_write(m, s, &(struct cronjob_change){.row = &row});
	if (take_from_the_gone(m, s, spec) || is_dirty(s->cron))
		return cronjob_write(m, s, &(struct cronjob_change){0});
	if (start_due(m, s, spec))
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

	if (is_removed(s->deployment))
		return false;
	spec = cronjob_in_force(m, s);
	if (!spec && !s->cron)
		return false;
	if (!cronjob_get(s)) {
		model_wake_at(m, m->now_ns + AGAIN_MS * MS_NS);
		return false;
	}
	if (!runtime_is_known(m))
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
