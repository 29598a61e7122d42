// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Clients' packets between nodes (docs/decisions/017). A client came to one node, its replica is on
 * another one: the packet goes there as it is, in an IP header of its own family (protocol 4 or 41,
 * RFC 2003, RFC 2473) from the first node's own address among the containers to that of the
 * container; what it replies goes back in one to that node, which sends it to the client. Both
 * headers are the nodes' own, so that the ways between nodes take them as any packet of the
 * fabric's, sealed or plain, and the receiver knows which node it came from.
 *
 *   tc_across_out   on the fabric's end of the uplink: what the balancer's XDP program has marked
 *                   for a backend of another node
 *   tc_across_in    called by who takes in packets of other nodes, for those with such a header
 *                   that a member of the cluster has sent itself: into the container, with its own
 *                   address and port in it, or out to the client
 *   tc_across_back  called by tc_back: the reply of a flow that came by another node
 *   tc_across_wrap  called by that one: its second half
 *
 * The header of a reply has a number of the container's, as identification (IPv4) or flow label, so
 * that fragments of one container's do not take the place of another's (edge.h, struct edge_place).
 * What came in a header is never sent on in another one. State is kept by the replica's node alone:
 * which node a flow came by (map `notes`), and where fragments go. Works from Linux 5.15.
 */
#include "dataplane/bpf/across_in.h"
#include "dataplane/bpf/across_out.h"

SEC("tc")
int
tc_across_out(struct __sk_buff *skb)
{
	return across_out(skb);
}

SEC("tc")
int
tc_across_in(struct __sk_buff *skb)
{
	return across_in(skb);
}

SEC("tc")
int
tc_across_back(struct __sk_buff *skb)
{
	return across_back(skb);
}

SEC("tc")
int
tc_across_wrap(struct __sk_buff *skb)
{
	return across_back_wrap(skb);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
