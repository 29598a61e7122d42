/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fleet follows what nodes say of themselves: claims, replicas and the rest of their entries.
 *
 * A node that begins anew (its process, not its machine) names all of its own again within moments.
 * What it does not name is kept for a while, so that nothing is moved for that.
 */
#include "scheduler/placing_inside.h"

#include <string.h>
#include "scheduler/remote.h"

enum { UNREAD_MS = 500, UNREAD_DOUBLINGS_MAX = 5 };

/* Something could not be taken in: all of it is read again then. What it most often waits for, a
 * service or a node that is not known yet, ends the wait (placing_entries_sooner); else it is
 * longer each time: an entry that makes no sense for good must not keep a node busy. */
static void
later(struct placing *p)
{
	p->unread = true;
	p->unread_ns = p->m->now_ns + (UNREAD_MS * PLACING_MS_NS << p->unread_tries);
}

bool
placing_entries_taken(const struct placing *p)
{
	return !p->unread;
}

void
placing_entries_read(struct placing *p)
{
	if (p->unread && p->m->now_ns >= p->unread_ns) {
		p->unread = false;
		p->unread_tries += p->unread_tries < UNREAD_DOUBLINGS_MAX;
		p->link.again(p->link.arg, 0);
		if (!p->unread)
			p->unread_tries = 0;
	}
	if (p->unread)
		model_wake_at(p->m, p->unread_ns);
}

static void
take_claim(struct placing *p, struct placing_peer *n, uint64_t id, const void *value, size_t bytes)
{
	struct fleet_claim *c;
	struct claim claim;

	if (!value) {
		fleet_claim_remove(&p->fleet, n->id, id);
		return;
	}
	if (!tidings_take_claim(value, bytes, n->id, id, &claim))
		return;
	if (fleet_claim_set(&p->fleet, &claim) < 0) {
		later(p);
		return;
	}
	c = fleet_claim(&p->fleet, n->id, id);
	if (!c->seen_ns)
		c->seen_ns = p->m->now_ns;
	c->life = n->life;
}

/* A node's replicas have its number before theirs, but for what it had before it was in a cluster:
 * one that names another node's could stand where that one is about to make its own. */
static bool
may_have(const struct placing_peer *n, uint64_t id)
{
	return id >> 32 == 0 || id >> 32 == n->id;
}

static void
take_replica(struct placing *p, struct placing_peer *n, uint64_t id, const void *value,
	     size_t bytes)
{
	struct tidings_replica t;
	struct replica *r;

	if (!value) {
		remote_drop(p->m, n->id, id);
		return;
	}
	if (!placing_peer_lives(n) || !may_have(n, id) || !tidings_take_replica(value, bytes, &t))
		return;
	if (!remote_take(p->m, n->id, n->name, id, &t)) {
		/* Its service is not known yet: the store's news are on their way. */
		later(p);
		return;
	}
	r = model_replica(p->m, id);
	r->life_of_node = n->life;
}

static void
take_thing(struct placing *p, struct placing_peer *n, uint64_t id, const void *value, size_t bytes)
{
	char thing[TIDINGS_THING_MAX];
	size_t at = 0;

	if (value && !tidings_take_thing(value, bytes, id, thing))
		return;
	while (at < n->things_count && rendezvous_text(n->things[at]) != id)
		at++;
	if (value && at < PLACING_THINGS_MAX) {
		n->things_count += at == n->things_count;
		memcpy(n->things[at], thing, sizeof(thing));
		n->thing_lives[at] = n->life;
	} else if (!value && at < n->things_count) {
		n->things_count--;
		memmove(n->things[at], n->things[n->things_count], sizeof(n->things[at]));
		n->thing_lives[at] = n->thing_lives[n->things_count];
	}
	if (placing_peer_facts(p, n) < 0)
		later(p);
}

