/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nodes of the cell. Facts are built whole beside the old ones and then take their place, so
 * that a failure changes nothing. A node that died stays, with its weight in the tree of groups:
 * then its death moves only what it had; it goes when it is removed from the cell.
 */
#include "scheduler/place/fleet.h"

#include <assert.h>
#include <string.h>
#include "base/mutant.h"

enum { FACTS_BYTES_MAX = 256 * 1024, MEMORY_UNIT_SHIFT = 21, CAPACITY_UNKNOWN = 1000 };

void
fleet_init(struct fleet *f)
{
	memset(f, 0, sizeof(*f));
	f->stale = true;
	map_init_seeded(&f->services_by_id, MEM_SCHEDULER, 1);
	map_init_seeded(&f->claims_by_id, MEM_SCHEDULER, 2);
	list_init(&f->services);
}

static void
node_free(struct fleet_node *n)
{
	arena_fini(&n->memory);
	mem_free(n);
}

void
fleet_fini(struct fleet *f)
{
	struct list *it, *next;

	f->changed = NULL;
	list_each (it, next, &f->services)
		fleet_service_free(f, container_of(it, struct fleet_service, all));
	for (size_t i = 0; i < f->nodes_count; i++)
		node_free(f->nodes[i]);
	mem_free(f->nodes);
	mem_free(f->hot);
	mem_free(f->zones);
	map_fini(&f->services_by_id);
	map_fini(&f->claims_by_id);
}

void
fleet_on_change(struct fleet *f, fleet_changed_fn changed, void *arg)
{
	f->changed = changed;
	f->changed_arg = arg;
}

void
fleet_touch(struct fleet *f, struct fleet_service *s)
{
	if (f->changed)
		f->changed(f->changed_arg, s);
}

/* ---- look-up ---- */

