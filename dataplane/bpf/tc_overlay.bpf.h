/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_TC_OVERLAY_BPF_H
#define DATAPLANE_BPF_TC_OVERLAY_BPF_H

/*
 * Between nodes, plain: one VXLAN device (RFC 7348) that is told of each packet where to go.
 *
 *   tc_vxlan_out    the device's egress: what the fabric's stack sends (proxies, ICMP errors) gets
 *                   its tunnel key here; what has one already is known by its mark. To a peer that
 *                   is not trusted the stack sends nothing plain
 *   tc_vxlan_in     the device's ingress: the outer source must be a peer, the inner source in that
 *                   peer's prefix, and nothing may want it sealed; then into the container, or to
 *                   the stack when it is for the node's own address or too large for the
 *                   container's link (the stack answers with the ICMP error)
 */

#include "dataplane/bpf/tc_enter.h"
#include "dataplane/bpf/tc_wrap.h"

/* ---- out ---- */

static __always_inline int
overlay_send_stack(struct __sk_buff *skb, const struct tc_overlay_peer *to)
{
	struct tc_note n = {.place = MSG_FLOW_FABRIC, .way = MSG_FLOW_PLAIN, .at = TC_AT_IP};
	const struct tc_overlay_self *me = overlay_me();

	n.reason = to && !(to->flags & TC_PEER_TRUSTED) ? FLOW_NO_WAY : FLOW_DESTINATION;
	if (!me || !to || n.reason == FLOW_NO_WAY || overlay_wrap(skb, me, to) < 0)
		return tc_drop(skb, &n);
	n.reason = FLOW_PASSED;
	n.peer = to->id;
	return tc_pass(skb, &n, TC_ACT_OK);
}

SEC("tc")
int
tc_vxlan_out(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct ipv6hdr *ip6 = data + sizeof(struct ethhdr);

	if (skb->mark == OVERLAY_MARK) {
		skb->mark = 0;
		return TC_ACT_OK;
	}
	if (skb->protocol == bpf_htons(ETH_P_IP) && (void *)(ip + 1) <= end)
		return overlay_send_stack(skb, overlay_peer4(ip->daddr));
	/* Neighbour and multicast discovery has nobody to ask. */
	if (skb->protocol == bpf_htons(ETH_P_IPV6) && (void *)(ip6 + 1) <= end &&
	    ip6->daddr.s6_addr[0] != 0xff)
		return overlay_send_stack(skb, overlay_peer6(&ip6->daddr));
	return TC_ACT_SHOT;
}

/* ---- in ---- */

static __always_inline int
overlay_any(const struct tc_overlay_addr *a)
{
	const __u32 *w = (const __u32 *)a->addr;

	return !w[0] && !w[1] && !w[2] && !w[3];
}

static __always_inline int
overlay_same(const struct tc_overlay_addr *a, const struct tc_overlay_addr *b)
{
	const __u32 *x = (const __u32 *)a->addr, *y = (const __u32 *)b->addr;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3];
}

/* Both ends of the tunnel that a packet came by; -1 when it came by none of ours. */
static __always_inline int
overlay_ends(struct __sk_buff *skb, const struct tc_overlay_self *me, struct tc_overlay_addr *from,
	     struct tc_overlay_addr *to)
{
	__u32 *f = (__u32 *)from->addr, *t = (__u32 *)to->addr;
	struct bpf_tunnel_key key;

	if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0) == 0) {
		f[0] = f[1] = t[0] = t[1] = 0;
		f[2] = t[2] = bpf_htonl(0xffff);
		f[3] = bpf_htonl(key.remote_ipv4);
		t[3] = bpf_htonl(key.local_ipv4);
	} else if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6) == 0) {
		__builtin_memcpy(from->addr, key.remote_ipv6, sizeof(from->addr));
		__builtin_memcpy(to->addr, key.local_ipv6, sizeof(to->addr));
	} else {
		return -1;
	}
	return me->ifindex && key.tunnel_id == me->vni ? 0 : -1;
}

SEC("tc")
int
tc_vxlan_in(struct __sk_buff *skb)
{
	struct enter e = {.me = overlay_me(), .note = {.place = MSG_FLOW_VXLAN, .at = TC_AT_IP}};
	struct tc_overlay_addr from, to;
	struct tc_overlay_bytes *bytes;
	__u64 *found, id;

	if (!e.me || overlay_ends(skb, e.me, &from, &to) < 0)
		return enter_drop(skb, &e, FLOW_TUNNEL);
	if (!overlay_any(&e.me->local) && !overlay_same(&e.me->local, &to))
		return enter_drop(skb, &e, FLOW_TUNNEL);
	found = bpf_map_lookup_elem(&remotes, &from);
	if (!found)
		return enter_drop(skb, &e, FLOW_PEER);
	e.note.peer = id = *found;
	bytes = bpf_map_lookup_elem(&peer_bytes, &id);
	if (bytes)
		bytes->received += skb->len;
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		return enter4(skb, &e);
	case bpf_htons(ETH_P_IPV6):
		return enter6(skb, &e);
	default:
		return enter_drop(skb, &e, FLOW_SOURCE);
	}
}

#endif
