/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_PROBER_H
#define SCHEDULER_GOSSIP_PROBER_H

/* Who answers: probes of members in turn, probes for others, and contacts of those who are lost. */

#include "scheduler/gossip/packet.h"

void prober_start(struct gossip *g);
/* There may be members that nobody has looked for yet. */
void prober_start_contacts(struct gossip *g);
/* Asked by `from`: by itself, or to ask another. The answer, if any, goes into p or elsewhere. */
void prober_asked(struct gossip *g, uint32_t from, uint32_t number, uint32_t target);
/* Node answered the ping of that number, to us or to somebody we asked. */
void prober_acked(struct gossip *g, uint32_t from, uint32_t number, uint32_t node);
void prober_nacked(struct gossip *g, uint32_t number);
/* Somebody else suspects a member: maybe look for ourselves. */
void prober_confirm(struct gossip *g, size_t at);
/* A ping that is no probe: says what is known of it, so that it refutes. */
void prober_contact(struct gossip *g, size_t at);
/* A member was lost: contact lost ones soon. */
void prober_lost(struct gossip *g);
/* This node did not run for a while: what was under way proves nothing. */
void prober_stalled(struct gossip *g);
/* This node is awake for something else: what is due soon may be done now. */
void prober_awake(struct gossip *g);
uint64_t prober_due(const struct gossip *g);
void prober_timer(struct gossip *g);

#endif
