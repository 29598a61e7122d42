/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Promises and claims of this node. Whatever an item holds is taken when the promise is given and
 * comes back in one place, item_free: so no path can give the same memory, core or port twice.
 * The journal is in ledger_journal.c.
 */
#include "scheduler/place/ledger_item.h"

#include <assert.h>
#include <string.h>
#include "base/mutant.h"

#define MS_NS UINT64_C(1000000)

enum {
	CPU_WEIGHT_MILLI = 50, /* of what reserves nothing */
	MEMORY_WEIGHT_BYTES = 32 << 20,
	PRICE_SHIFT = 20,
	RETRY_AFTER_MS = 1000,
};

void
ledger_init(struct ledger *l, struct fleet *fleet, uint32_t self, uint16_t file)
{
	memset(l, 0, sizeof(*l));
	l->fleet = fleet;
	l->self = self;
	l->file = file;
	l->next_number = 1;
	map_init_seeded(&l->by_offer, MEM_SCHEDULER, 3);
	map_init_seeded(&l->by_number, MEM_SCHEDULER, 4);
	map_init_seeded(&l->by_slot, MEM_SCHEDULER, 5);
	list_init(&l->items);
	list_init(&l->due);
	heap_init(&l->timers, MEM_SCHEDULER);
}

void
ledger_fini(struct ledger *l)
{
	struct list *it, *next;

	list_each (it, next, &l->items)
		ledger_item_free(l, container_of(it, struct ledger_item, link));
	map_fini(&l->by_offer);
	map_fini(&l->by_number);
	map_fini(&l->by_slot);
	heap_fini(&l->timers);
}

/* ---- items ---- */

static uint64_t
cpu_weight(const struct ledger_item *i)
{
	return i->cpu_milli ? i->cpu_milli : CPU_WEIGHT_MILLI;
}

static uint64_t
memory_weight(const struct ledger_item *i)
{
	return i->memory_bytes ? i->memory_bytes : MEMORY_WEIGHT_BYTES;
}

size_t
ledger_item_bytes(const struct ledger_item *i)
{
	return claimlog_size(
		&(struct claimlog_record){.kind = CLAIMLOG_CLAIM, .takes_count = i->takes_count});
}

struct slot_id {
	uint64_t service;
	uint64_t slot;
};

static struct ledger_item *
first_of(const struct ledger *l, uint64_t service, uint32_t slot)
{
	struct slot_id id = {service, slot};

	return map_get(&l->by_slot, &id, sizeof(id));
}

int
ledger_item_name(struct ledger *l, struct ledger_item *i, const struct claim *claim)
{
	struct slot_id id = {claim->service, claim->slot};
	struct ledger_item *first = first_of(l, claim->service, claim->slot);

	if (map_put(&l->by_slot, &id, sizeof(id), i, NULL) < 0)
		return -1;
	i->same = first;
	i->claim = *claim;
	i->named = true;
	return 0;
}

static void
forget_name(struct ledger *l, struct ledger_item *i)
{
	struct slot_id id = {i->claim.service, i->claim.slot};
	struct ledger_item *before = first_of(l, id.service, (uint32_t)id.slot);

	if (!i->named)
		return;
	if (before != i) {
		while (before->same != i)
			before = before->same;
		before->same = i->same;
	} else if (i->same) {
		/* The key is there: replacing its value takes no memory. */
		int put = map_put(&l->by_slot, &id, sizeof(id), i->same, NULL);
		assert(put == 0);
	} else {
		map_remove(&l->by_slot, &id, sizeof(id));
	}
}

struct ledger_item *
ledger_item_new(struct ledger *l, size_t takes_count)
{
	size_t bytes = sizeof(struct ledger_item) + takes_count * sizeof(uint64_t);
	struct ledger_item *i = mem_zalloc(MEM_SCHEDULER, bytes);

	if (!i)
		return NULL;
	i->takes_count = takes_count;
	heap_item_init(&i->timer);
	list_init(&i->due);
	list_push(&l->items, &i->link);
	l->items_count++;
	l->journal_bytes += ledger_item_bytes(i);
	return i;
}

