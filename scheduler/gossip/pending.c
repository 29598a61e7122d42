/* SPDX-License-Identifier: Apache-2.0 */
/* A small sorted array. When it is full the last one in order gives way to an earlier one, for
 * what is earlier is of use sooner. */
#include "scheduler/gossip/pending.h"

#include <string.h>

static size_t
place(const struct gossip *g, uint32_t node, uint64_t version)
{
	size_t from = 0, to = g->pending_count;

	while (from < to) {
		size_t middle = (from + to) / 2;
		const struct change *c = &g->pending[middle]->change;

		if (c->node < node || (c->node == node && c->version < version))
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

static struct pending *
remove_at(struct gossip *g, size_t at)
{
	struct pending *p = g->pending[at];

	g->pending_count--;
	memmove(g->pending + at, g->pending + at + 1,
		(g->pending_count - at) * sizeof(struct pending *));
	if (g->pending_count == 0) {
		mem_free(g->pending);
		g->pending = NULL;
	}
	return p;
}

static struct pending *
copy(const struct change *c, uint32_t from)
{
	struct pending *p = mem_alloc(MEM_SCHEDULER, sizeof(*p) + c->bytes);

	if (!p)
		return NULL;
	p->change = *c;
	p->from = from;
	if (c->bytes > 0)
		memcpy(p->value, c->value, c->bytes);
	p->change.value = p->value;
	return p;
}

static bool
make_room(struct gossip *g, size_t at)
{
	if (!g->pending)
		g->pending = mem_array(MEM_SCHEDULER, GOSSIP_PENDING_MAX, sizeof(struct pending *));
	if (!g->pending)
		return false;
	if (g->pending_count < GOSSIP_PENDING_MAX)
		return true;
	if (at == g->pending_count)
		return false;
	mem_free(remove_at(g, g->pending_count - 1));
	return true;
}

bool
pending_add(struct gossip *g, const struct change *c, uint32_t from)
{
	size_t at = place(g, c->node, c->version);

	if (at < g->pending_count && g->pending[at]->change.node == c->node &&
	    g->pending[at]->change.version == c->version)
		return false;
	if (!make_room(g, at))
		return false;
	struct pending *p = copy(c, from);
	if (!p)
		return false;
	memmove(g->pending + at + 1, g->pending + at,
		(g->pending_count - at) * sizeof(struct pending *));
	g->pending[at] = p;
	g->pending_count++;
	return true;
}

static bool
reaches(const struct change *c, uint64_t version)
{
	uint64_t from = c->version - c->span;

	/* A change that begins its life fits on whatever was before. */
	return from <= version || gossip_version_sequence(from) == 0;
}

struct pending *
pending_take(struct gossip *g, uint32_t node, uint64_t version)
{
	size_t at = place(g, node, 0);

	while (at < g->pending_count && g->pending[at]->change.node == node) {
		const struct change *c = &g->pending[at]->change;

		if (c->version <= version) {
			mem_free(remove_at(g, at));
			continue;
		}
		return reaches(c, version) ? remove_at(g, at) : NULL;
	}
	return NULL;
}

void
pending_forget(struct gossip *g, uint32_t node)
{
	size_t at = place(g, node, 0);

	while (at < g->pending_count && g->pending[at]->change.node == node)
		mem_free(remove_at(g, at));
}

void
pending_fini(struct gossip *g)
{
	while (g->pending_count > 0)
		mem_free(remove_at(g, g->pending_count - 1));
	mem_free(g->pending);
}
