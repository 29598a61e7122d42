/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_TC_OVERLAY_H
#define DATAPLANE_BPF_TC_OVERLAY_H

/* What the programs between nodes and their loader share. Addresses in network order. */

#include <linux/types.h>

enum { TC_OVERLAY_PEERS_MAX = 64, TC_OVERLAY_PREFIXES_MAX = 1024 };

/* Keys of longest-prefix tables: bits, then the address. */
struct tc_overlay_key4 {
	__u32 bits;
	__u8 addr[4];
};

struct tc_overlay_key6 {
	__u32 bits;
	__u8 addr[16];
};

/* An address outside, IPv4 as ::ffff:a.b.c.d. */
struct tc_overlay_addr {
	__u8 addr[16];
};

/* Where a prefix is. */
struct tc_overlay_peer {
	__u64 id;
	struct tc_overlay_addr remote;
};

struct tc_overlay_bytes {
	__u64 received;
	__u64 sent;
};

/* The only element of map overlay_self. All zero: there is no device. */
struct tc_overlay_self {
	__u32 ifindex; /* the VXLAN device */
	__u32 vni;
	__u32 mtu;  /* of containers */
	__u32 own4; /* the node's own address in its prefix */
	__u8 own6[16];
	struct tc_overlay_addr local; /* all zero: any */
};

enum tc_overlay_count {
	TC_OVERLAY_SENT,             /* from a container's device into the tunnel */
	TC_OVERLAY_DELIVERED,        /* straight into a container */
	TC_OVERLAY_PASSED,           /* to the fabric's stack */
	TC_OVERLAY_SENT_STACK,       /* from the fabric's stack into the tunnel */
	TC_OVERLAY_DROP_TUNNEL,      /* not by a tunnel, or of another VNI or to another address */
	TC_OVERLAY_DROP_PEER,        /* from an outer address that is no peer's */
	TC_OVERLAY_DROP_SOURCE,      /* an inner source that is not that peer's */
	TC_OVERLAY_DROP_DESTINATION, /* for nobody here, or (out) for no peer */
	TC_OVERLAY_DROP_SHORT,       /* headers cut */
	TC_OVERLAY_COUNTS,
};

#endif