void
ledger_item_hold(struct ledger *l, struct ledger_item *i, uint32_t cpu_milli, uint64_t memory_bytes,
		 enum fleet_mode mode)
{
	i->cpu_milli = cpu_milli;
	i->memory_bytes = memory_bytes;
	i->mode = mode;
	l->exclusives += mode == FLEET_EXCLUSIVE;
	l->cpu_used_milli += cpu_milli;
	l->memory_used_bytes += memory_bytes;
	l->cpu_weight_milli += cpu_weight(i);
	l->memory_weight_bytes += memory_weight(i);
}

void
ledger_item_free(struct ledger *l, struct ledger_item *i)
{
	l->exclusives -= i->mode == FLEET_EXCLUSIVE;
	l->cpu_used_milli -= i->cpu_milli;
	l->memory_used_bytes -= i->memory_bytes;
	l->cpu_weight_milli -= cpu_weight(i);
	l->memory_weight_bytes -= memory_weight(i);
	l->journal_bytes -= ledger_item_bytes(i);
	l->items_count--;
	forget_name(l, i);
	if (i->offer)
		map_remove_u64(&l->by_offer, i->offer);
	if (i->claim.number)
		map_remove_u64(&l->by_number, i->claim.number);
	heap_remove(&l->timers, &i->timer);
	list_remove(&i->link);
	list_remove(&i->due);
	mem_free(i);
}

const struct ledger_item *
ledger_claim(const struct ledger *l, uint64_t number)
{
	return map_get_u64(&l->by_number, number);
}

void
ledger_item_due(struct ledger *l, struct ledger_item *i)
{
	if (list_empty(&i->due))
		list_push(&l->due, &i->due);
}

/* ---- what is free ---- */

static uint64_t
less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

uint32_t
ledger_cpu_free_milli(const struct ledger *l)
{
	const struct fleet_node *n = fleet_node(l->fleet, l->self);

	return n ? (uint32_t)less(n->cpu_milli, l->cpu_used_milli) : 0;
}

uint64_t
ledger_memory_free_bytes(const struct ledger *l)
{
	const struct fleet_node *n = fleet_node(l->fleet, l->self);

	return n ? less(n->memory_bytes, l->memory_used_bytes) : 0;
}

/* The part of the node that is used when it is there: what is emptier is cheaper. */
static uint32_t
price(const struct ledger *l, const struct fleet_node *n)
{
	uint64_t cpu = n->cpu_milli ? (l->cpu_weight_milli << PRICE_SHIFT) / n->cpu_milli : 0;
	uint64_t memory = n->memory_bytes >> PRICE_SHIFT;

	memory = memory ? l->memory_weight_bytes / memory : 0;
	cpu = cpu > memory ? cpu : memory;
	if (!n->cpu_milli && !n->memory_bytes)
		cpu = l->items_count;
	return cpu < UINT32_MAX ? (uint32_t)cpu : UINT32_MAX;
}

/* ---- whether it fits ---- */

static uint32_t
neighbours_fail(const struct ledger *l, const struct fleet_service *s, uint32_t slot)
{
	uint32_t reasons = 0;

	if (s->spec.mode == FLEET_SHARED && !l->exclusives)
		return 0;
	for (struct list *it = l->items.next; it != &l->items; it = it->next) {
		const struct ledger_item *i = container_of(it, struct ledger_item, link);

		if (i->claim.service == s->id && i->claim.slot == slot)
			continue;
		if (s->spec.mode == FLEET_EXCLUSIVE)
			reasons |= FIT_OCCUPIED;
		else if (i->mode == FLEET_EXCLUSIVE)
			reasons |= FIT_EXCLUSIVE;
		if (s->spec.mode == FLEET_DEDICATED && i->claim.service == s->id)
			reasons |= FIT_DEDICATED;
	}
	return reasons;
}

static bool
holds(const struct ledger_item *i, uint64_t thing)
{
	for (size_t k = 0; k < i->takes_count; k++) {
		if (i->takes[k] == thing)
			return true;
	}
	return false;
}

