/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

/*
 * HTTP/1.1 over the node's unix socket, one request per connection, blocking with a deadline
 * (poll). Errors: ERR_UNREACHABLE names the socket; an answer that is not 2xx becomes the error its
 * problem+json says. Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "wire/http1.h"
#include "wire/http1_body.h"

struct cli;

enum {
	CLIENT_BUFFER = 128 << 10,
	CLIENT_PROBLEM_MAX = 1 << 20,
	CLIENT_LATER = -2,
	CLIENT_RETRY_MS = 10000
};

struct client {
	int fd;
	uint64_t deadline_mono_ns; /* 0: none */
	unsigned status;
	struct http1_head head;
	struct http1_body body;
	char *data; /* CLIENT_BUFFER bytes: the head, then what follows it */
	size_t filled;
	size_t at; /* of the body's next byte in data */
	bool ended;
	bool again;             /* a 503 that says when to ask again */
	bool no_wait;           /* client_read gives CLIENT_LATER instead of waiting */
	struct buf diagnostics; /* JSON of a problem's "diagnostics", "" when none */
};

struct client_request {
	const char *method;
	const char *target;       /* path and query, encoded */
	const char *content_type; /* NULL: no body */
	const char *if_match;     /* NULL: none */
	const char *last_event_id;
	const char *upgrade_key; /* Sec-WebSocket-Key: asks for an upgrade */
	const void *body;
	size_t body_bytes;
	/* The body as a stream instead (chunked): fills out, gives 0 at the end, -1 with err. */
	long (*produce)(void *arg, void *out, size_t cap, struct err *err);
	void *produce_arg;
};

/* Connects, sends and reads the answer's head (not of 1xx). 0 when the answer is 2xx or 101. A 503
 * with Retry-After (RFC 9110 10.2.3) is asked again for a while. */
int client_open(struct client *c, const struct cli *cli, const struct client_request *request,
		struct err *err) MUST_CHECK;
void client_close(struct client *c);
/* More of the body: bytes, 0 at its end, -1 with err. Waits at most until the deadline. */
long client_read(struct client *c, void *out, size_t cap, struct err *err);
/* Bytes are there already, or the body has ended: client_read will not wait. */
bool client_buffered(const struct client *c);
/* The whole body, at most the buffer's cap. */
int client_read_all(struct client *c, struct buf *out, struct err *err) MUST_CHECK;
/* Request and whole answer in one. */
int client_call(const struct cli *cli, const struct client_request *request, struct buf *out,
		struct err *err) MUST_CHECK;
int client_get(const struct cli *cli, const char *target, struct buf *out,
	       struct err *err) MUST_CHECK;
/* The error that a problem document tells. */
void client_problem(const char *text, size_t bytes, unsigned status, struct err *err);

#endif
