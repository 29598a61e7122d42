/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_TC_TELL_H
#define DATAPLANE_BPF_TC_TELL_H

/*
 * Telling of packets: of those that are dropped always, of the first one of each flow that is let
 * through while somebody observes. Stages of their own (tc_maps.h), so that nothing of this stands
 * in the way of packets that nobody wants to hear of.
 */

#include "dataplane/bpf/tc_maps.h"

enum { TELL_TCP_FLAGS = 13 };

static __always_inline const struct tc_identity *
tell_whose4(__u32 addr)
{
	const struct tc_veth_local *here = bpf_map_lookup_elem(&local4, &addr);

	return here ? &here->identity : bpf_map_lookup_elem(&identities4, &addr);
}

static __always_inline const struct tc_identity *
tell_whose6(const __u8 *addr)
{
	const struct tc_veth_local *here;
	struct tc_veth_key6 key;

	__builtin_memcpy(key.addr, addr, sizeof(key.addr));
	here = bpf_map_lookup_elem(&local6, &key);
	return here ? &here->identity : bpf_map_lookup_elem(&identities6, &key);
}

/* What an event has of the packet itself. */
struct tell_packet {
	struct tc_flow flow;
	__u32 length;
	__u8 tcp_flags, is_v4;
};

static __always_inline void
tell_ports(struct __sk_buff *skb, struct tell_packet *p, __u32 l4)
{
	__u16 ports[2];

	if ((p->flow.protocol != IPPROTO_TCP && p->flow.protocol != IPPROTO_UDP) ||
	    bpf_skb_load_bytes(skb, l4, ports, sizeof(ports)) < 0)
		return;
	p->flow.from_port = ports[0];
	p->flow.to_port = ports[1];
	if (p->flow.protocol == IPPROTO_TCP)
		bpf_skb_load_bytes(skb, l4 + TELL_TCP_FLAGS, &p->tcp_flags, 1);
}

static __always_inline void
tell_read(struct __sk_buff *skb, struct tell_packet *p, __u32 at)
{
	struct ipv6hdr ip6;
	struct iphdr ip;

	__builtin_memset(p, 0, sizeof(*p));
	p->length = skb->len - at;
	p->is_v4 = skb->protocol == bpf_htons(ETH_P_IP);
	if (p->is_v4 && bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) == 0) {
		p->flow.protocol = ip.protocol;
		p->flow.from[10] = p->flow.from[11] = p->flow.to[10] = p->flow.to[11] = 0xff;
		__builtin_memcpy(p->flow.from + 12, &ip.saddr, 4);
		__builtin_memcpy(p->flow.to + 12, &ip.daddr, 4);
		if (!(ip.frag_off & bpf_htons(0x1fff)))
			tell_ports(skb, p, at + ip.ihl * 4);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6) &&
		   bpf_skb_load_bytes(skb, at, &ip6, sizeof(ip6)) == 0) {
		p->flow.protocol = ip6.nexthdr;
		__builtin_memcpy(p->flow.from, &ip6.saddr, 16);
		__builtin_memcpy(p->flow.to, &ip6.daddr, 16);
		tell_ports(skb, p, at + sizeof(ip6));
	}
}

static __always_inline void
tell_whose(struct tc_event *e, const struct tell_packet *p)
{
	const struct tc_identity *i;
	__u32 addr;

	if (p->is_v4)
		__builtin_memcpy(&addr, p->flow.from + 12, 4);
	i = p->is_v4 ? tell_whose4(addr) : tell_whose6(p->flow.from);
	if (i)
		e->source = *i;
	if (p->is_v4)
		__builtin_memcpy(&addr, p->flow.to + 12, 4);
	i = p->is_v4 ? tell_whose4(addr) : tell_whose6(p->flow.to);
	if (i)
		e->destination = *i;
}

static __always_inline void
tell(const struct __sk_buff *skb, const struct tc_note *n, const struct tell_packet *p,
     enum msg_flow_verdict verdict, struct tc_allowance *allowed)
{
	struct tc_event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e) {
		allowed->lost++;
		return;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->mono_ns = bpf_ktime_get_ns();
	e->peer = n->peer;
	__builtin_memcpy(e->from, p->flow.from, 16);
	__builtin_memcpy(e->to, p->flow.to, 16);
	tell_whose(e, p);
	e->ifindex = skb->ifindex;
	e->length = p->length;
	e->lost = allowed->lost;
	e->from_port = p->flow.from_port;
	e->to_port = p->flow.to_port;
	e->verdict = (__u8)verdict;
	e->reason = (__u8)n->reason;
	e->way = (__u8)n->way;
	e->place = (__u8)n->place;
	e->protocol = (__u8)p->flow.protocol;
	e->tcp_flags = p->tcp_flags;
	allowed->lost = 0;
	bpf_ringbuf_submit(e, 0);
}

SEC("tc")
int
tc_dropped(struct __sk_buff *skb)
{
	struct tc_allowance *allowed = tc_allow(TC_BUDGET_DROPS, TC_DROPS_A_SECOND);
	struct tc_note n = tc_note_get(skb);
	struct tell_packet p;

	if (!allowed)
		return TC_ACT_SHOT;
	tell_read(skb, &p, n.at);
	tell(skb, &n, &p, MSG_FLOW_DROPPED, allowed);
	return TC_ACT_SHOT;
}

/* Whether a flow was told since somebody observes; it counts as told from now on. */
static __always_inline int
tell_again(const struct tc_flow *flow)
{
	__u32 zero = 0, *told, epoch;
	const struct tc_scene *now = bpf_map_lookup_elem(&scene, &zero);

	if (!now)
		return 1;
	epoch = now->epoch;
	told = bpf_map_lookup_elem(&seen, flow);
	if (told && *told == epoch)
		return 1;
	bpf_map_update_elem(&seen, flow, &epoch, BPF_ANY);
	return 0;
}

/* The redirection that the packet waits for stands already: its verdict is given back. */
SEC("tc")
int
tc_seen(struct __sk_buff *skb)
{
	struct tc_note n = tc_note_get(skb);
	int verdict = (int)skb->cb[1];
	struct tc_allowance *allowed;
	struct tell_packet p;

	tell_read(skb, &p, n.at);
	if (!tell_again(&p.flow)) {
		allowed = tc_allow(TC_BUDGET_FLOWS, TC_FLOWS_A_SECOND);
		if (allowed)
			tell(skb, &n, &p, MSG_FLOW_FORWARDED, allowed);
	}
	return verdict == TC_ACT_UNSPEC ? tc_leave(skb) : verdict;
}

#endif
