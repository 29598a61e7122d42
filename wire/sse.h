/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_SSE_H
#define WIRE_SSE_H

/*
 * Server-sent events (the WHATWG's text/event-stream): encoder and incremental parser.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

/* One event. id and event may be NULL; data may hold line ends (each line becomes a field). id and
 * event must not hold line ends or NUL: such are left out. */
void sse_put(struct buf *out, const char *id, const char *event, const char *data, size_t length);
void sse_put_retry(struct buf *out, uint64_t ms);
/* A comment line and an empty one: keeps the connection from looking dead. */
void sse_put_comment(struct buf *out, const char *text);

enum sse_result { SSE_MORE, SSE_EVENT, SSE_TOO_LONG };

enum { SSE_NAME_BYTES = 128 };

struct sse {
	/* the event, valid after SSE_EVENT until the next call */
	struct buf data;            /* without the final line feed */
	char event[SSE_NAME_BYTES]; /* "message" when none was given */
	char id[SSE_NAME_BYTES];    /* of the last event that had one */
	uint64_t retry_ms;          /* 0: never given */
	/* the parser's own */
	struct buf line;
	bool has_data, after_cr, fresh, given;
};

/* bytes_max: of one line, and of one event's data. */
void sse_init(struct sse *sse, enum mem_tag tag, size_t bytes_max);
void sse_fini(struct sse *sse);
/* Feeds until one event is complete. SSE_TOO_LONG: out of memory too; the stream is lost. */
enum sse_result sse_feed(struct sse *sse, const char *data, size_t length, size_t *used_out);

#endif
