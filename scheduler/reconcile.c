/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pass, and the replicas' part of it: tables become one event for the life-cycle core, its
 * notes become events, metrics and rows. What the roll-out does is in advance.c.
 */
#include "scheduler/reconcile.h"

#include <inttypes.h>
#include <string.h>
#include "base/text.h"
#include "ring/metrics.h"
#include "scheduler/advance.h"
#include "scheduler/cause.h"
#include "scheduler/cronjob.h"
#include "scheduler/depend.h"
#include "scheduler/drains.h"
#include "scheduler/event.h"
#include "scheduler/gate.h"
#include "scheduler/news.h"
#include "scheduler/outcome.h"
#include "scheduler/placing.h"
#include "scheduler/publish.h"
#include "scheduler/save.h"
#include "scheduler/unique.h"

enum { TURNS_MAX = 64, DRAINING_MS = 1000 };

/* ---- what the tables say ---- */

/* Not an end: its first process lives, and may not even know. */
static void
tell_oom(struct model *m, struct replica *p, uint32_t processes)
{
	struct cause_input in = {
		.deployment = p->service->deployment->row.name,
		.service = p->service->row.name,
		.index = p->row.index,
		.node = m->node,
		.container = &p->container,
	};
	struct err err = {0};

	cause_oom_inside(&in, processes, &err);
	msg_reason_from(&err, &p->reason);
	event_replica(m, p, "replica.oom", LOG_WARN, &p->reason,
		      "%s.%u runs on, but %u of its processes ran out of memory",
		      p->service->row.name, p->row.index, processes);
}

/* When the registry could not be asked at the deploy, the first replica that has the image says for
 * the others, and for every later one, which it is. */
static void
keep_digest(const struct replica *p, const char *digest)
{
	struct revision *r = model_revision(p->service->deployment, p->row.revision);

	for (size_t i = 0; r && i < r->pins_count; i++) {
		struct store_pin *pin = &r->pins[i];

		if (!text_equal(pin->service, p->service->row.name) || pin->image_digest[0] ||
		    !text_starts(digest, "sha256:"))
			continue;
		text_copy(pin->image_digest, sizeof(pin->image_digest), digest);
		r->pins_dirty = true;
	}
}

/* Steps that were fast are told all the same: in their order, when they are done. */
static void
tell_steps(struct model *m, struct replica *p)
{
	const struct msg_container *c = &p->container;
	const struct doc_service *spec = c->init_count ? model_spec(m, p) : NULL;
	const char *name = p->service->row.name;

	if (!spec || c->init_count != spec->init.steps_count || c->init_done > c->init_count)
		return;
	if (p->init_attempt != c->attempt) {
		p->init_attempt = c->attempt;
		p->init_told = p->init_running = 0;
	}
	for (; p->init_told < c->init_done; p->init_told++) {
		const char *id = spec->init.steps[p->init_told].id;
		bool warned = p->init_told < 64 && c->init_warned >> p->init_told & 1;

		event_replica(m, p, warned ? "init.warned" : "init.done",
			      warned ? LOG_WARN : LOG_INFO, NULL, "%s.%u: init step %s %s", name,
			      p->row.index, id, warned ? "failed; it goes on without" : "is over");
	}
	if (c->state != MSG_CONTAINER_PREPARING || c->init_done == c->init_count || !c->pid ||
	    p->init_running == c->init_done + 1)
		return;
	p->init_running = c->init_done + 1;
	event_replica(m, p, "init.started", LOG_INFO, NULL, "%s.%u: init step %s runs (%u of %u)",
		      name, p->row.index, spec->init.steps[c->init_done].id, p->init_running,
		      c->init_count);
}

