/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_STREAM_H
#define PROXY_STREAM_H

/*
 * One request on its way: routed, sent to a replica, answered, accounted for. Between a session,
 * which knows the client's protocol, and an upstream connection, which knows the replica's.
 *
 * The session makes a stream, begins it, and feeds it the body; the stream calls the session's
 * operations. After `end` or `abort` was called, or stream_cancel() by the session, the two do not
 * know each other any more; memory is freed at the end of the loop turn.
 *
 * Back pressure: body bytes count as the session's until `consumed` gives them back; answer bytes
 * are pushed, but a stream whose session has more than the high mark pending stops reading its
 * replica until stream_writable().
 * Threading: the loop's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "proxy/forward.h"
#include "proxy/reply.h"
#include "proxy/upstream.h"

struct stream;
struct worker;

struct stream_answer {
	unsigned status;
	const struct h2_header *fields; /* without framing */
	size_t count;
	bool has_body;
	bool has_length; /* Content-Length is known (also without a body: HEAD, 304) */
	uint64_t length;
	bool tunnel; /* the upgrade was accepted */
};

struct stream_ops {
	void (*interim)(void *session, unsigned status, const struct h2_header *fields,
			size_t count);
	void (*answer)(void *session, const struct stream_answer *answer);
	void (*data)(void *session, const char *data, size_t length);
	void (*end)(void *session, const struct h2_header *trailers, size_t count);
	/* The answer, already begun, cannot be completed. */
	void (*abort)(void *session);
	size_t (*pending)(void *session);
	void (*consumed)(void *session, size_t bytes);
};

/* NULL: out of memory. */
struct stream *stream_new(struct worker *w, const struct stream_ops *ops, void *session);
/* Everything in the request is used or copied before this returns. expect_continue: the client
 * waits for a 100 before it sends the body. accept: its Accept, or NULL. */
void stream_begin(struct stream *s, const struct forward_request *r, bool expect_continue);
/* A request that is refused before it can be routed. */
void stream_refuse(struct stream *s, const struct forward_request *r, const struct reply *why);
void stream_body(struct stream *s, const char *data, size_t length);
/* The request is complete; trailers as "name: value\r\n" lines (may be empty). */
void stream_body_end(struct stream *s, const char *trailers, size_t length);
void stream_writable(struct stream *s);
/* The client is gone. */
void stream_cancel(struct stream *s);
void stream_sweep(struct worker *w); /* frees those that ended in this turn */

/* ---- called by the upstream connection ---- */

void stream_up_connected(struct stream *s);
void stream_up_interim(struct stream *s, const struct http1_head *head, const char *data);
void stream_up_answer(struct stream *s, const struct http1_head *head, const char *data,
		      enum http1_framing framing);
void stream_up_data(struct stream *s, const char *data, size_t length);
void stream_up_end(struct stream *s, const char *trailers, const struct http_field *fields,
		   size_t count);
void stream_up_lost(struct stream *s, enum upstream_loss loss, bool reused);
/* Nothing of an answer has come, and another replica may be asked as well. */
bool stream_may_repeat(const struct stream *s);
/* Does that, in the loop's next turn, unless an answer comes first. */
void stream_give_up(struct stream *s);
void stream_up_writable(struct stream *s);

#endif
