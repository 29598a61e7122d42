/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_ACROSS_OUT_H
#define DATAPLANE_BPF_ACROSS_OUT_H

/*
 * Into a header, and out to another node. It goes the way that a packet of the node itself goes:
 * sealed, unless both nodes say that the network is trusted (docs/decisions/016). Clients' segments
 * are kept to what the path takes besides the header, in both directions; what is larger all the
 * same is answered as on any path (tc_path.h).
 *
 * The header says nothing of congestion (RFC 6040, compatibility mode): the client's own packet
 * keeps what it says, and nothing is to be taken over when the header is taken off.
 */

#include "dataplane/bpf/edge_back.h"
#include "dataplane/bpf/tc_path.h"
#include "dataplane/bpf/tc_wrap.h"

enum {
	ACROSS_TTL = 64,
	/* Traffic class of a header: that the ports of a client's connection are taken
	 * (edge_asked.h). A code point of pool 2, for local use (RFC 2474, 6). */
	ACROSS_TAKEN = 0x0c,
	ACROSS_AT_TTL4 = EDGE_AT_IP + offsetof(struct iphdr, ttl),
	ACROSS_AT_HOPS6 = EDGE_AT_IP + offsetof(struct ipv6hdr, hop_limit),
};

struct across {
	const struct tc_overlay_self *me;
	const struct tc_overlay_peer *peer;
	struct path_head head; /* of the client's packet */
	struct tc_note note;
	__u32 header;       /* bytes of the one that is put before */
	__u32 network_head; /* of the client's: the same */
	__u32 limit;        /* of the client's packet, with its network header */
	__u16 container;    /* of a reply: whose it is, for those that come in fragments */
	__u8 class;         /* 0 or ACROSS_TAKEN */
};

static __always_inline int
across_drop(struct __sk_buff *skb, struct across *a, enum flow_reason reason)
{
	a->note.reason = reason;
	return tc_drop(skb, &a->note);
}

/* The peer is known: which way, and how much it takes. */
static __always_inline enum flow_reason
across_choose(struct across *a)
{
	__u32 mtu = a->me->mtu;

	if (!(a->peer->flags & TC_PEER_MEMBER))
		return FLOW_NO_WAY;
	a->note.peer = a->peer->id;
	if (a->peer->flags & TC_PEER_TRUSTED && a->peer->flags & TC_PEER_PLAIN && a->me->ifindex) {
		a->note.way = MSG_FLOW_PLAIN;
	} else if (a->peer->flags & TC_PEER_SEALED && a->me->tunnel) {
		a->note.way = MSG_FLOW_SEALED;
		mtu = a->peer->mtu ? a->peer->mtu : mtu;
	} else {
		return FLOW_NO_WAY;
	}
	a->limit = mtu - a->header;
	return FLOW_PASSED;
}

static __always_inline int
across_begin(struct across *a, enum msg_flow_place place)
{
	__builtin_memset(a, 0, sizeof(*a));
	a->me = overlay_me();
	a->note.place = place;
	a->note.at = a->head.ip = TC_AT_IP;
	return a->me ? 0 : -1;
}

/* Where the transport header is, as far as sizes need it. */
static __always_inline int
across_look4(struct __sk_buff *skb, struct across *a)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, TC_AT_IP, &ip, sizeof(ip)) < 0)
		return -1;
	a->header = a->network_head = sizeof(ip);
	a->head.l4 = TC_AT_IP + ip.ihl * 4;
	a->head.protocol = ip.frag_off & bpf_htons(0x1fff) ? 0 : ip.protocol;
	return 0;
}

static __always_inline int
across_look6(struct __sk_buff *skb, struct across *a)
{
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, TC_AT_IP, &ip, sizeof(ip)) < 0)
		return -1;
	a->header = a->network_head = sizeof(ip);
	a->head.l4 = TC_AT_IP + sizeof(ip);
	a->head.protocol = ip.nexthdr;
	return 0;
}

static __always_inline int
across_look(struct __sk_buff *skb, struct across *a)
{
	return skb->protocol == bpf_htons(ETH_P_IP) ? across_look4(skb, a) : across_look6(skb, a);
}

static __always_inline int
across_go(struct __sk_buff *skb, struct across *a)
{
	a->note.at = TC_AT_IP + a->header; /* what is told is the client's packet */
	if (a->note.way == MSG_FLOW_SEALED)
		return tc_pass(skb, &a->note, (int)bpf_redirect(a->me->tunnel, 0));
	if (overlay_wrap(skb, a->me, a->peer) < 0)
		return across_drop(skb, a, FLOW_TUNNEL);
	skb->mark = OVERLAY_MARK;
	return tc_pass(skb, &a->note, (int)bpf_redirect(a->me->ifindex, 0));
}

