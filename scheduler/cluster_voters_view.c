/* SPDX-License-Identifier: Apache-2.0 */
/* What the next step is decided from: all nodes of the cluster, as this one has heard of them. */
#include "scheduler/cluster_inside.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/world.h"
#include "scheduler/place/rendezvous.h"

#define MS UINT64_C(1000000)

void
cluster_voters_view_fini(struct cluster_voters_view *w)
{
	mem_free(w->nodes);
	mem_free(w->places);
}

static uint64_t
since(const struct cluster *c, const struct cluster_node *n, uint64_t now_ns)
{
	int64_t for_ns = world_wall_ns() - n->since_wall_ns;

	if (n->row.node == c->keep.node)
		return c->started_ns;
	if (for_ns < 0)
		for_ns = 0;
	return (uint64_t)for_ns < now_ns ? now_ns - (uint64_t)for_ns : 0;
}

static void
put_node(struct cluster *c, const struct cluster_node *n, uint64_t now_ns,
	 struct cluster_voters_view *w)
{
	struct tidings_voter own, *said = &own;
	struct voters_node *node = &w->nodes[w->v.nodes_count];
	struct voting_place *place = &w->places[w->v.nodes_count++];
	const struct store_voter *row = cluster_voters_row(c, n->row.node);
	bool self = n->row.node == c->keep.node;
	const char *zone = self ? c->config->node.zone : n->facts.zone;

	own = n->voter;
	if (self)
		cluster_voters_of(c, &own);
	*node = (struct voters_node){
		.node = n->row.node,
		.zone = zone[0] ? rendezvous_text(zone) : 0,
		.able = said->flags & TIDINGS_VOTER_ABLE,
		.fails = said->flags & TIDINGS_VOTER_FAILS,
		.live = self || n->state == GOSSIP_ALIVE || n->state == GOSSIP_SUSPECT,
		.ruined = row && row->life == said->life && said->flags & TIDINGS_VOTER_RUINED,
		.draining = n->row.draining,
		.removed = n->row.removed || said->flags & TIDINGS_VOTER_LEAVING,
		.since_ns = since(c, n, now_ns),
	};
	*place = (struct voting_place){
		.caught_up = said->flags & TIDINGS_VOTER_LEVEL,
		.member_up = row && row->life == said->life && said->flags & TIDINGS_VOTER_UP,
	};
	if (said->client.port) {
		struct addr a = said->client;

		addr_put(&a, place->client, sizeof(place->client));
		a.port++;
		addr_put(&a, place->peer, sizeof(place->peer));
	}
	if (node->live && !node->removed &&
	    !(said->flags & (w->v.outside ? TIDINGS_VOTER_NAMES : TIDINGS_VOTER_CAN)))
		w->v.all_can = false;
}

static int
by_id(const void *a, const void *b)
{
	uint32_t x = ((const struct cluster_node *const *)a)[0]->row.node;
	uint32_t y = ((const struct cluster_node *const *)b)[0]->row.node;

	return x < y ? -1 : x > y;
}

int
cluster_voters_view(struct cluster *c, uint64_t now_ns, struct cluster_voters_view *w)
{
	const struct cluster_voters *own = &c->voters;
	size_t count = map_count(&c->nodes), at = 0;
	const struct cluster_node **nodes =
		mem_zalloc(MEM_SCHEDULER, count * sizeof(struct cluster_node *));
	struct map_iter it = {0};
	struct world world;

	world_real(&world);
	memset(w, 0, sizeof(*w));
	w->nodes = mem_zalloc(MEM_SCHEDULER, count * sizeof(*w->nodes));
	w->places = mem_zalloc(MEM_SCHEDULER, count * sizeof(*w->places));
	if (!nodes || !w->nodes || !w->places) {
		mem_free(nodes);
		cluster_voters_view_fini(w);
		return -1;
	}
	w->v = (struct voting_view){
		.self = c->keep.node,
		.writer = cluster_writer(c),
		.sealed = c->row.moving,
		.unsettled = c->etcd && c->row.id && (c->row.moving || c->row.writer),
		.all_can = true,
		.outside = cluster_outside_is(c),
		.empty = cluster_outside_is_empty(c),
		.nodes = w->nodes,
		.places = w->places,
		.rows = own->rows,
		.rows_count = own->rows_count,
		.list = own->has_list ? &own->list : NULL,
		.list_since_ns = own->list_since_ns,
		.replace_ms = c->config->cluster.replace_after_ms,
		.now_ns = now_ns,
		.wall_ns = cluster_now_s(c) * CLUSTER_SECOND_NS,
		.random = {world_random_u64(&world), world_random_u64(&world)},
	};
	while (map_next(&c->nodes, &it))
		nodes[at++] = it.value;
	qsort(nodes, at, sizeof(*nodes), by_id);
	for (size_t i = 0; i < at; i++)
		put_node(c, nodes[i], now_ns, w);
	mem_free(nodes);
	return 0;
}
