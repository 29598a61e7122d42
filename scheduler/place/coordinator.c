/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The services of this coordinator. Each is looked at as a whole (slots.h) when something of it
 * changed or its time has come; what then is to be placed goes into a queue, of which a window is
 * under way at a time (coordinator_attempt.c). A service with a slot that nobody takes waits as a
 * whole: its other slots want the same. In asked mode the queue is made of what was asked for.
 */
#include "scheduler/place/coordinator_inside.h"

#include <assert.h>
#include <string.h>

void
coordinator_init(struct coordinator *c, struct fleet *fleet, uint32_t self, uint64_t seed)
{
	memset(c, 0, sizeof(*c));
	c->fleet = fleet;
	c->self = self;
	c->next_offer = rendezvous_mix(seed, self) | 1;
	c->again_ns = UINT64_MAX;
	list_init(&c->touched);
	list_init(&c->works);
	list_init(&c->looks);
	list_init(&c->partings);
	map_init_seeded(&c->attempts, MEM_SCHEDULER, seed);
	heap_init(&c->work_timers, MEM_SCHEDULER);
	heap_init(&c->attempt_timers, MEM_SCHEDULER);
	slots_init(&c->slots);
}

static void
work_free(struct coordinator *c, struct coordinator_work *w, struct step_actions *out)
{
	struct list *it, *next;

	list_each (it, next, &w->attempts)
		coordinator_attempt_free(c, container_of(it, struct coordinator_attempt, link),
					 out);
	heap_remove(&c->work_timers, &w->timer);
	list_remove(&w->link);
	list_remove(&w->look);
	w->service->work = NULL;
	c->works_count--;
	mem_free(w->queue);
	mem_free(w->asks);
	mem_free(w);
}

void
coordinator_fini(struct coordinator *c)
{
	struct list *it, *next;

	list_each (it, next, &c->works)
		work_free(c, container_of(it, struct coordinator_work, link), NULL);
	list_each (it, next, &c->touched)
		list_remove(it);
	list_each (it, next, &c->partings)
		coordinator_parting_free(container_of(it, struct coordinator_parting, link));
	map_fini(&c->attempts);
	heap_fini(&c->work_timers);
	heap_fini(&c->attempt_timers);
	slots_fini(&c->slots);
}

void
coordinator_start(struct coordinator *c, uint64_t now_ns)
{
	c->start_ns = now_ns;
}

void
coordinator_touch(struct coordinator *c, struct fleet_service *service)
{
	if (!service)
		c->wake = true;
	else if (list_empty(&service->link))
		list_push(&c->touched, &service->link);
}

const struct coordinator_work *
coordinator_of(const struct coordinator *c, uint64_t service)
{
	const struct fleet_service *s = fleet_service(c->fleet, service);

	return s ? s->work : NULL;
}

void
coordinator_why(const struct coordinator *c, const struct fleet_service *s,
		const struct fleet_node *n, struct fit *out)
{
	const struct coordinator_work *w = s->work;

	fit_node(c->fleet, s, s->spec.replicas, n, out);
	for (size_t i = 0; w && !out->reasons && i < w->refusals_count; i++) {
		if (w->refusals[i].node == n->id)
			*out = w->refusals[i].fit;
	}
}

/* ---- helpers ---- */

static void
turn(struct coordinator *c, struct coordinator_work *w)
{
	if (list_empty(&w->look))
		list_push(&c->looks, &w->look);
}

void
coordinator_look_soon(struct coordinator *c, struct coordinator_work *w)
{
	w->whole = true;
	turn(c, w);
}

void
coordinator_again(struct coordinator *c, uint64_t now_ns)
{
	uint64_t at = now_ns + 1000 * COORDINATOR_MS_NS;

	if (at < c->again_ns)
		c->again_ns = at;
}

void
coordinator_work_at(struct coordinator *c, struct coordinator_work *w, uint64_t at, uint64_t now_ns)
{
	if (at != UINT64_MAX && (!heap_contains(&w->timer) || at < w->timer.at) &&
	    heap_set(&c->work_timers, &w->timer, at) < 0)
		coordinator_again(c, now_ns);
}

/* While slots are being placed each brings a change: these are looked at together. */
static void
look_after(struct coordinator *c, struct coordinator_work *w, uint64_t now_ns)
{
	uint64_t at = w->looked_ns + COORDINATOR_LOOK_MS * COORDINATOR_MS_NS;

	if (w->attempts_count && now_ns < at)
		coordinator_work_at(c, w, at, now_ns);
	else
		coordinator_look_soon(c, w);
}

/* ---- pending ---- */

static uint32_t
reasons_of_all(const struct coordinator *c, const struct fleet_service *s)
{
	uint32_t reasons = 0;
	struct fit fit;

	for (size_t i = 0; i < c->fleet->nodes_count; i++) {
		coordinator_why(c, s, c->fleet->nodes[i], &fit);
		reasons |= fit.reasons;
	}
	return reasons;
}