static __always_inline int
across_wrap4(struct __sk_buff *skb, struct across *a, __u32 to)
{
	struct iphdr ip = {.version = 4,
			   .ihl = 5,
			   .tos = a->class,
			   .ttl = ACROSS_TTL,
			   .protocol = IPPROTO_IPIP,
			   .id = bpf_htons(a->container),
			   .frag_off = bpf_htons(0x4000), /* as long as it is said to be */
			   .saddr = a->me->own4,
			   .daddr = to};

	if (!ip.saddr ||
	    bpf_skb_adjust_room(skb, sizeof(ip), BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_FIXED_GSO) < 0)
		return across_drop(skb, a, FLOW_SHORT);
	ip.tot_len = bpf_htons((__u16)(skb->len - TC_AT_IP));
	ip.check = path_fold(bpf_csum_diff(0, 0, (__be32 *)(void *)&ip, sizeof(ip), 0));
	if (bpf_skb_store_bytes(skb, TC_AT_IP, &ip, sizeof(ip), 0) < 0)
		return across_drop(skb, a, FLOW_SHORT);
	return across_go(skb, a);
}

static __always_inline int
across_wrap6(struct __sk_buff *skb, struct across *a, const void *to)
{
	struct ipv6hdr ip = {.version = 6, .nexthdr = IPPROTO_IPV6, .hop_limit = ACROSS_TTL};

	ip.priority = a->class >> 4;
	ip.flow_lbl[0] = (__u8)(a->class << 4);
	ip.flow_lbl[1] = (__u8)(a->container >> 8);
	ip.flow_lbl[2] = (__u8)a->container;
	__builtin_memcpy(&ip.saddr, a->me->own6, sizeof(ip.saddr));
	__builtin_memcpy(&ip.daddr, to, sizeof(ip.daddr));
	if (bpf_skb_adjust_room(skb, sizeof(ip), BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | BPF_F_ADJ_ROOM_FIXED_GSO) < 0)
		return across_drop(skb, a, FLOW_SHORT);
	ip.payload_len = bpf_htons((__u16)(skb->len - TC_AT_IP - sizeof(ip)));
	if (bpf_skb_store_bytes(skb, TC_AT_IP, &ip, sizeof(ip), 0) < 0)
		return across_drop(skb, a, FLOW_SHORT);
	return across_go(skb, a);
}

/* ---- hops ---- */

/* One less; -1: there is none left. */
static __always_inline int
across_hop(struct __sk_buff *skb)
{
	__u8 hops[2]; /* with the protocol behind it, as the checksum has them */
	__be16 old, now;

	if (skb->protocol != bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, ACROSS_AT_HOPS6, hops, 1) < 0 || hops[0] <= 1)
			return -1;
		hops[0]--;
		return (int)bpf_skb_store_bytes(skb, ACROSS_AT_HOPS6, hops, 1, 0);
	}
	if (bpf_skb_load_bytes(skb, ACROSS_AT_TTL4, hops, 2) < 0 || hops[0] <= 1)
		return -1;
	__builtin_memcpy(&old, hops, 2);
	hops[0]--;
	__builtin_memcpy(&now, hops, 2);
	bpf_l3_csum_replace(skb, EDGE_AT_CHECK4, old, now, 2);
	return (int)bpf_skb_store_bytes(skb, ACROSS_AT_TTL4, hops, 1, 0);
}

/* ---- a client's packet to another node ---- */

/* The service's address says it, by the way that replies take. */
static __always_inline int
across_answer(struct __sk_buff *skb, struct across *a)
{
	static const __u8 reply[ETH_ALEN] = EDGE_REPLY_MAC;
	struct in6_addr to6;
	__u8 mac[ETH_ALEN];
	__u32 to4;
	int verdict;

	if (!tc_allow(TC_BUDGET_ANSWERS, TC_ANSWERS_A_SECOND))
		return across_drop(skb, a, FLOW_TOO_LARGE);
	__builtin_memcpy(mac, reply, ETH_ALEN);
	if (bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_source), mac, ETH_ALEN, 0) < 0)
		return across_drop(skb, a, FLOW_SHORT);
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, EDGE_AT_DEST4, &to4, sizeof(to4)) < 0)
			return across_drop(skb, a, FLOW_SHORT);
		verdict = path_answer4(skb, to4, a->limit);
	} else {
		if (bpf_skb_load_bytes(skb, EDGE_AT_DEST6, &to6, sizeof(to6)) < 0)
			return across_drop(skb, a, FLOW_SHORT);
		verdict = path_answer6(skb, &to6, a->limit);
	}
	if (verdict < 0)
		return across_drop(skb, a, FLOW_TOO_LARGE);
	tc_count(TC_COUNT_DROP(a->note.place, FLOW_TOO_LARGE));
	return verdict;
}

