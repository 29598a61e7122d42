/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deployments: the view for the roll-out core is made anew for each step, its actions are carried
 * out one by one. Only making a replica needs the store at once (for its id); everything else
 * changes the model and is written at the end of the pass.
 */
#include "scheduler/advance.h"

#include <assert.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "ring/metrics.h"
#include "scheduler/cause.h"
#include "scheduler/event.h"
#include "scheduler/gate.h"
#include "scheduler/plan_make.h"
#include "scheduler/reconcile.h"
#include "scheduler/save.h"

#define MS_NS 1000000ull

enum { VIEW_BYTES = 4 << 20, WEAK_EXTRA_MS = 30000 };

struct view {
	struct arena arena;
	struct rollout_view v;
	struct service **services;
};

/* ---- causes ---- */

void
advance_cause(struct model *m, struct replica *p, bool relapsed, struct err *err)
{
	const struct doc_service *spec = model_spec(m, p);
	struct gate_check checks[MODEL_CHECKS_MAX];
	struct msg_result results[MODEL_CHECKS_MAX];
	struct cause_result told[MODEL_CHECKS_MAX];
	size_t count = spec ? gate_checks(spec, checks) : 0;

	for (size_t i = 0; i < count; i++) {
		told[i] = (struct cause_result){
			.check = checks[i].check,
			.endpoint = checks[i].endpoint,
			.port = checks[i].port,
			.path = checks[i].path,
			.expect_status = checks[i].expect_status,
			.timeout_ms = checks[i].timeout_ms,
			.result = gate_result(m, p, &checks[i], &results[i]) ? &results[i] : NULL,
		};
	}
	struct cause_input in = {
		.deployment = p->service->deployment->row.name,
		.service = p->service->row.name,
		.index = p->row.index,
		.node = m->node,
		.relapsed = relapsed,
		.weak = spec && !spec->health.node,
		.waited_ms = (m->now_ns - p->created_ns) / MS_NS,
		.restarts = p->life.restarts,
		.memory_bytes = spec ? spec->resources.memory_bytes : 0,
		.container = p->has_container && p->container.attempt == p->life.attempt
				     ? &p->container
				     : NULL,
		.ended = p->has_ended ? &p->ended : NULL,
		.results = told,
		.results_count = count,
	};
	cause_name(&in, err);
}

/* ---- the view ---- */

static struct service *
service_at(const struct view *view, uint32_t slot)
{
	return slot < view->v.services_count ? view->services[slot] : NULL;
}

static void
add_depends(struct view *view, struct service *s, const struct doc_service *doc,
	    struct rollout_service *out)
{
	out->depends = doc->depends_count ? arena_array(&view->arena, doc->depends_count,
							sizeof(*out->depends))
					  : NULL;
	if (!out->depends)
		return;
	for (size_t i = 0; i < doc->depends_count && i < 64; i++) {
		const struct doc_depend *d = &doc->depends[i];
		struct service *other = model_service(s->deployment, d->service);

		if (!other)
			continue;
		out->depends[out->depends_count++] = (struct rollout_depend){
			.service = other->slot,
			.condition = (enum rollout_condition)d->condition,
			.on_timeout = (enum rollout_on_timeout)d->on_timeout,
			.timeout_ns = d->timeout_ms * MS_NS,
			.over = s->depends_over >> i & 1,
		};
	}
}

