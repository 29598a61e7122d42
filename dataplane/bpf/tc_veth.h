/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_TC_VETH_H
#define DATAPLANE_BPF_TC_VETH_H

/*
 * What the program on a container's veth and its loader share: keys and values of its maps, and the
 * counters. Only fixed-width types of linux/types.h; addresses in network order.
 */

#include <linux/types.h>

enum {
	TC_VETH_ABI = 1, /* a change of any struct here is another ABI: other pins */
	TC_VETH_LOCAL_MAX = 16384,
	TC_VETH_SOURCES_MAX = 8192,
};

struct tc_veth_key6 {
	__u8 addr[16];
};

/* Where an address of this node's containers is. */
struct tc_veth_local {
	__u32 ifindex; /* host end of its veth */
	__u8 mac[6];   /* of the container's end */
	__u8 pad_[2];
};

/* Which addresses may come out of a veth (key: ifindex of the host end). */
struct tc_veth_source {
	__u32 addr4;
	__u32 has6;
	__u8 addr6[16];
};

enum tc_veth_count {
	TC_VETH_REDIRECTED,        /* straight into the other container */
	TC_VETH_PASSED,            /* to the fabric's stack */
	TC_VETH_DROP_SOURCE,       /* a source address that is not the container's */
	TC_VETH_DROP_SHORT,        /* headers cut */
	TC_VETH_DROP_UNKNOWN_LINK, /* the veth is not in the map of sources */
	TC_VETH_COUNTS,
};

#endif
