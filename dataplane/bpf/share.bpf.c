// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * xdp_root of edge.bpf.c once more, for an interface that is shared: libxdp loads it as a part of
 * its dispatcher, which a program that is loaded already cannot become. `chain` is the balancer's.
 */
#include "dataplane/bpf/edge_chain.h"

SEC("xdp")
int
xdp_shared(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &chain, EDGE_STAGE_EDGE);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
