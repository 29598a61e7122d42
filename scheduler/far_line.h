/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_FAR_LINE_H
#define SCHEDULER_FAR_LINE_H

/*
 * One call to another node, or of one (far_wire.h): a channel, and after the answer a stream of
 * this machine, between which frames of ring/msg.h pass. Who does not read stops who writes, on
 * both machines: what is kept is bounded (FAR_LINE_HIGH each way and a read more).
 *
 * Ends: when either side of the stream or the channel ends, so does the other. Where a way breaks,
 * the stream of who asked gets MSG_FRAME_LOST with the reason before it ends. A way that is silent
 * for FAR_LINE_SILENT_MS is broken; the other side says that it is there (ALIVE) more often.
 *
 * Threading: the loop's. Callbacks may call every function here on their line.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "base/err.h"
#include "scheduler/channel.h"
#include "scheduler/far_wire.h"

enum {
	FAR_LINE_HIGH = 256 << 10,
	FAR_LINE_FIRST_MS = 12000, /* to the first frame of the other side, by default */
	FAR_LINE_ALIVE_MS = 3000,
	FAR_LINE_SILENT_MS = 10000,
};

struct far_line;

struct far_line_calls {
	/* Of a line that asks: the channel is up; far_line_send a CALL. NULL for one that serves.
	 */
	void (*up)(void *arg);
	/* The first frame of the other side: a CALL to one that serves, an ANSWER to one that asks.
	 * Then far_line_open, or far_line_end. */
	void (*first)(void *arg, const struct far_frame *f);
	/* Exactly once, unless far_line_end was called; the line is gone. kind 0: in order. */
	void (*ended)(void *arg, const struct err *why);
};

/* who: the other node, for reasons ("edge-2"). */
int far_line_new(uv_loop_t *loop, bool serves, const char *who, const struct far_line_calls *calls,
		 void *arg, struct far_line **out, struct err *err) MUST_CHECK;
/* Its channel, for channel_connect; then far_line_channel says which it is. */
extern const struct channel_calls far_line_channel_calls;
void far_line_channel(struct far_line *l, struct channel *c);
/* Likewise one that is up. */
void far_line_take(struct far_line *l, struct channel *c);
/* The first frame is waited for so long, a channel counted. */
void far_line_patience(struct far_line *l, uint64_t first_ms);
/* False: the line has ended, and `ended` was called. */
bool far_line_send(struct far_line *l, const struct buf *frame);
/* What passes from now on. fd, a stream socket, is taken in every case; on failure the line can
 * only be ended. */
int far_line_open(struct far_line *l, int fd, struct err *err) MUST_CHECK;
/* After what was sent has left; nothing is called any more. */
void far_line_end(struct far_line *l);
/* As when the way broke. */
void far_line_break(struct far_line *l, const struct err *why);

#endif
