/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_SEALED_H
#define OVERLAY_SEALED_H

/*
 * Sealed traffic of this node (docs/decisions/016): its keys, the engine on what node hands over,
 * and its peers. There is nothing to do here as long as the node is in no cluster.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include "overlay/peers.h"
#include "ring/station.h"

struct ring_table_layout sealed_layout(void);

/* peers: borrowed for good; sealed_changed() is called when another node can be reached so, or not
 * any more. ERR_CORRUPT: the keys' file is damaged. */
int sealed_start(struct station *st, const struct peers *peers, void (*changed)(void),
		 struct err *err) MUST_CHECK;
/* Wipes the keys, ends the engine. */
void sealed_end(void);

/* What is not for this is passed over. */
void sealed_message(const struct leash_message *message, int *fds, size_t count);
/* The scheduler's table mesh, or the configuration, is another one. */
void sealed_look(void);

/* Packets for that node are sealed, as far as this node goes. */
bool sealed_reaches(uint32_t node);

#endif
