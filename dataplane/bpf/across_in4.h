/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_ACROSS_IN4_H
#define DATAPLANE_BPF_ACROSS_IN4_H

/* IPv4 in IPv4: a part of across_in.h. */

/* What is read of a packet before anything is written. */
struct across_view4 {
	void *data, *end;
	struct iphdr *outer, *ip;
	struct edge_head h; /* of the one inside, offsets as they are */
};

static __always_inline int
across_view4(struct __sk_buff *skb, struct across_in *in, struct across_view4 *v)
{
	__u32 at = in->note.at & 0xff;

	v->data = (void *)(long)skb->data;
	v->end = (void *)(long)skb->data_end;
	v->outer = v->data + at;
	v->ip = v->outer + 1;
	if ((void *)(v->ip + 1) > v->end || v->outer->ihl != 5 ||
	    v->outer->frag_off & bpf_htons(0x3fff) ||
	    edge_parse4(v->data, v->end, at + sizeof(*v->outer), &v->h) < 0)
		return -1;
	in->header = sizeof(*v->outer);
	in->head = v->h;
	in->head.l4 = v->h.l4 + TC_AT_IP - at - sizeof(*v->outer);
	in->node = v->outer->saddr;
	in->taken = v->outer->tos == ACROSS_TAKEN;
	return 0;
}

/* ---- for a container ---- */

static __always_inline enum flow_reason
across_error4(struct across_in *in, const struct across_view4 *v)
{
	struct edge_icmp *icmp = v->data + v->h.l4;
	struct edge_quote q;
	struct iphdr *about;

	if ((void *)(icmp + 1) > v->end || !edge_is_error4(icmp->type) ||
	    edge_quote4(v->data, v->end, &v->h, &q) < 0)
		return FLOW_CLIENT;
	about = q.ip;
	if (about->saddr != v->ip->daddr)
		return FLOW_CLIENT;
	in->quoted_at = q.at - v->h.l4 + in->head.l4;
	in->quoted_l4 = q.h.l4 - v->h.l4 + in->head.l4;
	return across_endpoint4(in, v->outer->daddr, q.ports[0], q.h.protocol) < 0 ? FLOW_ENDPOINT
										   : FLOW_PASSED;
}

static __always_inline enum flow_reason
across_later4(struct across_in *in, const struct across_view4 *v)
{
	struct edge_fragment key =
		fragment_of(&v->ip->saddr, &v->ip->daddr, 4, v->h.id, v->h.protocol);

	in->backend = follow(&key, &in->index);
	return in->backend && in->backend->addr4 == v->outer->daddr ? FLOW_PASSED : FLOW_ENDPOINT;
}

static __always_inline void
across_note4(const struct across_in *in, const struct across_view4 *v, const struct edge_l4 *l4)
{
	struct edge_note key = {.client_port = l4->source,
				.container_port = in->to_port,
				.protocol = v->h.protocol};
	struct edge_voice voice = {.port = l4->dest, .many = in->node};

	__builtin_memcpy(key.client, &v->ip->saddr, 4);
	__builtin_memcpy(key.container, &v->outer->daddr, 4);
	__builtin_memcpy(voice.addr, &v->ip->daddr, 4);
	asked_note(&key, &voice, in->flags, in->sequence, 0);
}

static __always_inline enum flow_reason
across_whose4(const struct __sk_buff *skb, struct across_in *in, const struct across_view4 *v)
{
	__u32 bytes = skb->gso_size ? skb->gso_size + 40 : v->h.length;
	struct edge_l4 *l4;

	if (!across_is_client4(in, v->ip->saddr))
		return FLOW_CLIENT;
	if (bytes > in->me->mtu)
		return FLOW_TOO_LARGE;
	if (v->h.protocol == IPPROTO_ICMP && v->h.part == EDGE_WHOLE)
		return across_error4(in, v);
	if (v->h.protocol != IPPROTO_TCP && v->h.protocol != IPPROTO_UDP)
		return FLOW_CLIENT;
	if (v->h.part == EDGE_LATER)
		return across_later4(in, v);
	l4 = edge_l4(v->data, v->end, &v->h);
	if (!l4)
		return FLOW_SHORT;
	if (across_endpoint4(in, v->outer->daddr, l4->dest, v->h.protocol) < 0)
		return FLOW_ENDPOINT;
	if (across_syn(in, l4, v->end, v->h.protocol) < 0)
		return FLOW_SHORT;
	across_note4(in, v, l4);
	if (v->h.part == EDGE_FIRST)
		lead(fragment_of(&v->ip->saddr, &v->ip->daddr, 4, v->h.id, v->h.protocol),
		     in->index, in->backend);
	return FLOW_PASSED;
}