static void
take_figures(struct placing *p, struct placing_peer *n, uint16_t type, uint64_t id,
	     const void *value, size_t bytes)
{
	if (!placing_figures_entry(p, n, type, id, value, bytes))
		later(p);
}

static void
take_waits(struct placing *p, struct placing_peer *n, uint64_t id, const void *value, size_t bytes)
{
	if (!placing_waits_entry(p, n, id, value, bytes))
		later(p);
}

void
placing_entry(struct placing *p, uint32_t node, uint16_t type, uint64_t id, const void *value,
	      size_t bytes)
{
	struct placing_peer *n = placing_peer(p, node);

	if (node == p->self)
		return;
	if (!n) {
		/* Its facts are not here yet. */
		later(p);
		return;
	}
	if (type == TIDINGS_CLAIM)
		take_claim(p, n, id, value, bytes);
	else if (type == TIDINGS_REPLICA)
		take_replica(p, n, id, value, bytes);
	else if (type == TIDINGS_THING)
		take_thing(p, n, id, value, bytes);
	else if (type == TIDINGS_FIGURES || type == TIDINGS_SCALE)
		take_figures(p, n, type, id, value, bytes);
	else if (type == TIDINGS_WAITS)
		take_waits(p, n, id, value, bytes);
	else if (type != TIDINGS_GUEST) /* of those the gossip itself is asked */
		return;
	p->link.stir(p->link.arg);
}

void
placing_reset(struct placing *p, uint32_t node)
{
	struct placing_peer *n = placing_peer(p, node);

	if (!n || node == p->self)
		return;
	n->life++;
	n->reborn_ns = p->m->now_ns ? p->m->now_ns : 1;
	p->link.stir(p->link.arg);
}

void
placing_again(struct placing *p)
{
	p->unread = true;
	p->unread_ns = 0;
	p->unread_tries = 0;
	p->link.stir(p->link.arg);
}

void
placing_entries_sooner(struct placing *p)
{
	if (p->unread)
		placing_again(p);
}

static void
reap_claims(struct placing *p, const struct placing_peer *n)
{
	struct fleet_node *node = fleet_node(&p->fleet, n->id);
	struct list *it, *next;

	if (!node)
		return;
	list_each (it, next, &node->claims) {
		struct fleet_claim *c = container_of(it, struct fleet_claim, of_node);

		if (c->life != n->life)
			fleet_claim_remove(&p->fleet, n->id, c->claim.number);
	}
}

static void
reap_replicas(struct placing *p, const struct placing_peer *n)
{
	struct map_iter it = {0};

	while (map_next(&p->m->replicas, &it)) {
		struct replica *r = it.value;

		if (r->remote && r->node_id == n->id && r->life_of_node != n->life)
			model_drop_replica(p->m, r);
	}
}

static void
reap_things(struct placing *p, struct placing_peer *n)
{
	bool any = false;

	for (size_t i = 0; i < n->things_count;) {
		if (n->thing_lives[i] == n->life) {
			i++;
			continue;
		}
		any = true;
		n->things_count--;
		memmove(n->things[i], n->things[n->things_count], sizeof(n->things[i]));
		n->thing_lives[i] = n->thing_lives[n->things_count];
	}
	if (any && placing_peer_facts(p, n) < 0)
		later(p);
}

void
placing_entries_reap(struct placing *p)
{
	struct map_iter it = {0};

	while (map_next(&p->peers, &it)) {
		struct placing_peer *n = it.value;
		uint64_t at = n->reborn_ns + PLACING_REBIRTH_MS * PLACING_MS_NS;

		if (!n->reborn_ns)
			continue;
		if (p->m->now_ns < at) {
			model_wake_at(p->m, at);
			continue;
		}
		n->reborn_ns = 0;
		reap_claims(p, n);
		reap_replicas(p, n);
		reap_things(p, n);
		placing_figures_reap(p, n, false);
		placing_waits_reap(p, n, false);
	}
}
