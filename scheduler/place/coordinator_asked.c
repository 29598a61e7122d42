/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asked mode: slots and claims that leave are decided elsewhere. What is asked for is kept with the
 * service's work, in the order of asking, and is its queue; what is to leave is told until it does.
 */
#include "scheduler/place/coordinator_inside.h"

#include <assert.h>
#include <string.h>

void
coordinator_asked(struct coordinator *c)
{
	c->asked = true;
}

struct coordinator_slot *
coordinator_ask_of(const struct coordinator_work *w, uint32_t slot, uint32_t revision)
{
	for (size_t i = 0; i < w->asks_count; i++) {
		if (w->asks[i].slot == slot && w->asks[i].revision == revision)
			return &w->asks[i];
	}
	return NULL;
}

void
coordinator_drop_ask(struct coordinator_work *w, uint32_t slot, uint32_t revision)
{
	struct coordinator_slot *ask = coordinator_ask_of(w, slot, revision);

	if (!ask)
		return;
	size_t behind = (size_t)(w->asks + w->asks_count - (ask + 1));
	memmove(ask, ask + 1, behind * sizeof(*ask));
	w->asks_count--;
}

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

/* A node tells of the things that a service needs some moments after it has read of the service. */
static bool
may_tell_yet(const struct coordinator *c, const struct fleet_service *s)
{
	for (size_t i = 0; s->needs.count && i < c->fleet->nodes_count; i++) {
		if (fit_facts(s, c->fleet->nodes[i]) == FIT_NEED)
			return true;
	}
	return false;
}

/* False: not yet; it is looked at again. */
static bool
is_due(struct coordinator *c, struct coordinator_work *w, const struct coordinator_slot *ask,
       bool may_tell, uint64_t now_ns)
{
	const struct fleet_service *s = w->service;

	if (!s->known || s->removed || ask->revision != s->spec.revision || is_under_way(w, ask))
		return false;
	if (!may_tell || now_ns >= ask->since_ns + COORDINATOR_TELL_MS * COORDINATOR_MS_NS)
		return true;
	coordinator_work_at(c, w, now_ns + COORDINATOR_TOLD_MS * COORDINATOR_MS_NS, now_ns);
	return false;
}

bool
coordinator_look_at_asks(struct coordinator *c, struct coordinator_work *w, uint64_t now_ns,
			 struct step_actions *out)
{
	bool may_tell;

	w->looked_ns = now_ns;
	coordinator_end_attempts(c, w, out);
	if (coordinator_queue_room(w, w->asks_count) < 0) {
		coordinator_again(c, now_ns);
		return true;
	}
	may_tell = may_tell_yet(c, w->service);
	for (size_t i = 0; i < w->asks_count; i++) {
		if (is_due(c, w, &w->asks[i], may_tell, now_ns))
			w->queue[w->queue_count++] = w->asks[i].slot;
	}
	if (!w->asks_count) {
		w->waits = false;
		w->waits_ms = 0;
	}
	if (w->waits && now_ns < w->waits_until_ns)
		coordinator_work_at(c, w, w->waits_until_ns, now_ns);
	return coordinator_ask_direct(c, w, now_ns, out);
}

void
coordinator_parting_free(struct coordinator_parting *p)
{
	list_remove(&p->link);
	mem_free(p);
}

/* What leaves, or is gone, needs no word any more. */
bool
coordinator_part(struct coordinator *c, uint64_t now_ns, struct step_actions *out)
{
	struct list *it, *next;

	list_each (it, next, &c->partings) {
		struct coordinator_parting *p = container_of(it, struct coordinator_parting, link);
		struct fleet_claim *claim = fleet_claim(c->fleet, p->node, p->number);
		struct slots_item item = {.claim = claim, .why = p->why, .winner = p->winner};

		if (!claim || !fleet_claim_lives(claim) || claim->claim.state == CLAIM_LEAVING) {
			coordinator_parting_free(p);
			continue;
		}
		if (p->told_ns && now_ns < p->told_ns + SLOTS_ASK_MS * COORDINATOR_MS_NS)
			continue;
		if (!step_actions_room(out, 1, PLACEMSG_BYTES_MAX))
			return true;
		p->told_ns = now_ns;
		coordinator_send_retire(c, &item, now_ns, out);
	}
	return false;
}

int
coordinator_ask(struct coordinator *c, uint64_t service, uint32_t slot, uint32_t revision,
		uint64_t now_ns)
{
	struct fleet_service *s = fleet_service(c->fleet, service);
	struct coordinator_work *w = s ? s->work : NULL;

	assert(c->asked);
	if (!s || (!w && !(w = coordinator_work_new(c, s))))
		return -1;
	if (coordinator_ask_of(w, slot, revision))
		return 0;
	if (w->asks_count == w->asks_room) {
		size_t room = w->asks_room ? 2 * w->asks_room : 4;
		void *asks = mem_resize(MEM_SCHEDULER, w->asks, room, sizeof(w->asks[0]));

		/* Work without asks is dropped with the next step. */
		coordinator_look_soon(c, w);
		if (!asks)
			return -1;
		w->asks = asks;
		w->asks_room = room;
	}
	w->asks[w->asks_count++] = (struct coordinator_slot){slot, revision, now_ns};
	coordinator_look_soon(c, w);
	return 0;
}

void
coordinator_unask(struct coordinator *c, uint64_t service, uint32_t slot, uint32_t revision)
{
	struct fleet_service *s = fleet_service(c->fleet, service);

	if (!s || !s->work)
		return;
	coordinator_drop_ask(s->work, slot, revision);
	coordinator_look_soon(c, s->work);
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
