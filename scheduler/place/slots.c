/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pass over the claims says what each slot has, the next ones act on the difference. A claim
 * that was told to leave counts as leaving for a second; if nothing is heard of it by then it is
 * judged anew, and told again if that is still right.
 */
#include "scheduler/place/slots.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MS_NS UINT64_C(1000000)

struct slots_slot {
	struct fleet_claim *good;  /* will do: the one that goes before all others */
	struct fleet_claim *old;   /* runs, and is to be replaced */
	struct fleet_claim *ahead; /* of a revision that is not known here yet */
	uint32_t goods;
	uint32_t olds;
	bool placing;
	bool ready; /* something of it is */
};

enum kind { NONE, LEAVING, AHEAD, GOOD, OLD, FAILED };

struct pass {
	struct slots *s;
	struct fleet_service *service;
	const struct fleet_spec *spec;
	uint64_t now_ns;
	uint32_t replicas;
	uint32_t surge;
	uint32_t min_ready;
	uint32_t ready;       /* slots */
	uint32_t ready_extra; /* claims beyond the slots */
	uint32_t there;       /* claims to slots and slots to come, leaving ones too */
};

void
slots_init(struct slots *s)
{
	memset(s, 0, sizeof(*s));
}

void
slots_fini(struct slots *s)
{
	mem_free(s->items);
	mem_free(s->slots);
}

static void
wake_at(struct pass *p, uint64_t at)
{
	if (at < p->s->due_ns)
		p->s->due_ns = at;
}

/* There is room: at most one item for each slot and each claim. */
static struct slots_item *
add(struct pass *p, enum slots_verb verb, uint32_t slot)
{
	struct slots_item *item = &p->s->items[p->s->count++];

	assert(p->s->count <= p->s->room);
	*item = (struct slots_item){.verb = verb, .slot = slot};
	return item;
}

static void
retire(struct pass *p, struct fleet_claim *c, enum claim_retire why,
       const struct fleet_claim *winner)
{
	struct slots_item *item = add(p, SLOTS_RETIRE, c->claim.slot);

	item->claim = c;
	item->why = why;
	item->winner = winner ? winner->claim.node : 0;
}

/* ---- what is there ---- */

static bool
right_revision(const struct fleet_spec *spec, uint32_t revision)
{
	return revision == spec->revision || (spec->same && revision == spec->same);
}

static bool
asked(struct pass *p, const struct fleet_claim *c)
{
	uint64_t until = c->asked_ns + SLOTS_ASK_MS * MS_NS;

	if (!c->asked_ns || p->now_ns >= until)
		return false;
	wake_at(p, until);
	return true;
}

static enum kind
judge(struct pass *p, const struct fleet_claim *c)
{
	if (!fleet_claim_lives(c))
		return NONE;
	if (c->claim.state == CLAIM_LEAVING || asked(p, c))
		return LEAVING;
	if (p->service->removed)
		return OLD;
	if (c->claim.revision > p->spec->revision)
		return AHEAD;
	if (c->claim.state == CLAIM_FAILED)
		return FAILED;
	if (!right_revision(p->spec, c->claim.revision) || fit_moves(p->service, c->node))
		return OLD;
	return GOOD;
}

static void
better(struct fleet_claim **best, struct fleet_claim *c)
{
	if (!*best || claim_before(&c->claim, &(*best)->claim))
		*best = c;
}

static void
look_at(struct pass *p, struct fleet_claim *c)
{
	enum kind kind = judge(p, c);
	bool ready = c->claim.state == CLAIM_READY;
	struct slots_slot *slot;

	if (ready && !c->ready_ns)
		c->ready_ns = p->now_ns;
	if (kind == NONE)
		return;
	if (c->claim.slot >= p->replicas) {
		p->ready_extra += ready && kind != LEAVING;
		return;
	}
	p->there++;
	if (kind == LEAVING || kind == FAILED)
		return;
	slot = &p->s->slots[c->claim.slot];
	slot->ready |= ready;
	if (kind == AHEAD)
		better(&slot->ahead, c);
	if (kind == OLD)
		better(&slot->old, c);
	if (kind == GOOD)
		better(&slot->good, c);
	slot->goods += kind == GOOD;
	slot->olds += kind == OLD;
}

