/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lease of one replica: what is asked of the store for its tenure, and what comes back.
 *
 * Answers of the store are written down when they come and taken in by the next pass: all that
 * happens to a tenure happens in a pass, with its time. That time is never later than the true one,
 * so a tenure ends early rather than late.
 *
 * A lease is given back when nothing lives that it was for: the container has ended (and cannot be
 * started by what the runtime was told before), or its deadline is over.
 *
 * Epochs of etcd count from 1 again, as those of a small cluster's writer did before it. Here they
 * are above those (UNIQUE_EPOCH_ETCD). When the store has moved, what lives with a lease of the
 * former one takes one of the new at once; all others wait until every lease of the former one has
 * ended. That time counts from the process's first pass, whether anything wants a lease or not, and
 * is noted when it is over: a process that ends before has not waited.
 */
#include "scheduler/unique_inside.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/cronjob.h"
#include "scheduler/store_lease.h"
#include "scheduler/store_role.h"

enum { TURNS_MAX = 8, TURN_MS = 100 };

static const char engine_note[] = "unique.engine";

/* ---- questions ---- */

void
unique_ask_free(struct unique_ask *a)
{
	list_remove(&a->link);
	mem_free(a);
}

static void
answered(void *arg, uint64_t epoch, const struct err *err)
{
	struct unique_ask *a = arg;

	a->answered = true;
	a->epoch = epoch;
	if (err)
		a->err = *err;
	model_stir(a->u->m);
}

static void
ask(struct unique *u, enum tenure_input_kind kind, uint32_t question, uint64_t epoch)
{
	struct unique_ask *a = mem_zalloc(MEM_SCHEDULER, sizeof(*a));
	struct store *store = u->m->store;

	/* The tenure asks again when its time has come. */
	if (!a) {
		u->t.question = 0;
		return;
	}
	*a = (struct unique_ask){.u = u, .kind = kind, .question = question};
	list_push(&u->asks, &a->link);
	if (kind == TENURE_TAKEN || u->moved)
		store_lease_take(store, u->name, u->m->node, UNIQUE_TTL_S, answered, a);
	else
		store_lease_keep(store, u->name, epoch, answered, a);
}

static void
nobody_waits(void *arg, uint64_t epoch, const struct err *err)
{
	(void)arg;
	(void)epoch;
	(void)err;
}

void
unique_drop(struct unique *u, uint64_t epoch)
{
	if (u->m->store && !u->moved)
		store_lease_drop(u->m->store, u->name, epoch, nobody_waits, NULL);
}

/* ---- what lives ---- */

bool
unique_lives(const struct replica *p)
{
	const struct msg_container *c = &p->container;

	return p->has_container &&
	       (c->state == MSG_CONTAINER_RUNNING || c->state == MSG_CONTAINER_STOPPING ||
		(c->state == MSG_CONTAINER_PREPARING && c->pid));
}

bool
unique_has_ended(const struct replica *p)
{
	return p->has_container && (p->container.state == MSG_CONTAINER_EXITED ||
				    p->container.state == MSG_CONTAINER_FAILED);
}

/* Nor will anything live by what the runtime was told before: that may be on its way still when
 * there is no row, or one of an earlier attempt. */
static bool
has_stopped(const struct unique *u)
{
	const struct replica *p = u->p;
	bool over = u->m->now_ns >= u->t.until_ns;
	bool stays = p->life.order != LIFECYCLE_RUN || (p->row.job && cronjob_is_over(p));
	bool ended = (p->life.gone && u->seen) ||
		     (stays && unique_has_ended(p) && p->container.attempt == p->life.attempt);

	return model_knows_runtime(u->m) && !unique_lives(p) && (over || ended);
}

/* ---- the tenure ---- */

uint64_t
unique_engine(const struct model *m)
{
	enum store_role role = STORE_ROLE_ALONE;
	struct err ignored = {0};

	if (store_role_get(store_local(m->store), &role, &ignored) < 0)
		return 0;
	return role == STORE_ROLE_ETCD || role == STORE_ROLE_OUTSIDE ? UNIQUE_EPOCH_ETCD : 0;
}

static void
lose(struct unique *u)
{
	u->lost = u->p && u->t.wanted;
	if (!u->lost)
		return;
	if (!u->why.kind)
		err_set(&u->why, ERR_TIMEOUT, "this node stood still");
}

