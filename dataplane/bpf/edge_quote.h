/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_EDGE_QUOTE_H
#define DATAPLANE_BPF_EDGE_QUOTE_H

/*
 * ICMP errors quote the packet that they are about (RFC 792, RFC 4443). At least 8 bytes of its
 * transport header are there: the ports. Its checksum is not looked at by anybody.
 */

#include "dataplane/bpf/edge_parse.h"

/* linux/icmp.h takes in headers of libc. */
enum {
	ICMP_DEST_UNREACH = 3,
	ICMP_ECHO = 8,
	ICMP_TIME_EXCEEDED = 11,
	ICMP_PARAMETERPROB = 12,
	ICMPV6_INFORMATIONAL = 128,
	ICMPV6_ECHO_REQUEST = 128,
	ICMPV6_ECHO_REPLY = 129,
};

struct edge_icmp {
	__u8 type, code;
	__be16 check;
	__be32 rest;
};

/* The quoted packet: its network header, and the ports that lead its transport header. */
struct edge_quote {
	struct edge_head h;
	__u32 at;
	void *ip;
	__be16 *ports; /* source, destination */
};

static __always_inline int
edge_is_error4(__u8 type)
{
	return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED ||
	       type == ICMP_PARAMETERPROB;
}

static __always_inline int
edge_is_error6(__u8 type)
{
	return type < ICMPV6_INFORMATIONAL;
}

static __always_inline int
edge_quoted_ports(void *data, void *end, struct edge_quote *q)
{
	q->ip = data + q->at;
	q->ports = data + q->h.l4;
	return q->h.part == EDGE_LATER || (void *)q->ports + EDGE_L4_UDP > end ? -1 : 0;
}

static __always_inline int
edge_quote4(void *data, void *end, const struct edge_head *outer, struct edge_quote *q)
{
	q->at = outer->l4 + sizeof(struct edge_icmp);
	if (edge_parse4(data, end, q->at, &q->h) < 0 || edge_quoted_ports(data, end, q) < 0)
		return -1;
	return q->ip + sizeof(struct iphdr) > end ? -1 : 0;
}

static __always_inline int
edge_quote6(void *data, void *end, const struct edge_head *outer, struct edge_quote *q)
{
	q->at = outer->l4 + sizeof(struct edge_icmp);
	if (edge_parse6(data, end, q->at, &q->h) < 0 || edge_quoted_ports(data, end, q) < 0)
		return -1;
	return q->ip + sizeof(struct ipv6hdr) > end ? -1 : 0;
}

#endif
