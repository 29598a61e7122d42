/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_LEAVE_H
#define API_LEAVE_H

/*
 * The end of the process, so that no client loses a request by it: who was accepted is waited for.
 * Threading: the loop's.
 */

#include <stdint.h>

struct server;

/* Once. No new connections are taken; `left` is called when there is none any more: at once, or
 * later, at the latest after grace_ms, or drain_ms if that is less, and SERVER_CUT_MS. */
void leave_begin(struct server *s, uint64_t grace_ms, void (*left)(struct server *s));
/* For connections: one has ended. */
void leave_look(struct server *s);

#endif
