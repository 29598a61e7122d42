/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_EDGE_BACK_H
#define DATAPLANE_BPF_EDGE_BACK_H

/*
 * The way back. A container's reply is told by what speaks: its address and the port of an
 * endpoint, towards anything that is not one of the cluster's own addresses. Its source becomes the
 * address and port of the service, and it goes through the uplink marked by a MAC address of
 * nobody. Packets may be super-packets with partial checksums: only helpers touch them.
 */

#include <linux/pkt_cls.h>
#include <stddef.h>
#include "dataplane/bpf/edge_maps.h"
#include "dataplane/bpf/edge_parse.h"

enum {
	EDGE_AT_IP = sizeof(struct ethhdr),
	EDGE_AT_CHECK4 = EDGE_AT_IP + offsetof(struct iphdr, check),
	EDGE_AT_SOURCE4 = EDGE_AT_IP + offsetof(struct iphdr, saddr),
	EDGE_AT_SOURCE6 = EDGE_AT_IP + offsetof(struct ipv6hdr, saddr),
	EDGE_CHECK_TCP = 16,
	EDGE_CHECK_UDP = 6,
};

static __always_inline int
back_count(struct __sk_buff *skb, enum edge_back which, int action)
{
	__u32 key = which;
	struct edge_count *n = bpf_map_lookup_elem(&backs, &key);

	if (n) {
		n->packets++;
		n->bytes += skb->len;
	}
	return action;
}

static __always_inline int
back_leave(struct __sk_buff *skb, const struct edge_config *c)
{
	static const __u8 reply[ETH_ALEN] = EDGE_REPLY_MAC;
	__u8 mac[ETH_ALEN];

	__builtin_memcpy(mac, reply, ETH_ALEN);
	if (bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_dest), mac, ETH_ALEN, 0) < 0)
		return back_count(skb, EDGE_BACK_DROPPED, TC_ACT_SHOT);
	return back_count(skb, EDGE_BACK_REDIRECTED, (int)bpf_redirect(c->uplink, 0));
}

static __always_inline void
back_port(struct __sk_buff *skb, const struct edge_head *h, __u16 from, __u16 to)
{
	__u32 check = h->l4 + (h->protocol == IPPROTO_TCP ? EDGE_CHECK_TCP : EDGE_CHECK_UDP);

	if (from == to)
		return;
	bpf_l4_csum_replace(skb, check, from, to,
			    2 | (h->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0));
	bpf_skb_store_bytes(skb, h->l4, &to, sizeof(to), 0);
}

/* The host's own connections to a container are not the balancer's. */
static __always_inline int
back_is_own4(__u32 addr, __u16 port, __u8 protocol)
{
	struct edge_vip4 key = {.addr = addr, .port = port, .protocol = protocol};

	return bpf_map_lookup_elem(&vips4, &key) != 0;
}

static __always_inline int
back_is_own6(const void *addr, __u16 port, __u8 protocol)
{
	struct edge_vip6 key = {.port = port, .protocol = protocol};

	__builtin_memcpy(key.addr, addr, 16);
	return bpf_map_lookup_elem(&vips6, &key) != 0;
}

/* What the client knows this flow by. */
static __always_inline const struct edge_voice *
back_voice(const struct edge_voice *usual, const struct edge_note *key)
{
	const struct edge_voice *noted;

	if (!usual->many)
		return usual;
	noted = bpf_map_lookup_elem(&notes, key);
	return noted ? noted : usual;
}

static __always_inline void
back_source4(struct __sk_buff *skb, const struct edge_head *h, __u32 from, __u32 to)
{
	__u32 check = h->l4 + (h->protocol == IPPROTO_TCP ? EDGE_CHECK_TCP : EDGE_CHECK_UDP);

	if (h->part != EDGE_LATER)
		bpf_l4_csum_replace(
			skb, check, from, to,
			4 | BPF_F_PSEUDO_HDR |
				(h->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0));
	bpf_l3_csum_replace(skb, EDGE_AT_CHECK4, from, to, 4);
	bpf_skb_store_bytes(skb, EDGE_AT_SOURCE4, &to, sizeof(to), 0);
}

