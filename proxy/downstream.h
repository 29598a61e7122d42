/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_DOWNSTREAM_H
#define PROXY_DOWNSTREAM_H

/*
 * One client connection: the socket, TLS or not, its output, and the session (HTTP/1.1, HTTP/2, or
 * the relay of a tcp endpoint) on top. An idle connection owns no buffer.
 *
 * Life: handshake -> open -> (finishing: output is flushed, then the write side is shut and what
 * still comes is dropped for a moment) -> closed. Memory is freed from the loop after the handle's
 * close, never within a callback; code that may have closed a connection checks downstream_open().
 * Threading: the loop's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "base/addr.h"
#include "base/list.h"
#include "proxy/sendq.h"
#include "proxy/wheel.h"
#include "wire/tls.h"

struct downstream;
struct worker;
struct session_h1;
struct session_h2;
struct relay_tcp;
struct relay_endpoint;

enum downstream_state {
	DOWNSTREAM_HANDSHAKE,
	DOWNSTREAM_OPEN,
	DOWNSTREAM_FINISHING,
	DOWNSTREAM_LINGER,
	DOWNSTREAM_CLOSED
};

struct session_ops {
	/* Plaintext; returns when all was used or kept. */
	void (*input)(struct downstream *c, const uint8_t *data, size_t length);
	/* The client will send no more. */
	void (*eof)(struct downstream *c);
	/* Output has room again. */
	void (*writable)(struct downstream *c);
	/* The connection's deadline came. */
	void (*timeout)(struct downstream *c);
	void (*drain)(struct downstream *c);
	/* The connection is closing: cancel what is under way. Called once. */
	void (*closed)(struct downstream *c);
	/* Memory. */
	void (*free)(struct downstream *c);
};

struct downstream {
	struct list link;    /* of the worker */
	struct list dirty;   /* has frames to pull */
	struct list shaking; /* waits for its turn in a handshake */
	struct worker *w;
	uv_tcp_t tcp;
	struct sendq out;
	struct wheel_timer timer;
	struct tls *tls;               /* NULL: plain */
	const struct session_ops *ops; /* NULL during the handshake */
	union {
		struct session_h1 *h1;
		struct session_h2 *h2;
		struct relay_tcp *relay;
	} session;
	struct relay_endpoint *endpoint; /* referred to; NULL: http or https */
	struct addr peer;
	char peer_text[ADDR_TEXT_BYTES]; /* its address, without the port */
	uint64_t started_ns;
	uint64_t stalled_bytes; /* what waited when the stall was last looked at */
	enum downstream_state state;
	bool secure; /* came over an https listener */
	bool is_h2;
	bool reading;
	bool shut_wanted, shut; /* our half is over */
	bool signing;           /* the handshake waits for signer */
	bool has_turn;          /* in a handshake: it waited for this one */
	bool handle_closed;
};

/* Takes one connection from a listener; false: out of memory, try again later (libuv waits).
 * endpoint: of a tcp listener, else NULL. */
bool downstream_accept(struct worker *w, uv_stream_t *server, bool secure,
		       struct relay_endpoint *endpoint);
bool downstream_open(const struct downstream *c);
/* Plaintext to the client; gathered until the end of the turn or until it is much. */
void downstream_write(struct downstream *c, const void *data, size_t length);
/* What was gathered, for any connection. */
void downstream_flush_stage(struct worker *w);
size_t downstream_pending(const struct downstream *c);
void downstream_pause(struct downstream *c); /* reads no more */
void downstream_resume(struct downstream *c);
/* Has frames to pull at the end of this turn. */
void downstream_mark_dirty(struct downstream *c);
void downstream_deadline(struct downstream *c, uint64_t ms_from_now);
/* Flush, say goodbye, close. */
void downstream_finish(struct downstream *c);
/* Our half ends when all is sent; the client may go on. */
void downstream_shut(struct downstream *c);
/* At once, and so that the client sees a reset and not an end. */
void downstream_abort(struct downstream *c);
/* At once. */
void downstream_close(struct downstream *c);
/* signer answered. */
void downstream_signed(struct downstream *c);
void downstream_drain(struct downstream *c);
/* A new turn of the loop: those that waited longest get on with their handshakes. */
void downstream_next_handshakes(struct worker *w);

#endif
