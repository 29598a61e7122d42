/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a search over all nodes reads, packed into one array in the order of groups. It is made anew
 * when a node comes, goes, dies, or changes its weight or zone; all else is written through.
 */
#include "scheduler/place/fleet.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { COORDINATOR = 0x636f6f72, DRAWS = 4 };

void
fleet_hot_update(struct fleet *f, struct fleet_node *n)
{
	struct fleet_hot *h = &f->hot[n->position];
	uint64_t cpu = n->cpu_free_milli, memory = n->memory_free_bytes;

	cpu = cpu > n->cpu_asked_milli ? cpu - n->cpu_asked_milli : 0;
	memory = memory > n->memory_asked_bytes ? memory - n->memory_asked_bytes : 0;
	h->cpu_free_milli = n->cpu_milli ? (uint32_t)cpu : UINT32_MAX;
	h->memory_free_bytes = n->memory_bytes ? memory : UINT64_MAX;
	h->seed = n->seed;
	h->label_bits = n->label_bits;
	h->platform = (uint32_t)n->platform;
	h->simple = n->taints.count == 0;
	h->exponent = (uint8_t)n->exponent;
	h->open = n->status == FLEET_ALIVE && !n->cordoned && !n->draining;
	h->node = n;
}

static int
compare_zone(const void *a, const void *b)
{
	const struct fleet_zone *x = a, *y = b;

	return (x->hash > y->hash) - (x->hash < y->hash);
}

static uint16_t
zone_of(const struct fleet *f, uint64_t hash)
{
	size_t low = 0, high = f->zones_count;

	while (low + 1 < high) {
		size_t middle = (low + high) / 2;

		if (f->zones[middle].hash <= hash)
			low = middle;
		else
			high = middle;
	}
	return (uint16_t)low;
}

static void
make_zones(struct fleet *f)
{
	size_t kept = 0;

	for (size_t i = 0; i < f->nodes_count; i++)
		f->zones[i] = (struct fleet_zone){.hash = f->nodes[i]->zone};
	qsort(f->zones, f->nodes_count, sizeof(f->zones[0]), compare_zone);
	for (size_t i = 0; i < f->nodes_count; i++) {
		if (!kept || f->zones[kept - 1].hash != f->zones[i].hash)
			f->zones[kept++] = f->zones[i];
	}
	f->zones_count = kept;
}

/* Nodes stand by id, so within a group they come out by id. */
static void
make_groups(struct fleet *f)
{
	unsigned depth = rendezvous_depth(f->nodes_count);
	size_t leaves = (size_t)1 << depth;
	size_t next[1u << RENDEZVOUS_DEPTH_MAX];

	rendezvous_tree_init(&f->tree, depth);
	memset(f->leaf_begin, 0, sizeof(f->leaf_begin));
	f->writers = 0;
	for (size_t i = 0; i < f->nodes_count; i++) {
		struct fleet_node *n = f->nodes[i];

		n->index = i;
		f->writers += n->status != FLEET_DEAD && !n->stuck;
		rendezvous_tree_add(&f->tree, n->seed, n->exponent);
		f->leaf_begin[rendezvous_leaf(n->seed, depth) + 1]++;
	}
	for (size_t i = 0; i < leaves; i++)
		f->leaf_begin[i + 1] += f->leaf_begin[i];
	memcpy(next, f->leaf_begin, leaves * sizeof(next[0]));
	for (size_t i = 0; i < f->nodes_count; i++) {
		struct fleet_node *n = f->nodes[i];

		n->position = next[rendezvous_leaf(n->seed, depth)]++;
		f->hot[n->position] = (struct fleet_hot){.zone = zone_of(f, n->zone)};
		fleet_hot_update(f, n);
	}
}

static void
set_barred(struct fleet *f, struct fleet_node *n, bool barred)
{
	if (n->barred == barred)
		return;
	n->barred = barred;
	fleet_touch_node(f, n);
}

uint64_t
fleet_bar(struct fleet *f, uint64_t now_ns, uint64_t wait_ns)
{
	uint64_t due_ns = 0;

	if (fleet_refresh(f) < 0)
		return now_ns + wait_ns;
	for (size_t i = 0; i < f->nodes_count; i++) {
		struct fleet_node *n = f->nodes[i];

		if (!f->writers)
			n->stuck_ns = 0;
		if (!n->stuck || n->barred || !f->writers)
			continue;
		if (!n->stuck_ns)
			n->stuck_ns = now_ns;
		if (now_ns - n->stuck_ns >= wait_ns)
			set_barred(f, n, true);
		else if (!due_ns || n->stuck_ns + wait_ns < due_ns)
			due_ns = n->stuck_ns + wait_ns;
	}
	return due_ns;
}

/* Claims that were heard of before their node. */
static void
find_nodes(struct fleet *f, struct fleet_service *s)
{
	struct list *it, *next;

	list_each (it, next, &s->claims) {
		struct fleet_claim *c = container_of(it, struct fleet_claim, of_service);

		if (c->node || !(c->node = fleet_node(f, c->claim.node)))
			continue;
		list_push(&c->node->claims, &c->of_node);
		c->node->claims_count += c->claim.state != CLAIM_LEAVING;
		fleet_touch(f, s);
	}
}

