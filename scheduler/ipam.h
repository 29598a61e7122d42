/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_IPAM_H
#define SCHEDULER_IPAM_H

/*
 * Whose containers have which addresses: the prefixes of all nodes of a cluster, as they say them
 * of themselves (gossip entry MESH), and what follows: where packets for each go, and whether this
 * node may keep its own. Of two nodes with the same prefix the one with the lower id has it; the
 * other one takes a free one, when it is the IPv4 prefix and it has no containers yet, or is in
 * trouble. Prefixes of nodes that are dead or have left stay theirs: they come back with them.
 *
 * With the prefixes stands by which ways packets may come to them (docs/decisions/016).
 *
 * The value of the entry: 0 version u8 (2), 1 IPv4 base (4), 5 bits u8 (24), 6 IPv6 base (16), 22
 * bits u8 (64); from version 2 on: 23 ways u8 (1 plain, 4 trusted, 8 clients: as enum msg_way; 128
 * the kernel seals), 24 port u16 and 26 key (32) of its WireGuard, 58 the key that follows (32),
 * little endian, zeros for what there is not; a later version may add to its end. No I/O, no clock.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/map.h"
#include "ring/msg_network.h"

enum {
	IPAM_NODES_MAX = 16384,
	IPAM_VALUE_BYTES = 90,
	IPAM_VALUE_V1_BYTES = 23,
};

struct ipam_prefixes {
	struct addr_prefix v4; /* /24; bits 0: none */
	struct addr_prefix v6; /* /64 */
};

/* What else a node says of how it can be reached. */
struct ipam_ways {
	bool said;            /* false: it is of a version that says none of this */
	bool plain;           /* it takes VXLAN */
	bool trusted;         /* its `cluster.encrypt` is false */
	bool clients;         /* it takes clients' packets in a header */
	bool kernel;          /* the kernel's WireGuard seals: it passes nothing on */
	uint16_t port;        /* of its WireGuard; 0: it is not to be sent to first */
	uint8_t key[MSG_KEY]; /* zeros: it serves none */
	uint8_t next_key[MSG_KEY];
};

struct ipam_node {
	uint32_t node;
	struct addr address; /* zero: not known; the port is without meaning */
	struct ipam_prefixes prefixes;
	struct ipam_ways ways;
	struct ipam_node *next4, *next6; /* ipam.c: with the same prefix, of a higher id */
};

struct ipam {
	uint32_t self;
	struct map nodes;           /* id -> struct ipam_node */
	struct map by4, by6;        /* prefix -> the lowest struct ipam_node that has it */
	struct ipam_prefixes own;   /* as overlay has them; bits 0: not known yet */
	struct addr_prefix network; /* whose /24s nodes take (spec/config.h) */
	bool fixed;                 /* by the configuration: it is never changed */
	bool containers;            /* this node has some */
};

void ipam_init(struct ipam *m, uint32_t self);
void ipam_fini(struct ipam *m);

/* Both -1 when out of memory or of more nodes than there may be; then it is as before, or it is as
 * if the node had said nothing. */
int ipam_address(struct ipam *m, uint32_t node, const struct addr *address)
	__attribute__((warn_unused_result));
/* NULL: it says nothing (any more). */
int ipam_says(struct ipam *m, uint32_t node, const struct ipam_prefixes *prefixes,
	      const struct ipam_ways *ways) __attribute__((warn_unused_result));
void ipam_forget(struct ipam *m, uint32_t node);
/* fixed: it is node.yaml's. */
void ipam_own(struct ipam *m, const struct ipam_prefixes *own, const struct addr_prefix *network,
	      bool fixed, bool containers);

enum ipam_verdict {
	IPAM_UNKNOWN, /* overlay has said nothing yet */
	IPAM_GOOD,    /* nobody else has it, or gives way to this node */
	IPAM_CHANGE,  /* another one has it: take *wish */
	IPAM_TROUBLE, /* another one has it, and this node cannot take another one now */
	IPAM_FULL,    /* another one has it, and the network has no free one */
};
/* rival: who has it, too; 0 nobody. wish: only with IPAM_CHANGE. */
enum ipam_verdict ipam_judge(const struct ipam *m, uint32_t *rival, struct addr_prefix *wish);
/* Whether it is the IPv4 prefix that this rival has, too. */
bool ipam_rival4(const struct ipam *m, uint32_t rival);

/* Whether it is known what it says of its prefixes, and where it is. */
bool ipam_knows(const struct ipam *m, uint32_t node);

/* Where packets for a node's containers go; NULL: not known, or its prefix is another one's. */
const struct ipam_node *ipam_peer(const struct ipam *m, uint32_t node);

/* Bits of enum msg_way: what both ends allow; 0: there is no way for what says nothing of itself.
 * Who says nothing of its ways is gone to as always: plain, if this end trusts the network. */
uint32_t ipam_between(const struct ipam_ways *own, const struct ipam_ways *other);

void ipam_put(const struct ipam_prefixes *p, const struct ipam_ways *w,
	      uint8_t out[IPAM_VALUE_BYTES]);
/* False: not what a node writes. */
bool ipam_take(const void *value, size_t bytes, struct ipam_prefixes *out, struct ipam_ways *ways);

#endif
