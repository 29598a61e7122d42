/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_HOLD_H
#define API_HOLD_H

/*
 * Calls that come while a process whose tables they are answered from (struct route, `needs`) has
 * not told all of them: it is being started again, or has just begun. They wait, each for at most
 * server.hold_ms and so many at a time; then they are answered 503, or, where the route says so,
 * from what there is. Threading: the loop's.
 */

#include <stdbool.h>
#include <stdint.h>

#include "ring/msg.h"

struct call;
struct server;

enum { HOLD_MS = 10000, HOLD_CALLS_MAX = 64 };

/* ms: how long at most; 0: HOLD_MS. */
void hold_init(struct server *s, uint64_t ms);
/* True: the call is to be handled now. False: it was answered, or is handled when it can be. */
bool hold_may_go(struct call *call);
/* Tables are different: what waited for them goes on. */
void hold_wake(struct server *s);
/* The client has left. Harmless for a call that does not wait. */
void hold_drop(struct call *call);
/* What is known of a process of this node that is down: how it ended last, and why. */
void hold_why_down(const struct msg_process *p, struct err *err);

#endif
