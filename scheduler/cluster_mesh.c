/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the containers of the cluster's nodes are: each node says its prefixes (gossip entry
 * ADDRESSES), this one keeps its own apart from theirs (ipam.h), and overlay learns from the table
 * mesh where packets for the others go. Who has just changed its prefix says so only when it has
 * it.
 *
 * A process that has just begun has not heard where the others are, and what it does not know ends
 * no way that works: it says nothing before it knows who is in the cluster, and of a node that it
 * has not heard of, that all is as before.
 */
#include "scheduler/cluster_inside.h"

#include <inttypes.h>
#include <string.h>
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/publish_parts.h"
#include "scheduler/publish_table.h"

static void
read_own(struct cluster *c)
{
	struct ring_reader *overlay = station_reader(c->st, ROLE_OVERLAY, 0);
	const struct msg_prefix *row =
		overlay ? ring_table_get(overlay, MSG_TABLE_PREFIX, 1) : NULL;

	if (row) {
		const struct ipam_prefixes own = {row->v4, row->v6};
		const struct addr_prefix network = config_network(&c->config->overlay);

		ipam_own(&c->ipam, &own, &network, c->config->overlay.prefix4.bits != 0,
			 map_count(&c->m->replicas) > 0 || publish_identity_guests(c->m) > 0);
	}
}

static uint32_t
sealed_by(const struct ipam_ways *w)
{
	static const uint8_t none[MSG_KEY];

	if (memcmp(w->key, none, sizeof(none)) == 0)
		return 0;
	return w->kernel ? MSG_BACKEND_KERNEL : MSG_BACKEND_ENGINE;
}

static uint32_t
peer_sealed_by(const struct cluster *c, const struct cluster_node *n)
{
	const struct ipam_node *peer = ipam_peer(&c->ipam, n->row.node);

	return peer ? sealed_by(&peer->ways) : 0;
}

static void
read_other(struct cluster *c, const struct cluster_node *n)
{
	const struct ipam_node *was = ipam_peer(&c->ipam, n->row.node);
	struct ipam_prefixes says, before = was ? was->prefixes : (struct ipam_prefixes){0};
	struct ipam_ways ways;
	struct gossip_entry e;
	struct addr address;
	uint32_t seals = was ? sealed_by(&was->ways) : 0;
	bool placed;

	if (n->row.removed) {
		ipam_forget(&c->ipam, n->row.node);
		return;
	}
	bool known = c->gossip &&
		     gossip_get(c->gossip, n->row.node, TIDINGS_ADDRESSES, TIDINGS_ONE, &e) &&
		     ipam_take(e.value, e.bytes, &says, &ways);
	/* One that only dials out has no address that is good for anything: that of its prefix
	 * stands for it, from which nothing comes but by the tunnel. */
	if (known && cluster_link_hidden(n)) {
		address = says.v6.base;
		placed = true;
	} else {
		placed = cluster_address(c, n->row.node, &address);
	}
	if ((known && ipam_says(&c->ipam, n->row.node, &says, &ways) < 0) ||
	    (placed && ipam_address(&c->ipam, n->row.node, &address) < 0))
		log_event(LOG_WARN, "no memory for the addresses of a node",
			  log_s("node", n->row.name), LOG_END);
	was = ipam_peer(&c->ipam, n->row.node);
	c->dirty |= seals != (was ? sealed_by(&was->ways) : 0);
	if (was && memcmp(&was->prefixes, &before, sizeof(before)) != 0)
		model_stir(c->m); /* what its replicas say of their addresses counts now */
}

static void
say(struct cluster *c)
{
	uint8_t value[IPAM_VALUE_BYTES];

	if (!c->gossip)
		return;
	ipam_put(&c->ipam.own, &c->ways, value);
	c->put |= gossip_put(c->gossip, TIDINGS_ADDRESSES, TIDINGS_ONE, value, sizeof(value)) ==
		  GOSSIP_OK;
}

/* One whose WireGuard passes on between this node and n, of which neither can be sent to first
 * (docs/decisions/018). Which one it is, overlay finds out. */
static const struct ipam_node *
find_relay(const struct cluster *c, const struct cluster_node *n)
{
	static const uint8_t none[MSG_KEY];
	struct map_iter it = {0};

	while (map_next(&c->nodes, &it)) {
		const struct cluster_node *third = it.value;
		const struct ipam_node *at = ipam_peer(&c->ipam, third->row.node);

		if (third != n && third->row.node != c->keep.node && !third->row.removed &&
		    third->state == GOSSIP_ALIVE && !cluster_link_hidden(third) && at &&
		    at->ways.port && !at->ways.kernel &&
		    memcmp(at->ways.key, none, sizeof(none)) != 0)
			return at;
	}
	return NULL;
}

/* Bits of enum msg_way: how packets go between containers of that node and of this one, both ways.
 */
