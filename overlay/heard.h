/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_HEARD_H
#define OVERLAY_HEARD_H

/*
 * From which nodes sealed packets come. Each one that is spoken to answers a probe at least every
 * 20 s (overlay/probe.h), and makes a session at least every two minutes, so one from whom neither
 * comes for longer is not there, or not by the way that is taken: what lives by gossip and is
 * silent here is behind something that lets this port not pass.
 *
 * No I/O, no clock. Threading: one owner.
 */

#include <stdbool.h>
#include "base/map.h"
#include "overlay/wg/setup.h"
#include "ring/msg_network.h"

enum {
	HEARD_SILENT_MS = 60000, /* nothing has come */
	HEARD_STALE_MS = 240000, /* no session was made: what comes is not answered */
};

struct heard {
	struct map nodes; /* id -> own */
};

/* How a node is spoken to. */
enum heard_how {
	HEARD_NOT,    /* it is not, or nothing says whether it should answer */
	HEARD_IDLE,   /* it would be, and nobody does just now */
	HEARD_SPOKEN, /* it is expected to answer */
};

struct heard_now {
	uint64_t mono_ns;
	int64_t wall_ns;
};

void heard_init(struct heard *h);
void heard_fini(struct heard *h);
/* The device is another one: all begin anew. */
void heard_forget(struct heard *h);

/* Looks at what came since the last time: to be called at least each few seconds. how: of each row.
 * Those who are not spoken to, and those in no row, are forgotten; but who was silent, and is only
 * idle, is so until something comes. Without memory for one nothing is said of it. */
void heard_note(struct heard *h, const struct setup *is, const struct msg_mesh *rows, size_t count,
		const enum heard_how *how, const struct heard_now *now);
/* Since when nothing of that node counts, in nanoseconds since 1970; 0: it is heard, or it is not
 * expected to be. The same until it is heard. */
int64_t heard_silent_since(const struct heard *h, uint32_t node);
/* It is expected, and neither heard nor silent yet, since it is looked at anew. */
bool heard_is_unsure(const struct heard *h, uint32_t node);

#endif
