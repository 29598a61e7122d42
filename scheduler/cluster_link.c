/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wire: UDP and TCP sockets of listen.gossip, the shell on them, and the gossip core. A process
 * that takes over from another one may come before that one has let go of the port: it tries again
 * until it has both sockets, and says in the meantime what is wrong. UDP without SO_REUSEADDR: two
 * processes would share a port without a word, and one of them would hear nothing.
 */
#include "scheduler/cluster_inside.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/place/rendezvous.h"

enum { TRY_NS = 100000000, SLOW_TRY_NS = 2000000000, FAST_TRIES_S = 10, BACKLOG = 128 };

static const char incarnation_file[] = "incarnation";

/* ---- sockets ---- */

static int
open_socket(int type, const struct addr *a)
{
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(a, &sa);
	const int on = 1, off = 0;
	int fd = socket(sa.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	if ((sa.ss_family == AF_INET6 &&
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0) ||
	    (type == SOCK_STREAM &&
	     setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0) ||
	    bind(fd, (struct sockaddr *)&sa, length) < 0 ||
	    (type == SOCK_STREAM && listen(fd, BACKLOG) < 0))
		fd_close(&fd);
	return fd;
}

static int
open_both(struct cluster *c, int *udp_out, int *tcp_out, struct err *err)
{
	char text[ADDR_TEXT_BYTES];

	*udp_out = open_socket(SOCK_DGRAM, &c->listen.addr);
	*tcp_out = *udp_out >= 0 ? open_socket(SOCK_STREAM, &c->listen.addr) : -1;
	if (*tcp_out >= 0)
		return 0;
	int code = errno;
	bool udp = *udp_out < 0;
	fd_close(udp_out);
	addr_put(&c->listen.addr, text, sizeof(text));
	err_sys(err, code, "cannot listen for other nodes at %s (%s)", text, udp ? "udp" : "tcp");
	return err_fix(err,
		       code == EADDRINUSE
			       ? "end what has that port, or set another `listen.gossip`"
			       : "set `listen.gossip` in node.yaml to an address of this machine");
}

/* ---- how this node shows itself ---- */

int
cluster_link_rules(struct cluster *c, struct err *err)
{
	struct channel_rules *rules;
	const struct channel_rules_config config = {
		.keys = &c->keep.keys,
		.chain = c->keep.chain.data,
		.chain_bytes = c->keep.chain.length,
		.authority = &c->keep.authority,
		.strangers = cluster_keeper(c),
	};

	if (channel_rules_new(&config, &rules, err) < 0)
		return -1;
	channel_rules_unref(c->rules);
	c->rules = rules;
	channel_rules_clock(rules, c->clock_base_ns / CLUSTER_SECOND_NS);
	if (c->shell)
		shell_rules(c->shell, rules);
	return 0;
}

static int
make_self(struct cluster *c, struct err *err)
{
	uint64_t session;

	if (c->has_self)
		return 0;
	if (cluster_keep_session(c->folder, world_wall_ns(), &session, err) < 0 ||
	    envelope_self_init(&c->self, c->keep.node, session, c->keep.authority.cluster,
			       c->keep.keys.gossip, err) < 0)
		return -1;
	c->has_self = true;
	return 0;
}

/* ---- the core ---- */

static void
step(void *core, const struct step_input *in, struct step_actions *out)
{
	gossip_step(core, in, out);
}

static int
make_gossip(struct cluster *c, struct err *err)
{
	struct world world;

	world_real(&world);
	const struct gossip_config config = {
		.self = c->keep.node,
		.seed = world_random_u64(&world),
		.probe_ms = (uint32_t)(c->suspect_after_ms / 2),
		.probe_direct_ms = (uint32_t)(c->suspect_after_ms / 5),
		.suspicion_ms = (uint32_t)(c->dead_after_ms - c->suspect_after_ms),
		.suspicion_alone_ms = 4 * (uint32_t)(c->dead_after_ms - c->suspect_after_ms),
	};

	return gossip_new(&config, &c->gossip) == 0
		       ? 0
		       : err_set(err, ERR_NO_MEMORY, "cannot begin to speak with other nodes");
}

static void
meet_all(struct cluster *c)
{
	struct map_iter it = {0};

	while (map_next(&c->nodes, &it))
		cluster_link_meet(c, it.value);
}

static int
begin(struct cluster *c, int udp, int tcp, struct err *err)
{
	const struct shell_config config = {
		.loop = station_loop(c->st),
		.udp_fd = udp,
		.tcp_fd = tcp,
		.folder = c->folder,
		.self = &c->self,
		.rules = c->rules,
		.admission = cluster_admit_channel,
		.store = cluster_feed_channel,
		.call = cluster_far_channel,
		.callback = cluster_callback_channel,
		.who = cluster_twin_channel,
		.older = cluster_twin_older,
		.arg = c,
	};

	if (shell_new(&config, &c->shell, err) < 0)
		return -1;
	if (make_gossip(c, err) < 0)
		return -1;
	meet_all(c);
	cluster_facts_put(c);
	if (cluster_place_begin(c, err) < 0 || cluster_callback_begin(c, err) < 0 ||
	    cluster_clocks_begin(c, err) < 0)
		return -1;
	const struct shell_core core = {
		.service = CLUSTER_GOSSIP,
		.core = c->gossip,
		.step = step,
		.tell = cluster_roster_tell,
		.arg = c,
		.files = {incarnation_file},
	};
	return shell_add(c->shell, &core, err);
}

static void
failed(struct cluster *c, const struct err *err, uint64_t now_ns)
{
	bool again = now_ns - c->started_ns < (uint64_t)FAST_TRIES_S * CLUSTER_SECOND_NS;

	if (!c->unbound.kind && !again)
		log_err(LOG_WARN, "this node does not hear the others yet", err);
	if (!again)
		c->unbound = *err;
	c->bind_at_ns = now_ns + (again ? TRY_NS : SLOW_TRY_NS);
	c->dirty = true;
}

void
cluster_link_try(struct cluster *c, uint64_t now_ns)
{
	struct err err = {0};
	int udp, tcp;

	if (c->shell || !c->member || now_ns < c->bind_at_ns)
		return;
	if (!c->listen.on) {
		err_set(&c->unbound, ERR_UNSUPPORTED, "this node hears no other one");
		err_why(&c->unbound, "`listen.gossip` is off, and the node is in a cluster");
		err_fix(&c->unbound, "give `listen.gossip` an address in node.yaml, then reload");
		c->bind_at_ns = UINT64_MAX;
		return;
	}
	if (make_self(c, &err) < 0 || open_both(c, &udp, &tcp, &err) < 0) {
		failed(c, &err, now_ns);
		return;
	}
	if (begin(c, udp, tcp, &err) < 0) {
		/* Half of it is of no use, and there is nothing that trying again would mend
		 * within this process. */
		log_err(LOG_ERROR, "this node cannot speak with the others", &err);
		cluster_renew_process(c);
		return;
	}
	err_clear(&c->unbound);
	c->dirty = true;
	log_event(LOG_INFO, "the node speaks with the others of its cluster",
		  log_u("node", c->keep.node), log_s("name", c->keep.name), LOG_END);
}

void
cluster_link_end(struct cluster *c)
{
	shell_free(c->shell);
	c->shell = NULL;
}

void
cluster_link_flush(struct cluster *c)
{
	if (!c->put || !c->gossip)
		return;
	c->put = false;
	shell_local(c->shell, CLUSTER_GOSSIP, 0, 0, NULL, 0);
}

/* ---- peers ---- */

bool
cluster_link_hidden(const struct cluster_node *n)
{
	return n->has_facts && n->facts.address.port == 0;
}

/* Both ends find the same one while they see the same nodes; each pair its own. */
static uint64_t
relay_rank(uint32_t a, uint32_t b, uint32_t third)
{
	return rendezvous_mix(rendezvous_mix(a < b ? a : b, a < b ? b : a), third);
}

/* One that says that it passes on goes before those of versions that say nothing of it: they may,
 * or may not. Who says that it does not is none. */
static bool
may_pass_on(const struct cluster *c, const struct cluster_node *n, uint32_t to)
{
	return n->row.node != c->keep.node && n->row.node != to && !n->row.removed && n->peer &&
	       n->state == GOSSIP_ALIVE && n->has_facts && !cluster_link_hidden(n) &&
	       (!n->facts.passes_said || n->facts.passes > 0);
}

uint32_t
cluster_link_relay(const struct cluster *c, uint32_t node)
{
	struct map_iter it = {0};
	uint32_t best = 0;
	uint64_t best_rank = 0;
	bool best_says = false;

	while (map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;
		uint64_t rank = relay_rank(c->keep.node, node, n->row.node);
		bool says = n->facts.passes_said;

		if (!may_pass_on(c, n, node) || (best && says < best_says) ||
		    (best && says == best_says && rank < best_rank))
			continue;
		best = n->row.node;
		best_rank = rank;
		best_says = says;
	}
	return best;
}

static bool
address_of(const struct cluster *c, const struct cluster_node *n, struct addr *out)
{
	if (cluster_link_hidden(n)) {
		/* It will call; or somebody passes on to it. */
		uint32_t third =
			c->config->node.advertise_none ? cluster_link_relay(c, n->row.node) : 0;

		return third && shell_peer_address(c->shell, third, out) && out->port;
	}
	if (n->has_facts && !addr_is_zero(&n->facts.address)) {
		*out = n->facts.address;
		return true;
	}
	if (addr_parse(n->row.address, out))
		return true;
	/* Who let this node in was reached there. */
	if (n->row.node == c->keep.via)
		*out = c->keep.via_address;
	return n->row.node == c->keep.via && out->port != 0;
}

/* Without memory gossip tries streams in vain, and learns it the next time. */
static void
say_dials(struct cluster *c, const struct cluster_node *n)
{
	if (!n->peer)
		return;
	shell_peer_dials(c->shell, n->row.node, cluster_link_hidden(n));
	(void)gossip_roster_dials(c->gossip, n->row.node, cluster_link_hidden(n));
}

void
cluster_link_meet(struct cluster *c, struct cluster_node *n)
{
	struct err err = {0};
	struct addr address = {0};

	if (!c->shell || !c->gossip || n->row.node == c->keep.node || n->row.removed)
		return;
	if (!address_of(c, n, &address))
		address = (struct addr){0};
	say_dials(c, n);
	if (n->peer && (addr_equal(&address, &n->given) || address.port == 0))
		return;
	if (shell_peer(c->shell, n->row.node, n->row.gossip_public, &address, &err) < 0) {
		log_err(LOG_WARN, "a node of the cluster cannot be spoken with", &err);
		return;
	}
	n->given = address;
	if (!n->peer && gossip_roster_add(c->gossip, n->row.node) == GOSSIP_NO_MEMORY) {
		shell_peer_remove(c->shell, n->row.node);
		c->rows_changed = true; /* once more */
		return;
	}
	n->peer = true;
	c->nodes_changed = true;
	say_dials(c, n);
	c->put = true;
}

/* Who passes on may be another one now. */
void
cluster_link_tick(struct cluster *c)
{
	struct map_iter it = {0};

	if (!c->shell || !c->config->node.advertise_none || !c->nodes_changed)
		return;
	c->nodes_changed = false;
	while (map_next(&c->nodes, &it)) {
		struct cluster_node *n = it.value;
		struct addr at;

		if (!n->peer || !cluster_link_hidden(n))
			continue;
		cluster_link_meet(c, n);
		/* Nobody is found yet, or it is not known where he is. */
		if (!shell_peer_address(c->shell, n->row.node, &at) || !at.port)
			c->nodes_changed = true;
	}
}

void
cluster_link_part(struct cluster *c, struct cluster_node *n)
{
	if (!n->peer)
		return;
	n->peer = false;
	c->nodes_changed = true;
	(void)gossip_roster_remove(c->gossip, n->row.node);
	shell_peer_remove(c->shell, n->row.node);
	cluster_feed_part(c, n->row.node);
	cluster_far_part(c, n->row.node);
	c->put = true;
}

void
cluster_link_found(struct cluster *c, uint32_t node, const struct addr *address)
{
	struct cluster_node *n = cluster_roster_find(c, node);
	struct err err = {0};

	if (!c->shell || !n || !n->peer || n->state == GOSSIP_ALIVE || address->port == 0)
		return;
	if (shell_peer(c->shell, node, n->row.gossip_public, address, &err) < 0)
		log_err(LOG_WARN, "a node of the cluster cannot be spoken with", &err);
}

/* ---- where others can reach this node ---- */

static bool
fits_socket(const struct cluster *c, const struct addr *a)
{
	return addr_is_v4(a) || !addr_is_v4(&c->listen.addr);
}

static bool
is_link_local(const struct addr *a)
{
	return addr_is_v4(a) ? (ntohl(addr_v4_be(a)) >> 16) == 0xa9fe
			     : a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
}

static void
add(struct cluster *c, const struct addr *a, struct addr *out, size_t max, size_t *count)
{
	struct addr with = *a;

	with.port = c->listen.addr.port;
	if (*count == max || !fits_socket(c, a) || addr_is_zero(a) || addr_is_loopback(a) ||
	    is_link_local(a))
		return;
	for (size_t i = 0; i < *count; i++)
		if (addr_equal(&out[i], &with))
			return;
	out[(*count)++] = with;
}

void
cluster_link_own(const struct cluster *c, struct addr *out)
{
	*out = (struct addr){.port = c->listen.addr.port};
	if (c->config->node.advertise_none)
		out->port = 0;
	else if (!c->config->node.advertise_auto)
		memcpy(out->ip, c->config->node.advertise.ip, sizeof(out->ip));
	else if (!addr_is_zero(&c->listen.addr))
		memcpy(out->ip, c->listen.addr.ip, sizeof(out->ip));
}

size_t
cluster_link_addresses(struct cluster *c, struct addr *out, size_t max)
{
	const struct msg_node *row = c->m && c->m->supervisor
					     ? ring_table_get(c->m->supervisor, MSG_TABLE_NODE, 1)
					     : NULL;
	size_t count = 0;

	cluster_link_own(c, &out[0]);
	if (!addr_is_zero(&out[0]))
		return 1;
	if (out[0].port == 0)
		return 0;
	for (uint32_t i = 0; row && i < row->addresses_count && i < 16; i++)
		add(c, &row->addresses[i], out, max, &count);
	return count;
}
