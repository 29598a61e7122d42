/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_TC_ENTER_H
#define DATAPLANE_BPF_TC_ENTER_H

/*
 * From another node into a container, or to the fabric's stack. Who sends is judged here again: the
 * sender's node may not know yet what this one knows, or may not be what it seems. A packet that
 * came plain must be one that nothing wants sealed. Both ends are known, or nothing comes in from a
 * node of the cluster; peers by hand have no identities.
 */

#include "dataplane/bpf/tc_path.h"

struct enter {
	const struct tc_overlay_self *me;
	const struct tc_overlay_peer *peer; /* that the source belongs to */
	struct tc_note note;
	struct path_head head;
	__u32 network_head;
	__u32 is_node; /* the source is that node itself */
};

static __always_inline int
enter_drop(struct __sk_buff *skb, struct enter *e, enum flow_reason reason)
{
	e->note.reason = reason;
	return tc_drop(skb, &e->note);
}

static __always_inline int
enter_is_plain(const struct enter *e)
{
	return e->note.place == MSG_FLOW_VXLAN && !(e->peer->flags & TC_PEER_TRUSTED);
}

/* `to`: the container. */
static __always_inline enum flow_reason
enter_judge(const struct enter *e, const struct tc_identity *from, const struct tc_identity *to)
{
	enum identity_rule judged = IDENTITY_RULE_SEALED;

	if (!e->is_node &&
	    (!tc_is_known(to) || (e->peer->flags & TC_PEER_MEMBER && !tc_is_known(from))))
		return FLOW_UNKNOWN;
	if (!e->is_node && e->peer->flags & TC_PEER_MEMBER)
		judged = tc_judge(from, to);
	if (judged == IDENTITY_RULE_ISOLATED)
		return FLOW_ISOLATED;
	return judged == IDENTITY_RULE_SEALED && enter_is_plain(e) ? FLOW_UNSEALED : FLOW_PASSED;
}

static __always_inline int
enter_stack(struct __sk_buff *skb, struct enter *e)
{
	bpf_skb_change_type(skb, 0 /* PACKET_HOST */);
	e->note.way = MSG_FLOW_STACK;
	return tc_pass(skb, &e->note, TC_ACT_OK);
}

/* Without what a header may have in addition: a link that is a little too narrow says so itself. */
static __always_inline int
enter_too_large(const struct __sk_buff *skb, const struct enter *e, __u32 head)
{
	__u32 bytes = skb->gso_size ? skb->gso_size + head : skb->len - e->note.at;

	return bytes > e->me->mtu;
}

/* An L3 device's packets have no Ethernet header: they get one, because containers' links do. */
static __always_inline int
enter_container(struct __sk_buff *skb, struct enter *e, const struct tc_veth_local *to)
{
	struct ethhdr eth = {.h_proto = (__be16)skb->protocol};

	if (e->note.place == MSG_FLOW_TUNNEL) {
		path_clamp(skb, &e->head, e->network_head,
			   e->peer->mtu ? e->peer->mtu : e->me->mtu);
		__builtin_memcpy(eth.h_dest, to->mac, ETH_ALEN);
		if (bpf_skb_change_head(skb, sizeof(eth), 0) < 0 ||
		    bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0) < 0)
			return enter_drop(skb, e, FLOW_SHORT);
		e->note.at = TC_AT_IP;
	} else if (bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_dest), to->mac, ETH_ALEN, 0) <
		   0) {
		return enter_drop(skb, e, FLOW_SHORT);
	}
	e->note.way = MSG_FLOW_LOCAL;
	return tc_pass(skb, &e->note, (int)bpf_redirect_peer(to->ifindex, 0));
}

/* Sealed packets' sources were bound to a key; a source of this node's own is nobody's out there.
 */
static __always_inline int
enter_is_peers(const struct enter *e)
{
	return e->peer && (e->note.place == MSG_FLOW_TUNNEL || e->peer->id == e->note.peer);
}

