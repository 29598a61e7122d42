/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_HTTP1_H
#define WIRE_HTTP1_H

/*
 * Heads of HTTP/1.1 messages (RFC 9110, 9112), both roles. Strict: what two parties might read
 * differently is refused, never repaired. Bodies are http1_body.h, output is http1_write.h.
 *
 *	struct http1_head head;
 *	http1_head_init(&head, HTTP1_REQUEST, NULL);
 *	switch (http1_head_parse(&head, data, length)) {
 *	case HTTP1_MORE:	keep data, append what comes, call again with all of it
 *	case HTTP1_DONE:	head.head_bytes were the head; the body (or next message) follows
 *	case HTTP1_BAD:		http1_error_status(head.error) is what to answer
 *	}
 *
 * `data` starts at the message's first byte at each call; the address may change between calls.
 * What was scanned is not scanned again. Everything in the head is an offset from `data`, so the
 * head stays valid while those bytes are kept. Nothing allocates.
 * Threading: a plain value.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "wire/http.h"
#include "wire/url.h"

enum { HTTP1_FIELDS_MAX = 100 };

struct http1_limits {
	uint32_t line_bytes;  /* request or status line */
	uint32_t block_bytes; /* whole head, with the first line */
	uint32_t fields;      /* at most HTTP1_FIELDS_MAX */
};
extern const struct http1_limits http1_limits_default; /* 8 KiB, 32 KiB, 100 */

enum http1_role { HTTP1_REQUEST, HTTP1_RESPONSE };

enum http1_result { HTTP1_MORE, HTTP1_DONE, HTTP1_BAD };

enum http1_error {
	HTTP1_OK,
	HTTP1_LINE_TOO_LONG,
	HTTP1_BLOCK_TOO_LONG,
	HTTP1_TOO_MANY_FIELDS,
	HTTP1_BAD_LINE_END, /* bare LF, bare CR */
	HTTP1_BAD_REQUEST_LINE,
	HTTP1_BAD_METHOD,
	HTTP1_BAD_TARGET,
	HTTP1_BAD_VERSION,
	HTTP1_BAD_STATUS_LINE,
	HTTP1_BAD_FIELD_NAME, /* space before the colon and no colon too */
	HTTP1_BAD_FIELD_VALUE,
	HTTP1_OBS_FOLD,
	HTTP1_BAD_HOST, /* missing, twice, or not an authority */
	HTTP1_BAD_CONTENT_LENGTH,
	HTTP1_LENGTH_AND_CODING, /* Content-Length and Transfer-Encoding */
	HTTP1_BAD_CODING, /* Transfer-Encoding other than exactly "chunked", or in HTTP/1.0 */
	HTTP1_BAD_EXPECT,
	HTTP1_BAD_CHUNK, /* the rest: http1_body.h */
	HTTP1_BAD_TRAILER,
	HTTP1_ERRORS_,
};

enum http1_framing {
	HTTP1_NO_BODY,
	HTTP1_LENGTH,
	HTTP1_CHUNKED,
	HTTP1_UNTIL_CLOSE, /* responses only */
	HTTP1_TUNNEL,      /* 101, or 2xx to CONNECT: what follows is not HTTP */
};

struct http1_head {
	/* Result; valid after HTTP1_DONE (error after HTTP1_BAD). */
	enum http1_error error;
	enum http1_role role;
	uint32_t head_bytes;
	uint8_t minor;              /* HTTP/1.minor: 0 or 1 */
	bool keep_alive;            /* the connection may carry another message afterwards */
	bool expect_continue;       /* Expect: 100-continue */
	bool upgrade;               /* Connection: upgrade and an Upgrade field are both there */
	bool upgrade_websocket;     /* and it names websocket */
	bool connection_names;      /* Connection lists other fields, which must be stripped, too */
	enum http1_framing framing; /* of a request; of a response see http1_head_framing */
	bool has_length;
	uint64_t content_length;
	/* request */
	enum http_method method;
	struct http_span method_name;
	struct http_span target; /* as sent */
	struct url_target url;   /* its spans are offsets from `data`, like all others */
	struct http_span
		authority; /* of an absolute target, else the Host field; may be empty in 1.0 */
	/* response */
	uint16_t status;
	struct http_span reason;

	uint32_t count;
	struct http_field fields[HTTP1_FIELDS_MAX];

	/* The parser's own. */
	struct http1_limits limits;
	uint32_t line_;
	uint32_t scan_;
	uint8_t state_;
	bool coding_;
	bool host_seen_;
	bool connection_close_;
	bool connection_keep_;
	bool connection_upgrade_;
};

/* limits NULL: the default. Only the fixed part is cleared: cheap per message. */
void http1_head_init(struct http1_head *head, enum http1_role role,
		     const struct http1_limits *limits);
enum http1_result http1_head_parse(struct http1_head *head, const char *data, size_t length);

/* How the body of a response is framed, given the request's method (RFC 9112 6.3); clears
 * keep_alive where the connection cannot be used again. 1xx other than 101 have no body: the final
 * response follows. */
enum http1_framing http1_head_framing(struct http1_head *response, enum http_method request_method);

/* A block of trailer fields as http1_body.h collects them ("name: value\r\n" ...): fields are
 * appended to out (at most max), offsets into data. Gives the count or -1. */
int http1_head_trailers(const char *data, size_t length, struct http_field *out, size_t max);

/* First field with this id, or NULL; its value. */
const struct http_field *http1_head_find(const struct http1_head *head, enum header_id id);
/* Value as a pointer, or NULL when there is no such field. */
const char *http1_head_value(const struct http1_head *head, const char *data, enum header_id id,
			     size_t *length_out);

/* Status to answer a bad request with: 400, 414, 417, 431, 505. */
unsigned http1_error_status(enum http1_error error);
/* Short constant text ("bare line feed"): for logs, metrics labels and problem+json. */
const char *http1_error_text(enum http1_error error);

#endif
