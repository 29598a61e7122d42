/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_PLACE_WORLD_H
#define TESTS_SUPPORT_PLACE_WORLD_H

/*
 * A cell of nodes with real placement cores, on a clock, a network, disks and containers of the
 * test's own. Each node has a fleet of its own, which follows the others' entries after a delay.
 *
 * After each step the world looks at the node as nobody in it can: what runs there fits it, no
 * claim came to a node whose taints it does not tolerate, nothing that wants to be alone is not.
 */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "base/err.h"
#include "base/heap.h"
#include "scheduler/place/placement.h"
#include "tests/support/prop.h"

#define WORLD_MS UINT64_C(1000000)
#define WORLD_S (1000 * WORLD_MS)

enum {
	WORLD_NODES = 256,
	WORLD_SERVICES = 64,
	WORLD_CLAIMS = 512, /* of a node */
	WORLD_HELD = 1024,
	WORLD_JOURNAL = 1 << 20,
	WORLD_WORDS = 4,
};

enum world_kind {
	WORLD_DATAGRAM = 1,
	WORLD_TIMER,
	WORLD_DISK,
	WORLD_GOSSIP, /* from: whose entries */
	WORLD_DETECT, /* from: who is looked for */
	WORLD_READY,
	WORLD_ENDED,
};

struct world_event {
	struct heap_item item;
	enum world_kind kind;
	uint32_t to, from; /* indexes */
	uint32_t life;     /* of the receiver */
	uint64_t token;
	bool good, replace;
	size_t bytes;
	uint8_t data[];
};

struct world_container {
	uint64_t number;
	struct claim claim;
	bool ready, stopping;
};

struct world_node {
	struct placement p;
	struct fleet fleet;
	bool up, started;
	uint32_t life;
	uint32_t side;       /* of a partition */
	uint64_t number_max; /* of its claims so far */
	uint64_t facts_ns;   /* when they changed last */
	uint64_t timer_serial;
	struct fleet_facts facts;
	struct fleet_pair labels[WORLD_WORDS];
	const char *taints[WORLD_WORDS];
	const char *things[WORLD_WORDS];
	char name[16];
	uint8_t *journal;
	size_t journal_bytes;
	struct world_container containers[WORLD_CLAIMS];
	size_t containers_count;
	/* what it has published */
	struct claim claims[WORLD_CLAIMS];
	size_t claims_count;
	uint32_t cpu_free;
	uint64_t memory_free;
	bool load_known;
	struct {
		struct step_action action;
		uint8_t *data;
	} held[WORLD_HELD];
	size_t held_count;
};

struct world {
	struct prop prop;
	struct heap events;
	uint64_t now_ns;
	struct world_node *nodes;
	uint32_t nodes_count;
	struct fleet_spec specs[WORLD_SERVICES];
	size_t specs_count;
	bool syncing[WORLD_NODES][WORLD_NODES];
	uint32_t loss_ppm, double_ppm, disk_fail_ppm;
	uint64_t delay_ns, gossip_ns, start_ns, stop_ns;
	bool never_ready; /* new containers */
	uint64_t orphans, sends, claims_made, stops;
	struct step_actions *spare[8]; /* lists of actions, for steps within steps */
	size_t spare_count;
};

/* ---- events ---- */

static inline struct world_event *
world_event(struct world *w, enum world_kind kind, uint32_t to, uint32_t from, uint64_t in_ns,
	    const void *data, size_t bytes)
{
	struct world_event *e = mem_zalloc(MEM_BASE, sizeof(*e) + bytes);

	prop_check(e);
	e->kind = kind;
	e->to = to;
	e->from = from;
	e->life = w->nodes[to].life;
	e->bytes = bytes;
	if (bytes)
		memcpy(e->data, data, bytes);
	heap_item_init(&e->item);
	prop_check(heap_set(&w->events, &e->item, w->now_ns + in_ns) == 0);
	return e;
}

static inline bool
world_chance(struct world *w, uint32_t ppm)
{
	return ppm && prop_below(&w->prop, 1000000) < ppm;
}