/* What a node itself sends in a second header is a client's packet, or a reply to one
 * (docs/decisions/017): the program that reads it needs to know where the header is, and whose. */
static __always_inline int
enter_across(struct __sk_buff *skb, struct enter *e)
{
	if (enter_is_plain(e))
		return enter_drop(skb, e, FLOW_UNSEALED);
	tc_note_put(skb, &e->note, 0);
	bpf_tail_call(skb, &stages, TC_STAGE_ACROSS);
	return enter_drop(skb, e, FLOW_ENDPOINT);
}

static __always_inline int
enter_is_across(const struct enter *e, __u8 protocol, __u8 header)
{
	return protocol == header && e->is_node && e->peer->flags & TC_PEER_MEMBER;
}

static __always_inline int
enter4(struct __sk_buff *skb, struct enter *e)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + e->note.at;
	const struct tc_veth_local *to;
	enum flow_reason reason;
	__u32 from, addr;

	if ((void *)(ip + 1) > end)
		return enter_drop(skb, e, FLOW_SHORT);
	from = ip->saddr;
	addr = ip->daddr;
	e->peer = overlay_peer4(from);
	if (!enter_is_peers(e))
		return enter_drop(skb, e, FLOW_SOURCE);
	e->note.peer = e->peer->id;
	e->is_node = from == e->peer->own4;
	if (enter_is_across(e, ip->protocol, IPPROTO_IPIP))
		return enter_across(skb, e);
	if (addr == e->me->own4 && addr)
		return enter_is_plain(e) ? enter_drop(skb, e, FLOW_UNSEALED) : enter_stack(skb, e);
	to = bpf_map_lookup_elem(&local4, &addr);
	if (!to)
		return enter_drop(skb, e, FLOW_DESTINATION);
	e->head.ip = e->note.at;
	e->head.l4 = e->note.at + ip->ihl * 4;
	e->head.protocol = ip->frag_off & bpf_htons(0x1fff) ? 0 : ip->protocol;
	e->network_head = sizeof(*ip);
	reason = enter_judge(e, bpf_map_lookup_elem(&identities4, &from), &to->identity);
	if (reason != FLOW_PASSED)
		return enter_drop(skb, e, reason);
	return enter_too_large(skb, e, 40) ? enter_stack(skb, e) : enter_container(skb, e, to);
}

static __always_inline int
enter6(struct __sk_buff *skb, struct enter *e)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = data + e->note.at;
	const struct tc_veth_local *to;
	struct tc_veth_key6 from, key;
	enum flow_reason reason;

	if ((void *)(ip + 1) > end)
		return enter_drop(skb, e, FLOW_SHORT);
	__builtin_memcpy(from.addr, &ip->saddr, sizeof(from.addr));
	__builtin_memcpy(key.addr, &ip->daddr, sizeof(key.addr));
	e->peer = overlay_peer6(&ip->saddr);
	if (!enter_is_peers(e))
		return enter_drop(skb, e, FLOW_SOURCE);
	e->note.peer = e->peer->id;
	e->is_node = same6(&ip->saddr, e->peer->own6);
	if (enter_is_across(e, ip->nexthdr, IPPROTO_IPV6))
		return enter_across(skb, e);
	if (same6(&ip->daddr, e->me->own6))
		return enter_is_plain(e) ? enter_drop(skb, e, FLOW_UNSEALED) : enter_stack(skb, e);
	e->head.ip = e->note.at;
	e->head.l4 = e->note.at + sizeof(*ip);
	e->head.protocol = ip->nexthdr;
	e->network_head = sizeof(*ip);
	to = bpf_map_lookup_elem(&local6, &key);
	if (!to)
		return enter_drop(skb, e, FLOW_DESTINATION);
	reason = enter_judge(e, bpf_map_lookup_elem(&identities6, &from), &to->identity);
	if (reason != FLOW_PASSED)
		return enter_drop(skb, e, reason);
	return enter_too_large(skb, e, 60) ? enter_stack(skb, e) : enter_container(skb, e, to);
}

#endif
