/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links, addresses, routes and neighbours by netlink (RFC 3549). "It exists already" is success for
 * everything but links: a runtime that was killed in the middle does its work again.
 */
#include "runtime/net_link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/dl.h"
#include "base/fd.h"
#include "base/text.h"
#include "runtime/net.h"
#include "runtime/net_source.h"

#define NET_LINK_MNL_CALLS(X)         \
	X(mnl_nlmsg_put_header)       \
	X(mnl_nlmsg_put_extra_header) \
	X(mnl_nlmsg_ok)               \
	X(mnl_nlmsg_next)             \
	X(mnl_nlmsg_get_payload)      \
	X(mnl_attr_put)               \
	X(mnl_attr_put_u32)           \
	X(mnl_attr_put_strz)          \
	X(mnl_attr_nest_start)        \
	X(mnl_attr_nest_end)          \
	X(mnl_attr_ok)                \
	X(mnl_attr_next)              \
	X(mnl_attr_get_type)          \
	X(mnl_attr_get_payload)       \
	X(mnl_attr_get_payload_len)

DL_DECLARE(net_link_mnl, NET_LINK_MNL_CALLS);
DL_DEFINE(net_link_mnl, "libmnl.so.0", NET_LINK_MNL_CALLS)

enum { REQUEST_BYTES = 4096, ANSWER_BYTES = 32768, LAST_METRIC = 1 << 30 };

struct request {
	union {
		struct nlmsghdr head;
		char bytes[REQUEST_BYTES];
	} u;
};

int
net_link_open(struct err *err)
{
	return dl_load_net_link_mnl(err);
}

int
net_link_socket(int ns, struct err *err)
{
	return net_socket(ns, NETLINK_ROUTE, err);
}

/* ---- carrying ---- */

static void *
begin(struct request *r, uint16_t type, uint16_t flags, size_t extra)
{
	static uint32_t sequence;
	struct nlmsghdr *h = net_link_mnl.mnl_nlmsg_put_header(r->u.bytes);
	h->nlmsg_type = type;
	h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	h->nlmsg_seq = ++sequence;
	return net_link_mnl.mnl_nlmsg_put_extra_header(h, extra);
}

typedef void (*answer_fn)(void *arg, const struct nlmsghdr *head);

/* Gives 0, or the errno that the kernel answered; -1 is left for a broken conversation. */
static int
take_answers(int sock, uint32_t sequence, answer_fn each, void *arg)
{
	static char bytes[ANSWER_BYTES] __attribute__((aligned(8)));
	for (;;) {
		ssize_t n = recv(sock, bytes, sizeof(bytes), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? errno : EIO;
		int left = (int)n;
		const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)bytes;
		for (; net_link_mnl.mnl_nlmsg_ok(h, left);
		     h = net_link_mnl.mnl_nlmsg_next(h, &left)) {
			if (h->nlmsg_seq != sequence)
				continue;
			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (h->nlmsg_type == NLMSG_ERROR) {
				const struct nlmsgerr *e = net_link_mnl.mnl_nlmsg_get_payload(h);
				return -e->error;
			}
			if (each != NULL)
				each(arg, h);
		}
	}
}

static int
talk(int sock, struct request *r, answer_fn each, void *arg)
{
	struct nlmsghdr *h = &r->u.head;
	if (send(sock, h, h->nlmsg_len, 0) != (ssize_t)h->nlmsg_len)
		return errno;
	return take_answers(sock, h->nlmsg_seq, each, arg);
}

static int
ask(int sock, struct request *r, const char *what, struct err *err)
{
	r->u.head.nlmsg_flags |= NLM_F_ACK;
	int code = talk(sock, r, NULL, NULL);
	if (code == 0 || (code == EEXIST && (r->u.head.nlmsg_flags & NLM_F_EXCL) == 0))
		return 0;
	return err_sys(err, code, "cannot %s", what);
}

/* ---- links ---- */

static void
put_mac(struct nlmsghdr *h, const uint8_t mac[6])
{
	net_link_mnl.mnl_attr_put(h, IFLA_ADDRESS, 6, mac);
}

