/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A replica's addresses are what its own node says of it (table identity), and its node is the one
 * whose prefix they are of (table peer). While either has not said all, a replica that is not found
 * is where it was.
 */
#include "dataplane/reach.h"

#include <stdlib.h>
#include <string.h>
#include "ring/clients.h"

enum { NODE_BITS = 24, V4_BITS = 96, WORD_BITS = 16 };

static uint32_t
prefix_of(const struct addr *a)
{
	return __builtin_bswap32(addr_v4_be(a)) >> (32 - NODE_BITS);
}

static bool
add_node(void *arg, uint64_t key, const void *data)
{
	const struct msg_peer *row = data;
	struct reach *r = arg;

	(void)key;
	if (!clients_are_taken(row->ways) || !addr_is_v4(&row->v4.base) ||
	    row->v4.bits != V4_BITS + NODE_BITS)
		return true;
	r->nodes[r->count++] = row;
	return r->count < MSG_PEERS_MAX;
}

static int
compare(const void *a, const void *b)
{
	const struct msg_peer *const *x = a, *const *y = b;
	uint32_t p = prefix_of(&(*x)->v4.base), q = prefix_of(&(*y)->v4.base);

	return (p > q) - (p < q);
}

static const struct msg_peer *
node_of(const struct reach *r, const struct addr *a)
{
	size_t low = 0, high = r->count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		uint32_t p = prefix_of(&r->nodes[middle]->v4.base);

		if (p == prefix_of(a))
			return r->nodes[middle];
		if (p < prefix_of(a))
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

void
reach_init(struct reach *r, const struct ring_reader *scheduler, const struct ring_reader *overlay,
	   uint32_t mtu)
{
	*r = (struct reach){.scheduler = scheduler, .mtu = mtu};
	r->known = overlay && ring_table_version(overlay, MSG_TABLE_PEER) > 0;
	if (r->known)
		ring_table_each(overlay, MSG_TABLE_PEER, add_node, r);
	qsort(r->nodes, r->count, sizeof(r->nodes[0]), compare);
}

bool
reach_is_partial(const struct ring_reader *scheduler)
{
	return !scheduler || !ring_table_get(scheduler, MSG_TABLE_IDENTITY, MSG_IDENTITY_WHOLE);
}

/* Which has no row, or none with an address: one of this node has none. */
static enum services_reach
without_address(const struct reach *r, const struct msg_identity *row)
{
	return row || !reach_is_partial(r->scheduler) ? SERVICES_BY_RELAY : SERVICES_AS_BEFORE;
}

void
reach_of(const struct reach *r, const struct msg_backend *b, struct services_away *out)
{
	const struct msg_identity *row =
		r->scheduler ? ring_table_get(r->scheduler, MSG_TABLE_IDENTITY, b->replica) : NULL;

	*out = (struct services_away){.reach = SERVICES_AS_BEFORE};
	if (!row || !addr_is_v4(&row->addr4) || addr_is_zero(&row->addr4)) {
		out->reach = without_address(r, row);
		return;
	}
	const struct msg_peer *node = node_of(r, &row->addr4);
	if (!node) {
		out->reach = r->known ? SERVICES_BY_RELAY : SERVICES_AS_BEFORE;
		return;
	}
	out->reach = SERVICES_BY_KERNEL;
	out->to = (struct places_away){
		.addr4 = row->addr4,
		.addr6 = row->addr6,
		.mtu = (uint16_t)(!clients_go_plain(node->ways) && node->mtu ? node->mtu : r->mtu),
	};
}

static bool
is_self(void *arg, uint64_t key, const void *data)
{
	const struct msg_mesh *row = data;

	(void)key;
	*(bool *)arg |= !row->self;
	return row->self;
}

bool
reach_others(const struct ring_reader *scheduler)
{
	bool any = false;

	if (scheduler)
		ring_table_each(scheduler, MSG_TABLE_MESH, is_self, &any);
	return any;
}

static uint32_t
mask4_of(unsigned bits)
{
	return bits > V4_BITS ? __builtin_bswap32(UINT32_MAX << (128 - bits)) : 0;
}

void
reach_cluster(const struct msg_prefix *own, const struct addr_prefix *network,
	      struct edge_config *out)
{
	struct addr_prefix v4 = own->v4;

	if (addr_is_v4(&v4.base)) {
		if (addr_prefix_overlap(network, &v4))
			v4 = *network;
		out->cluster4_mask = mask4_of(v4.bits);
		out->cluster4 = addr_v4_be(&v4.base) & out->cluster4_mask;
	}
	if (!addr_is_v4(&own->v6.base) && !addr_is_zero(&own->v6.base)) {
		memcpy(out->cluster6, own->v6.base.ip, sizeof(out->cluster6));
		out->cluster6_words = own->v6.bits / WORD_BITS;
	}
}
