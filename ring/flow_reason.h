/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 OR BSD-2-Clause */
#ifndef RING_FLOW_REASON_H
#define RING_FLOW_REASON_H

/*
 * What the data path's programs in the kernel, their counters and whoever shows a flow must agree
 * on. Nothing is included: programs for the kernel use it too. Numbers are kept: new ones go to the
 * end, and are another TC_VETH_ABI (dataplane/bpf/tc_veth.h), as counters in pinned maps have them.
 */

enum msg_flow_verdict { MSG_FLOW_FORWARDED = 1, MSG_FLOW_DROPPED };

/* Where a packet went, or would have gone; 0: it was dropped before that was known. */
enum msg_flow_way {
	MSG_FLOW_LOCAL = 1, /* to a container of this node */
	MSG_FLOW_PLAIN,     /* to or from another node: VXLAN */
	MSG_FLOW_SEALED,    /* to or from another node: WireGuard */
	MSG_FLOW_STACK,     /* to the fabric's stack: proxies, the name server, the world */
};

/* Where it was seen. */
enum msg_flow_place {
	MSG_FLOW_VETH = 1, /* out of a container of this node */
	MSG_FLOW_VXLAN,    /* in from another node, plain */
	MSG_FLOW_TUNNEL,   /* in from another node, sealed */
	MSG_FLOW_FABRIC,   /* out of the fabric's stack, to another node */
	MSG_FLOW_EDGE,     /* in from the world, for a tcp or udp endpoint */
	MSG_FLOW_UPLINK,   /* in from the world, from a client, to another node */
};

/*
 * Why a packet is dropped: label "reason" of zlayer_dataplane_drops_total, and a sentence.
 *
 *   X(NAME, "label", "sentence")
 */

#define FLOW_REASONS(X)                                                                       \
	X(SOURCE, "source", "its source address is not one of its sender's")                  \
	X(SHORT, "short", "its headers are cut")                                              \
	X(UNKNOWN_LINK, "unknown_link", "its device is no container's that this node knows")  \
	X(TUNNEL, "tunnel", "it came by no tunnel of this network")                           \
	X(PEER, "peer", "it came from an address that is no node's")                          \
	X(DESTINATION, "destination", "it is for nobody here, and no node has its address")   \
	X(ISOLATED, "isolated", "the overlays of its two services do not let it pass")        \
	X(UNSEALED, "unsealed", "it came unencrypted, and its overlay wants encryption")      \
	X(UNKNOWN, "unknown", "its source or destination is no replica of the cluster")       \
	X(NO_WAY, "no_way", "the way that it may take to the other node is not there now")    \
	X(TOO_LARGE, "too_large", "it is larger than its path takes; the sender was told so") \
	X(DENIED, "denied", "limits of its endpoint do not let its sender in")                \
	X(CLIENT, "client", "its header says it is a client's, and what is inside is not")    \
	X(ENDPOINT, "endpoint", "it is a client's, and its replica has no such endpoint")     \
	X(HOPS, "hops", "it has made as many hops as it may")

#define FLOW_REASON_ENUM_(name, label, text) FLOW_##name,

enum flow_reason {
	FLOW_PASSED = 0, /* not dropped */
	FLOW_REASONS(FLOW_REASON_ENUM_) FLOW_REASONS_,
};

#endif