static void
put_peer(struct nlmsghdr *h, const struct net_link_veth *v)
{
	struct nlattr *peer = net_link_mnl.mnl_attr_nest_start(h, VETH_INFO_PEER);
	net_link_mnl.mnl_nlmsg_put_extra_header(h, sizeof(struct ifinfomsg));
	net_link_mnl.mnl_attr_put_strz(h, IFLA_IFNAME, v->peer);
	net_link_mnl.mnl_attr_put_u32(h, IFLA_MTU, v->mtu);
	net_link_mnl.mnl_attr_put_u32(h, IFLA_NET_NS_FD, (uint32_t)v->peer_ns);
	if (v->gso_max != 0)
		net_link_mnl.mnl_attr_put_u32(h, IFLA_GSO_MAX_SIZE, v->gso_max);
	put_mac(h, v->peer_mac);
	net_link_mnl.mnl_attr_nest_end(h, peer);
}

int
net_link_add_veth(int sock, const struct net_link_veth *v, struct err *err)
{
	struct request r = {0};
	struct nlmsghdr *h = &r.u.head;
	begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
	net_link_mnl.mnl_attr_put_strz(h, IFLA_IFNAME, v->name);
	net_link_mnl.mnl_attr_put_u32(h, IFLA_MTU, v->mtu);
	net_link_mnl.mnl_attr_put_u32(h, IFLA_GROUP, NET_SOURCE_GROUP);
	put_mac(h, v->mac);
	struct nlattr *info = net_link_mnl.mnl_attr_nest_start(h, IFLA_LINKINFO);
	net_link_mnl.mnl_attr_put_strz(h, IFLA_INFO_KIND, "veth");
	struct nlattr *data = net_link_mnl.mnl_attr_nest_start(h, IFLA_INFO_DATA);
	put_peer(h, v);
	net_link_mnl.mnl_attr_nest_end(h, data);
	net_link_mnl.mnl_attr_nest_end(h, info);
	return ask(sock, &r, "make a pair of links", err);
}

int
net_link_add_vxlan(int sock, const struct net_link_vxlan *v, struct err *err)
{
	struct request r = {0};
	struct nlmsghdr *h = &r.u.head;
	const uint8_t yes = 1, no = 0;
	const uint16_t port = htons(v->port);
	begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
	net_link_mnl.mnl_attr_put_strz(h, IFLA_IFNAME, v->name);
	net_link_mnl.mnl_attr_put_u32(h, IFLA_MTU, v->mtu);
	net_link_mnl.mnl_attr_put_u32(h, IFLA_NET_NS_FD, (uint32_t)v->ns);
	struct nlattr *info = net_link_mnl.mnl_attr_nest_start(h, IFLA_LINKINFO);
	net_link_mnl.mnl_attr_put_strz(h, IFLA_INFO_KIND, "vxlan");
	struct nlattr *data = net_link_mnl.mnl_attr_nest_start(h, IFLA_INFO_DATA);
	net_link_mnl.mnl_attr_put(h, IFLA_VXLAN_COLLECT_METADATA, sizeof(yes), &yes);
	net_link_mnl.mnl_attr_put(h, IFLA_VXLAN_LEARNING, sizeof(no), &no);
	net_link_mnl.mnl_attr_put(h, IFLA_VXLAN_UDP_ZERO_CSUM6_RX, sizeof(yes), &yes);
	net_link_mnl.mnl_attr_put(h, IFLA_VXLAN_PORT, sizeof(port), &port);
	net_link_mnl.mnl_attr_nest_end(h, data);
	net_link_mnl.mnl_attr_nest_end(h, info);
	return ask(sock, &r, "make a VXLAN device", err);
}

static void
take_index(void *arg, const struct nlmsghdr *h)
{
	const struct ifinfomsg *info = net_link_mnl.mnl_nlmsg_get_payload(h);
	if (h->nlmsg_type == RTM_NEWLINK)
		*(uint32_t *)arg = (uint32_t)info->ifi_index;
}

int
net_link_find(int sock, const char *name, uint32_t *index_out, struct err *err)
{
	struct request r = {0};
	*index_out = 0;
	begin(&r, RTM_GETLINK, NLM_F_ACK, sizeof(struct ifinfomsg));
	net_link_mnl.mnl_attr_put_strz(&r.u.head, IFLA_IFNAME, name);
	int code = talk(sock, &r, take_index, index_out);
	if (code == 0 && *index_out != 0)
		return 0;
	if (code == 0 || code == ENODEV)
		return err_set(err, ERR_NOT_FOUND, "there is no link %s", name);
	return err_sys(err, code, "cannot look the link %s up", name);
}