static uint32_t
takes_fail(const struct ledger *l, const struct fleet_service *s)
{
	for (size_t k = 0; k < s->takes.count; k++) {
		for (struct list *it = l->items.next; it != &l->items; it = it->next) {
			if (holds(container_of(it, struct ledger_item, link),
				  s->takes.items[k].hash))
				return FIT_TAKEN;
		}
	}
	return 0;
}

static uint32_t
room_fails(const struct ledger *l, const struct fleet_service *s, const struct fleet_node *n)
{
	uint32_t reasons = 0;

	if (n->cpu_milli &&
	    MUTANT(101, false, s->spec.cpu_milli > less(n->cpu_milli, l->cpu_used_milli)))
		reasons |= FIT_CPU;
	if (n->memory_bytes && s->spec.memory_bytes > less(n->memory_bytes, l->memory_used_bytes))
		reasons |= FIT_MEMORY;
	if (l->items_count >= LEDGER_CLAIMS_MAX ||
	    l->journal_bytes + CLAIMLOG_BYTES_MAX > LEDGER_BYTES_MAX)
		reasons |= FIT_FULL;
	return reasons;
}

static uint32_t
refuses(const struct ledger *l, const struct placemsg *m, const struct fleet_service *s,
	const struct fleet_node *n)
{
	uint32_t reasons = 0;

	if (l->cordoned)
		reasons |= FIT_CORDONED;
	if (l->draining)
		reasons |= FIT_DRAINING;
	if (!n || !s || !s->known || s->removed || s->spec.revision != m->revision ||
	    s->spec.cpu_milli != m->cpu_milli || s->spec.memory_bytes != m->memory_bytes ||
	    s->spec.epoch != m->epoch)
		return reasons | FIT_UNKNOWN;
	/* Whether it is alive the node knows best itself. */
	reasons |= fit_facts(s, n) & ~(uint32_t)(FIT_DEAD | FIT_SUSPECT);
	return reasons | neighbours_fail(l, s, m->slot) | takes_fail(l, s) | room_fails(l, s, n);
}

/* ---- messages ---- */

static void
say_reject(struct ledger *l, uint32_t to, uint64_t offer, uint32_t reasons,
	   struct step_actions *out)
{
	struct placemsg m = {
		.kind = PLACEMSG_REJECT,
		.offer = offer,
		.reasons = reasons,
		.ttl_ms = RETRY_AFTER_MS,
		.cpu_milli = ledger_cpu_free_milli(l),
		.memory_bytes = ledger_memory_free_bytes(l),
	};

	placemsg_send(out, to, &m, 0);
}

static void
say_promise(struct ledger *l, uint32_t to, const struct ledger_item *i, uint64_t now_ns,
	    struct step_actions *out)
{
	struct placemsg m = {
		.kind = PLACEMSG_PROMISE,
		.offer = i->offer,
		.price = price(l, fleet_node(l->fleet, l->self)),
		.ttl_ms = (uint32_t)(less(i->timer.at, now_ns) / MS_NS),
		.cpu_milli = ledger_cpu_free_milli(l),
		.memory_bytes = ledger_memory_free_bytes(l),
	};

	placemsg_send(out, to, &m, 0);
}

static void
say_claimed(uint32_t to, uint64_t offer, const struct ledger_item *i, uint64_t after,
	    struct step_actions *out)
{
	struct placemsg m = {.kind = PLACEMSG_CLAIMED, .offer = offer, .claim = i->claim};

	placemsg_send(out, to, &m, after);
}

/* The claim that there is already, so that nothing is claimed twice on one node. */
static struct ledger_item *
find(const struct ledger *l, const struct placemsg *m, uint32_t revision)
{
	for (struct ledger_item *i = first_of(l, m->service, m->slot); i; i = i->same) {
		if (i->phase == LEDGER_HELD && i->claim.state != CLAIM_LEAVING &&
		    i->claim.epoch == m->epoch && (!revision || i->claim.revision == revision))
			return i;
	}
	return NULL;
}

