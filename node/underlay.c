/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making of the VXLAN device. What it was made for stands in its alias: another socket needs
 * another device; a peer that comes needs routes; the routes of one that goes, or has changed, go
 * with the link, which is taken down for a moment. Routes are for the fabric's own packets
 * (proxies, ICMP errors), containers' packets are sent by program. Their next hop is nobody:
 * 169.254.1.3 and fe80::3.
 */
#include "node/underlay.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/map.h"
#include "base/text.h"
#include "runtime/net.h"
#include "runtime/net_link.h"

/* What VXLAN takes of a packet over IPv6; 20 more than over IPv4. */
enum { ROOM = 70, ALIAS_BYTES = 96 };

static const uint8_t nobody_mac[6] = {0x02, 0x7a, 0x6c, 0, 0, 3};

struct making {
	const struct underlay_wanted *wanted;
	int host, fabric; /* netlink sockets */
	uint32_t index;
	char alias[ALIAS_BYTES];  /* what is there */
	char device[ALIAS_BYTES]; /* the part of the alias that is wanted: socket, then peers */
	char peers[32];
};

/* ---- what is wanted, what is there ---- */

static uint64_t
digest(const void *data, size_t bytes)
{
	static const uint64_t key[2] = {UINT64_C(0x7a6c61796572), 6};

	return map_siphash(key, data, bytes);
}

void
underlay_peers_copy(struct underlay_peers *to, const struct underlay_peers *from)
{
	to->mtu = from->mtu;
	to->vni = from->vni;
	to->count = from->count;
	memcpy(to->list, from->list, from->count * sizeof(from->list[0]));
}

static bool
same_socket(const struct underlay_wanted *a, const struct underlay_wanted *b)
{
	return memcmp(&a->listen, &b->listen, sizeof(a->listen)) == 0 &&
	       a->peers->mtu == b->peers->mtu && a->peers->vni == b->peers->vni;
}

bool
underlay_differs(const struct underlay_wanted *a, const struct underlay_wanted *b)
{
	return !same_socket(a, b) || a->peers->count != b->peers->count ||
	       memcmp(a->peers->list, b->peers->list,
		      a->peers->count * sizeof(a->peers->list[0])) != 0;
}

/* Both lists are in order: each is gone through once. */
bool
underlay_grows(const struct underlay_wanted *a, const struct underlay_wanted *b)
{
	const struct underlay_peers *were = a->peers, *are = b->peers;
	uint32_t at = 0;

	if (!same_socket(a, b))
		return false;
	for (uint32_t i = 0; i < were->count; i++, at++) {
		while (at < are->count && strcmp(are->list[at].name, were->list[i].name) < 0)
			at++;
		if (at == are->count ||
		    memcmp(&are->list[at], &were->list[i], sizeof(are->list[at])) != 0)
			return false;
	}
	return true;
}

static void
name_wanted(struct making *m)
{
	const struct underlay_wanted *w = m->wanted;
	char listen[ADDR_TEXT_BYTES];

	addr_put(&w->listen.addr, listen, sizeof(listen));
	text_format(m->device, sizeof(m->device), "zlayer %s %" PRIu32, listen, w->peers->mtu);
	text_format(m->peers, sizeof(m->peers), " %016" PRIx64,
		    digest(w->peers->list, w->peers->count * sizeof(w->peers->list[0])));
}

static void
take_alias(void *arg, const char *name, uint32_t index, const char *alias)
{
	struct making *m = arg;

	(void)index;
	if (strcmp(name, UNDERLAY_IN_FABRIC) == 0)
		text_copy(m->alias, sizeof(m->alias), alias);
}

static int
look(struct making *m, const struct underlay_wanted *wanted, struct err *err)
{
	struct err none = {0};

	*m = (struct making){.wanted = wanted, .host = -1, .fabric = -1};
	name_wanted(m);
	defer_close int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (here < 0 || net_link_open(err) < 0)
		return err->kind ? -1 : err_set(err, ERR_SYSTEM, "cannot see our own network");
	m->host = net_link_socket(here, err);
	if (m->host < 0)
		return -1;
	m->fabric = net_link_socket(wanted->fabric, err);
	if (m->fabric < 0)
		return -1;
	if (net_link_find(m->fabric, UNDERLAY_IN_FABRIC, &m->index, &none) < 0)
		m->index = 0;
	net_link_each_alias(m->fabric, take_alias, m);
	return 0;
}