int
net_link_remove(int sock, uint32_t index, struct err *err)
{
	struct request r = {0};
	struct ifinfomsg *info = begin(&r, RTM_DELLINK, 0, sizeof(*info));
	info->ifi_index = (int)index;
	return ask(sock, &r, "remove a link", err);
}

static int
set_flags(int sock, uint32_t index, unsigned flags, const char *what, struct err *err)
{
	struct request r = {0};
	struct ifinfomsg *info = begin(&r, RTM_NEWLINK, 0, sizeof(*info));
	info->ifi_index = (int)index;
	info->ifi_flags = flags;
	info->ifi_change = IFF_UP;
	return ask(sock, &r, what, err);
}

int
net_link_up(int sock, uint32_t index, struct err *err)
{
	return set_flags(sock, index, IFF_UP, "bring a link up", err);
}

int
net_link_down(int sock, uint32_t index, struct err *err)
{
	return set_flags(sock, index, 0, "take a link down", err);
}

/* ---- addresses ---- */

static unsigned char
family_of(const struct addr *a)
{
	return addr_is_v4(a) ? AF_INET : AF_INET6;
}

static void
put_ip(struct nlmsghdr *h, uint16_t type, const struct addr *a)
{
	if (addr_is_v4(a))
		net_link_mnl.mnl_attr_put(h, type, 4, a->ip + 12);
	else
		net_link_mnl.mnl_attr_put(h, type, 16, a->ip);
}

static void
put_address(struct request *r, uint16_t type, uint16_t flags, uint32_t index, const struct addr *a)
{
	struct ifaddrmsg *m = begin(r, type, flags, sizeof(*m));
	m->ifa_family = family_of(a);
	m->ifa_prefixlen = addr_is_v4(a) ? 32 : 128;
	m->ifa_index = index;
	m->ifa_scope = RT_SCOPE_UNIVERSE;
	m->ifa_flags = addr_is_v4(a) ? 0 : IFA_F_NODAD;
	put_ip(&r->u.head, IFA_LOCAL, a);
	put_ip(&r->u.head, IFA_ADDRESS, a);
}

int
net_link_add_address(int sock, uint32_t index, const struct addr *a, struct err *err)
{
	struct request r = {0};
	put_address(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, index, a);
	return ask(sock, &r, "give a link its address", err);
}

int
net_link_remove_address(int sock, uint32_t index, const struct addr *a, struct err *err)
{
	struct request r = {0};
	put_address(&r, RTM_DELADDR, 0, index, a);
	return ask(sock, &r, "take a link's address", err);
}

int
net_link_add_route(int sock, uint32_t index, const struct addr *to, const struct addr *gateway,
		   struct err *err)
{
	struct request r = {0};
	struct nlmsghdr *h = &r.u.head;
	const struct addr *any = to != NULL ? to : gateway;
	struct rtmsg *m = begin(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*m));
	m->rtm_family = family_of(any);
	m->rtm_dst_len = to == NULL ? 0 : addr_is_v4(to) ? 32 : 128;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = RTPROT_STATIC;
	m->rtm_scope = gateway == NULL ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	m->rtm_type = RTN_UNICAST;
	if (to != NULL)
		put_ip(h, RTA_DST, to);
	if (gateway != NULL) {
		m->rtm_flags = RTNH_F_ONLINK;
		put_ip(h, RTA_GATEWAY, gateway);
	}
	net_link_mnl.mnl_attr_put_u32(h, RTA_OIF, index);
	return ask(sock, &r, "set a route", err);
}

static struct rtmsg *
begin_prefix(struct request *r, uint16_t type, uint16_t flags, const struct addr_prefix *to)
{
	struct rtmsg *m = begin(r, type, flags, sizeof(*m));

	m->rtm_family = family_of(&to->base);
	m->rtm_dst_len = (unsigned char)(addr_is_v4(&to->base) ? to->bits - 96 : to->bits);
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = RTPROT_STATIC;
	m->rtm_type = RTN_UNICAST;
	put_ip(&r->u.head, RTA_DST, &to->base);
	return m;
}

