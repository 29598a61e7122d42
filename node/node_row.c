/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What roles say to node by their tables, read at each tick. Who the peers are is kept from one
 * tick to the next: an overlay that has just begun has not said any yet, and routes must not go
 * away for that.
 */
#include "node/node_private.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/text.h"

/* The process that reads as a role; NULL while there is none. */
static struct ring_reader *
reader_of(struct node *n, unsigned role)
{
	struct list *it, *tmp;

	list_each (it, tmp, supervise_units(n->supervise)) {
		struct unit *u = container_of(it, struct unit, link);
		struct ring_reader *reader = u->member ? hub_reader(u->member) : NULL;

		if ((unsigned)u->role->role == role && reader)
			return reader;
	}
	return NULL;
}

const void *
node_row(struct node *n, unsigned role, uint16_t table, uint32_t row_bytes)
{
	struct ring_reader *reader = reader_of(n, role);

	if (!reader)
		return NULL;
	ring_table_sync(reader, table, row_bytes, NULL, NULL);
	return ring_table_get(reader, table, 1);
}

static int
by_prefix(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct wgroutes_peer));
}

static bool
is_by_hand(const struct node *n, const struct msg_peer *row)
{
	for (uint32_t i = 0; i < n->config.overlay.peers_count; i++)
		if (text_equal(n->config.overlay.peers[i].name, row->name))
			return true;
	return false;
}

/* An overlay that has just begun does not say of any that it is sealed: who was stays so. */
static bool
is_sealed(const struct node *n, const struct msg_peer *row, const struct wgroutes_peer *prefixes)
{
	const struct wgroutes *were = &n->were_sealed;

	if (row->ways & MSG_WAY_TRUSTED)
		return false;
	return (row->ways & MSG_WAY_SEALED) ||
	       bsearch(prefixes, were->peers, were->count, sizeof(*prefixes), by_prefix);
}

struct gathering {
	struct node *n;
	size_t count, more; /* those for which there is no room */
};

/* By which way the fabric's own packets go to it: decided by both ends (ring/msg_network.h). */
static bool
add_peer(void *arg, uint64_t key, const void *data)
{
	struct gathering *g = arg;
	struct node *n = g->n;
	const struct msg_peer *row = data;
	struct config_peer peer;

	(void)key;
	if (!outside_peer(&n->config, row, &peer))
		return true;
	if (g->count == MSG_PEERS_MAX) {
		g->more++;
		return true;
	}
	g->count++;
	const struct wgroutes_peer prefixes = {.v4 = peer.prefix4, .v6 = peer.prefix6};
	if (!is_by_hand(n, row))
		n->sealed.members[n->sealed.members_count++] = prefixes;
	if (is_sealed(n, row, &prefixes))
		n->sealed.peers[n->sealed.count++] = prefixes;
	if (!(row->ways & MSG_WAY_TRUSTED))
		memset(&peer.prefix4, 0, sizeof(peer.prefix4)); /* no route: node/underlay.h */
	if (row->ways & MSG_WAY_PLAIN)
		n->peers.list[n->peers.count++] = peer;
	return true;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(((const struct config_peer *)a)->name, ((const struct config_peer *)b)->name);
}

const struct msg_prefix *
node_row_prefix(struct node *n)
{
	return node_row(n, ROLE_OVERLAY, MSG_TABLE_PREFIX, sizeof(struct msg_prefix));
}

static void
find_sealed(struct node *n, struct ring_reader *overlay)
{
	struct gathering g = {.n = n};
	struct wgroutes *s = &n->sealed;

	wgroutes_copy(&n->were_sealed, s);
	n->peers.count = s->count = s->members_count = 0;
	ring_table_each(overlay, MSG_TABLE_PEER, add_peer, &g);
	qsort(n->peers.list, n->peers.count, sizeof(n->peers.list[0]), by_name);
	qsort(s->peers, s->count, sizeof(s->peers[0]), by_prefix);
	qsort(s->members, s->members_count, sizeof(s->members[0]), by_prefix);
	if (g.more && g.more != n->peers_left_out)
		log_event(LOG_ERROR, "more peers than this node can have routes for",
			  log_u("most", MSG_PEERS_MAX), log_u("left_out", g.more), LOG_END);
	n->peers_left_out = g.more;
}

/* Of a cluster with prefixes by hand it is not known what else its nodes have. */
static void
find_cluster(struct node *n, const struct msg_prefix *own)
{
	struct addr_prefix cluster = config_network(&n->config.overlay);

	if (!own)
		return;
	if (addr_in_prefix(&own->v4.base, &cluster))
		n->sealed.cluster = cluster;
	else
		memset(&n->sealed.cluster, 0, sizeof(n->sealed.cluster));
}

const struct underlay_peers *
node_row_peers(struct node *n)
{
	struct ring_reader *reader = reader_of(n, ROLE_OVERLAY);

	n->sealed.ifindex = wgdev_index(n->wgdev);
	n->sealed.times = wgdev_times(n->wgdev);
	n->peers.mtu = n->config.overlay.mtu;
	n->peers.vni = n->config.overlay.vni;
	find_cluster(n, node_row_prefix(n));
	if (reader)
		ring_table_sync(reader, MSG_TABLE_PEER, sizeof(struct msg_peer), NULL, NULL);
	if (reader && ring_table_version(reader, MSG_TABLE_PEER))
		find_sealed(n, reader);
	return &n->peers;
}

const struct msg_datapath *
node_row_datapath(struct node *n)
{
	return node_row(n, ROLE_DATAPLANE, MSG_TABLE_DATAPATH, sizeof(struct msg_datapath));
}

const struct msg_etcd_order *
node_row_order(struct node *n)
{
	return node_row(n, ROLE_SCHEDULER, MSG_TABLE_ETCD_ORDER, sizeof(struct msg_etcd_order));
}