static __always_inline int
back4(struct __sk_buff *skb, const struct edge_config *c)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct edge_fragment fragment = {0};
	struct edge_speaker4 key = {0};
	const struct edge_voice *voice;
	struct edge_note note = {0};
	struct edge_follow *follow;
	struct edge_l4 *l4;
	struct edge_head h;
	struct iphdr *ip;
	__u32 from, to;

	if (edge_parse4(data, end, EDGE_AT_IP, &h) < 0 ||
	    (h.protocol != IPPROTO_TCP && h.protocol != IPPROTO_UDP))
		return back_count(skb, EDGE_BACK_PASSED, TC_ACT_OK);
	ip = data + EDGE_AT_IP;
	if ((void *)(ip + 1) > end || (ip->daddr & c->cluster4_mask) == c->cluster4)
		return back_count(skb, EDGE_BACK_PASSED, TC_ACT_OK);
	from = ip->saddr;
	if (h.part != EDGE_WHOLE) {
		fragment.id = h.id;
		fragment.protocol = h.protocol;
		__builtin_memcpy(fragment.source, &ip->saddr, 4);
		__builtin_memcpy(fragment.dest, &ip->daddr, 4);
	}
	if (h.part == EDGE_LATER) {
		follow = bpf_map_lookup_elem(&fragments, &fragment);
		if (!follow)
			return back_count(skb, EDGE_BACK_PASSED, TC_ACT_OK);
		__builtin_memcpy(&to, follow->addr, 4);
		back_source4(skb, &h, from, to);
		return back_leave(skb, c);
	}
	l4 = edge_l4(data, end, &h);
	if (!l4)
		return back_count(skb, EDGE_BACK_PASSED, TC_ACT_OK);
	key.addr = from;
	key.port = l4->source;
	key.protocol = (__u8)h.protocol;
	voice = bpf_map_lookup_elem(&speakers4, &key);
	if (!voice || back_is_own4(ip->daddr, voice->port, key.protocol))
		return back_count(skb, EDGE_BACK_PASSED, TC_ACT_OK);
	__builtin_memcpy(note.client, &ip->daddr, 4);
	__builtin_memcpy(note.container, &from, 4);
	note.client_port = l4->dest;
	note.container_port = l4->source;
	note.protocol = h.protocol;
	voice = back_voice(voice, &note);
	__builtin_memcpy(&to, voice->addr, 4);
	if (h.part == EDGE_FIRST) {
		struct edge_follow lead = {0};

		__builtin_memcpy(lead.addr, &to, 4);
		bpf_map_update_elem(&fragments, &fragment, &lead, BPF_ANY);
	}
	__u16 port = voice->port;

	back_source4(skb, &h, from, to);
	back_port(skb, &h, key.port, port);
	return back_leave(skb, c);
}

static __always_inline int
is_cluster6(const struct edge_config *c, const struct in6_addr *a)
{
	const __u16 *prefix = (const __u16 *)(const void *)c->cluster6;

#pragma unroll
	for (__u32 i = 0; i < 8; i++)
		if (i < c->cluster6_words && a->s6_addr16[i] != prefix[i])
			return 0;
	return c->cluster6_words > 0;
}

static __always_inline void
back_source6(struct __sk_buff *skb, const struct edge_head *h, __u8 *from, __u8 *to)
{
	__u32 check = h->l4 + (h->protocol == IPPROTO_TCP ? EDGE_CHECK_TCP : EDGE_CHECK_UDP);
	__s64 delta = bpf_csum_diff((__be32 *)(void *)from, 16, (__be32 *)(void *)to, 16, 0);

	if (h->part != EDGE_LATER)
		bpf_l4_csum_replace(
			skb, check, 0, (__u64)delta,
			BPF_F_PSEUDO_HDR | (h->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0));
	bpf_skb_store_bytes(skb, EDGE_AT_SOURCE6, to, 16, 0);
}