int
net_link_add_prefix_route(int sock, uint32_t index, const struct addr_prefix *to,
			  const struct addr *gateway, struct err *err)
{
	struct request r = {0};
	struct rtmsg *m = begin_prefix(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, to);

	m->rtm_scope = gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
	m->rtm_flags = gateway ? RTNH_F_ONLINK : 0;
	if (gateway)
		put_ip(&r.u.head, RTA_GATEWAY, gateway);
	net_link_mnl.mnl_attr_put_u32(&r.u.head, RTA_OIF, index);
	return ask(sock, &r, "set the route of a prefix", err);
}

int
net_link_refuse_prefix(int sock, const struct addr_prefix *to, struct err *err)
{
	struct request r = {0};
	struct rtmsg *m = begin_prefix(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, to);

	m->rtm_scope = RT_SCOPE_UNIVERSE;
	m->rtm_type = RTN_UNREACHABLE;
	net_link_mnl.mnl_attr_put_u32(&r.u.head, RTA_PRIORITY, LAST_METRIC);
	return ask(sock, &r, "refuse a prefix", err);
}

int
net_link_remove_prefix_route(int sock, uint32_t index, const struct addr_prefix *to,
			     struct err *err)
{
	struct request r = {0};
	struct rtmsg *m = begin_prefix(&r, RTM_DELROUTE, 0, to);

	m->rtm_scope = RT_SCOPE_NOWHERE; /* whichever it has */
	net_link_mnl.mnl_attr_put_u32(&r.u.head, RTA_OIF, index);
	if (ask(sock, &r, "remove the route of a prefix", err) == 0)
		return 0;
	if (err->code == ESRCH)
		err->kind = ERR_NOT_FOUND;
	return -1;
}

int
net_link_add_neighbour(int sock, uint32_t index, const struct addr *a, const uint8_t mac[6],
		       struct err *err)
{
	struct request r = {0};
	struct ndmsg *m = begin(&r, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*m));
	m->ndm_family = family_of(a);
	m->ndm_ifindex = (int)index;
	m->ndm_state = NUD_PERMANENT;
	m->ndm_type = RTN_UNICAST;
	put_ip(&r.u.head, NDA_DST, a);
	net_link_mnl.mnl_attr_put(&r.u.head, NDA_LLADDR, 6, mac);
	return ask(sock, &r, "set a neighbour", err);
}

int
net_link_set_alias(int sock, uint32_t index, const char *alias, struct err *err)
{
	struct request r = {0};
	struct ifinfomsg *info = begin(&r, RTM_NEWLINK, 0, sizeof(*info));
	info->ifi_index = (int)index;
	net_link_mnl.mnl_attr_put_strz(&r.u.head, IFLA_IFALIAS, alias);
	return ask(sock, &r, "write a link's alias", err);
}

/* ---- listing ---- */

/* The attribute's payload; NULL when the message has none. */
static const struct nlattr *
find_attr(const struct nlmsghdr *h, size_t extra, uint16_t type)
{
	const char *end = (const char *)h + h->nlmsg_len;
	const char *at = (const char *)net_link_mnl.mnl_nlmsg_get_payload(h) + NLMSG_ALIGN(extra);
	const struct nlattr *a = (const struct nlattr *)(const void *)at;
	for (; net_link_mnl.mnl_attr_ok(a, (int)(end - (const char *)a));
	     a = net_link_mnl.mnl_attr_next(a))
		if (net_link_mnl.mnl_attr_get_type(a) == type)
			return a;
	return NULL;
}

static bool
take_text(const struct nlattr *a, char *out, size_t cap)
{
	if (a == NULL)
		return false;
	const char *text = net_link_mnl.mnl_attr_get_payload(a);
	return text_ncopy(out, cap, text, strnlen(text, net_link_mnl.mnl_attr_get_payload_len(a)));
}

