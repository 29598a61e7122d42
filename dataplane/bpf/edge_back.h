/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_EDGE_BACK_H
#define DATAPLANE_BPF_EDGE_BACK_H

/*
 * The way back. A container's reply is told by what speaks: its address and the port of an
 * endpoint, towards anything that is not one of the cluster's own addresses. Its source becomes the
 * address and port of the service, and it goes through the uplink marked by a MAC address of
 * nobody; that of a flow that came by another node goes back to it (clients.bpf.c). ICMP errors of
 * containers about clients' packets go the same way. Packets may be super-packets with partial
 * checksums: only helpers touch them.
 */

#include <linux/pkt_cls.h>
#include <stddef.h>
#include "dataplane/bpf/edge_asked.h"
#include "dataplane/bpf/edge_quote.h"
#include "dataplane/bpf/edge_reply.h"

enum {
	EDGE_AT_IP = sizeof(struct ethhdr),
	EDGE_AT_CHECK4 = EDGE_AT_IP + offsetof(struct iphdr, check),
	EDGE_AT_SOURCE4 = EDGE_AT_IP + offsetof(struct iphdr, saddr),
	EDGE_AT_DEST4 = EDGE_AT_IP + offsetof(struct iphdr, daddr),
	EDGE_AT_SOURCE6 = EDGE_AT_IP + offsetof(struct ipv6hdr, saddr),
	EDGE_AT_DEST6 = EDGE_AT_IP + offsetof(struct ipv6hdr, daddr),
	EDGE_CHECK_TCP = 16,
	EDGE_TCP_AT_ACK = 8,
	EDGE_TCP_AT_FLAGS = 13,
	EDGE_CHECK_UDP = 6,
	EDGE_CHECK_ICMP = 2,
	/* Of an error: headers with all that they may have before the quoted ports. */
	EDGE_QUOTE_BYTES = EDGE_AT_IP + 60 + 8 + 120 + EDGE_L4_UDP,
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
back_pass(struct __sk_buff *skb)
{
	return back_count(skb, EDGE_BACK_PASSED, TC_ACT_OK);
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

/* A flow, as its container has it, and what this packet says of one that was asked for. */
struct back_ends {
	__be16 client_port, container_port;
	__u32 protocol;
	struct asked_reply reply;
};

/* What becomes of a packet. `across` is given: whether this is about the flows that came by another
 * node, and not about the others. Of one of the other kind nothing is written, but `node` says
 * which node's it is (0: this one's). */
struct back {
	const struct edge_config *config;
	int across;
	int taken; /* it says that the ports of what was asked for are taken (edge_asked.h) */
	__u32 node;
	struct edge_asked asked;
};

enum back_result { BACK_PASS, BACK_LEAVE, BACK_OTHER };

/* Whether a packet of this flow is for who asks. */
static __always_inline int
back_is_wanted(const struct back *to)
{
	return to->across ? to->node != 0 : to->node == 0 && to->config->uplink;
}

/* What was asked for, when this packet is about it. Forgotten when it is answered, and when the
 * container begins another one: it has let this one go, and is not asked by what it says of the
 * other. That its ports are taken is remembered by the program that sends it on. */
static __always_inline const struct edge_voice *
back_asked(struct back *to, const struct edge_note *key, const struct asked_reply *reply)
{
	const struct edge_asked *a = asked_find(key, reply);
	int is_answer = reply->answer == ASKED_BEGUN || reply->answer == ASKED_DENIED;

	if (!a) {
		if (reply->answer == ASKED_BEGUN)
			bpf_map_delete_elem(&asked, key);
		return 0;
	}
	to->asked = *a;
	to->node = to->asked.voice.many;
	to->taken = reply->answer == ASKED_TAKEN;
	if (is_answer) {
		bpf_map_update_elem(&notes, key, &to->asked.voice, BPF_ANY);
		bpf_map_delete_elem(&asked, key);
	} else if (to->taken && back_is_wanted(to)) {
		to->asked.refused = 1;
		to->asked.when = asked_now();
		bpf_map_update_elem(&asked, key, &to->asked, BPF_ANY);
	}
	return &to->asked.voice;
}

/* What is noted of the flow, when it holds for this packet. A claim is known from here on, or
 * forgotten. */
static __always_inline const struct edge_voice *
back_noted(struct back *to, const struct edge_note *key, const struct asked_reply *reply)
{
	const struct edge_voice *noted = bpf_map_lookup_elem(&notes, key);
	int holds;

	if (!noted || !noted->claim)
		return noted;
	to->asked.voice = *noted;
	to->asked.voice.claim = 0;
	to->node = noted->many;
	holds = claim_holds(noted, reply);
	if (!holds || (reply->answer == ASKED_UNKNOWN && back_is_wanted(to)))
		bpf_map_delete_elem(&notes, key);
	else if (reply->answer != ASKED_UNKNOWN)
		bpf_map_update_elem(&notes, key, &to->asked.voice, BPF_ANY);
	to->node = 0;
	return holds ? &to->asked.voice : 0;
}

/* What the client knows this flow by. `own`: the client's address is one of the host's, whose own
 * connections to a container are not the balancer's. NULL: neither is the flow. */
static __always_inline const struct edge_voice *
back_voice(struct back *to, const struct edge_voice *usual, const struct edge_note *key,
	   const struct asked_reply *reply, int own)
{
	const struct edge_voice *noted = 0;

	to->node = 0;
	if (usual->many && reply->answer)
		noted = back_asked(to, key, reply);
	if (usual->many && !noted)
		noted = back_noted(to, key, reply);
	if (noted)
		to->node = noted->many;
	if ((own && !to->node) || (!noted && !usual->port))
		return 0;
	return noted ? noted : usual;
}

static __always_inline const struct edge_voice *
back_speaker4(struct back *to, __u32 client, __u32 container, const struct back_ends *e)
{
	struct edge_speaker4 key = {
		.addr = container, .port = e->container_port, .protocol = (__u8)e->protocol};
	struct edge_vip4 own = {.addr = client, .protocol = (__u8)e->protocol};
	struct edge_note note = {.client_port = e->client_port,
				 .container_port = e->container_port,
				 .protocol = e->protocol};
	const struct edge_voice *usual = bpf_map_lookup_elem(&speakers4, &key);

	if (!usual)
		return 0;
	own.port = usual->port;
	__builtin_memcpy(note.client, &client, 4);
	__builtin_memcpy(note.container, &container, 4);
	return back_voice(to, usual, &note, &e->reply, bpf_map_lookup_elem(&vips4, &own) != 0);
}

static __always_inline const struct edge_voice *
back_speaker6(struct back *to, const void *client, const void *container, const struct back_ends *e)
{
	struct edge_speaker6 key = {.port = e->container_port, .protocol = (__u8)e->protocol};
	struct edge_vip6 own = {.protocol = (__u8)e->protocol};
	struct edge_note note = {.client_port = e->client_port,
				 .container_port = e->container_port,
				 .protocol = e->protocol};
	const struct edge_voice *usual;

	__builtin_memcpy(key.addr, container, 16);
	usual = bpf_map_lookup_elem(&speakers6, &key);
	if (!usual)
		return 0;
	__builtin_memcpy(own.addr, client, 16);
	own.port = usual->port;
	__builtin_memcpy(note.client, client, 16);
	__builtin_memcpy(note.container, container, 16);
	return back_voice(to, usual, &note, &e->reply, bpf_map_lookup_elem(&vips6, &own) != 0);
}

static __always_inline enum back_result
back_unwanted(const struct back *to)
{
	return to->across || !to->node ? BACK_PASS : BACK_OTHER;
}

/* Later fragments of this packet get the same source. */
static __always_inline void
back_lead(const struct __sk_buff *skb, const struct edge_fragment *key, const struct back *to,
	  const void *source, __u32 bytes)
{
	struct edge_place place = place_of(0, skb->ifindex, key);
	struct edge_reply first = {.of = *key, .node = to->node};

	__builtin_memcpy(first.addr, source, bytes);
	reply_lead(&place, &first);
}

static __always_inline const struct edge_reply *
back_follow(const struct __sk_buff *skb, const struct edge_fragment *key)
{
	struct edge_place place = place_of(0, skb->ifindex, key);

	return reply_follow(&place, key);
}

static __always_inline __u32
back_quote_bytes(const struct __sk_buff *skb)
{
	return skb->len < EDGE_QUOTE_BYTES ? skb->len : EDGE_QUOTE_BYTES;
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
is_cluster4(const struct edge_config *c, __u32 addr)
{
	return (addr & c->cluster4_mask) == c->cluster4;
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

/* For tc_uplink. */
static __always_inline int
back_mark(struct __sk_buff *skb, int is_taken)
{
	static const __u8 reply[ETH_ALEN] = EDGE_REPLY_MAC, taken[ETH_ALEN] = EDGE_TAKEN_MAC;
	__u8 mac[ETH_ALEN];

	if (is_taken)
		__builtin_memcpy(mac, taken, ETH_ALEN);
	else
		__builtin_memcpy(mac, reply, ETH_ALEN);
	return (int)bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_dest), mac, ETH_ALEN, 0);
}

/* Options are those of another connection: its time stamps would have the packet refused (RFC 7323,
 * 5). They become data, which nobody reads in a reset. */
static __always_inline void
back_flags(struct __sk_buff *skb, __u32 l4, __u8 flags)
{
	__u8 of[2]; /* length of the header, and flags: as the checksum has them */
	__be16 old, now;

	if (bpf_skb_load_bytes(skb, l4 + EDGE_TCP_AT_FLAGS - 1, of, sizeof(of)) < 0)
		return;
	__builtin_memcpy(&old, of, sizeof(old));
	of[0] = EDGE_L4_TCP / 4 << 4;
	of[1] = flags;
	__builtin_memcpy(&now, of, sizeof(now));
	bpf_l4_csum_replace(skb, l4 + EDGE_CHECK_TCP, old, now, 2);
	bpf_skb_store_bytes(skb, l4 + EDGE_TCP_AT_FLAGS - 1, of, sizeof(of), 0);
}

/* A reset in place of an acknowledgement: it is of no connection that its reader has. What would be
 * acknowledged by a refusal is there (edge_taken.h). */
static __always_inline void
back_reset(struct __sk_buff *skb, const struct edge_head *h, __u32 sequence)
{
	__be32 old, now = bpf_htonl(sequence + 1);

	if (bpf_skb_load_bytes(skb, h->l4 + EDGE_TCP_AT_ACK, &old, sizeof(old)) < 0)
		return;
	bpf_l4_csum_replace(skb, h->l4 + EDGE_CHECK_TCP, old, now, 4);
	bpf_skb_store_bytes(skb, h->l4 + EDGE_TCP_AT_ACK, &now, sizeof(now), 0);
	back_flags(skb, h->l4, EDGE_TCP_RST);
}

/* ---- errors ---- */

static __always_inline struct back_ends
back_quoted(const struct edge_quote *q)
{
	struct back_ends ends = {q->ports[0], q->ports[1], q->h.protocol, {ASKED_NOTHING, 0}};
	__be32 sequence;

	if (q->h.protocol == IPPROTO_TCP) {
		__builtin_memcpy(&sequence, &q->ports[2], sizeof(sequence));
		ends.reply = (struct asked_reply){ASKED_REFUSED, bpf_ntohl(sequence)};
	}
	return ends;
}

/* An error about a packet of a client's: it was sent to what the client knows the service by, and
 * so says the quotation then. */
static __always_inline enum back_result
back_error4(struct __sk_buff *skb, struct back *to_whom)
{
	struct back_ends ends;
	const struct edge_voice *voice;
	struct edge_head outer;
	struct edge_icmp *icmp;
	struct iphdr *ip, *in;
	struct edge_quote q;
	void *data, *end;
	__u32 from, to;
	__u16 port;

	if (bpf_skb_pull_data(skb, back_quote_bytes(skb)) < 0)
		return BACK_PASS;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (edge_parse4(data, end, EDGE_AT_IP, &outer) < 0)
		return BACK_PASS;
	ip = data + EDGE_AT_IP;
	icmp = data + outer.l4;
	if ((void *)(icmp + 1) > end || !edge_is_error4(icmp->type) ||
	    edge_quote4(data, end, &outer, &q) < 0)
		return BACK_PASS;
	in = q.ip;
	if ((void *)(ip + 1) > end || in->daddr != ip->saddr || in->saddr != ip->daddr)
		return BACK_PASS;
	from = ip->saddr;
	ends = back_quoted(&q);
	voice = back_speaker4(to_whom, ip->daddr, from, &ends);
	if (!voice)
		return BACK_PASS;
	if (!back_is_wanted(to_whom))
		return back_unwanted(to_whom);
	__builtin_memcpy(&to, voice->addr, 4);
	port = voice->port;
	/* The quoted header's sum changes as much as its address does: together they cancel out. */
	bpf_l4_csum_replace(skb, outer.l4 + EDGE_CHECK_ICMP, ends.container_port, port, 2);
	bpf_skb_store_bytes(skb, q.h.l4 + 2, &port, sizeof(port), 0);
	bpf_l3_csum_replace(skb, q.at + offsetof(struct iphdr, check), from, to, 4);
	bpf_skb_store_bytes(skb, q.at + offsetof(struct iphdr, daddr), &to, 4, 0);
	bpf_l3_csum_replace(skb, EDGE_AT_CHECK4, from, to, 4);
	bpf_skb_store_bytes(skb, EDGE_AT_SOURCE4, &to, 4, 0);
	return BACK_LEAVE;
}

static __always_inline enum back_result
back_error6(struct __sk_buff *skb, struct back *to_whom)
{
	const struct edge_voice *voice;
	struct back_ends ends;
	struct edge_head outer;
	struct edge_icmp *icmp;
	struct ipv6hdr *ip, *in;
	__u8 from[16], to[16];
	struct edge_quote q;
	void *data, *end;
	__s64 delta;
	__u16 port;
	__u32 check;

	if (bpf_skb_pull_data(skb, back_quote_bytes(skb)) < 0)
		return BACK_PASS;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (edge_parse6(data, end, EDGE_AT_IP, &outer) < 0)
		return BACK_PASS;
	ip = data + EDGE_AT_IP;
	icmp = data + outer.l4;
	if ((void *)(icmp + 1) > end || !edge_is_error6(icmp->type) ||
	    edge_quote6(data, end, &outer, &q) < 0)
		return BACK_PASS;
	in = q.ip;
	if ((void *)(ip + 1) > end || !edge_same16(&in->daddr, &ip->saddr) ||
	    !edge_same16(&in->saddr, &ip->daddr))
		return BACK_PASS;
	__builtin_memcpy(from, &ip->saddr, 16);
	ends = back_quoted(&q);
	voice = back_speaker6(to_whom, &ip->daddr, from, &ends);
	if (!voice)
		return BACK_PASS;
	if (!back_is_wanted(to_whom))
		return back_unwanted(to_whom);
	__builtin_memcpy(to, voice->addr, 16);
	port = voice->port;
	/* The address stands twice in what is summed: in the pseudo header and in the quotation. */
	delta = bpf_csum_diff((__be32 *)(void *)from, 16, (__be32 *)(void *)to, 16, 0);
	check = outer.l4 + EDGE_CHECK_ICMP;
	bpf_l4_csum_replace(skb, check, 0, (__u64)delta, BPF_F_PSEUDO_HDR);
	bpf_l4_csum_replace(skb, check, 0, (__u64)delta, 0);
	bpf_l4_csum_replace(skb, check, ends.container_port, port, 2);
	bpf_skb_store_bytes(skb, q.h.l4 + 2, &port, sizeof(port), 0);
	bpf_skb_store_bytes(skb, q.at + offsetof(struct ipv6hdr, daddr), to, 16, 0);
	bpf_skb_store_bytes(skb, EDGE_AT_SOURCE6, to, 16, 0);
	return BACK_LEAVE;
}

/* ---- packets ---- */

static __always_inline enum back_result
back4(struct __sk_buff *skb, struct back *to_whom)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + EDGE_AT_IP;
	const struct edge_voice *voice;
	struct edge_fragment fragment;
	const struct edge_reply *first;
	struct edge_l4 *l4;
	struct edge_head h;
	__u32 from, to;
	__u16 port;

	if (edge_parse4(data, end, EDGE_AT_IP, &h) < 0 || (void *)(ip + 1) > end ||
	    is_cluster4(to_whom->config, ip->daddr))
		return BACK_PASS;
	if (h.protocol == IPPROTO_ICMP && h.part == EDGE_WHOLE)
		return back_error4(skb, to_whom);
	if (h.protocol != IPPROTO_TCP && h.protocol != IPPROTO_UDP)
		return BACK_PASS;
	from = ip->saddr;
	if (h.part != EDGE_WHOLE)
		fragment = fragment_of(&ip->saddr, &ip->daddr, 4, h.id, h.protocol);
	if (h.part == EDGE_LATER) {
		first = back_follow(skb, &fragment);
		if (!first)
			return BACK_PASS;
		to_whom->node = first->node;
		if (!back_is_wanted(to_whom))
			return back_unwanted(to_whom);
		__builtin_memcpy(&to, first->addr, 4);
		back_source4(skb, &h, from, to);
		return BACK_LEAVE;
	}
	l4 = edge_l4(data, end, &h);
	if (!l4)
		return BACK_PASS;
	struct back_ends ends = {l4->dest, l4->source, h.protocol,
				 asked_reply(&h, l4, end, skb->len)};

	voice = back_speaker4(to_whom, ip->daddr, from, &ends);
	if (!voice)
		return BACK_PASS;
	if (!back_is_wanted(to_whom))
		return back_unwanted(to_whom);
	__builtin_memcpy(&to, voice->addr, 4);
	port = voice->port;
	if (h.part == EDGE_FIRST)
		back_lead(skb, &fragment, to_whom, &to, 4);
	back_source4(skb, &h, from, to);
	back_port(skb, &h, ends.container_port, port);
	if (to_whom->taken)
		back_reset(skb, &h, to_whom->asked.sequence);
	return BACK_LEAVE;
}

static __always_inline enum back_result
back6(struct __sk_buff *skb, struct back *to_whom)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = data + EDGE_AT_IP;
	const struct edge_voice *voice;
	struct edge_fragment fragment;
	const struct edge_reply *first;
	__u8 from[16], to[16];
	struct edge_l4 *l4;
	struct edge_head h;
	__u16 port;