static __always_inline int
across_send(struct __sk_buff *skb, struct across *a, const struct edge_backend *b)
{
	enum flow_reason reason;
	__u8 to[16];
	int v4 = skb->protocol == bpf_htons(ETH_P_IP);

	if (across_look(skb, a) < 0)
		return across_drop(skb, a, FLOW_SHORT);
	__builtin_memcpy(to, b->addr6, sizeof(to));
	a->peer = v4 ? overlay_peer4(b->addr4) : overlay_peer6((const struct in6_addr *)to);
	reason = a->peer ? across_choose(a) : FLOW_NO_WAY;
	if (reason != FLOW_PASSED)
		return across_drop(skb, a, reason);
	if (path_bytes(skb, &a->head) > a->limit)
		return across_answer(skb, a);
	path_clamp(skb, &a->head, a->network_head, a->limit);
	if (across_hop(skb) < 0)
		return across_drop(skb, a, FLOW_HOPS);
	return v4 ? across_wrap4(skb, a, b->addr4) : across_wrap6(skb, a, to);
}

static __always_inline int
across_out(struct __sk_buff *skb)
{
	struct edge_across_mac mac;
	const struct edge_backend *b;
	struct across a;
	__u32 index;
	__u16 family;

	if (bpf_skb_load_bytes(skb, 0, &mac, sizeof(mac)) < 0 ||
	    mac.mark[0] != bpf_htons(EDGE_ACROSS_MARK0) ||
	    mac.mark[1] != bpf_htons(EDGE_ACROSS_MARK1))
		return TC_ACT_OK;
	if (across_begin(&a, MSG_FLOW_UPLINK) < 0)
		return across_drop(skb, &a, FLOW_NO_WAY);
	index = mac.backend;
	b = bpf_map_lookup_elem(&backends, &index);
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		family = EDGE_BACKEND_V4;
		break;
	case bpf_htons(ETH_P_IPV6):
		family = EDGE_BACKEND_V6;
		break;
	default:
		return across_drop(skb, &a, FLOW_SOURCE);
	}
	if (!b || b->generation != mac.generation || !(b->flags & EDGE_BACKEND_AWAY) ||
	    !(b->flags & family))
		return across_drop(skb, &a, FLOW_DESTINATION);
	return across_send(skb, &a, b);
}

/* ---- a container's reply to the node that its client came to ---- */

/* To the node with this own IPv4 address. */
static __always_inline enum flow_reason
across_return(struct __sk_buff *skb, struct across *a, __u32 node)
{
	if (across_begin(a, MSG_FLOW_VETH) < 0)
		return FLOW_NO_WAY;
	if (across_look(skb, a) < 0)
		return FLOW_SHORT;
	a->peer = overlay_peer4(node);
	return a->peer && a->peer->own4 == node ? across_choose(a) : FLOW_NO_WAY;
}

/* cb[0]: that node. What is too large is answered before anything of it is written. */
static __always_inline int
across_back(struct __sk_buff *skb)
{
	__u32 zero = 0, node = skb->cb[0];
	const struct edge_config *c = bpf_map_lookup_elem(&config, &zero);
	struct back to = {.config = c, .across = 1};
	struct across a;
	enum flow_reason reason = across_return(skb, &a, node);

	if (reason != FLOW_PASSED || !c)
		return across_drop(skb, &a, c ? reason : FLOW_NO_WAY);
	if (path_bytes(skb, &a.head) > a.limit) {
		tc_note_put(skb, &a.note, a.limit);
		bpf_tail_call(skb, &stages, TC_STAGE_TOO_LARGE);
		return across_drop(skb, &a, FLOW_TOO_LARGE);
	}
	if (back_any(skb, &to) != BACK_LEAVE || to.node != node)
		return across_drop(skb, &a, FLOW_ENDPOINT);
	skb->cb[0] = node;
	skb->cb[1] = to.taken ? ACROSS_TAKEN : 0;
	bpf_tail_call(skb, &stages, TC_STAGE_RETURN);
	return across_drop(skb, &a, FLOW_ENDPOINT);
}

/* What it says the service said is written: into the header with it. A program of its own because
 * of the verifier, which would look at every way to come here. */
static __always_inline int
across_back_wrap(struct __sk_buff *skb)
{
	__u32 node = skb->cb[0], class = skb->cb[1];
	struct across a;
	enum flow_reason reason = across_return(skb, &a, node);
	__u8 own6[16];

	if (reason != FLOW_PASSED)
		return across_drop(skb, &a, reason);
	__builtin_memcpy(own6, a.peer->own6, sizeof(own6));
	path_clamp(skb, &a.head, a.network_head, a.limit);
	a.container = (__u16)skb->ifindex;
	a.class = (__u8) class;
	back_count(skb, EDGE_BACK_REDIRECTED, 0);
	return skb->protocol == bpf_htons(ETH_P_IP) ? across_wrap4(skb, &a, node)
						    : across_wrap6(skb, &a, own6);
}

#endif
