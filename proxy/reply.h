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
#include "proxy/forward.h"

enum { REPLY_BODY_MAX = 1024, REPLY_LOCATION_MAX = 12288 };

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

/* accept: the request's Accept, NULL when it had none. */
void reply_put(const struct reply *reply, const char *id, const char *accept, size_t accept_length,
	       struct reply_text *out);
/* "https://host/path?query"; the port of the https listener when it is not 443. False: too long. */
bool reply_put_location(const struct forward_request *r, unsigned https_port, char *out,
			size_t cap);

#endif
