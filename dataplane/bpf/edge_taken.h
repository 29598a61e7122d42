/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_EDGE_TAKEN_H
#define DATAPLANE_BPF_EDGE_TAKEN_H

/*
 * What says that the ports of a connection are taken at its container (edge_asked.h) ends here, on
 * the node that the client came to: the connection is pinned to the next backend of the endpoint
 * (edge_backend.next) that takes any, and when all have said so, to the relay, which has ports of
 * its own. That one gets the SYN that the client sends again. As long as such connections speak,
 * their slots are as those of a table that changes; the loader learns of it by a counter.
 *
 * At an address that is none of the host's there is no relay: the client is refused.
 */

#include "dataplane/bpf/edge_again.h"
#include "dataplane/bpf/edge_back.h"

enum { EDGE_TAKEN_LOOK = 16 }; /* that many are looked at; when none of them takes it, the relay */

struct taken {
	const struct edge_vip *vip;
	__u32 hash;
	__u32 l4;
	__u16 family;
};

/* Not one that drains, or whose node is doubted. */
static __always_inline __u32
taken_after(__u32 index, __u32 cur, __u16 family)
{
	for (int i = 0; i < EDGE_TAKEN_LOOK; i++) {
		const struct edge_backend *b;

		index = again_after(index);
		if (!index || index == cur)
			return 0;
		b = backend_at(index);
		if (b && b->flags & family && !(b->flags & EDGE_BACKEND_CLOSED))
			return index;
	}
	return 0;
}

static __always_inline __u32
taken_next(void *flows, const void *key, const struct edge_owner *o, __u16 family)
{
	const struct edge_pin *pin = bpf_map_lookup_elem(flows, key);
	__u32 cur = EDGE_CUR(o->slot);
	int is_later = pin && pin_holds(pin, o) && pin_is_taken(pin);

	return taken_after(is_later ? pin->backend : cur, cur, family);
}

/* 0: the message goes no further. */
static __always_inline int
taken_pin(struct __sk_buff *skb, const struct taken *t, void *flows, const void *key)
{
	struct edge_owner o = owner(t->vip, t->hash);
	__u32 next = taken_next(flows, key, &o, t->family), service = t->vip->service;
	struct edge_service_count *n;

	if (!next && t->vip->flags & EDGE_VIP_DEDICATED) {
		back_flags(skb, t->l4, EDGE_TCP_RST | EDGE_TCP_ACK);
		return 1;
	}
	owner_opens(t->vip, t->hash);
	pin_flow(flows, key, &o, next, EDGE_TRIES_TAKEN);
	n = bpf_map_lookup_elem(&services, &service);
	if (n)
		n->taken++;
	return 0;
}

static __always_inline int
taken4(struct __sk_buff *skb, void *data, void *end)
{
	struct taken t = {.family = EDGE_BACKEND_V4};
	struct edge_flow4 flow;
	struct edge_head h;

	if (!reply_tcp4(data, end, &h, &flow))
		return 0;
	t.vip = vip_of4(&flow);
	t.hash = edge_hash4(&flow);
	t.l4 = h.l4;
	return t.vip ? taken_pin(skb, &t, &flows4, &flow) : 0;
}

static __always_inline int
taken6(struct __sk_buff *skb, void *data, void *end)
{
	struct taken t = {.family = EDGE_BACKEND_V6};
	struct edge_flow6 flow;
	struct edge_head h;

	if (!reply_tcp6(data, end, &h, &flow))
		return 0;
	t.vip = vip_of6(&flow);
	t.hash = edge_hash6(&flow);
	t.l4 = h.l4;
	return t.vip ? taken_pin(skb, &t, &flows6, &flow) : 0;
}

/* Whether the client shall see it. */
static __always_inline int
taken(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	return skb->protocol == bpf_htons(ETH_P_IP) ? taken4(skb, data, end)
						    : taken6(skb, data, end);
}

#endif
