/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offers and awards for one slot. What is asked of a node is taken off what the fleet says it has
 * until it answers; an answer brings its own figures.
 */
#include "scheduler/place/coordinator_attempt.h"

#include <assert.h>
#include <string.h>
#include "scheduler/place/ledger.h"

#define MS_NS UINT64_C(1000000)

enum {
	POOL = 4,
	LOST_LOOK_MS = 500,
	LOST_LOOKS = (LEDGER_PROMISE_MS + COORDINATOR_ROUND_MS) / LOST_LOOK_MS,
};

/* ---- one ask ---- */

static void
count(struct coordinator *c, struct coordinator_attempt *a, struct attempt_ask *ask, bool more)
{
	struct fleet_node *n = fleet_node(c->fleet, ask->node);
	int64_t sign = more ? 1 : -1;

	if (ask->counted == more)
		return;
	ask->counted = more;
	if (!n)
		return;
	fleet_ask(c->fleet, n, sign * (int64_t)ask->cpu_milli, sign * (int64_t)ask->memory_bytes);
	if (!c->fleet->stale && c->fleet->marked == a->work->service)
		fleet_mark_add(c->fleet, n, more);
}

static void
end(struct coordinator *c, struct coordinator_attempt *a, struct attempt_ask *ask)
{
	if (ask->state == ASK_NONE)
		return;
	count(c, a, ask, false);
	map_remove_u64(&c->attempts, ask->offer);
	ask->state = ASK_NONE;
}

static void
release(struct coordinator *c, struct coordinator_attempt *a, struct attempt_ask *ask,
	struct step_actions *out)
{
	struct placemsg m = {.kind = PLACEMSG_RELEASE, .offer = ask->offer};

	if (ask->state == ASK_NONE)
		return;
	if (out && step_actions_room(out, 1, PLACEMSG_BYTES_MAX)) {
		placemsg_send(out, ask->node, &m, 0);
		c->counters.releases++;
	}
	end(c, a, ask);
}

static void
send_offer(struct coordinator *c, const struct coordinator_attempt *a,
	   const struct attempt_ask *ask, struct step_actions *out)
{
	struct placemsg m = {
		.kind = PLACEMSG_OFFER,
		.offer = ask->offer,
		.service = a->work->service->id,
		.slot = a->slot,
		.revision = a->revision,
		.cpu_milli = ask->cpu_milli,
		.memory_bytes = ask->memory_bytes,
		.epoch = a->work->service->spec.epoch,
	};

	placemsg_send(out, ask->node, &m, 0);
	c->counters.offers++;
}

static void
send_award(struct coordinator *c, const struct coordinator_attempt *a,
	   const struct attempt_ask *ask, struct step_actions *out)
{
	struct placemsg m = {
		.kind = PLACEMSG_AWARD,
		.offer = ask->offer,
		.service = a->work->service->id,
		.slot = a->slot,
		.epoch = a->work->service->spec.epoch,
	};

	placemsg_send(out, ask->node, &m, 0);
	c->counters.awards++;
}

static int
wait(struct coordinator *c, struct coordinator_attempt *a, uint64_t until_ns)
{
	return heap_set(&c->attempt_timers, &a->timer, until_ns);
}

/* ---- whom to ask ---- */

static bool
constrained(const struct fleet_service *s)
{
	return s->labels.count || s->needs.count || s->keeps.count || s->takes.count ||
	       s->spec.mode != FLEET_SHARED;
}

/* In a small cell of asked slots people count replicas on nodes: those with the fewest of it come
 * before all others, whatever their score. */
static bool
counts_first(const struct coordinator *c, const struct fleet_service *s)
{
	return c->asked && !c->fleet->tree.depth && s->spec.spread == FLEET_SPREAD_NODE;
}

/* Replicas of the service that this node is to have: those that others come for do not count. */
static uint32_t
count_on(const struct fleet *f, const struct fleet_service *s, const struct fleet_node *n)
{
	uint32_t on = fleet_marked_on(f, &f->hot[n->position]);

	for (struct list *it = s->claims.next; it != &s->claims; it = it->next) {
		const struct fleet_claim *c = container_of(it, struct fleet_claim, of_service);

		if (c->node == n && c->old && c->claim.state != CLAIM_LEAVING && on)
			on--;
	}
	return on;
}

static void
keep_fewest(const struct fleet *f, const struct fleet_service *s, struct candidates *pool)
{
	uint32_t fewest = UINT32_MAX;
	size_t kept = 0;

	for (size_t i = 0; i < pool->count; i++) {
		uint32_t on = count_on(f, s, pool->items[i].node);

		fewest = on < fewest ? on : fewest;
	}
	for (size_t i = 0; i < pool->count && kept < POOL; i++) {
		if (count_on(f, s, pool->items[i].node) == fewest)
			pool->items[kept++] = pool->items[i];
	}
	pool->count = kept;
}