static uint64_t
world_delay(struct world *w, uint64_t mean)
{
	return mean / 2 + prop_below(&w->prop, mean + 1);
}

static inline bool
world_reach(const struct world *w, uint32_t a, uint32_t b)
{
	return w->nodes[a].up && w->nodes[b].up && w->nodes[a].side == w->nodes[b].side;
}

/* ---- gossip ---- */

static inline void
world_gossip_to(struct world *w, uint32_t to, uint32_t from)
{
	if (w->syncing[to][from])
		return;
	w->syncing[to][from] = true;
	world_event(w, WORLD_GOSSIP, to, from, to == from ? 0 : world_delay(w, w->gossip_ns), NULL,
		    0);
}

static inline void
world_gossip(struct world *w, uint32_t from)
{
	for (uint32_t i = 0; i < w->nodes_count; i++)
		world_gossip_to(w, i, from);
}

static inline void
world_take_claims(struct world_node *to, const struct world_node *from)
{
	struct fleet_node *n = fleet_node(&to->fleet, from->facts.node);
	struct list *it, *next;

	list_each (it, next, &n->claims) {
		struct fleet_claim *c = container_of(it, struct fleet_claim, of_node);
		bool there = false;

		for (size_t i = 0; i < from->claims_count; i++)
			there |= from->claims[i].number == c->claim.number;
		/* What gossip has not told of, it does not take back. */
		if (!there && !c->direct)
			fleet_claim_remove(&to->fleet, c->claim.node, c->claim.number);
	}
	for (size_t i = 0; i < from->claims_count; i++) {
		const struct fleet_claim *c =
			fleet_claim(&to->fleet, from->claims[i].node, from->claims[i].number);

		if (!c || c->direct || memcmp(&c->claim, &from->claims[i], sizeof(c->claim)) != 0)
			prop_check(fleet_claim_set(&to->fleet, &from->claims[i]) == 0);
	}
}

static void world_step(struct world *w, uint32_t node, const struct step_input *in);

static inline void
world_local(struct world *w, uint32_t node, uint16_t what, uint64_t token, int16_t status,
	    const void *data, size_t bytes)
{
	world_step(w, node,
		   &(struct step_input){.kind = STEP_LOCAL,
					.what = what,
					.token = token,
					.status = status,
					.data = data,
					.bytes = bytes});
}

static inline void
world_on_gossip(struct world *w, uint32_t to, uint32_t from)
{
	struct world_node *t = &w->nodes[to], *f = &w->nodes[from];

	w->syncing[to][from] = false;
	if (!world_reach(w, to, from))
		return;
	prop_check(fleet_node_set(&t->fleet, &f->facts) == 0);
	fleet_node_status(&t->fleet, f->facts.node, FLEET_ALIVE);
	if (f->load_known)
		fleet_node_load(&t->fleet, f->facts.node, f->cpu_free, f->memory_free);
	world_take_claims(t, f);
	if (t->started)
		world_local(w, to, PLACEMENT_FLEET, 0, 0, NULL, 0);
}

static inline void
world_detect(struct world *w, uint32_t from)
{
	for (uint32_t i = 0; i < w->nodes_count; i++) {
		if (i != from)
			world_event(w, WORLD_DETECT, i, from, 3 * WORLD_S + world_delay(w, WORLD_S),
				    NULL, 0);
	}
}

static inline void
world_on_detect(struct world *w, uint32_t to, uint32_t from)
{
	if (world_reach(w, to, from) || !w->nodes[to].up)
		return;
	fleet_node_status(&w->nodes[to].fleet, w->nodes[from].facts.node, FLEET_DEAD);
	world_local(w, to, PLACEMENT_FLEET, 0, 0, NULL, 0);
}

/* ---- what the others of the node do ---- */

static inline struct world_container *
world_container(struct world_node *n, uint64_t number)
{
	for (size_t i = 0; i < n->containers_count; i++) {
		if (n->containers[i].number == number)
			return &n->containers[i];
	}
	return NULL;
}