struct listing {
	void (*visit)(void *arg, const char *name, uint32_t index);
	void (*visit_alias)(void *arg, const char *name, uint32_t index, const char *alias);
	void (*visit_index)(void *arg, uint32_t index);
	void (*visit_address)(void *arg, const struct addr *a);
	void (*visit_prefix)(void *arg, const struct addr_prefix *to);
	uint32_t index;                   /* of the link whose addresses or routes are wanted */
	const struct addr_prefix *prefix; /* that is routed to */
	void *arg;
};

static void
take_link(void *arg, const struct nlmsghdr *h)
{
	const struct listing *list = arg;
	const struct ifinfomsg *info = net_link_mnl.mnl_nlmsg_get_payload(h);
	char name[IFNAMSIZ], alias[256];
	if (h->nlmsg_type != RTM_NEWLINK ||
	    !take_text(find_attr(h, sizeof(*info), IFLA_IFNAME), name, sizeof(name)))
		return;
	if (list->visit != NULL)
		list->visit(list->arg, name, (uint32_t)info->ifi_index);
	else if (take_text(find_attr(h, sizeof(*info), IFLA_IFALIAS), alias, sizeof(alias)))
		list->visit_alias(list->arg, name, (uint32_t)info->ifi_index, alias);
}

static void
each_link(int sock, struct listing *list)
{
	struct request r = {0};
	begin(&r, RTM_GETLINK, NLM_F_DUMP, sizeof(struct ifinfomsg));
	talk(sock, &r, take_link, list);
}

void
net_link_each(int sock, void (*visit)(void *arg, const char *name, uint32_t index), void *arg)
{
	each_link(sock, &(struct listing){.visit = visit, .arg = arg});
}

void
net_link_each_alias(int sock,
		    void (*visit)(void *arg, const char *name, uint32_t index, const char *alias),
		    void *arg)
{
	each_link(sock, &(struct listing){.visit_alias = visit, .arg = arg});
}

static void
take_hops(const struct listing *list, const struct nlattr *a)
{
	const char *at = net_link_mnl.mnl_attr_get_payload(a);
	size_t left = net_link_mnl.mnl_attr_get_payload_len(a);
	while (left >= sizeof(struct rtnexthop)) {
		const struct rtnexthop *hop = (const struct rtnexthop *)(const void *)at;
		size_t length = RTNH_ALIGN(hop->rtnh_len);
		list->visit_index(list->arg, (uint32_t)hop->rtnh_ifindex);
		if (hop->rtnh_len < sizeof(*hop) || length > left)
			return;
		at += length;
		left -= length;
	}
}

static void
take_default(void *arg, const struct nlmsghdr *h)
{
	const struct listing *list = arg;
	const struct rtmsg *m = net_link_mnl.mnl_nlmsg_get_payload(h);
	const struct nlattr *a;
	if (h->nlmsg_type != RTM_NEWROUTE || m->rtm_dst_len != 0 || m->rtm_type != RTN_UNICAST ||
	    m->rtm_table != RT_TABLE_MAIN)
		return;
	if ((a = find_attr(h, sizeof(*m), RTA_OIF)) != NULL) {
		uint32_t index;
		memcpy(&index, net_link_mnl.mnl_attr_get_payload(a), sizeof(index));
		list->visit_index(list->arg, index);
	}
	if ((a = find_attr(h, sizeof(*m), RTA_MULTIPATH)) != NULL)
		take_hops(list, a);
}

void
net_link_each_default(int sock, int family, void (*visit)(void *arg, uint32_t index), void *arg)
{
	struct request r = {0};
	struct listing list = {.visit_index = visit, .arg = arg};
	struct rtmsg *m = begin(&r, RTM_GETROUTE, NLM_F_DUMP, sizeof(*m));
	m->rtm_family = (unsigned char)family;
	talk(sock, &r, take_default, &list);
}

static void
take_way(void *arg, const struct nlmsghdr *h)
{
	const struct listing *list = arg;
	const struct rtmsg *m = net_link_mnl.mnl_nlmsg_get_payload(h);
	const struct addr_prefix *to = list->prefix;
	unsigned skip = m->rtm_family == AF_INET ? 12 : 0;
	const struct nlattr *dst = find_attr(h, sizeof(*m), RTA_DST);
	const struct nlattr *out = find_attr(h, sizeof(*m), RTA_OIF);
	uint32_t index;
	if (h->nlmsg_type != RTM_NEWROUTE || m->rtm_table != RT_TABLE_MAIN || dst == NULL ||
	    out == NULL || m->rtm_dst_len + skip * 8 != to->bits ||
	    net_link_mnl.mnl_attr_get_payload_len(dst) != 16 - skip ||
	    memcmp(net_link_mnl.mnl_attr_get_payload(dst), to->base.ip + skip, 16 - skip) != 0)
		return;
	memcpy(&index, net_link_mnl.mnl_attr_get_payload(out), sizeof(index));
	list->visit_index(list->arg, index);
}

