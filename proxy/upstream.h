/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_UPSTREAM_H
#define PROXY_UPSTREAM_H

/*
 * A connection to a replica and the HTTP/1.1 client on it. It serves one request at a time and
 * waits in its backend's pool between two; the pool is keyed by the replica's id, so it survives
 * changes of routes. An idle connection stays registered for reading: a FIN (or any byte) that
 * comes while nobody asked closes it before it can be used again.
 *
 * Events go to the request (stream.h: stream_up_*). After stream_up_end and stream_up_lost the
 * connection is no longer the request's.
 * Threading: the loop's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "base/list.h"
#include "proxy/backend.h"
#include "proxy/sendq.h"
#include "proxy/wheel.h"
#include "wire/http1_body.h"

struct stream;
struct worker;
struct upstream;

enum { UPSTREAM_DOUBT_S = 3 };

enum upstream_loss {
	UPSTREAM_REFUSED, /* could not be connected */
	UPSTREAM_DIED,    /* closed or reset */
	UPSTREAM_BAD,     /* not HTTP/1.1 as it should be */
	UPSTREAM_NO_MEMORY,
};

/* Takes an idle connection of the backend to that port, or starts a new one; for the stream. NULL
 * with *loss: out of memory or descriptors, or refused at once (there is no way to it any more).
 * idle_max_ms: one that was idle so long is not taken (0: a new one). */
struct upstream *upstream_take(struct worker *w, struct backend *b, uint16_t port,
			       uint64_t idle_max_ms, struct stream *s, enum upstream_loss *loss);
bool upstream_connected(const struct upstream *u);
/* false: broken; stream_up_lost is not called. */
bool upstream_send(struct upstream *u, const uv_buf_t *bufs, unsigned count);
size_t upstream_pending(const struct upstream *u);
/* The request's method decides how the answer is framed; upgrade: 101 is expected. */
void upstream_expect(struct upstream *u, enum http_method method, bool upgrade);
void upstream_pause(struct upstream *u);
void upstream_resume(struct upstream *u);
/* No more request bytes: half-closes when all is sent (tunnels). */
void upstream_shut(struct upstream *u);
/* The answer is complete: back to the pool, or closed. */
void upstream_release(struct upstream *u, bool keep);
/* Gives it up; no event follows. */
void upstream_close(struct upstream *u);
/* For backend_table_init: closes an idle one by its list item. */
void upstream_drop(struct list *idle);
/* Likewise, by its item in backend.all. When nothing is heard of the machine behind it for
 * UPSTREAM_DOUBT_S it counts as lost; one that lives goes on as before. For what backend_doubt
 * says. */
void upstream_doubt(struct list *connection, enum backend_doubt why);

#endif
