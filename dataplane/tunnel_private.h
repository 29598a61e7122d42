/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_TUNNEL_PRIVATE_H
#define DATAPLANE_TUNNEL_PRIVATE_H

/* Inside of dataplane/tunnel*.c. */

#include "dataplane/hook.h"
#include "dataplane/tunnel.h"

struct tunnel_peer {
	uint64_t id;
	char name[MSG_NAME];
	struct tc_overlay_bytes counted;
	bool has_counted;
};

struct tunnel {
	struct veth *veth;
	struct hook in, out;                        /* of the VXLAN device */
	struct hook sealed;                         /* of the device of sealed traffic, ingress */
	int ifindex, sealed_on;                     /* 0: no hooks */
	struct tunnel_peer peers[TUNNEL_PEERS_MAX]; /* by id */
	size_t peers_count;
};

#endif
