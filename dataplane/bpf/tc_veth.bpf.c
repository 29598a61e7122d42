// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * On the fabric's side of each container's veth, tc ingress: what a container sends.
 *
 *   not IP             to the stack (neighbour discovery, ARP)
 *   foreign source     dropped: a container speaks with its own addresses only
 *   nobody knows who   dropped: it has no identity yet
 *   to a container of
 *   this node          dropped when their overlays say so (ring/identity_rule.h); else MAC set,
 *                      redirected into that container's namespace (bpf_redirect_peer): no route, no
 *                      bridge, no second pass through the stack; super-packets stay whole
 *   anything else      tc_away (tc_away.h): to another node, plain or sealed, or what the balancer
 *                      put into `chain` (tc_back: replies to its clients), and the fabric's stack
 *
 * The programs between nodes stand in tc_overlay.bpf.h (plain) and tc_sealed.h. Works from Linux
 * 5.10 (bpf_redirect_peer, ring buffers). Keeps no state per flow, but while somebody observes.
 */
#include "dataplane/bpf/tc_maps.h"
#include "dataplane/bpf/tc_away.h"
#include "dataplane/bpf/tc_overlay.bpf.h"
#include "dataplane/bpf/tc_sealed.h"
#include "dataplane/bpf/tc_tell.h"
#include "dataplane/bpf/tc_denied.h"

/* Link-local sources and the unspecified one are neighbour discovery (RFC 4861): the stack's. */
static __always_inline int
is_discovery_source(const struct in6_addr *a)
{
	return (a->s6_addr[0] == 0xfe && (a->s6_addr[1] & 0xc0) == 0x80) ||
	       (a->s6_addr32[0] | a->s6_addr32[1] | a->s6_addr32[2] | a->s6_addr32[3]) == 0;
}

static __always_inline int
drop(struct __sk_buff *skb, enum flow_reason reason)
{
	return tc_drop_at(skb, MSG_FLOW_VETH, reason);
}

static __always_inline int
pass(struct __sk_buff *skb)
{
	tc_count(TC_COUNT_WAY(MSG_FLOW_VETH, MSG_FLOW_STACK));
	return TC_ACT_OK;
}

static __always_inline int
deliver(struct __sk_buff *skb, const struct tc_identity *from, const struct tc_veth_local *to)
{
	struct tc_note n = {.place = MSG_FLOW_VETH, .way = MSG_FLOW_LOCAL, .at = TC_AT_IP};

	if (!tc_is_known(&to->identity))
		return drop(skb, FLOW_UNKNOWN);
	if (tc_judge(from, &to->identity) == IDENTITY_RULE_ISOLATED)
		return drop(skb, FLOW_ISOLATED);
	if (bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_dest), to->mac, ETH_ALEN, 0) < 0)
		return drop(skb, FLOW_SHORT);
	return tc_pass(skb, &n, (int)bpf_redirect_peer(to->ifindex, 0));
}

static __always_inline int
from_v4(struct __sk_buff *skb, const struct tc_veth_source *source)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	const struct tc_veth_local *to;
	__u32 addr;

	if ((void *)(ip + 1) > end)
		return drop(skb, FLOW_SHORT);
	if (ip->saddr != source->addr4)
		return drop(skb, FLOW_SOURCE);
	if (!tc_is_known(&source->identity))
		return drop(skb, FLOW_UNKNOWN);
	addr = ip->daddr;
	to = bpf_map_lookup_elem(&local4, &addr);
	if (!to) {
		bpf_tail_call(skb, &stages, TC_STAGE_AWAY);
		return tc_leave(skb);
	}
	return deliver(skb, &source->identity, to);
}

static __always_inline int
from_v6(struct __sk_buff *skb, const struct tc_veth_source *source)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = data + sizeof(struct ethhdr);
	const struct tc_veth_local *to;
	struct tc_veth_key6 key;

	if ((void *)(ip + 1) > end)
		return drop(skb, FLOW_SHORT);
	if (is_discovery_source(&ip->saddr))
		return pass(skb);
	if (!source->has6 || !same6(&ip->saddr, source->addr6))
		return drop(skb, FLOW_SOURCE);
	if (!tc_is_known(&source->identity))
		return drop(skb, FLOW_UNKNOWN);
	__builtin_memcpy(key.addr, &ip->daddr, sizeof(key.addr));
	to = bpf_map_lookup_elem(&local6, &key);
	if (!to) {
		bpf_tail_call(skb, &stages, TC_STAGE_AWAY);
		return tc_leave(skb);
	}
	return deliver(skb, &source->identity, to);
}

SEC("tc")
int
tc_veth_in(struct __sk_buff *skb)
{
	__u32 link = skb->ifindex;
	const struct tc_veth_source *source = bpf_map_lookup_elem(&sources, &link);

	if (!source)
		return drop(skb, FLOW_UNKNOWN_LINK);
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		return from_v4(skb, source);
	case bpf_htons(ETH_P_IPV6):
		return from_v6(skb, source);
	case bpf_htons(ETH_P_ARP):
		return pass(skb);
	default:
		return drop(skb, FLOW_SOURCE);
	}
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
