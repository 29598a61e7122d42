/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_ACROSS_IN_H
#define DATAPLANE_BPF_ACROSS_IN_H

/*
 * Out of a header. Who sent it is known to be a member of the cluster (tc_enter.h); what is inside
 * is judged here: it must be of a client, which is nobody of the cluster, and of an endpoint that
 * is public.
 *
 *   for a container   to an endpoint of that replica: address and port become the container's, as
 *                     the balancer would have written them here, and by which node the flow came
 *                     is noted (edge_asked.h)
 *   for this node     from an address and port at which this node serves clients: out by the uplink
 *
 * Everything is looked at before anything is written. Packets may be super-packets with partial
 * checksums: only helpers touch them.
 */

#include "dataplane/bpf/across_out.h"

enum { ACROSS_LOOK = EDGE_QUOTE_BYTES + sizeof(struct ipv6hdr) };

struct across_in {
	const struct tc_overlay_self *me;
	const struct edge_config *config;
	const struct tc_veth_local *to; /* the container; NULL: this node */
	const struct edge_backend *backend;
	struct tc_note note;
	__u32 node; /* that it came by: own IPv4 address */
	__u32 index;
	__u32 header;
	/* Of the packet inside, as if it stood behind an Ethernet header. */
	struct edge_head head;
	__u32 quoted_at, quoted_l4; /* of an error: the packet that it is about; 0: is none */
	__u16 from_port, to_port;   /* what the port of the service is, and is to be */
	__be32 sequence;            /* of TCP */
	__u8 flags;
	__u8 taken; /* the header says that a client's ports are taken (edge_asked.h) */
};

static __always_inline int
across_refuse(struct __sk_buff *skb, struct across_in *in, enum flow_reason reason)
{
	in->note.reason = reason;
	return tc_drop(skb, &in->note);
}

/* ---- who ---- */

/* Nobody of the cluster, and somebody. */
static __always_inline int
across_is_client4(const struct across_in *in, __u32 addr)
{
	__u8 first = (__u8)(bpf_ntohl(addr) >> 24);

	return !is_cluster4(in->config, addr) && first != 0 && first != 127 && first < 224 &&
	       !overlay_peer4(addr) && !bpf_map_lookup_elem(&local4, &addr);
}

static __always_inline int
across_is_client6(const struct across_in *in, const struct in6_addr *a)
{
	struct tc_veth_key6 key;

	__builtin_memcpy(key.addr, a, sizeof(key.addr));
	return !is_cluster6(in->config, a) && a->s6_addr[0] != 0xff &&
	       !(a->s6_addr[0] == 0xfe && (a->s6_addr[1] & 0xc0) == 0x80) &&
	       (a->s6_addr32[0] | a->s6_addr32[1] | a->s6_addr32[2] |
		(a->s6_addr32[3] & ~bpf_htonl(1))) != 0 &&
	       !overlay_peer6(a) && !bpf_map_lookup_elem(&local6, &key);
}

/* Looked at once more: Linux 6.1's verifier forgets over the search for the endpoint that a header
 * of TCP was there, and the compiler shall not know that it was. */
static __always_inline int
across_syn(struct across_in *in, const struct edge_l4 *l4, void *end, __u32 protocol)
{
	if (protocol != IPPROTO_TCP)
		return 0;
	asm volatile("" : "+r"(end));
	if ((void *)l4 + EDGE_L4_TCP > end)
		return -1;
	in->flags = l4->flags;
	in->sequence = l4->sequence;
	return 0;
}

/* ---- which endpoint ---- */

static __always_inline int
across_backend(struct across_in *in, const __u32 *index)
{
	if (!index)
		return -1;
	in->index = *index;
	in->backend = backend_at(in->index);
	if (!in->backend || !(in->backend->flags & EDGE_BACKEND_LOCAL))
		return -1;
	in->to_port = in->backend->port;
	return 0;
}

static __always_inline int
across_endpoint4(struct across_in *in, __u32 container, __u16 port, __u32 protocol)
{
	struct edge_speaker4 key = {.addr = container, .port = port, .protocol = (__u8)protocol};

	in->from_port = port;
	return across_backend(in, bpf_map_lookup_elem(&endpoints4, &key));
}

static __always_inline int
across_endpoint6(struct across_in *in, const void *container, __u16 port, __u32 protocol)
{
	struct edge_speaker6 key = {.port = port, .protocol = (__u8)protocol};

	__builtin_memcpy(key.addr, container, 16);
	in->from_port = port;
	return across_backend(in, bpf_map_lookup_elem(&endpoints6, &key));
}

/* ---- the bytes ---- */

/* The header goes; a device without Ethernet headers gives none to the packet either. */
static __always_inline int
across_unwrap(struct __sk_buff *skb, struct across_in *in)
{
	struct ethhdr eth = {.h_proto = (__be16)skb->protocol};

	if (bpf_skb_adjust_room(skb, -(__s32)in->header, BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_FIXED_GSO) < 0)
		return -1;
	if (in->note.place != MSG_FLOW_TUNNEL)
		return 0;
	if (bpf_skb_change_head(skb, sizeof(eth), 0) < 0 ||
	    bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0) < 0)
		return -1;
	in->note.at = TC_AT_IP;
	return 0;
}

static __always_inline int
across_to_container(struct __sk_buff *skb, struct across_in *in)
{
	if (bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_dest), in->to->mac, ETH_ALEN, 0) < 0)
		return across_refuse(skb, in, FLOW_SHORT);
	count_leaving(in->backend, in->index);
	in->note.way = MSG_FLOW_LOCAL;
	return tc_pass(skb, &in->note, (int)bpf_redirect_peer(in->to->ifindex, 0));
}

static __always_inline int
across_to_client(struct __sk_buff *skb, struct across_in *in)
{
	if (!in->config->uplink)
		return across_refuse(skb, in, FLOW_NO_WAY);
	if (across_hop(skb) < 0)
		return across_refuse(skb, in, FLOW_HOPS);
	if (back_mark(skb, in->taken) < 0)
		return across_refuse(skb, in, FLOW_SHORT);
	in->note.way = MSG_FLOW_STACK;
	return tc_pass(skb, &in->note, (int)bpf_redirect(in->config->uplink, 0));
}

/* The quoted packet is the one that is turned round: the service is its source. */
static __always_inline void
across_port(struct __sk_buff *skb, const struct across_in *in)
{
	const struct edge_head *h = &in->head;
	__u32 check = h->l4 + (h->protocol == IPPROTO_TCP ? EDGE_CHECK_TCP : EDGE_CHECK_UDP);
	__u16 port = in->to_port;

	if (in->from_port == port)
		return;
	bpf_l4_csum_replace(skb, check, in->from_port, port,
			    2 | (h->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0));
	bpf_skb_store_bytes(skb, h->l4 + 2, &port, sizeof(port), 0);
}

#include "dataplane/bpf/across_in4.h"
#include "dataplane/bpf/across_in6.h"

static __always_inline int
across_in(struct __sk_buff *skb)
{
	struct across_in in = {.me = overlay_me(), .note = tc_note_get(skb)};
	__u32 zero = 0, look = skb->len < ACROSS_LOOK ? skb->len : ACROSS_LOOK;

	in.config = bpf_map_lookup_elem(&config, &zero);
	if (!in.me || !in.config || bpf_skb_pull_data(skb, look) < 0)
		return across_refuse(skb, &in, FLOW_SHORT);
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return across_in4(skb, &in);
	return across_in6(skb, &in);
}

#endif
