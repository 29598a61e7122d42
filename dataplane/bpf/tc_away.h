/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_TC_AWAY_H
#define DATAPLANE_BPF_TC_AWAY_H

/*
 * From a container to another node (docs/decisions/016): whether it may, and which way.
 *
 *   sealed   redirected to the device of sealed traffic, which has no Ethernet header:
 * super-packets stay whole; the peer's MTU is kept to (tc_path.h) plain    a tunnel key for the
 * VXLAN device; only where nothing wants it sealed
 *
 * One end that nobody knows yet does not keep a packet back: it goes sealed, and the other node,
 * which knows its own end, judges it too.
 */

#include "dataplane/bpf/tc_path.h"

enum {
	OVERLAY_MARK = 0x5a4c0001, /* on the way from tc_away to tc_vxlan_out only */
	OVERLAY_TTL = 64,
};

/* ---- plain ---- */

static __always_inline int
overlay_is_v4(const struct tc_overlay_addr *a)
{
	const __u32 *w = (const __u32 *)a->addr;

	return !w[0] && !w[1] && w[2] == bpf_htonl(0xffff);
}

static __always_inline int
overlay_wrap(struct __sk_buff *skb, const struct tc_overlay_self *me,
	     const struct tc_overlay_peer *to)
{
	const __u32 *remote = (const __u32 *)to->remote.addr;
	const __u32 *local = (const __u32 *)me->local.addr;
	struct tc_overlay_bytes *bytes;
	struct bpf_tunnel_key key;
	__u64 id = to->id, flags = 0;

	__builtin_memset(&key, 0, sizeof(key));
	key.tunnel_id = me->vni;
	key.tunnel_ttl = OVERLAY_TTL;
	if (overlay_is_v4(&to->remote)) {
		key.remote_ipv4 = bpf_ntohl(remote[3]);
		key.local_ipv4 = overlay_is_v4(&me->local) ? bpf_ntohl(local[3]) : 0;
		flags = BPF_F_ZERO_CSUM_TX;
	} else {
		__builtin_memcpy(key.remote_ipv6, remote, sizeof(key.remote_ipv6));
		if (!overlay_is_v4(&me->local))
			__builtin_memcpy(key.local_ipv6, local, sizeof(key.local_ipv6));
		flags = BPF_F_TUNINFO_IPV6;
	}
	if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), flags) < 0)
		return -1;
	bytes = bpf_map_lookup_elem(&peer_bytes, &id);
	if (bytes)
		bytes->sent += skb->len;
	return 0;
}

/* ---- which way ---- */

struct away {
	const struct tc_overlay_self *me;
	const struct tc_overlay_peer *peer;
	struct path_head head;
	struct tc_note note;
	__u32 network_head; /* bytes, without options */
};

static __always_inline int
away_drop(struct __sk_buff *skb, struct away *a, enum flow_reason reason)
{
	a->note.reason = reason;
	return tc_drop(skb, &a->note);
}

static __always_inline int
away_plain(struct __sk_buff *skb, struct away *a)
{
	if (overlay_wrap(skb, a->me, a->peer) < 0)
		return away_drop(skb, a, FLOW_TUNNEL);
	skb->mark = OVERLAY_MARK;
	a->note.way = MSG_FLOW_PLAIN;
	return tc_pass(skb, &a->note, (int)bpf_redirect(a->me->ifindex, 0));
}

static __always_inline int
away_sealed(struct __sk_buff *skb, struct away *a)
{
	__u32 mtu = a->peer->mtu ? a->peer->mtu : a->me->mtu;

	a->note.way = MSG_FLOW_SEALED;
	if (path_bytes(skb, &a->head) > mtu) {
		tc_note_put(skb, &a->note, mtu);
		bpf_tail_call(skb, &stages, TC_STAGE_TOO_LARGE);
		return away_drop(skb, a, FLOW_TOO_LARGE);
	}
	path_clamp(skb, &a->head, a->network_head, mtu);
	return tc_pass(skb, &a->note, (int)bpf_redirect(a->me->tunnel, 0));
}

static __always_inline int
away_go(struct __sk_buff *skb, struct away *a, enum identity_rule judged)
{
	int must = judged == IDENTITY_RULE_SEALED && !(a->peer->flags & TC_PEER_TRUSTED);

	if (judged == IDENTITY_RULE_ISOLATED)
		return away_drop(skb, a, FLOW_ISOLATED);
	if (!must && a->peer->flags & TC_PEER_PLAIN && a->me->ifindex)
		return away_plain(skb, a);
	if (a->peer->flags & TC_PEER_SEALED && a->me->tunnel)
		return away_sealed(skb, a);
	/* Without a device between nodes what is for one by hand is the stack's, as ever. */
	return must || a->peer->flags & TC_PEER_MEMBER ? away_drop(skb, a, FLOW_NO_WAY)
						       : tc_leave_seen(skb);
}

