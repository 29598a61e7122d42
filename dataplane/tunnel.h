/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_TUNNEL_H
#define DATAPLANE_TUNNEL_H

/*
 * The data path between nodes: maps of peers, and the programs on the devices that node made: the
 * VXLAN device of plain traffic, the one of sealed traffic. Everything is pinned with what
 * dataplane/veth.h pins and is taken over in the same way. Threading: one owner; calls do not
 * block.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/metric.h"
#include "dataplane/bpf/tc_overlay.h"
#include "dataplane/veth.h"
#include "ring/msg.h"

enum { TUNNEL_PEERS_MAX = MSG_PEERS_MAX };

struct tunnel;

struct tunnel_row {
	const struct msg_peer *peer;
	bool member; /* of the cluster: what its containers are is said in table identity */
	/* Nobody says now: what the maps have of it counts, and one that is not there is a member:
	 * nothing passes unjudged because it was not yet said who is one. */
	bool member_as_before;
};

/* What stands between nodes; NULL or of index 0: it does not. */
struct tunnel_devices {
	const struct msg_underlay *underlay;
	const struct msg_tunnel *tunnel;
	const struct msg_prefix *prefix; /* this node's addresses; NULL: not known yet */
};

/* veth is borrowed. NULL: out of memory. */
struct tunnel *tunnel_new(struct veth *veth);
void tunnel_free(struct tunnel *t); /* pins stay */

/* Makes the maps hold these peers and no others: new ones first, so that packets of a peer that
 * stays are never without it. Only what differs from the last time is written. Rows are another
 * process's and are checked; one that does not hold is left out, and said; more than
 * TUNNEL_PEERS_MAX are, too. After a failure to be called again. */
int tunnel_peers(struct tunnel *t, const struct tunnel_row *rows, size_t count,
		 struct err *err) MUST_CHECK;
/* What of an address is this node's own, as soon as it is known: an address of it that is no
 * container's is nobody's. */
int tunnel_prefix(struct tunnel *t, const struct msg_prefix *prefix, struct err *err) MUST_CHECK;
/* Nothing is sent to a device that has no program of ours, or of a predecessor's where that cannot
 * be replaced; one that fails does not keep the other one back. After a failure to be called again.
 */
int tunnel_devices(struct tunnel *t, const struct tunnel_devices *devices,
		   struct err *err) MUST_CHECK;
/* Adds the bytes that were counted since the last time to the metrics. */
void tunnel_count(struct tunnel *t, struct metric_page *page);

/* Of a peer's plain packets, the sum over CPUs. -1: not to be read. */
int tunnel_bytes(struct tunnel *t, uint64_t id, struct tc_overlay_bytes *out);
/* Descriptors of the programs: tests run packets through them. */
int tunnel_program_in(const struct tunnel *t);
int tunnel_program_out(const struct tunnel *t);
int tunnel_program_sealed(const struct tunnel *t);

#endif
