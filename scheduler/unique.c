/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lease is named after what people know: "unique.DEPLOYMENT.SERVICE.N". So one that was removed
 * and deployed again waits for what is left of the former one, too.
 *
 * Runs of a cron of which one at a time may live (overlap: forbid, replace) have a lease in common:
 * "cron.DEPLOYMENT.SERVICE". On one node they take it in turn. A run that is made again when it is
 * lost (on_loss: retry) and need not be alone has one that is named after its firing: "run.N". The
 * next run of that time waits for it.
 *
 * How a lease is taken, kept and given back: unique_lease.c.
 */
#include "scheduler/unique_inside.h"

#include <inttypes.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/cronjob_run.h"
#include "scheduler/event.h"
#include "scheduler/store_lease.h"

static void
unique_free(struct unique *u)
{
	struct list *it, *next;

	list_each (it, next, &u->asks)
		unique_ask_free(container_of(it, struct unique_ask, link));
	list_remove(&u->link);
	mem_free(u);
}

/* What its document says; as long as that cannot be read, what was so before. */
static bool
is_unique(struct model *m, struct replica *p)
{
	const struct doc_service *spec = model_spec(m, p);

	if (spec && p->row.job)
		return p->row.firing ? cronjob_is_leased(spec) : cronjob_is_single(spec);
	if (spec)
		return spec->scale.unique;
	return p->unique || !model_knows_runtime(m) ||
	       (p->has_container && p->container.lease_until_ns);
}

/* ---- objects ---- */

/* When it lives with the lease that an earlier process was given, that goes on. False: no memory
 * for it now. */
static bool
begin(struct unique *u)
{
	const struct msg_container *c = &u->p->container;
	uint64_t epoch = c->lease_epoch & (UNIQUE_EPOCH_ETCD - 1);

	tenure_init(&u->t, UNIQUE_TTL_S * 1000);
	if (!unique_lives(u->p) || !epoch || !c->lease_until_ns)
		return true;
	u->base = c->lease_epoch & UNIQUE_EPOCH_ETCD;
	u->moved = u->base != unique_engine(u->m);
	if (!u->moved && !store_lease_adopt(u->m->store, u->name, epoch))
		return false;
	tenure_resume(&u->t, UNIQUE_TTL_S * 1000, epoch, c->lease_until_ns);
	return true;
}

static void
name(struct unique *u)
{
	const struct replica *p = u->p;
	const char *deployment = p->service->deployment->row.name;

	u->single = p->row.job && cronjob_is_single(model_spec(u->m, u->p));
	if (u->single)
		text_format(u->name, sizeof(u->name), "cron.%s.%s", deployment,
			    p->service->row.name);
	else if (p->row.job)
		text_format(u->name, sizeof(u->name), "run.%" PRIu64, p->row.firing);
	else
		text_format(u->name, sizeof(u->name), "unique.%s.%s.%u", deployment,
			    p->service->row.name, p->row.index);
}

/* A run's name is not known before its document. */
static void
make(struct model *m, struct replica *p)
{
	bool named = !p->row.job || model_spec(m, p);
	struct unique *u = named ? mem_zalloc(MEM_SCHEDULER, sizeof(*u)) : NULL;

	if (u) {
		u->m = m;
		u->p = p;
		list_init(&u->asks);
		name(u);
	}
	if (!u || !begin(u)) {
		mem_free(u);
		model_wake_at(m, m->now_ns + SECOND_NS);
		return;
	}
	list_push(&m->uniques, &u->link);
	p->unique = u;
}

void
unique_part(struct replica *p)
{
	struct unique *u = p->unique;

	if (!u)
		return;
	p->unique = NULL;
	u->p = NULL;
	if (u->t.state >= TENURE_HELD && p->life.gone && u->seen)
		unique_drop(u, u->t.epoch);
	if (list_empty(&u->asks))
		unique_free(u);
}

/* It is not unique any more. */
static void
let_go(struct replica *p)
{
	struct unique *u = p->unique;

	if (u->t.state >= TENURE_HELD)
		unique_drop(u, u->t.epoch);
	p->unique = NULL;
	p->lease_epoch = 0;
	u->p = NULL;
	if (list_empty(&u->asks))
		unique_free(u);
}

