/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_TRAIL_H
#define SCHEDULER_GOSSIP_TRAIL_H

/* The last changes that were made or applied here, for those that they are passed on to. */

#include "scheduler/gossip/core.h"

enum {
	TRAIL_AGE_UNKNOWN = UINT16_MAX,
	TRAIL_AGE_NS = 100000, /* the unit of ages */
};

void trail_add(struct gossip *g, const struct change *c, uint32_t from);
/* A namespace came here by other ways: its version is announced. */
void trail_note(struct gossip *g, size_t at, uint32_t from);
/* At the beginning of a step: what was put since the last one happened now. */
void trail_date(struct gossip *g);
/* Of those from log_first to below log_next. */
struct logged *trail_at(const struct gossip *g, uint64_t index);
/* As it is sent now: what was overwritten since is not sent, only that it was there. */
void trail_change(const struct gossip *g, const struct logged *l, struct change *out);
uint16_t trail_aged(uint16_t age, uint64_t by_ns);
void trail_fini(struct gossip *g);

#endif
