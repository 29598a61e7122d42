/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_MONITOR_LINK_H
#define RUNTIME_MONITOR_LINK_H

/*
 * The runtime's end of a monitor's control socket: the same for one that was just started and for
 * one that is found again after a restart. Every state that comes is checked and handed on; the end
 * of the connection means that the monitor has left, and its exit record tells the rest.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>
#include "base/err.h"
#include "runtime/monitor/control.h"

struct monitor_link;

/* state == NULL: the monitor has gone; the link is closed by itself after this call. */
typedef void (*monitor_link_fn)(void *arg, const struct control_state *state);

/* Binds and listens in the container's folder; the socket to hand to the monitor. -1 with err. */
int monitor_link_listen(int folder, struct err *err);
/* Connects; works as soon as the socket listens. */
int monitor_link_open(uv_loop_t *loop, int folder, monitor_link_fn told, void *arg,
		      struct monitor_link **out, struct err *err) MUST_CHECK;
/* No further call of told. */
void monitor_link_close(struct monitor_link *link);
/* False when the order did not get through: the monitor is gone, or about to be. */
bool monitor_link_order(struct monitor_link *link, enum control_verb verb, uint32_t signal,
			uint32_t grace_ms);

/* When it is to end the container by itself (CLOCK_BOOTTIME); 0: no more. For a monitor of version
 * 3 or later only: an older one hangs up on what it does not know. */
bool monitor_link_lease(struct monitor_link *link, uint64_t until_ns, uint64_t epoch);

/* Reads a record (`state`, `exit`) from a folder; false when there is none that holds. */
bool monitor_link_record(int folder, const char *name, struct control_state *out);

#endif