static void
look(struct pass *p, const uint32_t *placing, size_t placing_count)
{
	struct slots_count *counted = &p->s->counted;
	struct list *it, *next;

	memset(p->s->slots, 0, p->replicas * sizeof(p->s->slots[0]));
	list_each (it, next, &p->service->claims)
		look_at(p, container_of(it, struct fleet_claim, of_service));
	for (size_t i = 0; i < placing_count; i++) {
		if (placing[i] >= p->replicas)
			continue;
		p->s->slots[placing[i]].placing = true;
		p->there += !p->s->slots[placing[i]].good;
	}
	for (uint32_t i = 0; i < p->replicas; i++) {
		const struct slots_slot *slot = &p->s->slots[i];

		p->ready += slot->ready;
		counted->filled += slot->good || slot->ahead;
		counted->missing += !slot->good && !slot->ahead && !slot->old;
	}
	counted->ready = p->ready;
}

/* ---- what leaves ---- */

static void
rival(struct pass *p, struct fleet_claim *c, const struct fleet_claim *winner)
{
	uint64_t grace;

	if (!c->rival_ns)
		c->rival_ns = p->now_ns;
	if (winner->claim.state != CLAIM_READY)
		return;
	grace = c->rival_ns + SLOTS_GRACE_MS * MS_NS;
	if (p->now_ns < grace)
		wake_at(p, grace);
	else
		retire(p, c, CLAIM_RETIRE_DUPLICATE, winner);
}

static void
replaced(struct pass *p, struct fleet_claim *c, const struct fleet_claim *winner)
{
	uint64_t proven = winner->ready_ns + p->spec->monitor_ns;

	if (winner->claim.state != CLAIM_READY)
		return;
	if (p->now_ns < proven)
		wake_at(p, proven);
	else
		retire(p, c,
		       right_revision(p->spec, c->claim.revision) ? CLAIM_RETIRE_MOVED
								  : CLAIM_RETIRE_UPDATE,
		       winner);
}

static void
part_with(struct pass *p, struct fleet_claim *c)
{
	enum kind kind = judge(p, c);
	const struct slots_slot *slot;

	if (c->claim.slot >= p->replicas || kind == NONE || kind == LEAVING)
		return;
	slot = &p->s->slots[c->claim.slot];
	if (kind == GOOD ? slot->goods < 2 : slot->good || slot->olds < 2)
		c->rival_ns = 0;
	if (slot->ahead)
		return;
	if (!slot->good) {
		if (kind == OLD && c != slot->old)
			rival(p, c, slot->old);
		return;
	}
	if (kind == FAILED)
		retire(p, c, CLAIM_RETIRE_FAILED, slot->good);
	else if (kind == OLD)
		replaced(p, c, slot->good);
	else if (kind == GOOD && c != slot->good)
		rival(p, c, slot->good);
}

/* ---- what is beyond the slots ---- */

static int
compare_extra(const void *a, const void *b)
{
	const struct claim *x = &((const struct slots_item *)a)->claim->claim;
	const struct claim *y = &((const struct slots_item *)b)->claim->claim;
	bool x_ready = x->state == CLAIM_READY, y_ready = y->state == CLAIM_READY;

	if (x_ready != y_ready)
		return x_ready ? 1 : -1;
	if (x->slot != y->slot)
		return x->slot > y->slot ? -1 : 1;
	if (x->node != y->node)
		return x->node > y->node ? 1 : -1;
	return (x->number > y->number) - (x->number < y->number);
}

/* Those that are not ready at once, the ready ones while enough others are. */
static void
shrink(struct pass *p)
{
	enum claim_retire why = p->service->removed ? CLAIM_RETIRE_REMOVED : CLAIM_RETIRE_SCALE;
	size_t first = p->s->count, kept = first;
	uint32_t ready = p->ready + p->ready_extra;
	struct list *it, *next;

	list_each (it, next, &p->service->claims) {
		struct fleet_claim *c = container_of(it, struct fleet_claim, of_service);
		enum kind kind = judge(p, c);

		if (c->claim.slot >= p->replicas && kind != NONE && kind != LEAVING &&
		    kind != AHEAD)
			retire(p, c, why, NULL);
	}
	qsort(p->s->items + first, p->s->count - first, sizeof(p->s->items[0]), compare_extra);
	for (size_t i = first; i < p->s->count; i++) {
		if (p->s->items[i].claim->claim.state == CLAIM_READY) {
			if (ready <= p->min_ready)
				break;
			ready--;
		}
		p->s->items[kept++] = p->s->items[i];
	}
	p->s->count = kept;
}

