/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replicas that are not to stay where they are: their node is drained, is no longer as the service
 * asks, or another node has the same one. At rest only, and one pass over the service each time:
 *
 *  - what is missing of those that stay is made, within want + surge, leaving ones included;
 *  - a misfit (or what is left of an older revision) goes when as many as wanted are there without
 *    it and those that came for it have been ready for the monitor window; the one whose number
 *    came again goes first;
 *  - where there is no room for another one beside it, a misfit goes before: while want -
 *    unavailable others are ready (with stop-first one less), and only when some node would take
 *    the next one. Otherwise it stays.
 */
#include "scheduler/rollout_inside.h"

#include <string.h>

struct move {
	struct rollout *r;
	const struct rollout_view *v;
	const struct rollout_service *s;
	uint32_t service;
	struct rollout_actions *a;
	uint32_t live; /* all, leaving ones too */
	uint32_t leaving;
	uint32_t stay;   /* as the target says, and where they are to be */
	uint32_t proven; /* of these, ready for the monitor window */
	uint32_t odd;    /* all others that do not leave yet */
	uint32_t odd_ready;
};

static bool
is_odd(const struct rollout_replica *p)
{
	return p->misfit || !p->target;
}

static bool
is_proven(const struct move *m, const struct rollout_replica *p)
{
	return p->ready && m->v->now_ns >= p->ready_ns + m->s->monitor_ns;
}

/* True: there are misfits. */
static bool
look(struct move *m)
{
	bool any = false;

	for (size_t i = 0; i < m->v->replicas_count; i++) {
		const struct rollout_replica *p = &m->v->replicas[i];

		if (p->service != m->service)
			continue;
		m->live++;
		m->leaving += p->leaving;
		if (p->leaving)
			continue;
		any |= p->misfit;
		if (is_odd(p)) {
			m->odd++;
			m->odd_ready += p->ready;
			continue;
		}
		m->stay++;
		if (is_proven(m, p))
			m->proven++;
		else if (p->ready)
			rollout_wake_at(m->r, p->ready_ns + m->s->monitor_ns);
	}
	return any;
}

enum who { STAYING, PROVEN, ANY };

/* There is, or will be, one of that number. */
static bool
has(const struct move *m, uint32_t index, enum who who)
{
	for (size_t i = 0; i < m->v->replicas_count; i++) {
		const struct rollout_replica *p = &m->v->replicas[i];

		if (p->service == m->service && p->index == index && !p->leaving &&
		    (who == ANY || !is_odd(p)) && (who != PROVEN || is_proven(m, p)))
			return true;
	}
	for (size_t i = 0; i < m->a->count && who != PROVEN; i++) {
		const struct rollout_action *a = &m->a->items[i];

		if (a->verb == ROLLOUT_CREATE && a->service == m->service && a->index == index)
			return true;
	}
	return false;
}

/* One that nobody has, else one of which there are only misfits. */
static uint32_t
next_index(const struct move *m)
{
	uint32_t index = 1;

	while (index <= m->s->want && has(m, index, ANY))
		index++;
	if (index <= m->s->want)
		return index;
	for (index = 1; has(m, index, STAYING);)
		index++;
	return index;
}

static void
fill(struct move *m)
{
	uint32_t limit = rollout_limit(m->s);

	while (m->stay < m->s->want && m->live < limit && !rollout_full(m->a)) {
		uint32_t index = next_index(m);
		struct rollout_action *item = rollout_act(m->a, ROLLOUT_CREATE);

		item->service = m->service;
		item->index = index;
		item->of_target = true;
		m->stay++;
		m->live++;
	}
}

static bool
goes(const struct move *m, uint64_t replica)
{
	for (size_t i = 0; i < m->a->count; i++) {
		if (m->a->items[i].verb == ROLLOUT_REMOVE && m->a->items[i].replica == replica)
			return true;
	}
	return false;
}

static bool
goes_before(const struct move *m, const struct rollout_replica *a, const struct rollout_replica *b)
{
	bool again = is_odd(a) && has(m, a->index, PROVEN);

	if (is_odd(a) && again != has(m, b->index, PROVEN))
		return again;
	if (a->ready != b->ready)
		return b->ready;
	return a->index > b->index;
}

static const struct rollout_replica *
pick(const struct move *m, bool odd)
{
	const struct rollout_replica *best = NULL;

	for (size_t i = 0; i < m->v->replicas_count; i++) {
		const struct rollout_replica *p = &m->v->replicas[i];

		if (p->service != m->service || p->leaving || is_odd(p) != odd || goes(m, p->id))
			continue;
		if (!best || goes_before(m, p, best))
			best = p;
	}
	return best;
}

static void
removal(struct move *m, const struct rollout_replica *p)
{
	rollout_act(m->a, ROLLOUT_REMOVE)->replica = p->id;
	m->leaving++;
	m->odd--;
	m->odd_ready -= p->ready;
}

/* Those whose places are taken. */
static void
let_go(struct move *m)
{
	const struct rollout_replica *p;

	while (m->odd && m->proven + m->odd > m->s->want && !rollout_full(m->a)) {
		p = pick(m, true);
		if (p->ready && m->proven + m->odd_ready <= m->s->want)
			return;
		removal(m, p);
	}
}

/* What stays beyond the wanted number: a misfit fits again, or two nodes came for one. */
static void
trim(struct move *m)
{
	while (m->stay > m->s->want && !rollout_full(m->a)) {
		const struct rollout_replica *p = pick(m, false);

		if (!p || (p->ready && m->proven <= m->s->want))
			return;
		rollout_act(m->a, ROLLOUT_REMOVE)->replica = p->id;
		m->stay--;
		m->proven -= is_proven(m, p);
	}
}

static void
make_room(struct move *m)
{
	uint32_t most = m->s->unavailable;
	uint32_t limit = rollout_limit(m->s);
	uint32_t places = limit > m->live ? limit - m->live : 0;

	if (m->s->stop_first && !most)
		most = 1;
	uint32_t floor = m->s->want > most ? m->s->want - most : 0;

	/* No more is made than the places that there will be can hold. */
	while (m->odd && m->s->room && m->stay + places + m->leaving < m->s->want &&
	       !rollout_full(m->a)) {
		const struct rollout_replica *p = pick(m, true);

		if (p->ready && m->proven + m->odd_ready <= floor)
			return;
		removal(m, p);
	}
}

bool
rollout_move_service(struct rollout *r, const struct rollout_view *v, uint32_t service,
		     struct rollout_actions *a)
{
	struct move m = {.r = r, .v = v, .s = &v->services[service], .service = service, .a = a};

	if (!look(&m))
		return false;
	fill(&m);
	trim(&m);
	let_go(&m);
	/* With room for one beside it, the next one is made in that. */
	if (m.s->stop_first || (!m.s->surge && m.s->unavailable))
		make_room(&m);
	return true;
}
