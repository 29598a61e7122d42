/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The services of this coordinator. Each is looked at as a whole (slots.h) when something of it
 * changed or its time has come; what then is to be placed goes into a queue, of which a window is
 * under way at a time (coordinator_attempt.c). A service with a slot that nobody takes waits as a
 * whole: its other slots want the same. In asked mode the queue is made of what was asked for.
 */
#include "scheduler/place/coordinator_attempt.h"

#include <assert.h>
#include <string.h>

#define MS_NS UINT64_C(1000000)

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

static void
parting_free(struct coordinator_parting *p)
{
	list_remove(&p->link);
	mem_free(p);
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
		parting_free(container_of(it, struct coordinator_parting, link));
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

void
coordinator_asked(struct coordinator *c)
{
	c->asked = true;
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

static void
look_soon(struct coordinator *c, struct coordinator_work *w)
{
	w->whole = true;
	turn(c, w);
}

/* What could not be done for want of memory is done again, with everything else, in a second. */
static void
again(struct coordinator *c, uint64_t now_ns)
{
	uint64_t at = now_ns + 1000 * MS_NS;

	if (at < c->again_ns)
		c->again_ns = at;
}

static void
work_at(struct coordinator *c, struct coordinator_work *w, uint64_t at, uint64_t now_ns)
{
	if (at != UINT64_MAX && (!heap_contains(&w->timer) || at < w->timer.at) &&
	    heap_set(&c->work_timers, &w->timer, at) < 0)
		again(c, now_ns);
}

/* While slots are being placed each brings a change: these are looked at together. */
static void
look_after(struct coordinator *c, struct coordinator_work *w, uint64_t now_ns)
{
	uint64_t at = w->looked_ns + COORDINATOR_LOOK_MS * MS_NS;

	if (w->attempts_count && now_ns < at)
		work_at(c, w, at, now_ns);
	else
		look_soon(c, w);
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

static void
wait_for_change(struct coordinator *c, struct coordinator_work *w, uint64_t now_ns)
{
	uint32_t ms = w->waits_ms ? 2 * w->waits_ms : COORDINATOR_RETRY_MS;

	c->counters.pending += !w->waits;
	w->waits = true;
	w->waits_ms = ms < COORDINATOR_RETRY_MAX_MS ? ms : COORDINATOR_RETRY_MAX_MS;
	w->waits_until_ns = now_ns + w->waits_ms * MS_NS;
	w->waits_reasons = reasons_of_all(c, w->service);
	w->queue_count = w->queue_at = 0;
	work_at(c, w, w->waits_until_ns, now_ns);
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
		wait_for_change(c, w, now_ns);
		return;
	case ATTEMPT_UNKNOWN:
		again(c, now_ns);
		look_soon(c, w);
		return;
	}
	if (w->attempts_count || w->queue_at < w->queue_count)
		turn(c, w);
	else
		look_soon(c, w);
}

/* ---- looking at a service as a whole ---- */

static struct coordinator_slot *
ask_of(const struct coordinator_work *w, uint32_t slot, uint32_t revision)
{
	for (size_t i = 0; i < w->asks_count; i++) {
		if (w->asks[i].slot == slot && w->asks[i].revision == revision)
			return &w->asks[i];
	}
	return NULL;
}

static bool
is_over(const struct coordinator *c, const struct coordinator_attempt *a)
{
	const struct fleet_service *s = a->work->service;

	if (s->removed || !s->known || a->revision != s->spec.revision)
		return true;
	return c->asked ? !ask_of(a->work, a->slot, a->revision) : a->slot >= s->spec.replicas;
}

static void
end_attempts(struct coordinator *c, struct coordinator_work *w, struct step_actions *out)
{
	struct list *it, *next;

	list_each (it, next, &w->attempts) {
		struct coordinator_attempt *a = container_of(it, struct coordinator_attempt, link);

		if (is_over(c, a))
			coordinator_attempt_free(c, a, out);
	}
}

/* A claim of a service that the store has never had, or no more. */
static void
judge_unknown(struct coordinator *c, struct coordinator_work *w, uint64_t now_ns)
{
	uint64_t until;

	if (w->service->known || w->service->removed || !c->fleet->complete) {
		w->unknown_ns = 0;
		return;
	}
	if (!w->unknown_ns)
		w->unknown_ns = now_ns;
	until = w->unknown_ns + COORDINATOR_UNKNOWN_MS * MS_NS;
	if (now_ns >= until)
		w->service->removed = true;
	else
		work_at(c, w, until, now_ns);
}

static void
send_retire(struct coordinator *c, const struct slots_item *item, uint64_t now_ns,
	    struct step_actions *out)
{
	struct placemsg m = {
		.kind = PLACEMSG_RETIRE,
		.service = item->claim->claim.service,
		.number = item->claim->claim.number,
		.winner = item->winner,
		.retire = item->why,
	};

	placemsg_send(out, item->claim->claim.node, &m, 0);
	item->claim->asked_ns = now_ns;
	item->claim->asked = (uint8_t)item->why;
	c->counters.retires++;
}

/* What only its node has told of may have ended before gossip began to tell. False: no room. */
static bool
ask_direct(struct coordinator *c, struct coordinator_work *w, uint64_t now_ns,
	   struct step_actions *out)
{
	struct list *it, *next;

	list_each (it, next, &w->service->claims) {
		struct fleet_claim *claim = container_of(it, struct fleet_claim, of_service);
		uint64_t doubt = claim->heard_ns + COORDINATOR_DOUBT_MS * MS_NS;
		struct placemsg m = {
			.kind = PLACEMSG_ASK,
			.service = claim->claim.service,
			.number = claim->claim.number,
		};

		if (!claim->direct || !fleet_claim_lives(claim))
			continue;
		if (now_ns >= doubt) {
			if (!step_actions_room(out, 1, PLACEMSG_BYTES_MAX))
				return false;
			placemsg_send(out, claim->claim.node, &m, 0);
			c->counters.doubts++;
			claim->heard_ns = now_ns;
			doubt = now_ns + COORDINATOR_DOUBT_MS * MS_NS;
		}
		work_at(c, w, doubt, now_ns);
	}
	return true;
}

/* An old claim leaves first only when there is somewhere to go. */
static bool
has_room(struct coordinator *c, struct coordinator_work *w, const struct slots_item *item)
{
	struct candidates pool;
	struct fit fit;

	candidates_find(c->fleet, w->service, item->slot, 1, NULL, 0, &pool);
	if (pool.count)
		return true;
	/* Or where it is now, once it has left. */
	fit_node(c->fleet, w->service, item->slot, item->claim->node, &fit);
	return !(fit.reasons & ~(uint32_t)(FIT_TAKEN | FIT_CPU | FIT_MEMORY));
}

static int
queue_room(struct coordinator_work *w, size_t count)
{
	void *queue;

	w->queue_count = w->queue_at = 0;
	if (count <= w->queue_room)
		return 0;
	queue = mem_resize(MEM_SCHEDULER, w->queue, count, sizeof(w->queue[0]));
	if (!queue)
		return -1;
	w->queue = queue;
	w->queue_room = count;
	return 0;
}

/* Items in their order; false: no room is left, and the service is to be looked at again. */
static bool
carry_out(struct coordinator *c, struct coordinator_work *w, uint64_t now_ns,
	  struct step_actions *out)
{
	bool stuck = false;

	for (size_t i = 0; i < c->slots.count; i++) {
		const struct slots_item *item = &c->slots.items[i];

		if (item->verb == SLOTS_PLACE) {
			w->queue[w->queue_count++] = item->slot;
			continue;
		}
		if (!step_actions_room(out, 1, PLACEMSG_BYTES_MAX))
			return false;
		if (item->verb == SLOTS_MAKE_ROOM && !has_room(c, w, item))
			stuck = true;
		else
			send_retire(c, item, now_ns, out);
	}
	if (stuck && now_ns >= w->waits_until_ns)
		wait_for_change(c, w, now_ns);
	else if (!stuck && !w->queue_count && !w->attempts_count)
		w->waits = false;
	return true;
}

/* ---- asked mode ---- */

static bool
is_under_way(const struct coordinator_work *w, const struct coordinator_slot *ask)
{
	for (struct list *it = w->attempts.next; it != &w->attempts; it = it->next) {
		const struct coordinator_attempt *a =
			container_of(it, struct coordinator_attempt, link);

		if (a->slot == ask->slot && a->revision == ask->revision)
			return true;
	}
	return false;
}

static bool
look_at_asks(struct coordinator *c, struct coordinator_work *w, uint64_t now_ns,
	     struct step_actions *out)
{
	const struct fleet_service *s = w->service;

	w->looked_ns = now_ns;
	end_attempts(c, w, out);
	if (queue_room(w, w->asks_count) < 0) {
		again(c, now_ns);
		return true;
	}
	for (size_t i = 0; i < w->asks_count; i++) {
		if (s->known && !s->removed && w->asks[i].revision == s->spec.revision &&
		    !is_under_way(w, &w->asks[i]))
			w->queue[w->queue_count++] = w->asks[i].slot;
	}
	if (!w->asks_count) {
		w->waits = false;
		w->waits_ms = 0;
	}
	if (w->waits && now_ns < w->waits_until_ns)
		work_at(c, w, w->waits_until_ns, now_ns);
	return ask_direct(c, w, now_ns, out);
}

static void
drop_ask(struct coordinator_work *w, uint32_t slot, uint32_t revision)
{
	struct coordinator_slot *ask = ask_of(w, slot, revision);

	if (!ask)
		return;
	size_t behind = (size_t)(w->asks + w->asks_count - (ask + 1));
	memmove(ask, ask + 1, behind * sizeof(*ask));
	w->asks_count--;
}

/* True: there was no room. What leaves, or is gone, needs no word any more. */
static bool
part(struct coordinator *c, uint64_t now_ns, struct step_actions *out)
{
	struct list *it, *next;

	list_each (it, next, &c->partings) {
		struct coordinator_parting *p = container_of(it, struct coordinator_parting, link);
		struct fleet_claim *claim = fleet_claim(c->fleet, p->node, p->number);
		struct slots_item item = {.claim = claim, .why = p->why, .winner = p->winner};

		if (!claim || !fleet_claim_lives(claim) || claim->claim.state == CLAIM_LEAVING) {
			parting_free(p);
			continue;
		}
		if (p->told_ns && now_ns < p->told_ns + SLOTS_ASK_MS * MS_NS)
			continue;
		if (!step_actions_room(out, 1, PLACEMSG_BYTES_MAX))
			return true;
		p->told_ns = now_ns;
		send_retire(c, &item, now_ns, out);
	}
	return false;
}

static bool
look(struct coordinator *c, struct coordinator_work *w, uint64_t now_ns, struct step_actions *out)
{
	uint32_t placing[COORDINATOR_WINDOW];
	size_t count = 0;

	if (c->asked)
		return look_at_asks(c, w, now_ns, out);
	if (now_ns < w->since_ns) {
		work_at(c, w, w->since_ns, now_ns);
		return true;
	}
	w->looked_ns = now_ns;
	judge_unknown(c, w, now_ns);
	end_attempts(c, w, out);
	for (struct list *it = w->attempts.next; it != &w->attempts; it = it->next)
		placing[count++] = container_of(it, struct coordinator_attempt, link)->slot;
	if (slots_decide(&c->slots, w->service, placing, count, now_ns) < 0 ||
	    queue_room(w, c->slots.count) < 0) {
		again(c, now_ns);
		return true;
	}
	w->counted = c->slots.counted;
	work_at(c, w, c->slots.due_ns, now_ns);
	if (!carry_out(c, w, now_ns, out) || !ask_direct(c, w, now_ns, out))
		return false;
	/* One timer serves all: what brought us here may have come before it. */
	if (w->waits && now_ns < w->waits_until_ns)
		work_at(c, w, w->waits_until_ns, now_ns);
	/* What it just told to leave is to be looked after. */
	if (c->slots.due_ns == UINT64_MAX && c->slots.count > w->queue_count)
		work_at(c, w, now_ns + SLOTS_ASK_MS * MS_NS, now_ns);
	return true;
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
			again(c, now_ns);
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
		again(c, now_ns);
	w = a->work;
	result = coordinator_attempt_answer(c, a, from, m, now_ns, out);
	if (result == ATTEMPT_GOES_ON)
		return;
	if (result == ATTEMPT_PLACED)
		drop_ask(w, a->slot, a->revision);
	coordinator_attempt_free(c, a, out);
	finish(c, w, result, now_ns);
}

static struct coordinator_work *
work_new(struct coordinator *c, struct fleet_service *s)
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

int
coordinator_ask(struct coordinator *c, uint64_t service, uint32_t slot, uint32_t revision,
		uint64_t now_ns)
{
	struct fleet_service *s = fleet_service(c->fleet, service);
	struct coordinator_work *w = s ? s->work : NULL;

	assert(c->asked);
	if (!s || (!w && !(w = work_new(c, s))))
		return -1;
	if (ask_of(w, slot, revision))
		return 0;
	if (w->asks_count == w->asks_room) {
		size_t room = w->asks_room ? 2 * w->asks_room : 4;
		void *asks = mem_resize(MEM_SCHEDULER, w->asks, room, sizeof(w->asks[0]));

		/* Work without asks is dropped with the next step. */
		look_soon(c, w);
		if (!asks)
			return -1;
		w->asks = asks;
		w->asks_room = room;
	}
	w->asks[w->asks_count++] = (struct coordinator_slot){slot, revision, now_ns};
	look_soon(c, w);
	return 0;
}

void
coordinator_unask(struct coordinator *c, uint64_t service, uint32_t slot, uint32_t revision)
{
	struct fleet_service *s = fleet_service(c->fleet, service);

	if (!s || !s->work)
		return;
	drop_ask(s->work, slot, revision);
	look_soon(c, s->work);
}

int
coordinator_retire(struct coordinator *c, uint32_t node, uint64_t number, enum claim_retire why,
		   uint32_t winner)
{
	struct coordinator_parting *p;
	struct list *it, *next;

	assert(c->asked);
	list_each (it, next, &c->partings) {
		p = container_of(it, struct coordinator_parting, link);
		if (p->node == node && p->number == number)
			return 0;
	}
	p = mem_zalloc(MEM_SCHEDULER, sizeof(*p));
	if (!p)
		return -1;
	p->node = node;
	p->number = number;
	p->why = why;
	p->winner = winner;
	list_push(&c->partings, &p->link);
	return 0;
}

static void
take_touched(struct coordinator *c, uint64_t now_ns)
{
	while (!list_empty(&c->touched)) {
		struct fleet_service *s = container_of(c->touched.next, struct fleet_service, link);
		struct coordinator_work *w = s->work;

		if (s->coordinator == c->self && !w && !c->asked) {
			w = work_new(c, s);
			if (!w) {
				again(c, now_ns);
				return;
			}
			w->since_ns = c->start_ns + COORDINATOR_ROUND_MS * MS_NS;
			if (s->inherited && now_ns + COORDINATOR_ROUND_MS * MS_NS > w->since_ns)
				w->since_ns = now_ns + COORDINATOR_ROUND_MS * MS_NS;
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
	else if (!c->wake || now_ns < c->woken_ns + COORDINATOR_CHANGE_MS * MS_NS)
		return;
	c->wake = false;
	c->woken_ns = now_ns;
	list_each (it, next, &c->works) {
		struct coordinator_work *w = container_of(it, struct coordinator_work, link);

		if (w->waits)
			w->waits_until_ns = now_ns;
		if (w->waits || all)
			look_soon(c, w);
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
		if (w->whole && !look(c, w, now_ns, out))
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
		again(c, now_ns);
		return false;
	}
	wake_waiting(c, now_ns);
	take_touched(c, now_ns);
	if (part(c, now_ns, out))
		return true;
	if (!run_attempts(c, now_ns, out))
		return true;
	while ((first = heap_peek(&c->work_timers)) && first->at <= now_ns) {
		heap_pop(&c->work_timers);
		look_soon(c, container_of(first, struct coordinator_work, timer));
	}
	return !run_looks(c, now_ns, out);
}

uint64_t
coordinator_due_ns(const struct coordinator *c)
{
	const struct heap_item *work = heap_peek(&c->work_timers);
	const struct heap_item *attempt = heap_peek(&c->attempt_timers);
	uint64_t due = c->again_ns;
	uint64_t woken = c->woken_ns + COORDINATOR_CHANGE_MS * MS_NS;

	if (work && work->at < due)
		due = work->at;
	if (attempt && attempt->at < due)
		due = attempt->at;
	if (c->wake && woken < due)
		due = woken;
	for (struct list *it = c->partings.next; it != &c->partings; it = it->next) {
		const struct coordinator_parting *p =
			container_of(it, struct coordinator_parting, link);
		uint64_t at = p->told_ns + SLOTS_ASK_MS * MS_NS;

		if (at < due)
			due = at;
	}
	return due;
}
