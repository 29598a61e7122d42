/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_PROBING_H
#define OVERLAY_PROBING_H

/*
 * Probes of this node (overlay/prober_udp.h) on its loop, for all other nodes; round trips become
 * metrics. The socket is node's, bound in the fabric.
 * Threading: the loop's thread. One per process.
 */

#include "overlay/peers.h"
#include "ring/station.h"

/* own: this node's own address in the overlay. mtu: of the tunnel. changed: what
 * probing_mtu() says of a peer is something else now. */
void probing_start(struct station *st, const struct addr *own, uint32_t mtu, void (*changed)(void));
void probing_end(void);
/* LEASH_LISTENER "probe": its descriptor is taken. LEASH_TUNNEL: the tunnel's MTU. */
void probing_message(const struct leash_message *message, int *fds);
/* Keys of nodes that are to change them (overlay/prober.h), by ids of table peer: whether this node
 * knows one of that peer's; that one knows one of this node's, and asking it. */
void probing_keys(bool (*knows)(uint64_t id, uint64_t token),
		  void (*known)(uint64_t id, uint64_t token));
void probing_ask_key(uint64_t id, uint64_t token);
/* Of the cluster's nodes only these are probed from now on; to be said again when they are others.
 */
void probing_select(bool (*wanted)(uint32_t node));
/* The list is another one. */
void probing_peers(const struct peers *peers);
/* What is good for packets to a peer of table peer now. 0: not known, the tunnel's. */
uint32_t probing_mtu(uint64_t id);

#endif
