/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_PREFIX_H
#define OVERLAY_PREFIX_H

/*
 * The addresses of this node's containers: one IPv4 /24 of the cluster's network and one IPv6 /64
 * of a unique local /48 (RFC 4193). Chosen once and kept as a small text file. No I/O here.
 * Threading: plain values.
 */

#include <stddef.h>
#include "base/addr.h"
#include "base/err.h"
#include "base/world.h"
#include "ring/msg.h"

enum {
	PREFIX_TEXT_BYTES = 256,
	PREFIX_MTU = 1420,
	/* Of a packet between nodes, what is not the container's: VXLAN takes 50 over IPv4 and 70
	 * over IPv6, WireGuard 60 and 80. */
	PREFIX_ROOM = 80,
};

struct prefix {
	struct addr_prefix v4; /* /24 */
	struct addr_prefix v6; /* /64 */
};

/* Any /24 of the network (spec/config.h) but the first and the last. */
void prefix_choose4(const struct world *world, const struct addr_prefix *network,
		    struct addr_prefix *out);
/* That, and a random global id for IPv6. */
void prefix_choose(const struct world *world, const struct addr_prefix *network,
		   struct prefix *out);
/* "v4 10.200.7.0/24\nv6 fd..::/64\n", and back; ERR_CORRUPT when it is not that. */
void prefix_put(const struct prefix *p, char *out, size_t cap);
int prefix_parse(const char *text, struct prefix *out, struct err *err) MUST_CHECK;
/* The address of the node itself in its prefix; zero when there is none. */
struct addr prefix_own(const struct addr_prefix *p);
/* The row that the other processes read. */
void prefix_row(const struct prefix *p, struct msg_prefix *out);

#endif
