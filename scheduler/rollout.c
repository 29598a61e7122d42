/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rolling one deployment forward or back. Each phase is one pass over the services; each pass
 * counts what is there and acts on the difference. What is kept at every step:
 *
 *  - never more than max(want, had) + surge replicas of a service, the leaving ones included;
 *  - before the commit a ready old replica leaves only when `had - unavailable` others are ready;
 *  - after it (and at rest), only when `want` new ones are ready;
 *  - with stop-first both rules give way to: the old is gone before the new begins.
 *
 * A failure after the commit is no failure of the roll-out: the life cycle of the replica deals
 * with it. Misfits are replaced at rest only (rollout_move.c); before, they count as all others,
 * and are the first to go where there are too many.
 */
#include "scheduler/rollout_inside.h"

#include <assert.h>
#include <string.h>

/* What there is of one service. */
struct count {
	uint32_t live; /* all, leaving ones too */
	uint32_t good; /* of the wanted kind and staying */
	uint32_t good_ready;
	uint32_t ready; /* of any kind and staying */
};

/* Which replicas are wanted: on the way forward those of the target, on the way back those of the
 * previous that were there before. */
enum side { TARGET, PREVIOUS };

static bool
is_good(const struct rollout_replica *p, enum side side)
{
	return side == TARGET ? p->target : p->previous && !p->fresh;
}

static void
count_service(const struct rollout_view *v, uint32_t service, enum side side, struct count *out)
{
	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < v->replicas_count; i++) {
		const struct rollout_replica *p = &v->replicas[i];

		if (p->service != service)
			continue;
		out->live++;
		if (p->leaving)
			continue;
		out->ready += p->ready;
		if (is_good(p, side)) {
			out->good++;
			out->good_ready += p->ready;
		}
	}
}

struct rollout_action *
rollout_act(struct rollout_actions *a, enum rollout_verb verb)
{
	static struct rollout_action spare;
	struct rollout_action *item =
		a->count < ROLLOUT_ACTIONS_MAX ? &a->items[a->count++] : &spare;

	memset(item, 0, sizeof(*item));
	item->verb = verb;
	return item;
}

bool
rollout_full(const struct rollout_actions *a)
{
	return a->count >= ROLLOUT_ACTIONS_MAX;
}

void
rollout_wake_at(struct rollout *r, uint64_t at)
{
	if (!r->due_ns || at < r->due_ns)
		r->due_ns = at;
}

static uint32_t
larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

uint32_t
rollout_limit(const struct rollout_service *s)
{
	uint32_t base = larger(s->want, s->had);

	if (s->stop_first)
		return base;
	return base + (s->surge || s->unavailable ? s->surge : 1);
}

/* Ready ones that must stay while the roll-out is on its way. */
static uint32_t
floor_ready(const struct rollout_service *s)
{
	if (s->stop_first || s->unavailable >= s->had)
		return 0;
	return s->had - s->unavailable;
}

/* ---- making ---- */

static bool
index_taken(const struct rollout_view *v, const struct rollout_actions *a, uint32_t service,
	    enum side side, uint32_t index)
{
	for (size_t i = 0; i < v->replicas_count; i++) {
		const struct rollout_replica *p = &v->replicas[i];

		if (p->service == service && p->index == index && !p->leaving && is_good(p, side))
			return true;
	}
	for (size_t i = 0; i < a->count; i++) {
		if (a->items[i].verb == ROLLOUT_CREATE && a->items[i].service == service &&
		    a->items[i].index == index)
			return true;
	}
	return false;
}

static void
create(const struct rollout_view *v, struct rollout_actions *a, uint32_t service, enum side side,
       struct count *c)
{
	uint32_t index = 1;

	while (index_taken(v, a, service, side, index))
		index++;
	struct rollout_action *item = rollout_act(a, ROLLOUT_CREATE);
	item->service = service;
	item->index = index;
	item->of_target = side == TARGET;
	c->live++;
	c->good++;
}

static void
fill(const struct rollout_view *v, struct rollout_actions *a, uint32_t service, enum side side,
     uint32_t want, struct count *c)
{
	uint32_t limit = rollout_limit(&v->services[service]);

	while (c->good < want && c->live < limit && !rollout_full(a))
		create(v, a, service, side, c);
}

/* ---- removing ---- */

