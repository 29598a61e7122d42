/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_EDGE_AGAIN_H
#define DATAPLANE_BPF_EDGE_AGAIN_H

/*
 * A flow of a shared address that was begun at another node while replicas changed has its pin
 * there. When it comes to this node instead, its packets go to the former owner of its slot, who
 * may know no such connection, and says so: a reset without an acknowledgement, as any packet with
 * one is answered where there is no connection (RFC 9293, 3.5.2). Then the flow is pinned to
 * another backend of the endpoint, and the reset goes no further: what the client sends again is
 * seen by that one. The present owner is asked first, then the others in their ring
 * (edge_backend.next); when none is left, or EDGE_TRIES_MAX have been asked, the reset is the
 * client's. So is that of a flow that was begun here, and one that acknowledges, which is of a
 * connection that was there.
 *
 * Seen by tc_uplink, by which all replies leave, those of other nodes' replicas as well.
 */

#include "dataplane/bpf/edge_asked.h"
#include "dataplane/bpf/edge_pick.h"

enum {
	EDGE_TRIES_MAX = 5,     /* a client sends again after 0.2 s, 0.4 s and so on */
	EDGE_TRY_AT_LEAST = 12, /* 0.1 s, in the unit of a pin */
};

static __always_inline __u32
again_after(__u32 index)
{
	const struct edge_backend *b = backend_at(index);

	return b ? b->next : 0;
}

/* Who is asked after that one; 0: everybody has been, who began with the present owner. */
static __always_inline __u32
again_next(const struct edge_owner *o, __u32 index)
{
	__u32 cur = EDGE_CUR(o->slot), next = again_after(index);

	if (next != cur && next == EDGE_PREV(o->slot))
		next = again_after(next);
	return next != cur ? next : 0;
}

/* A client has many packets on the way: what was said of the others by who was asked before. */
static __always_inline int
again_is_late(const struct edge_pin *pin)
{
	__u32 since = EDGE_PIN_NOW(bpf_ktime_get_ns()) - (pin->epoch >> EDGE_PIN_WHEN_AT);

	return (since & EDGE_PIN_WHEN) < EDGE_TRY_AT_LEAST;
}

static __always_inline int
again_is_moved(void *flows, const void *key, const struct edge_vip *vip, __u32 hash)
{
	struct edge_owner o = owner(vip, hash);
	__u32 cur = EDGE_CUR(o.slot), next, tries = 0;
	const struct edge_pin *pin;

	if (!(o.slot & EDGE_CHANGES))
		return 0;
	pin = bpf_map_lookup_elem(flows, key);
	if (pin && pin_holds(pin, &o)) {
		tries = EDGE_PIN_TRIES(pin->epoch);
		if (tries && again_is_late(pin))
			return 1;
		if (!tries || tries >= EDGE_TRIES_MAX)
			return 0;
		next = again_next(&o, pin->backend);
	} else {
		next = cur != EDGE_PREV(o.slot) ? cur : again_next(&o, cur);
	}
	if (!next)
		return 0;
	pin_flow(flows, key, &o, next, tries + 1);
	return 1;
}

static __always_inline int
again_is_unknown(const struct edge_l4 *l4)
{
	return (l4->flags & (EDGE_TCP_RST | EDGE_TCP_ACK)) == EDGE_TCP_RST;
}

/* ---- a reply, seen from the client ---- */

/* NULL: not a whole packet of TCP. */
static __always_inline struct edge_l4 *
reply_tcp4(void *data, void *end, struct edge_head *h, struct edge_flow4 *flow)
{
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct edge_l4 *l4;

	if (edge_parse4(data, end, sizeof(struct ethhdr), h) < 0 || (void *)(ip + 1) > end ||
	    h->protocol != IPPROTO_TCP || h->part != EDGE_WHOLE)
		return 0;
	l4 = edge_l4(data, end, h);
	if (!l4)
		return 0;
	*flow = (struct edge_flow4){ip->daddr, ip->saddr, l4->dest, l4->source, IPPROTO_TCP};
	return l4;
}

static __always_inline struct edge_l4 *
reply_tcp6(void *data, void *end, struct edge_head *h, struct edge_flow6 *flow)
{
	struct ipv6hdr *ip = data + sizeof(struct ethhdr);
	struct edge_l4 *l4;

	if (edge_parse6(data, end, sizeof(struct ethhdr), h) < 0 || (void *)(ip + 1) > end ||
	    h->protocol != IPPROTO_TCP || h->part != EDGE_WHOLE)
		return 0;
	l4 = edge_l4(data, end, h);
	if (!l4)
		return 0;
	__builtin_memcpy(flow->source, &ip->daddr, 16);
	__builtin_memcpy(flow->dest, &ip->saddr, 16);
	flow->source_port = l4->dest;
	flow->dest_port = l4->source;
	flow->protocol = IPPROTO_TCP;
	return l4;
}

static __always_inline struct edge_vip *
vip_of4(const struct edge_flow4 *flow)
{
	struct edge_vip4 key = {flow->dest, flow->dest_port, IPPROTO_TCP, 0};

	return bpf_map_lookup_elem(&vips4, &key);
}

static __always_inline struct edge_vip *
vip_of6(const struct edge_flow6 *flow)
{
	struct edge_vip6 key = {.port = flow->dest_port, .protocol = IPPROTO_TCP};

	__builtin_memcpy(key.addr, flow->dest, 16);
	return bpf_map_lookup_elem(&vips6, &key);
}

/* ---- */

static __always_inline int
again4(void *data, void *end)
{
	struct edge_flow4 flow;
	struct edge_head h;
	const struct edge_l4 *l4 = reply_tcp4(data, end, &h, &flow);
	const struct edge_vip *vip = l4 && again_is_unknown(l4) ? vip_of4(&flow) : 0;

	if (!vip || !(vip->flags & EDGE_VIP_SHARED))
		return 0;
	return again_is_moved(&flows4, &flow, vip, edge_hash4(&flow));
}

static __always_inline int
again6(void *data, void *end)
{
	struct edge_flow6 flow;
	struct edge_head h;
	const struct edge_l4 *l4 = reply_tcp6(data, end, &h, &flow);
	const struct edge_vip *vip = l4 && again_is_unknown(l4) ? vip_of6(&flow) : 0;

	if (!vip || !(vip->flags & EDGE_VIP_SHARED))
		return 0;
	return again_is_moved(&flows6, &flow, vip, edge_hash6(&flow));
}

/* Whether this reply is a reset that the client shall not see. */
static __always_inline int
again(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	return skb->protocol == bpf_htons(ETH_P_IP) ? again4(data, end) : again6(data, end);
}

#endif
