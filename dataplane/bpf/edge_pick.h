/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_EDGE_PICK_H
#define DATAPLANE_BPF_EDGE_PICK_H

/*
 * From a flow to its backend. A slot that does not change hands needs no look at any flow.
 * Otherwise a SYN is pinned to the present owner, and everything else goes where it is pinned, or
 * to the former owner: it was there before the change.
 *
 * A flow of an address that other nodes have, too, may have begun at another one, where it has its
 * pin: where nobody but the relay was before, it is the present owner's, unless this machine has a
 * socket of it. Elsewhere the former owner is asked, who may not know it (edge_again.h).
 *
 * A connection whose ports its container has in use is pinned to another one (edge_taken.h), and
 * its slot is then as one that changes, to the same owner.
 *
 * UDP has no SYN: its flows stay with a former owner that is healthy until the change is over, and
 * leave one that drains at once.
 */

#include "dataplane/bpf/edge_asked.h"
#include "dataplane/bpf/edge_maps.h"
#include "dataplane/bpf/edge_parse.h"

struct edge_owner {
	__u32 slot, epoch;
};

enum { EDGE_UNSURE = EDGE_BACKENDS_MAX }; /* in place of a backend */

/* *epoch_out: of the table. NULL: there is none. */
static __always_inline __u32 *
slot_of(const struct edge_vip *vip, __u32 hash, __u32 *epoch_out)
{
	__u32 zero = 0, service = vip->service;
	void *inner;

	if (vip->flags & EDGE_VIP_BIG) {
		inner = bpf_map_lookup_elem(&tables_big, &service);
		struct edge_table_big *t = inner ? bpf_map_lookup_elem(inner, &zero) : 0;

		if (!t)
			return 0;
		*epoch_out = t->epoch;
		return &t->slots[hash % EDGE_SLOTS_BIG];
	} else {
		inner = bpf_map_lookup_elem(&tables_small, &service);
		struct edge_table_small *t = inner ? bpf_map_lookup_elem(inner, &zero) : 0;

		if (!t)
			return 0;
		*epoch_out = t->epoch;
		return &t->slots[hash % EDGE_SLOTS_SMALL];
	}
}

static __always_inline struct edge_owner
owner(const struct edge_vip *vip, __u32 hash)
{
	struct edge_owner o = {0, 0};
	const __u32 *slot = slot_of(vip, hash, &o.epoch);

	if (slot)
		o.slot = *slot;
	return o;
}

/* From now on flows of this slot may be pinned. Only the loader ends that. */
static __always_inline void
owner_opens(const struct edge_vip *vip, __u32 hash)
{
	__u32 epoch, *slot = slot_of(vip, hash, &epoch), is = slot ? *slot : EDGE_CHANGES;

	if (!(is & EDGE_CHANGES))
		*slot = EDGE_CHANGING(EDGE_CUR(is), EDGE_CUR(is));
}

/* One that packets can be brought to from here, with an address of this family: by its device, or
 * by its node. */
static __always_inline struct edge_backend *
backend_of(__u32 index, __u16 family)
{
	struct edge_backend *b = index ? backend_at(index) : 0;

	return b && b->flags & family && b->flags & (EDGE_BACKEND_LOCAL | EDGE_BACKEND_AWAY) ? b
											     : 0;
}

static __always_inline int
is_away(const struct edge_backend *b)
{
	return !(b->flags & EDGE_BACKEND_LOCAL);
}

static __always_inline int
is_relays(__u32 index)
{
	const struct edge_backend *b = index ? backend_at(index) : 0;

	return !b || !(b->flags & (EDGE_BACKEND_LOCAL | EDGE_BACKEND_AWAY));
}

static __always_inline void
count_kept(__u32 service)
{
	struct edge_service_count *n = bpf_map_lookup_elem(&services, &service);

	if (n)
		n->kept++;
}

/* A later change of the table has pins of its own. */
static __always_inline int
pin_holds(const struct edge_pin *pin, const struct edge_owner *o)
{
	return (pin->epoch & EDGE_PIN_EPOCH) == (o->epoch & EDGE_PIN_EPOCH) &&
	       (pin->backend == 0 || pinned(pin));
}

/* The connection cannot be the owner's. */
static __always_inline int
pin_is_taken(const struct edge_pin *pin)
{
	return EDGE_PIN_TRIES(pin->epoch) == EDGE_TRIES_TAKEN;
}

/* Nor can one that comes after it, for all that is known; the owner is asked again when that one
 * takes none any more. */
static __always_inline int
pin_takes_next(const struct edge_pin *pin, const struct edge_owner *o)
{
	const struct edge_backend *b;

	if (!pin_is_taken(pin) || !pin_holds(pin, o))
		return 0;
	b = pin->backend ? pinned(pin) : 0;
	return !b || !(b->flags & EDGE_BACKEND_CLOSED);
}

/* From now on. tries: as in a pin. */
static __always_inline __u32
pin_flow(void *flows, const void *key, const struct edge_owner *o, __u32 backend, __u32 tries)
{
	struct edge_pin fresh = {.backend = (__u16)backend, .epoch = o->epoch & EDGE_PIN_EPOCH};
	const struct edge_backend *b = backend_at(backend);

	if (tries)
		fresh.epoch |= tries << EDGE_PIN_TRIES_AT | EDGE_PIN_NOW(bpf_ktime_get_ns())
								    << EDGE_PIN_WHEN_AT;
	if (b)
		fresh.generation = b->generation;
	bpf_map_update_elem(flows, key, &fresh, BPF_ANY);
	return backend;
}