/* ---- making ---- */

static int
make_device(struct making *m, struct err *err)
{
	struct net_link_vxlan v = {
		.name = UNDERLAY_IN_FABRIC,
		.ns = m->wanted->fabric,
		.port = m->wanted->listen.addr.port,
		.mtu = m->wanted->peers->mtu - ROOM,
	};

	if (m->index && text_starts(m->alias, m->device) && m->alias[strlen(m->device)] == ' ')
		return 0;
	if (m->index && net_link_remove(m->fabric, m->index, err) < 0)
		return -1;
	m->index = 0;
	m->alias[0] = '\0';
	if (net_link_add_vxlan(m->host, &v, err) < 0)
		return -1;
	return net_link_find(m->fabric, UNDERLAY_IN_FABRIC, &m->index, err);
}

static int
make_route(struct making *m, const char *hop, const struct addr_prefix *prefix, struct err *err)
{
	struct addr gateway;

	if (!addr_parse_ip(hop, &gateway))
		return err_set(err, ERR_INTERNAL, "a next hop does not hold");
	if (net_link_add_neighbour(m->fabric, m->index, &gateway, nobody_mac, err) < 0)
		return -1;
	return net_link_add_prefix_route(m->fabric, m->index, prefix, &gateway, err);
}

/* A kernel without IPv6 has no files for it; then there is nothing to route. */
static bool
set_inside(int ns, struct err *err)
{
	struct net_stay stay;
	bool v6 = false;

	if (net_enter(ns, &stay, err) < 0)
		return false;
	static const char *const names[] = {"accept_ra", "accept_dad"};
	for (size_t i = 0; i < 2; i++) {
		char path[96];

		text_format(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/%s", UNDERLAY_IN_FABRIC,
			    names[i]);
		defer_close int fd = open(path, O_WRONLY | O_CLOEXEC);
		v6 = fd >= 0 && write(fd, "0", 1) == 1;
	}
	net_leave(&stay);
	return v6;
}

static int
make_routes(struct making *m, struct err *err)
{
	const struct underlay_peers *o = m->wanted->peers;
	char alias[ALIAS_BYTES + 32];
	size_t length = strlen(m->device);

	if (m->alias[0] && strcmp(m->alias + length, m->peers) == 0)
		return 0;
	bool v6 = set_inside(m->wanted->fabric, err);
	bool stays = m->wanted->more && m->alias[0];
	if (err->kind || (!stays && net_link_down(m->fabric, m->index, err) < 0) ||
	    net_link_up(m->fabric, m->index, err) < 0)
		return err_fix(err, "is UDP port %u of this machine taken? see listen.vxlan",
			       m->wanted->listen.addr.port);
	for (uint32_t i = 0; i < o->count; i++) {
		if (!o->list[i].prefix4.bits)
			continue;
		if (make_route(m, "169.254.1.3", &o->list[i].prefix4, err) < 0 ||
		    (v6 && make_route(m, "fe80::3", &o->list[i].prefix6, err) < 0))
			return err_where(err, "peer %s", o->list[i].name);
	}
	text_format(alias, sizeof(alias), "%s%s", m->device, m->peers);
	return net_link_set_alias(m->fabric, m->index, alias, err);
}

void
underlay_apply(const struct underlay_wanted *wanted, struct underlay_found *out)
{
	bool on = wanted->listen.on && wanted->peers->count > 0;
	struct making m;

	*out = (struct underlay_found){.state = MSG_UNDERLAY_FAILED};
	if (look(&m, wanted, &out->err) < 0)
		goto out;
	if (on) {
		if (make_device(&m, &out->err) == 0 && make_routes(&m, &out->err) == 0)
			out->state = MSG_UNDERLAY_UP;
	} else if (!m.index || net_link_remove(m.fabric, m.index, &out->err) == 0) {
		m.index = 0;
		out->state = MSG_UNDERLAY_OFF;
	}
	out->ifindex = out->state == MSG_UNDERLAY_UP ? m.index : 0;
out:
	if (out->err.kind)
		(void)err_where(&out->err, "the way to other nodes, device %s of the fabric",
				UNDERLAY_IN_FABRIC);
	fd_close(&m.host);
	fd_close(&m.fabric);
}
