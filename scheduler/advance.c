/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deployments: the view for the roll-out core is made anew for each step (rollout_view.h), its
 * actions are carried out one by one. Only making a replica needs the store at once, for its id
 * (create.h); everything else changes the model and is written at the end of the pass.
 */
#include "scheduler/advance.h"

#include <string.h>
#include "ring/metrics.h"
#include "scheduler/create.h"
#include "scheduler/event.h"
#include "scheduler/halt.h"
#include "scheduler/outcome.h"
#include "scheduler/placing.h"
#include "scheduler/reconcile.h"
#include "scheduler/rollout_view.h"
#include "scheduler/save.h"

#define MS_NS 1000000ull

/* ---- actions ---- */

static void
count_decision(struct model *m, const struct service *s, const char *outcome)
{
	struct metric_labels labels = {0};
	char name[MSG_TARGET];

	if (!m->metrics)
		return;
	model_label(s, name);
	metric_label(&labels, "service", name);
	metric_label(&labels, "outcome", outcome);
	metric_add(metrics_get(m->metrics, METRICS_SCHEDULER_DECISIONS, &labels), 1);
}

static void
remove_here(struct model *m, struct deployment *d, struct replica *p)
{
	const struct operation *o = d->operation;

	if (o && o->row.kind == MSG_OPERATION_REMOVE) {
		p->row.remove_volumes = o->row.volumes;
		p->row.stop_grace_ms = o->row.grace_ms;
		p->dirty = true;
	}
	reconcile_order(m, p, LIFECYCLE_REMOVE);
}

static void
order_removal(struct model *m, struct deployment *d, struct replica *p)
{
	if (m->placing)
		placing_remove(m->placing, p);
	else
		remove_here(m, d, p);
	count_decision(m, p->service, "remove");
}

static void
commit(struct model *m, struct deployment *d)
{
	struct list *it, *next;
	struct revision *r = model_revision(d, d->row.target);

	list_each (it, next, &d->services) {
		struct service *s = container_of(it, struct service, link);

		s->row.desired = s->row.wanted;
		s->dirty = true;
	}
	d->row.revision = d->row.target;
	d->row.failed = 0;
	d->row.updated_wall_ns = m->wall_ns;
	memset(&d->row.reason, 0, sizeof(d->row.reason));
	if (r && r->row.result != STORE_RESULT_GOOD) {
		r->row.result = STORE_RESULT_GOOD;
		r->dirty = true;
	}
	event_deployment(m, d, NULL, "deploy.committed", LOG_INFO, NULL, "%s revision %u serves",
			 d->row.name, d->row.revision);
}

static void
set_result(struct deployment *d, enum store_result result)
{
	struct revision *r = model_revision(d, d->row.target);

	if (!r || d->row.target == d->row.revision)
		return;
	r->row.result = result;
	r->dirty = true;
}

static void
turn_back(struct model *m, struct deployment *d, const struct service *s, const struct err *cause)
{
	bool first = d->row.revision == 0;

	outcome_reason(d, cause, first ? "failed" : "was rolled back",
		       first ? cause->kind : ERR_ROLLED_BACK);
	set_result(d, first ? STORE_RESULT_FAILED : STORE_RESULT_ROLLED_BACK);
	event_deployment(m, d, s, "deploy.turned_back", LOG_ERROR, &d->row.reason, "%s",
			 d->row.reason.what);
}

/* Everything stays for a look at it; `rollout resume` takes the same operation up again. */
static void
pause(struct model *m, struct deployment *d, const struct service *s, const struct err *cause)
{
	outcome_reason(d, cause, "is paused", cause->kind);
	event_deployment(m, d, s, "deploy.paused", LOG_ERROR, &d->row.reason, "%s",
			 d->row.reason.what);
	outcome_end(m, d, MSG_OPERATION_FAILED);
}

