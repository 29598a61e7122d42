/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The overlay is made of rings: each orders all live members by a hash of its own and joins each
 * one with the next and the previous. Three rings give every node up to six neighbours and the
 * whole the short paths of a random graph. All compute it from what all know anyway, so nothing is
 * negotiated: whom I have as a neighbour has me, as soon as both have heard the same; when a
 * member dies the ring closes over it. Until then the links of two nodes may differ: what comes
 * from somebody who is no neighbour is taken all the same, and who grafts itself on is kept as a
 * guest for a while.
 *
 * A member that appears costs three hashes; only the loss of a neighbour searches all members.
 */
#include "scheduler/gossip/mesh.h"

#include <assert.h>
#include <string.h>
#include "scheduler/gossip/member.h"

static const uint64_t guest_ns = 30000 * CORE_MS;

static uint64_t
position(unsigned ring, uint32_t node)
{
	return core_mix(core_mix(ring + 1) ^ node);
}

/* Takes the member as a neighbour where it is nearer than the present one. */
static bool
consider(struct gossip *g, unsigned ring, uint32_t node)
{
	uint64_t gap = position(ring, node) - position(ring, g->config.self);
	bool nearer = false;

	if (g->rings[ring].next == 0 || gap < g->rings[ring].next_gap) {
		g->rings[ring].next = node;
		g->rings[ring].next_gap = gap;
		nearer = true;
	}
	if (g->rings[ring].previous == 0 || 0 - gap < g->rings[ring].previous_gap) {
		g->rings[ring].previous = node;
		g->rings[ring].previous_gap = 0 - gap;
		nearer = true;
	}
	return nearer;
}

static bool
neighbour(const struct gossip *g, uint32_t node)
{
	for (unsigned i = 0; i < CORE_RINGS; i++)
		if (g->rings[i].next == node || g->rings[i].previous == node)
			return true;
	return false;
}

void
mesh_change(struct gossip *g, uint32_t node, bool live)
{
	if (node == g->config.self)
		return;
	if (!live) {
		if (neighbour(g, node))
			g->rings_stale = true;
		return;
	}
	for (unsigned i = 0; i < CORE_RINGS; i++)
		if (consider(g, i, node))
			g->links_stale = true;
}

static void
search(struct gossip *g)
{
	memset(g->rings, 0, sizeof(g->rings));
	for (size_t at = 0; at < g->count; at++)
		for (unsigned i = 0; i < CORE_RINGS; i++)
			if (at != g->self_at && core_live(g->status[at]))
				consider(g, i, g->ids[at]);
	g->rings_stale = false;
	g->links_stale = true;
}

struct link *
mesh_link(struct gossip *g, uint32_t node)
{
	for (size_t i = 0; i < g->links_count; i++)
		if (g->links[i].node == node)
			return &g->links[i];
	return NULL;
}

void
mesh_unlink(struct gossip *g, struct link *l)
{
	size_t at = (size_t)(l - g->links);

	g->links_count--;
	memmove(l, l + 1, (g->links_count - at) * sizeof(*l));
}

static struct link *
add(struct gossip *g, uint32_t node, bool guest)
{
	if (g->links_count == GOSSIP_LINKS_MAX)
		return NULL;
	struct link *l = &g->links[g->links_count++];

	*l = (struct link){
		.node = node,
		.eager = true,
		.guest = guest,
		.cursor = g->log_next,
		.used_ns = g->now_ns,
	};
	return l;
}

struct link *
mesh_guest(struct gossip *g, uint32_t node)
{
	return add(g, node, true);
}

static void
want_link(struct gossip *g, uint32_t node)
{
	struct link *l = node ? mesh_link(g, node) : NULL;

	if (node == 0)
		return;
	if (l) {
		l->guest = false;
		return;
	}
	/* Neighbours come before guests. */
	for (size_t i = 0; i < g->links_count && g->links_count == GOSSIP_LINKS_MAX; i++)
		if (g->links[i].guest)
			mesh_unlink(g, &g->links[i]);
	bool added = add(g, node, false) != NULL;
	assert(added);
}

static void
follow(struct gossip *g)
{
	for (size_t i = 0; i < g->links_count;) {
		if (!g->links[i].guest && !neighbour(g, g->links[i].node))
			mesh_unlink(g, &g->links[i]);
		else
			i++;
	}
	for (unsigned i = 0; i < CORE_RINGS; i++) {
		want_link(g, g->rings[i].next);
		want_link(g, g->rings[i].previous);
	}
	g->links_stale = false;
}

void
mesh_update(struct gossip *g)
{
	if (g->rings_stale)
		search(g);
	if (g->links_stale)
		follow(g);
	for (size_t i = 0; i < g->links_count;) {
		if (g->links[i].guest && g->now_ns - g->links[i].used_ns > guest_ns)
			mesh_unlink(g, &g->links[i]);
		else
			i++;
	}
}
