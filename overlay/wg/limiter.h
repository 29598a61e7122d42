/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_LIMITER_H
#define OVERLAY_WG_LIMITER_H

/*
 * How often one address may have a handshake worked on under load: a bucket of tokens per IPv4
 * address or IPv6 /64. Only asked for addresses that have proven themselves (cookie.h), so that the
 * table cannot be filled by lies; a full one refuses whom it does not know.
 * Threading: one owner.
 */

#include "base/addr.h"

enum {
	LIMITER_RATE = 20, /* a second */
	LIMITER_BURST = 5,
	LIMITER_SOURCES_MAX = 8192,
};

struct limiter;

/* seed: of the table's hash. NULL: no memory. */
struct limiter *limiter_new(uint64_t seed);
void limiter_free(struct limiter *l); /* NULL is fine */
bool limiter_take(struct limiter *l, const struct addr *from, uint64_t now_ns);
size_t limiter_count(const struct limiter *l); /* sources that it knows */

#endif