int
fleet_refresh(struct fleet *f)
{
	struct fleet_zone *zones;
	struct fleet_hot *hot;
	struct list *it, *next;

	if (!f->stale)
		return 0;
	hot = mem_array(MEM_SCHEDULER, f->nodes_count + 1, sizeof(*hot));
	zones = mem_array(MEM_SCHEDULER, f->nodes_count + 1, sizeof(*zones));
	if (!hot || !zones) {
		mem_free(hot);
		mem_free(zones);
		return -1;
	}
	_Static_assert(FLEET_NODES_MAX < 1 << 16, "each may have a zone of its own");
	mem_free(f->hot);
	mem_free(f->zones);
	f->hot = hot;
	f->zones = zones;
	f->marked = NULL;
	make_zones(f);
	make_groups(f);
	f->stale = false;
	for (size_t i = 0; i < f->nodes_count; i++) {
		if (!f->nodes[i]->stuck || !f->writers)
			set_barred(f, f->nodes[i], false);
	}
	list_each (it, next, &f->services) {
		struct fleet_service *s = container_of(it, struct fleet_service, all);
		uint32_t coordinator = fleet_coordinator(f, s->id);

		find_nodes(f, s);
		if (coordinator == s->coordinator)
			continue;
		s->inherited |= s->coordinator != 0;
		s->coordinator = coordinator;
		fleet_touch(f, s);
	}
	return 0;
}

static const struct fleet_hot *
first_of(const struct fleet *f, uint64_t key, size_t begin, size_t end, bool writes)
{
	const struct fleet_hot *best = NULL;
	uint64_t least = UINT64_MAX;

	for (size_t i = begin; i < end; i++) {
		const struct fleet_node *n = f->hot[i].node;
		uint64_t score = rendezvous_score(key, f->hot[i].seed, 0);

		if (score < least && n->status != FLEET_DEAD && !(writes && n->stuck)) {
			best = &f->hot[i];
			least = score;
		}
	}
	return best;
}

static uint32_t
coordinator_of(const struct fleet *f, uint64_t service, bool writes)
{
	uint64_t key = rendezvous_mix(service, COORDINATOR);
	const struct fleet_hot *best = NULL;

	assert(!f->stale);
	for (unsigned draw = 0; !best && draw < DRAWS; draw++) {
		uint32_t leaf = rendezvous_descend(&f->tree, key, draw);

		best = first_of(f, key, f->leaf_begin[leaf], f->leaf_begin[leaf + 1], writes);
	}
	if (!best)
		best = first_of(f, key, 0, f->nodes_count, writes);
	return best ? best->node->id : 0;
}

uint32_t
fleet_coordinator(const struct fleet *f, uint64_t service)
{
	/* Without one there is nobody to look for among all. */
	return coordinator_of(f, service, f->writers > 0);
}

uint32_t
fleet_coordinator_first(const struct fleet *f, uint64_t service)
{
	return coordinator_of(f, service, false);
}

/* ---- marks ---- */

void
fleet_mark_add(struct fleet *f, const struct fleet_node *n, bool more)
{
	struct fleet_hot *hot = &f->hot[n->position];
	struct fleet_zone *zone = &f->zones[hot->zone];

	if (hot->mark != f->mark)
		hot->same = 0;
	if (zone->mark != f->mark)
		zone->same = 0;
	hot->mark = zone->mark = f->mark;
	hot->same += more ? 1 : UINT32_MAX;
	zone->same += more ? 1 : UINT32_MAX;
	f->marked_count += more ? 1 : UINT32_MAX;
}

uint32_t
fleet_marked_on(const struct fleet *f, const struct fleet_hot *hot)
{
	return hot->mark == f->mark ? hot->same : 0;
}

uint32_t
fleet_marked_in(const struct fleet *f, const struct fleet_hot *hot)
{
	const struct fleet_zone *zone = &f->zones[hot->zone];

	return zone->mark == f->mark ? zone->same : 0;
}

/* After four thousand million marks old ones would come to life again. */
static void
next_mark(struct fleet *f)
{
	if (++f->mark)
		return;
	for (size_t i = 0; i < f->nodes_count; i++)
		f->hot[i].mark = 0;
	for (size_t i = 0; i < f->zones_count; i++)
		f->zones[i].mark = 0;
	f->mark = 1;
}

bool
fleet_mark(struct fleet *f, struct fleet_service *s)
{
	struct list *it, *next;

	assert(!f->stale);
	if (f->marked == s)
		return false;
	next_mark(f);
	f->marked = s;
	f->marked_count = 0;
	list_each (it, next, &s->claims) {
		struct fleet_claim *c = container_of(it, struct fleet_claim, of_service);

		if (c->node && c->claim.state != CLAIM_LEAVING)
			fleet_mark_add(f, c->node, true);
	}
	return true;
}
