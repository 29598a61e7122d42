/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_WGROUTES_H
#define NODE_WGROUTES_H

/*
 * Routes of the fabric by the device of sealed traffic (node/wgdev.h): one for each prefix of a
 * peer that the fabric's own packets, those of proxies and probes, reach by it. The kernel's list
 * is the truth: what is there and not wanted goes, whoever made it.
 * Runs where node/uplink.h runs. Threading: one thread.
 */

#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/err.h"

enum { WGROUTES_PEERS_MAX = 1024 };

struct wgroutes {
	uint32_t ifindex; /* of the device, in the fabric; 0: there is none, nor a route */
	uint32_t count;
	struct {
		struct addr_prefix v4, v6;
	} peers[WGROUTES_PEERS_MAX];
};

/* fabric: its namespace. A kernel without IPv6 has no routes of it. */
int wgroutes_apply(int fabric, const struct wgroutes *wanted, struct err *err) MUST_CHECK;

#endif
