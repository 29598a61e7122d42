/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_UPLINK_H
#define NODE_UPLINK_H

/*
 * The way from the containers to the world: one veth pair from the fabric ("uplink" there) to the
 * namespace that node runs in, a default route per family in the fabric, a route to the node's
 * prefixes outside, masquerade in an nft table of our own, and forwarding on the links that need
 * it. docs/decisions/005 says what of the machine is touched.
 * Runs in a process of its own that node forks (node/outside.h): these calls block, and the nft
 * program is run. Threading: one thread, as root, in node's network namespace.
 */

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/addr.h"
#include "base/err.h"
#include "ring/msg.h"

#define UPLINK_IN_FABRIC "uplink"

struct uplink_wanted {
	char instance[MSG_NAME];
	int fabric;            /* its namespace, borrowed */
	int runs_fd;           /* /run/zlayer, locked while links of several nodes are looked at */
	uid_t nft_uid;         /* the user that nft runs as */
	bool on;               /* dataplane.uplink: auto */
	bool always;           /* also without a default route: an interface is attached */
	struct addr_prefix v4; /* of this node's containers */
	struct addr_prefix v6;
	uint64_t digest; /* what stands, from the last time; 0: not known */
};

struct uplink_found {
	enum msg_uplink_state state;
	uint32_t ifindex;        /* outside; 0 when there is none */
	uint32_t fabric_ifindex; /* in the fabric */
	char name[IFNAMSIZ];     /* outside */
	uint64_t digest;
	struct err err; /* MSG_UPLINK_FAILED: why */
};

/* Name of the outer end: "zl-" and the instance's name, or a hash of it when that is too long. */
void uplink_name(const char *instance, char out[IFNAMSIZ]);

/* Makes what is missing; with `on` false, or no prefix, removes what is there. Harmless when all of
 * it stands. A first making that fails leaves nothing behind; a later change that fails leaves what
 * stood. */
void uplink_apply(const struct uplink_wanted *wanted, struct uplink_found *out);
/* Removes links, routes and table, and puts the machine's settings back. 0, or -1 with err. */
int uplink_remove(const struct uplink_wanted *wanted, struct err *err) MUST_CHECK;

#endif
