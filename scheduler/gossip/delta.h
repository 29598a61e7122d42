/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_DELTA_H
#define SCHEDULER_GOSSIP_DELTA_H

/*
 * What is new in a namespace since a version, as one message: u32 node, u32 entries, u32 kept,
 * u32 0, u64 base, u64 version, u64 dropped (version of the last drop); `kept` x u64 sequence;
 * `entries` x (u16 type, u16 bytes, u32 0, u64 id, u64 sequence, value).
 *
 * It brings who has `base` (or anything between) to `version`. Base 0: whoever has anything. kept
 * lists the older entries that are still there; DELTA_ALL_KEPT: none was dropped since base.
 */

#include "scheduler/gossip/core.h"

#define DELTA_ALL_KEPT UINT32_MAX

/* Writes what somebody at that version needs. False: out of memory. */
bool delta_write(const struct space *s, uint64_t version, struct buf *out);

enum delta_result { DELTA_APPLIED, DELTA_IGNORED, DELTA_MALFORMED, DELTA_FAILED };
/* All or nothing, but for want of memory: then the rest comes again. */
enum delta_result delta_read(struct gossip *g, uint32_t from, struct cursor *c);

#endif