static uint32_t
between(const struct cluster *c, const struct cluster_node *n)
{
	const struct ipam_node *peer = ipam_peer(&c->ipam, n->row.node);
	struct ipam_ways own = c->ways;
	uint32_t every = UINT32_MAX;

	if (!peer || n->row.removed)
		return 0;
	/* Nothing but a handshake finds the way to who is behind a NAT. */
	if (c->config->node.advertise_none || cluster_link_hidden(n))
		every = MSG_WAY_SEALED;
	if (c->config->node.advertise_none && cluster_link_hidden(n)) {
		const struct ipam_node *relay = find_relay(c, n);

		own.port = relay ? relay->ways.port : 0;
	}
	return ipam_between(&own, &peer->ways) & every;
}

/* One that is alive, has said where its containers are, and is reached by no way. */
static const struct cluster_node *
find_unreached(const struct cluster *c)
{
	struct map_iter it = {0};

	while (map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;

		if (n->row.node != c->keep.node && n->state == GOSSIP_ALIVE &&
		    ipam_peer(&c->ipam, n->row.node) && !between(c, n))
			return n;
	}
	return NULL;
}

static void
say_no_way(const struct cluster *c, const struct cluster_node *n, struct err *err)
{
	if (cluster_seal_why(c, err))
		return;
	err_set(err, ERR_UNSUPPORTED, "containers of %s are not reached from here", n->row.name);
	if (c->config->node.advertise_none && cluster_link_hidden(n) && !find_relay(c, n)) {
		err_why(err, "`node.advertise` is none on both: neither can send to the other, and "
			     "there is no third node that passes on");
		err_fix(err,
			"have a node in the cluster that both reach, with `listen.overlay` on");
		return;
	}
	err_why(err, "it says no key for sealed traffic, and without encryption both nodes must "
		     "have cluster: { encrypt: false }");
	err_fix(err, "look at zlayer status on %s", n->row.name);
}

/* Who has just started has not said its keys yet. */
static void
set_no_way(struct cluster *c)
{
	enum { PATIENCE_S = 10 };
	const struct cluster_node *n = find_unreached(c);

	if (!n)
		c->no_way_since_ns = 0;
	else if (!c->no_way_since_ns)
		c->no_way_since_ns = world_mono_ns();
	else if (world_mono_ns() - c->no_way_since_ns > (uint64_t)PATIENCE_S * CLUSTER_SECOND_NS)
		say_no_way(c, n, &c->mesh_err);
}

static void
set_left_out(struct cluster *c)
{
	err_set(&c->mesh_err, ERR_LIMIT, "containers of %zu nodes are not reached from here",
		c->mesh_left_out);
	err_why(&c->mesh_err, "a cluster has at most %d nodes", MSG_PEERS_MAX);
	err_fix(&c->mesh_err, "remove those that do not come back: zlayer node rm NAME");
}

/* Who is one too many has the same prefix as somebody, since it was made with one. */
static void
set_full(struct cluster *c, const struct cluster_node *n, const char *own)
{
	const struct addr_prefix *network = &c->ipam.network;
	char text[ADDR_TEXT_BYTES];

	addr_put_prefix(network, text, sizeof(text));
	err_set(&c->mesh_err, ERR_LIMIT,
		"there are no addresses left for this node's containers in %s", text);
	err_why(&c->mesh_err, "it has %" PRIu32 " prefixes, one for each node, and all are taken",
		config_network_places(network));
	err_why(&c->mesh_err,
		"%s is %s's, too: containers of this node are not reached from other nodes", own,
		n ? n->row.name : "another node");
	err_fix(&c->mesh_err,
		"give all nodes a wider overlay.network in node.yaml, as 10.128.0.0/9 (a reload is "
		"enough), or remove those that do not come back: zlayer node rm NAME");
}

static void
set_trouble(struct cluster *c, enum ipam_verdict verdict, uint32_t rival)
{
	const struct cluster_node *n = cluster_roster_find(c, rival);
	char text[ADDR_TEXT_BYTES];

	err_clear(&c->mesh_err);
	if (verdict != IPAM_TROUBLE && verdict != IPAM_FULL) {
		set_no_way(c);
		if (c->mesh_left_out)
			set_left_out(c);
		return;
	}
	bool by4 = !n || ipam_rival4(&c->ipam, rival);
	addr_put_prefix(by4 ? &c->ipam.own.v4 : &c->ipam.own.v6, text, sizeof(text));
	if (verdict == IPAM_FULL) {
		set_full(c, n, text);
		return;
	}
	err_set(&c->mesh_err, ERR_CONFLICT,
		"%s gives its containers the addresses of this node's (%s)",
		n ? n->row.name : "another node", text);
	err_why(&c->mesh_err, "containers of this node are not reached from other nodes");
	if (!by4)
		err_fix(&c->mesh_err, "give one of the two another overlay.prefix6 in node.yaml");
	else if (c->config->overlay.prefix4.bits)
		err_fix(&c->mesh_err,
			"give this node another overlay.prefix4 in node.yaml, start it again, "
			"then zlayer restart what it runs");
	else
		err_fix(&c->mesh_err,
			"zlayer node drain %s: it takes others when it has no "
			"container",
			c->keep.name);
}

