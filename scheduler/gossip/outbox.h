/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_OUTBOX_H
#define SCHEDULER_GOSSIP_OUTBOX_H

/* Changes on their way into packets for one peer, up to a number of packets. */

#include "scheduler/gossip/packet.h"

struct outbox {
	struct packet packet;
	uint32_t to;
	unsigned packets; /* that may still be sent */
	uint8_t flags;
	bool open;
};

void outbox_begin(struct outbox *o, uint32_t to, unsigned packets, uint8_t flags);
/* False when no packet is left for it; then nothing more is to be put. */
bool outbox_put(struct gossip *g, struct outbox *o, const struct change *c);

#endif
