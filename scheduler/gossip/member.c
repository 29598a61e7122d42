/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members are kept as parallel arrays in the order of ids: at ten thousand members twelve bytes
 * each make a cell that fits in a cache, and a simulation of ten thousand such cells in a gigabyte.
 * A roster that is added in ascending order costs nothing to keep sorted.
 *
 * The order of probes is a shuffled list of the same indexes. A new member goes to a random place
 * of it (the one that stood there goes to the end), and each round is shuffled again: so every
 * member is probed once per round, and no two nodes probe in step.
 *
 * The digest is the sum (exclusive or) of one hash per member, so a change costs two hashes.
 */
#include "scheduler/gossip/member.h"

#include <assert.h>
#include <string.h>
#include "base/mutant.h"

enum { PICK_TRIES = 16 };

static size_t
lower_bound(const struct gossip *g, uint32_t node)
{
	size_t from = 0, to = g->count;

	while (from < to) {
		size_t middle = (from + to) / 2;

		if (g->ids[middle] < node)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

long
member_find(const struct gossip *g, uint32_t node)
{
	size_t at = (size_t)node - g->ids[0];

	/* Admission counts ids up, so where few were removed the first guess is right. */
	if (at < g->count && g->ids[at] == node)
		return (long)at;
	at = lower_bound(g, node);
	return at < g->count && g->ids[at] == node ? (long)at : MEMBER_NONE;
}

static int
grow(struct gossip *g)
{
	size_t capacity = g->capacity + g->capacity / 4 + 16;
	uint32_t *ids = mem_resize(MEM_SCHEDULER, g->ids, capacity, sizeof(*ids));

	if (!ids)
		return -1;
	g->ids = ids;
	uint32_t *status = mem_resize(MEM_SCHEDULER, g->status, capacity, sizeof(*status));
	if (!status)
		return -1;
	g->status = status;
	uint16_t *order = mem_resize(MEM_SCHEDULER, g->order, capacity, sizeof(*order));
	if (!order)
		return -1;
	g->order = order;
	uint16_t *space_at = mem_resize(MEM_SCHEDULER, g->space_at, capacity, sizeof(*space_at));
	if (!space_at)
		return -1;
	g->space_at = space_at;
	g->capacity = capacity;
	return 0;
}

/* The list has an index for each member but self. */
static size_t
others(const struct gossip *g)
{
	return g->count - 1;
}

static void
order_insert(struct gossip *g, size_t at)
{
	size_t last = others(g) - 1; /* the member is counted already */

	/* Adding below self alone moves no index that stands in the list. */
	if (at + 1 < g->count && !(at + 2 == g->count && g->self_at == at + 1))
		for (size_t i = 0; i < last; i++)
			if (g->order[i] >= at)
				g->order[i]++;
	size_t place = member_random(g, last + 1);

	g->order[last] = g->order[place];
	g->order[place] = (uint16_t)at;
}

static void
insert(struct gossip *g, size_t at, uint32_t node)
{
	size_t after = g->count - at;

	memmove(g->ids + at + 1, g->ids + at, after * sizeof(*g->ids));
	memmove(g->status + at + 1, g->status + at, after * sizeof(*g->status));
	memmove(g->space_at + at + 1, g->space_at + at, after * sizeof(*g->space_at));
	g->ids[at] = node;
	g->status[at] = 0;
	g->space_at[at] = 0;
	g->count++;
}

enum gossip_result
member_add(struct gossip *g, uint32_t node)
{
	size_t at = lower_bound(g, node);

	assert(node != 0);
	if (at < g->count && g->ids[at] == node)
		return GOSSIP_UNCHANGED;
	if (g->count == GOSSIP_MEMBERS_MAX)
		return GOSSIP_FULL;
	if (g->count == g->capacity && grow(g) < 0)
		return GOSSIP_NO_MEMORY;
	insert(g, at, node);
	if (node == g->config.self) {
		g->self_at = at;
		return GOSSIP_OK;
	}
	if (at <= g->self_at)
		g->self_at++;
	order_insert(g, at);
	return GOSSIP_OK;
}

static void
order_remove(struct gossip *g, size_t at)
{
	size_t kept = 0, all = others(g);

	for (size_t i = 0; i < all; i++) {
		if (g->order[i] == at) {
			if (i < g->order_at)
				g->order_at--;
			continue;
		}
		g->order[kept++] = (uint16_t)(g->order[i] - (g->order[i] > at));
	}
}

void
member_remove(struct gossip *g, size_t at)
{
	size_t after = g->count - at - 1;

	assert(at < g->count && at != g->self_at && g->space_at[at] == 0);
	member_set_status(g, at, 0);
	order_remove(g, at);
	memmove(g->ids + at, g->ids + at + 1, after * sizeof(*g->ids));
	memmove(g->status + at, g->status + at + 1, after * sizeof(*g->status));
	memmove(g->space_at + at, g->space_at + at + 1, after * sizeof(*g->space_at));
	g->count--;
	if (at < g->self_at)
		g->self_at--;
}

uint64_t
member_digest(const struct gossip *g, size_t at)
{
	uint64_t version = g->space_at[at] ? g->spaces[g->space_at[at] - 1].version : 0;

	version = MUTANT(13, 0, version);
	if (g->status[at] == 0 && version == 0)
		return 0;
	return core_mix(core_mix((uint64_t)g->ids[at] << 32 | g->status[at]) + version);
}

void
member_digest_change(struct gossip *g, uint64_t before, size_t at)
{
	g->digest ^= before ^ member_digest(g, at);
	g->digest_ns = g->now_ns;
	g->mismatches = 0;
}

void
member_set_status(struct gossip *g, size_t at, uint32_t status)
{
	uint64_t before = member_digest(g, at);

	g->live -= core_live(g->status[at]);
	g->status[at] = status;
	g->live += core_live(status);
	member_digest_change(g, before, at);
}

size_t
member_bucket(uint32_t node)
{
	return core_mix(node) % CORE_BUCKETS;
}

uint64_t
member_random(struct gossip *g, uint64_t bound)
{
	return world_random_below(&g->random.world, bound);
}

bool
member_dials(const struct gossip *g, uint32_t node)
{
	return map_count(&g->dials) > 0 && map_get_u64(&g->dials, node);
}

/* Who is looked for. */
struct wish {
	bool live, open;
	const uint32_t *but;
	size_t but_count;
};

static bool
fits(const struct gossip *g, size_t at, const struct wish *w)
{
	if (at == g->self_at || core_live(g->status[at]) != w->live ||
	    (w->open && member_dials(g, g->ids[at])))
		return false;
	for (size_t i = 0; i < w->but_count; i++)
		if (w->but[i] == g->ids[at])
			return false;
	return true;
}

static long
pick(struct gossip *g, const struct wish *w)
{
	size_t at = 0;

	if (g->count < 2)
		return MEMBER_NONE;
	for (unsigned i = 0; i < PICK_TRIES; i++) {
		at = member_random(g, g->count);
		if (fits(g, at, w))
			return (long)at;
	}
	for (size_t i = 0; i < g->count; i++) {
		at = at + 1 < g->count ? at + 1 : 0;
		if (fits(g, at, w))
			return (long)at;
	}
	return MEMBER_NONE;
}

long
member_pick(struct gossip *g, bool live, const uint32_t *but, size_t count)
{
	return pick(g, &(struct wish){.live = live, .but = but, .but_count = count});
}

long
member_pick_open(struct gossip *g)
{
	return pick(g, &(struct wish){.live = true, .open = true});
}

static void
shuffle(struct gossip *g)
{
	for (size_t i = others(g); i > 1; i--) {
		size_t j = member_random(g, i);
		uint16_t swap = g->order[i - 1];

		g->order[i - 1] = g->order[j];
		g->order[j] = swap;
	}
}

long
member_next(struct gossip *g)
{
	for (size_t i = 0; i < others(g); i++) {
		if (g->order_at >= others(g)) {
			shuffle(g);
			g->order_at = 0;
		}
		size_t at = g->order[g->order_at++];

		if (core_live(g->status[at]))
			return (long)at;
	}
	return MEMBER_NONE;
}