/* What was asked for one that has gone is given back when it comes. */
static void
sweep(struct model *m)
{
	struct list *it, *next, *at, *after;

	list_each (it, next, &m->uniques) {
		struct unique *u = container_of(it, struct unique, link);

		if (u->p)
			continue;
		list_each (at, after, &u->asks) {
			struct unique_ask *a = container_of(at, struct unique_ask, link);

			if (!a->answered)
				continue;
			if (!a->err.kind && a->kind == TENURE_TAKEN)
				unique_drop(u, a->epoch);
			unique_ask_free(a);
		}
		if (list_empty(&u->asks))
			unique_free(u);
	}
}

void
unique_forget(struct model *m)
{
	struct list *it, *next;

	list_each (it, next, &m->uniques) {
		struct unique *u = container_of(it, struct unique, link);

		if (u->p)
			u->p->unique = NULL;
		unique_free(u);
	}
}

/* ---- words ---- */

static void
add_whys(const struct err *from, struct err *err)
{
	for (unsigned i = 0; i < from->whys; i++)
		err_why(err, "%s", from->why[i]);
	if (from->fix[0])
		err_fix(err, "%s", from->fix);
}

static const char *
rule(const struct replica *p)
{
	return p->row.job ? "of the runs of a cron (cron.overlap, cron.on_loss)"
			  : "of what is unique (scale.unique)";
}

static void
say_held(const struct unique *u, struct err *err)
{
	err_set(err, ERR_CONFLICT, "it waits for its lease: %s has it",
		u->why.whys ? u->why.why[0] : "another node");
	err_why(err, "one at a time lives %s; another node's lease ends with it, or within %d s",
		rule(u->p), UNIQUE_TTL_S);
}

static void
say(const struct unique *u, struct err *err)
{
	if (u->why.kind == ERR_CONFLICT) {
		say_held(u, err);
	} else if (u->why.kind) {
		err_set(err, u->why.kind, "%s: %s",
			u->lost ? "its lease ran out" : "it waits for its lease", u->why.what);
		add_whys(&u->why, err);
	} else {
		err_set(err, ERR_CONFLICT, "it waits for its lease");
	}
}

void
unique_cause(const struct replica *p, struct err *err)
{
	const struct unique *u = p->unique;

	if (u && u->why.kind == ERR_CONFLICT)
		err_set(err, ERR_CONFLICT, "its lease ran out: %s has it",
			u->why.whys ? u->why.why[0] : "another node");
	else if (u && u->why.kind)
		err_set(err, u->why.kind, "its lease ran out: %s", u->why.what);
	else
		err_set(err, ERR_TIMEOUT, "its lease ran out: it was not kept in time");
	err_why(err, "%s nothing lives without a lease", rule(p));
	if (u && u->why.kind)
		add_whys(&u->why, err);
}

static void
hold(struct unique *u)
{
	struct replica *p = u->p;
	struct err err = {0};

	p->held = true;
	if (p->life.order != LIFECYCLE_RUN || unique_lives(p) || p->waits.kind)
		return;
	say(u, &err);
	msg_reason_from(&err, &p->waits);
	if (u->told || !u->why.kind)
		return;
	u->told = true;
	event_replica(u->m, p, "replica.lease_waits", LOG_INFO, &p->waits, "%s.%u: %s",
		      p->service->row.name, p->row.index, p->waits.what);
}

/* Who has the lease may have been cut off when another node was given what it is for. */
static void
hold_unsure(struct replica *p)
{
	struct err err = {0};

	p->held = true;
	if (p->waits.kind)
		return;
	err_set(&err, ERR_CONFLICT, "it waits until the store has heard that it begins");
	msg_reason_from(&err, &p->waits);
}

/* ---- alone ---- */

/* Another one of the same name, which is to be gone before this one begins. */
static const struct replica *
former(const struct replica *p)
{
	struct list *it, *next;

	list_each (it, next, &p->service->replicas) {
		const struct replica *other = container_of(it, struct replica, link);

		if (other == p || other->remote || other->row.job || other->life.gone ||
		    other->row.index != p->row.index)
			continue;
		if (unique_lives(other) ||
		    (other->row.id < p->row.id && lifecycle_claim(&other->life) &&
		     !unique_has_ended(other)))
			return other;
	}
	return NULL;
}