static __always_inline void
across_put_dest4(struct __sk_buff *skb, const struct across_in *in, __u32 from, __u32 to)
{
	const struct edge_head *h = &in->head;
	__u32 check = h->l4 + (h->protocol == IPPROTO_TCP ? EDGE_CHECK_TCP : EDGE_CHECK_UDP);

	if (!in->quoted_at && h->part != EDGE_LATER) {
		bpf_l4_csum_replace(
			skb, check, from, to,
			4 | BPF_F_PSEUDO_HDR |
				(h->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0));
		across_port(skb, in);
	}
	bpf_l3_csum_replace(skb, EDGE_AT_CHECK4, from, to, 4);
	bpf_skb_store_bytes(skb, EDGE_AT_DEST4, &to, sizeof(to), 0);
}

/* The quoted header's sum changes as much as its address does: together they cancel out. */
static __always_inline void
across_put_quote4(struct __sk_buff *skb, const struct across_in *in, __u32 from, __u32 to)
{
	__u16 port = in->to_port;

	bpf_l4_csum_replace(skb, in->head.l4 + EDGE_CHECK_ICMP, in->from_port, port, 2);
	bpf_skb_store_bytes(skb, in->quoted_l4, &port, sizeof(port), 0);
	bpf_l3_csum_replace(skb, in->quoted_at + offsetof(struct iphdr, check), from, to, 4);
	bpf_skb_store_bytes(skb, in->quoted_at + offsetof(struct iphdr, saddr), &to, 4, 0);
}

static __always_inline int
across_inward4(struct __sk_buff *skb, struct across_in *in, const struct across_view4 *v)
{
	__u32 from = v->ip->daddr, to = v->outer->daddr;
	enum flow_reason reason;

	in->to = bpf_map_lookup_elem(&local4, &to);
	reason = in->to ? across_whose4(skb, in, v) : FLOW_DESTINATION;
	if (reason != FLOW_PASSED)
		return across_refuse(skb, in, reason);
	if (across_unwrap(skb, in) < 0)
		return across_refuse(skb, in, FLOW_SHORT);
	if (in->quoted_at)
		across_put_quote4(skb, in, from, to);
	across_put_dest4(skb, in, from, to);
	return across_to_container(skb, in);
}

/* ---- for a client ---- */

static __always_inline int
across_is_vip4(__u32 addr, __u16 port, __u32 protocol)
{
	struct edge_vip4 key = {.addr = addr, .port = port, .protocol = (__u8)protocol};

	return bpf_map_lookup_elem(&vips4, &key) != 0;
}

static __always_inline int
across_is_vips_error4(const struct across_view4 *v)
{
	struct edge_icmp *icmp = v->data + v->h.l4;
	struct edge_quote q;
	struct iphdr *about;

	if ((void *)(icmp + 1) > v->end || !edge_is_error4(icmp->type) ||
	    edge_quote4(v->data, v->end, &v->h, &q) < 0)
		return 0;
	about = q.ip;
	return about->daddr == v->ip->saddr && about->saddr == v->ip->daddr &&
	       across_is_vip4(v->ip->saddr, q.ports[1], q.h.protocol);
}

/* Which container of that node's it is: a number that its node gave it. */
static __always_inline __u32
across_container4(const struct across_view4 *v)
{
	return bpf_ntohs(v->outer->id);
}

/* Fragments: the first one has shown that the others may. */
static __always_inline int
across_is_reply4(const struct across_in *in, const struct across_view4 *v)
{
	struct edge_reply first = {0};
	struct edge_place place;
	struct edge_l4 *l4;

	if (v->h.protocol == IPPROTO_ICMP && v->h.part == EDGE_WHOLE)
		return across_is_vips_error4(v);
	if (v->h.protocol != IPPROTO_TCP && v->h.protocol != IPPROTO_UDP)
		return 0;
	first.of = fragment_of(&v->ip->saddr, &v->ip->daddr, 4, v->h.id, v->h.protocol);
	place = place_of(in->node, across_container4(v), &first.of);
	if (v->h.part == EDGE_LATER)
		return reply_follow(&place, &first.of) != 0;
	l4 = edge_l4(v->data, v->end, &v->h);
	if (!l4 || !across_is_vip4(v->ip->saddr, l4->source, v->h.protocol))
		return 0;
	if (v->h.part == EDGE_FIRST)
		reply_lead(&place, &first);
	return 1;
}

static __always_inline int
across_in4(struct __sk_buff *skb, struct across_in *in)
{
	struct across_view4 v;

	if (across_view4(skb, in, &v) < 0)
		return across_refuse(skb, in, FLOW_SHORT);
	if (v.outer->daddr != in->me->own4)
		return across_inward4(skb, in, &v);
	if (!across_is_client4(in, v.ip->daddr) || !across_is_reply4(in, &v))
		return across_refuse(skb, in, FLOW_CLIENT);
	if (across_unwrap(skb, in) < 0)
		return across_refuse(skb, in, FLOW_SHORT);
	return across_to_client(skb, in);
}

#endif