static inline const struct fleet_spec *
world_spec(const struct world *w, uint64_t id)
{
	for (size_t i = 0; i < w->specs_count; i++) {
		if (w->specs[i].id == id)
			return &w->specs[i];
	}
	return NULL;
}

static inline void
world_publish(struct world *w, uint32_t node, const struct claim *c)
{
	struct world_node *n = &w->nodes[node];
	size_t at = 0;

	while (at < n->claims_count && n->claims[at].number != c->number)
		at++;
	prop_check(at < WORLD_CLAIMS);
	n->claims_count += at == n->claims_count;
	n->claims[at] = *c;
	world_gossip(w, node);
}

static inline bool
world_tolerates(const struct world_node *n, const struct fleet_spec *s)
{
	for (size_t i = 0; i < n->facts.taints_count; i++) {
		bool good = false;

		for (size_t k = 0; k < s->tolerate_count; k++)
			good |= strcmp(s->tolerate[k], n->facts.taints[i]) == 0;
		if (!good)
			return false;
	}
	return true;
}

static inline void
world_on_claim(struct world *w, uint32_t node, const uint8_t *data)
{
	struct world_node *n = &w->nodes[node];
	struct world_container *c;
	struct claim claim;

	prop_check(claim_decode(data, &claim));
	prop_check(claim.node == n->facts.node);
	world_publish(w, node, &claim);
	c = world_container(n, claim.number);
	/* Adopted: what runs is looked at again, what was on its way out is started again. */
	if (c && claim.state == CLAIM_STARTING) {
		c->stopping = false;
		world_event(w, WORLD_READY, node, node, c->ready ? 0 : w->start_ns, NULL, 0)
			->token = claim.number;
	}
	if (c || claim.state != CLAIM_STARTING)
		return;
	const struct fleet_spec *s = world_spec(w, claim.service);
	/* What was awarded a moment before is told when the journal is written; what was there
	 * before a restart has to be moved first. */
	if (s && s->revision == claim.revision && claim.number > n->number_max &&
	    w->now_ns > n->facts_ns + 10 * WORLD_MS)
		prop_check(world_tolerates(n, s));
	prop_check(n->containers_count < WORLD_CLAIMS);
	n->number_max = claim.number > n->number_max ? claim.number : n->number_max;
	n->containers[n->containers_count++] =
		(struct world_container){.number = claim.number, .claim = claim};
	w->claims_made++;
	if (!w->never_ready)
		world_event(w, WORLD_READY, node, node, world_delay(w, w->start_ns), NULL, 0)
			->token = claim.number;
}

static inline void
world_on_tell(struct world *w, uint32_t node, const struct step_action *a, const uint8_t *data)
{
	struct world_node *n = &w->nodes[node];
	struct world_container *c = world_container(n, a->token);

	switch ((enum placement_tell)a->what) {
	case PLACEMENT_CLAIM:
		world_on_claim(w, node, data);
		break;
	case PLACEMENT_UNCLAIM:
		for (size_t i = 0; i < n->claims_count; i++) {
			if (n->claims[i].number == a->token)
				n->claims[i] = n->claims[--n->claims_count];
		}
		world_gossip(w, node);
		break;
	case PLACEMENT_STOP:
		w->stops++;
		if (c)
			c->stopping = true;
		world_event(w, WORLD_ENDED, node, node, world_delay(w, w->stop_ns), NULL, 0)
			->token = a->token;
		break;
	case PLACEMENT_ORPHAN:
		prop_check(c);
		*c = n->containers[--n->containers_count];
		w->orphans++;
		break;
	case PLACEMENT_LOAD:
		n->load_known = true;
		memcpy(&n->cpu_free, data, 4);
		memcpy(&n->memory_free, data + 8, 8);
		world_gossip(w, node);
		break;
	}
}

/* ---- actions ---- */

