/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_CALL_H
#define API_CALL_H

/*
 * One request and its answer. A handler answers exactly once: with call_json and friends, with an
 * error, or as a stream (call_stream, call_write ..., call_end). It may do so later, from the
 * answer of another role (call_ask). When the client leaves first, `stream_free` is called and
 * nothing more; answers that still come are dropped.
 * Ownership: the connection owns the call until it is answered; a call with questions under way
 * lives until the last answer.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "api/conn.h"
#include "base/buf.h"
#include "base/err.h"
#include "spec/json.h"
#include "wire/http1.h"

struct call;
struct route;

enum {
	CALL_PARAMS_MAX = 2,
	CALL_PARAM_BYTES = 300,
	CALL_QUERY_BYTES = 8192,
	CALL_BODY_MAX = 1 << 20,
	CALL_ASK_MS = 15000,
};

typedef void (*call_answer_fn)(struct call *call, const void *body, size_t bytes, int *fds,
			       size_t count);

struct call {
	struct server *server;
	struct conn *conn; /* NULL: the client has left, or the answer is complete */
	const struct route *route;
	char param[CALL_PARAMS_MAX][CALL_PARAM_BYTES]; /* of the path, decoded */
	char query[CALL_QUERY_BYTES];                  /* as sent */
	size_t query_length;
	char if_match[64];
	char last_event_id[24];
	char websocket_key[32];
	bool is_websocket;
	bool head_only, old; /* HEAD; HTTP/1.0: no chunks */
	bool answered;       /* the head of an answer was sent */
	bool refused_inside; /* by another role: the same request at once again is no help */
	bool raw;            /* upgraded */
	bool open;           /* the answer is a stream that has not ended */
	bool endless;        /* and does not end by itself */
	unsigned asks;
	struct list held;       /* of its server, while it waits: api/hold.h */
	uint64_t held_until_ms; /* 0: it does not */
	struct buf body;
	struct err refused; /* kind 0: no; what is answered when the request is there */
	unsigned refused_status;
	char allow[64]; /* of a 405 */
	/* The handler's own. */
	void *stream;
	void (*stream_free)(struct call *call);
	void (*on_drained)(struct call *call); /* there is room to write */
	void (*on_stop)(struct call *call);    /* upgraded, and the process is about to leave */
	void (*on_body)(struct call *call, const char *data, size_t bytes);
	void (*on_body_end)(struct call *call);
	size_t (*on_raw)(struct call *call, uint8_t *data, size_t bytes); /* gives what it took */
};

/* ---- for handlers ---- */

/* A parameter of the query: false when absent. A malformed or too long one answers and gives true
 * with an empty text and call->answered. */
bool call_query(struct call *call, const char *name, char *out, size_t cap);
/* Flags and numbers of the query; false when the value is malformed: then it was answered. */
bool call_query_bool(struct call *call, const char *name, bool *out);
bool call_query_u64(struct call *call, const char *name, uint64_t max, uint64_t *out);
/* A time: nanoseconds since 1970, RFC 3339 in the query. */
bool call_query_time(struct call *call, const char *name, int64_t *out);

void call_reply(struct call *call, unsigned status, const char *type, const char *extra,
		const void *data, size_t bytes);
/* status and the JSON in b, which is finished with (buf_fini). extra: header lines or NULL. */
void call_json(struct call *call, unsigned status, const char *extra, struct buf *b);
void call_problem(struct call *call, const struct err *err);
void call_problem_status(struct call *call, const struct err *err, unsigned status);
/* What came from this role is not what was agreed. */
void call_damaged(struct call *call, const char *whose);
/* Begins the JSON of an answer of another role: in *b, of at most `max` bytes, an object is open in
 * *j; json_end and call_json end it. False: the role's answer does not hold, and that was answered.
 */
bool call_answer_begin(struct call *call, const char *whose, bool holds, size_t max, struct buf *b,
		       struct json *j);
/* With a JSON array of diagnostics. */
void call_problem_diags(struct call *call, const struct err *err, const struct buf *diagnostics);

void call_stream(struct call *call, const char *type);
void call_write(struct call *call, const void *data, size_t bytes);
bool call_room(const struct call *call); /* to write more */
void call_end(struct call *call);
/* Upgrades to WebSocket: on_raw gets what comes, call_write sends bytes as they are. */
void call_upgrade(struct call *call);
/* Stop or go on taking the body or raw bytes. */
void call_pause(struct call *call, bool on);

/* Asks another role; an error, or no free slot, is answered by itself. done is not called when the
 * client has left meanwhile. */
void call_ask(struct call *call, uint16_t role, uint16_t op, const void *body, size_t bytes,
	      const int *fds, size_t count, uint64_t timeout_ms, call_answer_fn done);

/* ---- for the connection ---- */

struct call *call_new(struct conn *c);
void call_begin(struct call *call, const struct http1_head *head, const char *data);
void call_body(struct call *call, const char *data, size_t bytes);
void call_body_end(struct call *call);
size_t call_raw(struct call *call, uint8_t *data, size_t bytes);
void call_drained(struct call *call);
/* Runs its handler, when all is there that this needs. */
void call_handle(struct call *call);
/* The process is to leave: what is endless ends. */
void call_stop(struct call *call);
/* It leaves now: who waits for an answer is told that there is none. */
void call_cut(struct call *call);
void call_abandon(struct call *call);
bool call_is_stream(const struct call *call);
/* Kept alive over a callback that may answer. */
void call_ref(struct call *call);
void call_unref(struct call *call);

#endif
