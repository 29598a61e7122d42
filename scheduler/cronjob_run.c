/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a firing to the end of its run. Only the end of a run is written once more, so that it
 * outlives the run; what lies before is found again: a run names its firing, and the how-manieth
 * try of it it is.
 *
 * A node that was cut off does not know yet that another one was given its firing, and may have
 * done it since, or that it was said to be lost. So a run that has a lease starts only when its
 * firing was written once more after the lease was had: that fails if somebody has changed it.
 */
#include "scheduler/cronjob_run.h"

#include <inttypes.h>
#include <string.h>
#include "base/log.h"
#include "base/text.h"
#include "scheduler/capacity.h"
#include "scheduler/create.h"
#include "scheduler/event.h"
#include "scheduler/firing.h"
#include "scheduler/placing.h"
#include "scheduler/reconcile.h"
#include "scheduler/request.h"
#include "scheduler/unique.h"

#define MS_NS UINT64_C(1000000)
#define SECOND_NS INT64_C(1000000000)

enum { AGAIN_MS = 5000, ASK_MS = 20, SOON_MS = 1 };

/* ---- runs and their firings ---- */

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

/* The run of this node that was made for this try. */
static struct replica *
run_of(const struct service *s, const struct store_firing *f)
{
	struct replica *found = NULL;
	struct list *it, *next;

	list_each (it, next, &s->replicas) {
		struct replica *p = container_of(it, struct replica, link);

		if (p->row.firing == f->id && p->row.tries == f->tries)
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

/* It ended with its machine: what the runtime says of it since is of no process. */
static bool
is_cut_off(const struct model *m, const struct replica *p)
{
	return !text_equal(p->row.boot, m->boot) && !(p->has_ended && p->ended.started_wall_ns);
}

static bool
is_lost(const struct model *m, const struct replica *p)
{
	if (is_cut_off(m, p))
		return true;
	return p->has_ended ? p->ended.lease_over != 0 : p->reason.kind == ERR_INTERRUPTED;
}

static void
take_end(struct model *m, struct cronjob_firing *f, const struct replica *p)
{
	bool lost = p && is_lost(m, p);
	int32_t status = -1;

	f->row.state = lost ? MSG_FIRING_LOST : MSG_FIRING_DONE;
	f->row.ended_wall_ns = m->wall_ns;
	f->dirty = true;
	if (p && p->has_ended && !is_cut_off(m, p)) {
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
retries(const struct doc_service *spec)
{
	return spec && spec->cron.on_loss == DOC_ON_LOSS_RETRY;
}

static bool
may_retry(const struct doc_service *spec, const struct service *s, const struct store_firing *f)
{
	return retries(spec) && f->tries < CRONJOB_TRIES_MAX && !s->cron->row.disabled &&
	       !s->cron->row.halted;
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

/* As far as this node knows. */
static bool
is_ours(const struct model *m, const struct cronjob_firing *f)
{
	return !f->row.owner || f->row.owner == m->node_id;
}

static bool
is_for(const struct model *m, const struct cronjob_firing *f, const struct replica *p)
{
	return is_ours(m, f) && f->row.tries == p->row.tries &&
	       (f->row.state == MSG_FIRING_DUE || f->row.state == MSG_FIRING_STARTED);
}

static const char *
why_not(const struct model *m, const struct cronjob_firing *f)
{
	if (!f)
		return "is not known any more";
	if (f->row.state == MSG_FIRING_LOST)
		return "was said to be lost meanwhile";
	return is_ours(m, f) ? "was given to another run meanwhile"
			     : "was given to another node meanwhile";
}

/* Its firing is another's, or nobody's any more; one that nobody remembers ended long ago, by what
 * the others know. What lives and is not made again elsewhere goes on: its lease says that it is
 * alone. Those that the machine's end cut off are told of elsewhere. */
static bool
gives_way(const struct model *m, const struct cronjob_firing *f, const struct replica *p,
	  const struct doc_service *spec)
{
	if (p->remote || !p->row.firing || p->life.order != LIFECYCLE_RUN || cronjob_is_over(p) ||
	    !text_equal(p->row.boot, m->boot))
		return false;
	if (!f)
		return model_is_shared(m) && !unique_lives(p);
	return !f->dirty && !is_for(m, f, p) && (retries(spec) || !unique_lives(p));
}

static void
give_way(struct model *m, struct service *s, const struct doc_service *spec)
{
	struct list *it, *next;

	list_each (it, next, &s->replicas) {
		struct replica *p = container_of(it, struct replica, link);
		const struct cronjob_firing *f = firing_of(s, p->row.firing);
		struct err err = {0};

		if (!gives_way(m, f, p, spec))
			continue;
		err_set(&err, ERR_INTERRUPTED, "its time %s", why_not(m, f));
		msg_reason_from(&err, &p->reason);
		event_replica(m, p, "job.ended", LOG_WARN, &p->reason, "run %u of %s gives way",
			      p->row.index, s->row.name);
		reconcile_order(m, p, LIFECYCLE_STOP);
	}
}

/* The lease is had: is the firing still this node's? */
static void
make_sure(struct model *m, struct cronjob_firing *f, const struct replica *p,
	  const struct doc_service *spec)
{
	if (!model_is_shared(m) || !cronjob_is_leased(spec) || !p || p->remote || !p->lease_epoch ||
	    f->sure_epoch == p->lease_epoch)
		return;
	f->asked_epoch = p->lease_epoch;
	f->dirty = true;
}

/* How a run of another node ended that one says. */
void
cronjob_run_settle(struct model *m, struct service *s, const struct doc_service *spec)
{
	struct list *it, *next;

	if (cronjob_is_leased(spec))
		give_way(m, s, spec);
	list_each (it, next, &s->cron->firings) {
		struct cronjob_firing *f = container_of(it, struct cronjob_firing, link);
		struct replica *p;

		if (!is_ours(m, f))
			continue;
		if (f->row.state == MSG_FIRING_DUE && (p = run_of(s, &f->row)))
			take_run(f, p);
		if (f->row.state != MSG_FIRING_STARTED)
			continue;
		p = model_replica(m, f->row.replica);
		if (p && cronjob_is_over(p) && p->has_ended && p->ended.lease_over &&
		    may_retry(spec, s, &f->row))
			retry(m, f, m->node_id);
		else if (p ? cronjob_is_over(p) : f->row.owner == m->node_id)
			take_end(m, f, p);
		else
			make_sure(m, f, p, spec);
	}
}

bool
cronjob_run_may_begin(struct model *m, const struct replica *p)
{
	const struct cronjob_firing *f = firing_of(p->service, p->row.firing);

	if (!p->row.firing || !cronjob_is_leased(cronjob_in_force(m, p->service)))
		return true;
	if (!f)
		return false; /* it gives way */
	if (is_for(m, f, p) && f->sure_epoch == p->lease_epoch)
		return true;
	if (f->asked_epoch != p->lease_epoch)
		model_wake_at(m, m->now_ns + ASK_MS * MS_NS);
	return false;
}

bool
cronjob_run_keeps(struct model *m, struct replica *p)
{
	struct cronjob_firing *f = firing_of(p->service, p->row.firing);
	const struct doc_service *spec = f ? cronjob_in_force(m, p->service) : NULL;

	if (!retries(spec) || f->row.replica != p->row.id || !is_ours(m, f) ||
	    cronjob_is_removed(p->service->deployment))
		return false;
	if (f->row.state == MSG_FIRING_DUE)
		return f->dirty;
	if (f->row.state != MSG_FIRING_STARTED || f->row.tries >= CRONJOB_TRIES_MAX ||
	    p->life.order != LIFECYCLE_RUN || p->has_container || !model_knows_runtime(m))
		return false;
	retry(m, f, f->row.owner);
	return true;
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

/* 1: another node takes it instead. One that has none either does not give it on at once: what a
 * node knows of the room of others is some seconds old. */
static int
find_room(struct model *m, struct service *s, const struct doc_service *spec,
	  struct cronjob_firing *f, struct err *err)
{
	struct capacity_want want = {spec, 1};
	struct msg_reason why;
	uint32_t owner;

	if (!m->placing)
		return capacity_check(m, NULL, s->deployment->row.name, &want, 1, err);
	if (placing_check_here(m->placing, s, err) == 0)
		return 0;
	if (f->row.why.kind && !f->waited)
		return -1;
	msg_reason_from(err, &why);
	owner = placing_pick(m->placing, s, (uint32_t)f->row.at_s, err);
	if (!owner || owner == m->node_id)
		return -1;
	f->row.owner = owner;
	f->row.why = why;
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
	cronjob_replace(m, s, spec);
	return 0;
}

/* It may have been recorded by a process that ended then: it was not started, but its time may be
 * over. */
static bool
is_stale(const struct model *m, const struct cronjob_firing *f)
{
	return !model_is_shared(m) && f->found &&
	       m->wall_ns - f->row.recorded_wall_ns > FIRING_GRACE_S * SECOND_NS;
}

/* In a cluster the clock of who recorded it may be another one than this node's. There who conducts
 * says of a node that was away that its times are lost: so it is written once more, which is not
 * kept if that was said. */
static bool
is_doubtful(const struct model *m, const struct cronjob_firing *f)
{
	bool late = m->now_ns - f->since_ns > (uint64_t)(FIRING_GRACE_S * SECOND_NS);

	return model_is_shared(m) && (f->found || (late && !f->waited));
}

static bool
start_firing(struct model *m, struct service *s, const struct doc_service *spec,
	     struct cronjob_firing *f)
{
	bool retry = retries(spec), first = !f->waited;
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
	if (is_doubtful(m, f)) {
		f->dirty = true;
		return true;
	}
	if (make_run(m, s, spec, f, &err) == 0)
		return true;
	if (!retry) {
		lose(m, s, f, &err);
		return true;
	}
	msg_reason_from(&err, &f->row.why);
	f->waited = true;
	if (first)
		log_err(LOG_WARN, "a run of a cron cannot be made yet", &err);
	s->cron->retry_ns = m->now_ns + AGAIN_MS * MS_NS;
	model_wake_at(m, s->cron->retry_ns);
	return false;
}

bool
cronjob_run_start(struct model *m, struct service *s, const struct doc_service *spec)
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

/* Without its lease its run does not begin, and before it begins the firing says so. */
static bool
cannot_begin(struct model *m, const struct cronjob_firing *f, const struct doc_service *spec)
{
	return f->row.state == MSG_FIRING_DUE && cronjob_is_leased(spec) &&
	       placing_is_stuck(m->placing, f->row.owner);
}

static void
say_gone(const struct model *m, const struct service *s, const struct store_firing *f, bool gone,
	 struct err *err)
{
	const char *name = placing_node_name(m->placing, f->owner);
	char number[16];

	text_format(number, sizeof(number), "(%" PRIu32 ")", f->owner);
	err_set(err, ERR_INTERRUPTED, "its node %s %s", name ? name : number,
		gone ? "went away before it was known to have ended"
		     : "could not ask the store before its run began");
	err_fix(err,
		"zlayer cron trigger %s/%s; to have such times run again: cron: {on_loss: retry}",
		s->deployment->row.name, s->row.name);
}

/* What became of their runs nobody can say. One at a time: it is written before the next. */
bool
cronjob_run_take_gone(struct model *m, struct service *s, const struct doc_service *spec)
{
	struct list *it, *next;

	if (!m->placing || !model_conducts(m, s->deployment))
		return false;
	list_each (it, next, &s->cron->firings) {
		struct cronjob_firing *f = container_of(it, struct cronjob_firing, link);
		bool gone = placing_is_gone(m->placing, f->row.owner);
		struct err err = {0};

		if ((f->row.state != MSG_FIRING_DUE && f->row.state != MSG_FIRING_STARTED) ||
		    f->dirty || !(gone || cannot_begin(m, f, spec)))
			continue;
		if (may_retry(spec, s, &f->row)) {
			uint32_t owner = placing_pick(m->placing, s, (uint32_t)f->row.at_s, &err);

			/* Nobody else may have it: it waits for that one. */
			if (!gone && owner == f->row.owner)
				continue;
			retry(m, f, owner ? owner : m->node_id);
		} else {
			say_gone(m, s, &f->row, gone, &err);
			lose(m, s, f, &err);
		}
		return true;
	}
	return false;
}

/* The node that is to make the run; when none can, the one that writes it down says why. */
uint32_t
cronjob_run_owner(struct model *m, const struct service *s, int64_t at_s)
{
	struct err ignored = {0};
	uint32_t owner = 0;

	if (m->placing)
		owner = placing_pick(m->placing, s, (uint32_t)at_s, &ignored);
	return owner ? owner : m->node_id;
}
