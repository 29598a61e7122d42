/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_FORWARD_H
#define PROXY_FORWARD_H

/*
 * What changes in a message on its way through (RFC 9110 7.6): hop-by-hop fields go, forwarding
 * fields are ours alone (a client's own are never trusted), framing is made anew. Messages are
 * always written again, never passed on raw.
 * Threading: pure functions.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/world.h"
#include "proxy/router.h"
#include "wire/h2.h"
#include "wire/http1.h"

enum { FORWARD_ID_BYTES = 37, FORWARD_HEAD_MAX = 49152, FORWARD_FIELDS_MAX = 120 };

enum forward_body { FORWARD_NO_BODY, FORWARD_LENGTH, FORWARD_CHUNKED };

/* A request as both sessions give it: everything points into memory of the caller. */
struct forward_request {
	const char *text;
	const struct http_field *fields;
	size_t count;
	enum http_method method;
	struct http_span method_name;
	struct http_span authority; /* empty only in HTTP/1.0 */
	const char *path;           /* normalised */
	size_t path_length;
	const char *query; /* NULL: none */
	size_t query_length;
	enum forward_body body;
	uint64_t content_length;
	bool tls;
	bool websocket;
	bool h2;
	bool connection_names; /* Connection lists further fields */
	bool asterisk;         /* OPTIONS * */
	struct addr client;
	const char *client_text; /* its address, for X-Forwarded-For */
	uint8_t protocol;        /* 10, 11, 20 */
};

/* Where things stand in the head that was written: for the access log. */
struct forward_spans {
	struct http_span host, path, id, agent;
};

/* Writes the head for a replica (HTTP/1.1) to out; 0 when it does not fit. ws_key: 24 characters,
 * for an upgrade that came over HTTP/2. */
size_t forward_put_request(const struct forward_request *r, const struct route *route,
			   const char *id, const char *ws_key, char *out, size_t cap,
			   struct forward_spans *spans);

/* What the access log says of a request that goes to no replica: its host, path and user agent, cut
 * where they find no room. Bytes written. */
size_t forward_put_words(const struct forward_request *r, char *out, size_t cap,
			 struct forward_spans *spans);

/* The fields of a replica's answer that go to the client, borrowed from head and data, with
 * those that we add (id, date, HSTS). Content-Length and the like are the session's. -1: too many.
 */
struct forward_answer {
	struct h2_header fields[FORWARD_FIELDS_MAX];
	size_t count;
	char date[HTTP_DATE_BYTES];
};
int forward_answer_fields(const struct http1_head *head, const char *data, const char *id,
			  bool hsts, int64_t now_s, struct forward_answer *out);

/* UUIDv7 (RFC 9562), NUL-terminated. */
void forward_id(const struct world *world, char out[FORWARD_ID_BYTES]);

#endif