static inline void
world_send(struct world *w, uint32_t node, const struct step_action *a, const uint8_t *data)
{
	uint32_t to = a->node - 1;

	prop_check(to < w->nodes_count && a->bytes <= STEP_DATAGRAM_MAX);
	w->sends++;
	for (int copies = world_chance(w, w->double_ppm) ? 2 : 1; copies; copies--) {
		if (to != node && world_chance(w, w->loss_ppm))
			continue;
		world_event(w, WORLD_DATAGRAM, to, node, world_delay(w, w->delay_ns), data,
			    a->bytes);
	}
}

static inline void
world_write(struct world *w, uint32_t node, const struct step_action *a, const uint8_t *data)
{
	struct world_event *e = world_event(w, WORLD_DISK, node, node, WORLD_MS, data, a->bytes);

	e->token = a->token;
	e->replace = a->kind == STEP_REPLACE;
	e->good = !world_chance(w, w->disk_fail_ppm);
	prop_check(a->token && a->what == PLACEMENT_FILE);
}

static inline void
world_do(struct world *w, uint32_t node, const struct step_action *a, const uint8_t *data)
{
	struct world_node *n = &w->nodes[node];

	switch (a->kind) {
	case STEP_SEND:
		world_send(w, node, a, data);
		break;
	case STEP_SET_TIMER:
		n->timer_serial++;
		if (a->at_ns == UINT64_MAX)
			break;
		world_event(w, WORLD_TIMER, node, node,
			    a->at_ns > w->now_ns ? a->at_ns - w->now_ns : 0, NULL, 0)
			->token = n->timer_serial;
		break;
	case STEP_APPEND:
	case STEP_REPLACE:
		world_write(w, node, a, data);
		break;
	case STEP_TELL:
		world_on_tell(w, node, a, data);
		break;
	default:
		prop_check(!"an action of streams");
	}
}

static inline void
world_hold(struct world_node *n, const struct step_action *a, const uint8_t *data)
{
	prop_check(n->held_count < WORLD_HELD);
	n->held[n->held_count].action = *a;
	n->held[n->held_count].data = mem_dup(MEM_BASE, data, a->bytes ? a->bytes : 1);
	prop_check(n->held[n->held_count].data);
	n->held_count++;
}

static inline void
world_let_go(struct world *w, uint32_t node, uint64_t token, bool good)
{
	struct world_node *n = &w->nodes[node];
	size_t kept = 0, count = n->held_count;

	for (size_t i = 0; i < count; i++) {
		if (token && n->held[i].action.after != token) {
			n->held[kept++] = n->held[i];
			continue;
		}
		if (good)
			world_do(w, node, &n->held[i].action, n->held[i].data);
		mem_free(n->held[i].data);
	}
	n->held_count = kept;
}

/* ---- the observer ---- */

static inline void
world_check_node(struct world *w, uint32_t node)
{
	struct world_node *n = &w->nodes[node];
	uint64_t cpu = 0, memory = 0;

	for (size_t i = 0; i < n->containers_count; i++) {
		const struct world_container *c = &n->containers[i];
		const struct ledger_item *item = ledger_claim(&n->p.ledger, c->number);

		if (!item) /* its orphan is not named yet */
			continue;
		cpu += item->cpu_milli;
		memory += item->memory_bytes;
		for (size_t k = 0; k < i; k++) {
			const struct world_container *o = &n->containers[k];
			const struct fleet_spec *a = world_spec(w, c->claim.service);
			const struct fleet_spec *b = world_spec(w, o->claim.service);
			bool same = c->claim.service == o->claim.service &&
				    c->claim.slot == o->claim.slot;

			if (same || !a || !b || !ledger_claim(&n->p.ledger, o->number))
				continue;
			prop_check(a->mode != FLEET_EXCLUSIVE && b->mode != FLEET_EXCLUSIVE);
			prop_check(a != b || a->mode != FLEET_DEDICATED);
		}
	}
	prop_check(!n->facts.cpu_milli || n->p.ledger.cpu_used_milli <= n->facts.cpu_milli);
	prop_check(!n->facts.memory_bytes ||
		   n->p.ledger.memory_used_bytes <= n->facts.memory_bytes);
	prop_check(cpu <= n->p.ledger.cpu_used_milli && memory <= n->p.ledger.memory_used_bytes);
}

