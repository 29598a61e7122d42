/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_DOUBT_H
#define SCHEDULER_GOSSIP_DOUBT_H

/* Suspicions: who is accused by whom, and when that turns into death. */

#include "scheduler/gossip/core.h"

/* A member became suspect, or is so with no timer of its own. */
void doubt_begin(struct gossip *g, uint32_t node, uint32_t accuser);
/* Another accuser; true when it counts and is to be passed on. */
bool doubt_confirm(struct gossip *g, uint32_t node, uint32_t accuser);
void doubt_end(struct gossip *g, uint32_t node);
/* The suspect itself was heard. */
void doubt_heard(struct gossip *g, uint32_t node);
/* Of a suspect, who said so first; 0: not known. */
uint32_t doubt_accuser(const struct gossip *g, uint32_t node);
uint64_t doubt_due(const struct gossip *g);
void doubt_timer(struct gossip *g);
void doubt_fini(struct gossip *g);

#endif
