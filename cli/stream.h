/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_STREAM_H
#define CLI_STREAM_H

/* A stream of messages of the node that has no end: opened again when it breaks, until the node is
 * away for longer. */

#include <stddef.h>
#include "wire/json_read.h"
#include "wire/sse.h"

struct cli;

enum { STREAM_TARGET_BYTES = 512 };

struct stream {
	const struct cli *cli;
	void *arg;
	char last[SSE_NAME_BYTES]; /* id of the newest message; "" not known */
	/* What is asked for, each time that it is opened. */
	void (*target)(void *arg, char out[STREAM_TARGET_BYTES]);
	/* text is the message as it came; name: its kind. */
	void (*message)(void *arg, const char *name, const json_t *message, const char *text,
			size_t bytes);
};

/* Gives the exit status when it cannot go on. */
int stream_follow(struct stream *s);
/* A node that is left out, on standard error. */
void stream_show_away(const json_t *away);

#endif
