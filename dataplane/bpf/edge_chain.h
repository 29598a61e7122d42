/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_EDGE_CHAIN_H
#define DATAPLANE_BPF_EDGE_CHAIN_H

/* What stands on an interface calls the balancer through this map, and nothing else. */

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

enum edge_stage { EDGE_STAGE_EDGE, EDGE_STAGE_ICMP, EDGE_STAGE_DENIED, EDGE_STAGES = 8 };

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, EDGE_STAGES);
	__type(key, __u32);
	__type(value, __u32);
} chain SEC(".maps");

#endif
