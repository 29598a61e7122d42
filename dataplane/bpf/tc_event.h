/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_TC_EVENT_H
#define DATAPLANE_BPF_TC_EVENT_H

/* What the programs tell of packets, and the numbers of their counters. Addresses and ports in
 * network order, IPv4 as ::ffff:a.b.c.d. */

#include <linux/types.h>
#include "dataplane/bpf/tc_judge.h"
#include "ring/flow_reason.h"

enum {
	TC_PLACES = MSG_FLOW_UPLINK + 1, /* of MSG_FLOW_EDGE nothing is counted here */
	TC_WAYS = MSG_FLOW_STACK + 1,
	TC_SLOTS = TC_WAYS + FLOW_REASONS_,
	TC_COUNTS = TC_PLACES * TC_SLOTS,

	TC_EVENTS_BYTES = 1 << 18, /* of the ring that events wait in */
	TC_SEEN_MAX = 16384,       /* flows that are remembered as told */
	TC_DROPS_A_SECOND = 200,   /* that are told, of each CPU */
	TC_FLOWS_A_SECOND = 1000,
	TC_ANSWERS_A_SECOND = 1000, /* that a packet is too large */
};

/* Place of a counter: what was let through, what was dropped. */
#define TC_COUNT_WAY(place, way) ((place)*TC_SLOTS + (way))
#define TC_COUNT_DROP(place, reason) ((place)*TC_SLOTS + TC_WAYS + (reason))

/* What is limited, each CPU for itself. */
enum tc_budget { TC_BUDGET_DROPS, TC_BUDGET_FLOWS, TC_BUDGET_ANSWERS, TC_BUDGETS };

struct tc_allowance {
	__u64 since_ns;
	__u32 used;
	__u32 lost; /* refused since the last one that was granted */
};

struct tc_event {
	__u64 mono_ns;
	__u64 peer; /* id; 0: none, or not known */
	__u8 from[16], to[16];
	struct tc_identity source, destination;
	__u32 ifindex;
	__u32 length; /* from the IP header on */
	__u32 lost;
	__u16 from_port, to_port;
	__u8 verdict, reason, way, place; /* enums of ring/flow_reason.h */
	__u8 protocol, tcp_flags;
	__u8 pad_[6];
};

/* Key of a flow that was told. */
struct tc_flow {
	__u8 from[16], to[16];
	__u16 from_port, to_port;
	__u32 protocol;
};

#endif