/* The row is another process's: copied, its texts ended. */
static void
look_at_container(struct model *m, struct replica *p, struct lifecycle_event *e)
{
	const struct msg_container *row =
		m->runtime ? ring_table_get(m->runtime, MSG_TABLE_CONTAINER, p->row.id) : NULL;
	struct msg_container *c = &p->container;
	uint32_t oom_before = p->has_container && c->attempt == p->life.attempt ? c->oom_killed : 0;

	e->runtime_known = model_knows_runtime(m);
	if (row) {
		*c = *row;
		c->image_digest[sizeof(c->image_digest) - 1] = 0;
		c->init_step[sizeof(c->init_step) - 1] = 0;
		if (!MSG_OK(c->reason.what) || !MSG_OK(c->reason.why) || !MSG_OK(c->reason.why2) ||
		    !MSG_OK(c->reason.fix))
			memset(&c->reason, 0, sizeof(c->reason));
		p->has_container = true;
	} else if (e->runtime_known) {
		p->has_container = false;
	}
	if (!p->has_container)
		return;
	if (c->state == MSG_CONTAINER_RUNNING && c->attempt == p->life.attempt &&
	    c->oom_killed > oom_before && !c->hold)
		tell_oom(m, p, c->oom_killed - oom_before);
	/* The time that a pull takes is not the replica's. */
	if (c->pulling)
		p->created_ns = m->now_ns;
	if (c->conditions & MSG_IMAGE_READY)
		keep_digest(p, c->image_digest);
	e->container = c->state;
	e->attempt = c->attempt;
	e->started_wall_ns = c->started_wall_ns;
	e->init_failed = c->init_failed != 0;
	if (c->attempt == p->life.attempt)
		tell_steps(m, p);
	e->hold = c->hold != 0;
	e->lease_over = c->lease_over != 0;
	if (c->state == MSG_CONTAINER_EXITED || c->state == MSG_CONTAINER_FAILED) {
		p->ended = *c;
		p->has_ended = true;
	} else if (c->hold && c->state == MSG_CONTAINER_RUNNING) {
		/* The row says how the program ended whose place it holds. */
		p->ended = *c;
		p->ended.state = MSG_CONTAINER_EXITED;
		p->ended.oom_killed = c->hold_oom;
		p->has_ended = true;
	}
}

/* ---- notes ---- */

static void
count_restart(struct model *m, const struct replica *p, const char *reason)
{
	struct metric_labels labels = {0};
	char name[MSG_TARGET];

	if (!m->metrics)
		return;
	text_format(name, sizeof(name), "%s/%s", p->service->deployment->row.name,
		    p->service->row.name);
	metric_label(&labels, "service", name);
	metric_label(&labels, "reason", reason);
	metric_add(metrics_get(m->metrics, METRICS_CONTAINER_RESTARTS, &labels), 1);
}

static const char *
end_reason(const struct replica *p)
{
	if (p->ended.lease_over)
		return "lease";
	if (p->ended.oom_killed)
		return "oom";
	if (p->ended.seccomp_killed)
		return "seccomp";
	if (p->ended.exit_signal)
		return "signal";
	return p->ended.exit_status == 0 ? "exit" : "error";
}

static void
set_reason(struct model *m, struct replica *p)
{
	struct err err = {0};
	bool was_ready = p->life.ready_attempt == p->life.attempt;

	if (p->has_ended && p->ended.lease_over)
		unique_cause(p, &err);
	else
		outcome_cause(m, p, was_ready, &err);
	msg_reason_from(&err, &p->reason);
}

static void
set_isolated_reason(struct model *m, struct replica *p)
{
	struct cause_input in = {
		.deployment = p->service->deployment->row.name,
		.service = p->service->row.name,
		.index = p->row.index,
		.node = m->node,
		.ended = &p->ended,
	};
	struct err err = {0};

	cause_isolated(&in, &err);
	msg_reason_from(&err, &p->reason);
}

static void
tell_run(struct model *m, struct replica *p)
{
	bool good = p->ended.exit_status == 0 && !p->ended.exit_signal;

	if (!good)
		set_reason(m, p);
	event_replica(m, p, "job.ended", good ? LOG_INFO : LOG_WARN, good ? NULL : &p->reason,
		      "run %u of %s has ended", p->row.index, p->service->row.name);
}

