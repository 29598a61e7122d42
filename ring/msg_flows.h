/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_MSG_FLOWS_H
#define RING_MSG_FLOWS_H

/* What the data path has seen (struct msg_flow), as the scheduler keeps it for people: the newest
 * ones of each node, with names. The rules are those of ring/msg.h. */

#include "ring/msg_network.h"

enum { MSG_FLOWS_GIVEN_MAX = 1000 /* flows in one answer */ };

/* Asked by api. The answer's file: an array of struct msg_flow_row, oldest first; the last one is
 * the mark: no flow, verdict 0, its id that of the newest flow there is, matching or not, and
 * flow.lost how many flows above `since` are not there any more, or never were. */
struct msg_flows_op {
	uint32_t node;    /* whose; 0: of this node */
	uint32_t limit;   /* at most, the newest: 1 .. MSG_FLOWS_GIVEN_MAX */
	uint64_t since;   /* ids above this */
	uint32_t wait;    /* of another node: answered when there are some, or after a while */
	uint32_t observe; /* flows that are let through are wanted, too, from now on for a while */
	/* All of these must hold: */
	uint32_t verdict; /* 0: any */
	uint32_t pad_;
	char deployment[MSG_NAME]; /* of either end; "": any */
	char service[MSG_NAME];    /* likewise, of the same end */
	char peer[MSG_NAME];       /* the node of either end, or between which it went; "": any */
};

/* Who an address is; "" and 0: not known, or nobody's. */
struct msg_flow_name {
	char deployment[MSG_NAME];
	char service[MSG_NAME];
	char node[MSG_NAME];
	uint32_t index; /* N of "web.N" */
	uint32_t pad_;
};

struct msg_flow_row {
	uint64_t id; /* of the node that saw it, from 1 on; begins again with its scheduler */
	struct msg_flow flow;
	struct msg_flow_name source, destination;
	char peer[MSG_NAME]; /* the other node */
};

#endif
