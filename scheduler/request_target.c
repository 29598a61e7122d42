/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations on what is deployed already: a deployment, a service of it, or one replica. Each is
 * refused while another one is under way (but the removal, which ends any other), and is rows of
 * the store and nothing else: memory follows them on every node (news.h), and whoever conducts the
 * deployment, or has replicas of it, does what they say.
 */
#include "scheduler/request.h"

#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/capacity.h"
#include "scheduler/create.h"
#include "scheduler/cronjob_write.h"
#include "scheduler/event.h"
#include "scheduler/growth.h"
#include "scheduler/placing.h"
#include "scheduler/reconcile.h"

enum { RUNS_KEPT = 10, NOW_PART = 1000000 /* ns: for draws that differ */ };

struct target {
	struct msg_target_op q;
	struct deployment *d;
	struct service *s;
};

static int
find_target(struct model *m, const void *body, size_t bytes, struct target *t, struct err *err)
{
	memset(t, 0, sizeof(*t));
	if (bytes != sizeof(t->q))
		return request_malformed(err);
	memcpy(&t->q, body, sizeof(t->q));
	if (!MSG_OK(t->q.deployment) || !MSG_OK(t->q.service))
		return request_malformed(err);
	t->d = model_deployment(m, t->q.deployment);
	if (!t->d || t->d->gone)
		return err_set(err, ERR_NOT_FOUND, "there is no deployment %s", t->q.deployment);
	if (!t->q.service[0])
		return 0;
	t->s = model_service(t->d, t->q.service);
	if (!t->s)
		return err_set(err, ERR_NOT_FOUND, "%s has no service %s", t->q.deployment,
			       t->q.service);
	return 0;
}

/* r: NULL of a run. */
static int
busy(const struct target *t, struct request *r, struct err *err)
{
	if (r)
		r->busy = true;
	err_set(err, ERR_CONFLICT, "something else is being done with %s", t->d->row.name);
	return err_fix(err, "wait for it: zlayer status %s", t->d->row.name);
}

static struct msg_target_answer *
answer_of(struct request *r)
{
	return &r->answer.target;
}

static int
is_so_already(struct model *m, const struct target *t, struct request *r, struct err *err)
{
	answer_of(r)->unchanged = 1;
	return write_confirm(m, t->d, STORE_DEPLOYMENT, &t->d->row, r, err);
}

/* What an operation changes, beside its own row. */
struct change {
	uint32_t kind;
	struct store_deployment d;
	const struct store_service *s; /* NULL: none */
	const char *type;              /* of the event */
	char text[MSG_TEXT];
};

static int
put_service(struct write *w, const struct store_service *s, struct err *err)
{
	struct store_service row;

	if (!s)
		return 0;
	row = *s;
	return write_row(w, STORE_SERVICE, &row, err);
}

/* What a removal overtakes. */
static int
end_running(struct write *w, const struct target *t, struct err *err)
{
	struct err over = {0};

	if (!t->d->operation)
		return 0;
	struct store_operation row = t->d->operation->row;
	err_set(&over, ERR_INTERRUPTED, "%s was removed meanwhile", t->d->row.name);
	msg_reason_from(&over, &row.reason);
	row.state = MSG_OPERATION_FAILED;
	row.ended_wall_ns = w->m->wall_ns;
	return write_row(w, STORE_OPERATION, &row, err);
}

static int
begin(struct model *m, const struct target *t, struct change *c, struct request *r, struct err *err)
{
	struct store_deployment *d = &c->d;
	struct store_operation row = {
		.deployment = d->id,
		.kind = c->kind,
		.state = MSG_OPERATION_RUNNING,
		.revision = d->target,
		.previous_revision = d->revision,
		.service = t->s ? t->s->row.id : 0,
		.index = t->q.index,
		.volumes = t->q.volumes,
		.grace_ms = t->q.grace_ms,
		.who_uid = t->q.who_uid,
		.started_wall_ns = m->wall_ns,
	};
	struct write *w = write_begin(m, d->name, r, err);

	if (!w)
		return -1;
	text_copy(row.deployment_name, sizeof(row.deployment_name), d->name);
	int rc = end_running(w, t, err);
	if (rc == 0)
		rc = write_row(w, STORE_OPERATION, &row, err);
	d->operation = row.id;
	if (rc == 0)
		rc = write_row(w, STORE_DEPLOYMENT, d, err);
	if (rc == 0)
		rc = put_service(w, c->s, err);
	w->deployment = d->id;
	w->service = row.service;
	write_say(w, c->type, "%s", c->text);
	answer_of(r)->operation = row.id;
	return write_end(w, rc);
}

