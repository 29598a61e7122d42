/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links, their addresses and neighbours.
 */
#include "runtime/net_link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/veth.h>
#include <string.h>
#include <sys/socket.h>
#include "base/text.h"
#include "runtime/net.h"
#include "runtime/net_link_ask.h"
#include "runtime/net_source.h"

int
net_link_socket(int ns, struct err *err)
{
	return net_socket(ns, NETLINK_ROUTE, err);
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
	struct net_link_request r = {0};
	struct nlmsghdr *h = &r.u.head;
	net_link_ask_begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
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
	return net_link_ask(sock, &r, "make a pair of links", err);
}

int
net_link_add_vxlan(int sock, const struct net_link_vxlan *v, struct err *err)
{
	struct net_link_request r = {0};
	struct nlmsghdr *h = &r.u.head;
	const uint8_t yes = 1, no = 0;
	const uint16_t port = htons(v->port);
	net_link_ask_begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
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
	return net_link_ask(sock, &r, "make a VXLAN device", err);
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
	struct net_link_request r = {0};
	*index_out = 0;
	net_link_ask_begin(&r, RTM_GETLINK, NLM_F_ACK, sizeof(struct ifinfomsg));
	net_link_mnl.mnl_attr_put_strz(&r.u.head, IFLA_IFNAME, name);
	int code = net_link_ask_talk(sock, &r, take_index, index_out);
	if (code == 0 && *index_out != 0)
		return 0;
	if (code == 0 || code == ENODEV)
		return err_set(err, ERR_NOT_FOUND, "there is no link %s", name);
	return err_sys(err, code, "cannot look the link %s up", name);
}

int
net_link_remove(int sock, uint32_t index, struct err *err)
{
	struct net_link_request r = {0};
	struct ifinfomsg *info = net_link_ask_begin(&r, RTM_DELLINK, 0, sizeof(*info));
	info->ifi_index = (int)index;
	return net_link_ask(sock, &r, "remove a link", err);
}

static int
set_flags(int sock, uint32_t index, unsigned flags, const char *what, struct err *err)
{
	struct net_link_request r = {0};
	struct ifinfomsg *info = net_link_ask_begin(&r, RTM_NEWLINK, 0, sizeof(*info));
	info->ifi_index = (int)index;
	info->ifi_flags = flags;
	info->ifi_change = IFF_UP;
	return net_link_ask(sock, &r, what, err);
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

static void
put_address(struct net_link_request *r, uint16_t type, uint16_t flags, uint32_t index,
	    const struct addr *a)
{
	struct ifaddrmsg *m = net_link_ask_begin(r, type, flags, sizeof(*m));
	m->ifa_family = net_link_ask_family(a);
	m->ifa_prefixlen = addr_is_v4(a) ? 32 : 128;
	m->ifa_index = index;
	m->ifa_scope = RT_SCOPE_UNIVERSE;
	m->ifa_flags = addr_is_v4(a) ? 0 : IFA_F_NODAD;
	net_link_ask_put_ip(&r->u.head, IFA_LOCAL, a);
	net_link_ask_put_ip(&r->u.head, IFA_ADDRESS, a);
}

int
net_link_add_address(int sock, uint32_t index, const struct addr *a, struct err *err)
{
	struct net_link_request r = {0};
	put_address(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, index, a);
	return net_link_ask(sock, &r, "give a link its address", err);
}

int
net_link_remove_address(int sock, uint32_t index, const struct addr *a, struct err *err)
{
	struct net_link_request r = {0};
	put_address(&r, RTM_DELADDR, 0, index, a);
	return net_link_ask(sock, &r, "take a link's address", err);
}

int
net_link_add_neighbour(int sock, uint32_t index, const struct addr *a, const uint8_t mac[6],
		       struct err *err)
{
	struct net_link_request r = {0};
	struct ndmsg *m =
		net_link_ask_begin(&r, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*m));
	m->ndm_family = net_link_ask_family(a);
	m->ndm_ifindex = (int)index;
	m->ndm_state = NUD_PERMANENT;
	m->ndm_type = RTN_UNICAST;
	net_link_ask_put_ip(&r.u.head, NDA_DST, a);
	net_link_mnl.mnl_attr_put(&r.u.head, NDA_LLADDR, 6, mac);
	return net_link_ask(sock, &r, "set a neighbour", err);
}

int
net_link_set_alias(int sock, uint32_t index, const char *alias, struct err *err)
{
	struct net_link_request r = {0};
	struct ifinfomsg *info = net_link_ask_begin(&r, RTM_NEWLINK, 0, sizeof(*info));
	info->ifi_index = (int)index;
	net_link_mnl.mnl_attr_put_strz(&r.u.head, IFLA_IFALIAS, alias);
	return net_link_ask(sock, &r, "write a link's alias", err);
}

/* ---- listing ---- */

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
	void (*visit_address)(void *arg, const struct addr *a);
	uint32_t index; /* of the link whose addresses are wanted */
	void *arg;
};

static void
take_link(void *arg, const struct nlmsghdr *h)
{
	const struct listing *list = arg;
	const struct ifinfomsg *info = net_link_mnl.mnl_nlmsg_get_payload(h);
	char name[IFNAMSIZ], alias[256];
	if (h->nlmsg_type != RTM_NEWLINK ||
	    !take_text(net_link_ask_attr(h, sizeof(*info), IFLA_IFNAME), name, sizeof(name)))
		return;
	if (list->visit != NULL)
		list->visit(list->arg, name, (uint32_t)info->ifi_index);
	else if (take_text(net_link_ask_attr(h, sizeof(*info), IFLA_IFALIAS), alias, sizeof(alias)))
		list->visit_alias(list->arg, name, (uint32_t)info->ifi_index, alias);
}

static void
each_link(int sock, struct listing *list)
{
	struct net_link_request r = {0};
	net_link_ask_begin(&r, RTM_GETLINK, NLM_F_DUMP, sizeof(struct ifinfomsg));
	net_link_ask_talk(sock, &r, take_link, list);
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
take_address(void *arg, const struct nlmsghdr *h)
{
	const struct listing *list = arg;
	const struct ifaddrmsg *m = net_link_mnl.mnl_nlmsg_get_payload(h);
	bool v4 = m->ifa_family == AF_INET;
	const struct nlattr *attr = net_link_ask_attr(h, sizeof(*m), IFA_ADDRESS);
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
	struct net_link_request r = {0};
	struct listing list = {.visit_address = visit, .index = index, .arg = arg};
	net_link_ask_begin(&r, RTM_GETADDR, NLM_F_DUMP, sizeof(struct ifaddrmsg));
	net_link_ask_talk(sock, &r, take_address, &list);
}
