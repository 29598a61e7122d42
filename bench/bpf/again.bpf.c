// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Runs one program over and over with a fresh packet: a test run does not reset the packet, and the
 * balancer rewrites it. The headers are written anew, from a flow number drawn at random, and the
 * program under test is called by its slot; nothing is done after it.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} target SEC(".maps");

__u32 flows_mask, state = 1, is_v6, dest4;
__u8 dest6[16];
__u16 dest_port;
__u8 tcp_flags;

struct head4 {
	struct ethhdr eth;
	struct iphdr ip;
	__be16 source, dest;
	__be32 sequence, acknowledged;
	__u8 offset, flags;
} __attribute__((packed));

struct head6 {
	struct ethhdr eth;
	struct ipv6hdr ip;
	__be16 source, dest;
	__be32 sequence, acknowledged;
	__u8 offset, flags;
} __attribute__((packed));

static __always_inline void
fill4(struct head4 *h, __u32 flow)
{
	h->eth.h_proto = bpf_htons(ETH_P_IP);
	h->ip.version = 4;
	h->ip.ihl = 5;
	h->ip.tot_len = bpf_htons(50);
	h->ip.protocol = IPPROTO_TCP;
	h->ip.saddr = bpf_htonl(0x0a000000 | flow >> 8);
	h->ip.daddr = dest4;
	h->source = bpf_htons(10000 + (flow & 255));
	h->dest = dest_port;
	h->flags = tcp_flags;
}

static __always_inline void
fill6(struct head6 *h, __u32 flow)
{
	h->eth.h_proto = bpf_htons(ETH_P_IPV6);
	h->ip.version = 6;
	h->ip.payload_len = bpf_htons(30);
	h->ip.nexthdr = IPPROTO_TCP;
	h->ip.saddr.s6_addr32[0] = bpf_htonl(0x20010db8);
	h->ip.saddr.s6_addr32[1] = 0;
	h->ip.saddr.s6_addr32[2] = 0;
	h->ip.saddr.s6_addr32[3] = bpf_htonl(flow >> 8);
	__builtin_memcpy(&h->ip.daddr, dest6, 16);
	h->source = bpf_htons(10000 + (flow & 255));
	h->dest = dest_port;
	h->flags = tcp_flags;
}

SEC("xdp")
int
xdp_again(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 flow;

	state = state * 1664525 + 1013904223;
	flow = state >> 8 & flows_mask;
	if (data + sizeof(struct head6) > end)
		return XDP_ABORTED;
	if (is_v6)
		fill6(data, flow);
	else
		fill4(data, flow);
	bpf_tail_call(ctx, &target, 0);
	return XDP_ABORTED;
}

SEC("xdp")
int
xdp_floor(struct xdp_md *ctx)
{
	return XDP_TX;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