static bool
goes_before(const struct rollout_replica *a, const struct rollout_replica *b)
{
	if (a->misfit != b->misfit)
		return a->misfit;
	if (a->ready != b->ready)
		return b->ready;
	if (a->covered != b->covered)
		return a->covered;
	return a->index > b->index;
}

/* The one to part with first: a misfit, else one that is not ready, else one whose node has another
 * already, else the highest number. */
static const struct rollout_replica *
pick(const struct rollout_view *v, const struct rollout_actions *a, uint32_t service,
     bool (*may)(const struct rollout_replica *))
{
	const struct rollout_replica *best = NULL;

	for (size_t i = 0; i < v->replicas_count; i++) {
		const struct rollout_replica *p = &v->replicas[i];
		bool taken = false;

		if (p->service != service || p->leaving || !may(p))
			continue;
		for (size_t k = 0; k < a->count; k++)
			taken |= a->items[k].verb == ROLLOUT_REMOVE && a->items[k].replica == p->id;
		if (taken)
			continue;
		if (!best || goes_before(p, best))
			best = p;
	}
	return best;
}

static void
removal(struct rollout_actions *a, const struct rollout_replica *p, struct count *c)
{
	rollout_act(a, ROLLOUT_REMOVE)->replica = p->id;
	if (p->ready)
		c->ready--;
}

static bool
is_old(const struct rollout_replica *p)
{
	return !p->target;
}

static bool
is_target(const struct rollout_replica *p)
{
	return p->target;
}

static bool
is_unwanted_back(const struct rollout_replica *p)
{
	return !is_good(p, PREVIOUS);
}

static bool
is_kept_back(const struct rollout_replica *p)
{
	return is_good(p, PREVIOUS);
}

/* Removes those that `may` allows as long as ready ones are only taken while `spare` of them can
 * be missed. */
static void
remove_while(const struct rollout_view *v, struct rollout_actions *a, uint32_t service,
	     bool (*may)(const struct rollout_replica *), uint32_t most, uint32_t spare_ready,
	     struct count *c)
{
	const struct rollout_replica *p;

	while (most-- > 0 && !rollout_full(a) && (p = pick(v, a, service, may))) {
		if (p->ready && spare_ready-- == 0)
			return;
		removal(a, p, c);
	}
}

/* ---- at rest, and after the commit ---- */

static bool
settle_service(const struct rollout_view *v, struct rollout_actions *a, uint32_t service)
{
	const struct rollout_service *s = &v->services[service];
	struct count c;

	count_service(v, service, TARGET, &c);
	bool enough = c.good_ready >= s->want;
	bool settled = c.live == s->want && c.good == s->want;

	fill(v, a, service, TARGET, s->want, &c);
	if (c.good > s->want)
		remove_while(v, a, service, is_target, c.good - s->want,
			     enough ? c.good_ready - s->want : 0, &c);
	remove_while(v, a, service, is_old, UINT32_MAX, enough || s->stop_first ? UINT32_MAX : 0,
		     &c);
	return settled;
}

static bool
settle(const struct rollout_view *v, struct rollout_actions *a)
{
	bool settled = true;

	for (uint32_t i = 0; i < v->services_count; i++)
		settled &= settle_service(v, a, i);
	return settled;
}

static void
rest(struct rollout *r, const struct rollout_view *v, struct rollout_actions *a)
{
	for (uint32_t i = 0; i < v->services_count; i++) {
		if (!rollout_move_service(r, v, i, a))
			settle_service(v, a, i);
	}
}

/* ---- forward ---- */

static bool
depend_holds(const struct rollout_view *v, const struct rollout_depend *d)
{
	if (!v->services[d->service].want)
		return true;
	for (size_t i = 0; i < v->replicas_count; i++) {
		const struct rollout_replica *p = &v->replicas[i];

		if (p->service != d->service || p->leaving || !p->target)
			continue;
		switch (d->condition) {
		case ROLLOUT_STARTED:
			if (p->started)
				return true;
			break;
		case ROLLOUT_HEALTHY:
			if (p->passed)
				return true;
			break;
		case ROLLOUT_READY:
			if (p->ready)
				return true;
			break;
		}
	}
	return false;
}

