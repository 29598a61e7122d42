/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_TC_MAPS_H
#define DATAPLANE_BPF_TC_MAPS_H

/*
 * Maps of the programs of tc_veth.bpf.c, and how each of them ends: let a packet through, drop it,
 * leave it to the fabric's stack. What is rare goes on in other programs (map `stages`), so that
 * what is frequent stays short; a place of it that is empty costs nothing. What they must know
 * stands in the packet's control block.
 */

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "dataplane/bpf/tc_event.h"
#include "dataplane/bpf/tc_overlay.h"
#include "dataplane/bpf/tc_veth.h"

#define MAP(name, kind, max, key_type, value_type) \
	struct {                                   \
		__uint(type, kind);                \
		__uint(max_entries, max);          \
		__type(key, key_type);             \
		__type(value, value_type);         \
	} name SEC(".maps")

MAP(local4, BPF_MAP_TYPE_HASH, TC_VETH_LOCAL_MAX, __u32, struct tc_veth_local);
MAP(local6, BPF_MAP_TYPE_HASH, TC_VETH_LOCAL_MAX, struct tc_veth_key6, struct tc_veth_local);
MAP(sources, BPF_MAP_TYPE_HASH, TC_VETH_SOURCES_MAX, __u32, struct tc_veth_source);
MAP(counts, BPF_MAP_TYPE_PERCPU_ARRAY, TC_COUNTS, __u32, __u64);
/* Slot 0: where packets to the world go first; empty while nothing is balanced. */
MAP(chain, BPF_MAP_TYPE_PROG_ARRAY, 1, __u32, __u32);
MAP(stages, BPF_MAP_TYPE_PROG_ARRAY, TC_STAGES, __u32, __u32);
/* Of other nodes' replicas; those of this node's stand where their packets are looked up. */
MAP(identities4, BPF_MAP_TYPE_HASH, TC_IDENTITIES_MAX, __u32, struct tc_identity);
MAP(identities6, BPF_MAP_TYPE_HASH, TC_IDENTITIES_MAX, struct tc_veth_key6, struct tc_identity);
MAP(scene, BPF_MAP_TYPE_ARRAY, 1, __u32, struct tc_scene);
MAP(allowances, BPF_MAP_TYPE_PERCPU_ARRAY, TC_BUDGETS, __u32, struct tc_allowance);
MAP(seen, BPF_MAP_TYPE_LRU_HASH, TC_SEEN_MAX, struct tc_flow, __u32);
MAP(overlay_self, BPF_MAP_TYPE_ARRAY, 1, __u32, struct tc_overlay_self);

/* Of those there may be many, and rarely are: memory is taken for what is there. Outer address ->
 * id. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TC_OVERLAY_ENTRIES_MAX);
	__type(key, struct tc_overlay_addr);
	__type(value, __u64);
} remotes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TC_OVERLAY_ENTRIES_MAX);
	__type(key, __u64);
	__type(value, struct tc_overlay_bytes);
} peer_bytes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TC_OVERLAY_ENTRIES_MAX);
	__type(key, struct tc_overlay_key4);
	__type(value, struct tc_overlay_peer);
} peers4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TC_OVERLAY_ENTRIES_MAX);
	__type(key, struct tc_overlay_key6);
	__type(value, struct tc_overlay_peer);
} peers6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, TC_EVENTS_BYTES);
} events SEC(".maps");

/* ---- the control block ---- */

enum { TC_AT_IP = sizeof(struct ethhdr) };

/* What the next stage is told: cb[0] place, way, reason and where the IP header is, a byte each;
 * cb[1] the verdict, or the MTU; cb[2], cb[3] the peer. */
struct tc_note {
	__u32 place, way, reason, at;
	__u64 peer;
};

static __always_inline void
tc_note_put(struct __sk_buff *skb, const struct tc_note *n, __u32 verdict)
{
	skb->cb[0] = n->place | n->way << 8 | n->reason << 16 | n->at << 24;
	skb->cb[1] = verdict;
	skb->cb[2] = (__u32)n->peer;
	skb->cb[3] = (__u32)(n->peer >> 32);
}

static __always_inline struct tc_note
tc_note_get(const struct __sk_buff *skb)
{
	return (struct tc_note){.place = skb->cb[0] & 0xff,
				.way = skb->cb[0] >> 8 & 0xff,
				.reason = skb->cb[0] >> 16 & 0xff,
				.at = skb->cb[0] >> 24,
				.peer = skb->cb[2] | (__u64)skb->cb[3] << 32};
}

/* ---- how it ends ---- */

static __always_inline void
tc_count(__u32 which)
{
	__u64 *n = bpf_map_lookup_elem(&counts, &which);

	if (n)
		(*n)++;
}

static __always_inline int
tc_drop(struct __sk_buff *skb, const struct tc_note *n)
{
	tc_count(TC_COUNT_DROP(n->place, n->reason));
	tc_note_put(skb, n, 0);
	bpf_tail_call(skb, &stages, TC_STAGE_DROPPED);
	return TC_ACT_SHOT;
}

static __always_inline int
tc_pass(struct __sk_buff *skb, const struct tc_note *n, int verdict)
{
	tc_count(TC_COUNT_WAY(n->place, n->way));
	tc_note_put(skb, n, (__u32)verdict);
	bpf_tail_call(skb, &stages, TC_STAGE_SEEN);
	return verdict;
}

static __always_inline int
tc_leave(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &chain, 0);
	tc_count(TC_COUNT_WAY(MSG_FLOW_VETH, MSG_FLOW_STACK));
	return TC_ACT_OK;
}

/* Out of a container, to whatever the balancer or the stack makes of it. */
static __always_inline int
tc_leave_seen(struct __sk_buff *skb)
{
	struct tc_note n = {.place = MSG_FLOW_VETH, .way = MSG_FLOW_STACK, .at = TC_AT_IP};

	tc_note_put(skb, &n, (__u32)TC_ACT_UNSPEC);
	bpf_tail_call(skb, &stages, TC_STAGE_SEEN);
	return tc_leave(skb);
}

static __always_inline int
tc_drop_at(struct __sk_buff *skb, enum msg_flow_place place, enum flow_reason reason)
{
	struct tc_note n = {.place = place, .reason = reason, .at = TC_AT_IP};

	return tc_drop(skb, &n);
}

/* So many in a second, on each CPU. */
static __always_inline struct tc_allowance *
tc_allow(enum tc_budget which, __u32 a_second)
{
	__u32 key = which;
	struct tc_allowance *a = bpf_map_lookup_elem(&allowances, &key);
	__u64 now = bpf_ktime_get_ns();

	if (!a)
		return 0;
	if (now - a->since_ns >= 1000000000) {
		a->since_ns = now;
		a->used = 0;
	}
	if (a->used >= a_second) {
		a->lost++;
		return 0;
	}
	a->used++;
	return a;
}

/* ---- whose ---- */

static __always_inline int
same6(const struct in6_addr *a, const __u8 *b)
{
	const __u32 *w = (const __u32 *)b;

	return a->s6_addr32[0] == w[0] && a->s6_addr32[1] == w[1] && a->s6_addr32[2] == w[2] &&
	       a->s6_addr32[3] == w[3];
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

/* Who is not known is judged by nobody, and does not pass: there is no waiting for who may yet be
 * told of, since whatever counts the time of that would be for containers to fill. */
static __always_inline int
tc_is_known(const struct tc_identity *i)
{
	return i && i->flags & TC_IDENTITY_KNOWN;
}

#endif
