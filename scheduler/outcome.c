/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an operation turns out, in words and figures: the cause that a replica or a dependency gives,
 * the deployment's and the operation's reason made of it, the events and metrics of an end.
 */
#include "scheduler/outcome.h"

#include "ring/metrics.h"
#include "scheduler/cause.h"
#include "scheduler/event.h"
#include "scheduler/gate.h"
#include "scheduler/placing.h"

#define MS_NS 1000000ull

/* What its own node says of it; in the window between state and reason that may be nothing. */
static void
remote_cause(const struct replica *p, bool relapsed, struct err *err)
{
	if (p->reason.kind) {
		msg_reason_to(&p->reason, err);
		return;
	}
	err_set(err, ERR_TIMEOUT, "%s.%u on %s %s", p->service->row.name, p->row.index, p->node,
		relapsed ? "did not stay healthy" : "did not become healthy");
	err_fix(err, "zlayer logs %s/%s", p->service->deployment->row.name, p->service->row.name);
}

void
outcome_cause(struct model *m, struct replica *p, bool relapsed, struct err *err)
{
	if (p->remote) {
		remote_cause(p, relapsed, err);
		return;
	}
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

void
outcome_of(struct model *m, struct deployment *d, const struct view *view,
	   const struct rollout_action *a, struct err *err)
{
	struct replica *p = model_replica(m, a->replica);
	struct service *s = rollout_view_service(view, a->service);

	if (a->cause != ROLLOUT_CAUSE_DEPEND && p) {
		outcome_cause(m, p, a->cause == ROLLOUT_CAUSE_RELAPSED, err);
		return;
	}
	if (a->cause != ROLLOUT_CAUSE_DEPEND && s) {
		placing_cause(m, s, err);
		return;
	}
	const struct rollout_depend *dep = &view->v.services[a->service].depends[a->depend];
	struct service *other = rollout_view_service(view, dep->service);
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
void
outcome_reason(struct deployment *d, const struct err *cause, const char *did, enum err_kind kind)
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

void
outcome_end(struct model *m, struct deployment *d, enum msg_operation_state state)
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
