/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_ACROSS_IN6_H
#define DATAPLANE_BPF_ACROSS_IN6_H

/* IPv6 in IPv6: a part of across_in.h. */

struct across_view6 {
	void *data, *end;
	struct ipv6hdr *outer, *ip;
	struct edge_head h; /* of the one inside, offsets as they are */
};

static __always_inline int
across_view6(struct __sk_buff *skb, struct across_in *in, struct across_view6 *v)
{
	const struct tc_overlay_peer *peer;
	__u32 at = in->note.at & 0xff;

	v->data = (void *)(long)skb->data;
	v->end = (void *)(long)skb->data_end;
	v->outer = v->data + at;
	v->ip = v->outer + 1;
	if ((void *)(v->ip + 1) > v->end ||
	    edge_parse6(v->data, v->end, at + sizeof(*v->outer), &v->h) < 0)
		return -1;
	in->header = sizeof(*v->outer);
	in->head = v->h;
	in->head.l4 = v->h.l4 + TC_AT_IP - at - sizeof(*v->outer);
	peer = overlay_peer6(&v->outer->saddr);
	in->node = peer ? peer->own4 : 0;
	in->taken = v->outer->priority == ACROSS_TAKEN >> 4 &&
		    v->outer->flow_lbl[0] >> 4 == (ACROSS_TAKEN & 0xf);
	return in->node ? 0 : -1;
}

/* ---- for a container ---- */

static __always_inline enum flow_reason
across_error6(struct across_in *in, const struct across_view6 *v)
{
	struct edge_icmp *icmp = v->data + v->h.l4;
	struct edge_quote q;
	struct ipv6hdr *about;

	if ((void *)(icmp + 1) > v->end || !edge_is_error6(icmp->type) ||
	    edge_quote6(v->data, v->end, &v->h, &q) < 0)
		return FLOW_CLIENT;
	about = q.ip;
	if (!edge_same16(&about->saddr, &v->ip->daddr))
		return FLOW_CLIENT;
	in->quoted_at = q.at - v->h.l4 + in->head.l4;
	in->quoted_l4 = q.h.l4 - v->h.l4 + in->head.l4;
	return across_endpoint6(in, &v->outer->daddr, q.ports[0], q.h.protocol) < 0 ? FLOW_ENDPOINT
										    : FLOW_PASSED;
}

static __always_inline enum flow_reason
across_later6(struct across_in *in, const struct across_view6 *v)
{
	struct edge_fragment key = fragment_of(&v->ip->saddr, &v->ip->daddr, 16, v->h.id, 0);

	in->backend = follow(&key, &in->index);
	return in->backend && edge_same16(in->backend->addr6, &v->outer->daddr) ? FLOW_PASSED
										: FLOW_ENDPOINT;
}

static __always_inline void
across_note6(const struct across_in *in, const struct across_view6 *v, const struct edge_l4 *l4)
{
	struct edge_note key = {.client_port = l4->source,
				.container_port = in->to_port,
				.protocol = v->h.protocol};
	struct edge_voice voice = {.port = l4->dest, .many = in->node};

	__builtin_memcpy(key.client, &v->ip->saddr, 16);
	__builtin_memcpy(key.container, &v->outer->daddr, 16);
	__builtin_memcpy(voice.addr, &v->ip->daddr, 16);
	asked_note(&key, &voice, in->flags, in->sequence, 0);
}

static __always_inline enum flow_reason
across_whose6(const struct __sk_buff *skb, struct across_in *in, const struct across_view6 *v)
{
	__u32 bytes = skb->gso_size ? skb->gso_size + 60 : v->h.length;
	struct edge_l4 *l4;

	if (!across_is_client6(in, &v->ip->saddr))
		return FLOW_CLIENT;
	if (bytes > in->me->mtu)
		return FLOW_TOO_LARGE;
	if (v->h.protocol == IPPROTO_ICMPV6 && v->h.part == EDGE_WHOLE)
		return across_error6(in, v);
	if (v->h.part == EDGE_LATER)
		return across_later6(in, v);
	if (v->h.protocol != IPPROTO_TCP && v->h.protocol != IPPROTO_UDP)
		return FLOW_CLIENT;
	l4 = edge_l4(v->data, v->end, &v->h);
	if (!l4)
		return FLOW_SHORT;
	if (across_endpoint6(in, &v->outer->daddr, l4->dest, v->h.protocol) < 0)
		return FLOW_ENDPOINT;
	if (across_syn(in, l4, v->end, v->h.protocol) < 0)
		return FLOW_SHORT;
	across_note6(in, v, l4);
	if (v->h.part == EDGE_FIRST)
		lead(fragment_of(&v->ip->saddr, &v->ip->daddr, 16, v->h.id, 0), in->index,
		     in->backend);
	return FLOW_PASSED;
}

static __always_inline void
across_put_dest6(struct __sk_buff *skb, const struct across_in *in, __s64 delta, __u8 *to)
{
	const struct edge_head *h = &in->head;
	__u32 check = h->l4 + (h->protocol == IPPROTO_TCP ? EDGE_CHECK_TCP : EDGE_CHECK_UDP);

	if (!in->quoted_at && h->part != EDGE_LATER) {
		bpf_l4_csum_replace(
			skb, check, 0, (__u64)delta,
			BPF_F_PSEUDO_HDR | (h->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0));
		across_port(skb, in);
	}
	bpf_skb_store_bytes(skb, EDGE_AT_DEST6, to, 16, 0);
}

