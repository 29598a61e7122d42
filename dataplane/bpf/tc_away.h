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
 * To a node of the cluster both ends are known, or nothing goes; peers by hand have no identities.
 * What is of this node's own prefix and no container's that is judged here, goes nowhere: the
 * fabric's routes would find a device whose program is not there.
 */

#include "dataplane/bpf/tc_path.h"
#include "dataplane/bpf/tc_wrap.h"

enum {
	AWAY_INET = 2, /* AF_INET, AF_INET6: of a header that the kernel's programs have not */
	AWAY_INET6 = 10,
};

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

/* The node itself, its proxies and its name server, is nobody's: always sealed. As is what a peer
 * by hand has. `from` is known. */
static __always_inline int
away_judged(struct __sk_buff *skb, struct away *a, const struct tc_identity *from,
	    const struct tc_identity *to, int is_node)
{
	if (!is_node && !tc_is_known(to))
		return a->peer->flags & TC_PEER_MEMBER ? away_drop(skb, a, FLOW_UNKNOWN)
						       : away_go(skb, a, IDENTITY_RULE_SEALED);
	return away_go(skb, a, is_node ? IDENTITY_RULE_SEALED : tc_judge(from, to));
}

/* Of this node's prefix, and not the node itself. */
static __always_inline int
away_is_own4(const struct tc_overlay_self *me, __u32 addr)
{
	return me->mask4 && !((addr ^ me->own4) & me->mask4) && addr != me->own4;
}

static __always_inline int
away_is_own6(const struct tc_overlay_self *me, const struct in6_addr *addr)
{
	const __u32 *own = (const __u32 *)me->own6, *mask = (const __u32 *)me->mask6;

	return mask[0] && !((addr->s6_addr32[0] ^ own[0]) & mask[0]) &&
	       !((addr->s6_addr32[1] ^ own[1]) & mask[1]) &&
	       !((addr->s6_addr32[2] ^ own[2]) & mask[2]) &&
	       !((addr->s6_addr32[3] ^ own[3]) & mask[3]) && !same6(addr, me->own6);
}

/* Who asks for what is not there is told so by the stack, as long as that has no way to it. */
static __always_inline int
away_is_refused(struct __sk_buff *skb, struct bpf_fib_lookup *way)
{
	way->ifindex = skb->ifindex;
	switch (bpf_fib_lookup(skb, way, sizeof(*way), 0)) {
	case BPF_FIB_LKUP_RET_BLACKHOLE:
	case BPF_FIB_LKUP_RET_UNREACHABLE:
	case BPF_FIB_LKUP_RET_PROHIBIT:
	case BPF_FIB_LKUP_RET_NOT_FWDED:
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		return 1;
	default:
		return 0;
	}
}

/* To no other node. */
static __always_inline int
away_not4(struct __sk_buff *skb, struct away *a, const struct iphdr *ip)
{
	struct bpf_fib_lookup way = {
		.family = AWAY_INET, .ipv4_src = ip->saddr, .ipv4_dst = ip->daddr};

	if (!away_is_own4(a->me, ip->daddr) || away_is_refused(skb, &way))
		return tc_leave_seen(skb);
	return away_drop(skb, a, FLOW_DESTINATION);
}

static __always_inline int
away_not6(struct __sk_buff *skb, struct away *a, const struct ipv6hdr *ip)
{
	struct bpf_fib_lookup way = {.family = AWAY_INET6};

	__builtin_memcpy(way.ipv6_src, &ip->saddr, sizeof(way.ipv6_src));
	__builtin_memcpy(way.ipv6_dst, &ip->daddr, sizeof(way.ipv6_dst));
	if (!away_is_own6(a->me, &ip->daddr) || away_is_refused(skb, &way))
		return tc_leave_seen(skb);
	return away_drop(skb, a, FLOW_DESTINATION);
}

static __always_inline void
away_begin(struct away *a, const struct tc_overlay_self *me, const struct tc_overlay_peer *peer)
{
	__builtin_memset(a, 0, sizeof(*a));
	a->me = me;
	a->peer = peer;
	a->note.place = MSG_FLOW_VETH;
	a->note.at = a->head.ip = TC_AT_IP;
	a->note.peer = peer ? peer->id : 0;
}

static __always_inline int
away4(struct __sk_buff *skb, const struct tc_veth_source *source)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + TC_AT_IP;
	const struct tc_overlay_self *me = overlay_me();
	struct away a;
	__u32 addr;

	if (!me || (void *)(ip + 1) > end)
		return tc_drop_at(skb, MSG_FLOW_VETH, FLOW_SHORT);
	addr = ip->daddr;
	away_begin(&a, me, overlay_peer4(addr));
	if (!a.peer)
		return away_not4(skb, &a, ip);
	a.head.l4 = TC_AT_IP + ip->ihl * 4;
	/* Later fragments have no transport header. */
	a.head.protocol = ip->frag_off & bpf_htons(0x1fff) ? 0 : ip->protocol;
	a.network_head = sizeof(*ip);
	return away_judged(skb, &a, &source->identity, bpf_map_lookup_elem(&identities4, &addr),
			   addr == a.peer->own4);
}

static __always_inline int
away6(struct __sk_buff *skb, const struct tc_veth_source *source)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = data + TC_AT_IP;
	const struct tc_overlay_self *me = overlay_me();
	struct tc_veth_key6 addr;
	struct away a;

	if (!me || (void *)(ip + 1) > end)
		return tc_drop_at(skb, MSG_FLOW_VETH, FLOW_SHORT);
	__builtin_memcpy(addr.addr, &ip->daddr, sizeof(addr.addr));
	away_begin(&a, me, overlay_peer6(&ip->daddr));
	if (!a.peer)
		return away_not6(skb, &a, ip);
	a.head.l4 = TC_AT_IP + sizeof(*ip);
	a.head.protocol = ip->nexthdr;
	a.network_head = sizeof(*ip);
	return away_judged(skb, &a, &source->identity, bpf_map_lookup_elem(&identities6, &addr),
			   same6(&ip->daddr, a.peer->own6));
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
		verdict = skb->protocol == bpf_htons(ETH_P_IP) ? path_answer4(skb, me->own4, mtu)
							       : path_answer6(skb, me->own6, mtu);
	if (verdict < 0)
		return tc_drop(skb, &n);
	tc_count(TC_COUNT_DROP(n.place, n.reason));
	return verdict;
}

#endif
