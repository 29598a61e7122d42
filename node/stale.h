/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_STALE_H
#define NODE_STALE_H

/*
 * Roles of a node that was killed: they see the end of their leash and leave. The next node waits
 * for that before it starts its own, so that no two runtimes or schedulers ever work on the same
 * folders, and ends those that do not leave. Proxies stay when they handed their sockets over; one
 * that did not would keep its ports for ever, and is killed. Monitors are not touched.
 */

#include <stddef.h>
#include <sys/types.h>
#include "node/instance.h"

/* keep: proxies that handed over. Gives the number that had to be killed. Waits a few seconds at
 * most. */
unsigned stale_end(const struct instance *inst, const pid_t *keep, size_t keep_count);

#endif
