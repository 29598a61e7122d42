/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_HEAR_H
#define SCHEDULER_GOSSIP_HEAR_H

/* What happens when something is heard about a member: the one place where states change. */

#include "scheduler/gossip/core.h"

/* `from` says that node has that status, on accuser's word; from may be self. True when from
 * should be told better: it holds what was refuted, or does not know this node. */
bool hear_record(struct gossip *g, uint32_t from, uint32_t node, uint32_t accuser, uint32_t status);
/* The own state, from life. */
void hear_self(struct gossip *g, uint32_t status);
/* Something authenticated came from a member just now. */
void hear_from(struct gossip *g, size_t at);

#endif
