/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_WATCH_H
#define NODE_WATCH_H

/*
 * A descriptor on the loop that can be let go at any time: after watch_free() its callback is not
 * called again, also when the event has already happened in this turn. The descriptor is borrowed
 * and must stay open until watch_free().
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <uv.h>

struct watch;

typedef void (*watch_fn)(void *arg, bool readable, bool writable);

/* NULL: out of memory, or the descriptor cannot be polled. Begins with reading. */
struct watch *watch_new(uv_loop_t *loop, int fd, watch_fn fn, void *arg);
void watch_write(struct watch *w, bool on); /* also when it becomes writable */
void watch_free(struct watch *w);

#endif
