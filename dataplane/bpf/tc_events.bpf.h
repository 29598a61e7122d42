/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_TC_EVENTS_BPF_H
#define DATAPLANE_BPF_TC_EVENTS_BPF_H

/* Where events wait to be read, and how many may be told. The balancer's programs have the same two
 * maps: their loader takes over those of tc_veth.bpf.c. */

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "dataplane/bpf/tc_event.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, TC_EVENTS_BYTES);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TC_BUDGETS);
	__type(key, __u32);
	__type(value, struct tc_allowance);
} allowances SEC(".maps");

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

#endif