static void
add_service(struct model *m, struct view *view, struct service *s, struct rollout_service *out)
{
	const struct store_deployment *d = &s->deployment->row;
	const struct doc_service *target = model_service_doc(m, s, d->target);
	const struct doc_service *serving = model_service_doc(m, s, d->revision);
	const struct doc_service *rules = target ? target : serving;
	uint64_t wait_ms = m->config->deploy.health_timeout_ms + (rules ? model_init_ms(rules) : 0);

	memset(out, 0, sizeof(*out));
	out->want = target && target->rtype == DOC_RTYPE_SERVICE ? s->row.wanted : 0;
	out->had = serving && serving->rtype == DOC_RTYPE_SERVICE ? s->row.desired : 0;
	if (s->deployment->operation && s->deployment->operation->row.kind == MSG_OPERATION_REMOVE)
		out->want = out->had = 0;
	if (!rules)
		return;
	out->surge = rules->update.max_surge;
	out->unavailable = rules->update.max_unavailable;
	out->stop_first = rules->update.order == DOC_ORDER_STOP_FIRST;
	out->pause = rules->update.on_failure == DOC_UPDATE_PAUSE;
	if (rules->health.node)
		out->monitor_ns = rules->update.monitor_ms * MS_NS;
	else
		wait_ms += rules->update.monitor_ms + WEAK_EXTRA_MS;
	out->ready_max_ns = wait_ms * MS_NS;
	if (target)
		add_depends(view, s, target, out);
}

/* A restart: what was there before counts as old, though it is made as the target says. */
static bool
is_to_be_replaced(const struct operation *o, const struct replica *p)
{
	return o && o->row.kind == MSG_OPERATION_RESTART && p->row.operation != o->row.id &&
	       (!o->row.service || o->row.service == p->row.service) &&
	       (!o->row.index || o->row.index == p->row.index);
}

static void
add_replica(struct model *m, struct replica *p, struct rollout_replica *out)
{
	const struct deployment *d = p->service->deployment;
	const struct lifecycle *l = &p->life;
	bool fresh = d->operation && p->row.operation == d->operation->row.id;

	*out = (struct rollout_replica){
		.id = p->row.id,
		.service = p->service->slot,
		.index = p->row.index,
		.target = model_made_as(m, p, d->row.target) && !is_to_be_replaced(d->operation, p),
		.previous = model_made_as(m, p, d->row.revision),
		.fresh = fresh,
		.leaving = l->order == LIFECYCLE_REMOVE,
		.draining = l->order == LIFECYCLE_REMOVE && l->state == MSG_REPLICA_DRAINING,
		.started = p->has_container && !p->container.hold &&
			   p->container.state == MSG_CONTAINER_RUNNING &&
			   p->container.attempt == l->attempt,
		.passed = l->ready_attempt > 0,
		.ready = l->state == MSG_REPLICA_READY,
		.trouble = lifecycle_in_trouble(l),
		.created_ns = p->created_ns,
		.ready_ns = p->ready_ns,
	};
}

static size_t
count_replicas(struct deployment *d)
{
	struct list *it, *next, *at, *after;
	size_t count = 0;

	list_each (it, next, &d->services) {
		struct service *s = container_of(it, struct service, link);

		list_each (at, after, &s->replicas)
			count++;
	}
	return count;
}

static size_t
number_services(struct deployment *d)
{
	struct list *it, *next;
	uint32_t slot = 0;

	list_each (it, next, &d->services)
		container_of(it, struct service, link)->slot = slot++;
	return slot;
}

/* Runs of jobs are nobody's replicas, but go with the deployment. */
static bool
removes(const struct deployment *d)
{
	return d->operation && d->operation->row.kind == MSG_OPERATION_REMOVE;
}

/* False when there is no memory: the next pass tries again. */
static bool
make_view(struct model *m, struct deployment *d, struct view *view)
{
	size_t services = number_services(d), replicas = count_replicas(d);
	struct list *it, *next, *at, *after;

	arena_init(&view->arena, MEM_SCHEDULER, VIEW_BYTES);
	struct rollout_service *out =
		arena_array(&view->arena, services + 1, sizeof(struct rollout_service));
	struct rollout_replica *list =
		arena_array(&view->arena, replicas + 1, sizeof(struct rollout_replica));
	view->services = arena_array(&view->arena, services + 1, sizeof(struct service *));
	if (!arena_ok(&view->arena))
		return false;
	view->v = (struct rollout_view){m->now_ns, out, services, list, 0};
	list_each (it, next, &d->services) {
		struct service *s = container_of(it, struct service, link);

		view->services[s->slot] = s;
		add_service(m, view, s, &out[s->slot]);
		list_each (at, after, &s->replicas) {
			struct replica *p = container_of(at, struct replica, link);

			if (!p->life.gone && (!p->row.job || removes(d)))
				add_replica(m, p, &list[view->v.replicas_count++]);
		}
	}
	return arena_ok(&view->arena);
}

