/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_ADDRESS_POOL_H
#define RUNTIME_ADDRESS_POOL_H

/*
 * Which replica has which address: out of the node's prefix, one v4 and one v6 address with the
 * same host number each. An address is never given twice; one that was freed rests for a while, so
 * that nobody who still remembers it talks to another replica. Where none has rested so long, the
 * one that has rested longest is given, but not before names of it are forgotten everywhere
 * (NAMES_TTL_S is 3). I/O-free: load and save are text.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/map.h"

enum {
	ADDRESS_POOL_REST_S = 120,
	ADDRESS_POOL_REST_LEAST_S = 10, /* when there is no other */
	ADDRESS_POOL_TEXT_MAX = 8 << 20,
};

struct address_pool_entry {
	uint64_t replica;
	struct addr addr4;
	struct addr addr6;     /* zero: the node has no v6 prefix */
	int64_t freed_wall_ns; /* 0: in use */
};

struct address_pool {
	struct map entries;    /* replica -> entry */
	struct map hosts;      /* v4 address as u64 -> entry */
	struct addr_prefix v4; /* bits 0: not known yet */
	struct addr_prefix v6;
	struct addr reserved; /* the node's own; its host number is left out */
	uint32_t next;        /* where to look first */
};

void address_pool_init(struct address_pool *p);
void address_pool_fini(struct address_pool *p);
/* The node's prefixes; addresses of others are kept for those who have them, never given. */
void address_pool_set_prefix(struct address_pool *p, const struct addr_prefix *v4,
			     const struct addr_prefix *v6, const struct addr *reserved);
/* Lines that do not hold are passed over. -1: out of memory. */
int address_pool_load(struct address_pool *p, const char *text, struct err *err) MUST_CHECK;
void address_pool_save(const struct address_pool *p, struct buf *out);

/* The replica's entry, made when it has none (then *fresh_out is true: save before use). */
int address_pool_take(struct address_pool *p, uint64_t replica, int64_t now_wall_ns,
		      const struct address_pool_entry **out, bool *fresh_out,
		      struct err *err) MUST_CHECK;
/* True when there was one in use. */
bool address_pool_release(struct address_pool *p, uint64_t replica, int64_t now_wall_ns);
const struct address_pool_entry *address_pool_find(const struct address_pool *p, uint64_t replica);
/* Visits the replicas whose address is in use. */
void address_pool_each(const struct address_pool *p, void (*visit)(void *arg, uint64_t replica),
		       void *arg);

#endif