/* The address stands twice in what is summed: in the pseudo header and in the quotation. */
static __always_inline void
across_put_quote6(struct __sk_buff *skb, const struct across_in *in, __s64 delta, __u8 *to)
{
	__u32 check = in->head.l4 + EDGE_CHECK_ICMP;
	__u16 port = in->to_port;

	bpf_l4_csum_replace(skb, check, 0, (__u64)delta, BPF_F_PSEUDO_HDR);
	bpf_l4_csum_replace(skb, check, 0, (__u64)delta, 0);
	bpf_l4_csum_replace(skb, check, in->from_port, port, 2);
	bpf_skb_store_bytes(skb, in->quoted_l4, &port, sizeof(port), 0);
	bpf_skb_store_bytes(skb, in->quoted_at + offsetof(struct ipv6hdr, saddr), to, 16, 0);
}

static __always_inline int
across_inward6(struct __sk_buff *skb, struct across_in *in, const struct across_view6 *v)
{
	enum flow_reason reason;
	struct tc_veth_key6 to;
	__u8 from[16];
	__s64 delta;

	__builtin_memcpy(from, &v->ip->daddr, sizeof(from));
	__builtin_memcpy(to.addr, &v->outer->daddr, sizeof(to.addr));
	in->to = bpf_map_lookup_elem(&local6, &to);
	reason = in->to ? across_whose6(skb, in, v) : FLOW_DESTINATION;
	if (reason != FLOW_PASSED)
		return across_refuse(skb, in, reason);
	if (across_unwrap(skb, in) < 0)
		return across_refuse(skb, in, FLOW_SHORT);
	delta = bpf_csum_diff((__be32 *)(void *)from, 16, (__be32 *)(void *)to.addr, 16, 0);
	if (in->quoted_at)
		across_put_quote6(skb, in, delta, to.addr);
	across_put_dest6(skb, in, delta, to.addr);
	return across_to_container(skb, in);
}

/* ---- for a client ---- */

static __always_inline int
across_is_vip6(const struct in6_addr *addr, __u16 port, __u32 protocol)
{
	struct edge_vip6 key = {.port = port, .protocol = (__u8)protocol};

	__builtin_memcpy(key.addr, addr, sizeof(key.addr));
	return bpf_map_lookup_elem(&vips6, &key) != 0;
}

static __always_inline int
across_is_vips_error6(const struct across_view6 *v)
{
	struct edge_icmp *icmp = v->data + v->h.l4;
	struct edge_quote q;
	struct ipv6hdr *about;

	if ((void *)(icmp + 1) > v->end || !edge_is_error6(icmp->type) ||
	    edge_quote6(v->data, v->end, &v->h, &q) < 0)
		return 0;
	about = q.ip;
	return edge_same16(&about->daddr, &v->ip->saddr) &&
	       edge_same16(&about->saddr, &v->ip->daddr) &&
	       across_is_vip6(&v->ip->saddr, q.ports[1], q.h.protocol);
}

static __always_inline __u32
across_container6(const struct across_view6 *v)
{
	return (__u32)v->outer->flow_lbl[1] << 8 | v->outer->flow_lbl[2];
}

static __always_inline int
across_is_reply6(const struct across_in *in, const struct across_view6 *v)
{
	struct edge_reply first = {0};
	struct edge_place place;
	struct edge_l4 *l4;

	if (v->h.protocol == IPPROTO_ICMPV6 && v->h.part == EDGE_WHOLE)
		return across_is_vips_error6(v);
	first.of = fragment_of(&v->ip->saddr, &v->ip->daddr, 16, v->h.id, 0);
	place = place_of(in->node, across_container6(v), &first.of);
	if (v->h.part == EDGE_LATER)
		return reply_follow(&place, &first.of) != 0;
	if (v->h.protocol != IPPROTO_TCP && v->h.protocol != IPPROTO_UDP)
		return 0;
	l4 = edge_l4(v->data, v->end, &v->h);
	if (!l4 || !across_is_vip6(&v->ip->saddr, l4->source, v->h.protocol))
		return 0;
	if (v->h.part == EDGE_FIRST)
		reply_lead(&place, &first);
	return 1;
}

static __always_inline int
across_in6(struct __sk_buff *skb, struct across_in *in)
{
	struct across_view6 v;

	if (across_view6(skb, in, &v) < 0)
		return across_refuse(skb, in, FLOW_SHORT);
	if (!same6(&v.outer->daddr, in->me->own6))
		return across_inward6(skb, in, &v);
	if (!across_is_client6(in, &v.ip->daddr) || !across_is_reply6(in, &v))
		return across_refuse(skb, in, FLOW_CLIENT);
	if (across_unwrap(skb, in) < 0)
		return across_refuse(skb, in, FLOW_SHORT);
	return across_to_client(skb, in);
}

#endif