static inline void
world_step(struct world *w, uint32_t node, const struct step_input *given)
{
	struct world_node *n = &w->nodes[node];
	struct step_actions *out;
	struct step_input in = *given;

	/* Steps nest: a tell may lead to a local input. */
	out = w->spare_count ? w->spare[--w->spare_count] : mem_alloc(MEM_BASE, sizeof(*out));
	prop_check(out);
	in.now_ns = w->now_ns;
	do {
		step_actions_clear(out);
		placement_step(&n->p, &in, out);
		for (size_t i = 0; i < out->count; i++) {
			const struct step_action *a = &out->items[i];

			if (a->after)
				world_hold(n, a, step_data(out, a));
			else
				world_do(w, node, a, step_data(out, a));
		}
		in = (struct step_input){.kind = STEP_MORE, .now_ns = w->now_ns};
	} while (out->more);
	if (w->spare_count < 8)
		w->spare[w->spare_count++] = out;
	else
		mem_free(out);
	world_check_node(w, node);
}

/* ---- the events' handlers ---- */

static inline void
world_on_disk(struct world *w, const struct world_event *e)
{
	struct world_node *n = &w->nodes[e->to];
	size_t keep = e->bytes;

	/* What fails leaves a part of an append, or the old file. */
	if (!e->good)
		keep = e->replace ? 0 : prop_below(&w->prop, e->bytes + 1);
	if (e->replace && e->good)
		n->journal_bytes = 0;
	if (!e->replace || e->good) {
		prop_check(n->journal_bytes + keep <= WORLD_JOURNAL);
		memcpy(n->journal + n->journal_bytes, e->data, keep);
		n->journal_bytes += keep;
	}
	world_step(w, e->to,
		   &(struct step_input){.kind = STEP_DISK_DONE,
					.token = e->token,
					.status = e->good ? 0 : ERR_SYSTEM});
	world_let_go(w, e->to, e->token, e->good);
}

static inline void
world_on_container(struct world *w, const struct world_event *e)
{
	struct world_node *n = &w->nodes[e->to];
	struct world_container *c = world_container(n, e->token);

	if (e->kind == WORLD_READY) {
		if (!c || c->stopping)
			return;
		c->ready = true;
		world_local(w, e->to, PLACEMENT_STATE, e->token, CLAIM_READY, NULL, 0);
		return;
	}
	if (c && !c->stopping)
		return;
	if (c)
		*c = n->containers[--n->containers_count];
	world_local(w, e->to, PLACEMENT_ENDED, e->token, 0, NULL, 0);
}

static inline void
world_handle(struct world *w, const struct world_event *e)
{
	struct world_node *n = &w->nodes[e->to];

	if (e->kind == WORLD_GOSSIP) {
		world_on_gossip(w, e->to, e->from);
		return;
	}
	if (!n->up || e->life != n->life)
		return;
	switch (e->kind) {
	case WORLD_DATAGRAM:
		if (e->to == e->from || world_reach(w, e->to, e->from))
			world_step(w, e->to,
				   &(struct step_input){.kind = STEP_DATAGRAM,
							.node = e->from + 1,
							.data = e->data,
							.bytes = e->bytes});
		break;
	case WORLD_TIMER:
		if (e->token == n->timer_serial)
			world_step(w, e->to, &(struct step_input){.kind = STEP_TIMER});
		break;
	case WORLD_DISK:
		world_on_disk(w, e);
		break;
	case WORLD_DETECT:
		world_on_detect(w, e->to, e->from);
		break;
	case WORLD_READY:
	case WORLD_ENDED:
		world_on_container(w, e);
		break;
	case WORLD_GOSSIP:
		break;
	}
}

