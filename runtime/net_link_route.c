/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routes.
 */
#include "runtime/net_link.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include "runtime/net_link_ask.h"

enum { LAST_METRIC = 1 << 30 };

int
net_link_add_route(int sock, uint32_t index, const struct addr *to, const struct addr *gateway,
		   struct err *err)
{
	struct net_link_request r = {0};
	struct nlmsghdr *h = &r.u.head;
	const struct addr *any = to != NULL ? to : gateway;
	struct rtmsg *m =
		net_link_ask_begin(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*m));
	m->rtm_family = net_link_ask_family(any);
	m->rtm_dst_len = to == NULL ? 0 : addr_is_v4(to) ? 32 : 128;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = RTPROT_STATIC;
	m->rtm_scope = gateway == NULL ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	m->rtm_type = RTN_UNICAST;
	if (to != NULL)
		net_link_ask_put_ip(h, RTA_DST, to);
	if (gateway != NULL) {
		m->rtm_flags = RTNH_F_ONLINK;
		net_link_ask_put_ip(h, RTA_GATEWAY, gateway);
	}
	net_link_mnl.mnl_attr_put_u32(h, RTA_OIF, index);
	return net_link_ask(sock, &r, "set a route", err);
}

static struct rtmsg *
begin_prefix(struct net_link_request *r, uint16_t type, uint16_t flags,
	     const struct addr_prefix *to)
{
	struct rtmsg *m = net_link_ask_begin(r, type, flags, sizeof(*m));

	m->rtm_family = net_link_ask_family(&to->base);
	m->rtm_dst_len = (unsigned char)(addr_is_v4(&to->base) ? to->bits - 96 : to->bits);
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = RTPROT_STATIC;
	m->rtm_type = RTN_UNICAST;
	net_link_ask_put_ip(&r->u.head, RTA_DST, &to->base);
	return m;
}

int
net_link_add_prefix_route(int sock, uint32_t index, const struct addr_prefix *to,
			  const struct addr *gateway, struct err *err)
{
	struct net_link_request r = {0};
	struct rtmsg *m = begin_prefix(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, to);

	m->rtm_scope = gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
	m->rtm_flags = gateway ? RTNH_F_ONLINK : 0;
	if (gateway)
		net_link_ask_put_ip(&r.u.head, RTA_GATEWAY, gateway);
	net_link_mnl.mnl_attr_put_u32(&r.u.head, RTA_OIF, index);
	return net_link_ask(sock, &r, "set the route of a prefix", err);
}

int
net_link_refuse_prefix(int sock, const struct addr_prefix *to, struct err *err)
{
	struct net_link_request r = {0};
	struct rtmsg *m = begin_prefix(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, to);

	m->rtm_scope = RT_SCOPE_UNIVERSE;
	m->rtm_type = RTN_UNREACHABLE;
	net_link_mnl.mnl_attr_put_u32(&r.u.head, RTA_PRIORITY, LAST_METRIC);
	return net_link_ask(sock, &r, "refuse a prefix", err);
}

int
net_link_remove_prefix_route(int sock, uint32_t index, const struct addr_prefix *to,
			     struct err *err)
{
	struct net_link_request r = {0};
	struct rtmsg *m = begin_prefix(&r, RTM_DELROUTE, 0, to);

	m->rtm_scope = RT_SCOPE_NOWHERE; /* whichever it has */
	net_link_mnl.mnl_attr_put_u32(&r.u.head, RTA_OIF, index);
	if (net_link_ask(sock, &r, "remove the route of a prefix", err) == 0)
		return 0;
	if (err->code == ESRCH)
		err->kind = ERR_NOT_FOUND;
	return -1;
}

/* ---- listing ---- */

struct listing {
	void (*visit)(void *arg, uint32_t index);
	void (*visit_prefix)(void *arg, const struct addr_prefix *to);
	uint32_t index;                   /* of the link whose routes are wanted */
	const struct addr_prefix *prefix; /* that is routed to */
	void *arg;
};

