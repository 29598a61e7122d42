/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A service looked at as a whole (slots.h): attempts that nobody wants any more end, claims are
 * told to leave, what only its node has told of is asked for, and what is to be placed is queued.
 */
#include "scheduler/place/coordinator_inside.h"

static bool
is_over(const struct coordinator *c, const struct coordinator_attempt *a)
{
	const struct fleet_service *s = a->work->service;

	if (s->removed || !s->known || a->revision != s->spec.revision)
		return true;
	return c->asked ? !coordinator_ask_of(a->work, a->slot, a->revision)
			: a->slot >= s->spec.replicas;
}

void
coordinator_end_attempts(struct coordinator *c, struct coordinator_work *w,
			 struct step_actions *out)
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
	until = w->unknown_ns + COORDINATOR_UNKNOWN_MS * COORDINATOR_MS_NS;
	if (now_ns >= until)
		w->service->removed = true;
	else
		coordinator_work_at(c, w, until, now_ns);
}

void
coordinator_send_retire(struct coordinator *c, const struct slots_item *item, uint64_t now_ns,
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

bool
coordinator_ask_direct(struct coordinator *c, struct coordinator_work *w, uint64_t now_ns,
		       struct step_actions *out)
{
	struct list *it, *next;

	list_each (it, next, &w->service->claims) {
		struct fleet_claim *claim = container_of(it, struct fleet_claim, of_service);
		uint64_t doubt = claim->heard_ns + COORDINATOR_DOUBT_MS * COORDINATOR_MS_NS;
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
			doubt = now_ns + COORDINATOR_DOUBT_MS * COORDINATOR_MS_NS;
		}
		coordinator_work_at(c, w, doubt, now_ns);
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

int
coordinator_queue_room(struct coordinator_work *w, size_t count)
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
			coordinator_send_retire(c, item, now_ns, out);
	}
	if (stuck && now_ns >= w->waits_until_ns)
		coordinator_wait_for_change(c, w, now_ns);
	else if (!stuck && !w->queue_count && !w->attempts_count)
		w->waits = false;
	return true;
}

bool
coordinator_look(struct coordinator *c, struct coordinator_work *w, uint64_t now_ns,
		 struct step_actions *out)
{
	uint32_t placing[COORDINATOR_WINDOW];
	size_t count = 0;

	if (c->asked)
		return coordinator_look_at_asks(c, w, now_ns, out);
	if (now_ns < w->since_ns) {
		coordinator_work_at(c, w, w->since_ns, now_ns);
		return true;
	}
	w->looked_ns = now_ns;
	judge_unknown(c, w, now_ns);
	coordinator_end_attempts(c, w, out);
	for (struct list *it = w->attempts.next; it != &w->attempts; it = it->next)
		placing[count++] = container_of(it, struct coordinator_attempt, link)->slot;
	if (slots_decide(&c->slots, w->service, placing, count, now_ns) < 0 ||
	    coordinator_queue_room(w, c->slots.count) < 0) {
		coordinator_again(c, now_ns);
		return true;
	}
	w->counted = c->slots.counted;
	coordinator_work_at(c, w, c->slots.due_ns, now_ns);
	if (!carry_out(c, w, now_ns, out) || !coordinator_ask_direct(c, w, now_ns, out))
		return false;
	/* One timer serves all: what brought us here may have come before it. */
	if (w->waits && now_ns < w->waits_until_ns)
		coordinator_work_at(c, w, w->waits_until_ns, now_ns);
	/* What it just told to leave is to be looked after. */
	if (c->slots.due_ns == UINT64_MAX && c->slots.count > w->queue_count)
		coordinator_work_at(c, w, now_ns + SLOTS_ASK_MS * COORDINATOR_MS_NS, now_ns);
	return true;
}