/* Where it is, or would be. */
static size_t
place_of(const struct fleet *f, uint32_t id)
{
	size_t low = 0, high = f->nodes_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (f->nodes[middle]->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct fleet_node *
fleet_node(const struct fleet *f, uint32_t node)
{
	/* Ids are given one after the other: as long as no node was removed, they are places. */
	size_t at = node - (size_t)1;

	if (at >= f->nodes_count || f->nodes[at]->id != node)
		at = place_of(f, node);
	return at < f->nodes_count && f->nodes[at]->id == node ? f->nodes[at] : NULL;
}

/* ---- facts ---- */

/* One number for cores and memory, of which a node has usually two GiB a core. */
static uint64_t
capacity(const struct fleet_node *n)
{
	uint64_t memory = n->memory_bytes >> MEMORY_UNIT_SHIFT;

	if (!n->cpu_milli || !n->memory_bytes)
		return n->cpu_milli ? n->cpu_milli : memory ? memory : CAPACITY_UNKNOWN;
	return n->cpu_milli < memory ? n->cpu_milli : memory;
}

static int
copy_facts(struct fleet_node *n, const struct fleet_facts *facts)
{
	struct arena *a = &n->memory;

	arena_init(a, MEM_SCHEDULER, FACTS_BYTES_MAX);
	n->id = facts->node;
	n->name = arena_strdup(a, facts->name);
	n->zone_name = arena_strdup(a, facts->zone);
	n->platform_name = arena_strdup(a, facts->platform);
	n->zone = facts->zone[0] ? rendezvous_text(facts->zone) : 0;
	n->platform = rendezvous_text(facts->platform);
	n->cpu_milli = facts->cpu_milli;
	n->memory_bytes = facts->memory_bytes;
	n->cordoned = facts->cordoned;
	n->draining = facts->draining;
	n->labels = fleet_pairs_copy(a, facts->labels, facts->labels_count);
	n->taints = fleet_words_copy(a, facts->taints, facts->taints_count);
	n->things = fleet_words_copy(a, facts->things, facts->things_count);
	if (!arena_ok(a)) {
		arena_fini(a);
		return -1;
	}
	n->label_bits = fleet_words_bits(&n->labels);
	n->seed = rendezvous_seed(n->id);
	n->exponent = rendezvous_exponent(capacity(n));
	return 0;
}

static uint64_t
less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* The node goes on with new facts: what it was found to use stays used. */
static void
replace(struct fleet *f, struct fleet_node *n, struct fleet_node *new)
{
	uint64_t cpu_used = less(n->cpu_milli, n->cpu_free_milli);
	uint64_t memory_used = less(n->memory_bytes, n->memory_free_bytes);
	struct fleet_node old = *n;

	f->stale |= new->exponent != n->exponent || new->zone != n->zone;
	new->status = n->status;
	new->stuck = MUTANT(105, false, n->stuck);
	new->barred = n->barred;
	new->stuck_ns = n->stuck_ns;
	new->claims_count = n->claims_count;
	new->index = n->index;
	new->position = n->position;
	new->cpu_asked_milli = n->cpu_asked_milli;
	new->memory_asked_bytes = n->memory_asked_bytes;
	new->cpu_free_milli = (uint32_t)less(new->cpu_milli, cpu_used);
	new->memory_free_bytes = less(new->memory_bytes, memory_used);
	*n = *new;
	/* A list's head is where it is: it cannot be copied from itself. */
	if (old.claims.next == &n->claims) {
		list_init(&n->claims);
	} else {
		n->claims = old.claims;
		n->claims.next->prev = &n->claims;
		n->claims.prev->next = &n->claims;
	}
	arena_fini(&old.memory);
}

void
fleet_touch_node(struct fleet *f, struct fleet_node *n)
{
	struct list *it, *next;

	f->version++;
	if (!f->stale)
		fleet_hot_update(f, n);
	list_each (it, next, &n->claims)
		fleet_touch(f, container_of(it, struct fleet_claim, of_node)->service);
	fleet_touch(f, NULL);
}

static int
insert(struct fleet *f, const struct fleet_node *new)
{
	size_t at = place_of(f, new->id);
	struct fleet_node *n;

	if (f->nodes_count >= FLEET_NODES_MAX)
		return -1;
	if (f->nodes_count == f->nodes_room) {
		size_t room = f->nodes_room ? 2 * f->nodes_room : 16;
		void *nodes = mem_resize(MEM_SCHEDULER, f->nodes, room, sizeof(f->nodes[0]));

		if (!nodes)
			return -1;
		f->nodes = nodes;
		f->nodes_room = room;
	}
	n = mem_dup(MEM_SCHEDULER, new, sizeof(*new));
	if (!n)
		return -1;
	n->status = FLEET_ALIVE;
	n->cpu_free_milli = n->cpu_milli;
	n->memory_free_bytes = n->memory_bytes;
	list_init(&n->claims);
	memmove(&f->nodes[at + 1], &f->nodes[at], (f->nodes_count - at) * sizeof(f->nodes[0]));
	f->nodes[at] = n;
	f->nodes_count++;
	f->live++;
	f->stale = true;
	return 0;
}

int
fleet_node_set(struct fleet *f, const struct fleet_facts *facts)
{
	struct fleet_node *n = fleet_node(f, facts->node);
	struct fleet_node new = {0};

	if (facts->labels_count > FLEET_WORDS_MAX || facts->taints_count > FLEET_WORDS_MAX ||
	    facts->things_count > FLEET_WORDS_MAX || !facts->node)
		return -1;
	if (copy_facts(&new, facts) < 0)
		return -1;
	if (n) {
		replace(f, n, &new);
	} else if (insert(f, &new) < 0) {
		arena_fini(&new.memory);
		return -1;
	}
	fleet_touch_node(f, fleet_node(f, facts->node));
	return 0;
}

void
fleet_node_status(struct fleet *f, uint32_t node, enum fleet_status status)
{
	struct fleet_node *n = fleet_node(f, node);

	if (!n || n->status == status)
		return;
	f->live += n->status == FLEET_DEAD;
	f->live -= status == FLEET_DEAD;
	/* Who coordinates what may change. */
	f->stale |= n->status == FLEET_DEAD || status == FLEET_DEAD;
	n->status = status;
	fleet_touch_node(f, n);
}

void
fleet_node_stuck(struct fleet *f, uint32_t node, bool stuck)
{
	struct fleet_node *n = fleet_node(f, node);

	if (!n || n->stuck == stuck)
		return;
	n->stuck = stuck;
	n->stuck_ns = 0;
	f->stale |= n->status != FLEET_DEAD;
}

void
fleet_node_load(struct fleet *f, uint32_t node, uint32_t cpu_free_milli, uint64_t memory_free_bytes)
{
	struct fleet_node *n = fleet_node(f, node);
	bool more;

	if (!n)
		return;
	more = cpu_free_milli > n->cpu_free_milli || memory_free_bytes > n->memory_free_bytes;
	n->cpu_free_milli = cpu_free_milli;
	n->memory_free_bytes = memory_free_bytes;
	if (!f->stale)
		fleet_hot_update(f, n);
	if (more)
		fleet_touch(f, NULL);
}

void
fleet_node_remove(struct fleet *f, uint32_t node)
{
	struct fleet_node *n = fleet_node(f, node);
	struct list *it, *next;
	size_t at;

	if (!n)
		return;
	fleet_node_status(f, node, FLEET_DEAD);
	list_each (it, next, &n->claims) {
		struct fleet_claim *c = container_of(it, struct fleet_claim, of_node);

		fleet_claim_remove(f, node, c->claim.number);
	}
	at = place_of(f, node);
	f->nodes_count--;
	memmove(&f->nodes[at], &f->nodes[at + 1], (f->nodes_count - at) * sizeof(f->nodes[0]));
	f->stale = true;
	node_free(n);
	fleet_touch(f, NULL);
}

/* A node that went and came again was asked nothing: what is taken back then stops at 0. */
static uint64_t
shifted(uint64_t v, int64_t by)
{
	return by < 0 ? less(v, (uint64_t)-by) : v + (uint64_t)by;
}

void
fleet_ask(struct fleet *f, struct fleet_node *n, int64_t cpu_milli, int64_t memory_bytes)
{
	n->cpu_asked_milli = shifted(n->cpu_asked_milli, cpu_milli);
	n->memory_asked_bytes = shifted(n->memory_asked_bytes, memory_bytes);
	if (!f->stale)
		fleet_hot_update(f, n);
}
