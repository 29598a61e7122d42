/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_TC_PATH_H
#define DATAPLANE_BPF_TC_PATH_H

/*
 * The size of packets between nodes. A SYN says no larger segment than the path takes (RFC 9293
 * 3.7.1, RFC 6691); what is too large all the same is answered (RFC 1191, RFC 8201) with the
 * packet's own beginning: the sender's stack remembers the path's MTU, also for packets that may be
 * fragmented, which nobody does here.
 */

#include "dataplane/bpf/tc_maps.h"

enum {
	PATH_TCP_CHECK = 16,
	PATH_TCP_OFFSET = 12,
	PATH_TCP_HEAD = 20,
	PATH_UDP_HEAD = 8,
	PATH_SYN = 0x02,
	PATH_OPTIONS_MAX = 12,
	PATH_MSS = 2,

	/* How much of the packet an answer has: its network header, with all that it may have, and
	 * the ports. */
	PATH_QUOTE = 128,
	PATH_UNREACHABLE = 3,
	PATH_NEEDS_FRAGMENTS = 4,
	PATH_TOO_BIG6 = 2,
};

/* A packet's transport header. */
struct path_head {
	__u32 ip, l4; /* offsets */
	__u32 protocol;
};

/* From the IP header on; of a super-packet, of each of its segments. */
static __always_inline __u32
path_bytes(struct __sk_buff *skb, const struct path_head *h)
{
	__u32 bytes = h->l4 - h->ip;
	__u8 offset = 0;

	if (!skb->gso_size)
		return skb->len - h->ip;
	if (h->protocol != IPPROTO_TCP)
		return bytes + PATH_UDP_HEAD + skb->gso_size;
	if (bpf_skb_load_bytes(skb, h->l4 + PATH_TCP_OFFSET, &offset, 1) < 0)
		return skb->len - h->ip;
	return bytes + (__u32)(offset >> 4) * 4 + skb->gso_size;
}

/* ---- the largest segment ---- */

struct path_option {
	__u8 kind, length;
	__be16 value;
};

static __always_inline void
path_put_mss(struct __sk_buff *skb, __u32 l4, __u32 at, __be16 old, __be16 mss)
{
	/* Sums are over pairs of bytes: one that begins at an odd place counts turned round. */
	int odd = (at + 2 - l4) & 1;

	bpf_l4_csum_replace(skb, l4 + PATH_TCP_CHECK, odd ? __builtin_bswap16(old) : old,
			    odd ? __builtin_bswap16(mss) : mss, 2);
	bpf_skb_store_bytes(skb, at + 2, &mss, sizeof(mss), 0);
}

/* mtu: of the path. Pointers into the packet do not hold after this. */
static __always_inline void
path_clamp(struct __sk_buff *skb, const struct path_head *h, __u32 network_head, __u32 mtu)
{
	__u32 at = h->l4 + PATH_TCP_HEAD, end, mss = mtu - network_head - PATH_TCP_HEAD;
	struct path_option o;
	__u8 head[2];

	if (h->protocol != IPPROTO_TCP ||
	    bpf_skb_load_bytes(skb, h->l4 + PATH_TCP_OFFSET, head, 2) < 0 || !(head[1] & PATH_SYN))
		return;
	end = h->l4 + (__u32)(head[0] >> 4) * 4;
	for (int i = 0; i < PATH_OPTIONS_MAX; i++) {
		if (at + sizeof(o) > end || bpf_skb_load_bytes(skb, at, &o, sizeof(o)) < 0 ||
		    !o.kind)
			return;
		if (o.kind == PATH_MSS && o.length == sizeof(o)) {
			if (bpf_ntohs(o.value) > mss)
				path_put_mss(skb, h->l4, at, o.value, bpf_htons((__u16)mss));
			return;
		}
		if (o.kind > 1 && o.length < 2)
			return;
		at += o.kind == 1 ? 1 : o.length;
	}
}

/* ---- too large ---- */

struct path_icmp {
	__u8 type, code;
	__be16 check;
	__be32 mtu;
};

struct path_answer4 {
	struct ethhdr eth;
	struct iphdr ip;
	struct path_icmp icmp;
} __attribute__((packed));

struct path_answer6 {
	struct ethhdr eth;
	struct ipv6hdr ip;
	struct path_icmp icmp;
} __attribute__((packed));

static __always_inline __u16
path_fold(__s64 sum)
{
	__u64 s = (__u32)sum;

	s = (s & 0xffff) + (s >> 16);
	s = (s & 0xffff) + (s >> 16);
	return (__u16)~s;
}

static __always_inline void
path_turn(struct ethhdr *eth)
{
	__u8 mac[ETH_ALEN];

	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
}

/* Errors are not answered with errors, nor later fragments (RFC 1122 3.2.2, RFC 4443 2.4). from:
 * who says it; 0: nobody can. */
