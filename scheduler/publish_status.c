/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What people are shown: deployments, services, replicas and operations, with their states in one
 * word and the reason for it. The states are also counted.
 */
#include "scheduler/publish_parts.h"

#include <netinet/in.h>
#include <string.h>
#include "base/text.h"
#include "ring/metrics.h"
#include "scheduler/ports.h"
#include "scheduler/publish_table.h"

/* A table of its own: who follows replicas has nothing to do when this moves. */
static void
put_usage(struct publish_table *t, struct replica *p)
{
	struct msg_usage row = {.replica = p->row.id, .memory_bytes = p->container.memory_bytes};

	if (p->remote && p->has_container && row.memory_bytes)
		publish_table_row(t, p->row.id, &row);
}

static void
put_replica(struct publish_table *t, struct replica *p)
{
	uint32_t seen = p->has_container && p->container.attempt == p->life.attempt
				? p->container.conditions
				: 0;
	struct msg_replica row = {
		.id = p->row.id,
		.service = p->service->row.id,
		.index = p->row.index,
		.revision = p->row.revision,
		.state = p->life.state,
		.conditions = MSG_SCHEDULED | (seen & (MSG_IMAGE_READY | MSG_VOLUME_READY |
						       MSG_NETWORK_READY | MSG_STARTED)),
		.restarts = p->life.restarts,
		.attempt = p->life.attempt,
		.since_wall_ns = p->since_wall_ns,
		.created_wall_ns = p->row.created_wall_ns,
		.reason = p->reason,
		.job = p->row.job,
		.due_s = p->row.due_s,
		.lease_epoch = p->lease_epoch,
		.exit = p->exit,
	};

	if (p->life.state == MSG_REPLICA_READY)
		row.conditions |= MSG_READY;
	if (p->waits.kind) {
		row.state = MSG_REPLICA_PENDING;
		row.conditions = 0;
		row.reason = p->waits;
	}
	text_copy(row.deployment_name, sizeof(row.deployment_name),
		  p->service->deployment->row.name);
	text_copy(row.service_name, sizeof(row.service_name), p->service->row.name);
	text_copy(row.node, sizeof(row.node), p->remote ? p->node : t->m->node);
	publish_table_row(t, p->row.id, &row);
}

struct tally {
	uint32_t all, running, ready, stopped, failed;
	uint32_t states[MSG_REPLICA_ISOLATED + 1];
	const struct msg_reason *reason;
};

static void
tally_service(const struct service *s, struct tally *out)
{
	struct list *it, *next;

	memset(out, 0, sizeof(*out));
	list_each (it, next, &s->replicas) {
		const struct replica *p = container_of(it, struct replica, link);

		if (p->life.gone)
			continue;
		out->states[p->life.state]++;
		out->all++;
		out->running += p->has_container && !p->container.hold &&
				p->container.state == MSG_CONTAINER_RUNNING;
		out->ready += p->life.state == MSG_REPLICA_READY;
		out->stopped += p->life.state == MSG_REPLICA_STOPPED;
		out->failed += lifecycle_in_trouble(&p->life);
		if (p->reason.kind && p->life.state != MSG_REPLICA_READY)
			out->reason = &p->reason;
	}
}

static enum msg_service_state
service_state(const struct model *m, const struct service *s, const struct tally *t)
{
	if (t->all && t->stopped == t->all)
		return MSG_SERVICE_STOPPED;
	if (s->row.desired == 0 && s->row.wanted == 0)
		return s->deployment->row.stopped ? MSG_SERVICE_STOPPED : MSG_SERVICE_IDLE;
	if (t->ready >= s->row.desired && t->all)
		return MSG_SERVICE_READY;
	if (t->failed && !t->ready)
		return MSG_SERVICE_FAILED;
	if (t->ready && !t->failed && scaling_grows(m, s) && t->ready >= s->scaling->from)
		return MSG_SERVICE_SCALING;
	if (t->ready)
		return MSG_SERVICE_DEGRADED;
	return MSG_SERVICE_STARTING;
}

static uint32_t
scale_mode(enum doc_scale_mode mode)
{
	switch (mode) {
	case DOC_SCALE_ADAPTIVE:
		return MSG_SCALE_ADAPTIVE;
	case DOC_SCALE_MANUAL:
		return MSG_SCALE_MANUAL;
	case DOC_SCALE_FIXED:
		break;
	}
	return MSG_SCALE_FIXED;
}

static void
put_endpoints(const struct doc_service *spec, struct msg_service *row)
{
	for (size_t i = 0; i < spec->endpoints_count && i < MSG_ENDPOINTS_MAX; i++) {
		const struct doc_endpoint *e = &spec->endpoints[i];
		struct msg_service_endpoint *out = &row->endpoints[row->endpoints_count++];

		text_copy(out->name, sizeof(out->name), e->name);
		out->protocol = e->protocol == DOC_PROTOCOL_UDP ? IPPROTO_UDP : IPPROTO_TCP;
	}
}