static void
find(struct coordinator *c, struct coordinator_attempt *a, struct candidates *pool)
{
	struct fleet_service *s = a->work->service;
	size_t most = constrained(s) ? COORDINATOR_TRIES_MAX : COORDINATOR_TRIES;
	size_t k = constrained(s) ? 2 * POOL : POOL;

	pool->count = 0;
	if (a->tried_count >= most)
		return;
	while (k <= a->tried_count)
		k *= 2;
	if (fleet_mark(c->fleet, s)) {
		/* Those under way count as well. */
		for (struct list *it = a->work->attempts.next; it != &a->work->attempts;
		     it = it->next) {
			struct coordinator_attempt *other =
				container_of(it, struct coordinator_attempt, link);

			for (size_t i = 0; i < ATTEMPT_ASKS; i++) {
				struct fleet_node *n = fleet_node(c->fleet, other->asks[i].node);

				if (other->asks[i].counted && n)
					fleet_mark_add(c->fleet, n, true);
			}
		}
	}
	if (counts_first(c, s))
		k = CANDIDATES_MAX;
	candidates_find(c->fleet, s, a->slot, k, a->tried, a->tried_count, pool);
	if (counts_first(c, s))
		keep_fewest(c->fleet, s, pool);
	candidates_rank(pool, ATTEMPT_ASKS);
	/* What two are asked for counts on both until one has it. */
	if (pool->count > 1 && counts_first(c, s))
		pool->count = 1;
	if (pool->count > ATTEMPT_ASKS)
		pool->count = ATTEMPT_ASKS;
	if (pool->count > most - a->tried_count)
		pool->count = most - a->tried_count;
}

static int
ask_node(struct coordinator *c, struct coordinator_attempt *a, struct attempt_ask *ask,
	 const struct fleet_node *n, struct step_actions *out)
{
	const struct fleet_spec *spec = &a->work->service->spec;

	*ask = (struct attempt_ask){
		.offer = c->next_offer,
		.node = n->id,
		.cpu_milli = spec->cpu_milli,
		.memory_bytes = spec->memory_bytes,
	};
	if (map_put_u64(&c->attempts, ask->offer, a) < 0)
		return -1;
	c->next_offer += c->next_offer == UINT64_MAX ? 2 : 1;
	ask->state = ASK_WAITS;
	a->tried[a->tried_count++] = n->id;
	count(c, a, ask, true);
	send_offer(c, a, ask, out);
	return 0;
}

static enum attempt_result
offer(struct coordinator *c, struct coordinator_attempt *a, uint64_t now_ns,
      struct step_actions *out)
{
	struct candidates pool;

	if (c->fleet->stale)
		return ATTEMPT_UNKNOWN;
	find(c, a, &pool);
	if (!pool.count)
		return ATTEMPT_REFUSED;
	a->phase = ATTEMPT_OFFERING;
	a->sends = 1;
	for (size_t i = 0; i < pool.count; i++) {
		if (ask_node(c, a, &a->asks[i], pool.items[i].node, out) < 0)
			return ATTEMPT_UNKNOWN;
	}
	return wait(c, a, now_ns + COORDINATOR_ASK_MS * MS_NS) < 0 ? ATTEMPT_UNKNOWN
								   : ATTEMPT_GOES_ON;
}

/* ---- answers ---- */

static struct attempt_ask *
ask_of(struct coordinator_attempt *a, uint64_t offer)
{
	for (size_t i = 0; i < ATTEMPT_ASKS; i++) {
		if (a->asks[i].state != ASK_NONE && a->asks[i].offer == offer)
			return &a->asks[i];
	}
	return NULL;
}

static size_t
in_state(const struct coordinator_attempt *a, enum ask_state state)
{
	size_t n = 0;

	for (size_t i = 0; i < ATTEMPT_ASKS; i++)
		n += a->asks[i].state == state;
	return n;
}

static enum attempt_result
award(struct coordinator *c, struct coordinator_attempt *a, uint64_t now_ns,
      struct step_actions *out)
{
	struct attempt_ask *best = NULL;

