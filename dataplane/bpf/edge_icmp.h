/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_EDGE_ICMP_H
#define DATAPLANE_BPF_EDGE_ICMP_H

/*
 * ICMP. An error quotes the packet that it is about: one that a service sent. Turned round, its
 * addresses and ports are the client's flow, so the same table says which container must hear of
 * it, and the container gets it with its own address and port in the quotation: on another node by
 * what puts them into the client's packets there.
 */

#include "dataplane/bpf/edge_pick.h"
#include "dataplane/bpf/edge_quote.h"

/* ---- echo to a dedicated address ---- */

static __always_inline void
icmp_turn(struct ethhdr *eth)
{
	__u8 mac[ETH_ALEN];

	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
}

static __always_inline int
icmp_echo4(struct xdp_md *ctx, struct ethhdr *eth, struct iphdr *ip, struct edge_icmp *icmp)
{
	struct edge_vip4 key = {.addr = ip->daddr, .protocol = IPPROTO_ICMP};
	__u32 addr = ip->daddr;

	if (!bpf_map_lookup_elem(&vips4, &key))
		return pass(ctx);
	icmp_turn(eth);
	ip->daddr = ip->saddr;
	ip->saddr = addr;
	icmp->type = 0;
	icmp->check = edge_adjust(icmp->check, edge_delta_port(bpf_htons(ICMP_ECHO << 8), 0));
	return verdict(ctx, EDGE_ANSWERED, XDP_TX);
}

static __always_inline int
icmp_echo6(struct xdp_md *ctx, struct ethhdr *eth, struct ipv6hdr *ip, struct edge_icmp *icmp)
{
	struct edge_vip6 key = {.protocol = IPPROTO_ICMPV6};
	struct in6_addr addr = ip->daddr;

	__builtin_memcpy(key.addr, &ip->daddr, 16);
	if (!bpf_map_lookup_elem(&vips6, &key))
		return pass(ctx);
	icmp_turn(eth);
	ip->daddr = ip->saddr;
	ip->saddr = addr;
	icmp->type = ICMPV6_ECHO_REPLY;
	icmp->check = edge_adjust(icmp->check, edge_delta_port(bpf_htons(ICMPV6_ECHO_REQUEST << 8),
							       bpf_htons(ICMPV6_ECHO_REPLY << 8)));
	return verdict(ctx, EDGE_ANSWERED, XDP_TX);
}

/* ---- errors ---- */

static __always_inline int
icmp_error4(struct xdp_md *ctx, void *data, void *end, const struct edge_head *outer)
{
	struct iphdr *ip = data + sizeof(struct ethhdr), *in;
	struct edge_icmp *icmp = data + outer->l4;
	struct edge_flow4 flow = {0};
	struct edge_vip4 key = {0};
	struct edge_backend *b;
	struct edge_vip *vip;
	struct edge_quote q;
	__u32 index;

	if (edge_quote4(data, end, outer, &q) < 0)
		return pass(ctx);
	in = q.ip;
	key.addr = in->saddr;
	key.port = q.ports[0];
	key.protocol = (__u8)q.h.protocol;
	vip = bpf_map_lookup_elem(&vips4, &key);
	if (!vip || in->saddr != ip->daddr)
		return pass(ctx);
	flow.source = in->daddr;
	flow.dest = in->saddr;
	flow.source_port = q.ports[1];
	flow.dest_port = q.ports[0];
	flow.protocol = q.h.protocol;
	index = pick4(ctx, vip, &flow, EDGE_TCP_ACK);
	b = backend_of(index, EDGE_BACKEND_V4);
	if (!b)
		return pass(ctx);
	if (is_away(b))
		return send_across(ctx, b, index, ip->ttl);
	/* The quoted header's sum changes as much as its address does: together they cancel out. */
	icmp->check = edge_adjust(icmp->check, edge_delta_port(q.ports[0], b->port));
	in->check = edge_adjust(in->check, edge_delta4(in->saddr, b->addr4));
	in->saddr = b->addr4;
	q.ports[0] = b->port;
	ip->check = edge_adjust(ip->check, edge_delta4(ip->daddr, b->addr4));
	ip->daddr = b->addr4;
	return deliver(ctx, b);
}

static __always_inline int
icmp_error6(struct xdp_md *ctx, void *data, void *end, const struct edge_head *outer)
{
	struct ipv6hdr *ip = data + sizeof(struct ethhdr), *in;
	struct edge_icmp *icmp = data + outer->l4;
	struct edge_flow6 flow = {0};
	struct edge_vip6 key = {0};
	struct edge_backend *b;
	struct edge_vip *vip;
	struct edge_quote q;
	__u64 delta;
	__u32 index;

	if (edge_quote6(data, end, outer, &q) < 0)
		return pass(ctx);
	in = q.ip;
	__builtin_memcpy(key.addr, &in->saddr, 16);
	key.port = q.ports[0];
	key.protocol = (__u8)q.h.protocol;
	vip = bpf_map_lookup_elem(&vips6, &key);
	if (!vip || !edge_same16(&in->saddr, &ip->daddr))
		return pass(ctx);
	__builtin_memcpy(flow.source, &in->daddr, 16);
	__builtin_memcpy(flow.dest, &in->saddr, 16);
	flow.source_port = q.ports[1];
	flow.dest_port = q.ports[0];
	flow.protocol = q.h.protocol;
	index = pick6(ctx, vip, &flow, EDGE_TCP_ACK);
	b = backend_of(index, EDGE_BACKEND_V6);
	if (!b)
		return pass(ctx);
	if (is_away(b))
		return send_across(ctx, b, index, ip->hop_limit);
	/* The address stands twice in what is summed: in the pseudo header and in the quotation. */
	delta = edge_delta6(&in->saddr, b->addr6);
	delta += edge_delta6(&ip->daddr, b->addr6) + edge_delta_port(q.ports[0], b->port);
	icmp->check = edge_adjust(icmp->check, delta);
	__builtin_memcpy(&in->saddr, b->addr6, 16);
	q.ports[0] = b->port;
	__builtin_memcpy(&ip->daddr, b->addr6, 16);
	return deliver(ctx, b);
}

static __always_inline int
icmp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct edge_icmp *icmp;
	struct edge_head h;

	if ((void *)(eth + 1) > end)
		return pass(ctx);
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		if (edge_parse4(data, end, sizeof(*eth), &h) < 0 || h.part != EDGE_WHOLE ||
		    h.protocol != IPPROTO_ICMP)
			return pass(ctx);
		icmp = data + h.l4;
		if ((void *)(icmp + 1) > end)
			return pass(ctx);
		if (icmp->type == ICMP_ECHO)
			return icmp_echo4(ctx, eth, data + sizeof(*eth), icmp);
		return edge_is_error4(icmp->type) ? icmp_error4(ctx, data, end, &h) : pass(ctx);
	}
	if (edge_parse6(data, end, sizeof(*eth), &h) < 0 || h.part != EDGE_WHOLE ||
	    h.protocol != IPPROTO_ICMPV6)
		return pass(ctx);
	icmp = data + h.l4;
	if ((void *)(icmp + 1) > end)
		return pass(ctx);
	if (icmp->type == ICMPV6_ECHO_REQUEST)
		return icmp_echo6(ctx, eth, data + sizeof(*eth), icmp);
	return edge_is_error6(icmp->type) ? icmp_error6(ctx, data, end, &h) : pass(ctx);
}

#endif
