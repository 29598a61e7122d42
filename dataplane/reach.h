/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_REACH_H
#define DATAPLANE_REACH_H

/*
 * Which replicas of other nodes the kernel brings clients' packets to (docs/decisions/017): those
 * whose node is a member of the cluster, says that it takes them, and can be reached by a way that
 * they may go. All others are the relay's. Borrows rows of the ring: good until the next look at
 * their tables. Threading: one owner.
 */

#include <stdbool.h>
#include <stdint.h>
#include "dataplane/services.h"
#include "ring/msg.h"
#include "ring/ring.h"

struct reach {
	const struct ring_reader *scheduler;
	const struct msg_peer *nodes[MSG_PEERS_MAX]; /* that take them, by IPv4 prefix */
	size_t count;
	bool known;   /* overlay has said who there is */
	uint32_t mtu; /* of containers */
};

/* Both readers may be NULL. */
void reach_init(struct reach *r, const struct ring_reader *scheduler,
		const struct ring_reader *overlay, uint32_t mtu);
void reach_of(const struct reach *r, const struct msg_backend *b, struct services_away *out);
/* Whether not all that runs on other nodes has been heard of yet. */
bool reach_is_partial(const struct ring_reader *scheduler);
/* What of an address is the cluster's, and so no client's: `network` (spec/config.h) if this node's
 * own prefix is of it, else, as with IPv6, that prefix alone: what a site has beside it is its
 * clients'. Other nodes' prefixes are known one by one (map of peers). own: must hold. */
void reach_cluster(const struct msg_prefix *own, const struct addr_prefix *network,
		   struct edge_config *out);
/* Whether there are other nodes, which may send clients' packets. */
bool reach_others(const struct ring_reader *scheduler);

#endif
