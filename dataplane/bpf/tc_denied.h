/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_TC_DENIED_H
#define DATAPLANE_BPF_TC_DENIED_H

/*
 * Telling of clients that the balancer denies (edge.bpf.c), which goes on here: this program is of
 * the object that has the ring of events, because a process that is confined cannot take over a map
 * of another one (dataplane/lb.h). It has counted the packet already, and dropped it, but for this.
 */

#include "dataplane/bpf/edge_parse.h"
#include "dataplane/bpf/tc_maps.h"

/* All is read where its length has been looked at: the verifier does not follow that further. */
struct denied {
	struct edge_head head;
	__u8 from[16], to[16];
	__u16 from_port, to_port;
	__u32 tcp_flags;
};

static __always_inline int
denied_read4(void *data, void *end, struct denied *d)
{
	struct iphdr *ip = data + TC_AT_IP;

	if (edge_parse4(data, end, TC_AT_IP, &d->head) < 0 || (void *)(ip + 1) > end)
		return -1;
	d->from[10] = d->from[11] = d->to[10] = d->to[11] = 0xff;
	__builtin_memcpy(d->from + 12, &ip->saddr, 4);
	__builtin_memcpy(d->to + 12, &ip->daddr, 4);
	return 0;
}

static __always_inline int
denied_read6(void *data, void *end, struct denied *d)
{
	struct ipv6hdr *ip = data + TC_AT_IP;

	if (edge_parse6(data, end, TC_AT_IP, &d->head) < 0 || (void *)(ip + 1) > end)
		return -1;
	__builtin_memcpy(d->from, &ip->saddr, 16);
	__builtin_memcpy(d->to, &ip->daddr, 16);
	return 0;
}

static __always_inline int
denied_read(void *data, void *end, struct denied *d)
{
	struct ethhdr *eth = data;

	__builtin_memset(d, 0, sizeof(*d));
	if ((void *)(eth + 1) > end)
		return -1;
	return eth->h_proto == bpf_htons(ETH_P_IP) ? denied_read4(data, end, d)
						   : denied_read6(data, end, d);
}

static __always_inline int
denied_ports(void *data, void *end, struct denied *d)
{
	struct edge_l4 *l4 = data + d->head.l4;

	if (d->head.protocol == IPPROTO_TCP) {
		if ((void *)l4 + EDGE_L4_TCP > end)
			return -1;
		d->tcp_flags = l4->flags;
	}
	if ((void *)l4 + EDGE_L4_UDP > end)
		return -1;
	d->from_port = l4->source;
	d->to_port = l4->dest;
	return 0;
}

static __always_inline void
denied_tell(struct xdp_md *ctx, const struct denied *d)
{
	struct tc_allowance *allowed = tc_allow(TC_BUDGET_DROPS, TC_DROPS_A_SECOND);
	struct tc_event *e = allowed ? bpf_ringbuf_reserve(&events, sizeof(*e), 0) : 0;

	if (!e) {
		if (allowed)
			allowed->lost++;
		return;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->mono_ns = bpf_ktime_get_ns();
	__builtin_memcpy(e->from, d->from, 16);
	__builtin_memcpy(e->to, d->to, 16);
	e->ifindex = ctx->ingress_ifindex;
	e->length = d->head.length;
	e->lost = allowed->lost;
	e->from_port = d->from_port;
	e->to_port = d->to_port;
	e->verdict = MSG_FLOW_DROPPED;
	e->reason = FLOW_DENIED;
	e->place = MSG_FLOW_EDGE;
	e->protocol = (__u8)d->head.protocol;
	e->tcp_flags = (__u8)d->tcp_flags;
	allowed->lost = 0;
	bpf_ringbuf_submit(e, 0);
}

SEC("xdp")
int
xdp_denied(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct denied d;

	if (denied_read(data, end, &d) == 0 && denied_ports(data, end, &d) == 0)
		denied_tell(ctx, &d);
	return XDP_DROP;
}

#endif