static void
tell(struct model *m, struct replica *p, enum lifecycle_note note)
{
	const char *service = p->service->row.name;
	uint32_t n = p->row.index;

	switch (note) {
	case LIFECYCLE_CREATED:
		event_replica(m, p, "replica.created", LOG_INFO, NULL,
			      "%s.%u is asked for (attempt %u)", service, n, p->life.attempt);
		if (p->life.attempt > 1 && p->has_ended && !p->life.hold)
			count_restart(m, p, end_reason(p));
		break;
	case LIFECYCLE_STARTED:
		event_replica(m, p, "replica.started", LOG_INFO, NULL, "%s.%u runs", service, n);
		break;
	case LIFECYCLE_READY:
		p->ready_ns = m->now_ns;
		memset(&p->reason, 0, sizeof(p->reason));
		event_replica(m, p, "replica.ready", LOG_INFO, NULL, "%s.%u is ready after %.1f s",
			      service, n, (double)(m->now_ns - p->created_ns) / 1e9);
		break;
	case LIFECYCLE_UNHEALTHY:
		set_reason(m, p);
		event_replica(m, p, "replica.unhealthy", LOG_WARN, &p->reason,
			      "%s.%u takes no requests until its checks pass", service, n);
		break;
	case LIFECYCLE_EXITED:
		if (p->row.job) {
			tell_run(m, p);
			break;
		}
		set_reason(m, p);
		event_replica(m, p, p->ended.lease_over ? "replica.lease_over" : "replica.exited",
			      LOG_WARN, &p->reason, "%s.%u ended", service, n);
		break;
	case LIFECYCLE_START_FAILED:
		set_reason(m, p);
		event_replica(m, p, "replica.start_failed", LOG_ERROR, &p->reason,
			      "%s.%u could not be started", service, n);
		break;
	case LIFECYCLE_BACKED_OFF:
	case LIFECYCLE_CRASH_LOOPS:
		event_replica(m, p,
			      note == LIFECYCLE_BACKED_OFF ? "replica.backoff"
							   : "replica.crash_loop",
			      LOG_WARN, &p->reason, "%s.%u waits %" PRIu64 " s before the next try",
			      service, n, (p->life.due_ns - m->now_ns) / 1000000000);
		break;
	case LIFECYCLE_GAVE_UP:
		event_replica(m, p, "replica.failed", LOG_ERROR, &p->reason,
			      "%s.%u stays down (errors.on_panic)", service, n);
		break;
	case LIFECYCLE_ISOLATED:
		set_isolated_reason(m, p);
		event_replica(m, p, "replica.isolated", LOG_ERROR, &p->reason,
			      "%s.%u gets no requests and is kept for exec (errors.on_panic)",
			      service, n);
		break;
	case LIFECYCLE_DRAINS:
		p->draining_version = p->kept_ns = 0;
		event_replica(m, p, "replica.draining", LOG_INFO, NULL,
			      "%s.%u takes no more requests", service, n);
		break;
	case LIFECYCLE_STOPS:
		event_replica(m, p, "replica.stopping", LOG_INFO, NULL, "%s.%u is stopped", service,
			      n);
		break;
	case LIFECYCLE_STOPPED:
		event_replica(m, p, "replica.stopped", LOG_INFO, NULL, "%s.%u has stopped", service,
			      n);
		break;
	case LIFECYCLE_GONE:
		event_replica(m, p, "replica.removed", LOG_INFO, NULL, "%s.%u is removed", service,
			      n);
		break;
	}
}

/* ---- replicas ---- */

static uint32_t
desired(const struct lifecycle *l)
{
	switch (l->order) {
	case LIFECYCLE_STOP:
		return MSG_STOP;
	case LIFECYCLE_REMOVE:
		return MSG_REMOVE;
	case LIFECYCLE_IDLE:
	case LIFECYCLE_RUN:
		break;
	}
	return l->hold ? MSG_HOLD : MSG_RUN;
}

static void
keep_address(const struct model *m, const struct replica *p, struct store_replica *row)
{
	const struct msg_container *c = &p->container;

	memset(row->address, 0, sizeof(row->address));
	memset(row->boot, 0, sizeof(row->boot));
	addr_put_ip(addr_is_zero(&c->addr4) ? &c->addr6 : &c->addr4, row->address,
		    sizeof(row->address));
	text_copy(row->boot, sizeof(row->boot), m->boot);
}