/* ---- size ---- */

static const struct doc_service *
serving_doc(struct model *m, const struct target *t)
{
	return t->d->row.revision ? model_service_doc(m, t->s, t->d->row.revision) : NULL;
}

static int
may_scale(struct model *m, const struct target *t, const struct doc_service *spec, struct err *err)
{
	const struct msg_target_op *q = &t->q;
	struct capacity_want want = {spec, q->replicas};

	if (spec->scale.mode == DOC_SCALE_FIXED && !q->force) {
		err_set(err, ERR_DENIED, "%s/%s has a fixed size (%u)", q->deployment, q->service,
			t->s->row.desired);
		return err_fix(err,
			       "change scale in the document, or: zlayer scale %s/%s=%u --force",
			       q->deployment, q->service, q->replicas);
	}
	if (spec->scale.mode == DOC_SCALE_ADAPTIVE &&
	    (q->replicas < spec->scale.min || q->replicas > spec->scale.max)) {
		err_set(err, ERR_INVALID, "%s/%s is to have %u to %u replicas, not %u",
			q->deployment, q->service, spec->scale.min, spec->scale.max, q->replicas);
		return err_fix(err, "change scale.min or scale.max in the document");
	}
	if (q->replicas > MODEL_REPLICAS_MAX)
		return err_set(err, ERR_LIMIT, "a node has at most %d replicas",
			       MODEL_REPLICAS_MAX);
	if (q->replicas <= t->s->row.desired)
		return 0;
	if (growth_makable(m, t->s, t->d->row.revision, err) < 0)
		return -1;
	/* Only what is added must find room: the rest is counted already. */
	want.replicas = q->replicas - t->s->row.desired;
	return capacity_check(m, NULL, q->deployment, &want, 1, err);
}

static int
scale(struct model *m, struct target *t, struct request *r, struct err *err)
{
	if (!t->s)
		return err_set(err, ERR_INVALID, "name the service to scale: %s/SERVICE",
			       t->q.deployment);
	if (t->d->operation)
		return busy(t, r, err);
	const struct doc_service *spec = serving_doc(m, t);
	if (spec && spec->rtype != DOC_RTYPE_SERVICE)
		return err_set(err, ERR_INVALID, "%s/%s is a %s: it has no size", t->q.deployment,
			       t->q.service, spec->rtype == DOC_RTYPE_JOB ? "job" : "cron");
	if (!spec || t->d->row.target != t->d->row.revision)
		return err_set(err, ERR_CONFLICT, "%s/%s does not serve", t->q.deployment,
			       t->q.service);
	if (t->q.replicas == t->s->row.desired) {
		answer_of(r)->unchanged = 1;
		return write_confirm(m, t->d, STORE_SERVICE, &t->s->row, r, err);
	}
	if (may_scale(m, t, spec, err) < 0)
		return -1;
	struct store_service s = t->s->row;
	struct change c = {MSG_OPERATION_SCALE, t->d->row, &s, "scale.started", {0}};
	c.d.phase = ROLLOUT_FORWARD;
	s.wanted = t->q.replicas;
	s.operator= 1;
	text_format(c.text, sizeof(c.text), "%s from %u to %u replicas", s.name, s.desired,
		    s.wanted);
	return begin(m, t, &c, r, err);
}

/* ---- stop, start, restart ---- */

/* How many of the selected replicas are under another order than this. */
static size_t
count_others(const struct target *t, enum lifecycle_order order)
{
	struct list *it, *next, *at, *after;
	size_t count = 0;

	list_each (it, next, &t->d->services) {
		struct service *s = container_of(it, struct service, link);

		if (t->s && s != t->s)
			continue;
		list_each (at, after, &s->replicas) {
			const struct replica *p = container_of(at, struct replica, link);

			if (p->life.order == LIFECYCLE_REMOVE ||
			    (t->q.index && p->row.index != t->q.index) ||
			    (p->row.job &&
			     (order == LIFECYCLE_RUN || p->life.state == MSG_REPLICA_STOPPED)))
				continue;
			count += p->life.order != order;
		}
	}
	return count;
}

static bool
has_index(const struct target *t)
{
	struct list *it, *next;

	if (!t->q.index)
		return true;
	if (!t->s)
		return false;
	list_each (it, next, &t->s->replicas) {
		const struct replica *p = container_of(it, struct replica, link);

		if (p->row.index == t->q.index && p->life.order != LIFECYCLE_REMOVE)
			return true;
	}
	return false;
}

