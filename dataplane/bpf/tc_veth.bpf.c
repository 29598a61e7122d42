// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * On the fabric's side of each container's veth, tc ingress: what a container sends.
 *
 *   not IP             to the stack (neighbour discovery, ARP)
 *   foreign source     dropped: a container speaks with its own addresses only
 *   to a container of
 *   this node          MAC set, redirected into that container's namespace (bpf_redirect_peer): no
 *                      route, no bridge, no second pass through the stack; super-packets stay whole
 *   to a container of
 *   another node       into the tunnel: tc_overlay.bpf.h
 *   anything else      what the balancer put into `chain` (tc_back: replies to its clients), and
 *                      to the fabric's stack
 *
 * Works from Linux 5.10 (bpf_redirect_peer). Takes no time stamp and keeps no state per flow.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "dataplane/bpf/tc_veth.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TC_VETH_LOCAL_MAX);
	__type(key, __u32);
	__type(value, struct tc_veth_local);
} local4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TC_VETH_LOCAL_MAX);
	__type(key, struct tc_veth_key6);
	__type(value, struct tc_veth_local);
} local6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TC_VETH_SOURCES_MAX);
	__type(key, __u32);
	__type(value, struct tc_veth_source);
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TC_VETH_COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

/* Slot 0: where packets to the world go first; empty while nothing is balanced. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} chain SEC(".maps");

static __always_inline int
count(enum tc_veth_count which, int verdict)
{
	__u32 key = which;
	__u64 *n = bpf_map_lookup_elem(&counts, &key);

	if (n)
		(*n)++;
	return verdict;
}

static __always_inline int
deliver(struct __sk_buff *skb, const struct tc_veth_local *to)
{
	if (bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_dest), to->mac, ETH_ALEN, 0) < 0)
		return count(TC_VETH_DROP_SHORT, TC_ACT_SHOT);
	return count(TC_VETH_REDIRECTED, (int)bpf_redirect_peer(to->ifindex, 0));
}

static __always_inline int
leave(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &chain, 0);
	return count(TC_VETH_PASSED, TC_ACT_OK);
}

/* Link-local sources and the unspecified one are neighbour discovery (RFC 4861): the stack's. */
static __always_inline int
is_discovery_source(const struct in6_addr *a)
{
	return (a->s6_addr[0] == 0xfe && (a->s6_addr[1] & 0xc0) == 0x80) ||
	       (a->s6_addr32[0] | a->s6_addr32[1] | a->s6_addr32[2] | a->s6_addr32[3]) == 0;
}

static __always_inline int
same6(const struct in6_addr *a, const __u8 *b)
{
	const __u32 *w = (const __u32 *)b;

	return a->s6_addr32[0] == w[0] && a->s6_addr32[1] == w[1] && a->s6_addr32[2] == w[2] &&
	       a->s6_addr32[3] == w[3];
}

#include "dataplane/bpf/tc_overlay.bpf.h"

static __always_inline int
elsewhere(struct __sk_buff *skb, const struct tc_overlay_peer *peer)
{
	int verdict = peer ? overlay_send(skb, peer) : -1;

	return verdict >= 0 ? verdict : leave(skb);
}

static __always_inline int
from_v4(struct __sk_buff *skb, const struct tc_veth_source *source)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	const struct tc_veth_local *to;
	__u32 addr;

	if ((void *)(ip + 1) > end)
		return count(TC_VETH_DROP_SHORT, TC_ACT_SHOT);
	if (ip->saddr != source->addr4)
		return count(TC_VETH_DROP_SOURCE, TC_ACT_SHOT);
	addr = ip->daddr;
	to = bpf_map_lookup_elem(&local4, &addr);
	if (to)
		return deliver(skb, to);
	return elsewhere(skb, overlay_peer4(addr));
}

static __always_inline int
from_v6(struct __sk_buff *skb, const struct tc_veth_source *source)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = data + sizeof(struct ethhdr);
	const struct tc_veth_local *to;
	struct tc_veth_key6 key;

	if ((void *)(ip + 1) > end)
		return count(TC_VETH_DROP_SHORT, TC_ACT_SHOT);
	if (is_discovery_source(&ip->saddr))
		return count(TC_VETH_PASSED, TC_ACT_OK);
	if (!source->has6 || !same6(&ip->saddr, source->addr6))
		return count(TC_VETH_DROP_SOURCE, TC_ACT_SHOT);
	__builtin_memcpy(key.addr, &ip->daddr, sizeof(key.addr));
	to = bpf_map_lookup_elem(&local6, &key);
	if (to)
		return deliver(skb, to);
	return elsewhere(skb, overlay_peer6(&ip->daddr));
}

SEC("tc")
int
tc_veth_in(struct __sk_buff *skb)
{
	__u32 link = skb->ifindex;
	const struct tc_veth_source *source = bpf_map_lookup_elem(&sources, &link);

	if (!source)
		return count(TC_VETH_DROP_UNKNOWN_LINK, TC_ACT_SHOT);
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		return from_v4(skb, source);
	case bpf_htons(ETH_P_IPV6):
		return from_v6(skb, source);
	case bpf_htons(ETH_P_ARP):
		return count(TC_VETH_PASSED, TC_ACT_OK);
	default:
		return count(TC_VETH_DROP_SOURCE, TC_ACT_SHOT);
	}
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
