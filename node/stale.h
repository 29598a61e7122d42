/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_STALE_H
#define NODE_STALE_H

/*
 * Roles of a node that was killed: they see the end of their leash and leave. The next node waits
 * for that before it starts its own, so that no two runtimes or schedulers ever work on the same
 * folders, and ends those that do not leave. Proxies and monitors are meant to stay.
 */

#include "node/instance.h"

/* Gives the number that had to be killed. Waits a few seconds at most. */
unsigned stale_end(const struct instance *inst);

#endif
