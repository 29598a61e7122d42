/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looked at anew in each pass: nothing is remembered but which replicas were let go, since when a
 * held one waits, and which of its dependencies were late. After a restart of the scheduler the
 * time begins again, which can only make it wait longer.
 */
#include "scheduler/depend.h"

#include <string.h>
#include "base/text.h"
#include "scheduler/cronjob_run.h"
#include "scheduler/event.h"
#include "scheduler/reconcile.h"

#define MS_NS 1000000ull

static bool
runs(const struct replica *p)
{
	return p->has_container && p->container.state == MSG_CONTAINER_RUNNING &&
	       p->container.attempt == p->life.attempt;
}

/* What passed its check before the machine was restarted has to pass it again. */
static bool
has_passed(const struct replica *p)
{
	return runs(p) && p->life.ready_attempt && p->life.ready_attempt == p->life.attempt &&
	       p->life.ready_started_wall_ns == p->container.started_wall_ns;
}

bool
depend_holds(struct service *service, enum doc_condition condition)
{
	struct list *it, *next;
	bool any = false;

	list_each (it, next, &service->replicas) {
		const struct replica *p = container_of(it, struct replica, link);

		if (p->life.order == LIFECYCLE_REMOVE || p->life.gone)
			continue;
		any = true;
		switch (condition) {
		case DOC_CONDITION_STARTED:
			if (runs(p))
				return true;
			break;
		case DOC_CONDITION_HEALTHY:
			if (has_passed(p))
				return true;
			break;
		case DOC_CONDITION_READY:
			if (p->life.state == MSG_REPLICA_READY)
				return true;
			break;
		}
	}
	return !any && service->row.wanted == 0;
}

static const char *
condition_words(enum doc_condition condition)
{
	switch (condition) {
	case DOC_CONDITION_STARTED:
		return "have started";
	case DOC_CONDITION_HEALTHY:
		return "be healthy";
	case DOC_CONDITION_READY:
		break;
	}
	return "be ready";
}

static void
say(const struct service *s, const struct doc_depend *d, bool late, struct msg_reason *out)
{
	struct err err = {0};

	err_set(&err, late ? ERR_TIMEOUT : ERR_CONFLICT, "it waits for %s to %s", d->service,
		condition_words(d->condition));
	if (late)
		err_why(&err,
			"for longer than %llu s (depends.timeout); it starts as soon as %s is "
			"there",
			(unsigned long long)(d->timeout_ms / 1000), d->service);
	err_fix(&err, "zlayer explain %s/%s", s->deployment->row.name, d->service);
	msg_reason_from(&err, out);
}

/* ---- what starts again ---- */

/* False: the dependency holds nobody up, or not any longer. */
static bool
keeps_waiting(struct model *m, struct replica *p, const struct doc_depend *d, size_t i)
{
	struct service *other = model_service(p->service->deployment, d->service);
	uint64_t limit = p->held_since_ns + d->timeout_ms * MS_NS;

	if (!other || p->depends_over >> i & 1 || depend_holds(other, d->condition))
		return false;
	if (m->now_ns < limit) {
		model_wake_at(m, limit);
		say(p->service, d, false, &p->waits);
		return true;
	}
	if (d->on_timeout == DOC_ON_FAILURE_FAIL) {
		say(p->service, d, true, &p->waits);
		return true;
	}
	p->depends_over |= UINT64_C(1) << i;
	event_replica(m, p, "depends.late",
		      d->on_timeout == DOC_ON_FAILURE_WARN ? LOG_WARN : LOG_INFO, NULL,
		      "%s.%u goes on without %s", p->service->row.name, p->row.index, d->service);
	return false;
}

static void
cut_off(struct model *m, struct replica *p)
{
	struct err err = {0};

	if (p->life.order != LIFECYCLE_RUN || p->has_container || !model_knows_runtime(m))
		return;
	err_set(&err, ERR_INTERRUPTED, "the machine was restarted while run %u was under way",
		p->row.index);
	err_fix(&err, "zlayer job run %s/%s", p->service->deployment->row.name,
		p->service->row.name);
	msg_reason_from(&err, &p->reason);
	event_replica(m, p, "job.ended", LOG_ERROR, &p->reason, "run %u of %s was cut off",
		      p->row.index, p->service->row.name);
	reconcile_order(m, p, LIFECYCLE_STOP);
}

