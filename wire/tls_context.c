/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rules, certificates and tickets of TLS servers and clients.
 *
 * A server has one SSL_CTX without a certificate; the ClientHello callback reads the name and moves
 * the connection to the context of its certificate, or ends it with unrecognized_name: there is no
 * default certificate. Contexts are made once and never changed afterwards.
 *
 * X25519 and AES-128-GCM come first (measured: P-256 costs 40 % more per handshake, AES-256 10 to
 * 20 % more per byte). Tickets are stateless and sealed with keys given from outside, so that all
 * workers resume each other's; one ticket per handshake; no session cache, no renegotiation.
 */

#include "wire/tls_context.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "wire/url.h"
#include "wire/x509.h"

static const char suites13[] = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:"
			       "TLS_AES_256_GCM_SHA384";
static const char suites12[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
			       "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
			       "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384";
static const char groups[] = "X25519:P-256:P-384";

static int
library_error(struct err *err, const char *what)
{
	char text[256];
	unsigned long code = ERR_get_error();

	err_set(err, code ? ERR_INVALID : ERR_NO_MEMORY, "%s", what);
	if (code) {
		ERR_error_string_n(code, text, sizeof(text));
		err_why(err, "%s", text);
	}
	ERR_clear_error();
	return -1;
}

/* ---- names ---- */

/* The server name of a ClientHello (RFC 6066 3), folded; "" when there is none. False: malformed.
 */
static bool
read_name(SSL *ssl, char *out, size_t cap)
{
	const unsigned char *data;
	size_t length, name_length;

	out[0] = '\0';
	if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &length))
		return true;
	if (length < 5 || (size_t)(data[0] << 8 | data[1]) != length - 2 ||
	    data[2] != TLSEXT_NAMETYPE_host_name)
		return false;
	name_length = (size_t)(data[3] << 8 | data[4]);
	if (name_length != length - 5 || name_length == 0 ||
	    memchr(data + 5, 0, name_length) != NULL)
		return false;
	return url_host_fold((const char *)data + 5, name_length, out, cap);
}

int
tls_context_on_hello(SSL *ssl, int *alert, void *arg)
{
	struct tls_server *s = arg;
	struct tls_context *c;
	char name[256];

	if (!read_name(ssl, name, sizeof(name))) {
		*alert = SSL_AD_DECODE_ERROR;
		return SSL_CLIENT_HELLO_ERROR;
	}
	c = s->config.select(s->config.select_arg, name);
	if (!c || !SSL_set_SSL_CTX(ssl, c->ssl)) {
		tls_note_unknown_name(ssl);
		*alert = SSL_AD_UNRECOGNIZED_NAME;
		return SSL_CLIENT_HELLO_ERROR;
	}
	return SSL_CLIENT_HELLO_SUCCESS;
}

static int
on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_length, const unsigned char *in,
	unsigned in_length, void *arg)
{
	static const unsigned char both[] = "\x02h2\x08http/1.1";
	struct tls_server *s = arg;
	const unsigned char *ours = s->config.h2 ? both : both + 3;
	unsigned ours_length = (unsigned)sizeof(both) - 1 - (s->config.h2 ? 0u : 3u);
	unsigned char *chosen;

	if (s->config.protocol) {
		ours = (const unsigned char *)s->protocol;
		ours_length = (unsigned)strlen(s->protocol);
	}
	if (tls_alpn_ignored(ssl))
		return SSL_TLSEXT_ERR_NOACK;
	if (SSL_select_next_proto(&chosen, out_length, ours, ours_length, in, in_length) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

/* ---- tickets ---- */

static bool
use_ticket_key(const struct tls_server *s, const struct tls_ticket_key *key, unsigned char *iv,
	       EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, bool seal)
{
	union {
		const uint8_t *in;
		void *out;
	} hmac = {key->hmac};
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, hmac.out, sizeof(key->hmac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params) == 1 &&
	       EVP_CipherInit_ex2(cipher, s->cipher, key->aes, iv, seal, NULL) == 1;
}

static int
on_ticket(SSL *ssl, unsigned char name[16], unsigned char *iv, EVP_CIPHER_CTX *cipher,
	  EVP_MAC_CTX *mac, int seal)
{
	const struct tls_server *s = tls_server_of(ssl);

	if (seal) {
		memcpy(name, s->tickets[0].name, 16);
		if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(s->cipher)) != 1)
			return -1;
		return use_ticket_key(s, &s->tickets[0], iv, cipher, mac, true) ? 1 : -1;
	}
	for (size_t i = 0; i < s->tickets_count; i++) {
		if (memcmp(name, s->tickets[i].name, 16) != 0)
			continue;
		if (!use_ticket_key(s, &s->tickets[i], iv, cipher, mac, false))
			return -1;
		/* A ticket of TLS 1.3 is for one use (RFC 8446 C.4): the client gets a new one. */
		return i == 0 && SSL_version(ssl) != TLS1_3_VERSION ? 1 : 2;
	}
	return 0;
}