/* The node itself, its proxies and its name server, is nobody's: always sealed. */
static __always_inline enum identity_rule
away_judge(const struct tc_identity *from, const struct tc_identity *to, int is_node)
{
	if (is_node || !tc_is_known(from) || !tc_is_known(to))
		return IDENTITY_RULE_SEALED;
	return tc_judge(from, to);
}

static __always_inline int
away_begin(struct away *a, const struct tc_overlay_peer *peer)
{
	__builtin_memset(a, 0, sizeof(*a));
	a->me = overlay_me();
	a->peer = peer;
	if (!a->me || !peer)
		return -1;
	a->note.place = MSG_FLOW_VETH;
	a->note.at = a->head.ip = TC_AT_IP;
	a->note.peer = peer->id;
	return 0;
}

static __always_inline int
away4(struct __sk_buff *skb, const struct tc_veth_source *source)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + TC_AT_IP;
	const struct tc_identity *to;
	struct away a;
	__u32 addr;
	int is_node;

	if ((void *)(ip + 1) > end)
		return tc_drop_at(skb, MSG_FLOW_VETH, FLOW_SHORT);
	addr = ip->daddr;
	if (away_begin(&a, overlay_peer4(addr)) < 0)
		return tc_leave_seen(skb);
	a.head.l4 = TC_AT_IP + ip->ihl * 4;
	/* Later fragments have no transport header. */
	a.head.protocol = ip->frag_off & bpf_htons(0x1fff) ? 0 : ip->protocol;
	a.network_head = sizeof(*ip);
	to = bpf_map_lookup_elem(&identities4, &addr);
	is_node = addr == a.peer->own4;
	if (a.peer->flags & TC_PEER_MEMBER &&
	    ((!tc_is_known(&source->identity) && tc_is_stranger(&source->addr4, 4)) ||
	     (!is_node && !tc_is_known(to) && tc_is_stranger(&addr, 4))))
		return away_drop(skb, &a, FLOW_UNKNOWN);
	return away_go(skb, &a, away_judge(&source->identity, to, is_node));
}

static __always_inline int
away6(struct __sk_buff *skb, const struct tc_veth_source *source)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = data + TC_AT_IP;
	const struct tc_identity *to;
	struct tc_veth_key6 addr;
	struct away a;
	int is_node;

	if ((void *)(ip + 1) > end)
		return tc_drop_at(skb, MSG_FLOW_VETH, FLOW_SHORT);
	__builtin_memcpy(addr.addr, &ip->daddr, sizeof(addr.addr));
	if (away_begin(&a, overlay_peer6(&ip->daddr)) < 0)
		return tc_leave_seen(skb);
	a.head.l4 = TC_AT_IP + sizeof(*ip);
	a.head.protocol = ip->nexthdr;
	a.network_head = sizeof(*ip);
	to = bpf_map_lookup_elem(&identities6, &addr);
	is_node = same6(&ip->daddr, a.peer->own6);
	if (a.peer->flags & TC_PEER_MEMBER &&
	    ((!tc_is_known(&source->identity) && tc_is_stranger(source->addr6, 16)) ||
	     (!is_node && !tc_is_known(to) && tc_is_stranger(addr.addr, 16))))
		return away_drop(skb, &a, FLOW_UNKNOWN);
	return away_go(skb, &a, away_judge(&source->identity, to, is_node));
}

SEC("tc")
int
tc_away(struct __sk_buff *skb)
{
	__u32 link = skb->ifindex;
	const struct tc_veth_source *source = bpf_map_lookup_elem(&sources, &link);

	if (!source)
		return tc_drop_at(skb, MSG_FLOW_VETH, FLOW_UNKNOWN_LINK);
	return skb->protocol == bpf_htons(ETH_P_IP) ? away4(skb, source) : away6(skb, source);
}

SEC("tc")
int
tc_too_large(struct __sk_buff *skb)
{
	const struct tc_overlay_self *me = overlay_me();
	struct tc_note n = tc_note_get(skb);
	__u32 mtu = skb->cb[1];
	int verdict = -1;

	n.reason = FLOW_TOO_LARGE;
	if (me && tc_allow(TC_BUDGET_ANSWERS, TC_ANSWERS_A_SECOND))
		verdict = skb->protocol == bpf_htons(ETH_P_IP) ? path_answer4(skb, me, mtu)
							       : path_answer6(skb, me, mtu);
	if (verdict < 0)
		return tc_drop(skb, &n);
	tc_count(TC_COUNT_DROP(n.place, n.reason));
	return verdict;
}

#endif
