/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_TUNNEL_PRIVATE_H
#define DATAPLANE_TUNNEL_PRIVATE_H

/* Inside of dataplane/tunnel*.c. */

#include "dataplane/hook.h"
#include "dataplane/lb.h"
#include "dataplane/tunnel.h"

enum { TUNNEL_CPUS_MAX = 4096 }; /* of this machine */

/* In the order in which they are written. */
enum tunnel_map { TUNNEL_IDS, TUNNEL_REMOTES, TUNNEL_PEERS4, TUNNEL_PEERS6, TUNNEL_MAPS };

struct tunnel_peer {
	uint64_t id;
	char name[MSG_NAME];
	struct tc_overlay_bytes counted;
	bool has_counted;
};

/* A program on one side of a device. */
struct tunnel_hook {
	const char *name; /* of its pin */
	bool egress;
	bool stands; /* it is there: ours, or a predecessor's */
	bool ours;
	int ifindex; /* the device that it is, or was to be, on; 0: none */
	struct hook hook;
};

struct tunnel {
	struct veth *veth;
	struct tunnel_hook in, out;                 /* of the VXLAN device */
	struct tunnel_hook sealed;                  /* of the device of sealed traffic, ingress */
	int ifindex, sealed_on;                     /* that packets are sent to; 0: none */
	struct lb_rows now[TUNNEL_MAPS];            /* what the maps hold, sorted */
	bool known;                                 /* what they hold */
	struct tunnel_peer peers[TUNNEL_PEERS_MAX]; /* by id */
	size_t peers_count;
};

/* What the maps hold is not known any more. */
void tunnel_peers_forget(struct tunnel *t);

#endif
