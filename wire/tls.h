/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_TLS_H
#define WIRE_TLS_H

/*
 * TLS 1.2 and 1.3 over flat memory (OpenSSL with a BIO of our own): no sockets, no clock. Bytes
 * from the peer are fed, plaintext comes out into the caller's buffer, and what is to be sent goes
 * to the caller's sink at once. Server engines for the proxy and the API, a client engine for tests
 * and the command line.
 *
 * A server is a set of rules shared by its certificates: how a name is looked up, ticket keys,
 * versions, protocols. A context is one certificate with its key; the key may live elsewhere (a
 * provider that pauses: TLS_ASYNC). Contexts are immutable and counted, so that new ones replace
 * old ones while connections live.
 * Threading: one thread per server and its connections.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"

struct evp_pkey_st; /* EVP_PKEY */

struct tls_server;
struct tls_context;
struct tls_client; /* rules of clients */
struct tls;        /* a connection */

enum { TLS_TICKET_KEYS_MAX = 3, TLS_PLAIN_MIN = 65536 + 16384 };

struct tls_ticket_key {
	uint8_t name[16];
	uint8_t aes[32];
	uint8_t hmac[32];
};

/* The context for a name (lower case, "" when the client named none), or NULL: the handshake ends
 * with the alert unrecognized_name. Borrowed during the call. */
typedef struct tls_context *(*tls_select_fn)(void *arg, const char *host);

/* Judges the certificates of the other side, which proves that it has the leaf's key: chain as
 * tls_context_new takes it. Takes the place of every other check (authorities, names, times). */
typedef bool (*tls_judge_fn)(void *arg, const void *chain, size_t bytes);

struct tls_server_config {
	tls_select_fn select;
	void *select_arg;
	bool h2; /* offer h2 before http/1.1 */
	bool tls13_only;
	bool async; /* keys may pause the handshake (SSL_MODE_ASYNC) */
	/* Mutual TLS: clients must show a certificate. Then nothing is resumed: each connection is
	 * judged anew. */
	tls_judge_fn judge; /* NULL: clients show none */
	void *judge_arg;
	const char *protocol; /* the only one spoken, instead of HTTP's (RFC 7301); NULL: HTTP */
};

int tls_server_new(const struct tls_server_config *config, struct tls_server **out,
		   struct err *err) MUST_CHECK;
void tls_server_free(struct tls_server *s);
/* keys[0] seals new tickets, the others only open old ones. count 1 .. TLS_TICKET_KEYS_MAX. Until
 * this is called random keys of the process serve. */
void tls_server_set_tickets(struct tls_server *s, const struct tls_ticket_key *keys, size_t count);

/* chain: DER certificates, leaf first, each after a u32 length (little-endian), as in
 * msg_certificate. key: a reference is taken. */
int tls_context_new(struct tls_server *s, const void *chain, size_t chain_bytes,
		    struct evp_pkey_st *key, struct tls_context **out, struct err *err) MUST_CHECK;
/* From PEM texts: for tests and for servers that hold their own key. */
int tls_context_new_pem(struct tls_server *s, const char *chain, const char *key,
			struct tls_context **out, struct err *err) MUST_CHECK;
void tls_context_unref(struct tls_context *c);

struct tls_client_config {
	const char *ca_pem; /* NULL: the system's authorities; "": verify nothing (tests) */
	bool h2;            /* offer h2 and http/1.1, else http/1.1 only */
	/* The client's own certificate, as tls_context_new takes it; NULL: it shows none. */
	const void *chain;
	size_t chain_bytes;
	struct evp_pkey_st *key;
	tls_judge_fn judge; /* instead of ca_pem; NULL: by ca_pem */
	void *judge_arg;
	const char *protocol; /* as the server's */
};
int tls_client_new(const struct tls_client_config *config, struct tls_client **out,
		   struct err *err) MUST_CHECK;
void tls_client_free(struct tls_client *c);

/* Takes the bytes at once; false: out of memory, the connection fails. */
typedef bool (*tls_sink_fn)(void *arg, const void *data, size_t bytes);

enum tls_result {
	TLS_OK,     /* all was eaten (handshake under way, or plaintext was given) */
	TLS_ASYNC,  /* the key is elsewhere: call tls_resume when it answered; keep feeding nothing
		     */
	TLS_CLOSED, /* the peer sent close_notify; plaintext before it was given */
	TLS_FAILED, /* tls_error() says why; an alert went to the sink where one is due */
};

/* NULL: out of memory. */
struct tls *tls_accept(struct tls_server *s, tls_sink_fn sink, void *arg);
/* host: for SNI and verification; an IP address is verified as such. Starts at once (ClientHello
 * goes to the sink). session: from tls_session of an earlier one, or NULL. */
struct tls *tls_connect(struct tls_client *c, const char *host, void *session, tls_sink_fn sink,
			void *arg);
/* Server: whatever protocols the client offers (RFC 7301), none is chosen and none refused. */
void tls_ignore_alpn(struct tls *t);
void tls_free(struct tls *t);

/* cap >= TLS_PLAIN_MIN when at most 64 KiB are fed at once: then everything is decrypted. What does
 * not fit stays inside and comes with the next call. */
enum tls_result tls_feed(struct tls *t, const void *data, size_t length, void *plain, size_t cap,
			 size_t *plain_length_out);
enum tls_result tls_resume(struct tls *t, void *plain, size_t cap, size_t *plain_length_out);
bool tls_established(const struct tls *t);
/* After establishment. Everything is encrypted and given to the sink, in records that start small
 * and grow (1370 bytes for the first 40 and after a second of silence, then 16 KiB). */
enum tls_result tls_write(struct tls *t, const void *data, size_t length, uint64_t now_ms);
/* Sends close_notify once. */
void tls_close(struct tls *t);

struct tls_info {
	const char *version; /* "1.3" */
	bool resumed;
	bool h2;          /* ALPN chose h2 */
	const char *host; /* server name, "" when none was sent */
};
void tls_info(const struct tls *t, struct tls_info *out);
/* Short constant text of the failure ("unrecognized name", "no shared cipher" ...). */
const char *tls_error(const struct tls *t);
/* True when the failure is that no context fits the name. */
bool tls_unknown_name(const struct tls *t);
/* The other side's chain, in the same form, once established: appended to out. False: it showed
 * none, or out of memory. */
bool tls_peer(const struct tls *t, struct buf *out);
/* Client: the session to resume with; NULL when there is none; free with tls_session_free. */
void *tls_session(struct tls *t);
void tls_session_free(void *session);

#endif
