/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_CONTAINER_WATCH_H
#define RUNTIME_CONTAINER_WATCH_H

/*
 * What the monitor of a container tells, or left on record, becomes the container's state and row.
 * When the monitor goes, the attempt is over and container_step() is called. container_adopt() is
 * of container.h. Threading: the loop's.
 */

#include "runtime/container.h"

/* Listens to the monitor that was started (c->monitor), or takes note that it has ended already. */
int container_watch_begin(struct container *c, struct err *err) MUST_CHECK;
/* Its monitor ended without a word: kills what is left, and takes note that it has ended when
 * nothing is any more; until then it is CONTAINER_LOST, and this is to be called again. */
void container_watch_lost(struct container *c);
/* How the program ended whose place the attempt holds, into the row. */
void container_watch_last_end(struct container *c);

#endif
