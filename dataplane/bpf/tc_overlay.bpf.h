/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_TC_OVERLAY_BPF_H
#define DATAPLANE_BPF_TC_OVERLAY_BPF_H

/*
 * Between nodes: one VXLAN device (RFC 7348) that is told of each packet where to go.
 *
 *   tc_veth_in      a container's packet for a peer's prefix: tunnel key set, redirected to the
 *                   device; super-packets stay whole
 *   tc_vxlan_out    the device's egress: what the fabric's stack sends (proxies, ICMP errors) gets
 *                   its tunnel key here; what has one already is known by its mark
 *   tc_vxlan_in     the device's ingress: the outer source must be a peer, the inner source in that
 *                   peer's prefix; then into the container, or to the stack when it is for the
 *                   node's own address or too large for the container's link (the stack answers
 *                   with the ICMP error)
 *
 * Included once, by tc_veth.bpf.c, whose maps of local containers it uses.
 */

#include "dataplane/bpf/tc_overlay.h"

enum {
	OVERLAY_MARK = 0x5a4c0001, /* on the way from tc_veth_in to tc_vxlan_out only */
	OVERLAY_TTL = 64,
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TC_OVERLAY_PREFIXES_MAX);
	__type(key, struct tc_overlay_key4);
	__type(value, struct tc_overlay_peer);
} peers4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TC_OVERLAY_PREFIXES_MAX);
	__type(key, struct tc_overlay_key6);
	__type(value, struct tc_overlay_peer);
} peers6 SEC(".maps");

/* Outer address -> id. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TC_OVERLAY_PEERS_MAX);
	__type(key, struct tc_overlay_addr);
	__type(value, __u64);
} remotes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, TC_OVERLAY_PEERS_MAX);
	__type(key, __u64);
	__type(value, struct tc_overlay_bytes);
} peer_bytes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tc_overlay_self);
} overlay_self SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TC_OVERLAY_COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} overlay_counts SEC(".maps");

static __always_inline int
overlay_count(enum tc_overlay_count which, int verdict)
{
	__u32 key = which;
	__u64 *n = bpf_map_lookup_elem(&overlay_counts, &key);

	if (n)
		(*n)++;
	return verdict;
}

static __always_inline const struct tc_overlay_self *
overlay_me(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&overlay_self, &key);
}

static __always_inline const struct tc_overlay_peer *
overlay_peer4(__u32 addr)
{
	struct tc_overlay_key4 key = {.bits = 32};

	__builtin_memcpy(key.addr, &addr, sizeof(key.addr));
	return bpf_map_lookup_elem(&peers4, &key);
}

static __always_inline const struct tc_overlay_peer *
overlay_peer6(const struct in6_addr *addr)
{
	struct tc_overlay_key6 key = {.bits = 128};

	__builtin_memcpy(key.addr, addr, sizeof(key.addr));
	return bpf_map_lookup_elem(&peers6, &key);
}

/* ---- out ---- */

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

/* From a container. Gives the verdict, or -1 when there is no device. */
static __always_inline int
overlay_send(struct __sk_buff *skb, const struct tc_overlay_peer *to)
{
	const struct tc_overlay_self *me = overlay_me();

	if (!me || !me->ifindex)
		return -1;
	if (overlay_wrap(skb, me, to) < 0)
		return overlay_count(TC_OVERLAY_DROP_TUNNEL, TC_ACT_SHOT);
	skb->mark = OVERLAY_MARK;
	return overlay_count(TC_OVERLAY_SENT, (int)bpf_redirect(me->ifindex, 0));
}

static __always_inline int
overlay_send_stack(struct __sk_buff *skb, const struct tc_overlay_peer *to)
{
	const struct tc_overlay_self *me = overlay_me();

	if (!me || !to || overlay_wrap(skb, me, to) < 0)
		return overlay_count(TC_OVERLAY_DROP_DESTINATION, TC_ACT_SHOT);
	return overlay_count(TC_OVERLAY_SENT_STACK, TC_ACT_OK);
}

SEC("tc")
int
tc_vxlan_out(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct ipv6hdr *ip6 = data + sizeof(struct ethhdr);

	if (skb->mark == OVERLAY_MARK) {
		skb->mark = 0;
		return TC_ACT_OK;
	}
	if (skb->protocol == bpf_htons(ETH_P_IP) && (void *)(ip + 1) <= end)
		return overlay_send_stack(skb, overlay_peer4(ip->daddr));
	/* Neighbour and multicast discovery has nobody to ask. */
	if (skb->protocol == bpf_htons(ETH_P_IPV6) && (void *)(ip6 + 1) <= end &&
	    ip6->daddr.s6_addr[0] != 0xff)
		return overlay_send_stack(skb, overlay_peer6(&ip6->daddr));
	return TC_ACT_SHOT;
}

/* ---- in ---- */

static __always_inline int
overlay_any(const struct tc_overlay_addr *a)
{
	const __u32 *w = (const __u32 *)a->addr;

	return !w[0] && !w[1] && !w[2] && !w[3];
}

static __always_inline int
overlay_same(const struct tc_overlay_addr *a, const struct tc_overlay_addr *b)
{
	const __u32 *x = (const __u32 *)a->addr, *y = (const __u32 *)b->addr;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3];
}

