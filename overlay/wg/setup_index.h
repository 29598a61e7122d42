/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_SETUP_INDEX_H
#define OVERLAY_WG_SETUP_INDEX_H

/*
 * The peers of a setup by their public keys: for those who look for many of them in a large one
 * (setup_find() looks at each). Peers may be added to the setup meanwhile, and are told here one by
 * one; none may go. Threading: one owner.
 */

#include "base/map.h"
#include "overlay/wg/setup.h"

struct setup_index {
	const struct setup *of; /* borrowed */
	struct map places;      /* key -> place in `of`, and 1 */
};

/* -1: no memory. To be ended by setup_index_fini all the same. Of a key that stands there twice the
 * first one is found. */
int setup_index_init(struct setup_index *x, const struct setup *of)
	__attribute__((warn_unused_result));
void setup_index_fini(struct setup_index *x);
/* The last peer of the setup was added since. -1: no memory, it is not found. */
int setup_index_add(struct setup_index *x) __attribute__((warn_unused_result));
/* NULL: there is none. Borrowed until a peer is added. */
const struct setup_peer *setup_index_find(const struct setup_index *x,
					  const uint8_t public_key[SETUP_KEY]);

#endif
