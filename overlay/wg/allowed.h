/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_ALLOWED_H
#define OVERLAY_WG_ALLOWED_H

/*
 * Whose an address is ("allowed IPs"): prefixes of IPv4 and IPv6, each of exactly one owner, the
 * longest one decides. What a peer sends must come from an address that is its own; what goes to an
 * address goes to whose it is. A prefix that is given to another owner is taken from the first one.
 *
 * A path-compressed binary trie; a lookup looks at no more nodes than the prefix is long. Reading
 * allocates nothing. Each owner has a list of its prefixes, so that what concerns one of them costs
 * what it has, however many others there are.
 * Threading: one owner; who needs lookups in other threads gives each its own copy or a lock.
 */

#include "base/addr.h"
#include "base/err.h"
#include "base/list.h"

struct allowed_node;

struct allowed_owner { /* a part of whoever has prefixes */
	struct list places;
	size_t count;
};

struct allowed {
	struct allowed_node *root4, *root6;
	struct allowed_node *spare; /* reserved */
	size_t count;
};

enum { ALLOWED_PREFIXES_MAX = 65536 };

void allowed_init(struct allowed *a);
/* Owners have nothing after that. */
void allowed_fini(struct allowed *a);
/* It is to have nothing any more when it ends. */
void allowed_owner_init(struct allowed_owner *o);
/* Host bits are cleared; the family is that of what is left. ERR_LIMIT, ERR_NO_MEMORY: nothing has
 * changed. */
int allowed_set(struct allowed *a, const struct addr_prefix *prefix, struct allowed_owner *o,
		struct err *err) MUST_CHECK;
/* The next so many prefixes are set without fail for want of memory, until what is left of it is
 * released. ERR_NO_MEMORY: nothing is reserved. */
int allowed_reserve(struct allowed *a, size_t prefixes, struct err *err) MUST_CHECK;
void allowed_release(struct allowed *a);
/* Only if it is that owner's. False: it was not. */
bool allowed_remove(struct allowed *a, const struct addr_prefix *prefix,
		    const struct allowed_owner *o);
void allowed_remove_all(struct allowed *a, struct allowed_owner *o);
/* NULL: nobody's. v4, v6: in network order. */
struct allowed_owner *allowed_find(const struct allowed *a, const struct addr *address);
struct allowed_owner *allowed_find4(const struct allowed *a, const uint8_t ip[4]);
struct allowed_owner *allowed_find6(const struct allowed *a, const uint8_t ip[16]);
/* Each prefix of an owner, in the order in which they became its own. */
void allowed_each(const struct allowed_owner *o,
		  void (*visit)(void *arg, const struct addr_prefix *prefix), void *arg);

#endif