static struct ledger_item *
promise(struct ledger *l, const struct placemsg *m, const struct fleet_service *s, uint64_t now_ns)
{
	struct ledger_item *i = ledger_item_new(l, s->takes.count);

	if (!i)
		return NULL;
	ledger_item_hold(l, i, s->spec.cpu_milli, s->spec.memory_bytes, s->spec.mode);
	i->phase = LEDGER_PROMISED;
	struct claim claim = {
		.service = m->service,
		.slot = m->slot,
		.revision = m->revision,
		.epoch = m->epoch,
		.node = l->self,
		.state = CLAIM_STARTING,
	};
	for (size_t k = 0; k < s->takes.count; k++)
		i->takes[k] = s->takes.items[k].hash;
	if (ledger_item_name(l, i, &claim) < 0 || map_put_u64(&l->by_offer, m->offer, i) < 0 ||
	    heap_set(&l->timers, &i->timer, now_ns + LEDGER_PROMISE_MS * MS_NS) < 0) {
		map_remove_u64(&l->by_offer, m->offer);
		ledger_item_free(l, i);
		return NULL;
	}
	i->offer = m->offer;
	return i;
}

static void
on_offer(struct ledger *l, uint32_t from, const struct placemsg *m, uint64_t now_ns,
	 struct step_actions *out)
{
	const struct fleet_service *s = fleet_service(l->fleet, m->service);
	const struct fleet_node *n = fleet_node(l->fleet, l->self);
	struct ledger_item *i = map_get_u64(&l->by_offer, m->offer);
	uint32_t reasons;

	if (i && i->phase == LEDGER_PROMISED) {
		say_promise(l, from, i, now_ns, out);
		return;
	}
	if (!i || i->phase != LEDGER_HELD)
		i = find(l, m, m->revision);
	if (i) {
		say_claimed(from, m->offer, i, 0, out);
		return;
	}
	if (map_get_u64(&l->by_offer, m->offer))
		return;
	reasons = refuses(l, m, s, n);
	if (reasons)
		say_reject(l, from, m->offer, reasons, out);
	else if ((i = promise(l, m, s, now_ns)))
		say_promise(l, from, i, now_ns, out);
	else
		say_reject(l, from, m->offer, FIT_FULL, out);
}

/* What came between promise and award: another revision, a taint, a drain. */
static uint32_t
no_longer(const struct ledger *l, const struct ledger_item *i)
{
	const struct fleet_service *s = fleet_service(l->fleet, i->claim.service);
	const struct fleet_node *n = fleet_node(l->fleet, l->self);

	if (!s || !n || !s->known || s->removed || s->spec.revision != i->claim.revision)
		return FIT_UNKNOWN;
	return MUTANT(104, 0, fit_moves(s, n) | (l->draining ? FIT_DRAINING : 0));
}

static void
claim(struct ledger *l, uint32_t from, struct ledger_item *i, struct step_actions *out)
{
	i->claim.number = l->next_number;
	if (map_put_u64(&l->by_number, i->claim.number, i) < 0) {
		i->claim.number = 0;
		say_reject(l, from, i->offer, FIT_FULL, out);
		return;
	}
	l->next_number += MUTANT(103, 0, 1);
	heap_remove(&l->timers, &i->timer);
	i->phase = LEDGER_WRITING;
	ledger_journal_append(l, i, out);
	ledger_tell_claim(i, i->claim.number, out);
	say_claimed(from, i->offer, i, i->claim.number, out);
}

static void
on_award(struct ledger *l, uint32_t from, const struct placemsg *m, struct step_actions *out)
{
	struct ledger_item *i = map_get_u64(&l->by_offer, m->offer);
	struct ledger_item *there = find(l, m, i ? i->claim.revision : 0);
	uint32_t reasons;

	if (there) {
		say_claimed(from, m->offer, there, 0, out);
		if (i && i->phase == LEDGER_PROMISED)
			ledger_item_free(l, i);
	} else if (!i || i->claim.service != m->service || i->claim.slot != m->slot) {
		say_reject(l, from, m->offer, FIT_EXPIRED, out);
	} else if (i->phase == LEDGER_DOUBTFUL) {
		say_reject(l, from, m->offer, FIT_JOURNAL, out);
	} else if (i->phase == LEDGER_PROMISED && (reasons = no_longer(l, i))) {
		say_reject(l, from, m->offer, reasons, out);
		ledger_item_free(l, i);
	} else if (i->phase == LEDGER_PROMISED) {
		claim(l, from, i, out);
	}
}

