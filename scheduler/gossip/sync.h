/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_SYNC_H
#define SCHEDULER_GOSSIP_SYNC_H

/* Anti-entropy: what two members say to each other on a stream until both hold the same. */

#include "scheduler/gossip/lane.h"

enum sync_result {
	SYNC_GOOD,
	SYNC_DONE,      /* close it: all is said */
	SYNC_MALFORMED, /* close it */
	SYNC_FAILED,    /* close it: no memory */
};

void sync_start(struct gossip *g);
/* With that member (0: any), as soon as it may be. */
void sync_soon(struct gossip *g, uint32_t node);
/* A member said what its digest is. */
void sync_digest(struct gossip *g, uint32_t node, uint64_t digest);
void sync_failed(struct gossip *g);
/* The first frame on a stream of ours. */
void sync_hello(struct gossip *g, struct lane *l);
enum sync_result sync_frame(struct gossip *g, struct lane *l, unsigned kind, uint8_t flags,
			    struct cursor *body);
/* Writes the next frames, when there are any. */
void sync_more(struct gossip *g, struct lane *l);
uint64_t sync_due(const struct gossip *g);
void sync_timer(struct gossip *g);

#endif
