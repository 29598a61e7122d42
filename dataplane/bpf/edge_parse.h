/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_EDGE_PARSE_H
#define DATAPLANE_BPF_EDGE_PARSE_H

/*
 * Where the transport header of a packet is. IPv4 with options, IPv6 with up to four extension
 * headers (RFC 8200), fragments of both. What does not hold is not ours: the kernel judges it.
 * Also the incremental checksum (RFC 1624).
 */

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum { EDGE_EXTENSIONS_MAX = 4 };

enum edge_part { EDGE_WHOLE, EDGE_FIRST, EDGE_LATER };

struct edge_head {
	__u32 l4; /* offset of the transport header */
	__u32 protocol;
	enum edge_part part;
	__u32 id;     /* of a fragment */
	__u32 length; /* of the packet, without the Ethernet header */
};

static __always_inline int
edge_parse4(void *data, void *end, __u32 at, struct edge_head *h)
{
	struct iphdr *ip = data + at;
	__u16 fragment;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return -1;
	fragment = bpf_ntohs(ip->frag_off);
	h->l4 = at + (__u32)ip->ihl * 4;
	h->protocol = ip->protocol;
	h->length = bpf_ntohs(ip->tot_len);
	h->id = ip->id;
	h->part = !(fragment & 0x3fff) ? EDGE_WHOLE : fragment & 0x1fff ? EDGE_LATER : EDGE_FIRST;
	return 0;
}

struct edge_extension {
	__u8 next, length;
	__be16 offset; /* of a fragment header */
	__be32 id;
};

static __always_inline int
edge_is_extension(__u32 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
	       protocol == IPPROTO_DSTOPTS || protocol == IPPROTO_FRAGMENT;
}

static __always_inline int
edge_extensions(void *data, void *end, struct edge_head *h)
{
#pragma unroll
	for (int i = 0; i < EDGE_EXTENSIONS_MAX; i++) {
		struct edge_extension *e = data + h->l4;

		if (!edge_is_extension(h->protocol) || h->part == EDGE_LATER)
			return 0;
		if ((void *)(e + 1) > end)
			return -1;
		if (h->protocol == IPPROTO_FRAGMENT) {
			__u16 offset = bpf_ntohs(e->offset);

			h->id = e->id;
			if (offset & 0xfff9)
				h->part = offset & 0xfff8 ? EDGE_LATER : EDGE_FIRST;
			h->l4 += sizeof(*e);
		} else {
			h->l4 += ((__u32)e->length + 1) * 8;
		}
		h->protocol = e->next;
	}
	return edge_is_extension(h->protocol) && h->part != EDGE_LATER ? -1 : 0;
}

static __always_inline int
edge_parse6(void *data, void *end, __u32 at, struct edge_head *h)
{
	struct ipv6hdr *ip = data + at;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return -1;
	h->l4 = at + sizeof(*ip);
	h->protocol = ip->nexthdr;
	h->length = bpf_ntohs(ip->payload_len) + (__u32)sizeof(*ip);
	h->id = 0;
	h->part = EDGE_WHOLE;
	if (h->protocol == IPPROTO_TCP || h->protocol == IPPROTO_UDP)
		return 0;
	return edge_extensions(data, end, h);
}

static __always_inline int
edge_same16(const void *a, const void *b)
{
	const __u32 *x = a, *y = b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3];
}

/* ---- the transport header ---- */

struct edge_l4 {
	__be16 source, dest;
	__be32 sequence; /* of TCP; length and checksum of UDP */
	__be32 acknowledged;
	__u8 offset, flags;
	__be16 window;
	__be16 check;
	__be16 urgent;
};

enum { EDGE_L4_UDP = 8, EDGE_L4_TCP = 20, EDGE_TCP_SYN = 0x02, EDGE_TCP_ACK = 0x10 };

/* NULL when it is cut. */
static __always_inline struct edge_l4 *
edge_l4(void *data, void *end, const struct edge_head *h)
{
	struct edge_l4 *l4 = data + h->l4;

	if (h->protocol == IPPROTO_TCP)
		return (void *)l4 + EDGE_L4_TCP > end ? 0 : l4;
	return (void *)l4 + EDGE_L4_UDP > end ? 0 : l4;
}

/* ---- checksums ---- */

static __always_inline __u16
edge_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

/* What changes in the sum of a packet when `from` becomes `to`. */
static __always_inline __u64
edge_delta4(__u32 from, __u32 to)
{
	return (__u64)(__u32)~from + to;
}

static __always_inline __u64
edge_delta6(const void *from, const void *to)
{
	const __u32 *f = from, *t = to;

	return edge_delta4(f[0], t[0]) + edge_delta4(f[1], t[1]) + edge_delta4(f[2], t[2]) +
	       edge_delta4(f[3], t[3]);
}

static __always_inline __u64
edge_delta_port(__u16 from, __u16 to)
{
	return (__u64)(__u16)~from + to;
}

static __always_inline __u16
edge_adjust(__u16 check, __u64 delta)
{
	return edge_fold((__u64)(__u16)~check + delta);
}

/* Nothing to do for a UDP packet without a checksum; one that comes out as 0 is written as its
 * other form. */
static __always_inline void
edge_put_check(struct edge_l4 *l4, __u32 protocol, __u64 delta)
{
	if (protocol == IPPROTO_TCP) {
		l4->check = edge_adjust(l4->check, delta);
		return;
	}
	__u16 *check = (__u16 *)(void *)l4 + 3;

	if (*check == 0)
		return;
	*check = edge_adjust(*check, delta);
	if (*check == 0)
		*check = 0xffff;
}

#endif