/* ---- what comes ---- */

static void
fill(struct pass *p)
{
	for (uint32_t i = 0; i < p->replicas; i++) {
		const struct slots_slot *slot = &p->s->slots[i];

		if (slot->good || slot->old || slot->ahead || slot->placing)
			continue;
		add(p, SLOTS_PLACE, i);
		p->there++;
	}
}

static void
make_room(struct pass *p, uint32_t index, struct fleet_claim *old)
{
	uint32_t floor = p->min_ready;
	struct slots_item *item;

	if (p->spec->stop_first && p->spec->unavailable == 0 && floor > 0)
		floor--;
	if (p->s->slots[index].ready) {
		if (p->ready <= floor)
			return;
		p->ready--;
	}
	item = add(p, SLOTS_MAKE_ROOM, index);
	item->claim = old;
	item->why = right_revision(p->spec, old->claim.revision) ? CLAIM_RETIRE_MOVED
								 : CLAIM_RETIRE_UPDATE;
}

static void
replace(struct pass *p, uint32_t index)
{
	const struct slots_slot *slot = &p->s->slots[index];
	bool update;

	if (slot->good || slot->ahead || !slot->old || slot->placing)
		return;
	update = !right_revision(p->spec, slot->old->claim.revision);
	if (update && p->spec->paused)
		return;
	if (!p->spec->stop_first && p->there < p->replicas + p->surge) {
		add(p, SLOTS_PLACE, index);
		p->there++;
	} else if (p->spec->stop_first || p->spec->unavailable > 0) {
		make_room(p, index, slot->old);
	}
}

/* What has to leave its node goes before what only gets older. */
static void
replace_all(struct pass *p)
{
	for (int moves = 1; moves >= 0; moves--) {
		for (uint32_t i = 0; i < p->replicas; i++) {
			const struct fleet_claim *old = p->s->slots[i].old;

			if (old && (fit_moves(p->service, old->node) != 0) == moves)
				replace(p, i);
		}
	}
}

/* ---- */

static int
make(struct slots *s, const struct fleet_service *service, uint32_t replicas)
{
	size_t room = (size_t)replicas + service->claims_count + 1;

	if (room > s->room) {
		void *items = mem_resize(MEM_SCHEDULER, s->items, room, sizeof(s->items[0]));

		if (!items)
			return -1;
		s->items = items;
		s->room = room;
	}
	if (replicas >= s->slots_room) {
		room = (size_t)replicas + 1;
		void *slots = mem_resize(MEM_SCHEDULER, s->slots, room, sizeof(s->slots[0]));

		if (!slots)
			return -1;
		s->slots = slots;
		s->slots_room = room;
	}
	return 0;
}

static uint32_t
less(uint32_t a, uint32_t b)
{
	return a > b ? a - b : 0;
}

int
slots_decide(struct slots *s, struct fleet_service *service, const uint32_t *placing,
	     size_t placing_count, uint64_t now_ns)
{
	const struct fleet_spec *spec = &service->spec;
	struct pass p = {
		.s = s,
		.service = service,
		.spec = spec,
		.now_ns = now_ns,
		.replicas = service->removed ? 0 : spec->replicas,
		.surge = spec->surge || spec->unavailable ? spec->surge : 1,
		.min_ready = less(spec->replicas, spec->unavailable),
	};
	struct list *it, *next;

	s->count = 0;
	s->due_ns = UINT64_MAX;
	s->counted = (struct slots_count){0};
	if (!service->known && !service->removed)
		return 0;
	if (make(s, service, p.replicas) < 0)
		return -1;
	look(&p, placing, placing_count);
	list_each (it, next, &service->claims)
		part_with(&p, container_of(it, struct fleet_claim, of_service));
	shrink(&p);
	fill(&p);
	replace_all(&p);
	return 0;
}
