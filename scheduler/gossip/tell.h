/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_TELL_H
#define SCHEDULER_GOSSIP_TELL_H

/* What is to be told to the node's other parts, in order, until there is room for it. */

#include "scheduler/gossip/core.h"

void tell_member(struct gossip *g, uint32_t node, uint32_t accuser);
void tell_entry(struct gossip *g, uint32_t node, uint16_t type, uint64_t id);
void tell_plain(struct gossip *g, enum gossip_tell_kind kind, uint32_t node);
/* Gives out what fits; sets `more` when something is left. */
void tell_flush(struct gossip *g);

#endif