static void
fail(struct rollout *r, const struct rollout_view *v, struct rollout_actions *a,
     enum rollout_cause cause, uint32_t service, uint64_t replica, uint32_t depend)
{
	a->count = 0;
	bool pause = r->keep || v->services[service].pause;
	struct rollout_action *item = rollout_act(a, pause ? ROLLOUT_PAUSE : ROLLOUT_TURN_BACK);
	item->cause = cause;
	item->service = service;
	item->replica = replica;
	item->depend = depend;
	r->phase = pause ? ROLLOUT_PAUSED : ROLLOUT_BACK;
	r->began_ns = v->now_ns;
}

enum wait { WAIT_OVER, WAIT_ON, WAIT_FAILED };

static enum wait
wait_for_depends(struct rollout *r, const struct rollout_view *v, struct rollout_actions *a,
		 uint32_t service)
{
	struct rollout_service *s = &v->services[service];
	enum wait wait = WAIT_OVER;

	for (uint32_t i = 0; i < s->depends_count; i++) {
		struct rollout_depend *d = &s->depends[i];
		uint64_t limit = r->began_ns + d->timeout_ns;

		if (d->over || depend_holds(v, d))
			continue;
		if (v->now_ns < limit) {
			rollout_wake_at(r, limit);
			wait = WAIT_ON;
			continue;
		}
		if (d->on_timeout == ROLLOUT_FAIL) {
			fail(r, v, a, ROLLOUT_CAUSE_DEPEND, service, 0, i);
			return WAIT_FAILED;
		}
		if (rollout_full(a))
			return WAIT_ON;
		d->over = true;
		struct rollout_action *item = rollout_act(a, ROLLOUT_SAY_LATE);
		item->service = service;
		item->depend = i;
	}
	return wait;
}

/* Why this new replica ends the roll-out, if it does; otherwise when to look again. */
static enum rollout_cause
judge(struct rollout *r, const struct rollout_view *v, const struct rollout_replica *p)
{
	uint64_t limit = p->created_ns + v->services[p->service].ready_max_ns;

	if (p->trouble)
		return ROLLOUT_CAUSE_TROUBLE;
	if (p->passed)
		return p->ready ? ROLLOUT_CAUSE_NONE : ROLLOUT_CAUSE_RELAPSED;
	if (v->now_ns >= limit)
		return ROLLOUT_CAUSE_LATE;
	rollout_wake_at(r, limit);
	return ROLLOUT_CAUSE_NONE;
}

static bool
any_failed(struct rollout *r, const struct rollout_view *v, struct rollout_actions *a)
{
	for (size_t i = 0; i < v->replicas_count; i++) {
		const struct rollout_replica *p = &v->replicas[i];

		if (!p->fresh || !p->target || p->leaving)
			continue;
		enum rollout_cause cause = judge(r, v, p);
		if (cause != ROLLOUT_CAUSE_NONE) {
			fail(r, v, a, cause, p->service, p->id, 0);
			return true;
		}
	}
	return false;
}

/* All new replicas are ready and have been so for long enough. */
static bool
proven(struct rollout *r, const struct rollout_view *v, uint32_t service, const struct count *c)
{
	bool proven = c->good >= v->services[service].want;

	for (size_t i = 0; i < v->replicas_count; i++) {
		const struct rollout_replica *p = &v->replicas[i];
		uint64_t limit = p->ready_ns + v->services[service].monitor_ns;

		if (p->service != service || !p->fresh || !p->target || p->leaving)
			continue;
		if (!p->ready) {
			proven = false;
		} else if (v->now_ns < limit) {
			proven = false;
			rollout_wake_at(r, limit);
		}
	}
	return proven;
}

/* One old replica leaves so that the next new one can be made. */
static void
make_room(const struct rollout_view *v, struct rollout_actions *a, uint32_t service,
	  struct count *c)
{
	const struct rollout_service *s = &v->services[service];
	uint32_t needed = s->want - c->good;
	uint32_t limit = rollout_limit(s);
	uint32_t leaving = 0;

	for (size_t i = 0; i < v->replicas_count; i++)
		leaving += v->replicas[i].service == service && v->replicas[i].leaving;
	/* What leaves already makes room, too. */
	uint32_t places = limit > c->live ? limit - c->live : 0;
	if (places + leaving >= needed)
		return;
	uint32_t floor = floor_ready(s);
	remove_while(v, a, service, is_old, needed - places - leaving,
		     c->ready > floor ? c->ready - floor : 0, c);
}