void
coordinator_wait_for_change(struct coordinator *c, struct coordinator_work *w, uint64_t now_ns)
{
	uint32_t ms = w->waits_ms ? 2 * w->waits_ms : COORDINATOR_RETRY_MS;

	c->counters.pending += !w->waits;
	c->counters.waits++;
	w->waits = true;
	w->waits_ms = ms < COORDINATOR_RETRY_MAX_MS ? ms : COORDINATOR_RETRY_MAX_MS;
	w->waits_until_ns = now_ns + w->waits_ms * COORDINATOR_MS_NS;
	w->waits_reasons = reasons_of_all(c, w->service);
	w->queue_count = w->queue_at = 0;
	coordinator_work_at(c, w, w->waits_until_ns, now_ns);
}

static void
finish(struct coordinator *c, struct coordinator_work *w, enum attempt_result result,
       uint64_t now_ns)
{
	switch (result) {
	case ATTEMPT_GOES_ON:
		return;
	case ATTEMPT_PLACED:
		w->waits_ms = 0;
		break;
	case ATTEMPT_REFUSED:
		/* What the others hold for a moment may be what this one lacks. */
		if (w->attempts_count)
			return;
		coordinator_wait_for_change(c, w, now_ns);
		return;
	case ATTEMPT_UNKNOWN:
		coordinator_again(c, now_ns);
		coordinator_look_soon(c, w);
		return;
	}
	if (w->attempts_count || w->queue_at < w->queue_count)
		turn(c, w);
	else
		coordinator_look_soon(c, w);
}

/* ---- placing ---- */

static bool
may_begin(const struct coordinator *c, const struct coordinator_work *w, uint64_t now_ns)
{
	return w->queue_at < w->queue_count && w->attempts_count < COORDINATOR_WINDOW &&
	       c->attempts_count < COORDINATOR_ATTEMPTS_MAX &&
	       (!w->waits || now_ns >= w->waits_until_ns);
}

/* False: no room is left. */
static bool
begin(struct coordinator *c, struct coordinator_work *w, uint64_t now_ns, struct step_actions *out)
{
	enum attempt_result result;

	while (may_begin(c, w, now_ns)) {
		if (!step_actions_room(out, 2, 2 * PLACEMSG_BYTES_MAX))
			return false;
		coordinator_attempt_new(c, w, w->queue[w->queue_at++], now_ns, out, &result);
		finish(c, w, result, now_ns);
	}
	return true;
}

/* ---- inputs ---- */

void
coordinator_message(struct coordinator *c, uint32_t from, const struct placemsg *m, uint64_t now_ns,
		    struct step_actions *out)
{
	struct coordinator_attempt *a;
	struct coordinator_work *w;
	enum attempt_result result;

	if (m->kind == PLACEMSG_CLAIMED && !m->offer) {
		/* What was told to leave says that it does. */
		if (m->claim.node == from && fleet_claim(c->fleet, from, m->claim.number) &&
		    fleet_claim_answered(c->fleet, &m->claim, now_ns) < 0)
			coordinator_again(c, now_ns);
		return;
	}
	if (m->kind == PLACEMSG_GONE) {
		const struct fleet_claim *gone = fleet_claim(c->fleet, from, m->number);

		if (gone && gone->claim.service == m->service)
			fleet_claim_remove(c->fleet, from, m->number);
		return;
	}
	a = map_get_u64(&c->attempts, m->offer);
	if (!a)
		return;
	if (fleet_refresh(c->fleet) < 0)
		coordinator_again(c, now_ns);
	w = a->work;
	result = coordinator_attempt_answer(c, a, from, m, now_ns, out);
	if (result == ATTEMPT_GOES_ON)
		return;
	if (result == ATTEMPT_PLACED)
		coordinator_drop_ask(w, a->slot, a->revision);
	coordinator_attempt_free(c, a, out);
	finish(c, w, result, now_ns);
}

struct coordinator_work *
coordinator_work_new(struct coordinator *c, struct fleet_service *s)
{
	struct coordinator_work *w = mem_zalloc(MEM_SCHEDULER, sizeof(*w));

	if (!w)
		return NULL;
	w->service = s;
	heap_item_init(&w->timer);
	list_init(&w->attempts);
	list_init(&w->look);
	list_push(&c->works, &w->link);
	c->works_count++;
	s->work = w;
	return w;
}

static void
take_touched(struct coordinator *c, uint64_t now_ns)
{
	while (!list_empty(&c->touched)) {
		struct fleet_service *s = container_of(c->touched.next, struct fleet_service, link);
		struct coordinator_work *w = s->work;

		if (s->coordinator == c->self && !w && !c->asked) {
			w = coordinator_work_new(c, s);
			if (!w) {
				coordinator_again(c, now_ns);
				return;
			}
			w->since_ns = c->start_ns + COORDINATOR_ROUND_MS * COORDINATOR_MS_NS;
			if (s->inherited &&
			    now_ns + COORDINATOR_ROUND_MS * COORDINATOR_MS_NS > w->since_ns)
				w->since_ns = now_ns + COORDINATOR_ROUND_MS * COORDINATOR_MS_NS;
		}
		list_remove(&s->link);
		if (w)
			look_after(c, w, now_ns);
		else
			fleet_service_forget(c->fleet, s);
	}
}

