/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_LIFE_H
#define SCHEDULER_GOSSIP_LIFE_H

/* The own incarnation: durable before it is said, raised to refute, and the leave. */

#include "scheduler/gossip/core.h"

enum {
	LIFE_FILE_BYTES = 16,
	LIFE_AHEAD = 64, /* incarnations made durable at a time */
};

void life_file(struct gossip *g, const void *data, size_t bytes);
void life_start(struct gossip *g);
void life_disk_done(struct gossip *g, uint64_t token, bool good);
/* Something was said of this node. */
void life_heard(struct gossip *g, uint32_t status);
/* Somebody holds a version of the own namespace that this life has not written. */
void life_outgrow(struct gossip *g, uint64_t version);
void life_leave(struct gossip *g);
/* Whether something may be said: the incarnation is durable. Datagrams wait by themselves. */
bool life_speaks(const struct gossip *g);
uint64_t life_due(const struct gossip *g);
void life_timer(struct gossip *g);

#endif
