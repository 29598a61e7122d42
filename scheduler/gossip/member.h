/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_MEMBER_H
#define SCHEDULER_GOSSIP_MEMBER_H

/* The table of members, by id, and the running digest over it. Indexes are valid until the roster
 * changes. */

#include "scheduler/gossip/core.h"

enum { MEMBER_NONE = -1 };

long member_find(const struct gossip *g, uint32_t node);
enum gossip_result member_add(struct gossip *g, uint32_t node);
/* Its namespace must be gone. */
void member_remove(struct gossip *g, size_t at);
void member_set_status(struct gossip *g, size_t at, uint32_t status);
/* What one member adds to the digest. To be taken out before a change and added after it. */
uint64_t member_digest(const struct gossip *g, size_t at);
void member_digest_change(struct gossip *g, uint64_t before, size_t at);
size_t member_bucket(uint32_t node);

uint64_t member_random(struct gossip *g, uint64_t bound);
/* A random member, not self, that is live (or not), and none of `but`; or MEMBER_NONE. */
long member_pick(struct gossip *g, bool live, const uint32_t *but, size_t count);
/* No stream can be opened to it. */
bool member_dials(const struct gossip *g, uint32_t node);
/* A random live one, not self, that a stream can be opened to; or MEMBER_NONE. */
long member_pick_open(struct gossip *g);
/* The next live one in this round of probes; each round has an order of its own. */
long member_next(struct gossip *g);

#endif
