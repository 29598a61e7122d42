/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writer: messages are filled up to their end; what does not fit any more is taken back and comes
 * in the next one. A peer with many prefixes is begun in one message and gone on with in others,
 * which say its key again and nothing else of it, so that nothing is done twice.
 *
 * Reader: the kernel splits in the same way. All lengths are checked, although the kernel has
 * written them. Reading is kernel_wire_read.c.
 */
#include "overlay/wg/kernel_wire.h"

#include <assert.h>
#include <linux/genetlink.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/wireguard.h>
#include <string.h>
#include "overlay/wg/kernel_wire_mnl.h"

DL_DEFINE(kernel_wire_mnl, "libmnl.so.0", KERNEL_WIRE_MNL_CALLS)

enum { V4_OFFSET_BITS = 96 };

int
kernel_wire_open(struct err *err)
{
	return dl_load_kernel_wire_mnl(err);
}

/* ---- messages ---- */

static struct nlmsghdr *
begin(void *out, uint32_t sequence, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *h = kernel_wire_mnl.mnl_nlmsg_put_header(out);

	h->nlmsg_type = type;
	h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	h->nlmsg_seq = sequence;
	return h;
}

static struct nlmsghdr *
begin_generic(void *out, uint32_t sequence, uint16_t type, uint16_t flags, uint8_t command)
{
	struct nlmsghdr *h = begin(out, sequence, type, flags);
	struct genlmsghdr *g = kernel_wire_mnl.mnl_nlmsg_put_extra_header(h, sizeof(*g));

	g->cmd = command;
	g->version = WG_GENL_VERSION; /* the controller's family does not look at it */
	return h;
}

static bool
put(struct nlmsghdr *h, uint16_t type, size_t bytes, const void *data)
{
	return kernel_wire_mnl.mnl_attr_put_check(h, KERNEL_WIRE_MESSAGE_MAX, type, bytes, data);
}

static bool
put_u16(struct nlmsghdr *h, uint16_t type, uint16_t v)
{
	return put(h, type, sizeof(v), &v);
}

static bool
put_u32(struct nlmsghdr *h, uint16_t type, uint32_t v)
{
	return put(h, type, sizeof(v), &v);
}

static struct nlattr *
nest(struct nlmsghdr *h, uint16_t type)
{
	return kernel_wire_mnl.mnl_attr_nest_start_check(h, KERNEL_WIRE_MESSAGE_MAX, type);
}

/* What stands in the first part of a message has its place for sure. */
static void
must(bool fits)
{
	assert(fits);
}

static void
put_name(struct nlmsghdr *h, uint16_t type, const char *name)
{
	assert(strlen(name) <= KERNEL_WIRE_NAME_MAX);
	must(put(h, type, strlen(name) + 1, name));
}

/* ---- links ---- */

size_t
kernel_wire_put_add(void *out, uint32_t sequence, const struct kernel_wire_link *link)
{
	struct nlmsghdr *h =
		begin(out, sequence, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);

	kernel_wire_mnl.mnl_nlmsg_put_extra_header(h, sizeof(struct ifinfomsg));
	put_name(h, IFLA_IFNAME, link->name);
	if (link->mtu != 0)
		must(put_u32(h, IFLA_MTU, link->mtu));
	if (link->ns >= 0)
		must(put_u32(h, IFLA_NET_NS_FD, (uint32_t)link->ns));
	struct nlattr *info = nest(h, IFLA_LINKINFO);
	must(info && put(h, IFLA_INFO_KIND, sizeof(WG_GENL_NAME), WG_GENL_NAME));
	kernel_wire_mnl.mnl_attr_nest_end(h, info);
	return h->nlmsg_len;
}

size_t
kernel_wire_put_remove(void *out, uint32_t sequence, const char *name)
{
	struct nlmsghdr *h = begin(out, sequence, RTM_DELLINK, NLM_F_ACK);

	kernel_wire_mnl.mnl_nlmsg_put_extra_header(h, sizeof(struct ifinfomsg));
	put_name(h, IFLA_IFNAME, name);
	return h->nlmsg_len;
}

/* ---- questions ---- */

size_t
kernel_wire_put_family(void *out, uint32_t sequence)
{
	struct nlmsghdr *h =
		begin_generic(out, sequence, GENL_ID_CTRL, NLM_F_ACK, CTRL_CMD_GETFAMILY);

	must(put(h, CTRL_ATTR_FAMILY_NAME, sizeof(WG_GENL_NAME), WG_GENL_NAME));
	return h->nlmsg_len;
}

size_t
kernel_wire_put_get(void *out, uint32_t sequence, uint16_t family, const char *name)
{
	struct nlmsghdr *h = begin_generic(out, sequence, family, NLM_F_DUMP, WG_CMD_GET_DEVICE);

	put_name(h, WGDEVICE_A_IFNAME, name);
	return h->nlmsg_len;
}

/* ---- changes ---- */

