/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_EDGE_TAKEN_H
#define DATAPLANE_BPF_EDGE_TAKEN_H

/*
 * What says that the ports of a connection are taken at its container (edge_asked.h) ends here, on
 * the node that the client came to: the connection is the relay's from now on, which gets the SYN
 * that the client sends again. As long as such connections speak, their slots are as those of a
 * table that changes; the loader learns of it by a counter.
 */

#include "dataplane/bpf/edge_pick.h"

static __always_inline void
taken_pin(void *flows, const void *key, const struct edge_vip *vip, __u32 hash)
{
	struct edge_owner o = owner_opened(vip, hash, 1);
	struct edge_service_count *n;
	__u32 service = vip->service;

	pin_flow(flows, key, &o, 0, EDGE_TRIES_TAKEN);
	n = bpf_map_lookup_elem(&services, &service);
	if (n)
		n->taken++;
}

static __always_inline void
taken4(void *data, void *end)
{
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct edge_flow4 flow = {.protocol = IPPROTO_TCP};
	struct edge_vip4 key = {.protocol = IPPROTO_TCP};
	const struct edge_vip *vip;
	struct edge_head h;
	struct edge_l4 *l4;

	if (edge_parse4(data, end, sizeof(struct ethhdr), &h) < 0 || (void *)(ip + 1) > end ||
	    h.protocol != IPPROTO_TCP || h.part != EDGE_WHOLE)
		return;
	l4 = edge_l4(data, end, &h);
	if (!l4)
		return;
	key.addr = flow.dest = ip->saddr;
	key.port = flow.dest_port = l4->source;
	flow.source = ip->daddr;
	flow.source_port = l4->dest;
	vip = bpf_map_lookup_elem(&vips4, &key);
	if (vip)
		taken_pin(&flows4, &flow, vip, edge_hash4(&flow));
}

static __always_inline void
taken6(void *data, void *end)
{
	struct ipv6hdr *ip = data + sizeof(struct ethhdr);
	struct edge_flow6 flow = {.protocol = IPPROTO_TCP};
	struct edge_vip6 key = {.protocol = IPPROTO_TCP};
	const struct edge_vip *vip;
	struct edge_head h;
	struct edge_l4 *l4;

	if (edge_parse6(data, end, sizeof(struct ethhdr), &h) < 0 || (void *)(ip + 1) > end ||
	    h.protocol != IPPROTO_TCP || h.part != EDGE_WHOLE)
		return;
	l4 = edge_l4(data, end, &h);
	if (!l4)
		return;
	__builtin_memcpy(key.addr, &ip->saddr, 16);
	__builtin_memcpy(flow.dest, &ip->saddr, 16);
	__builtin_memcpy(flow.source, &ip->daddr, 16);
	key.port = flow.dest_port = l4->source;
	flow.source_port = l4->dest;
	vip = bpf_map_lookup_elem(&vips6, &key);
	if (vip)
		taken_pin(&flows6, &flow, vip, edge_hash6(&flow));
}

/* It goes no further. */
static __always_inline void
taken(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (skb->protocol == bpf_htons(ETH_P_IP))
		taken4(data, end);
	else
		taken6(data, end);
}

#endif
