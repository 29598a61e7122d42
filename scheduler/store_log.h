/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_LOG_H
#define SCHEDULER_STORE_LOG_H

/*
 * The newest transactions as frames (store_wire.h), for followers that were away for a short time
 * only. In memory: after a restart of the writer who is behind gets a snapshot.
 * Threading: one owner.
 */

#include "scheduler/store_wire.h"

enum { STORE_LOG_KEPT = 256, STORE_LOG_BYTES_MAX = 32 << 20 };

/* Frames that several peers are on the way of reading. */
struct store_frames {
	unsigned refs;
	uint64_t sequence; /* that who has read them is at */
	struct buf bytes;
};

struct store_frames *store_log_frames_new(uint64_t sequence,
					  size_t bytes_max); /* NULL: no memory */
struct store_frames *store_log_frames_ref(struct store_frames *f);
void store_log_frames_unref(struct store_frames *f); /* NULL is fine */

struct store_log {
	struct store_frames *items[STORE_LOG_KEPT];
	uint64_t newest, oldest; /* sequences; newest < oldest: none */
	size_t bytes;
};

void store_log_init(struct store_log *l);
void store_log_fini(struct store_log *l);
/* Without memory for it the log is empty. */
void store_log_add(struct store_log *l, const struct store_entry *entry,
		   const struct store_change *changes, size_t count);
/* Borrowed; NULL: it is not kept. */
struct store_frames *store_log_get(const struct store_log *l, uint64_t sequence);

#endif
