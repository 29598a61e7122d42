/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_TC_SEALED_H
#define DATAPLANE_BPF_TC_SEALED_H

/*
 * Between nodes, sealed: ingress of the device of sealed traffic (WireGuard, the kernel's or ours
 * behind a TUN), which has no Ethernet header. What it gives came from the node that has the inner
 * source's prefix: allowed IPs saw to that before this. The way out is tc_away's redirection, and
 * routes for what the fabric's stack sends.
 */

#include "dataplane/bpf/tc_enter.h"

SEC("tc")
int
tc_tunnel_in(struct __sk_buff *skb)
{
	struct enter e = {.me = overlay_me(), .note = {.place = MSG_FLOW_TUNNEL}};

	if (!e.me || e.me->tunnel != skb->ifindex)
		return enter_drop(skb, &e, FLOW_TUNNEL);
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
