/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_REPLY_H
#define PROXY_REPLY_H

/*
 * Answers that the proxy gives itself: errors as problem+json (RFC 9457) or a short text, by
 * Accept; redirects to https.
 * Threading: pure functions.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "proxy/forward.h"
#include "wire/h2.h"
#include "wire/http.h"

enum { REPLY_BODY_MAX = 1024 };

struct reply {
	unsigned status;
	const char *what;       /* constant: one line for people */
	const char *reason;     /* constant: label of zlayer_http_rejected_total, NULL: none */
	unsigned retry_after_s; /* 0: no such field */
};

struct reply_text {
	char body[REPLY_BODY_MAX];
	size_t length;
	const char *type;
};

/* An answer in full. The fields point into it, and to id and location. */
struct reply_answer {
	struct reply_text text;
	struct h2_header fields[5];
	size_t count;
	char date[HTTP_DATE_BYTES];
	char retry[12];
};

/* Those that more than one part gives. */
extern const struct reply reply_bad_path, reply_too_large, reply_header_too_large,
	reply_bad_gateway, reply_no_memory;

/* accept: the request's Accept, NULL when it had none. location: NULL none. */
void reply_answer(const struct reply *reply, const char *id, int64_t wall_s, const char *accept,
		  size_t accept_length, const char *location, struct reply_answer *out);
/* The value of Accept in a head as forward.h writes it; NULL: none. */
const char *reply_accept(const char *head, size_t head_bytes, size_t *length_out);
/* "https://host/path?query"; the port of the https listener when it is not 443. False: too long. */
bool reply_put_location(const struct forward_request *r, unsigned https_port, char *out,
			size_t cap);

#endif