/* Both ends of the tunnel that a packet came by; -1 when it came by none of ours. */
static __always_inline int
overlay_ends(struct __sk_buff *skb, const struct tc_overlay_self *me, struct tc_overlay_addr *from,
	     struct tc_overlay_addr *to)
{
	__u32 *f = (__u32 *)from->addr, *t = (__u32 *)to->addr;
	struct bpf_tunnel_key key;

	if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0) == 0) {
		f[0] = f[1] = t[0] = t[1] = 0;
		f[2] = t[2] = bpf_htonl(0xffff);
		f[3] = bpf_htonl(key.remote_ipv4);
		t[3] = bpf_htonl(key.local_ipv4);
	} else if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6) == 0) {
		__builtin_memcpy(from->addr, key.remote_ipv6, sizeof(from->addr));
		__builtin_memcpy(to->addr, key.local_ipv6, sizeof(to->addr));
	} else {
		return -1;
	}
	return key.tunnel_id == me->vni ? 0 : -1;
}

static __always_inline int
overlay_to_stack(struct __sk_buff *skb)
{
	bpf_skb_change_type(skb, 0 /* PACKET_HOST */);
	return overlay_count(TC_OVERLAY_PASSED, TC_ACT_OK);
}

/* Without what a header may have in addition: a link that is a little too narrow says so itself. */
static __always_inline int
overlay_too_large(struct __sk_buff *skb, __u32 mtu, __u32 head)
{
	__u32 bytes = skb->gso_size ? skb->gso_size + head : skb->len - sizeof(struct ethhdr);

	return bytes > mtu;
}

static __always_inline int
overlay_deliver(struct __sk_buff *skb, const struct tc_veth_local *to)
{
	if (bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_dest), to->mac, ETH_ALEN, 0) < 0)
		return overlay_count(TC_OVERLAY_DROP_SHORT, TC_ACT_SHOT);
	return overlay_count(TC_OVERLAY_DELIVERED, (int)bpf_redirect_peer(to->ifindex, 0));
}

static __always_inline int
overlay_in4(struct __sk_buff *skb, const struct tc_overlay_self *me, __u64 id)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	const struct tc_overlay_peer *peer;
	const struct tc_veth_local *to;
	__u32 addr;

	if ((void *)(ip + 1) > end)
		return overlay_count(TC_OVERLAY_DROP_SHORT, TC_ACT_SHOT);
	peer = overlay_peer4(ip->saddr);
	if (!peer || peer->id != id)
		return overlay_count(TC_OVERLAY_DROP_SOURCE, TC_ACT_SHOT);
	addr = ip->daddr;
	to = bpf_map_lookup_elem(&local4, &addr);
	if (to && !overlay_too_large(skb, me->mtu, 40))
		return overlay_deliver(skb, to);
	if (to || (addr == me->own4 && addr))
		return overlay_to_stack(skb);
	return overlay_count(TC_OVERLAY_DROP_DESTINATION, TC_ACT_SHOT);
}

static __always_inline int
overlay_in6(struct __sk_buff *skb, const struct tc_overlay_self *me, __u64 id)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = data + sizeof(struct ethhdr);
	const struct tc_overlay_peer *peer;
	const struct tc_veth_local *to;
	struct tc_veth_key6 key;

	if ((void *)(ip + 1) > end)
		return overlay_count(TC_OVERLAY_DROP_SHORT, TC_ACT_SHOT);
	peer = overlay_peer6(&ip->saddr);
	if (!peer || peer->id != id)
		return overlay_count(TC_OVERLAY_DROP_SOURCE, TC_ACT_SHOT);
	__builtin_memcpy(key.addr, &ip->daddr, sizeof(key.addr));
	to = bpf_map_lookup_elem(&local6, &key);
	if (to && !overlay_too_large(skb, me->mtu, 60))
		return overlay_deliver(skb, to);
	if (to || same6(&ip->daddr, me->own6))
		return overlay_to_stack(skb);
	return overlay_count(TC_OVERLAY_DROP_DESTINATION, TC_ACT_SHOT);
}

SEC("tc")
int
tc_vxlan_in(struct __sk_buff *skb)
{
	const struct tc_overlay_self *me = overlay_me();
	struct tc_overlay_addr from, to;
	struct tc_overlay_bytes *bytes;
	__u64 *found, id;

	if (!me || overlay_ends(skb, me, &from, &to) < 0)
		return overlay_count(TC_OVERLAY_DROP_TUNNEL, TC_ACT_SHOT);
	if (!overlay_any(&me->local) && !overlay_same(&me->local, &to))
		return overlay_count(TC_OVERLAY_DROP_TUNNEL, TC_ACT_SHOT);
	found = bpf_map_lookup_elem(&remotes, &from);
	if (!found)
		return overlay_count(TC_OVERLAY_DROP_PEER, TC_ACT_SHOT);
	id = *found;
	bytes = bpf_map_lookup_elem(&peer_bytes, &id);
	if (bytes)
		bytes->received += skb->len;
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		return overlay_in4(skb, me, id);
	case bpf_htons(ETH_P_IPV6):
		return overlay_in6(skb, me, id);
	default:
		return overlay_count(TC_OVERLAY_DROP_SOURCE, TC_ACT_SHOT);
	}
}

#endif