/* ---- metrics ---- */

static void
count_states(struct model *m, const char *label, const struct tally *t)
{
	static const char *const names[] = {
		[MSG_REPLICA_PENDING] = "pending",     [MSG_REPLICA_CREATING] = "creating",
		[MSG_REPLICA_STARTING] = "starting",   [MSG_REPLICA_READY] = "ready",
		[MSG_REPLICA_UNHEALTHY] = "unhealthy", [MSG_REPLICA_DRAINING] = "draining",
		[MSG_REPLICA_STOPPING] = "stopping",   [MSG_REPLICA_STOPPED] = "stopped",
		[MSG_REPLICA_BACKOFF] = "backoff",     [MSG_REPLICA_FAILED] = "failed",
		[MSG_REPLICA_ISOLATED] = "isolated",
	};

	for (unsigned i = MSG_REPLICA_PENDING; m->metrics && i <= MSG_REPLICA_ISOLATED; i++) {
		struct metric_labels labels = {0};

		metric_label(&labels, "service", label);
		metric_label(&labels, "state", names[i]);
		metric_set(metrics_get(m->metrics, METRICS_SERVICE_REPLICAS, &labels),
			   t->states[i]);
	}
}

/* Rates and alerts need a series from before its first event on. */
static void
begin_counter(struct model *m, enum metrics_id id, const char *name, const char *value,
	      const char *name2, const char *value2)
{
	struct metric_labels labels = {0};

	if (!m->metrics)
		return;
	metric_label(&labels, name, value);
	metric_label(&labels, name2, value2);
	(void)metrics_get(m->metrics, id, &labels);
}

static void
begin_service(struct model *m, const char *label)
{
	static const char *const reasons[] = {"error", "exit", "lease", "oom", "seccomp", "signal"};

	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		begin_counter(m, METRICS_CONTAINER_RESTARTS, "service", label, "reason",
			      reasons[i]);
	begin_counter(m, METRICS_SCHEDULER_DECISIONS, "service", label, "outcome", "create");
	begin_counter(m, METRICS_SCHEDULER_DECISIONS, "service", label, "outcome", "remove");
}

static void
begin_deployment(struct model *m, const char *name)
{
	static const char *const results[] = {"ok", "failed", "rolled_back"};

	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++)
		begin_counter(m, METRICS_DEPLOYS, "deployment", name, "result", results[i]);
}

/* ---- services, deployments, operations ---- */

static void
put_service(struct publish_table *t, struct service *s)
{
	const struct doc_service *spec = model_in_force(t->m, s);
	char label[MSG_TARGET];
	struct tally tally;

	tally_service(s, &tally);
	model_label(s, label);
	count_states(t->m, label, &tally);
	begin_service(t->m, label);
	/* Left over from a revision that is not in force. */
	if (!spec && !tally.all)
		return;
	struct msg_service row = {
		.id = s->row.id,
		.deployment = s->deployment->row.id,
		.state = service_state(t->m, s, &tally),
		.revision = s->deployment->row.revision,
		.desired = s->deployment->row.revision ? s->row.desired : s->row.wanted,
		.running = tally.running,
		.ready = tally.ready,
	};
	text_copy(row.deployment_name, sizeof(row.deployment_name), s->deployment->row.name);
	text_copy(row.name, sizeof(row.name), s->row.name);
	row.job = spec && spec->rtype != DOC_RTYPE_SERVICE;
	row.cron = spec && spec->rtype == DOC_RTYPE_CRON;
	if (row.job)
		row.state = MSG_SERVICE_READY;
	if (spec) {
		row.scale_mode = scale_mode(spec->scale.mode);
		row.scale_min = spec->scale.min;
		row.scale_max = spec->scale.max;
		row.unique = spec->scale.unique;
		row.weak_gate = !row.job && !spec->health.node;
		row.overlays = publish_identity_flags(&spec->network.overlays) | MSG_IDENTITY_SAID;
		text_copy(row.image, sizeof(row.image), spec->image.name);
		publish_traffic_url(t->m, spec, row.url, sizeof(row.url));
		put_endpoints(spec, &row);
	}
	if (spec && ports_trouble(t->m, spec, &row.reason) && row.state == MSG_SERVICE_READY)
		row.state = MSG_SERVICE_DEGRADED;
	row.waits = s->waits.kind ? MSG_WAITS_DEPENDENCY : s->unplaced.kind ? MSG_WAITS_NODE : 0;
	if (s->waits.kind)
		row.reason = s->waits;
	else if (s->unplaced.kind)
		row.reason = s->unplaced;
	else if (tally.reason)
		row.reason = *tally.reason;
	else if (row.cron)
		(void)publish_cron_trouble(t->m, s, &row.reason);
	scaling_show(t->m, s, &row);
	publish_table_row(t, s->row.id, &row);
}

