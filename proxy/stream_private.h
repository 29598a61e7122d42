/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_STREAM_PRIVATE_H
#define PROXY_STREAM_PRIVATE_H

/* For the files of stream.h among themselves: stream.c (begins and ends it), stream_send.c (towards
 * the replica), stream_answer.c (back). */

#include "base/buf.h"
#include "base/list.h"
#include "proxy/account.h"
#include "proxy/backend.h"
#include "proxy/balance.h"
#include "proxy/demand.h"
#include "proxy/router.h"
#include "proxy/stream.h"
#include "proxy/wheel.h"
#include "wire/ws.h"

/* WAITING: for a replica of a service that sleeps. */
enum stream_state {
	STATE_NEW,
	STATE_WAITING,
	STATE_CONNECTING,
	STATE_SENT,
	STATE_ANSWERING,
	STATE_DONE
};

struct stream {
	struct list link; /* of the dead */
	struct worker *w;
	const struct stream_ops *ops;
	void *session; /* NULL: the two do not know each other any more */
	struct router *router;
	const struct route *route;
	struct account_route *series;
	struct demand_service *demand; /* NULL: not counted */
	struct demand_wait wait;
	struct backend *backend;
	struct upstream *up;
	struct wheel_timer timer;
	uint64_t started_ns, sent_ns, answered_ns;
	int64_t wall_ns;
	uint64_t bytes_in, bytes_out, progress_mark;
	char *head;
	size_t head_bytes;
	struct forward_spans spans;
	struct buf body;   /* encoded: waits for a connection, or is kept for another try */
	size_t unconsumed; /* of the session's bytes */
	const struct balance_replica *tried[BALANCE_TRIED_MAX];
	size_t tried_count;
	uint16_t status;
	uint8_t state; /* enum stream_state */
	uint8_t protocol;
	uint8_t attempts;
	enum http_method method;
	enum forward_body framing;
	struct addr client;
	bool tls, h2, websocket, tunnel;
	bool body_kept; /* all that was sent is in body */
	bool request_ended;
	bool retried;
	bool given_up; /* nobody expects an answer of that replica */
	bool up_paused;
	bool counted; /* in the backend's load */
	bool cut;
	char id[FORWARD_ID_BYTES];
	char ws_key[WS_KEY_BYTES];
};

/* stream.c */
/* on_timeout in so many ms, unless it is set again before. */
void stream_deadline(struct stream *s, uint64_t ms);
/* The body bytes that were taken count as the session's no more. */
void stream_give_back(struct stream *s);
/* What was sent of the body is not kept any more: no other replica can be tried. */
void stream_drop_body(struct stream *s);
void stream_leave_backend(struct stream *s);
/* Answers with this and ends: no answer has begun. */
void stream_reply(struct stream *s, const struct reply *why);
/* An answer that has begun cannot be completed: ends. */
void stream_cut(struct stream *s);
/* The end, once: whatever ends it, early or not. */
void stream_finish(struct stream *s, bool keep_upstream);

/* stream_send.c: chooses a replica and sends what there is. */
void stream_try(struct stream *s);
/* demand_wait's: there is a replica now. */
void stream_woken(struct demand_wait *wait);
/* It waited too long for one. */
void stream_wait_over(struct stream *s);

#endif
