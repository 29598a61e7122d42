/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_CONN_H
#define API_CONN_H

/*
 * One connection: HTTP/1.1 in, one request at a time, keep-alive, with a limit and a deadline for
 * everything. A handler gets a struct call (api/call.h) and answers through it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "api/server.h"
#include "base/buf.h"
#include "base/list.h"
#include "wire/http1.h"
#include "wire/http1_body.h"

struct call;

enum {
	CONN_IN_BYTES = 64 << 10,
	CONN_OUT_MAX = 32 << 20, /* one answer */
	CONN_HIGH = 256 << 10,   /* streams pause above this */
	CONN_HEAD_MS = 15000,    /* a request's head must be there by then */
	CONN_IDLE_MS = 60000,    /* between requests */
	CONN_STALL_MS = 30000,   /* nothing could be sent, or no more of a body came */
	CONN_REQUESTS_MAX = 10000,
};

enum conn_state {
	CONN_HEAD, /* between requests and while a head comes */
	CONN_BODY, /* a body comes */
	CONN_WAIT, /* the handler is at work */
	CONN_RAW,  /* upgraded: bytes go to the handler */
	CONN_END,  /* what is left to send goes out, then it is closed */
};

struct conn {
	struct list link;
	struct server *server;
	struct server_user *user;
	uint32_t pid;
	uv_pipe_t pipe;
	uv_timer_t timer;
	int handles; /* to be closed before it is freed */
	enum conn_state state;
	bool reading, paused, closing, eof, close_after, busy;
	uint32_t requests;
	uint8_t in[CONN_IN_BYTES];
	size_t in_length;
	struct http1_head head;
	struct http1_body body;
	struct call *call;
	struct buf out;     /* waits */
	struct buf sending; /* is with the kernel */
	uv_write_t write;
	bool writing;
};

/* Takes fd. */
void conn_new(struct server *s, int fd, struct server_user *user, uint32_t pid);
/* The process is to leave (api/leave.h): what has no end of its own ends, what is under way goes
 * on.
 */
void conn_stop(struct conn *c);
/* A session ends, and its client is told why. */
void conn_stop_raw(struct conn *c);
/* Nothing is waited for any more; what can be said is still sent. */
void conn_cut(struct conn *c);
/* Ends it at once. */
void conn_close(struct conn *c);
/* Bytes to send; sent when the loop turns. */
void conn_write(struct conn *c, const void *data, size_t bytes);
size_t conn_pending(const struct conn *c);
/* The current answer is complete. */
void conn_finish(struct conn *c);
/* The answer was an upgrade: what comes now goes to the call. */
void conn_upgrade(struct conn *c);
/* The handler takes no more bytes for now, or again. */
void conn_pause(struct conn *c, bool on);

#endif