/* It is as it is meant to be, or on its way there because of its load. */
static bool
is_well(const struct model *m, const struct service *s)
{
	struct tally tally;

	tally_service(s, &tally);
	switch (service_state(m, s, &tally)) {
	case MSG_SERVICE_READY:
	case MSG_SERVICE_STOPPED:
	case MSG_SERVICE_IDLE:
	case MSG_SERVICE_SCALING:
		return true;
	case MSG_SERVICE_STARTING:
		return scaling_grows(m, s);
	case MSG_SERVICE_DEGRADED:
	case MSG_SERVICE_FAILED:
		break;
	}
	return false;
}

static bool
all_ready(struct model *m, struct deployment *d)
{
	struct list *it, *next;

	list_each (it, next, &d->services) {
		struct service *s = container_of(it, struct service, link);
		const struct doc_service *spec = model_in_force(m, s);
		struct msg_reason reason;

		if (spec && spec->rtype == DOC_RTYPE_SERVICE && !is_well(m, s))
			return false;
		if (spec && ports_trouble(m, spec, &reason))
			return false;
	}
	return true;
}

static enum msg_deployment_state
deployment_state(struct model *m, struct deployment *d)
{
	if (d->operation && d->operation->row.kind == MSG_OPERATION_REMOVE)
		return MSG_DEPLOYMENT_REMOVING;
	if (d->rollout.phase == ROLLOUT_PAUSED)
		return MSG_DEPLOYMENT_PAUSED;
	if (d->operation && (d->operation->row.kind == MSG_OPERATION_DEPLOY ||
			     d->operation->row.kind == MSG_OPERATION_SCALE ||
			     d->operation->row.kind == MSG_OPERATION_RESTART))
		return MSG_DEPLOYMENT_DEPLOYING;
	if (d->row.failed)
		return MSG_DEPLOYMENT_FAILED;
	if (d->row.stopped)
		return MSG_DEPLOYMENT_STOPPED;
	return all_ready(m, d) ? MSG_DEPLOYMENT_STABLE : MSG_DEPLOYMENT_DEGRADED;
}

static void
put_deployment(struct publish_table *t, struct deployment *d)
{
	struct list *it, *next;
	struct msg_deployment row = {
		.id = d->row.id,
		.state = deployment_state(t->m, d),
		.revision = d->row.revision,
		.target_revision = d->row.target,
		.operation = d->row.operation,
		.created_wall_ns = d->row.created_wall_ns,
		.updated_wall_ns = d->row.updated_wall_ns,
		.reason = d->row.reason,
	};

	list_each (it, next, &d->services)
		row.services +=
			model_in_force(t->m, container_of(it, struct service, link)) != NULL;
	text_copy(row.name, sizeof(row.name), d->row.name);
	begin_deployment(t->m, d->row.name);
	publish_table_row(t, d->row.id, &row);
}

static void
count_steps(struct model *m, const struct operation *o, struct msg_operation *row)
{
	struct map_iter it = {0};

	while (map_next(&m->replicas, &it)) {
		const struct replica *p = it.value;

		if (p->row.operation != o->row.id || p->life.order == LIFECYCLE_REMOVE)
			continue;
		row->steps_total++;
		row->steps_done += p->life.state == MSG_REPLICA_READY;
	}
}

static void
put_operation(struct publish_table *t, struct operation *o)
{
	struct msg_operation row = {
		.id = o->row.id,
		.deployment = o->row.deployment,
		.kind = o->row.kind,
		.state = o->row.state,
		.revision = o->row.revision,
		.previous_revision = o->row.previous_revision,
		.started_wall_ns = o->row.started_wall_ns,
		.ended_wall_ns = o->row.ended_wall_ns,
		.who_uid = o->row.who_uid,
		.reason = o->row.reason,
	};

	text_copy(row.deployment_name, sizeof(row.deployment_name), o->row.deployment_name);
	count_steps(t->m, o, &row);
	publish_table_row(t, o->row.id, &row);
}

void
publish_status(struct model *m)
{
	struct list *it, *next;
	struct publish_table t;

	publish_table_begin(&t, m, MSG_TABLE_DEPLOYMENT);
	list_each (it, next, &m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		if (!d->gone && !d->lost)
			put_deployment(&t, d);
	}
	publish_table_commit(&t);
	publish_table_begin(&t, m, MSG_TABLE_SERVICE);
	publish_table_services(&t, put_service);
	publish_table_commit(&t);
	publish_table_begin(&t, m, MSG_TABLE_REPLICA);
	publish_table_replicas(&t, put_replica);
	publish_table_commit(&t);
	publish_table_begin(&t, m, MSG_TABLE_USAGE);
	publish_table_replicas(&t, put_usage);
	publish_table_commit(&t);
	publish_table_begin(&t, m, MSG_TABLE_OPERATION);
	list_each (it, next, &m->operations)
		put_operation(&t, container_of(it, struct operation, link));
	publish_table_commit(&t);
}