/* Of services that another one coordinates now, or that are no more. */
static void
drop_work(struct coordinator *c, struct coordinator_work *w, struct step_actions *out)
{
	struct fleet_service *s = w->service;
	struct list *it, *next;

	/* Nobody asks for these any more. */
	list_each (it, next, &s->claims) {
		struct fleet_claim *claim = container_of(it, struct fleet_claim, of_service);

		if (claim->direct)
			fleet_claim_remove(c->fleet, claim->claim.node, claim->claim.number);
	}
	work_free(c, w, out);
	fleet_service_forget(c->fleet, s);
}

/* Claims that gossip has not told of yet: they are looked after. */
static bool
has_direct(struct fleet_service *s)
{
	for (struct list *it = s->claims.next; it != &s->claims; it = it->next) {
		const struct fleet_claim *claim = container_of(it, struct fleet_claim, of_service);

		if (claim->direct && fleet_claim_lives(claim))
			return true;
	}
	return false;
}

static bool
is_done(const struct coordinator *c, const struct coordinator_work *w)
{
	struct fleet_service *s = w->service;

	if (c->asked)
		return !w->asks_count && !has_direct(s);
	return s->coordinator != c->self || ((s->removed || !s->known) && !s->claims_count);
}

static void
wake_waiting(struct coordinator *c, uint64_t now_ns)
{
	struct list *it, *next;
	bool all = now_ns >= c->again_ns;

	if (all)
		c->again_ns = UINT64_MAX;
	else if (!c->wake || now_ns < c->woken_ns + COORDINATOR_CHANGE_MS * COORDINATOR_MS_NS)
		return;
	c->wake = false;
	c->woken_ns = now_ns;
	list_each (it, next, &c->works) {
		struct coordinator_work *w = container_of(it, struct coordinator_work, link);

		if (w->waits)
			w->waits_until_ns = now_ns;
		if (w->waits || all)
			coordinator_look_soon(c, w);
	}
}

static bool
run_attempts(struct coordinator *c, uint64_t now_ns, struct step_actions *out)
{
	struct heap_item *first;

	while ((first = heap_peek(&c->attempt_timers)) && first->at <= now_ns) {
		struct coordinator_attempt *a =
			container_of(first, struct coordinator_attempt, timer);
		struct coordinator_work *w = a->work;
		enum attempt_result result;

		if (!step_actions_room(out, 2, 2 * PLACEMSG_BYTES_MAX))
			return false;
		heap_remove(&c->attempt_timers, &a->timer);
		result = coordinator_attempt_timer(c, a, now_ns, out);
		if (result == ATTEMPT_GOES_ON)
			continue;
		coordinator_attempt_free(c, a, out);
		finish(c, w, result, now_ns);
	}
	return true;
}

static bool
run_looks(struct coordinator *c, uint64_t now_ns, struct step_actions *out)
{
	while (!list_empty(&c->looks)) {
		struct coordinator_work *w =
			container_of(c->looks.next, struct coordinator_work, look);

		if (is_done(c, w)) {
			drop_work(c, w, out);
			continue;
		}
		if (w->whole && !coordinator_look(c, w, now_ns, out))
			return false;
		w->whole = false;
		if (!begin(c, w, now_ns, out))
			return false;
		list_remove(&w->look);
	}
	return true;
}

bool
coordinator_work(struct coordinator *c, uint64_t now_ns, struct step_actions *out)
{
	struct heap_item *first;

	if (fleet_refresh(c->fleet) < 0) {
		coordinator_again(c, now_ns);
		return false;
	}
	wake_waiting(c, now_ns);
	take_touched(c, now_ns);
	if (coordinator_part(c, now_ns, out))
		return true;
	if (!run_attempts(c, now_ns, out))
		return true;
	while ((first = heap_peek(&c->work_timers)) && first->at <= now_ns) {
		heap_pop(&c->work_timers);
		coordinator_look_soon(c, container_of(first, struct coordinator_work, timer));
	}
	return !run_looks(c, now_ns, out);
}

uint64_t
coordinator_due_ns(const struct coordinator *c)
{
	const struct heap_item *work = heap_peek(&c->work_timers);
	const struct heap_item *attempt = heap_peek(&c->attempt_timers);
	uint64_t due = c->again_ns;
	uint64_t woken = c->woken_ns + COORDINATOR_CHANGE_MS * COORDINATOR_MS_NS;

	if (work && work->at < due)
		due = work->at;
	if (attempt && attempt->at < due)
		due = attempt->at;
	if (c->wake && woken < due)
		due = woken;
	for (struct list *it = c->partings.next; it != &c->partings; it = it->next) {
		const struct coordinator_parting *p =
			container_of(it, struct coordinator_parting, link);
		uint64_t at = p->told_ns + SLOTS_ASK_MS * COORDINATOR_MS_NS;

		if (at < due)
			due = at;
	}
	return due;
}