/* The service whose size is 0, when all that are meant have that size. */
static struct service *
find_empty(struct model *m, const struct target *t)
{
	struct service *none = NULL;
	struct list *it, *next;

	list_each (it, next, &t->d->services) {
		struct service *s = container_of(it, struct service, link);
		const struct doc_service *spec = model_in_force(m, s);

		if ((t->s && s != t->s) || !spec || spec->rtype != DOC_RTYPE_SERVICE)
			continue;
		if (s->row.desired > 0)
			return NULL;
		none = s;
	}
	return t->q.index ? NULL : none;
}

/* What has no replica cannot run, and does not run already; nor can it be kept from being woken. */
static int
has_size(struct model *m, const struct target *t, bool stop, struct err *err)
{
	const struct service *none = find_empty(m, t);

	if (!none || (stop && !scaling_wakes(none)))
		return 0;
	err_set(err, ERR_CONFLICT, "%s/%s has the size 0: there is no replica to %s",
		t->q.deployment, none->row.name, stop ? "stop" : "start");
	if (scaling_wakes(none))
		err_why(err, "it sleeps until a request comes (scale.min is 0)");
	if (stop)
		return err_fix(err, "so that no request wakes it: zlayer stop %s", t->q.deployment);
	return err_fix(err,
		       scaling_wakes(none) ? "send it a request, or: zlayer scale %s/%s=1"
					   : "zlayer scale %s/%s=1 --force",
		       t->q.deployment, none->row.name);
}

static int
no_replica(const struct target *t, struct err *err)
{
	return err_set(err, ERR_NOT_FOUND, "there is no replica %s/%s.%u", t->q.deployment,
		       t->q.service, t->q.index);
}

static int
halt(struct model *m, struct target *t, bool stop, struct request *r, struct err *err)
{
	struct change c = {stop ? MSG_OPERATION_STOP : MSG_OPERATION_START,
			   t->d->row,
			   NULL,
			   stop ? "stop.started" : "start.started",
			   {0}};

	if (t->d->operation)
		return busy(t, r, err);
	if (model_conducts(m, t->d) && !has_index(t))
		return no_replica(t, err);
	/* What sleeps has no replica: the deployment alone remembers that it is stopped. And who
	 * does not conduct it may not know all replicas. */
	bool remembered = t->s || t->q.index || !c.d.stopped == !stop;
	if (remembered && model_conducts(m, t->d) &&
	    !count_others(t, stop ? LIFECYCLE_STOP : LIFECYCLE_RUN))
		return has_size(m, t, stop, err) < 0 ? -1 : is_so_already(m, t, r, err);
	if (!t->s && !t->q.index)
		c.d.stopped = stop;
	else if (!stop)
		c.d.stopped = 0;
	text_format(c.text, sizeof(c.text), "%s is to %s", t->q.deployment,
		    stop ? "stop" : "start");
	return begin(m, t, &c, r, err);
}

static int
restart(struct model *m, struct target *t, struct request *r, struct err *err)
{
	struct change c = {MSG_OPERATION_RESTART, t->d->row, NULL, "restart.started", {0}};

	if (t->d->operation)
		return busy(t, r, err);
	if (model_conducts(m, t->d) && !has_index(t))
		return no_replica(t, err);
	if (!c.d.revision || c.d.target != c.d.revision || t->d->rollout.phase != ROLLOUT_IDLE)
		return err_set(err, ERR_CONFLICT, "%s does not serve", t->q.deployment);
	if (count_others(t, LIFECYCLE_RUN)) {
		err_set(err, ERR_CONFLICT, "%s is stopped", t->q.deployment);
		return err_fix(err, "zlayer start %s", t->q.deployment);
	}
	if (growth_makable_all(m, t->d, t->s, err) < 0)
		return -1;
	c.d.phase = ROLLOUT_FORWARD;
	text_format(c.text, sizeof(c.text), "%s is restarted", t->q.deployment);
	return begin(m, t, &c, r, err);
}

/* ---- pause, resume, abort ---- */

