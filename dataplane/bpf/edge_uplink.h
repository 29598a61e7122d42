/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_EDGE_UPLINK_H
#define DATAPLANE_BPF_EDGE_UPLINK_H

/*
 * Out of the fabric: what tc_back has rewritten is marked by a MAC address of nobody and goes
 * through the uplink, on whose other end the host's routes say where to. Replies of flows that came
 * by another node go on in tc_across_back.
 */

#include "dataplane/bpf/edge_again.h"
#include "dataplane/bpf/edge_back.h"
#include "dataplane/bpf/edge_maps.h"
#include "dataplane/bpf/edge_taken.h"

static __always_inline int
back_leave(struct __sk_buff *skb, const struct back *to)
{
	if (back_mark(skb, to->taken) < 0)
		return back_count(skb, EDGE_BACK_DROPPED, TC_ACT_SHOT);
	return back_count(skb, EDGE_BACK_REDIRECTED, (int)bpf_redirect(to->config->uplink, 0));
}

static __always_inline int
back(struct __sk_buff *skb)
{
	__u32 zero = 0;
	const struct edge_config *c = bpf_map_lookup_elem(&config, &zero);
	struct back to = {.config = c};

	if (!c)
		return back_pass(skb);
	switch (back_any(skb, &to)) {
	case BACK_LEAVE:
		return back_leave(skb, &to);
	case BACK_OTHER:
		skb->cb[0] = to.node;
		bpf_tail_call(skb, &steps, EDGE_STEP_ACROSS);
		return back_count(skb, EDGE_BACK_DROPPED, TC_ACT_SHOT);
	case BACK_PASS:
		break;
	}
	return back_pass(skb);
}

/* ---- on the host's end of the uplink ---- */

static __always_inline __u32
uplink_route(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct bpf_fib_lookup fib = {.ifindex = skb->ifindex};
	struct ipv6hdr *ip6 = data + EDGE_AT_IP;
	struct iphdr *ip = data + EDGE_AT_IP;
	long rc;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if ((void *)(ip + 1) > end)
			return 0;
		fib.family = 2; /* AF_INET */
		fib.ipv4_src = ip->saddr;
		fib.ipv4_dst = ip->daddr;
	} else {
		if ((void *)(ip6 + 1) > end)
			return 0;
		fib.family = 10; /* AF_INET6 */
		__builtin_memcpy(fib.ipv6_src, &ip6->saddr, 16);
		__builtin_memcpy(fib.ipv6_dst, &ip6->daddr, 16);
	}
	rc = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	return rc == BPF_FIB_LKUP_RET_SUCCESS || rc == BPF_FIB_LKUP_RET_NO_NEIGH ? fib.ifindex : 0;
}

static __always_inline int
uplink_is_for(const struct ethhdr *eth, const __u8 *mac)
{
#pragma unroll
	for (int i = 0; i < ETH_ALEN; i++)
		if (eth->h_dest[i] != mac[i])
			return 0;
	return 1;
}

static __always_inline int
uplink(struct __sk_buff *skb)
{
	static const __u8 reply[ETH_ALEN] = EDGE_REPLY_MAC, taken_mac[ETH_ALEN] = EDGE_TAKEN_MAC;
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct edge_config *c;
	__u32 zero = 0, out;

	if ((void *)(eth + 1) > end)
		return TC_ACT_OK;
	if (uplink_is_for(eth, taken_mac)) {
		if (!taken(skb))
			return back_count(skb, EDGE_BACK_DROPPED, TC_ACT_SHOT);
	} else if (!uplink_is_for(eth, reply)) {
		return TC_ACT_OK;
	} else if (again(skb)) {
		return back_count(skb, EDGE_BACK_DROPPED, TC_ACT_SHOT);
	}
	c = bpf_map_lookup_elem(&config, &zero);
	out = c && c->out ? c->out : uplink_route(skb);
	if (!out)
		return back_count(skb, EDGE_BACK_DROPPED, TC_ACT_SHOT);
	return (int)bpf_redirect_neigh(out, 0, 0, 0);
}

#endif
