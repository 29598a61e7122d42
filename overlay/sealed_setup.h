/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_SEALED_SETUP_H
#define OVERLAY_SEALED_SETUP_H

/*
 * What this node's WireGuard is to be, from what the scheduler says of the other nodes (table mesh)
 * and the preshared keys of the pairs (LEASH_PAIRS). No I/O, no clock.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/map.h"
#include "overlay/wg/setup.h"
#include "ring/leash.h"
#include "ring/msg_network.h"

enum {
	SEALED_SETUP_NODES_MAX = LEASH_PAIRS_MAX,
	SEALED_SETUP_KEEPALIVE_S = 25, /* where one of the two cannot be sent to first */
};

/* What is known of each other node beside its row. */
struct sealed_pairs {
	struct map nodes; /* id -> own; secrets */
};

void sealed_pairs_init(struct sealed_pairs *p);
void sealed_pairs_fini(struct sealed_pairs *p);
/* All of them, instead of those before. Where a node was told to be last is kept. ERR_CORRUPT: no
 * such file; ERR_LIMIT, ERR_NO_MEMORY: what was there stays, or less. */
int sealed_pairs_take(struct sealed_pairs *p, const void *data, size_t bytes,
		      struct err *err) MUST_CHECK;
/* Not of one that sealed_setup_judge leaves out. */
bool sealed_pairs_has(const struct sealed_pairs *p, uint32_t node);
/* Where they are is told anew in the next setup: the device knows nothing any more. */
void sealed_pairs_forget_places(struct sealed_pairs *p);

/* Whether packets for that node can be sealed, as far as its row goes. */
bool sealed_setup_row_holds(const struct msg_mesh *row);

/* Whose keys are whose. One that two nodes say is that node's that it was known of first, or
 * nobody's: a row that says another's key is not sealed any more, a next key of another's is none.
 * It is said once for each node. ERR_NO_MEMORY: nothing has changed. */
int sealed_setup_judge(struct sealed_pairs *pairs, struct msg_mesh *rows, size_t count,
		       struct err *err) MUST_CHECK;

struct sealed_setup_in {
	const uint8_t *private_key;
	const struct msg_mesh *rows;
	size_t rows_count;
	const struct setup *is; /* how the device is now */
	bool dials_out; /* others cannot send to this node first: it keeps their way to it open */
	/* Of each row: where one that only dials out is sent to, by way of another (zero:
	 * nowhere). NULL: there are none. */
	const struct addr *places;
	/* The device follows no keys by itself (engine_follow): next keys are peers too, and
	 * whoever has spoken with one has changed to it. */
	bool follows;
};

/* out: initialised. Places are said of peers that the device does not have, and of those that were
 * told to be elsewhere last: peers move, and the device sees that first. A key that has followed
 * another one (engine_follow) already keeps what it took over. */
int sealed_setup_make(const struct sealed_setup_in *in, struct sealed_pairs *pairs,
		      struct setup *out, struct err *err) MUST_CHECK;

#endif
