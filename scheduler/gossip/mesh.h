/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_MESH_H
#define SCHEDULER_GOSSIP_MESH_H

/* The neighbours of this node in the broadcast's overlay. */

#include "scheduler/gossip/core.h"

/* A member became live, or stopped being so. */
void mesh_change(struct gossip *g, uint32_t node, bool live);
/* Makes the links follow, if anything changed. */
void mesh_update(struct gossip *g);
struct link *mesh_link(struct gossip *g, uint32_t node); /* NULL: none */
/* A link to somebody who is no neighbour, or NULL when there are too many. */
struct link *mesh_guest(struct gossip *g, uint32_t node);
void mesh_unlink(struct gossip *g, struct link *l);

#endif