void
tls_server_set_tickets(struct tls_server *s, const struct tls_ticket_key *keys, size_t count)
{
	if (count > TLS_TICKET_KEYS_MAX)
		count = TLS_TICKET_KEYS_MAX;
	memcpy(s->tickets, keys, count * sizeof(*keys));
	s->tickets_count = count;
}

/* ---- mutual TLS ---- */

enum { CHAIN_MAX = 8, CHAIN_BYTES_MAX = 65536 };

bool
tls_put_chain(X509 *leaf, const STACK_OF(X509) * others, struct buf *out)
{
	int count = others ? sk_X509_num(others) : 0;

	if (!leaf || count > CHAIN_MAX || !x509_put(leaf, out))
		return false;
	for (int i = 0; i < count; i++)
		if (X509_cmp(sk_X509_value(others, i), leaf) != 0 &&
		    !x509_put(sk_X509_value(others, i), out))
			return false;
	return true;
}

static bool
judged(X509_STORE_CTX *store, tls_judge_fn judge, void *arg)
{
	struct buf chain;

	buf_init(&chain, MEM_WIRE, CHAIN_BYTES_MAX);
	bool good = tls_put_chain(X509_STORE_CTX_get0_cert(store),
				  X509_STORE_CTX_get0_untrusted(store), &chain) &&
		    judge(arg, chain.data, chain.length);
	buf_fini(&chain);
	X509_STORE_CTX_set_error(store, good ? X509_V_OK : X509_V_ERR_APPLICATION_VERIFICATION);
	return good;
}

static int
on_client_certificate(X509_STORE_CTX *store, void *arg)
{
	const struct tls_server *s = arg;

	return judged(store, s->config.judge, s->config.judge_arg);
}

static int
on_server_certificate(X509_STORE_CTX *store, void *arg)
{
	const struct tls_client *c = arg;

	return judged(store, c->judge, c->judge_arg);
}

static void
ask_for_certificates(struct tls_server *s, SSL_CTX *ssl)
{
	SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_cert_verify_callback(ssl, on_client_certificate, s);
	SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
	SSL_CTX_set_num_tickets(ssl, 0);
}

/* As ALPN writes it; "" for HTTP's own list. */
static bool
write_protocol(const char *name, char out[TLS_PROTOCOL_BYTES])
{
	size_t length = name ? strlen(name) : 0;

	if (length + 2 > TLS_PROTOCOL_BYTES)
		return false;
	out[0] = (char)length;
	if (name)
		memcpy(out + 1, name, length + 1);
	return true;
}

/* ---- servers ---- */

static bool
set_common(SSL_CTX *ssl)
{
	SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
	SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					 SSL_OP_IGNORE_UNEXPECTED_EOF);
	return SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) == 1 &&
	       SSL_CTX_set_ciphersuites(ssl, suites13) == 1 &&
	       SSL_CTX_set_cipher_list(ssl, suites12) == 1 &&
	       SSL_CTX_set1_groups_list(ssl, groups) == 1;
}