static __always_inline __u32
settle(void *flows, const void *key, const struct edge_vip *vip, const struct edge_owner *o,
       __u32 protocol, __u8 flags)
{
	__u32 cur = EDGE_CUR(o->slot), prev = EDGE_PREV(o->slot);
	struct edge_backend *b;
	struct edge_pin *pin;

	if (protocol == IPPROTO_UDP) {
		b = prev ? backend_at(prev) : 0;
		return b && !(b->flags & EDGE_BACKEND_DRAINING) ? prev : cur;
	}
	pin = bpf_map_lookup_elem(flows, key);
	if (asked_is_syn(protocol, flags) && !(pin && pin_takes_next(pin, o)))
		return pin_flow(flows, key, o, cur, 0);
	if (pin && pin_holds(pin, o)) {
		if (pin->backend != cur)
			count_kept(vip->service);
		return pin->backend;
	}
	if (vip->flags & EDGE_VIP_SHARED && is_relays(prev))
		return EDGE_UNSURE;
	if (prev != cur)
		count_kept(vip->service);
	return prev;
}

/* Whether a connection is the relay's, or anybody's of this machine; a listener is none. */
static __always_inline int
has_socket(struct xdp_md *ctx, struct bpf_sock_tuple *tuple, __u32 bytes)
{
	struct bpf_sock *sk = bpf_skc_lookup_tcp(ctx, tuple, bytes, BPF_F_CURRENT_NETNS, 0);
	int is_flow;

	if (!sk)
		return 0;
	is_flow = sk->state != BPF_TCP_LISTEN;
	bpf_sk_release(sk);
	return is_flow;
}

static __always_inline __u32
pick4(struct xdp_md *ctx, const struct edge_vip *vip, const struct edge_flow4 *flow, __u8 flags)
{
	struct edge_owner o = owner(vip, edge_hash4(flow));
	struct bpf_sock_tuple tuple = {0};
	__u32 index;

	if (!(o.slot & EDGE_CHANGES))
		return EDGE_CUR(o.slot);
	index = settle(&flows4, flow, vip, &o, flow->protocol, flags);
	if (index != EDGE_UNSURE)
		return index;
	tuple.ipv4.saddr = flow->source;
	tuple.ipv4.daddr = flow->dest;
	tuple.ipv4.sport = flow->source_port;
	tuple.ipv4.dport = flow->dest_port;
	if (!has_socket(ctx, &tuple, sizeof(tuple.ipv4)))
		return pin_flow(&flows4, flow, &o, EDGE_CUR(o.slot), 1);
	count_kept(vip->service);
	return 0;
}

static __always_inline __u32
pick6(struct xdp_md *ctx, const struct edge_vip *vip, const struct edge_flow6 *flow, __u8 flags)
{
	struct edge_owner o = owner(vip, edge_hash6(flow));
	struct bpf_sock_tuple tuple = {0};
	__u32 index;

	if (!(o.slot & EDGE_CHANGES))
		return EDGE_CUR(o.slot);
	index = settle(&flows6, flow, vip, &o, flow->protocol, flags);
	if (index != EDGE_UNSURE)
		return index;
	__builtin_memcpy(tuple.ipv6.saddr, flow->source, 16);
	__builtin_memcpy(tuple.ipv6.daddr, flow->dest, 16);
	tuple.ipv6.sport = flow->source_port;
	tuple.ipv6.dport = flow->dest_port;
	if (!has_socket(ctx, &tuple, sizeof(tuple.ipv6)))
		return pin_flow(&flows6, flow, &o, EDGE_CUR(o.slot), 1);
	count_kept(vip->service);
	return 0;
}

/* ---- on the way to it ---- */

static __always_inline void
count_service(struct xdp_md *ctx, __u32 service)
{
	struct edge_service_count *n = bpf_map_lookup_elem(&services, &service);

	if (n) {
		n->packets++;
		n->bytes += (__u64)(ctx->data_end - ctx->data);
	}
}

/* Hands the frame to the container's device. Only addresses of the Ethernet header are written:
 * the caller has rewritten the rest. */
static __always_inline int
deliver(struct xdp_md *ctx, const struct edge_backend *b)
{
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return pass(ctx);
	__builtin_memcpy(eth->h_dest, b->mac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, b->host_mac, ETH_ALEN);
	verdict(ctx, EDGE_REDIRECTED, 0);
	return (int)bpf_redirect_map(&ports, b->ifindex, XDP_DROP);
}

/* To the fabric, where tc_across_out brings it on its way to the backend's node, as it is. What has
 * no hop left for that is the relay's, as all that cannot be sent. */
static __always_inline int
send_across(struct xdp_md *ctx, const struct edge_backend *b, __u32 index, __u8 hops)
{
	struct edge_across_mac *mac = (void *)(long)ctx->data;
	const struct edge_config *c;
	__u32 zero = 0;

	c = bpf_map_lookup_elem(&config, &zero);
	if (!c || !c->outer || hops <= 1 || (void *)(mac + 1) > (void *)(long)ctx->data_end)
		return pass(ctx);
	mac->mark[0] = bpf_htons(EDGE_ACROSS_MARK0);
	mac->mark[1] = bpf_htons(EDGE_ACROSS_MARK1);
	mac->backend = (__u16)index;
	mac->generation = b->generation;
	mac->zero_[0] = mac->zero_[1] = 0;
	verdict(ctx, EDGE_REDIRECTED, 0);
	return (int)bpf_redirect(c->outer, 0);
}

#endif
