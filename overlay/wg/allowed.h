/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_ALLOWED_H
#define OVERLAY_WG_ALLOWED_H

/*
 * Whose an address is ("allowed IPs"): prefixes of IPv4 and IPv6, each of exactly one peer, the
 * longest one decides. What a peer sends must come from an address that is its own; what goes to an
 * address goes to whose it is. A prefix that is given to another peer is taken from the first one.
 *
 * A path-compressed binary trie; a lookup looks at no more nodes than the prefix is long. Reading
 * allocates nothing.
 * Threading: one owner; who needs lookups in other threads gives each its own copy or a lock.
 */

#include "base/addr.h"
#include "base/err.h"

struct allowed_node;

struct allowed {
	struct allowed_node *root4, *root6;
	struct allowed_node *spare; /* reserved */
	size_t count;
};

enum { ALLOWED_PREFIXES_MAX = 65536 };

void allowed_init(struct allowed *a);
void allowed_fini(struct allowed *a);
/* Host bits are cleared; the family is that of what is left. peer: not NULL. ERR_LIMIT,
 * ERR_NO_MEMORY: nothing has changed. */
int allowed_set(struct allowed *a, const struct addr_prefix *prefix, void *peer,
		struct err *err) MUST_CHECK;
/* The next so many prefixes are set without fail for want of memory, until what is left of it is
 * released. ERR_NO_MEMORY: nothing is reserved. */
int allowed_reserve(struct allowed *a, size_t prefixes, struct err *err) MUST_CHECK;
void allowed_release(struct allowed *a);
/* Only if it is that peer's. False: it was not. */
bool allowed_remove(struct allowed *a, const struct addr_prefix *prefix, const void *peer);
void allowed_remove_peer(struct allowed *a, const void *peer);
/* NULL: nobody's. v4, v6: in network order. */
void *allowed_find(const struct allowed *a, const struct addr *address);
void *allowed_find4(const struct allowed *a, const uint8_t ip[4]);
void *allowed_find6(const struct allowed *a, const uint8_t ip[16]);
/* Each prefix of a peer, in the order of addresses; IPv4 first. */
void allowed_each(const struct allowed *a, const void *peer,
		  void (*visit)(void *arg, const struct addr_prefix *prefix), void *arg);

#endif