	if (edge_parse6(data, end, EDGE_AT_IP, &h) < 0 || (void *)(ip + 1) > end ||
	    is_cluster6(to_whom->config, &ip->daddr))
		return BACK_PASS;
	if (h.protocol == IPPROTO_ICMPV6 && h.part == EDGE_WHOLE)
		return back_error6(skb, to_whom);
	__builtin_memcpy(from, &ip->saddr, 16);
	if (h.part != EDGE_WHOLE)
		fragment = fragment_of(&ip->saddr, &ip->daddr, 16, h.id, 0);
	if (h.part == EDGE_LATER) {
		first = back_follow(skb, &fragment);
		if (!first)
			return BACK_PASS;
		to_whom->node = first->node;
		if (!back_is_wanted(to_whom))
			return back_unwanted(to_whom);
		__builtin_memcpy(to, first->addr, 16);
		back_source6(skb, &h, from, to);
		return BACK_LEAVE;
	}
	if (h.protocol != IPPROTO_TCP && h.protocol != IPPROTO_UDP)
		return BACK_PASS;
	l4 = edge_l4(data, end, &h);
	if (!l4)
		return BACK_PASS;
	struct back_ends ends = {l4->dest, l4->source, h.protocol,
				 asked_reply(&h, l4, end, skb->len)};

	voice = back_speaker6(to_whom, &ip->daddr, from, &ends);
	if (!voice)
		return BACK_PASS;
	if (!back_is_wanted(to_whom))
		return back_unwanted(to_whom);
	__builtin_memcpy(to, voice->addr, 16);
	port = voice->port;
	if (h.part == EDGE_FIRST)
		back_lead(skb, &fragment, to_whom, to, 16);
	back_source6(skb, &h, from, to);
	back_port(skb, &h, ends.container_port, port);
	if (to_whom->taken)
		back_reset(skb, &h, to_whom->asked.sequence);
	return BACK_LEAVE;
}

static __always_inline enum back_result
back_any(struct __sk_buff *skb, struct back *to)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return back4(skb, to);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return back6(skb, to);
	return BACK_PASS;
}

#endif