/* An end that was asked for: what is said of it, and what becomes of the revision. */
static int
put_abort(struct write *w, const struct target *t, struct store_operation *o, struct err *err)
{
	const struct store_deployment *d = &t->d->row;
	const struct revision *r = model_revision(t->d, d->target);
	struct err why = {0};

	o->reason = d->reason;
	if (!o->reason.kind) {
		err_set(&why, d->revision ? ERR_ROLLED_BACK : ERR_INTERRUPTED,
			"%s revision %u was aborted", t->q.deployment, d->target);
		msg_reason_from(&why, &o->reason);
	}
	if (!r || d->target == d->revision)
		return 0;
	struct store_revision row = r->row;
	row.result = d->revision ? STORE_RESULT_ROLLED_BACK : STORE_RESULT_FAILED;
	return write_row(w, STORE_REVISION, &row, err);
}

/* The roll-out's phase changes; its operation stays, or is taken up again. */
static int
change_phase(struct model *m, struct target *t, enum rollout_phase phase, const char *type,
	     struct request *r, struct err *err)
{
	struct operation *o =
		t->d->operation ? t->d->operation : model_operation(m, t->d->row.operation);
	struct store_deployment d = t->d->row;

	if (!o)
		return err_set(err, ERR_CONFLICT, "%s: nobody remembers that roll-out any more",
			       t->q.deployment);
	struct store_operation row = o->row;
	d.phase = phase;
	row.state = MSG_OPERATION_RUNNING;
	row.ended_wall_ns = 0;
	memset(&row.reason, 0, sizeof(row.reason));
	if (phase != ROLLOUT_BACK)
		memset(&d.reason, 0, sizeof(d.reason));
	struct write *w = write_begin(m, d.name, r, err);
	if (!w)
		return -1;
	int rc = phase == ROLLOUT_BACK ? put_abort(w, t, &row, err) : 0;
	if (rc == 0)
		rc = write_row(w, STORE_OPERATION, &row, err);
	if (rc == 0)
		rc = write_row(w, STORE_DEPLOYMENT, &d, err);
	w->deployment = d.id;
	write_say(w, type, "%s revision %u", t->q.deployment, d.target);
	answer_of(r)->operation = row.id;
	return write_end(w, rc);
}

static int
no_rollout(const struct target *t, const char *state, struct err *err)
{
	err_set(err, ERR_CONFLICT, "%s has no roll-out that %s", t->q.deployment, state);
	return err_fix(err, "zlayer status %s", t->q.deployment);
}

static int
pause_rollout(struct model *m, struct target *t, struct request *r, struct err *err)
{
	if (t->d->rollout.phase == ROLLOUT_PAUSED)
		return is_so_already(m, t, r, err);
	if (!t->d->operation || t->d->rollout.phase != ROLLOUT_FORWARD)
		return no_rollout(t, "is on its way", err);
	return change_phase(m, t, ROLLOUT_PAUSED, "deploy.paused", r, err);
}

static int
resume_rollout(struct model *m, struct target *t, struct request *r, struct err *err)
{
	if (t->d->rollout.phase == ROLLOUT_FORWARD)
		return is_so_already(m, t, r, err);
	if (t->d->rollout.phase != ROLLOUT_PAUSED)
		return no_rollout(t, "is paused", err);
	return change_phase(m, t, ROLLOUT_FORWARD, "deploy.resumed", r, err);
}

static int
abort_rollout(struct model *m, struct target *t, struct request *r, struct err *err)
{
	enum rollout_phase phase = t->d->rollout.phase;

	if (phase == ROLLOUT_BACK)
		return is_so_already(m, t, r, err);
	if (phase != ROLLOUT_PAUSED && !(phase == ROLLOUT_FORWARD && t->d->operation))
		return no_rollout(t, "can be ended", err);
	return change_phase(m, t, ROLLOUT_BACK, "deploy.aborted", r, err);
}

/* ---- remove ---- */

/* Also in the middle of a roll-out: that is then over. */
static int
remove_all(struct model *m, struct target *t, struct request *r, struct err *err)
{
	struct change c = {MSG_OPERATION_REMOVE, t->d->row, NULL, "remove.started", {0}};
	const struct operation *running = t->d->operation;

	if (t->s)
		return err_set(err, ERR_INVALID, "only a whole deployment can be removed");
	if (running && running->row.kind == MSG_OPERATION_REMOVE) {
		answer_of(r)->operation = running->row.id;
		return REQUEST_ANSWERED;
	}
	c.d.phase = ROLLOUT_COMMITTED;
	text_format(c.text, sizeof(c.text), "%s is removed", c.d.name);
	return begin(m, t, &c, r, err);
}

int
request_target(struct model *m, uint16_t op, const void *body, size_t bytes, struct request *r,
	       struct err *err)
{
	struct target t;