static void
take_hops(const struct listing *list, const struct nlattr *a)
{
	const char *at = net_link_mnl.mnl_attr_get_payload(a);
	size_t left = net_link_mnl.mnl_attr_get_payload_len(a);
	while (left >= sizeof(struct rtnexthop)) {
		const struct rtnexthop *hop = (const struct rtnexthop *)(const void *)at;
		size_t length = RTNH_ALIGN(hop->rtnh_len);
		list->visit(list->arg, (uint32_t)hop->rtnh_ifindex);
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
	if ((a = net_link_ask_attr(h, sizeof(*m), RTA_OIF)) != NULL) {
		uint32_t index;
		memcpy(&index, net_link_mnl.mnl_attr_get_payload(a), sizeof(index));
		list->visit(list->arg, index);
	}
	if ((a = net_link_ask_attr(h, sizeof(*m), RTA_MULTIPATH)) != NULL)
		take_hops(list, a);
}

void
net_link_each_default(int sock, int family, void (*visit)(void *arg, uint32_t index), void *arg)
{
	struct net_link_request r = {0};
	struct listing list = {.visit = visit, .arg = arg};
	struct rtmsg *m = net_link_ask_begin(&r, RTM_GETROUTE, NLM_F_DUMP, sizeof(*m));
	m->rtm_family = (unsigned char)family;
	net_link_ask_talk(sock, &r, take_default, &list);
}

static void
take_way(void *arg, const struct nlmsghdr *h)
{
	const struct listing *list = arg;
	const struct rtmsg *m = net_link_mnl.mnl_nlmsg_get_payload(h);
	const struct addr_prefix *to = list->prefix;
	unsigned skip = m->rtm_family == AF_INET ? 12 : 0;
	const struct nlattr *dst = net_link_ask_attr(h, sizeof(*m), RTA_DST);
	const struct nlattr *out = net_link_ask_attr(h, sizeof(*m), RTA_OIF);
	uint32_t index;
	if (h->nlmsg_type != RTM_NEWROUTE || m->rtm_table != RT_TABLE_MAIN || dst == NULL ||
	    out == NULL || m->rtm_dst_len + skip * 8 != to->bits ||
	    net_link_mnl.mnl_attr_get_payload_len(dst) != 16 - skip ||
	    memcmp(net_link_mnl.mnl_attr_get_payload(dst), to->base.ip + skip, 16 - skip) != 0)
		return;
	memcpy(&index, net_link_mnl.mnl_attr_get_payload(out), sizeof(index));
	list->visit(list->arg, index);
}

void
net_link_each_way(int sock, const struct addr_prefix *to, void (*visit)(void *arg, uint32_t index),
		  void *arg)
{
	struct net_link_request r = {0};
	struct listing list = {.visit = visit, .prefix = to, .arg = arg};
	struct rtmsg *m = net_link_ask_begin(&r, RTM_GETROUTE, NLM_F_DUMP, sizeof(*m));
	m->rtm_family = net_link_ask_family(&to->base);
	net_link_ask_talk(sock, &r, take_way, &list);
}

static void
take_prefix(void *arg, const struct nlmsghdr *h)
{
	const struct listing *list = arg;
	const struct rtmsg *m = net_link_mnl.mnl_nlmsg_get_payload(h);
	unsigned skip = m->rtm_family == AF_INET ? 12 : 0;
	const struct nlattr *dst = net_link_ask_attr(h, sizeof(*m), RTA_DST);
	const struct nlattr *out = net_link_ask_attr(h, sizeof(*m), RTA_OIF);
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
	struct net_link_request r = {0};
	struct listing list = {.visit_prefix = visit, .index = index, .arg = arg};
	struct rtmsg *m = net_link_ask_begin(&r, RTM_GETROUTE, NLM_F_DUMP, sizeof(*m));

	m->rtm_family = (unsigned char)family;
	net_link_ask_talk(sock, &r, take_prefix, &list);
}
