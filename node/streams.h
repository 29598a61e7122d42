/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_STREAMS_H
#define NODE_STREAMS_H

/*
 * Which public ports endpoints want, as scheduler's table of streams has it: the only thing that
 * node takes from another process's tables. A row is believed only as far as its port and protocol
 * go.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include "node/listeners.h"
#include "ring/ring.h"

struct streams {
	struct listeners_port ports[MSG_STREAM_PORTS_MAX]; /* sorted */
	size_t count;
	bool known; /* the scheduler has said it once */
};

/* True when it is another set than before, or known now. A table that its producer has not written
 * yet says nothing. */
bool streams_sync(struct streams *s, struct ring_reader *scheduler);

#endif