/* A run that takes another one's place waits for its end. */
static bool
follows(struct model *m, struct replica *p)
{
	const struct replica *other = cronjob_follows(m, p);
	struct err err = {0};

	if (!other)
		return false;
	err_set(&err, ERR_CONFLICT, "it waits for run %u to end (cron.overlap: replace)",
		other->row.index);
	msg_reason_from(&err, &p->waits);
	return true;
}

static void
look_at_replica(struct model *m, struct replica *p)
{
	const struct doc_service *spec = p->remote ? NULL : model_spec(m, p);
	bool was = p->waits.kind != 0;

	if (p->remote)
		return;
	p->held = false;
	memset(&p->waits, 0, sizeof(p->waits));
	/* A job that the machine's end may have cut off is not run a second time. */
	if (p->row.job && !text_equal(p->row.boot, m->boot)) {
		p->held = true;
		if (!cronjob_run_keeps(m, p))
			cut_off(m, p);
		return;
	}
	if (p->released || p->life.order != LIFECYCLE_RUN || !spec)
		return;
	/* Where it is is only remembered: if that is not so, nothing may start meanwhile. */
	if (!model_knows_runtime(m)) {
		p->held = spec->depends_count > 0;
		return;
	}
	if (runs(p)) {
		p->released = true;
		return;
	}
	if (p->row.job && follows(m, p)) {
		p->held = true;
		return;
	}
	if (!was || !p->held_since_ns)
		p->held_since_ns = m->now_ns;
	for (size_t i = 0; i < spec->depends_count && i < 64 && !p->held; i++)
		p->held = keeps_waiting(m, p, &spec->depends[i], i);
	if (p->held && !was)
		event_replica(m, p, "depends.waiting", LOG_INFO, &p->waits, "%s.%u: %s",
			      p->service->row.name, p->row.index, p->waits.what);
	if (!p->held)
		p->released = true;
}

/* ---- what a roll-out has not made yet ---- */

static bool
is_complete(struct model *m, struct service *s)
{
	const struct store_deployment *d = &s->deployment->row;
	struct list *it, *next;
	uint32_t count = 0;

	list_each (it, next, &s->replicas) {
		const struct replica *p = container_of(it, struct replica, link);

		count += p->life.order != LIFECYCLE_REMOVE && model_made_as(m, p, d->target);
	}
	return count >= s->row.wanted;
}

static void
look_at_service(struct model *m, struct service *s)
{
	struct deployment *d = s->deployment;
	bool was = s->waits.kind != 0;
	const struct doc_service *spec =
		d->rollout.phase == ROLLOUT_FORWARD ? model_service_doc(m, s, d->row.target) : NULL;

	memset(&s->waits, 0, sizeof(s->waits));
	if (!spec || !spec->depends_count || is_complete(m, s))
		return;
	for (size_t i = 0; i < spec->depends_count && i < 64; i++) {
		struct service *other = model_service(d, spec->depends[i].service);

		if (!other || s->depends_over >> i & 1 ||
		    depend_holds(other, spec->depends[i].condition))
			continue;
		say(s, &spec->depends[i], false, &s->waits);
		break;
	}
	if (s->waits.kind && !was)
		event_deployment(m, d, s, "depends.waiting", LOG_INFO, &s->waits, "%s: %s",
				 s->row.name, s->waits.what);
}

void
depend_look(struct model *m, struct deployment *d)
{
	struct list *it, *next, *at, *after;

	list_each (it, next, &d->services) {
		struct service *s = container_of(it, struct service, link);

		look_at_service(m, s);
		list_each (at, after, &s->replicas)
			look_at_replica(m, container_of(at, struct replica, link));
	}
}
