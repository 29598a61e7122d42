/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef DATAPLANE_BPF_TC_VETH_H
#define DATAPLANE_BPF_TC_VETH_H

/*
 * What the programs on containers' devices and their loader share: keys and values of maps. Only
 * fixed-width types of linux/types.h; addresses in network order.
 */

#include <linux/types.h>
#include "dataplane/bpf/tc_judge.h"

enum {
	TC_VETH_FOLDER = 1, /* where pins are; names of maps carry the number of what is in them */
	TC_VETH_ABI = 7, /* a change of any struct of tc_*.h, of the size of a map, or of the number
			    or order of reasons, ways, places or stages, is another ABI: other maps
			  */
	TC_VETH_LOCAL_MAX = 16384,
	TC_VETH_SOURCES_MAX = 8192,
	TC_IDENTITIES_MAX = 32768, /* addresses of replicas of other nodes, of each family */
};

struct tc_veth_key6 {
	__u8 addr[16];
};

/* Where an address of this node's containers is. */
struct tc_veth_local {
	__u32 ifindex; /* host end of its veth */
	__u8 mac[6];   /* of the container's end */
	__u8 pad_[6];
	struct tc_identity identity;
};

/* Which addresses may come out of a veth (key: ifindex of the host end). */
struct tc_veth_source {
	__u32 addr4;
	__u32 has6;
	__u8 addr6[16];
	struct tc_identity identity;
};

/* The only element of map `scene`. */
struct tc_scene {
	__u32 epoch; /* of who observes: a flow is told once in each */
};

/* Slots of map `stages`: programs that others go on with. TC_STAGE_SEEN is empty while nobody
 * observes, those of clients of other nodes while no endpoint is balanced here. */
enum tc_stage {
	TC_STAGE_AWAY,
	TC_STAGE_DROPPED,
	TC_STAGE_SEEN,
	TC_STAGE_TOO_LARGE,
	TC_STAGE_ACROSS,
	TC_STAGE_RETURN,
	TC_STAGES,
};

#endif