	memset(&r->answer, 0, sizeof(r->answer));
	if (find_target(m, body, bytes, &t, err) < 0)
		return -1;
	switch (op) {
	case MSG_OP_SCALE:
		return scale(m, &t, r, err);
	case MSG_OP_STOP:
		return halt(m, &t, true, r, err);
	case MSG_OP_START:
		return halt(m, &t, false, r, err);
	case MSG_OP_REMOVE:
		return remove_all(m, &t, r, err);
	case MSG_OP_RESTART:
		return restart(m, &t, r, err);
	case MSG_OP_PAUSE:
		return pause_rollout(m, &t, r, err);
	case MSG_OP_RESUME:
		return resume_rollout(m, &t, r, err);
	case MSG_OP_ABORT:
		return abort_rollout(m, &t, r, err);
	case MSG_OP_ENABLE:
	case MSG_OP_DISABLE:
		return cronjob_write_switch(m, t.s, op == MSG_OP_ENABLE, r, err);
	default:
		return request_malformed(err);
	}
}

/* ---- jobs ---- */

static bool
has_run(const struct replica *p)
{
	return p->life.order != LIFECYCLE_REMOVE &&
	       (p->life.state == MSG_REPLICA_STOPPED || p->life.state == MSG_REPLICA_FAILED);
}

/* Of those of all nodes the newest are kept; each node removes its own. */
void
request_forget_runs(struct model *m, struct service *s)
{
	struct list *it, *next, *at, *after;

	list_each (it, next, &s->replicas) {
		struct replica *p = container_of(it, struct replica, link);
		size_t newer = 0;

		if (p->remote || !has_run(p))
			continue;
		list_each (at, after, &s->replicas) {
			const struct replica *q = container_of(at, struct replica, link);

			newer += has_run(q) && q->row.index > p->row.index;
		}
		/* One more comes. */
		if (newer + 1 >= RUNS_KEPT)
			reconcile_order(m, p, LIFECYCLE_REMOVE);
	}
}

/* A cluster has a place where any of its nodes has. */
static int
find_place(struct model *m, const struct target *t, const struct doc_service *spec,
	   uint32_t *elsewhere, struct err *err)
{
	struct capacity_want want = {spec, 1};
	struct err none = {0};

	if (!m->placing)
		return capacity_check(m, NULL, t->q.deployment, &want, 1, err);
	if (placing_check_here(m->placing, t->s, err) == 0)
		return 0;
	*elsewhere = placing_pick(m->placing, t->s, (uint32_t)(m->now_ns / NOW_PART), &none);
	if (*elsewhere == m->node_id)
		*elsewhere = 0;
	if (none.kind)
		*err = none;
	return -1;
}

static int
start_run(struct model *m, const struct target *t, const struct words *args,
	  struct msg_run_answer *answer, uint32_t *elsewhere, struct err *err)
{
	const struct doc_service *spec = t->s ? serving_doc(m, t) : NULL;

	if (!spec || spec->rtype == DOC_RTYPE_SERVICE) {
		err_set(err, ERR_INVALID, "%s/%s is not a job or a cron that is deployed",
			t->q.deployment, t->q.service);
		return err_fix(err, "zlayer status %s shows what there is", t->q.deployment);
	}
	if (t->d->operation && t->d->operation->row.kind == MSG_OPERATION_REMOVE)
		return busy(t, NULL, err);
	if (cronjob_check_run(m, t->s, spec, err) < 0 || find_place(m, t, spec, elsewhere, err) < 0)
		return -1;
	request_forget_runs(m, t->s);
	struct replica *p = create_run(m, t->s, args, NULL, err);
	if (!p)
		return -1;
	event_replica(m, p, "job.started", LOG_INFO, NULL, "run %u of %s", p->row.index,
		      t->s->row.name);
	cronjob_replace(m, t->s, spec);
	answer->replica = p->row.id;
	answer->index = p->row.index;
	return 0;
}

int
request_run(struct model *m, const void *body, size_t bytes, const int *fds, size_t count,
	    struct msg_run_answer *answer, uint32_t *elsewhere, struct err *err)
{
	struct words args;
	struct target t;

	memset(answer, 0, sizeof(*answer));
	*elsewhere = 0;
	if (find_target(m, body, bytes, &t, err) < 0)
		return -1;
	words_init(&args, MEM_SCHEDULER);
	int rc = count > 0 ? words_read(&args, fds[0], err) : 0;
	if (rc == 0)
		rc = start_run(m, &t, &args, answer, elsewhere, err);
	words_fini(&args);
	return rc;
}
