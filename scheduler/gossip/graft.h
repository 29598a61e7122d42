/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_GRAFT_H
#define SCHEDULER_GOSSIP_GRAFT_H

/* Changes that are known of and not here: asking for them, and giving them to who asks. */

#include "scheduler/gossip/core.h"

/* from has that version of a member's namespace; ours should come, else it is asked for. */
void graft_want(struct gossip *g, uint32_t from, size_t at, uint64_t version);
/* Sections of a datagram. */
void graft_asked(struct gossip *g, uint32_t from, struct cursor *body);
void graft_gone(struct gossip *g, uint32_t from, struct cursor *body);
uint64_t graft_due(const struct gossip *g);
void graft_timer(struct gossip *g);
void graft_fini(struct gossip *g);

#endif