/* As far as this node has heard, the winner is there: a coordinator that has heard less must not
 * end the only one that is ready. */
static bool
right_to_leave(const struct ledger *l, const struct placemsg *m, const struct ledger_item *i)
{
	const struct fleet_service *s = fleet_service(l->fleet, m->service);
	const struct claim *mine = &i->claim;

	if (!m->winner || mine->state == CLAIM_FAILED)
		return true;
	for (struct list *it = s ? s->claims.next : NULL; it && it != &s->claims; it = it->next) {
		const struct fleet_claim *c = container_of(it, struct fleet_claim, of_service);

		if (c->claim.node != m->winner || c->claim.slot != mine->slot ||
		    c->claim.state != CLAIM_READY || !fleet_claim_lives(c) ||
		    (c->claim.node == l->self && c->claim.number == mine->number))
			continue;
		if (m->retire != CLAIM_RETIRE_DUPLICATE || claim_before(&c->claim, mine))
			return true;
	}
	return false;
}

static void
leave(struct ledger *l, struct ledger_item *i, enum claim_retire why)
{
	i->claim.state = CLAIM_LEAVING;
	i->claim.reason = (uint16_t)why;
	i->log = i->tell = i->stop = true;
	ledger_item_due(l, i);
}

/* Who asks may never hear from gossip that it ended: it may not have heard of it from there in the
 * first place. */
static void
say_gone(uint32_t to, const struct placemsg *m, struct step_actions *out)
{
	const struct placemsg gone = {
		.kind = PLACEMSG_GONE, .service = m->service, .number = m->number};

	placemsg_send(out, to, &gone, 0);
}

static void
on_ask(const struct ledger *l, uint32_t from, const struct placemsg *m, struct step_actions *out)
{
	const struct ledger_item *i = ledger_claim(l, m->number);

	if (!i)
		say_gone(from, m, out);
	else if (i->phase == LEDGER_HELD && i->claim.service == m->service)
		say_claimed(from, 0, i, 0, out);
}

static void
on_retire(struct ledger *l, uint32_t from, const struct placemsg *m, struct step_actions *out)
{
	struct ledger_item *i = map_get_u64(&l->by_number, m->number);

	if (!i) {
		say_gone(from, m, out);
		return;
	}
	if (i->phase != LEDGER_HELD || i->claim.service != m->service)
		return;
	if (i->claim.state != CLAIM_LEAVING) {
		if (!right_to_leave(l, m, i))
			return;
		leave(l, i, m->retire);
	}
	say_claimed(from, 0, i, 0, out);
}

void
ledger_message(struct ledger *l, uint32_t from, const struct placemsg *m, uint64_t now_ns,
	       struct step_actions *out)
{
	struct ledger_item *i;

	switch (m->kind) {
	case PLACEMSG_OFFER:
		on_offer(l, from, m, now_ns, out);
		break;
	case PLACEMSG_AWARD:
		on_award(l, from, m, out);
		break;
	case PLACEMSG_RELEASE:
		i = map_get_u64(&l->by_offer, m->offer);
		if (i && i->phase == LEDGER_PROMISED)
			ledger_item_free(l, i);
		break;
	case PLACEMSG_RETIRE:
		on_retire(l, from, m, out);
		break;
	case PLACEMSG_ASK:
		on_ask(l, from, m, out);
		break;
	case PLACEMSG_PROMISE:
	case PLACEMSG_REJECT:
	case PLACEMSG_CLAIMED:
	case PLACEMSG_GONE:
		break;
	}
}

/* ---- the node's other parts ---- */

