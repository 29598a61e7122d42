/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_RELAYED_H
#define OVERLAY_RELAYED_H

/*
 * Where this node, which only dials out, sends what is for others that only dial out, too: to a
 * relay of its choice for each of them (docs/decisions/018, overlay/relay_choice.h). What the
 * device has received says who is there.
 *
 * No I/O, no clock. Threading: one owner.
 */

#include <stdbool.h>
#include "base/map.h"
#include "overlay/relay_choice.h"
#include "overlay/wg/setup.h"
#include "ring/msg_network.h"

enum { RELAYED_THIRD_MAX = 64 }; /* enough to find one: rows of a large cluster are many */

struct relayed {
	struct map nodes; /* id -> own */
};

void relayed_init(struct relayed *r);
void relayed_fini(struct relayed *r);

/* Looks at what came from each node since the last time: to be called at least each few seconds.
 * rows: all other nodes. Those who are not among them are forgotten. Without memory for one of
 * them, or for any, it is as if it were silent. */
void relayed_note(struct relayed *r, const struct setup *is, const struct msg_mesh *rows,
		  size_t count, uint64_t now_ns);
/* Those who could pass on, now: the same for all nodes. */
struct relayed_third {
	struct relay_candidate list[RELAYED_THIRD_MAX];
	struct addr at[RELAYED_THIRD_MAX];
	size_t count;
};
void relayed_find(const struct relayed *r, const struct msg_mesh *rows, size_t count,
		  uint64_t now_ns, struct relayed_third *out);
/* The endpoint to use for a node; one that others can send to first has its own. False: nobody who
 * could pass on is there. self: this node's id. */
bool relayed_place(struct relayed *r, uint32_t self, const struct relayed_third *third,
		   const struct msg_mesh *row, uint64_t now_ns, struct addr *out);

/* The node by way of which that one is spoken to, as was found last; 0: none. */
uint32_t relayed_by(const struct relayed *r, uint32_t node);

/* Of a node that others can send to: the keys of those between whom it passes on, old and next
 * ones. out: 2 * count. Gives how many. */
size_t relayed_keys(const struct msg_mesh *rows, size_t count, uint8_t (*out)[SETUP_KEY]);

#endif