static inline void
world_run(struct world *w, uint64_t for_ns)
{
	uint64_t until = w->now_ns + for_ns;
	struct heap_item *first;

	while ((first = heap_peek(&w->events)) && first->at <= until) {
		struct world_event *e = container_of(first, struct world_event, item);

		heap_pop(&w->events);
		w->now_ns = first->at;
		world_handle(w, e);
		mem_free(e);
	}
	w->now_ns = until;
}

/* ---- nodes ---- */

static inline void
world_node_boot(struct world *w, uint32_t node)
{
	struct world_node *n = &w->nodes[node];
	uint64_t numbers[WORLD_CLAIMS];

	fleet_init(&n->fleet);
	placement_init(&n->p, &n->fleet, n->facts.node, w->prop.state + n->life);
	fleet_on_change(&n->fleet, placement_changed, &n->p);
	n->up = true;
	n->load_known = false;
	n->claims_count = 0;
	prop_check(fleet_node_set(&n->fleet, &n->facts) == 0);
	for (size_t i = 0; i < w->specs_count; i++)
		prop_check(w->specs[i].revision == 0 ||
			   fleet_service_set(&n->fleet, &w->specs[i]) == 0);
	n->fleet.complete = true;
	/* What the others say of themselves is there before the start. */
	for (uint32_t i = 0; i < w->nodes_count; i++) {
		w->syncing[node][i] = false;
		if (i != node && w->nodes[i].started && world_reach(w, node, i))
			world_on_gossip(w, node, i);
	}
	if (n->journal_bytes)
		world_step(w, node,
			   &(struct step_input){.kind = STEP_FILE,
						.what = PLACEMENT_FILE,
						.data = n->journal,
						.bytes = n->journal_bytes});
	n->started = true;
	world_step(w, node, &(struct step_input){.kind = STEP_START});
	for (size_t i = 0; i < n->containers_count; i++)
		numbers[i] = n->containers[i].number;
	world_local(w, node, PLACEMENT_RUNNING, 0, 0, numbers,
		    n->containers_count * sizeof(numbers[0]));
	world_gossip(w, node);
}

static inline void
world_node_kill(struct world *w, uint32_t node, bool containers_too)
{
	struct world_node *n = &w->nodes[node];

	if (!n->up)
		return;
	n->up = n->started = false;
	n->life++;
	placement_fini(&n->p);
	fleet_fini(&n->fleet);
	world_let_go(w, node, 0, false);
	if (containers_too)
		n->containers_count = 0;
	world_detect(w, node);
}

static inline void
world_facts(struct world *w, uint32_t node)
{
	w->nodes[node].facts_ns = w->now_ns;
	if (w->nodes[node].up)
		world_gossip(w, node);
}

static inline void
world_side(struct world *w, uint32_t node, uint32_t side)
{
	w->nodes[node].side = side;
	for (uint32_t i = 0; i < w->nodes_count; i++) {
		if (i == node)
			continue;
		world_gossip_to(w, i, node);
		world_gossip_to(w, node, i);
		world_event(w, WORLD_DETECT, i, node, 3 * WORLD_S + world_delay(w, WORLD_S), NULL,
			    0);
		world_event(w, WORLD_DETECT, node, i, 3 * WORLD_S + world_delay(w, WORLD_S), NULL,
			    0);
	}
}

static inline void
world_init(struct world *w, uint64_t seed, uint32_t nodes)
{
	prop_check(nodes <= WORLD_NODES);
	memset(w, 0, sizeof(*w));
	w->prop.state = seed;
	w->now_ns = 1000 * WORLD_S;
	heap_init(&w->events, MEM_BASE);
	w->nodes = mem_array(MEM_BASE, nodes, sizeof(w->nodes[0]));
	prop_check(w->nodes);
	w->delay_ns = WORLD_MS;
	w->gossip_ns = 50 * WORLD_MS;
	w->start_ns = 200 * WORLD_MS;
	w->stop_ns = 200 * WORLD_MS;
	w->nodes_count = nodes;
	for (uint32_t i = 0; i < nodes; i++) {
		struct world_node *n = &w->nodes[i];

		snprintf(n->name, sizeof(n->name), "edge-%u", i + 1);
		n->journal = mem_alloc(MEM_BASE, WORLD_JOURNAL);
		prop_check(n->journal);
		n->facts = (struct fleet_facts){
			.node = i + 1,
			.name = n->name,
			.zone = "",
			.platform = "linux/amd64",
			.cpu_milli = 4000,
			.memory_bytes = (uint64_t)8 << 30,
			.labels = n->labels,
			.taints = n->taints,
			.things = n->things,
		};
	}
}