static SSL_CTX *
new_server_ssl(struct tls_server *s)
{
	static const unsigned char id[] = "zlayer";
	SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());

	if (!ssl)
		return NULL;
	SSL_CTX_set_options(ssl, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_client_hello_cb(ssl, tls_context_on_hello, s);
	SSL_CTX_set_alpn_select_cb(ssl, on_alpn, s);
	SSL_CTX_set_num_tickets(ssl, 1);
	if (!set_common(ssl) || SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl, on_ticket) != 1 ||
	    SSL_CTX_set_session_id_context(ssl, id, sizeof(id) - 1) != 1 ||
	    (s->config.tls13_only && SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) != 1)) {
		SSL_CTX_free(ssl);
		return NULL;
	}
	if (s->config.judge)
		ask_for_certificates(s, ssl);
	return ssl;
}

int
tls_server_new(const struct tls_server_config *config, struct tls_server **out, struct err *err)
{
	struct tls_server *s = mem_zalloc(MEM_WIRE, sizeof(*s));

	if (!s)
		return err_set(err, ERR_NO_MEMORY, "cannot set TLS up");
	s->config = *config;
	s->tickets_count = 1;
	if (!write_protocol(config->protocol, s->protocol)) {
		mem_free(s);
		return err_set(err, ERR_LIMIT, "the name of a protocol is too long");
	}
	s->cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
	s->base = new_server_ssl(s);
	if (!s->cipher || !s->base ||
	    RAND_bytes((unsigned char *)&s->tickets[0], sizeof(s->tickets[0])) != 1) {
		tls_server_free(s);
		return library_error(err, "cannot set TLS up");
	}
	*out = s;
	return 0;
}

void
tls_server_free(struct tls_server *s)
{
	if (!s)
		return;
	SSL_CTX_free(s->base);
	EVP_CIPHER_free(s->cipher);
	mem_free_zero(s);
}

/* ---- contexts ---- */

static int
use_chain(SSL_CTX *ssl, struct cursor *c)
{
	bool leaf = true;

	while (cursor_left(c) > 0) {
		uint32_t length = cursor_u32(c);
		const unsigned char *der = cursor_take(c, length);
		X509 *x;
		long ok;

		if (!der || length > INT32_MAX)
			return -1;
		x = d2i_X509(NULL, &der, (long)length);
		if (!x)
			return -1;
		ok = leaf ? SSL_CTX_use_certificate(ssl, x) : SSL_CTX_add1_chain_cert(ssl, x);
		X509_free(x);
		if (ok != 1)
			return -1;
		leaf = false;
	}
	return leaf ? -1 : 0;
}

static int
new_context(struct tls_server *s, SSL_CTX *ssl, EVP_PKEY *key, struct tls_context **out,
	    struct err *err)
{
	struct tls_context *c = NULL;

	if (SSL_CTX_use_PrivateKey(ssl, key) == 1)
		c = mem_zalloc(MEM_WIRE, sizeof(*c));
	if (!c) {
		SSL_CTX_free(ssl);
		return library_error(err, "cannot use a certificate");
	}
	c->ssl = ssl;
	c->server = s;
	c->refs = 1;
	*out = c;
	return 0;
}

int
tls_context_new(struct tls_server *s, const void *chain, size_t chain_bytes,
		struct evp_pkey_st *key, struct tls_context **out, struct err *err)
{
	SSL_CTX *ssl = new_server_ssl(s);
	struct cursor cursor;

	cursor_init(&cursor, chain, chain_bytes);
	if (!ssl || use_chain(ssl, &cursor)) {
		SSL_CTX_free(ssl);
		return library_error(err, "cannot use a certificate chain");
	}
	return new_context(s, ssl, key, out, err);
}

static int
use_chain_pem(SSL_CTX *ssl, const char *text)
{
	BIO *bio = BIO_new_mem_buf(text, -1);
	bool leaf = true;
	X509 *x;
	long ok = 1;

	while (bio && ok == 1 && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		ok = leaf ? SSL_CTX_use_certificate(ssl, x) : SSL_CTX_add1_chain_cert(ssl, x);
		X509_free(x);
		leaf = false;
	}
	ERR_clear_error(); /* the end of the text is an error to the reader */
	BIO_free(bio);
	return leaf || ok != 1 ? -1 : 0;
}