	for (size_t i = 0; i < ATTEMPT_ASKS; i++) {
		struct attempt_ask *ask = &a->asks[i];

		if (ask->state == ASK_PROMISED && (!best || ask->price < best->price))
			best = ask;
	}
	assert(best);
	for (size_t i = 0; i < ATTEMPT_ASKS; i++) {
		if (&a->asks[i] != best)
			release(c, a, &a->asks[i], out);
	}
	a->phase = ATTEMPT_AWARDING;
	a->sends = 1;
	send_award(c, a, best, out);
	return wait(c, a, now_ns + COORDINATOR_ASK_MS * MS_NS) < 0 ? ATTEMPT_UNKNOWN
								   : ATTEMPT_GOES_ON;
}

/* Somebody answered or is given up. */
static enum attempt_result
proceed(struct coordinator *c, struct coordinator_attempt *a, uint64_t now_ns,
	struct step_actions *out)
{
	if (in_state(a, ASK_WAITS))
		return ATTEMPT_GOES_ON;
	if (in_state(a, ASK_PROMISED))
		return award(c, a, now_ns, out);
	return offer(c, a, now_ns, out);
}

static void
note_refusal(struct coordinator_work *w, uint32_t node, const struct fit *fit)
{
	size_t at = 0;

	while (at < w->refusals_count && w->refusals[at].node != node)
		at++;
	if (at == w->refusals_count && w->refusals_count < COORDINATOR_REFUSALS_MAX)
		w->refusals_count++;
	else if (at == COORDINATOR_REFUSALS_MAX)
		at = w->refusals_next++ % COORDINATOR_REFUSALS_MAX;
	w->refusals[at] = (struct coordinator_refusal){node, *fit};
}

static enum attempt_result
on_promise(struct coordinator *c, struct coordinator_attempt *a, struct attempt_ask *ask,
	   const struct placemsg *m, uint64_t now_ns, struct step_actions *out)
{
	if (ask->state != ASK_WAITS || a->phase != ATTEMPT_OFFERING)
		return ATTEMPT_GOES_ON;
	c->counters.promises++;
	count(c, a, ask, false);
	fleet_node_load(c->fleet, ask->node, m->cpu_milli, m->memory_bytes);
	ask->state = ASK_PROMISED;
	ask->price = m->price;
	return proceed(c, a, now_ns, out);
}

static enum attempt_result
on_reject(struct coordinator *c, struct coordinator_attempt *a, struct attempt_ask *ask,
	  const struct placemsg *m, uint64_t now_ns, struct step_actions *out)
{
	struct fit fit = {
		.reasons = m->reasons & FIT_ALL_,
		.cpu_free_milli = m->cpu_milli,
		.memory_free_bytes = m->memory_bytes,
	};

	/* It has not read of this revision yet: it is on its way to it. */
	if (c->asked && m->reasons == FIT_UNKNOWN && a->sends < COORDINATOR_ASKS_MAX &&
	    ask->state == ASK_WAITS)
		return ATTEMPT_GOES_ON;
	c->counters.rejects++;
	note_refusal(a->work, ask->node, &fit);
	if (m->reasons & (FIT_CPU | FIT_MEMORY))
		fleet_node_load(c->fleet, ask->node, m->cpu_milli, m->memory_bytes);
	end(c, a, ask);
	return proceed(c, a, now_ns, out);
}

static enum attempt_result
on_claimed(struct coordinator *c, struct coordinator_attempt *a, uint32_t from,
	   const struct placemsg *m, uint64_t now_ns)
{
	const struct claim *claim = &m->claim;
	struct fleet_claim *known;

	if (claim->service != a->work->service->id || claim->slot != a->slot || claim->node != from)
		return ATTEMPT_GOES_ON;
	c->counters.claimed++;
	known = fleet_claim(c->fleet, from, claim->number);
	if (!known && fleet_claim_answered(c->fleet, claim, now_ns) < 0)
		return ATTEMPT_UNKNOWN;
	/* It was told to leave, and stays: if it counted as leaving for a while yet, the slot would
	 * be offered, and answered so, again and again. */
	if (known)
		known->asked_ns = 0;
	return ATTEMPT_PLACED;
}

enum attempt_result
coordinator_attempt_answer(struct coordinator *c, struct coordinator_attempt *a, uint32_t from,
			   const struct placemsg *m, uint64_t now_ns, struct step_actions *out)
{
	struct attempt_ask *ask = ask_of(a, m->offer);

	if (!ask || ask->node != from)
		return ATTEMPT_GOES_ON;
	if (m->kind == PLACEMSG_PROMISE)
		return on_promise(c, a, ask, m, now_ns, out);
	if (m->kind == PLACEMSG_REJECT)
		return on_reject(c, a, ask, m, now_ns, out);
	return on_claimed(c, a, from, m, now_ns);
}

/* ---- silence ---- */