/* Back to what serves: the target is given up. */
static void
give_up_target(struct deployment *d)
{
	struct list *it, *next;

	d->row.target = d->row.revision;
	if (!d->row.revision)
		d->row.failed = 1;
	d->dirty = true;
	list_each (it, next, &d->services) {
		struct service *s = container_of(it, struct service, link);

		s->row.wanted = s->row.desired;
		s->depends_over = 0;
		s->dirty = true;
	}
}

static void
finish(struct model *m, struct deployment *d, bool back)
{
	bool remove = d->operation && d->operation->row.kind == MSG_OPERATION_REMOVE;
	bool scale = d->operation && (d->operation->row.kind == MSG_OPERATION_SCALE ||
				      d->operation->row.kind == MSG_OPERATION_RESTART);

	if (back) {
		outcome_end(m, d,
			    d->row.revision && !scale ? MSG_OPERATION_ROLLED_BACK
						      : MSG_OPERATION_FAILED);
		give_up_target(d);
		save_prune(d);
		return;
	}
	outcome_end(m, d, MSG_OPERATION_DONE);
	if (remove)
		d->gone = true;
	else
		save_prune(d);
}

/* ---- what cannot be made ---- */

/* Trying again would not help: not while everything is as it is. */
static bool
is_lasting(const struct err *err)
{
	return err->kind == ERR_NOT_FOUND || err->kind == ERR_INVALID ||
	       err->kind == ERR_UNSUPPORTED || err->kind == ERR_LIMIT;
}

/* Nobody may wait for what will not come: on its way forward the operation turns back, on its way
 * back it ends. At rest it is tried again, and said. */
static bool
give_up(struct model *m, struct deployment *d, const struct service *s, const struct err *err)
{
	bool keep = d->rollout.keep;

	if (!d->operation || !is_lasting(err))
		return false;
	switch (d->rollout.phase) {
	case ROLLOUT_FORWARD:
		if (keep)
			pause(m, d, s, err);
		else
			turn_back(m, d, s, err);
		rollout_init(&d->rollout, keep ? ROLLOUT_PAUSED : ROLLOUT_BACK, keep, m->now_ns);
		return true;
	case ROLLOUT_BACK:
		if (!d->operation->row.reason.kind)
			outcome_reason(d, err, "is not complete", err->kind);
		finish(m, d, true);
		rollout_init(&d->rollout, ROLLOUT_IDLE, false, m->now_ns);
		return true;
	case ROLLOUT_COMMITTED:
	case ROLLOUT_IDLE:
	case ROLLOUT_PAUSED:
		break;
	}
	return false;
}

/* ---- the step ---- */

/* False: it could not be done now. */
static bool
carry_out(struct model *m, struct deployment *d, struct view *view, const struct rollout_action *a,
	  enum rollout_phase before)
{
	struct replica *p = model_replica(m, a->replica);
	struct service *s = rollout_view_service(view, a->service);
	struct err err = {0};

	switch (a->verb) {
	case ROLLOUT_CREATE:
		if ((m->placing ? placing_ask(m->placing, s, a->index, a->of_target, &err)
				: create_replica(m, s, a->index, a->of_target, &err)) == 0) {
			count_decision(m, s, "create");
			return true;
		}
		err_where(&err, "%s/%s.%u", d->row.name, s->row.name, a->index);
		if (give_up(m, d, s, &err))
			return true;
		msg_reason_from(&err, &d->row.reason);
		log_err(LOG_ERROR, "a replica cannot be made", &err);
		model_wake_at(m, m->now_ns + 1000 * MS_NS);
		return false;
	case ROLLOUT_REMOVE:
		if (a->replica & PLACING_COMES)
			placing_give_up(m->placing, &view->coming[a->replica & ~PLACING_COMES]);
		else
			order_removal(m, d, p);
		return true;
	case ROLLOUT_KEEP:
		reconcile_order(m, p, LIFECYCLE_RUN);
		return true;
	case ROLLOUT_COMMIT:
		commit(m, d);
		return true;
	case ROLLOUT_TURN_BACK:
		outcome_of(m, d, view, a, &err);
		turn_back(m, d, s, &err);
		return true;
	case ROLLOUT_PAUSE:
		outcome_of(m, d, view, a, &err);
		pause(m, d, s, &err);
		return true;
	case ROLLOUT_SAY_LATE:
		s->depends_over |= UINT64_C(1) << a->depend;
		event_deployment(m, d, s, "depends.late", LOG_WARN, NULL,
				 "%s goes on without what it depends on", s->row.name);
		return true;
	case ROLLOUT_DONE:
		finish(m, d, before == ROLLOUT_BACK);
		return true;
	}
	return true;
}

