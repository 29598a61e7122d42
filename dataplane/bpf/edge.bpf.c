// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The balancer of tcp and udp endpoints.
 *
 *   xdp_root    attached to an interface of the host, once; it only calls what `chain` holds, so
 *               that programs are replaced without touching the interface
 *   xdp_edge    address, port and protocol -> service -> slot of its table -> backend; a container
 *               of this node gets the frame with its own address and port in it (stateless: the
 *               reply's way back needs nothing but tc_back), one of another node gets it by way of
 *               the fabric (clients.bpf.c), everything else goes to the stack
 *   xdp_icmp    errors about flows of ours follow the packet that they quote (RFC 792, RFC 4443);
 *               echo to an address of dataplane.vips is answered
 *   tc_back     called by tc_veth for what a container sends to the world: the source becomes the
 *               address that the client spoke to, and the frame goes to the uplink
 *   tc_uplink   on the host's end of the uplink: replies of ours leave by the route to the client,
 *               past the host's firewall and address checks, as they came
 *
 * Clients that limits of an endpoint deny are dropped, and told of by xdp_denied (tc_denied.h).
 * What cannot be handled here is passed up, never dropped: the proxy's relay listens on every port.
 * Works from Linux 5.15. Takes no time stamp. Kept state: pins while a table changes, fragments,
 * flows that came by another address, or another node, than replies have by default, and flows that
 * are somebody else's because the owner has another connection of the same ports.
 */
#include "dataplane/bpf/edge_icmp.h"
#include "dataplane/bpf/edge_pick.h"
#include "dataplane/bpf/edge_uplink.h"

/* ---- who may ---- */

/* bytes: of an address. */
static __always_inline int
is_refused(const struct edge_vip *vip, const void *source, __u32 bytes)
{
	struct edge_prefix from = {.bits = 160, .service = vip->service};

	if (!(vip->flags & (EDGE_VIP_DENY | EDGE_VIP_ALLOW)))
		return 0;
	if (bytes == 4)
		from.addr[10] = from.addr[11] = 0xff;
	__builtin_memcpy(from.addr + 16 - bytes, source, bytes);
	if (vip->flags & EDGE_VIP_DENY && bpf_map_lookup_elem(&denied, &from))
		return 1;
	return vip->flags & EDGE_VIP_ALLOW && !bpf_map_lookup_elem(&allowed, &from);
}

/* It is told by a program of another object (tc_denied.h), which is not always there. */
static __always_inline int
refuse(struct xdp_md *ctx)
{
	int action = drop(ctx, EDGE_DROP_DENIED);

	bpf_tail_call(ctx, &chain, EDGE_STAGE_DENIED);
	return action;
}

/* What the client came by, where replies have something else by default; and where they have not,
 * but an older flow of the same ports has left a note. Only the first packet of a flow may say
 * otherwise than a note that is there: a late one of an older flow must not take the new one's
 * replies away. */
static __always_inline void
note(const struct edge_vip *vip, const struct edge_note *key, const struct edge_voice *voice,
     __u8 flags, __be32 sequence)
{
	int first = key->protocol == IPPROTO_UDP || asked_is_syn(key->protocol, flags);

	if (vip->flags & (EDGE_VIP_REMEMBER | EDGE_VIP_SHARED) || first)
		asked_note(key, voice, flags, sequence, !(vip->flags & EDGE_VIP_REMEMBER));
}

/* ---- IPv4 ---- */

static __always_inline void
to_backend4(struct iphdr *ip, struct edge_l4 *l4, __u32 protocol, const struct edge_backend *b)
{
	__u64 delta = edge_delta4(ip->daddr, b->addr4);

	ip->check = edge_adjust(ip->check, delta);
	ip->daddr = b->addr4;
	if (!l4)
		return;
	delta += edge_delta_port(l4->dest, b->port);
	l4->dest = b->port;
	edge_put_check(l4, protocol, delta);
}

static __always_inline int
later4(struct xdp_md *ctx, struct iphdr *ip, const struct edge_head *h)
{
	struct edge_fragment key = fragment_of(&ip->saddr, &ip->daddr, 4, h->id, h->protocol);
	__u32 index;
	struct edge_backend *b = follow(&key, &index);

	if (!b)
		return pass(ctx);
	if (is_away(b))
		return send_across(ctx, b, index, ip->ttl);
	to_backend4(ip, 0, h->protocol, b);
	return deliver(ctx, b);
}

static __always_inline void
note4(const struct edge_vip *vip, const struct edge_flow4 *flow, const struct edge_backend *b,
      __u8 flags, __be32 sequence)
{
	struct edge_note key = {.client_port = flow->source_port,
				.container_port = b->port,
				.protocol = flow->protocol};
	struct edge_voice voice = {.port = flow->dest_port};

	__builtin_memcpy(key.client, &flow->source, 4);
	__builtin_memcpy(key.container, &b->addr4, 4);
	__builtin_memcpy(voice.addr, &flow->dest, 4);
	note(vip, &key, &voice, flags, sequence);
}

static __always_inline int
edge4(struct xdp_md *ctx, void *data, void *end)
{
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct edge_flow4 flow = {0};
	struct edge_vip4 key = {0};
	struct edge_backend *b;
	struct edge_vip *vip;
	struct edge_head h;
	struct edge_l4 *l4;
	__be32 sequence; /* of TCP */
	__u32 index;
	__u8 flags;

	if (edge_parse4(data, end, sizeof(struct ethhdr), &h) < 0)
		return pass(ctx);
	if (h.protocol == IPPROTO_ICMP) {
		bpf_tail_call(ctx, &chain, EDGE_STAGE_ICMP);
		return pass(ctx);
	}
	if (h.protocol != IPPROTO_TCP && h.protocol != IPPROTO_UDP)
		return pass(ctx);
	if (h.part == EDGE_LATER)
		return later4(ctx, ip, &h);
	l4 = edge_l4(data, end, &h);
	if (!l4)
		return pass(ctx);
	key.addr = ip->daddr;
	key.port = l4->dest;
	key.protocol = (__u8)h.protocol;
	vip = bpf_map_lookup_elem(&vips4, &key);
	if (!vip)
		return pass(ctx);
	if (is_refused(vip, &ip->saddr, 4))
		return refuse(ctx);
	flow.source = ip->saddr;
	flow.dest = ip->daddr;
	flow.source_port = l4->source;
	flow.dest_port = l4->dest;
	flow.protocol = h.protocol;
	flags = h.protocol == IPPROTO_TCP ? l4->flags : 0;
	sequence = l4->sequence;
	index = pick4(ctx, vip, &flow, flags);
	b = backend_of(index, EDGE_BACKEND_V4);
	if (!b)
		return pass(ctx);
	/* The relay takes what is too long for the container's device, or for the path to it: the
	 * stack joins and cuts. */
	if (h.protocol == IPPROTO_UDP && h.length + (is_away(b) ? sizeof(*ip) : 0) > b->mtu)
		return pass(ctx);
	if (h.part == EDGE_FIRST)
		lead(fragment_of(&ip->saddr, &ip->daddr, 4, h.id, h.protocol), index, b);
	if (!is_away(b) && vip->flags & (EDGE_VIP_REMEMBER | EDGE_VIP_CORRECT))
		note4(vip, &flow, b, flags, sequence);
	count_service(ctx, vip->service);
	count_leaving(b, index);
	if (is_away(b))
		return send_across(ctx, b, index, ip->ttl);
	to_backend4(ip, l4, h.protocol, b);
	return deliver(ctx, b);
}

/* ---- IPv6 ---- */

static __always_inline void
to_backend6(struct ipv6hdr *ip, struct edge_l4 *l4, __u32 protocol, const struct edge_backend *b)
{
	__u64 delta = edge_delta6(&ip->daddr, b->addr6);

	__builtin_memcpy(&ip->daddr, b->addr6, 16);
	if (!l4)
		return;
	delta += edge_delta_port(l4->dest, b->port);
	l4->dest = b->port;
	edge_put_check(l4, protocol, delta);
}

static __always_inline int
later6(struct xdp_md *ctx, struct ipv6hdr *ip, const struct edge_head *h)
{
	struct edge_fragment key = fragment_of(&ip->saddr, &ip->daddr, 16, h->id, 0);
	__u32 index;
	struct edge_backend *b = follow(&key, &index);

	if (!b)
		return pass(ctx);
	if (is_away(b))
		return send_across(ctx, b, index, ip->hop_limit);
	to_backend6(ip, 0, h->protocol, b);
	return deliver(ctx, b);
}

static __always_inline void
note6(const struct edge_vip *vip, const struct edge_flow6 *flow, const struct edge_backend *b,
      __u8 flags, __be32 sequence)
{
	struct edge_note key = {.client_port = flow->source_port,
				.container_port = b->port,
				.protocol = flow->protocol};
	struct edge_voice voice = {.port = flow->dest_port};

	__builtin_memcpy(key.client, flow->source, 16);
	__builtin_memcpy(key.container, b->addr6, 16);
	__builtin_memcpy(voice.addr, flow->dest, 16);
	note(vip, &key, &voice, flags, sequence);
}

static __always_inline int
edge6(struct xdp_md *ctx, void *data, void *end)
{
	struct ipv6hdr *ip = data + sizeof(struct ethhdr);
	struct edge_flow6 flow = {0};
	struct edge_vip6 key = {0};
	struct edge_backend *b;
	struct edge_vip *vip;
	struct edge_head h;
	struct edge_l4 *l4;
	__be32 sequence; /* of TCP */
	__u32 index;
	__u8 flags;

	if (edge_parse6(data, end, sizeof(struct ethhdr), &h) < 0)
		return pass(ctx);
	if (h.protocol == IPPROTO_ICMPV6 && h.part == EDGE_WHOLE) {
		bpf_tail_call(ctx, &chain, EDGE_STAGE_ICMP);
		return pass(ctx);
	}
	if (h.part == EDGE_LATER)
		return later6(ctx, ip, &h);
	if (h.protocol != IPPROTO_TCP && h.protocol != IPPROTO_UDP)
		return pass(ctx);
	l4 = edge_l4(data, end, &h);
	if (!l4)
		return pass(ctx);
	__builtin_memcpy(key.addr, &ip->daddr, 16);
	key.port = l4->dest;
	key.protocol = (__u8)h.protocol;
	vip = bpf_map_lookup_elem(&vips6, &key);
	if (!vip)
		return pass(ctx);
	if (is_refused(vip, &ip->saddr, 16))
		return refuse(ctx);
	__builtin_memcpy(flow.source, &ip->saddr, 16);
	__builtin_memcpy(flow.dest, &ip->daddr, 16);
	flow.source_port = l4->source;
	flow.dest_port = l4->dest;
	flow.protocol = h.protocol;
	flags = h.protocol == IPPROTO_TCP ? l4->flags : 0;
	sequence = l4->sequence;
	index = pick6(ctx, vip, &flow, flags);
	b = backend_of(index, EDGE_BACKEND_V6);
	if (!b)
		return pass(ctx);
	if (h.protocol == IPPROTO_UDP && h.length + (is_away(b) ? sizeof(*ip) : 0) > b->mtu)
		return pass(ctx);
	if (h.part == EDGE_FIRST)
		lead(fragment_of(&ip->saddr, &ip->daddr, 16, h.id, 0), index, b);
	if (!is_away(b) && vip->flags & (EDGE_VIP_REMEMBER | EDGE_VIP_CORRECT))
		note6(vip, &flow, b, flags, sequence);
	count_service(ctx, vip->service);
	count_leaving(b, index);
	if (is_away(b))
		return send_across(ctx, b, index, ip->hop_limit);
	to_backend6(ip, l4, h.protocol, b);
	return deliver(ctx, b);
}

/* ---- the programs ---- */

SEC("xdp")
int
xdp_edge(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end)
		return pass(ctx);
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return edge4(ctx, data, end);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return edge6(ctx, data, end);
	return pass(ctx);
}

SEC("xdp")
int
xdp_icmp(struct xdp_md *ctx)
{
	return icmp(ctx);
}

SEC("xdp")
int
xdp_root(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &chain, EDGE_STAGE_EDGE);
	return XDP_PASS;
}

SEC("tc")
int
tc_back(struct __sk_buff *skb)
{
	return back(skb);
}

SEC("tc")
int
tc_uplink(struct __sk_buff *skb)
{
	return uplink(skb);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