/* Brings the row up to the core; what differs must be written. */
static void
take_over(struct model *m, struct replica *p, enum msg_replica_state before)
{
	struct store_replica row = p->row;

	row.attempt = p->life.attempt;
	row.desired = desired(&p->life);
	row.ready_attempt = p->life.ready_attempt;
	row.ready_started_wall_ns = p->life.ready_started_wall_ns;
	row.restarts = p->life.restarts;
	if (p->life.state == MSG_REPLICA_READY && p->has_container)
		keep_address(m, p, &row);
	if (memcmp(&row, &p->row, sizeof(row)) != 0) {
		p->row = row;
		p->dirty = true;
	}
	if (p->life.state != before) {
		p->since_wall_ns = m->wall_ns;
		if (p->life.state == MSG_REPLICA_ISOLATED)
			set_isolated_reason(m, p);
		if (before == MSG_REPLICA_CREATING && p->life.state == MSG_REPLICA_READY)
			p->ready_ns = m->now_ns;
	}
}

static bool
step(struct model *m, struct replica *p, const struct lifecycle_event *e)
{
	struct lifecycle_notes notes = {0};
	enum msg_replica_state before = p->life.state;
	uint32_t attempt = p->life.attempt;

	lifecycle_step(&p->life, e, &notes);
	for (size_t i = 0; i < notes.count; i++)
		tell(m, p, notes.items[i]);
	take_over(m, p, before);
	return notes.count > 0 || p->life.state != before || p->life.attempt != attempt;
}

void
reconcile_order(struct model *m, struct replica *p, enum lifecycle_order order)
{
	struct lifecycle_event e = {
		.now_ns = m->now_ns,
		.kind = LIFECYCLE_ORDER,
		.order = order,
	};

	if (p->remote)
		return;
	if (order == LIFECYCLE_RUN && p->life.order == LIFECYCLE_STOP)
		p->released = false;
	(void)step(m, p, &e);
}

static bool
step_replica(struct model *m, struct replica *p)
{
	struct lifecycle_event e = {.now_ns = m->now_ns, .kind = LIFECYCLE_SEEN};

	if (p->life.gone || p->remote)
		return false;
	look_at_container(m, p, &e);
	gate_look(m, p, model_spec(m, p), &e);
	if (p->life.state == MSG_REPLICA_DRAINING) {
		e.drained = drains_elsewhere(m, p);
		e.drained &= drains_here(m, p->row.id, p->draining_version);
		/* Not everybody who has something under way wakes us when it is over. */
		if (!e.drained)
			model_wake_at(m, m->now_ns + DRAINING_MS * UINT64_C(1000000));
	}
	bool moved = step(m, p, &e);
	if (p->life.due_ns)
		model_wake_at(m, p->life.due_ns);
	return moved;
}

static bool
step_replicas(struct model *m)
{
	struct list *it, *next, *at, *after, *r, *s;
	bool moved = false;

	list_each (it, next, &m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		list_each (at, after, &d->services) {
			struct service *v = container_of(at, struct service, link);

			list_each (r, s, &v->replicas)
				moved |= step_replica(m, container_of(r, struct replica, link));
		}
	}
	return moved;
}

static bool
step_deployments(struct model *m)
{
	struct list *it, *next;
	bool moved = false;

	list_each (it, next, &m->deployments)
		moved |= advance_deployment(m, container_of(it, struct deployment, link));
	return moved;
}

static bool
step_crons(struct model *m)
{
	struct list *it, *next, *at, *after;
	bool moved = false;

	list_each (it, next, &m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		list_each (at, after, &d->services)
			moved |= cronjob_look(m, container_of(at, struct service, link));
	}
	return moved;
}

static void
look_at_depends(struct model *m)
{
	struct list *it, *next;

	list_each (it, next, &m->deployments)
		depend_look(m, container_of(it, struct deployment, link));
}

void
reconcile_run(struct model *m, uint64_t now_ns, int64_t wall_ns)
{
	uint64_t due_ns;

	m->now_ns = now_ns;
	m->wall_ns = wall_ns;
	m->due_ns = 0;
	news_read(m);
	if (m->placing)
		placing_before(m->placing);
	due_ns = m->due_ns;
	/* A turn knows better than the one before it when it wants to look again. */
	for (int turn = 0; turn < TURNS_MAX; turn++) {
		m->due_ns = due_ns;
		bool moved = step_replicas(m);
		moved |= scaling_step(m);
		moved |= step_deployments(m);
		moved |= step_crons(m);
		if (!moved)
			break;
	}
	look_at_depends(m);
	unique_look(m);
	if (m->placing)
		placing_after(m->placing);
	save_all(m);
	publish_all(m);
	drains_look(m);
}
