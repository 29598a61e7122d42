/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_URL_H
#define WIRE_URL_H

/*
 * Request targets (RFC 9112 3.2), authorities and paths (RFC 3986), as the proxy and the API read
 * them. Nothing allocates, nothing is resolved.
 *
 * Policy for paths: percent-encoded unreserved characters are decoded, other percent-encodings are
 * kept with upper-case digits, "." and ".." segments are removed (above the root: refused). An
 * encoded NUL or other control character, an encoded slash or backslash, a raw backslash and a
 * broken percent-encoding are refused: two parties may read them differently. Empty segments ("//")
 * are kept: they mean something to some backends.
 * Threading: pure functions.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "wire/http.h"

enum url_form { URL_ORIGIN, URL_ABSOLUTE, URL_AUTHORITY, URL_ASTERISK };

struct url_target {
	enum url_form form;
	bool https;                 /* absolute form: the scheme was https */
	struct http_span authority; /* absolute and authority form */
	struct http_span path;      /* with its "/"; empty in absolute form without one */
	struct http_span query;     /* without "?"; has_query says whether there was one */
	bool has_query;
};

/* Spans are offsets into `text`. False: malformed, or a form that this method may not have. */
bool url_target_parse(const char *text, size_t length, enum http_method method,
		      struct url_target *out);

/* host[:port] as in Host and :authority. host excludes the brackets of an IPv6 literal. */
struct url_authority {
	const char *host;
	size_t host_length;
	uint16_t port; /* 0: none given */
	bool ipv6;
};
bool url_authority_parse(const char *text, size_t length, struct url_authority *out);

/* Lower-cases a host into out (NUL-terminated) and drops one final dot. False when it does not fit.
 */
bool url_host_fold(const char *host, size_t length, char *out, size_t cap);

enum url_path_result { URL_PATH_OK, URL_PATH_BAD, URL_PATH_TOO_LONG };
/* Writes the normalised path; never longer than the input. In place (out == path) is fine.
 * *length_out gets its length; the output is not NUL-terminated. */
enum url_path_result url_path_normalise(const char *path, size_t length, char *out, size_t cap,
					size_t *length_out);

/* Decodes %XX (and, in queries, "+" as space) into out; -1 when malformed, an encoded NUL, or it
 * does not fit with a final NUL. */
long url_decode(const char *text, size_t length, bool plus_is_space, char *out, size_t cap);
/* Percent-encodes everything but unreserved characters; -1 when it does not fit with a NUL. */
long url_encode(const char *text, size_t length, char *out, size_t cap);

/* Walks "a=1&b=2"; names and values are still encoded. *at is the cursor, 0 to begin. */
struct url_pair {
	const char *name;
	size_t name_length;
	const char *value; /* NULL when there was no "=" */
	size_t value_length;
};
bool url_query_next(const char *query, size_t length, size_t *at, struct url_pair *out);
/* The decoded value of the first pair with this name: its length, -1 when absent, -2 malformed or
 * too long. */
long url_query_get(const char *query, size_t length, const char *name, char *out, size_t cap);

#endif