void
net_link_each_way(int sock, const struct addr_prefix *to, void (*visit)(void *arg, uint32_t index),
		  void *arg)
{
	struct request r = {0};
	struct listing list = {.visit_index = visit, .prefix = to, .arg = arg};
	struct rtmsg *m = begin(&r, RTM_GETROUTE, NLM_F_DUMP, sizeof(*m));
	m->rtm_family = family_of(&to->base);
	talk(sock, &r, take_way, &list);
}

static void
take_prefix(void *arg, const struct nlmsghdr *h)
{
	const struct listing *list = arg;
	const struct rtmsg *m = net_link_mnl.mnl_nlmsg_get_payload(h);
	unsigned skip = m->rtm_family == AF_INET ? 12 : 0;
	const struct nlattr *dst = find_attr(h, sizeof(*m), RTA_DST);
	const struct nlattr *out = find_attr(h, sizeof(*m), RTA_OIF);
	struct addr_prefix to = {.bits = (uint8_t)(m->rtm_dst_len + skip * 8)};
	uint32_t index;

	if (h->nlmsg_type != RTM_NEWROUTE || m->rtm_table != RT_TABLE_MAIN ||
	    m->rtm_protocol != RTPROT_STATIC || dst == NULL || out == NULL ||
	    net_link_mnl.mnl_attr_get_payload_len(dst) != 16 - skip)
		return;
	memcpy(&index, net_link_mnl.mnl_attr_get_payload(out), sizeof(index));
	if (index != list->index)
		return;
	if (skip)
		to.base.ip[10] = to.base.ip[11] = 0xff;
	memcpy(to.base.ip + skip, net_link_mnl.mnl_attr_get_payload(dst), 16 - skip);
	list->visit_prefix(list->arg, &to);
}

void
net_link_each_prefix(int sock, int family, uint32_t index,
		     void (*visit)(void *arg, const struct addr_prefix *to), void *arg)
{
	struct request r = {0};
	struct listing list = {.visit_prefix = visit, .index = index, .arg = arg};
	struct rtmsg *m = begin(&r, RTM_GETROUTE, NLM_F_DUMP, sizeof(*m));

	m->rtm_family = (unsigned char)family;
	talk(sock, &r, take_prefix, &list);
}

static void
take_address(void *arg, const struct nlmsghdr *h)
{
	const struct listing *list = arg;
	const struct ifaddrmsg *m = net_link_mnl.mnl_nlmsg_get_payload(h);
	bool v4 = m->ifa_family == AF_INET;
	const struct nlattr *attr = find_attr(h, sizeof(*m), IFA_ADDRESS);
	struct addr a = {0};
	size_t bytes = v4 ? 4 : 16;
	if (h->nlmsg_type != RTM_NEWADDR || m->ifa_index != list->index || attr == NULL ||
	    (!v4 && m->ifa_family != AF_INET6) || m->ifa_scope != RT_SCOPE_UNIVERSE ||
	    m->ifa_prefixlen != bytes * 8 || net_link_mnl.mnl_attr_get_payload_len(attr) != bytes)
		return;
	if (v4)
		a.ip[10] = a.ip[11] = 0xff;
	memcpy(a.ip + 16 - bytes, net_link_mnl.mnl_attr_get_payload(attr), bytes);
	list->visit_address(list->arg, &a);
}

void
net_link_each_address(int sock, uint32_t index, void (*visit)(void *arg, const struct addr *a),
		      void *arg)
{
	struct request r = {0};
	struct listing list = {.visit_address = visit, .index = index, .arg = arg};
	begin(&r, RTM_GETADDR, NLM_F_DUMP, sizeof(struct ifaddrmsg));
	talk(sock, &r, take_address, &list);
}