static void
look_alone(struct model *m, struct replica *p)
{
	struct err err = {0};

	if (unique_lives(p))
		return;
	if (!model_knows_runtime(m)) {
		p->held = true;
		return;
	}
	const struct replica *other = former(p);
	if (!other)
		return;
	p->held = true;
	err_set(&err, ERR_CONFLICT, "it waits for the one of revision %u to end (scale.unique)",
		other->row.revision);
	msg_reason_from(&err, &p->waits);
}

/* ---- in turn ---- */

/* It has the lease, or asks for it, or is to come first. */
static bool
is_before(const struct unique *u, const struct replica *other)
{
	const struct replica *p = u->p;

	if (other == p || !other->unique || !text_equal(other->unique->name, u->name))
		return false;
	return other->unique->t.state != TENURE_NONE || unique_lives(other) ||
	       (other->row.index < p->row.index && !other->life.gone && !cronjob_is_over(other));
}

bool
unique_is_behind(const struct unique *u)
{
	struct list *it, *next;

	if (!u->single)
		return false;
	list_each (it, next, &u->p->service->replicas) {
		if (is_before(u, container_of(it, struct replica, link)))
			return true;
	}
	return false;
}

/* ---- the pass ---- */

static void
note_epoch(struct service *s, const struct replica *p)
{
	size_t at = p->row.index - 1;

	if (!p->lease_epoch || !p->row.index || p->row.index > DOC_REPLICAS_MAX)
		return;
	if (at >= s->epochs_count) {
		size_t count = at + 1;
		uint64_t *epochs =
			mem_resize(MEM_SCHEDULER, s->epochs, count, sizeof(s->epochs[0]));

		/* Then by those that are there (unique_may_serve). */
		if (!epochs)
			return;
		memset(epochs + s->epochs_count, 0, (count - s->epochs_count) * sizeof(epochs[0]));
		s->epochs = epochs;
		s->epochs_count = count;
	}
	if (p->lease_epoch > s->epochs[at])
		s->epochs[at] = p->lease_epoch;
}

static void
look_at(struct model *m, struct replica *p)
{
	bool unique = !p->remote && !p->life.gone && is_unique(m, p);

	if (p->unique && !unique && !p->life.gone)
		let_go(p);
	if (!unique && !p->unique)
		return;
	if (!model_is_shared(m)) {
		if (unique)
			look_alone(m, p);
		return;
	}
	if (!p->unique && model_knows_runtime(m))
		make(m, p);
	if (!p->unique) {
		p->held = true;
		return;
	}
	p->unique->seen |= p->has_container;
	unique_step(p->unique);
	if (p->unique->t.state != TENURE_HELD) {
		hold(p->unique);
		return;
	}
	p->lease_epoch = p->unique->base | p->unique->t.epoch;
	if (p->row.job && !unique_lives(p) && !cronjob_run_may_begin(m, p))
		hold_unsure(p);
}

static void
look_and_note(void *arg, struct service *v, struct replica *p)
{
	look_at(arg, p);
	note_epoch(v, p);
}

void
unique_look(struct model *m)
{
	struct list *it, *next;

	sweep(m);
	if (model_is_shared(m))
		(void)unique_may_take(m);
	list_each (it, next, &m->deployments)
		model_each_replica(container_of(it, struct deployment, link), look_and_note, m);
}

/* ---- what is published ---- */

void
unique_claim(struct model *m, struct replica *p, struct msg_claim *row)
{
	const struct unique *u = p->unique;

	if (!model_is_shared(m) || (!u && !is_unique(m, p)))
		return;
	row->leased = 1;
	if (!u)
		return;
	if (u->t.state == TENURE_HELD) {
		row->lease_until_ns = u->t.until_ns;
		row->lease_epoch = u->base | u->t.epoch;
	} else if (u->t.state == TENURE_ENDING && u->t.wanted) {
		row->lease_until_ns = 1;
		row->lease_epoch = u->base | u->t.epoch;
	}
}

bool
unique_may_serve(const struct model *m, const struct replica *p)
{
	const struct service *s = p->service;
	struct list *it, *next;
	size_t at = p->row.index - 1;

	(void)m;
	if (!p->lease_epoch)
		return true;
	if (p->unique && p->unique->t.state != TENURE_HELD)
		return false;
	if (at < s->epochs_count)
		return p->lease_epoch >= s->epochs[at];
	list_each (it, next, &s->replicas) {
		const struct replica *other = container_of(it, struct replica, link);

		if (other->row.index == p->row.index && other->lease_epoch > p->lease_epoch)
			return false;
	}
	return true;
}
