/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stop and start: no roll-out, the same replicas under another order. A start is over when all of
 * them are ready, and has failed as soon as one of them is late or in trouble.
 */
#include "scheduler/halt.h"

#include "scheduler/outcome.h"
#include "scheduler/reconcile.h"

#define MS_NS 1000000ull

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
			p->dirty = !p->remote;
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

bool
halt_step(struct model *m, struct deployment *d, bool conducts)
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
	if (!conducts)
		return false;
	if (h.failed) {
		struct err cause = {0};

		if (h.failed->waits.kind)
			o->row.reason = h.failed->waits;
		else
			outcome_cause(m, h.failed, false, &cause);
		if (cause.kind)
			msg_reason_from(&cause, &o->row.reason);
		outcome_end(m, d, MSG_OPERATION_FAILED);
		return true;
	}
	if (h.done)
		outcome_end(m, d, MSG_OPERATION_DONE);
	return h.done;
}