static void
forward(struct rollout *r, const struct rollout_view *v, struct rollout_actions *a)
{
	bool all = true;

	if (any_failed(r, v, a))
		return;
	for (uint32_t i = 0; i < v->services_count; i++) {
		const struct rollout_service *s = &v->services[i];
		enum wait wait = WAIT_OVER;
		struct count c;

		count_service(v, i, TARGET, &c);
		all &= proven(r, v, i, &c);
		if (c.good >= s->want)
			continue;
		wait = wait_for_depends(r, v, a, i);
		if (wait == WAIT_FAILED)
			return;
		if (wait == WAIT_ON)
			continue;
		fill(v, a, i, TARGET, s->want, &c);
		if (c.good < s->want)
			make_room(v, a, i, &c);
	}
	if (!all || a->count > 0)
		return;
	rollout_act(a, ROLLOUT_COMMIT);
	r->phase = ROLLOUT_COMMITTED;
	r->began_ns = v->now_ns;
}

/* ---- back ---- */

static void
call_back(const struct rollout_view *v, struct rollout_actions *a, uint32_t service,
	  struct count *c)
{
	for (size_t i = 0; i < v->replicas_count && c->good < v->services[service].had; i++) {
		const struct rollout_replica *p = &v->replicas[i];

		if (p->service != service || !p->draining || !is_good(p, PREVIOUS) ||
		    rollout_full(a))
			continue;
		rollout_act(a, ROLLOUT_KEEP)->replica = p->id;
		c->good++;
		c->good_ready++;
		c->ready++;
	}
}

/* True when nothing of the target is left and all that can serve does. */
static bool
back_service(struct rollout *r, const struct rollout_view *v, struct rollout_actions *a,
	     uint32_t service)
{
	const struct rollout_service *s = &v->services[service];
	uint64_t limit = r->began_ns + s->ready_max_ns;
	bool patient = v->now_ns < limit;
	struct count c;

	count_service(v, service, PREVIOUS, &c);
	bool clean = c.live == s->had && c.good == s->had;
	bool serves = c.good_ready >= s->had || !patient;
	if (clean && serves)
		return true;
	if (patient && c.good_ready < s->had)
		rollout_wake_at(r, limit);
	call_back(v, a, service, &c);
	fill(v, a, service, PREVIOUS, s->had, &c);
	bool enough = c.good_ready >= s->had || !patient || s->stop_first;
	uint32_t spare = c.ready > s->had ? c.ready - s->had : 0;
	remove_while(v, a, service, is_unwanted_back, UINT32_MAX, enough ? UINT32_MAX : spare, &c);
	if (c.good > s->had)
		remove_while(v, a, service, is_kept_back, c.good - s->had,
			     c.good_ready > s->had ? c.good_ready - s->had : 0, &c);
	return false;
}

static bool
back(struct rollout *r, const struct rollout_view *v, struct rollout_actions *a)
{
	bool done = true;

	for (uint32_t i = 0; i < v->services_count; i++)
		done &= back_service(r, v, a, i);
	return done;
}

/* ---- */

void
rollout_init(struct rollout *r, enum rollout_phase phase, bool keep, uint64_t now_ns)
{
	memset(r, 0, sizeof(*r));
	r->phase = phase;
	r->keep = keep;
	r->began_ns = now_ns;
}

static void
finish(struct rollout *r, const struct rollout_view *v, struct rollout_actions *a)
{
	rollout_act(a, ROLLOUT_DONE);
	r->phase = ROLLOUT_IDLE;
	r->began_ns = v->now_ns;
}

void
rollout_step(struct rollout *r, const struct rollout_view *view, struct rollout_actions *actions)
{
	actions->count = 0;
	r->due_ns = 0;
	switch (r->phase) {
	case ROLLOUT_IDLE:
		rest(r, view, actions);
		break;
	case ROLLOUT_FORWARD:
		forward(r, view, actions);
		break;
	case ROLLOUT_COMMITTED:
		if (settle(view, actions))
			finish(r, view, actions);
		break;
	case ROLLOUT_BACK:
		if (back(r, view, actions))
			finish(r, view, actions);
		break;
	case ROLLOUT_PAUSED:
		break;
	}
}