static void
put_peer(const struct cluster *c, const struct cluster_node *n, struct msg_mesh *row)
{
	const struct ipam_node *peer = ipam_peer(&c->ipam, n->row.node);

	row->address = peer->address;
	row->address.port = 0;
	row->v4 = peer->prefixes.v4;
	row->v6 = peer->prefixes.v6;
	row->ways = between(c, n);
	if (!(row->ways & MSG_WAY_SEALED))
		return;
	row->port = peer->ways.port;
	row->backend = peer->ways.kernel ? MSG_BACKEND_KERNEL : MSG_BACKEND_ENGINE;
	memcpy(row->key, peer->ways.key, sizeof(row->key));
	memcpy(row->next_key, peer->ways.next_key, sizeof(row->next_key));
}

/* Where its containers are is said even when no way leads there: what is for them must not take one
 * that is for others, the uplink's above all. This node's own addresses stay its own. */
static bool
is_placed(const struct cluster *c, const struct cluster_node *n)
{
	const struct ipam_node *peer = ipam_peer(&c->ipam, n->row.node);
	const struct ipam_prefixes *own = &c->ipam.own;

	return peer && !n->row.removed &&
	       (between(c, n) || (!addr_prefix_overlap(&peer->prefixes.v4, &own->v4) &&
				  !addr_prefix_overlap(&peer->prefixes.v6, &own->v6)));
}

/* Whether this process has not been told yet how it is with that node, or with this one. */
static bool
is_untold(const struct cluster *c, const struct cluster_node *n)
{
	return !n->row.removed && (!ipam_knows(&c->ipam, n->row.node) || cluster_seal_waits(c));
}

/* False: nothing is said of it. */
static bool
make_row(const struct cluster *c, const struct cluster_node *n, const struct addr_prefix *wish,
	 struct msg_mesh *row)
{
	*row = (struct msg_mesh){.node = n->row.node};
	text_copy(row->name, sizeof(row->name), n->row.name);
	if (n->row.node == c->keep.node) {
		row->self = 1;
		row->v4 = *wish;
		row->rotate_wall_s = n->row.rotate_wall_s;
		return true;
	}
	if (is_untold(c, n))
		return true;
	if (is_placed(c, n)) {
		put_peer(c, n, row);
		return true;
	}
	return false;
}

static void
publish(struct cluster *c, const struct addr_prefix *wish)
{
	struct publish_table t;
	struct map_iter it = {0};
	uint64_t before = ring_table_own_version(c->m->writer, MSG_TABLE_MESH);
	size_t others = 0;
	struct msg_mesh row;

	c->mesh_left_out = 0;
	publish_table_begin(&t, c->m, MSG_TABLE_MESH);
	while (c->member && map_next(&c->nodes, &it)) {
		if (!make_row(c, it.value, wish, &row))
			continue;
		if (!row.self && ++others >= MSG_PEERS_MAX)
			c->mesh_left_out++;
		else
			publish_table_row(&t, row.node, &row);
	}
	publish_table_commit(&t);
	if (ring_table_own_version(c->m->writer, MSG_TABLE_MESH) == before)
		return;
	station_kick(c->st);
	if (c->m->hooks.stir)
		c->m->hooks.stir(c->m->hooks.arg); /* others can be served from here, or not */
}

/* The rows of a store that is not there yet may be few. */
static bool
knows_members(const struct cluster *c)
{
	struct store_status status;

	store_status(c->m->store, &status);
	return c->heard || status.writable;
}

void
cluster_mesh_look(struct cluster *c)
{
	struct addr_prefix wish = {0};
	struct map_iter it = {0};
	uint32_t rival;

	if (!c->member)
		return;
	uint32_t seals = sealed_by(&c->ways);
	read_own(c);
	cluster_seal_read(c);
	c->dirty |= seals != sealed_by(&c->ways);
	while (map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;

		if (n->row.node != c->keep.node)
			read_other(c, n);
	}
	enum err_kind before = c->mesh_err.kind;
	enum ipam_verdict verdict = ipam_judge(&c->ipam, &rival, &wish);
	if (verdict != IPAM_CHANGE)
		memset(&wish, 0, sizeof(wish));
	if (verdict != IPAM_UNKNOWN && verdict != IPAM_CHANGE)
		say(c);
	cluster_guests_say(c);
	set_trouble(c, verdict, rival);
	c->dirty |= c->mesh_err.kind != before;
	cluster_heard_look(c);
	if (knows_members(c))
		publish(c, &wish);
	cluster_seal_pairs(c);
}

uint32_t
cluster_mesh_backend(const struct cluster *c, const struct cluster_node *n)
{
	if (!c->member)
		return 0;
	return n->row.node == c->keep.node ? sealed_by(&c->ways) : peer_sealed_by(c, n);
}

bool
cluster_reaches(const struct cluster *c, uint32_t node)
{
	const struct cluster_node *n = cluster_roster_find(c, node);

	return c->member && n && between(c, n);
}

bool
cluster_owns(const struct cluster *c, uint32_t node, const struct addr *a)
{
	const struct ipam_node *peer = c->member ? ipam_peer(&c->ipam, node) : NULL;

	return peer && (addr_in_prefix(a, &peer->prefixes.v4) ||
			(peer->prefixes.v6.bits && addr_in_prefix(a, &peer->prefixes.v6)));
}
