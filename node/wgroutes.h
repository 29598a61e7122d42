/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_WGROUTES_H
#define NODE_WGROUTES_H

/*
 * Routes of the fabric by the device of sealed traffic (node/wgdev.h): one for each prefix of a
 * peer that the fabric's own packets, those of proxies and probes, reach by it. The kernel's list
 * is the truth: what is there and not wanted goes, whoever made it.
 *
 * And what is for other nodes but has no way to them, at least not now, must not take the uplink,
 * which would send it in plain to the world: it is refused, after every other route. What was
 * refused once stays so as long as the fabric.
 * Runs where node/uplink.h runs. Threading: one thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/err.h"
#include "ring/msg_network.h"

enum { WGROUTES_PEERS_MAX = MSG_PEERS_MAX };

struct wgroutes_peer {
	struct addr_prefix v4, v6;
};

struct wgroutes {
	uint32_t ifindex; /* of the device, in the fabric; 0: there is none, nor a route */
	uint32_t times;   /* it was made or set up: what went then is made again */
	uint32_t count;
	struct wgroutes_peer peers[WGROUTES_PEERS_MAX];
	struct addr_prefix cluster; /* of all nodes' containers, IPv4; bits 0: not known */
	uint32_t members_count;
	struct wgroutes_peer members[WGROUTES_PEERS_MAX]; /* of the cluster, by whatever way */
};

/* Most of the room is empty: only what is there is copied and compared. */
void wgroutes_copy(struct wgroutes *to, const struct wgroutes *from);
bool wgroutes_equal(const struct wgroutes *a, const struct wgroutes *b);

/* fabric: its namespace. A kernel without IPv6 has no routes of it. */
int wgroutes_apply(int fabric, const struct wgroutes *wanted, struct err *err) MUST_CHECK;
/* To be called before there is a default route. */
int wgroutes_refuse(int fabric, const struct wgroutes *wanted, struct err *err) MUST_CHECK;

#endif