static __always_inline int
path_answer4(struct __sk_buff *skb, __u32 from, __u32 mtu)
{
	__u32 quote[PATH_QUOTE / 4];
	struct path_answer4 a;
	struct iphdr old;
	__u8 type;

	if (!from || bpf_skb_load_bytes(skb, TC_AT_IP, quote, sizeof(quote)) < 0 ||
	    bpf_skb_load_bytes(skb, TC_AT_IP, &old, sizeof(old)) < 0 ||
	    bpf_skb_load_bytes(skb, 0, &a.eth, sizeof(a.eth)) < 0 ||
	    old.frag_off & bpf_htons(0x1fff))
		return -1;
	if (old.protocol == IPPROTO_ICMP &&
	    (bpf_skb_load_bytes(skb, TC_AT_IP + old.ihl * 4, &type, 1) < 0 ||
	     (type != 0 && type != 8)))
		return -1;
	path_turn(&a.eth);
	__builtin_memset(&a.ip, 0, sizeof(a.ip) + sizeof(a.icmp));
	a.ip.version = 4;
	a.ip.ihl = 5;
	a.ip.tot_len = bpf_htons(sizeof(a.ip) + sizeof(a.icmp) + PATH_QUOTE);
	a.ip.ttl = 64;
	a.ip.protocol = IPPROTO_ICMP;
	a.ip.saddr = from;
	a.ip.daddr = old.saddr;
	old = a.ip;
	a.ip.check = path_fold(bpf_csum_diff(0, 0, (__be32 *)&old, sizeof(old), 0));
	struct path_icmp icmp = {.type = PATH_UNREACHABLE,
				 .code = PATH_NEEDS_FRAGMENTS,
				 .mtu = bpf_htonl(mtu & 0xffff)};
	__s64 sum = bpf_csum_diff(0, 0, (__be32 *)&icmp, sizeof(icmp), 0);
	icmp.check = path_fold(bpf_csum_diff(0, 0, quote, sizeof(quote), (__u32)sum));
	a.icmp = icmp;
	if (bpf_skb_change_tail(skb, sizeof(a) + PATH_QUOTE, 0) < 0 ||
	    bpf_skb_store_bytes(skb, 0, &a, sizeof(a), 0) < 0 ||
	    bpf_skb_store_bytes(skb, sizeof(a), quote, sizeof(quote), 0) < 0)
		return -1;
	return (int)bpf_redirect(skb->ifindex, 0);
}

struct path_pseudo6 {
	struct in6_addr from, to;
	__be32 length, protocol;
};

static __always_inline int
path_answer6(struct __sk_buff *skb, const void *from, __u32 mtu)
{
	__u32 quote[PATH_QUOTE / 4];
	struct path_pseudo6 pseudo;
	struct path_answer6 a;
	struct ipv6hdr old;
	__s64 sum;
	__u8 type;

	__builtin_memcpy(&pseudo.from, from, sizeof(pseudo.from));
	if (!(pseudo.from.s6_addr[0] | pseudo.from.s6_addr[15]) ||
	    bpf_skb_load_bytes(skb, TC_AT_IP, quote, sizeof(quote)) < 0 ||
	    bpf_skb_load_bytes(skb, TC_AT_IP, &old, sizeof(old)) < 0 ||
	    bpf_skb_load_bytes(skb, 0, &a.eth, sizeof(a.eth)) < 0)
		return -1;
	if (old.nexthdr == IPPROTO_ICMPV6 &&
	    (bpf_skb_load_bytes(skb, TC_AT_IP + sizeof(old), &type, 1) < 0 || type < 128))
		return -1;
	path_turn(&a.eth);
	__builtin_memset(&a.ip, 0, sizeof(a.ip));
	a.ip.version = 6;
	a.ip.payload_len = bpf_htons(sizeof(a.icmp) + PATH_QUOTE);
	a.ip.nexthdr = IPPROTO_ICMPV6;
	a.ip.hop_limit = 64;
	pseudo.to = old.saddr;
	pseudo.length = bpf_htonl(sizeof(a.icmp) + PATH_QUOTE);
	pseudo.protocol = bpf_htonl(IPPROTO_ICMPV6);
	a.ip.saddr = pseudo.from;
	a.ip.daddr = pseudo.to;
	struct path_icmp icmp = {.type = PATH_TOO_BIG6, .mtu = bpf_htonl(mtu)};
	sum = bpf_csum_diff(0, 0, (__be32 *)&pseudo, sizeof(pseudo), 0);
	sum = bpf_csum_diff(0, 0, (__be32 *)&icmp, sizeof(icmp), (__u32)sum);
	icmp.check = path_fold(bpf_csum_diff(0, 0, quote, sizeof(quote), (__u32)sum));
	a.icmp = icmp;
	if (bpf_skb_change_tail(skb, sizeof(a) + PATH_QUOTE, 0) < 0 ||
	    bpf_skb_store_bytes(skb, 0, &a, sizeof(a), 0) < 0 ||
	    bpf_skb_store_bytes(skb, sizeof(a), quote, sizeof(quote), 0) < 0)
		return -1;
	return (int)bpf_redirect(skb->ifindex, 0);
}

#endif
