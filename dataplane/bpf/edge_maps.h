/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_EDGE_MAPS_H
#define DATAPLANE_BPF_EDGE_MAPS_H

/* The maps of the balancer alone, and the counting that all of its XDP programs do. */

#include "dataplane/bpf/edge_chain.h"
#include "dataplane/bpf/edge_tables.h"

EDGE_MAP(flows4, BPF_MAP_TYPE_LRU_HASH, EDGE_FLOWS_DEFAULT, struct edge_flow4, struct edge_pin);
EDGE_MAP(flows6, BPF_MAP_TYPE_LRU_HASH, EDGE_FLOWS_DEFAULT, struct edge_flow6, struct edge_pin);
EDGE_MAP(registry, BPF_MAP_TYPE_ARRAY, EDGE_SERVICES_MAX, __u32, struct edge_service);
EDGE_MAP(counts, BPF_MAP_TYPE_PERCPU_ARRAY, EDGE_LINKS *EDGE_VERDICTS, __u32, struct edge_count);
EDGE_MAP(drops, BPF_MAP_TYPE_PERCPU_ARRAY, EDGE_LINKS *EDGE_REASONS, __u32, __u64);
EDGE_MAP(services, BPF_MAP_TYPE_PERCPU_ARRAY, EDGE_SERVICES_MAX, __u32, struct edge_service_count);

/* What tc_back goes on with: programs of clients.bpf.c. */
EDGE_MAP(steps, BPF_MAP_TYPE_PROG_ARRAY, EDGE_STEPS, __u32, __u32);

/* Values are entries of the owner's network namespace: the loader writes them inside the fabric. */
EDGE_MAP(ports, BPF_MAP_TYPE_DEVMAP_HASH, EDGE_PORTS_MAX, __u32, __u32);

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, EDGE_PREFIXES_MAX);
	__type(key, struct edge_prefix);
	__type(value, __u32);
} denied SEC(".maps"), allowed SEC(".maps");

/* The whole table of a service is one value: it is swapped by one write to the outer map. */
struct edge_inner_big {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct edge_table_big));
};

struct edge_inner_small {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct edge_table_small));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, EDGE_SERVICES_MAX);
	__type(key, __u32);
	__array(values, struct edge_inner_big);
} tables_big SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, EDGE_SERVICES_MAX);
	__type(key, __u32);
	__array(values, struct edge_inner_small);
} tables_small SEC(".maps");

/* ---- verdicts ---- */

static __always_inline int
verdict(struct xdp_md *ctx, enum edge_verdict which, int action)
{
	__u32 key = (ctx->ingress_ifindex % EDGE_LINKS) * EDGE_VERDICTS + which;
	struct edge_count *n = bpf_map_lookup_elem(&counts, &key);

	if (n) {
		n->packets++;
		n->bytes += (__u64)(ctx->data_end - ctx->data);
	}
	return action;
}

static __always_inline int
drop(struct xdp_md *ctx, enum edge_reason why)
{
	__u32 key = (ctx->ingress_ifindex % EDGE_LINKS) * EDGE_REASONS + why;
	__u64 *n = bpf_map_lookup_elem(&drops, &key);

	if (n)
		(*n)++;
	return verdict(ctx, EDGE_DROPPED, XDP_DROP);
}

static __always_inline int
pass(struct xdp_md *ctx)
{
	return verdict(ctx, EDGE_PASSED, XDP_PASS);
}

#endif