static void
feed(struct unique *u, struct tenure_input in)
{
	struct tenure_actions actions;

	in.now_ns = u->m->now_ns;
	tenure_step(&u->t, &in, &actions);
	for (unsigned i = 0; i < actions.count; i++) {
		switch (actions.items[i].verb) {
		case TENURE_ASK_TAKE:
			ask(u, TENURE_TAKEN, actions.items[i].question, 0);
			break;
		case TENURE_ASK_KEEP:
			ask(u, TENURE_KEPT, actions.items[i].question, actions.items[i].epoch);
			break;
		case TENURE_ASK_DROP:
			unique_drop(u, actions.items[i].epoch);
			break;
		case TENURE_HOLD:
			memset(&u->why, 0, sizeof(u->why));
			u->lost = u->told = false;
			break;
		case TENURE_LOSE:
			lose(u);
			break;
		}
	}
	if (actions.due_ns != UINT64_MAX)
		model_wake_at(u->m, actions.due_ns);
}

/* True: there was one. */
static bool
take_answer(struct unique *u)
{
	struct list *it, *next;

	list_each (it, next, &u->asks) {
		struct unique_ask *a = container_of(it, struct unique_ask, link);
		struct tenure_input in = {.kind = a->kind,
					  .question = a->question,
					  .epoch = a->epoch,
					  .error = a->err.kind};

		if (!a->answered)
			continue;
		if (a->err.kind && a->question == u->t.question)
			u->why = a->err;
		if (!a->err.kind) {
			u->moved = false;
			u->base = unique_engine(u->m);
		}
		unique_ask_free(a);
		feed(u, in);
		return true;
	}
	return false;
}

/* From when on leases may be taken: after the store has moved, when what others have of the former
 * one has ended. */
static uint64_t
begins_at(struct model *m, const char *engine)
{
	char text[16] = "";
	struct err ignored = {0};

	if (store_get_note(store_local(m->store), engine_note, text, sizeof(text), &ignored) < 0)
		text[0] = '\0';
	m->unique_noted = text_equal(text, engine);
	return (m->now_ns ? m->now_ns : 1) + (m->unique_noted ? 0 : UNIQUE_TTL_S * SECOND_NS);
}

/* Once: where it fails, the next process waits again. */
static void
note_engine(struct model *m, const char *engine)
{
	struct store *local = store_local(m->store);
	struct err err = {0};

	m->unique_noted = true;
	if (store_begin(local, &err) < 0)
		return;
	if (store_put_note(local, engine_note, engine, &err) < 0)
		store_abort(local);
	else if (store_commit(local, &err) < 0)
		log_err(LOG_WARN, "the store's engine cannot be noted", &err);
}

bool
unique_may_take(struct model *m)
{
	if (m->unique_noted)
		return true;
	const char *engine = unique_engine(m) ? "etcd" : "";
	if (!m->unique_from_ns)
		m->unique_from_ns = begins_at(m, engine);
	if (m->now_ns < m->unique_from_ns) {
		model_wake_at(m, m->unique_from_ns);
		return false;
	}
	if (!m->unique_noted)
		note_engine(m, engine);
	return true;
}

static bool
wants(struct unique *u)
{
	if (!u->p || u->p->life.gone)
		return false;
	if (u->t.state <= TENURE_TAKING && !unique_may_take(u->m))
		return false;
	if (unique_lives(u->p))
		return true;
	if (u->p->life.order != LIFECYCLE_RUN || (u->p->row.job && cronjob_is_over(u->p)))
		return false;
	if (u->t.state != TENURE_NONE || !unique_is_behind(u))
		return true;
	/* Giving it back takes no time in which anything else happens. */
	model_wake_at(u->m, u->m->now_ns + TURN_MS * UINT64_C(1000000));
	return false;
}

void
unique_step(struct unique *u)
{
	feed(u, (struct tenure_input){.kind = TENURE_WANT, .wanted = wants(u)});
	for (unsigned turn = 0; turn < TURNS_MAX; turn++) {
		bool moved = take_answer(u);

		if (u->t.state == TENURE_ENDING && u->p && has_stopped(u)) {
			feed(u, (struct tenure_input){.kind = TENURE_STOPPED});
			moved = true;
		}
		if (!moved)
			break;
	}
	if (u->t.state == TENURE_ENDING && u->m->now_ns < u->t.until_ns)
		model_wake_at(u->m, u->t.until_ns);
}