/* ---- actions ---- */

static int
store_replica(struct model *m, struct store_replica *row, struct plan_make_input *in,
	      struct buf *plan, struct err *err)
{
	if (store_put(m->store, STORE_REPLICA, row, err) < 0)
		return -1;
	in->replica = row->id;
	if (plan_make_bytes(in, plan, row->plan_sha256, err) < 0 ||
	    store_put(m->store, STORE_REPLICA, row, err) < 0)
		return -1;
	return store_put_blob(m->store, STORE_PLAN, row->id, plan->data, plan->length, err);
}

static int
make_row(struct model *m, struct service *s, const struct revision *r, uint32_t index,
	 struct store_replica *row, struct err *err)
{
	const struct store_pin *pin = model_pin(r, s->row.name);
	const struct doc_service *spec = doc_service_find(r->doc, s->row.name);
	struct buf plan;

	if (!pin || !spec)
		return err_set(err, ERR_INTERNAL, "%s is not in revision %u", s->row.name,
			       r->row.revision);
	struct plan_make_input in = {
		.config = m->config,
		.deployment = s->deployment->row.name,
		.service = spec,
		.image_digest = pin->image_digest,
		.service_id = s->row.id,
		.index = index,
		.revision = r->row.revision,
	};
	row->service = s->row.id;
	row->index = index;
	row->revision = r->row.revision;
	row->desired = MSG_RUN;
	row->created_wall_ns = m->wall_ns;
	memcpy(row->make, pin->make, sizeof(row->make));
	if (store_begin(m->store, err) < 0)
		return -1;
	buf_init(&plan, MEM_SCHEDULER, PLAN_BYTES_MAX);
	int rc = store_replica(m, row, &in, &plan, err);
	if (rc == 0)
		rc = store_commit(m->store, err);
	else
		store_abort(m->store);
	buf_fini(&plan);
	return rc;
}

static int
create(struct model *m, struct deployment *d, struct service *s, const struct rollout_action *a,
       struct err *err)
{
	uint32_t number = a->of_target ? d->row.target : d->row.revision;
	struct revision *r = model_document(m, d, number, err);
	struct store_replica row = {0};
	struct lifecycle_policy policy;

	if (!r)
		return -1;
	if (map_count(&m->replicas) >= MODEL_REPLICAS_MAX)
		return err_set(err, ERR_LIMIT, "a node has at most %d replicas",
			       MODEL_REPLICAS_MAX);
	if (d->operation && (d->rollout.phase == ROLLOUT_FORWARD ||
			     d->operation->row.kind == MSG_OPERATION_RESTART))
		row.operation = d->operation->row.id;
	if (make_row(m, s, r, a->index, &row, err) < 0)
		return -1;
	struct replica *p = model_add_replica(m, s, &row);
	if (!p)
		return err_set(err, ERR_NO_MEMORY, "no memory for a replica");
	/* On the way forward it was waited for before; on the way back nothing may wait. */
	p->released = d->rollout.phase != ROLLOUT_IDLE;
	model_policy(m, p, &policy);
	lifecycle_init(&p->life, &policy);
	reconcile_order(m, p, LIFECYCLE_RUN);
	return 0;
}

struct replica *
advance_run(struct model *m, struct service *s, struct err *err)
{
	struct deployment *d = s->deployment;
	struct revision *r = model_document(m, d, d->row.revision, err);
	struct store_replica row = {.job = 1};
	struct lifecycle_policy policy;
	struct list *it, *next;
	uint32_t index = 1;

	if (!r)
		return NULL;
	if (map_count(&m->replicas) >= MODEL_REPLICAS_MAX) {
		err_set(err, ERR_LIMIT, "a node has at most %d replicas", MODEL_REPLICAS_MAX);
		return NULL;
	}
	list_each (it, next, &s->replicas) {
		const struct replica *p = container_of(it, struct replica, link);

		if (p->row.index >= index)
			index = p->row.index + 1;
	}
	text_copy(row.boot, sizeof(row.boot), m->boot);
	if (make_row(m, s, r, index, &row, err) < 0)
		return NULL;
	struct replica *p = model_add_replica(m, s, &row);
	if (!p) {
		err_set(err, ERR_NO_MEMORY, "no memory for a run");
		return NULL;
	}
	model_policy(m, p, &policy);
	lifecycle_init(&p->life, &policy);
	reconcile_order(m, p, LIFECYCLE_RUN);
	return p;
}