static enum attempt_result
ask_again(struct coordinator *c, struct coordinator_attempt *a, uint64_t now_ns,
	  struct step_actions *out)
{
	if (in_state(a, ASK_PROMISED))
		return award(c, a, now_ns, out);
	for (size_t i = 0; i < ATTEMPT_ASKS; i++) {
		struct attempt_ask *ask = &a->asks[i];
		struct fit fit = {.reasons = FIT_SILENT};

		if (ask->state != ASK_WAITS)
			continue;
		if (a->sends < COORDINATOR_ASKS_MAX) {
			send_offer(c, a, ask, out);
			continue;
		}
		c->counters.silent++;
		note_refusal(a->work, ask->node, &fit);
		end(c, a, ask);
	}
	if (!in_state(a, ASK_WAITS))
		return offer(c, a, now_ns, out);
	a->sends++;
	return wait(c, a, now_ns + COORDINATOR_ASK_MS * MS_NS) < 0 ? ATTEMPT_UNKNOWN
								   : ATTEMPT_GOES_ON;
}

/* The award may have been heard: the slot is not offered again before the promise is over and a
 * claim would have been gossiped, or its node is dead. */
static enum attempt_result
lost(struct coordinator *c, struct coordinator_attempt *a, uint64_t now_ns)
{
	if (a->phase == ATTEMPT_AWARDING) {
		a->phase = ATTEMPT_LOST;
		a->sends = 0;
		c->counters.silent++;
	}
	for (size_t i = 0; i < ATTEMPT_ASKS; i++) {
		const struct fleet_node *n = fleet_node(c->fleet, a->asks[i].node);

		if (a->asks[i].state != ASK_NONE && (!n || n->status == FLEET_DEAD))
			return ATTEMPT_UNKNOWN;
	}
	if (++a->sends > LOST_LOOKS)
		return ATTEMPT_UNKNOWN;
	return wait(c, a, now_ns + LOST_LOOK_MS * MS_NS) < 0 ? ATTEMPT_UNKNOWN : ATTEMPT_GOES_ON;
}

static enum attempt_result
award_again(struct coordinator *c, struct coordinator_attempt *a, uint64_t now_ns,
	    struct step_actions *out)
{
	if (a->sends >= COORDINATOR_ASKS_MAX)
		return lost(c, a, now_ns);
	a->sends++;
	for (size_t i = 0; i < ATTEMPT_ASKS; i++) {
		if (a->asks[i].state == ASK_PROMISED)
			send_award(c, a, &a->asks[i], out);
	}
	return wait(c, a, now_ns + COORDINATOR_ASK_MS * MS_NS) < 0 ? ATTEMPT_UNKNOWN
								   : ATTEMPT_GOES_ON;
}

enum attempt_result
coordinator_attempt_timer(struct coordinator *c, struct coordinator_attempt *a, uint64_t now_ns,
			  struct step_actions *out)
{
	switch (a->phase) {
	case ATTEMPT_OFFERING:
		return ask_again(c, a, now_ns, out);
	case ATTEMPT_AWARDING:
		return award_again(c, a, now_ns, out);
	case ATTEMPT_LOST:
		return lost(c, a, now_ns);
	}
	return ATTEMPT_UNKNOWN;
}

/* ---- life ---- */

struct coordinator_attempt *
coordinator_attempt_new(struct coordinator *c, struct coordinator_work *w, uint32_t slot,
			uint64_t now_ns, struct step_actions *out, enum attempt_result *result)
{
	struct coordinator_attempt *a = mem_zalloc(MEM_SCHEDULER, sizeof(*a));

	*result = ATTEMPT_UNKNOWN;
	if (!a)
		return NULL;
	a->work = w;
	a->slot = slot;
	a->revision = w->service->spec.revision;
	heap_item_init(&a->timer);
	list_push(&w->attempts, &a->link);
	w->attempts_count++;
	c->attempts_count++;
	*result = offer(c, a, now_ns, out);
	if (*result == ATTEMPT_GOES_ON)
		return a;
	coordinator_attempt_free(c, a, out);
	return NULL;
}

void
coordinator_attempt_free(struct coordinator *c, struct coordinator_attempt *a,
			 struct step_actions *out)
{
	for (size_t i = 0; i < ATTEMPT_ASKS; i++) {
		/* What is awarded may be a claim by now: nothing to let go of. */
		if (a->phase == ATTEMPT_OFFERING)
			release(c, a, &a->asks[i], out);
		else
			end(c, a, &a->asks[i]);
	}
	heap_remove(&c->attempt_timers, &a->timer);
	list_remove(&a->link);
	a->work->attempts_count--;
	c->attempts_count--;
	mem_free(a);
}