static inline void
world_boot(struct world *w)
{
	for (uint32_t i = 0; i < w->nodes_count; i++)
		world_node_boot(w, i);
}

static inline void
world_fini(struct world *w)
{
	struct heap_item *first;

	for (uint32_t i = 0; i < w->nodes_count; i++) {
		world_node_kill(w, i, true);
		mem_free(w->nodes[i].journal);
	}
	while ((first = heap_pop(&w->events)))
		mem_free(container_of(first, struct world_event, item));
	heap_fini(&w->events);
	while (w->spare_count)
		mem_free(w->spare[--w->spare_count]);
	mem_free(w->nodes);
}

/* ---- services ---- */

static inline struct fleet_spec *
world_service(struct world *w, const char *name, uint32_t replicas)
{
	struct fleet_spec *s = &w->specs[w->specs_count++];

	prop_check(w->specs_count <= WORLD_SERVICES);
	*s = (struct fleet_spec){
		.id = rendezvous_text(name),
		.name = name,
		.replicas = replicas,
		.platform = "",
		.surge = 1,
	};
	return s;
}

/* A new revision goes to all nodes that can be reached; others hear of it when they start. */
static inline void
world_deploy(struct world *w, struct fleet_spec *s)
{
	s->revision++;
	for (uint32_t i = 0; i < w->nodes_count; i++) {
		if (!w->nodes[i].up)
			continue;
		prop_check(fleet_service_set(&w->nodes[i].fleet, s) == 0);
		world_local(w, i, PLACEMENT_FLEET, 0, 0, NULL, 0);
	}
}

static inline void
world_undeploy(struct world *w, struct fleet_spec *s)
{
	uint64_t id = s->id;

	s->replicas = 0;
	for (uint32_t i = 0; i < w->nodes_count; i++) {
		if (!w->nodes[i].up)
			continue;
		fleet_service_remove(&w->nodes[i].fleet, id);
		world_local(w, i, PLACEMENT_FLEET, 0, 0, NULL, 0);
	}
}

/* Running containers of a slot on nodes that are up and whose node claims them. */
static inline uint32_t
world_slot(const struct world *w, const struct fleet_spec *s, uint32_t slot, bool ready_only)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < w->nodes_count; i++) {
		const struct world_node *n = &w->nodes[i];

		for (size_t k = 0; n->up && k < n->containers_count; k++) {
			const struct world_container *c = &n->containers[k];
			const struct ledger_item *item = ledger_claim(&n->p.ledger, c->number);

			found += item && item->claim.service == s->id && item->claim.slot == slot &&
				 item->claim.state != CLAIM_LEAVING && (!ready_only || c->ready);
		}
	}
	return found;
}

static inline uint32_t
world_ready(const struct world *w, const struct fleet_spec *s)
{
	static bool ready[FLEET_REPLICAS_MAX];
	uint32_t found = 0;

	memset(ready, 0, sizeof(ready));
	for (uint32_t i = 0; i < w->nodes_count; i++) {
		const struct world_node *n = &w->nodes[i];

		for (size_t k = 0; n->up && k < n->containers_count; k++) {
			const struct claim *c = &n->containers[k].claim;
			const struct ledger_item *item;

			if (c->service != s->id || !n->containers[k].ready ||
			    c->slot >= s->replicas)
				continue;
			item = ledger_claim(&n->p.ledger, c->number);
			if (!item || item->claim.state == CLAIM_LEAVING)
				continue;
			found += !ready[c->slot];
			ready[c->slot] = true;
		}
	}
	return found;
}

