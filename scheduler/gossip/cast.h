/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_CAST_H
#define SCHEDULER_GOSSIP_CAST_H

/* The broadcast of changes: what comes in, what is passed on, what is asked for again. */

#include "scheduler/gossip/packet.h"

/* A change that was applied (or made) here goes to the neighbours. */
void cast_log(struct gossip *g, const struct change *c, uint32_t from);
/* A namespace came here by other ways: its version is announced. */
void cast_note(struct gossip *g, size_t at, uint32_t from);
/* Applies a change and all that waited for it. */
void cast_apply(struct gossip *g, uint32_t from, size_t at, const struct change *c);
void cast_drain(struct gossip *g, size_t at);

/* Sections of a datagram. */
void cast_changes(struct gossip *g, uint32_t from, struct cursor *c, bool reply);
void cast_ihave(struct gossip *g, uint32_t from, struct cursor *c);
void cast_graft(struct gossip *g, uint32_t from, struct cursor *c);
void cast_prune(struct gossip *g, uint32_t from);
void cast_gone(struct gossip *g, uint32_t from, struct cursor *c);

/* At the beginning of a step: what was put since the last one happened now. */
void cast_date(struct gossip *g);
/* Sends what is due to the neighbours; at the end of a step. */
void cast_flush(struct gossip *g);
/* Asks for what was announced and did not come. */
void cast_timer(struct gossip *g);
uint64_t cast_due(const struct gossip *g);
void cast_fini(struct gossip *g);

#endif