int
tls_context_new_pem(struct tls_server *s, const char *chain, const char *key,
		    struct tls_context **out, struct err *err)
{
	SSL_CTX *ssl = new_server_ssl(s);
	BIO *bio = BIO_new_mem_buf(key, -1);
	EVP_PKEY *pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	int result;

	BIO_free(bio);
	if (!ssl || !pkey || use_chain_pem(ssl, chain)) {
		EVP_PKEY_free(pkey);
		SSL_CTX_free(ssl);
		return library_error(err, "cannot use a certificate and its key");
	}
	result = new_context(s, ssl, pkey, out, err);
	EVP_PKEY_free(pkey);
	return result;
}

void
tls_context_unref(struct tls_context *c)
{
	if (!c || --c->refs > 0)
		return;
	SSL_CTX_free(c->ssl);
	mem_free(c);
}

/* ---- clients ---- */

static int
trust(SSL_CTX *ssl, const char *pem)
{
	BIO *bio;
	X509 *x;
	int added = 0;

	if (!pem)
		return SSL_CTX_set_default_verify_paths(ssl) == 1 ? 0 : -1;
	bio = BIO_new_mem_buf(pem, -1);
	while (bio && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		added += X509_STORE_add_cert(SSL_CTX_get_cert_store(ssl), x);
		X509_free(x);
	}
	ERR_clear_error();
	BIO_free(bio);
	return added > 0 ? 0 : -1;
}

static bool
offer_protocols(struct tls_client *c, const struct tls_client_config *config)
{
	static const unsigned char both[] = "\x02h2\x08http/1.1";
	unsigned skip = config->h2 ? 0 : 3;
	const unsigned char *list = both + skip;
	unsigned length = (unsigned)sizeof(both) - 1 - skip;

	if (config->protocol) {
		list = (const unsigned char *)c->protocol;
		length = (unsigned)strlen(c->protocol);
	}
	return SSL_CTX_set_alpn_protos(c->ssl, list, length) == 0;
}

static bool
show_certificate(struct tls_client *c, const struct tls_client_config *config)
{
	struct cursor cursor;

	if (!config->chain)
		return true;
	cursor_init(&cursor, config->chain, config->chain_bytes);
	return use_chain(c->ssl, &cursor) == 0 && SSL_CTX_use_PrivateKey(c->ssl, config->key) == 1;
}

static bool
set_client(struct tls_client *c, const struct tls_client_config *config)
{
	c->judge = config->judge;
	c->judge_arg = config->judge_arg;
	c->verify = !config->judge && (!config->ca_pem || config->ca_pem[0] != '\0');
	if (!set_common(c->ssl) || (c->verify && trust(c->ssl, config->ca_pem)) ||
	    !offer_protocols(c, config) || !show_certificate(c, config))
		return false;
	if (c->verify || c->judge)
		SSL_CTX_set_verify(c->ssl, SSL_VERIFY_PEER, NULL);
	if (c->judge)
		SSL_CTX_set_cert_verify_callback(c->ssl, on_server_certificate, c);
	return true;
}

int
tls_client_new(const struct tls_client_config *config, struct tls_client **out, struct err *err)
{
	struct tls_client *c = mem_zalloc(MEM_WIRE, sizeof(*c));

	if (!c)
		return err_set(err, ERR_NO_MEMORY, "cannot set TLS up");
	if (!write_protocol(config->protocol, c->protocol)) {
		mem_free(c);
		return err_set(err, ERR_LIMIT, "the name of a protocol is too long");
	}
	c->ssl = SSL_CTX_new(TLS_client_method());
	if (!c->ssl || !set_client(c, config)) {
		tls_client_free(c);
		return library_error(err, "cannot set TLS up");
	}
	*out = c;
	return 0;
}

void
tls_client_free(struct tls_client *c)
{
	if (!c)
		return;
	SSL_CTX_free(c->ssl);
	mem_free(c);
}
