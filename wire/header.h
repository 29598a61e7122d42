/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_HEADER_H
#define WIRE_HEADER_H

/*
 * Field names of HTTP (RFC 9110 and friends) as small integers, so that nobody compares strings
 * twice. Names are case-insensitive; the table keeps lower case (HTTP/2's form), which HTTP/1.1
 * recipients must accept too.
 * Threading: constant data.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(identifier, name, hop-by-hop) */
#define HEADER_NAMES(X)                                              \
	X(ACCEPT, "accept", 0)                                       \
	X(ACCEPT_ENCODING, "accept-encoding", 0)                     \
	X(ACCEPT_LANGUAGE, "accept-language", 0)                     \
	X(ACCEPT_RANGES, "accept-ranges", 0)                         \
	X(AGE, "age", 0)                                             \
	X(ALT_SVC, "alt-svc", 0)                                     \
	X(AUTHORIZATION, "authorization", 0)                         \
	X(CACHE_CONTROL, "cache-control", 0)                         \
	X(CONNECTION, "connection", 1)                               \
	X(CONTENT_ENCODING, "content-encoding", 0)                   \
	X(CONTENT_LENGTH, "content-length", 0)                       \
	X(CONTENT_RANGE, "content-range", 0)                         \
	X(CONTENT_TYPE, "content-type", 0)                           \
	X(COOKIE, "cookie", 0)                                       \
	X(DATE, "date", 0)                                           \
	X(ETAG, "etag", 0)                                           \
	X(EXPECT, "expect", 0)                                       \
	X(EXPIRES, "expires", 0)                                     \
	X(FORWARDED, "forwarded", 0)                                 \
	X(GRPC_STATUS, "grpc-status", 0)                             \
	X(HOST, "host", 0)                                           \
	X(HTTP2_SETTINGS, "http2-settings", 1)                       \
	X(IF_MATCH, "if-match", 0)                                   \
	X(IF_MODIFIED_SINCE, "if-modified-since", 0)                 \
	X(IF_NONE_MATCH, "if-none-match", 0)                         \
	X(IF_RANGE, "if-range", 0)                                   \
	X(IF_UNMODIFIED_SINCE, "if-unmodified-since", 0)             \
	X(KEEP_ALIVE, "keep-alive", 1)                               \
	X(LAST_EVENT_ID, "last-event-id", 0)                         \
	X(LAST_MODIFIED, "last-modified", 0)                         \
	X(LOCATION, "location", 0)                                   \
	X(MAX_FORWARDS, "max-forwards", 0)                           \
	X(ORIGIN, "origin", 0)                                       \
	X(PRIORITY, "priority", 0)                                   \
	X(PROXY_AUTHENTICATE, "proxy-authenticate", 1)               \
	X(PROXY_AUTHORIZATION, "proxy-authorization", 1)             \
	X(PROXY_CONNECTION, "proxy-connection", 1)                   \
	X(RANGE, "range", 0)                                         \
	X(REFERER, "referer", 0)                                     \
	X(RETRY_AFTER, "retry-after", 0)                             \
	X(SEC_WEBSOCKET_ACCEPT, "sec-websocket-accept", 0)           \
	X(SEC_WEBSOCKET_EXTENSIONS, "sec-websocket-extensions", 0)   \
	X(SEC_WEBSOCKET_KEY, "sec-websocket-key", 0)                 \
	X(SEC_WEBSOCKET_PROTOCOL, "sec-websocket-protocol", 0)       \
	X(SEC_WEBSOCKET_VERSION, "sec-websocket-version", 0)         \
	X(SERVER, "server", 0)                                       \
	X(SET_COOKIE, "set-cookie", 0)                               \
	X(STRICT_TRANSPORT_SECURITY, "strict-transport-security", 0) \
	X(TE, "te", 1)                                               \
	X(TRACEPARENT, "traceparent", 0)                             \
	X(TRACESTATE, "tracestate", 0)                               \
	X(TRAILER, "trailer", 0)                                     \
	X(TRANSFER_ENCODING, "transfer-encoding", 1)                 \
	X(UPGRADE, "upgrade", 1)                                     \
	X(USER_AGENT, "user-agent", 0)                               \
	X(VARY, "vary", 0)                                           \
	X(VIA, "via", 0)                                             \
	X(WARNING, "warning", 0)                                     \
	X(WWW_AUTHENTICATE, "www-authenticate", 0)                   \
	X(X_FORWARDED_FOR, "x-forwarded-for", 0)                     \
	X(X_FORWARDED_HOST, "x-forwarded-host", 0)                   \
	X(X_FORWARDED_PORT, "x-forwarded-port", 0)                   \
	X(X_FORWARDED_PROTO, "x-forwarded-proto", 0)                 \
	X(X_REAL_IP, "x-real-ip", 0)                                 \
	X(X_REQUEST_ID, "x-request-id", 0)                           \
	X(ZLAYER_EXIT_CODE, "zlayer-exit-code", 0)

enum header_id {
	HEADER_OTHER = 0,
#define HEADER_ENUM_(identifier, name, hop) HEADER_##identifier,
	HEADER_NAMES(HEADER_ENUM_)
#undef HEADER_ENUM_
		HEADER_IDS_,
};

/* HEADER_OTHER when the name is not in the table. */
enum header_id header_lookup(const char *name, size_t length);
/* Lower case, NUL-terminated; "" for HEADER_OTHER. */
const char *header_name(enum header_id id);
size_t header_name_length(enum header_id id);
/* Belongs to one connection only (RFC 9110 7.6.1, and the Proxy- fields): never forwarded. */
bool header_is_hop(enum header_id id);

/* RFC 9110 5.6.2. */
bool header_is_token_char(unsigned char c);
bool header_is_token(const char *text, size_t length);
/* Visible characters, space, tab and obs-text only; no leading or trailing whitespace. */
bool header_is_value(const char *text, size_t length);
/* Case-insensitive comparison with a lower-case, NUL-terminated text. */
bool header_equal(const char *text, size_t length, const char *lower);
/* True when the comma-separated list has this token (lower case, NUL-terminated). */
bool header_list_has(const char *list, size_t length, const char *lower);
/* Walks a comma-separated list: gives the next non-empty item, trimmed, or false at its end. *at is
 * the caller's cursor, 0 to begin. */
bool header_list_next(const char *list, size_t length, size_t *at, const char **item_out,
		      size_t *item_length_out);

#endif