static void
put_device(struct nlmsghdr *h, const struct setup *c)
{
	if (c->replace_peers)
		must(put_u32(h, WGDEVICE_A_FLAGS, WGDEVICE_F_REPLACE_PEERS));
	if (c->has_private_key)
		must(put(h, WGDEVICE_A_PRIVATE_KEY, SETUP_KEY, c->private_key));
	if (c->has_port)
		must(put_u16(h, WGDEVICE_A_LISTEN_PORT, c->port));
	if (c->has_fwmark)
		must(put_u32(h, WGDEVICE_A_FWMARK, c->fwmark));
}

static bool
put_prefix(struct nlmsghdr *h, const struct addr_prefix *p)
{
	bool v4 = addr_is_v4(&p->base);
	uint8_t bits = v4 ? (uint8_t)(p->bits - V4_OFFSET_BITS) : p->bits;
	struct nlattr *at = nest(h, 0);

	if (!at)
		return false;
	if (put_u16(h, WGALLOWEDIP_A_FAMILY, v4 ? AF_INET : AF_INET6) &&
	    put(h, WGALLOWEDIP_A_IPADDR, v4 ? 4 : 16, p->base.ip + (v4 ? 12 : 0)) &&
	    put(h, WGALLOWEDIP_A_CIDR_MASK, sizeof(bits), &bits)) {
		kernel_wire_mnl.mnl_attr_nest_end(h, at);
		return true;
	}
	kernel_wire_mnl.mnl_attr_nest_cancel(h, at);
	return false;
}

static bool
put_flags(struct nlmsghdr *h, const struct setup_peer *p, bool first)
{
	uint32_t flags = p->update_only ? WGPEER_F_UPDATE_ONLY : 0;

	if (first && p->remove)
		flags |= WGPEER_F_REMOVE_ME;
	if (first && p->replace_prefixes)
		flags |= WGPEER_F_REPLACE_ALLOWEDIPS;
	return flags == 0 || put_u32(h, WGPEER_A_FLAGS, flags);
}

static bool
put_words(struct nlmsghdr *h, const struct setup_peer *p)
{
	struct sockaddr_storage ss;

	if (p->has_psk && !put(h, WGPEER_A_PRESHARED_KEY, SETUP_KEY, p->psk))
		return false;
	if (p->has_endpoint && !put(h, WGPEER_A_ENDPOINT, addr_to_sockaddr(&p->endpoint, &ss), &ss))
		return false;
	return !p->has_keepalive ||
	       put_u16(h, WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, p->keepalive_s);
}

static bool
ends(const struct setup_peer *p, size_t prefix)
{
	while (prefix < p->prefixes_count && p->prefixes[prefix].remove)
		prefix++;
	return prefix == p->prefixes_count;
}

/* As many as fit. False: not one of those that there are. */
static bool
put_prefixes(struct nlmsghdr *h, const struct setup_peer *p, size_t *at)
{
	const size_t from = *at;

	if (ends(p, from)) {
		*at = p->prefixes_count;
		return true;
	}
	struct nlattr *all = nest(h, WGPEER_A_ALLOWEDIPS);
	if (!all)
		return false;
	bool any = false;
	for (; *at < p->prefixes_count; ++*at) {
		if (p->prefixes[*at].remove)
			continue;
		if (!put_prefix(h, &p->prefixes[*at].at))
			break;
		any = true;
	}
	kernel_wire_mnl.mnl_attr_nest_end(h, all);
	if (!any)
		*at = from;
	return any;
}

/* False: nothing of it is in the message. */
static bool
put_peer(struct nlmsghdr *h, const struct setup_peer *p, struct kernel_wire_at *at)
{
	struct nlattr *peer = nest(h, 0);
	bool first = at->prefix == 0;

	if (!peer)
		return false;
	if (!put(h, WGPEER_A_PUBLIC_KEY, SETUP_KEY, p->public_key) || !put_flags(h, p, first) ||
	    (first && !p->remove && !put_words(h, p)) ||
	    (!p->remove && !put_prefixes(h, p, &at->prefix))) {
		kernel_wire_mnl.mnl_attr_nest_cancel(h, peer);
		return false;
	}
	kernel_wire_mnl.mnl_attr_nest_end(h, peer);
	if (p->remove || ends(p, at->prefix)) {
		at->peer++;
		at->prefix = 0;
	}
	return true;
}

size_t
kernel_wire_put_set(void *out, uint32_t sequence, uint16_t family, const char *name,
		    const struct setup *change, struct kernel_wire_at *at)
{
	if (at->begun && at->peer == change->peers_count)
		return 0;
	struct nlmsghdr *h = begin_generic(out, sequence, family, NLM_F_ACK, WG_CMD_SET_DEVICE);
	put_name(h, WGDEVICE_A_IFNAME, name);
	if (!at->begun)
		put_device(h, change);
	at->begun = true;
	if (at->peer < change->peers_count) {
		struct nlattr *peers = nest(h, WGDEVICE_A_PEERS);

		must(peers && put_peer(h, &change->peers[at->peer], at));
		while (at->peer < change->peers_count && at->prefix == 0 &&
		       put_peer(h, &change->peers[at->peer], at))
			;
		kernel_wire_mnl.mnl_attr_nest_end(h, peers);
	}
	return h->nlmsg_len;
}
