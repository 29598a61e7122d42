/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_RUMOUR_H
#define SCHEDULER_GOSSIP_RUMOUR_H

/* Membership records on their way: each is told a bounded number of times, the least told first. */

#include "scheduler/gossip/packet.h"

/* Takes the place of what is older about the same node. */
void rumour_add(struct gossip *g, uint32_t node, uint32_t accuser, uint32_t status);
void rumour_forget(struct gossip *g, uint32_t node);
/* Adds as many as fit to a packet that leaves for `to`. */
void rumour_fill(struct gossip *g, struct packet *p, uint32_t to);
uint64_t rumour_due(const struct gossip *g);
void rumour_timer(struct gossip *g);
/* How often one is told. */
uint32_t rumour_limit(const struct gossip *g);

#endif
