/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations on what is deployed already: a deployment, a service of it, or one replica. Each is
 * refused while another one is under way (but the removal, which ends any other), and is written to
 * the store with what it changes before memory follows.
 */
#include "scheduler/request.h"

#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/capacity.h"
#include "scheduler/create.h"
#include "scheduler/event.h"
#include "scheduler/reconcile.h"

enum { RUNS_KEPT = 10 };

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

static int
busy(const struct target *t, struct err *err)
{
	err_set(err, ERR_CONFLICT, "something else is being done with %s", t->d->row.name);
	return err_fix(err, "wait for it: zlayer status %s", t->d->row.name);
}

/* Writes the operation and what it changes in deployment and service; memory follows. */
static int
begin(struct model *m, struct target *t, uint32_t kind, const struct store_deployment *d,
      const struct store_service *s, struct msg_target_answer *answer, struct err *err)
{
	struct store_deployment deployment = *d;
	struct store_service service = s ? *s : (struct store_service){0};
	struct store_operation row = {
		.deployment = d->id,
		.kind = kind,
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

	text_copy(row.deployment_name, sizeof(row.deployment_name), d->name);
	struct operation *o = model_add_operation(m, &row);
	if (!o)
		return err_set(err, ERR_NO_MEMORY, "no memory for an operation");
	int rc = store_begin(m->store, err);
	if (rc == 0) {
		rc = store_put(m->store, STORE_OPERATION, &row, err);
		deployment.operation = row.id;
		if (rc == 0)
			rc = store_put(m->store, STORE_DEPLOYMENT, &deployment, err);
		if (rc == 0 && s)
			rc = store_put(m->store, STORE_SERVICE, &service, err);
		if (rc == 0)
			rc = store_commit(m->store, err);
		else
			store_abort(m->store);
	}
	if (rc < 0) {
		list_remove(&o->link);
		m->operations_count--;
		mem_free(o);
		return -1;
	}
	o->row = row;
	t->d->row = deployment;
	if (s)
		t->s->row = service;
	t->d->operation = o;
	answer->operation = row.id;
	return 0;
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
	/* Only what is added must find room: the rest is counted already. */
	want.replicas = q->replicas - t->s->row.desired;
	return capacity_check(m, NULL, q->deployment, &want, 1, err);
}

static int
scale(struct model *m, struct target *t, struct msg_target_answer *answer, struct err *err)
{
	if (!t->s)
		return err_set(err, ERR_INVALID, "name the service to scale: %s/SERVICE",
			       t->q.deployment);
	if (t->d->operation)
		return busy(t, err);
	const struct doc_service *spec = serving_doc(m, t);
	if (spec && spec->rtype != DOC_RTYPE_SERVICE)
		return err_set(err, ERR_INVALID, "%s/%s is a job: it has no size", t->q.deployment,
			       t->q.service);
	if (!spec || t->d->row.target != t->d->row.revision)
		return err_set(err, ERR_CONFLICT, "%s/%s does not serve", t->q.deployment,
			       t->q.service);
	if (t->q.replicas == t->s->row.desired) {
		answer->unchanged = 1;
		return 0;
	}
	if (may_scale(m, t, spec, err) < 0)
		return -1;
	struct store_deployment d = t->d->row;
	struct store_service s = t->s->row;
	d.phase = ROLLOUT_FORWARD;
	s.wanted = t->q.replicas;
	s.operator= 1;
	if (begin(m, t, MSG_OPERATION_SCALE, &d, &s, answer, err) < 0)
		return -1;
	rollout_init(&t->d->rollout, ROLLOUT_FORWARD, false, m->now_ns);
	event_deployment(m, t->d, t->s, "scale.started", LOG_INFO, NULL,
			 "%s from %u to %u replicas", t->s->row.name, t->s->row.desired,
			 t->s->row.wanted);
	return 0;
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

static int
halt(struct model *m, struct target *t, bool stop, struct msg_target_answer *answer,
     struct err *err)
{
	struct store_deployment d = t->d->row;

	if (t->d->operation)
		return busy(t, err);
	if (!has_index(t))
		return err_set(err, ERR_NOT_FOUND, "there is no replica %s/%s.%u", t->q.deployment,
			       t->q.service, t->q.index);
	if (!count_others(t, stop ? LIFECYCLE_STOP : LIFECYCLE_RUN)) {
		answer->unchanged = 1;
		return 0;
	}
	if (!t->s && !t->q.index)
		d.stopped = stop;
	else if (!stop)
		d.stopped = 0;
	if (begin(m, t, stop ? MSG_OPERATION_STOP : MSG_OPERATION_START, &d, NULL, answer, err) < 0)
		return -1;
	event_deployment(m, t->d, t->s, stop ? "stop.started" : "start.started", LOG_INFO, NULL,
			 "%s is to %s", t->q.deployment, stop ? "stop" : "start");
	return 0;
}

static int
restart(struct model *m, struct target *t, struct msg_target_answer *answer, struct err *err)
{
	struct store_deployment d = t->d->row;

	if (t->d->operation)
		return busy(t, err);
	if (!has_index(t))
		return err_set(err, ERR_NOT_FOUND, "there is no replica %s/%s.%u", t->q.deployment,
			       t->q.service, t->q.index);
	if (!d.revision || d.target != d.revision || t->d->rollout.phase != ROLLOUT_IDLE)
		return err_set(err, ERR_CONFLICT, "%s does not serve", t->q.deployment);
	if (count_others(t, LIFECYCLE_RUN)) {
		err_set(err, ERR_CONFLICT, "%s is stopped", t->q.deployment);
		return err_fix(err, "zlayer start %s", t->q.deployment);
	}
	d.phase = ROLLOUT_FORWARD;
	if (begin(m, t, MSG_OPERATION_RESTART, &d, NULL, answer, err) < 0)
		return -1;
	rollout_init(&t->d->rollout, ROLLOUT_FORWARD, false, m->now_ns);
	event_deployment(m, t->d, t->s, "restart.started", LOG_INFO, NULL, "%s is restarted",
			 t->q.deployment);
	return 0;
}

/* ---- pause, resume, abort ---- */

/* The roll-out's phase changes; its operation stays, or is taken up again. */
static int
change_phase(struct model *m, struct target *t, enum rollout_phase phase, const char *type,
	     struct msg_target_answer *answer, struct err *err)
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
	else
		row.reason = d.reason;
	if (store_begin(m->store, err) < 0)
		return -1;
	int rc = store_put(m->store, STORE_OPERATION, &row, err);
	if (rc == 0)
		rc = store_put(m->store, STORE_DEPLOYMENT, &d, err);
	if (rc == 0)
		rc = store_commit(m->store, err);
	else
		store_abort(m->store);
	if (rc < 0)
		return -1;
	o->row = row;
	t->d->row = d;
	t->d->operation = o;
	rollout_init(&t->d->rollout, phase, o->row.keep, m->now_ns);
	answer->operation = row.id;
	event_deployment(m, t->d, NULL, type, LOG_INFO, NULL, "%s revision %u", t->q.deployment,
			 d.target);
	return 0;
}

static int
no_rollout(const struct target *t, const char *state, struct err *err)
{
	err_set(err, ERR_CONFLICT, "%s has no roll-out that %s", t->q.deployment, state);
	return err_fix(err, "zlayer status %s", t->q.deployment);
}

static int
pause_rollout(struct model *m, struct target *t, struct msg_target_answer *answer, struct err *err)
{
	if (t->d->rollout.phase == ROLLOUT_PAUSED) {
		answer->unchanged = 1;
		return 0;
	}
	if (!t->d->operation || t->d->rollout.phase != ROLLOUT_FORWARD)
		return no_rollout(t, "is on its way", err);
	return change_phase(m, t, ROLLOUT_PAUSED, "deploy.paused", answer, err);
}

/* What was made before gets its time anew, and does not wait for its next try. */
static void
forget_troubles(struct model *m, struct deployment *d)
{
	struct list *it, *next, *at, *after;

	list_each (it, next, &d->services) {
		struct service *s = container_of(it, struct service, link);

		list_each (at, after, &s->replicas) {
			struct replica *p = container_of(at, struct replica, link);

			p->created_ns = m->now_ns;
			if (p->life.state == MSG_REPLICA_BACKOFF)
				p->life.due_ns = m->now_ns;
		}
	}
}

static int
resume_rollout(struct model *m, struct target *t, struct msg_target_answer *answer, struct err *err)
{
	if (t->d->rollout.phase == ROLLOUT_FORWARD) {
		answer->unchanged = 1;
		return 0;
	}
	if (t->d->rollout.phase != ROLLOUT_PAUSED)
		return no_rollout(t, "is paused", err);
	if (change_phase(m, t, ROLLOUT_FORWARD, "deploy.resumed", answer, err) < 0)
		return -1;
	forget_troubles(m, t->d);
	return 0;
}

static int
abort_rollout(struct model *m, struct target *t, struct msg_target_answer *answer, struct err *err)
{
	enum rollout_phase phase = t->d->rollout.phase;

	if (phase == ROLLOUT_BACK) {
		answer->unchanged = 1;
		return 0;
	}
	if (phase != ROLLOUT_PAUSED && !(phase == ROLLOUT_FORWARD && t->d->operation))
		return no_rollout(t, "can be ended", err);
	struct revision *r = model_revision(t->d, t->d->row.target);
	if (change_phase(m, t, ROLLOUT_BACK, "deploy.aborted", answer, err) < 0)
		return -1;
	if (!t->d->operation->row.reason.kind) {
		struct err why = {0};

		err_set(&why, t->d->row.revision ? ERR_ROLLED_BACK : ERR_INTERRUPTED,
			"%s revision %u was aborted", t->q.deployment, t->d->row.target);
		msg_reason_from(&why, &t->d->operation->row.reason);
		t->d->operation->dirty = true;
	}
	if (r && t->d->row.target != t->d->row.revision) {
		r->row.result = t->d->row.revision ? STORE_RESULT_ROLLED_BACK : STORE_RESULT_FAILED;
		r->dirty = true;
	}
	return 0;
}

/* ---- remove ---- */

/* Also in the middle of a roll-out: that is then over. */
static int
remove_all(struct model *m, struct target *t, struct msg_target_answer *answer, struct err *err)
{
	struct store_deployment d = t->d->row;
	struct operation *running = t->d->operation;

	if (t->s)
		return err_set(err, ERR_INVALID, "only a whole deployment can be removed");
	if (running && running->row.kind == MSG_OPERATION_REMOVE) {
		answer->operation = running->row.id;
		return 0;
	}
	d.phase = ROLLOUT_COMMITTED;
	t->d->operation = NULL;
	if (begin(m, t, MSG_OPERATION_REMOVE, &d, NULL, answer, err) < 0) {
		t->d->operation = running;
		return -1;
	}
	if (running) {
		struct err over = {0};

		err_set(&over, ERR_INTERRUPTED, "%s was removed meanwhile", d.name);
		msg_reason_from(&over, &running->row.reason);
		running->row.state = MSG_OPERATION_FAILED;
		running->row.ended_wall_ns = m->wall_ns;
		running->dirty = true;
	}
	rollout_init(&t->d->rollout, ROLLOUT_COMMITTED, false, m->now_ns);
	event_deployment(m, t->d, NULL, "remove.started", LOG_INFO, NULL, "%s is removed", d.name);
	return 0;
}

int
request_target(struct model *m, uint16_t op, const void *body, size_t bytes,
	       struct msg_target_answer *answer, struct err *err)
{
	struct target t;

	memset(answer, 0, sizeof(*answer));
	if (find_target(m, body, bytes, &t, err) < 0)
		return -1;
	switch (op) {
	case MSG_OP_SCALE:
		return scale(m, &t, answer, err);
	case MSG_OP_STOP:
		return halt(m, &t, true, answer, err);
	case MSG_OP_START:
		return halt(m, &t, false, answer, err);
	case MSG_OP_REMOVE:
		return remove_all(m, &t, answer, err);
	case MSG_OP_RESTART:
		return restart(m, &t, answer, err);
	case MSG_OP_PAUSE:
		return pause_rollout(m, &t, answer, err);
	case MSG_OP_RESUME:
		return resume_rollout(m, &t, answer, err);
	case MSG_OP_ABORT:
		return abort_rollout(m, &t, answer, err);
	default:
		return request_malformed(err);
	}
}

/* ---- jobs ---- */

/* The oldest runs that have ended make room for a new one. */
static void
forget_runs(struct model *m, struct service *s)
{
	for (;;) {
		struct replica *oldest = NULL;
		struct list *it, *next;
		size_t count = 0;

		list_each (it, next, &s->replicas) {
			struct replica *p = container_of(it, struct replica, link);

			if (p->life.order == LIFECYCLE_REMOVE ||
			    (p->life.state != MSG_REPLICA_STOPPED &&
			     p->life.state != MSG_REPLICA_FAILED))
				continue;
			count++;
			if (!oldest || p->row.index < oldest->row.index)
				oldest = p;
		}
		if (count < RUNS_KEPT)
			return;
		reconcile_order(m, oldest, LIFECYCLE_REMOVE);
	}
}

static int
start_run(struct model *m, const struct target *t, const struct words *args,
	  struct msg_run_answer *answer, struct err *err)
{
	const struct doc_service *spec = t->s ? serving_doc(m, t) : NULL;

	if (!spec || spec->rtype != DOC_RTYPE_JOB) {
		err_set(err, ERR_INVALID, "%s/%s is not a job that is deployed", t->q.deployment,
			t->q.service);
		return err_fix(err, "zlayer job ls shows those that there are");
	}
	if (t->d->operation && t->d->operation->row.kind == MSG_OPERATION_REMOVE)
		return busy(t, err);
	struct capacity_want want = {spec, 1};
	if (capacity_check(m, NULL, t->q.deployment, &want, 1, err) < 0)
		return -1;
	forget_runs(m, t->s);
	const struct replica *p = create_run(m, t->s, args, err);
	if (!p)
		return -1;
	event_replica(m, p, "job.started", LOG_INFO, NULL, "run %u of %s", p->row.index,
		      t->s->row.name);
	answer->replica = p->row.id;
	answer->index = p->row.index;
	return 0;
}

int
request_run(struct model *m, const void *body, size_t bytes, const int *fds, size_t count,
	    struct msg_run_answer *answer, struct err *err)
{
	struct words args;
	struct target t;

	memset(answer, 0, sizeof(*answer));
	if (find_target(m, body, bytes, &t, err) < 0)
		return -1;
	words_init(&args, MEM_SCHEDULER);
	int rc = count > 0 ? words_read(&args, fds[0], err) : 0;
	if (rc == 0)
		rc = start_run(m, &t, &args, answer, err);
	words_fini(&args);
	return rc;
}
