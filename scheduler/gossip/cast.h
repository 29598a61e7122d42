/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_CAST_H
#define SCHEDULER_GOSSIP_CAST_H

/* The broadcast of changes: what comes in and what is passed on. */

#include "scheduler/gossip/packet.h"

/* Applies what waited for the version that is there now. */
void cast_drain(struct gossip *g, size_t at);

/* Sections of a datagram. */
void cast_changes(struct gossip *g, uint32_t from, struct cursor *c, bool reply);
void cast_ihave(struct gossip *g, uint32_t from, struct cursor *c);
void cast_prune(struct gossip *g, uint32_t from);

/* Sends what is due to the neighbours; at the end of a step. */
void cast_flush(struct gossip *g);
uint64_t cast_due(const struct gossip *g);

#endif
