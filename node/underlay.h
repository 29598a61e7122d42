/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_UNDERLAY_H
#define NODE_UNDERLAY_H

/*
 * The device over which containers of different nodes reach each other: one VXLAN device in the
 * fabric, whose UDP socket is in node's network namespace (listen.vxlan), and one route per peer.
 * Where a packet goes and whether one may come in is decided by the data path's programs; without
 * them the device carries nothing.
 * Runs where node/uplink.h runs. Threading: one thread.
 */

#include "base/err.h"
#include "ring/msg.h"
#include "spec/config.h"

#define UNDERLAY_IN_FABRIC "vxlan"

enum { UNDERLAY_PEERS_MAX = MSG_PEERS_MAX };

/* The other nodes that packets go to without encryption, and how. */
struct underlay_peers {
	uint32_t mtu; /* of the network between the nodes */
	uint32_t vni;
	uint32_t count;
	/* By name. One without a prefix4 has no route: only what a program sends there goes this
	 * way. */
	struct config_peer list[UNDERLAY_PEERS_MAX];
};

struct underlay_wanted {
	int fabric; /* borrowed */
	struct config_listen listen;
	const struct underlay_peers *peers; /* borrowed */
	bool more; /* peers only came since it was applied with success: nothing is taken down */
};

/* Most of the room is empty: only what is there is copied. */
void underlay_peers_copy(struct underlay_peers *to, const struct underlay_peers *from);

struct underlay_found {
	enum msg_underlay_state state;
	uint32_t ifindex;
	struct err err; /* MSG_UNDERLAY_FAILED: why */
};

void underlay_apply(const struct underlay_wanted *wanted, struct underlay_found *out);
/* Whether the two ask for different things. */
bool underlay_differs(const struct underlay_wanted *a, const struct underlay_wanted *b);
/* Whether b has all peers of a as they are, and the same device. */
bool underlay_grows(const struct underlay_wanted *a, const struct underlay_wanted *b);

#endif
