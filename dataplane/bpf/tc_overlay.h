/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_TC_OVERLAY_H
#define DATAPLANE_BPF_TC_OVERLAY_H

/* What the programs between nodes and their loader share. Addresses in network order. */

#include <linux/types.h>

enum {
	TC_OVERLAY_PEERS_MAX = 10000, /* as MSG_PEERS_MAX */
	/* Of the maps of peers: those that come stand there before those that go are taken out. */
	TC_OVERLAY_ENTRIES_MAX = 2 * TC_OVERLAY_PEERS_MAX,
};

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

/* Bits as of enum msg_way; the last one is our own. */
enum tc_peer_flag {
	TC_PEER_PLAIN = 1 << 0,
	TC_PEER_SEALED = 1 << 1,
	TC_PEER_TRUSTED = 1 << 2,
	TC_PEER_MEMBER = 1 << 8, /* of the cluster: its replicas have identities */
};

/* Where a prefix is. */
struct tc_overlay_peer {
	__u64 id;
	struct tc_overlay_addr remote;
	__u32 flags;
	__u32 mtu;  /* of the sealed way; 0: as of this node's containers */
	__u32 own4; /* the node's own address there: its proxies, its name server */
	__u32 pad_;
	__u8 own6[16];
};

struct tc_overlay_bytes {
	__u64 received;
	__u64 sent;
};

/* The only element of map overlay_self. */
struct tc_overlay_self {
	__u32 ifindex; /* the VXLAN device; 0: there is none */
	__u32 vni;
	__u32 mtu;  /* of containers */
	__u32 own4; /* the node's own address in its prefix */
	__u8 own6[16];
	struct tc_overlay_addr local; /* all zero: any */
	__u8 mask6[16];               /* of this node's prefix; all zero: it has none */
	__u32 mask4;                  /* as well */
	__u32 tunnel;                 /* the device of sealed traffic; 0: there is none */
};

#endif
