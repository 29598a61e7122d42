/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_PENDING_H
#define SCHEDULER_GOSSIP_PENDING_H

/* Changes that came before an earlier one of the same owner; they wait for it, in order. */

#include "scheduler/gossip/core.h"

/* Copies it. False when it cannot be kept: it comes again. */
bool pending_add(struct gossip *g, const struct change *c, uint32_t from);
/* Takes out the next change of that node that fits on this version; older ones are dropped. NULL
 * when there is none. To be freed. */
struct pending *pending_take(struct gossip *g, uint32_t node, uint64_t version);
void pending_forget(struct gossip *g, uint32_t node);
void pending_fini(struct gossip *g);

#endif