void
ledger_state(struct ledger *l, uint64_t number, enum claim_state state, uint16_t reason)
{
	struct ledger_item *i = map_get_u64(&l->by_number, number);

	/* What leaves goes on leaving; only an order makes it leave. */
	if (!i || i->phase != LEDGER_HELD || i->claim.state == CLAIM_LEAVING ||
	    state == CLAIM_LEAVING || (i->claim.state == state && i->claim.reason == reason))
		return;
	i->claim.state = (uint8_t)state;
	i->claim.reason = reason;
	i->tell = true;
	ledger_item_due(l, i);
}

void
ledger_runs(struct ledger *l, uint64_t cpu_milli, uint64_t memory_bytes)
{
	l->cpu_used_milli += cpu_milli - l->runs_cpu_milli;
	l->memory_used_bytes += memory_bytes - l->runs_memory_bytes;
	l->cpu_weight_milli += cpu_milli - l->runs_cpu_milli;
	l->memory_weight_bytes += memory_bytes - l->runs_memory_bytes;
	l->runs_cpu_milli = cpu_milli;
	l->runs_memory_bytes = memory_bytes;
}

void
ledger_cordon(struct ledger *l, bool cordoned)
{
	l->cordoned = cordoned;
}

void
ledger_drain(struct ledger *l, uint64_t until_ns)
{
	l->draining = until_ns != 0;
	l->drained = false;
	l->drain_until_ns = until_ns;
}

static void
end_drain(struct ledger *l)
{
	l->drained = true;
	for (struct list *it = l->items.next; it != &l->items; it = it->next) {
		struct ledger_item *i = container_of(it, struct ledger_item, link);

		if (i->phase == LEDGER_HELD && i->claim.state != CLAIM_LEAVING)
			leave(l, i, CLAIM_RETIRE_DEADLINE);
	}
}

/* ---- time ---- */

void
ledger_tell_claim(const struct ledger_item *i, uint64_t after, struct step_actions *out)
{
	uint8_t bytes[CLAIM_BYTES];
	struct step_action *a;

	claim_encode(&i->claim, bytes);
	a = step_add(out, STEP_TELL, bytes, sizeof(bytes));
	a->what = LEDGER_TELL_CLAIM;
	a->token = i->claim.number;
	a->after = MUTANT(102, 0, after);
}

static void
tell(struct ledger *l, struct ledger_item *i, struct step_actions *out)
{
	uint8_t why = (uint8_t)i->claim.reason;
	struct step_action *a;

	if (i->log)
		ledger_journal_append(l, i, out);
	if (i->tell)
		ledger_tell_claim(i, 0, out);
	if (i->stop) {
		a = step_add(out, STEP_TELL, &why, 1);
		a->what = LEDGER_TELL_STOP;
		a->token = i->claim.number;
	}
	i->log = i->tell = i->stop = false;
}

bool
ledger_work(struct ledger *l, uint64_t now_ns, struct step_actions *out)
{
	struct heap_item *first;

	while ((first = heap_peek(&l->timers)) && first->at <= now_ns)
		ledger_item_free(l, container_of(first, struct ledger_item, timer));
	if (l->draining && !l->drained && now_ns >= l->drain_until_ns)
		end_drain(l);
	while (!list_empty(&l->due)) {
		struct ledger_item *i = container_of(l->due.next, struct ledger_item, due);

		if (!step_actions_room(out, 3, CLAIMLOG_BYTES_MAX + CLAIM_BYTES + 1))
			return true;
		list_remove(&i->due);
		tell(l, i, out);
	}
	return ledger_journal_work(l, now_ns, out);
}

uint64_t
ledger_due_ns(const struct ledger *l)
{
	const struct heap_item *first = heap_peek(&l->timers);
	uint64_t due = first ? first->at : UINT64_MAX;

	if (l->draining && !l->drained && l->drain_until_ns < due)
		due = l->drain_until_ns;
	if (l->rewrite && !l->rewrite_token && l->rewrite_at_ns < due &&
	    CLAIMLOG_SMALL_BYTES + l->journal_bytes <= STEP_BYTES_MAX)
		due = l->rewrite_at_ns;
	return due;
}