static bool
step_rollout(struct model *m, struct deployment *d)
{
	struct rollout_actions actions;
	enum rollout_phase before = d->rollout.phase;
	struct view view;
	bool moved = false;

	if (rollout_view_make(m, d, &view)) {
		rollout_step(&d->rollout, &view.v, &actions);
		enum rollout_phase after = d->rollout.phase;
		for (size_t i = 0; i < actions.count && !d->gone && d->rollout.phase == after; i++)
			moved |= carry_out(m, d, &view, &actions.items[i], before);
	} else {
		model_wake_at(m, m->now_ns + 1000 * MS_NS);
	}
	arena_fini(&view.arena);
	if (d->rollout.phase != d->row.phase) {
		d->row.phase = d->rollout.phase;
		d->dirty = true;
	}
	if (d->rollout.due_ns)
		model_wake_at(m, d->rollout.due_ns);
	return moved;
}

/* A deploy starts again what was stopped by hand. */
static bool
start_again(struct model *m, struct deployment *d)
{
	struct list *it, *next, *at, *after;
	bool moved = d->start_again;

	list_each (it, next, &d->services) {
		struct service *s = container_of(it, struct service, link);

		list_each (at, after, &s->replicas) {
			struct replica *p = container_of(at, struct replica, link);

			if (d->start_again && p->life.order == LIFECYCLE_STOP && !p->row.job)
				reconcile_order(m, p, LIFECYCLE_RUN);
		}
	}
	d->start_again = false;
	return moved;
}

struct going {
	struct model *m;
	struct deployment *d;
	bool moved;
};

static void
leave_here(void *arg, struct service *s, struct replica *p)
{
	struct going *g = arg;

	(void)s;
	if (p->life.order == LIFECYCLE_REMOVE || p->remote)
		return;
	reconcile_order(g->m, p, LIFECYCLE_REMOVE);
	g->moved = true;
}

static void
remove_run(void *arg, struct service *s, struct replica *p)
{
	struct going *g = arg;

	(void)s;
	if (!p->row.job || p->remote || p->life.order == LIFECYCLE_REMOVE)
		return;
	remove_here(g->m, g->d, p);
	g->moved = true;
}

static bool
each(struct model *m, struct deployment *d, model_replica_fn go)
{
	struct going g = {m, d, false};

	model_each_replica(d, go, &g);
	return g.moved;
}

bool
advance_deployment(struct model *m, struct deployment *d)
{
	uint32_t kind = d->operation ? d->operation->row.kind : 0;
	bool conducts = model_conducts(m, d);

	if (d->lost)
		return each(m, d, leave_here); /* its rows are gone: what is left here leaves */
	if (d->gone || d->changing)
		return false;
	bool moved = start_again(m, d);
	/* Runs have no claim that who conducts could end: each node removes its own. */
	if (m->placing && kind == MSG_OPERATION_REMOVE)
		moved |= each(m, d, remove_run);
	if (conducts)
		moved |= step_rollout(m, d);
	if (kind == MSG_OPERATION_STOP || kind == MSG_OPERATION_START)
		moved |= halt_step(m, d, conducts);
	return moved;
}