static void
count_decision(struct model *m, const struct service *s, const char *outcome)
{
	struct metric_labels labels = {0};
	char name[MSG_TARGET];

	if (!m->metrics)
		return;
	text_format(name, sizeof(name), "%s/%s", s->deployment->row.name, s->row.name);
	metric_label(&labels, "service", name);
	metric_label(&labels, "outcome", outcome);
	metric_add(metrics_get(m->metrics, METRICS_SCHEDULER_DECISIONS, &labels), 1);
}

static void
order_removal(struct model *m, struct deployment *d, struct replica *p)
{
	const struct operation *o = d->operation;

	if (o && o->row.kind == MSG_OPERATION_REMOVE) {
		p->row.remove_volumes = o->row.volumes;
		p->row.stop_grace_ms = o->row.grace_ms;
		p->dirty = true;
	}
	reconcile_order(m, p, LIFECYCLE_REMOVE);
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
name_failure(struct model *m, struct deployment *d, const struct view *view,
	     const struct rollout_action *a, struct err *err)
{
	struct replica *p = model_replica(m, a->replica);
	struct service *s = service_at(view, a->service);

	if (a->cause != ROLLOUT_CAUSE_DEPEND && p) {
		advance_cause(m, p, a->cause == ROLLOUT_CAUSE_RELAPSED, err);
		return;
	}
	const struct rollout_depend *dep = &view->v.services[a->service].depends[a->depend];
	struct service *other = service_at(view, dep->service);
	err_set(err, ERR_TIMEOUT, "%s waited for %s in vain", s ? s->row.name : "?",
		other ? other->row.name : "?");
	err_where(err, "%s/%s", d->row.name, s ? s->row.name : "?");
	err_why(err, "it was not %s within %llu s",
		dep->condition == ROLLOUT_STARTED   ? "started"
		: dep->condition == ROLLOUT_HEALTHY ? "healthy"
						    : "ready",
		(unsigned long long)(dep->timeout_ns / 1000000000));
	err_fix(err, "zlayer logs %s/%s", d->row.name, other ? other->row.name : "?");
}

/* "my-app revision 13 was rolled back: web.1 on edge-1 did not become healthy" */
static void
keep_reason(struct deployment *d, const struct err *cause, const char *did, enum err_kind kind)
{
	struct operation *o = d->operation;
	struct err err = *cause;

	if (o && o->row.kind == MSG_OPERATION_SCALE)
		err_set(&err, kind, "%s was not scaled: %s", d->row.name, cause->what);
	else if (o && o->row.kind == MSG_OPERATION_RESTART)
		err_set(&err, kind, "%s was not restarted: %s", d->row.name, cause->what);
	else
		err_set(&err, kind, "%s revision %u %s: %s", d->row.name, d->row.target, did,
			cause->what);
	for (unsigned i = 0; i < cause->wheres; i++)
		err_where(&err, "%s", cause->where[i]);
	for (unsigned i = 0; i < cause->whys; i++)
		err_why(&err, "%s", cause->why[i]);
	if (cause->fix[0])
		err_fix(&err, "%s", cause->fix);
	msg_reason_from(&err, &d->row.reason);
	d->dirty = true;
	if (o) {
		o->row.reason = d->row.reason;
		o->dirty = true;
	}
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
turn_back(struct model *m, struct deployment *d, const struct view *view,
	  const struct rollout_action *a)
{
	bool first = d->row.revision == 0;
	struct err cause = {0};

	name_failure(m, d, view, a, &cause);
	keep_reason(d, &cause, first ? "failed" : "was rolled back",
		    first ? cause.kind : ERR_ROLLED_BACK);
	set_result(d, first ? STORE_RESULT_FAILED : STORE_RESULT_ROLLED_BACK);
	event_deployment(m, d, service_at(view, a->service), "deploy.turned_back", LOG_ERROR,
			 &d->row.reason, "%s", d->row.reason.what);
}

static void end_operation(struct model *m, struct deployment *d, enum msg_operation_state state);

/* Everything stays for a look at it; `rollout resume` takes the same operation up again. */
static void
pause(struct model *m, struct deployment *d, const struct view *view,
      const struct rollout_action *a)
{
	struct err cause = {0};

	name_failure(m, d, view, a, &cause);
	keep_reason(d, &cause, "is paused", cause.kind);
	event_deployment(m, d, service_at(view, a->service), "deploy.paused", LOG_ERROR,
			 &d->row.reason, "%s", d->row.reason.what);
	end_operation(m, d, MSG_OPERATION_FAILED);
}

static void
count_deploy(struct model *m, const struct operation *o, const char *result)
{
	struct metric_labels labels = {0}, name = {0};
	int64_t took = o->row.ended_wall_ns - o->row.started_wall_ns;

	if (!m->metrics || o->row.kind != MSG_OPERATION_DEPLOY)
		return;
	metric_label(&labels, "deployment", o->row.deployment_name);
	metric_label(&labels, "result", result);
	metric_label(&name, "deployment", o->row.deployment_name);
	metric_add(metrics_get(m->metrics, METRICS_DEPLOYS, &labels), 1);
	metrics_observe(metrics_get(m->metrics, METRICS_DEPLOY_DURATION, &labels),
			METRICS_DEPLOY_DURATION, took > 0 ? (uint64_t)took : 0);
	if (o->row.state == MSG_OPERATION_DONE)
		metric_set(metrics_get(m->metrics, METRICS_DEPLOY_LAST_SUCCESS, &name),
			   o->row.ended_wall_ns / 1000000000);
}

static void
end_operation(struct model *m, struct deployment *d, enum msg_operation_state state)
{
	static const char *const results[] = {
		[MSG_OPERATION_RUNNING] = "running",
		[MSG_OPERATION_DONE] = "ok",
		[MSG_OPERATION_FAILED] = "failed",
		[MSG_OPERATION_ROLLED_BACK] = "rolled_back",
	};
	static const char *const types[] = {
		[MSG_OPERATION_DONE] = "operation.done",
		[MSG_OPERATION_FAILED] = "operation.failed",
		[MSG_OPERATION_ROLLED_BACK] = "operation.rolled_back",
	};
	struct operation *o = d->operation;

	if (!o)
		return;
	o->row.state = state;
	o->row.ended_wall_ns = m->wall_ns;
	o->dirty = true;
	if (state == MSG_OPERATION_DONE)
		event_deployment(m, d, NULL, types[state], LOG_INFO, NULL, "%s: done", d->row.name);
	else
		event_deployment(m, d, NULL, types[state], LOG_ERROR, &o->row.reason, "%s",
				 o->row.reason.what);
	count_deploy(m, o, results[state]);
	d->operation = NULL;
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
		end_operation(m, d,
			      d->row.revision && !scale ? MSG_OPERATION_ROLLED_BACK
							: MSG_OPERATION_FAILED);
		give_up_target(d);
		save_prune(m, d);
		return;
	}
	end_operation(m, d, MSG_OPERATION_DONE);
	if (remove)
		d->gone = true;
	else
		save_prune(m, d);
}

/* ---- stop and start: no roll-out, the same replicas ---- */

static bool
selected(const struct operation *o, const struct replica *p)
{
	if (p->row.job && o->row.kind == MSG_OPERATION_START)
		return false;
	return (!o->row.service || o->row.service == p->row.service) &&
	       (!o->row.index || o->row.index == p->row.index) && p->life.order != LIFECYCLE_REMOVE;
}

struct halting {
	bool done;
	struct replica *failed;
};

static void
halt_replica(struct model *m, struct operation *o, struct replica *p, struct halting *h)
{
	const struct doc_service *spec = model_spec(m, p);
	uint64_t wait_ms = m->config->deploy.health_timeout_ms + (spec ? model_init_ms(spec) : 0);
	uint64_t limit = p->created_ns + wait_ms * MS_NS;

	if (o->row.kind == MSG_OPERATION_STOP) {
		if (p->life.order != LIFECYCLE_STOP) {
			p->row.stop_grace_ms = o->row.grace_ms;
			p->dirty = true;
			reconcile_order(m, p, LIFECYCLE_STOP);
		}
		h->done &= p->life.state == MSG_REPLICA_STOPPED;
		return;
	}
	if (p->life.order != LIFECYCLE_RUN) {
		p->created_ns = m->now_ns;
		p->has_ended = false;
		reconcile_order(m, p, LIFECYCLE_RUN);
		limit = p->created_ns + wait_ms * MS_NS;
	}
	if (p->life.state == MSG_REPLICA_READY)
		return;
	h->done = false;
	if (p->waits.kind) {
		p->created_ns = m->now_ns;
		if (p->waits.kind == ERR_TIMEOUT)
			h->failed = p;
		return;
	}
	if (lifecycle_in_trouble(&p->life) || m->now_ns >= limit)
		h->failed = p;
	else
		model_wake_at(m, limit);
}

static bool
halt(struct model *m, struct deployment *d)
{
	struct operation *o = d->operation;
	struct list *it, *next, *at, *after;
	struct halting h = {.done = true};

	list_each (it, next, &d->services) {
		struct service *s = container_of(it, struct service, link);

		list_each (at, after, &s->replicas) {
			struct replica *p = container_of(at, struct replica, link);

			if (selected(o, p))
				halt_replica(m, o, p, &h);
		}
	}
	if (h.failed) {
		struct err cause = {0};

		if (h.failed->waits.kind)
			o->row.reason = h.failed->waits;
		else
			advance_cause(m, h.failed, false, &cause);
		if (cause.kind)
			msg_reason_from(&cause, &o->row.reason);
		end_operation(m, d, MSG_OPERATION_FAILED);
		return true;
	}
	if (h.done)
		end_operation(m, d, MSG_OPERATION_DONE);
	return h.done;
}

/* ---- */

/* False: it could not be done now. */
static bool
carry_out(struct model *m, struct deployment *d, struct view *view, const struct rollout_action *a,
	  enum rollout_phase before)
{
	struct replica *p = model_replica(m, a->replica);
	struct service *s = service_at(view, a->service);
	struct err err = {0};

	switch (a->verb) {
	case ROLLOUT_CREATE:
		if (create(m, d, s, a, &err) == 0) {
			count_decision(m, s, "create");
			return true;
		}
		err_where(&err, "%s/%s.%u", d->row.name, s->row.name, a->index);
		msg_reason_from(&err, &d->row.reason);
		log_err(LOG_ERROR, "a replica cannot be made", &err);
		model_wake_at(m, m->now_ns + 1000 * MS_NS);
		return false;
	case ROLLOUT_REMOVE:
		order_removal(m, d, p);
		return true;
	case ROLLOUT_KEEP:
		reconcile_order(m, p, LIFECYCLE_RUN);
		return true;
	case ROLLOUT_COMMIT:
		commit(m, d);
		return true;
	case ROLLOUT_TURN_BACK:
		turn_back(m, d, view, a);
		return true;
	case ROLLOUT_PAUSE:
		pause(m, d, view, a);
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

	if (make_view(m, d, &view)) {
		rollout_step(&d->rollout, &view.v, &actions);
		for (size_t i = 0; i < actions.count && !d->gone; i++)
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

bool
advance_deployment(struct model *m, struct deployment *d)
{
	uint32_t kind = d->operation ? d->operation->row.kind : 0;

	if (d->gone)
		return false;
	bool moved = step_rollout(m, d);
	if (kind == MSG_OPERATION_STOP || kind == MSG_OPERATION_START)
		moved |= halt(m, d);
	return moved;
}
