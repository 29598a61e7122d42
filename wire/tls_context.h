/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_TLS_CONTEXT_H
#define WIRE_TLS_CONTEXT_H

/* What tls.c and tls_context.c share; nobody else includes this. */

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include "wire/tls.h"

enum { TLS_PROTOCOL_BYTES = 32 }; /* a name with the length before it */

struct tls_server {
	struct tls_server_config config;
	char protocol[TLS_PROTOCOL_BYTES];
	SSL_CTX *base; /* without a certificate: client_hello chooses one */
	struct tls_ticket_key tickets[TLS_TICKET_KEYS_MAX];
	size_t tickets_count;
	EVP_CIPHER *cipher;
};

struct tls_context {
	SSL_CTX *ssl;
	struct tls_server *server;
	unsigned refs;
};

struct tls_client {
	SSL_CTX *ssl;
	bool verify; /* by authorities and name; a judge does it all itself */
	tls_judge_fn judge;
	void *judge_arg;
	char protocol[TLS_PROTOCOL_BYTES];
};

/* Called by the library on a connection's SSL object, whose app data is the struct tls. */
int tls_context_on_hello(SSL *ssl, int *alert, void *arg);
struct tls_server *tls_server_of(SSL *ssl);
bool tls_alpn_ignored(SSL *ssl);
void tls_note_unknown_name(SSL *ssl);
/* leaf, then the others without it: as tls_context_new takes them, appended to out. */
bool tls_put_chain(X509 *leaf, const STACK_OF(X509) * others, struct buf *out);

#endif