static inline const struct coordinator_work *
world_work(const struct world *w, const struct fleet_spec *s, uint32_t *node_out)
{
	for (uint32_t i = 0; i < w->nodes_count; i++) {
		const struct coordinator_work *work =
			w->nodes[i].up ? coordinator_of(&w->nodes[i].p.coordinator, s->id) : NULL;

		if (work) {
			*node_out = i;
			return work;
		}
	}
	return NULL;
}

/* For the one who looks into a failure. */
static inline void
world_show(const struct world *w, const struct fleet_spec *s)
{
	uint32_t node = 0;
	const struct coordinator_work *work = world_work(w, s, &node);

	fprintf(stderr, "%s revision %u x%u at %" PRIu64 " ms", s->name, s->revision, s->replicas,
		w->now_ns / WORLD_MS);
	if (work)
		fprintf(stderr, ", by edge-%u, waits %d (%x) until %" PRIu64 " ms, %zu under way",
			node + 1, work->waits, work->waits_reasons, work->waits_until_ns / WORLD_MS,
			work->attempts_count);
	fprintf(stderr, "\n");
	for (uint32_t i = 0; i < w->nodes_count; i++) {
		const struct fleet_service *fs = fleet_service(&w->nodes[i].fleet, s->id);

		if (w->nodes[i].up && fs)
			fprintf(stderr, " %s: by %u%s", w->nodes[i].name, fs->coordinator,
				fs->work ? " works" : "");
	}
	fprintf(stderr, "\n");
	if (work) {
		const struct fleet_service *fs = work->service;

		for (struct list *it = fs->claims.next; it != &fs->claims; it = it->next) {
			const struct fleet_claim *c =
				container_of(it, struct fleet_claim, of_service);

			fprintf(stderr,
				"  heard of: node %u %d slot %u revision %u %s number %" PRIu64
				", asked %" PRIu64 ", rival %" PRIu64 "\n",
				c->claim.node, c->node ? (int)c->node->status : 0, c->claim.slot,
				c->claim.revision,
				claim_state_name((enum claim_state)c->claim.state), c->claim.number,
				c->asked_ns / WORLD_MS, c->rival_ns / WORLD_MS);
		}
	}
	for (uint32_t i = 0; i < w->nodes_count; i++) {
		const struct world_node *n = &w->nodes[i];

		for (struct list *it = n->p.ledger.items.next; n->up && it != &n->p.ledger.items;
		     it = it->next) {
			const struct ledger_item *k = container_of(it, struct ledger_item, link);

			if (k->claim.service == s->id)
				fprintf(stderr,
					"  %s phase %d slot %u revision %u %s number %" PRIu64 "\n",
					n->name, k->phase, k->claim.slot, k->claim.revision,
					claim_state_name((enum claim_state)k->claim.state),
					k->claim.number);
		}
	}
}

/* Every slot is filled once, or the service waits and no node would take it. */
static inline void
world_check_quiet(struct world *w, const struct fleet_spec *s)
{
	uint32_t missing = 0, node = 0;
	const struct coordinator_work *work;

	for (uint32_t i = 0; i < s->replicas; i++) {
		uint32_t there = world_slot(w, s, i, false);

		if (there > 1)
			world_show(w, s);
		prop_check(there <= 1);
		missing += !there;
	}
	if (!missing)
		return;
	work = world_work(w, s, &node);
	if (!work || !work->waits)
		world_show(w, s);
	prop_check(work && work->waits && work->waits_reasons);
	for (uint32_t i = 0; i < w->nodes_count; i++) {
		struct world_node *n = &w->nodes[node];
		const struct fleet_service *service = fleet_service(&n->fleet, s->id);
		struct fit fit;

		coordinator_why(&n->p.coordinator, service,
				fleet_node(&n->fleet, w->nodes[i].facts.node), &fit);
		if (!fit.reasons) {
			world_show(w, s);
			fprintf(stderr, "node %u would do\n", w->nodes[i].facts.node);
		}
		prop_check(fit.reasons);
	}
}

#endif