static __always_inline int
back6(struct __sk_buff *skb, const struct edge_config *c)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct edge_fragment fragment = {0};
	struct edge_speaker6 key = {0};
	const struct edge_voice *voice;
	struct edge_note note = {0};
	struct edge_follow *follow;
	__u8 from[16], to[16];
	struct ipv6hdr *ip;
	struct edge_l4 *l4;
	struct edge_head h;

	if (edge_parse6(data, end, EDGE_AT_IP, &h) < 0)
		return back_count(skb, EDGE_BACK_PASSED, TC_ACT_OK);
	ip = data + EDGE_AT_IP;
	if ((void *)(ip + 1) > end || is_cluster6(c, &ip->daddr))
		return back_count(skb, EDGE_BACK_PASSED, TC_ACT_OK);
	__builtin_memcpy(from, &ip->saddr, 16);
	if (h.part != EDGE_WHOLE) {
		fragment.id = h.id;
		__builtin_memcpy(fragment.source, &ip->saddr, 16);
		__builtin_memcpy(fragment.dest, &ip->daddr, 16);
	}
	if (h.part == EDGE_LATER) {
		follow = bpf_map_lookup_elem(&fragments, &fragment);
		if (!follow)
			return back_count(skb, EDGE_BACK_PASSED, TC_ACT_OK);
		__builtin_memcpy(to, follow->addr, 16);
		back_source6(skb, &h, from, to);
		return back_leave(skb, c);
	}
	if (h.protocol != IPPROTO_TCP && h.protocol != IPPROTO_UDP)
		return back_count(skb, EDGE_BACK_PASSED, TC_ACT_OK);
	l4 = edge_l4(data, end, &h);
	if (!l4)
		return back_count(skb, EDGE_BACK_PASSED, TC_ACT_OK);
	__builtin_memcpy(key.addr, from, 16);
	key.port = l4->source;
	key.protocol = (__u8)h.protocol;
	voice = bpf_map_lookup_elem(&speakers6, &key);
	if (!voice || back_is_own6(&ip->daddr, voice->port, key.protocol))
		return back_count(skb, EDGE_BACK_PASSED, TC_ACT_OK);
	__builtin_memcpy(note.client, &ip->daddr, 16);
	__builtin_memcpy(note.container, from, 16);
	note.client_port = l4->dest;
	note.container_port = l4->source;
	note.protocol = h.protocol;
	voice = back_voice(voice, &note);
	__builtin_memcpy(to, voice->addr, 16);
	if (h.part == EDGE_FIRST) {
		struct edge_follow lead = {0};

		__builtin_memcpy(lead.addr, to, 16);
		bpf_map_update_elem(&fragments, &fragment, &lead, BPF_ANY);
	}
	__u16 port = voice->port;

	back_source6(skb, &h, from, to);
	back_port(skb, &h, key.port, port);
	return back_leave(skb, c);
}

static __always_inline int
back(struct __sk_buff *skb)
{
	__u32 zero = 0;
	const struct edge_config *c = bpf_map_lookup_elem(&config, &zero);

	if (!c || !c->uplink)
		return back_count(skb, EDGE_BACK_PASSED, TC_ACT_OK);
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return back4(skb, c);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return back6(skb, c);
	return back_count(skb, EDGE_BACK_PASSED, TC_ACT_OK);
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
uplink(struct __sk_buff *skb)
{
	static const __u8 reply[ETH_ALEN] = EDGE_REPLY_MAC;
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct edge_config *c;
	__u32 zero = 0, out;

	if ((void *)(eth + 1) > end)
		return TC_ACT_OK;
#pragma unroll
	for (int i = 0; i < ETH_ALEN; i++)
		if (eth->h_dest[i] != reply[i])
			return TC_ACT_OK;
	c = bpf_map_lookup_elem(&config, &zero);
	out = c && c->out ? c->out : uplink_route(skb);
	if (!out)
		return back_count(skb, EDGE_BACK_DROPPED, TC_ACT_SHOT);
	return (int)bpf_redirect_neigh(out, 0, 0, 0);
}

#endif
