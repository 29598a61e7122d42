/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One TLS connection over flat memory, RFC 8446 and 5246.
 *
 * The BIO reads from the span that is being fed and writes to the caller's sink: no socket, no
 * copy of what comes in, no growing memory BIO. Input that the library does not take (it waits for
 * a signature, or the caller's plaintext buffer is full) is kept aside, bounded by what is fed at
 * once. Buffers of the library are released while idle (14 KB per connection remain).
 *
 * SSL_MODE_ASYNC is on during the handshake only: with it every call runs on a second stack.
 * ASYNC jobs of a connection that is freed meanwhile end when the answer comes; see the proxy's
 * signing provider, which never leaves one waiting.
 */

#include "wire/tls.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "wire/tls_context.h"

enum {
	RECORD_SMALL = 1370, /* fits a TCP segment */
	RECORD_LARGE = 16384,
	RECORDS_SMALL = 40,
	RECORD_IDLE_MS = 1000,
	KEPT_MAX = 262144,
};

struct tls {
	SSL *ssl;
	struct tls_server *server; /* NULL for a client */
	tls_sink_fn sink;
	void *sink_arg;
	const uint8_t *in, *in_end;
	struct buf kept; /* fed, not taken yet */
	const char *error;
	uint64_t last_write_ms;
	uint32_t records;
	bool established;
	bool unknown_name;
	bool closed_by_us;
	bool no_alpn;
	bool sink_failed;
	bool failed;
};

/* ---- the BIO ---- */

static int
bio_write(BIO *bio, const char *data, size_t length, size_t *written)
{
	struct tls *t = BIO_get_data(bio);

	*written = length;
	if (t->sink(t->sink_arg, data, length))
		return 1;
	t->sink_failed = true;
	return 0;
}

static int
bio_read(BIO *bio, char *out, size_t cap, size_t *read_bytes)
{
	struct tls *t = BIO_get_data(bio);
	size_t n = (size_t)(t->in_end - t->in);

	BIO_clear_retry_flags(bio);
	if (n == 0) {
		*read_bytes = 0;
		BIO_set_retry_read(bio);
		return 0;
	}
	if (n > cap)
		n = cap;
	memcpy(out, t->in, n);
	t->in += n;
	*read_bytes = n;
	return 1;
}

static long
bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)number;
	(void)pointer;
	return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *
bio_method(void)
{
	static BIO_METHOD *method;

	if (method)
		return method;
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "span");
	if (method) {
		BIO_meth_set_write_ex(method, bio_write);
		BIO_meth_set_read_ex(method, bio_read);
		BIO_meth_set_ctrl(method, bio_ctrl);
	}
	return method;
}

/* ---- life ---- */

struct tls_server *
tls_server_of(SSL *ssl)
{
	const struct tls *t = SSL_get_app_data(ssl);

	return t->server;
}

void
tls_note_unknown_name(SSL *ssl)
{
	struct tls *t = SSL_get_app_data(ssl);

	t->unknown_name = true;
}

static struct tls *
new_connection(SSL_CTX *context, tls_sink_fn sink, void *arg)
{
	struct tls *t = mem_zalloc(MEM_WIRE, sizeof(*t));
	BIO *bio = NULL;

	if (!t)
		return NULL;
	t->sink = sink;
	t->sink_arg = arg;
	buf_init(&t->kept, MEM_WIRE, KEPT_MAX);
	t->ssl = SSL_new(context);
	if (t->ssl && bio_method())
		bio = BIO_new(bio_method());
	if (!bio) {
		SSL_free(t->ssl);
		mem_free(t);
		ERR_clear_error();
		return NULL;
	}
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(t->ssl, bio, bio);
	SSL_set_app_data(t->ssl, t);
	return t;
}

struct tls *
tls_accept(struct tls_server *s, tls_sink_fn sink, void *arg)
{
	struct tls *t = new_connection(s->base, sink, arg);

	if (!t)
		return NULL;
	t->server = s;
	SSL_set_accept_state(t->ssl);
	if (s->config.async)
		SSL_set_mode(t->ssl, SSL_MODE_ASYNC);
	return t;
}

void
tls_ignore_alpn(struct tls *t)
{
	t->no_alpn = true;
}

bool
tls_alpn_ignored(SSL *ssl)
{
	const struct tls *t = SSL_get_app_data(ssl);

	return t->no_alpn;
}

static bool
name_peer(const struct tls_client *c, SSL *ssl, const char *host)
{
	uint8_t ip[16];

	if (inet_pton(AF_INET, host, ip) == 1 || inet_pton(AF_INET6, host, ip) == 1)
		return !c->verify || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
	return (host[0] == '\0' || SSL_set_tlsext_host_name(ssl, host) == 1) &&
	       (!c->verify || SSL_set1_host(ssl, host) == 1);
}

struct tls *
tls_connect(struct tls_client *c, const char *host, void *session, tls_sink_fn sink, void *arg)
{
	struct tls *t = new_connection(c->ssl, sink, arg);

	if (!t)
		return NULL;
	if (!name_peer(c, t->ssl, host) || (session && SSL_set_session(t->ssl, session) != 1)) {
		tls_free(t);
		return NULL;
	}
	SSL_set_connect_state(t->ssl);
	(void)SSL_do_handshake(t->ssl);
	ERR_clear_error();
	return t;
}

void
tls_free(struct tls *t)
{
	if (!t)
		return;
	/* Without a clean end the session could not be resumed; tickets are ours to judge. */
	SSL_set_quiet_shutdown(t->ssl, 1);
	SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(t->ssl);
	buf_fini(&t->kept);
	mem_free(t);
}

/* ---- reading ---- */

static enum tls_result
fail(struct tls *t)
{
	unsigned long code = ERR_peek_last_error();

	t->failed = true;
	t->error = t->unknown_name  ? "unrecognized name"
		   : t->sink_failed ? "out of memory"
		   : code != 0      ? ERR_reason_error_string(code)
				    : "protocol error";
	if (!t->error)
		t->error = "protocol error";
	ERR_clear_error();
	return TLS_FAILED;
}

/* What a call that did not succeed means: TLS_OK is "waits for more input". */
static enum tls_result
outcome(struct tls *t, int rc)
{
	switch (SSL_get_error(t->ssl, rc)) {
	case SSL_ERROR_WANT_READ:
		return TLS_OK;
	case SSL_ERROR_WANT_ASYNC:
		return TLS_ASYNC;
	case SSL_ERROR_ZERO_RETURN:
		return TLS_CLOSED;
	default:
		return fail(t);
	}
}

static enum tls_result
shake(struct tls *t)
{
	int rc;

	ERR_clear_error();
	rc = SSL_do_handshake(t->ssl);
	if (rc != 1)
		return outcome(t, rc);
	t->established = true;
	SSL_clear_mode(t->ssl, SSL_MODE_ASYNC);
	return TLS_OK;
}

static enum tls_result
run(struct tls *t, uint8_t *plain, size_t cap, size_t *put)
{
	if (!t->established) {
		enum tls_result r = shake(t);

		if (r != TLS_OK || !t->established)
			return r;
	}
	while (*put < cap) {
		size_t n = 0;
		int rc;

		ERR_clear_error();
		rc = SSL_read_ex(t->ssl, plain + *put, cap - *put, &n);
		if (rc != 1)
			return outcome(t, rc);
		*put += n;
	}
	return TLS_OK;
}

/* Keeps what was not taken for the next call. */
static bool
keep_rest(struct tls *t, bool from_kept)
{
	size_t rest = (size_t)(t->in_end - t->in);

	if (from_kept) {
		buf_consume(&t->kept, t->kept.length - rest);
		if (rest == 0) {
			buf_fini(&t->kept);
			buf_init(&t->kept, MEM_WIRE, KEPT_MAX);
		}
	} else if (rest > 0) {
		buf_put(&t->kept, t->in, rest);
	}
	t->in = t->in_end = NULL;
	return buf_ok(&t->kept);
}

enum tls_result
tls_feed(struct tls *t, const void *data, size_t length, void *plain, size_t cap,
	 size_t *plain_length_out)
{
	bool from_kept = t->kept.length > 0;
	enum tls_result r;

	*plain_length_out = 0;
	if (t->failed)
		return TLS_FAILED;
	if (from_kept) {
		if (length > 0)
			buf_put(&t->kept, data, length);
		if (!buf_ok(&t->kept))
			return fail(t);
		t->in = t->kept.data;
		t->in_end = t->in + t->kept.length;
	} else {
		t->in = data;
		t->in_end = length > 0 ? t->in + length : t->in;
	}
	r = run(t, plain, cap, plain_length_out);
	if (!keep_rest(t, from_kept) && r != TLS_FAILED)
		return fail(t);
	return r;
}

enum tls_result
tls_resume(struct tls *t, void *plain, size_t cap, size_t *plain_length_out)
{
	return tls_feed(t, NULL, 0, plain, cap, plain_length_out);
}

bool
tls_established(const struct tls *t)
{
	return t->established;
}

/* ---- writing ---- */

enum tls_result
tls_write(struct tls *t, const void *data, size_t length, uint64_t now_ms)
{
	const uint8_t *at = data;

	if (t->failed)
		return TLS_FAILED;
	if (now_ms - t->last_write_ms > RECORD_IDLE_MS)
		t->records = 0;
	t->last_write_ms = now_ms;
	while (length > 0) {
		size_t n = t->records < RECORDS_SMALL ? RECORD_SMALL : RECORD_LARGE, written;
		int rc;

		if (n > length)
			n = length;
		ERR_clear_error();
		rc = SSL_write_ex(t->ssl, at, n, &written);
		if (rc != 1 || t->sink_failed)
			return fail(t);
		t->records++;
		at += n;
		length -= n;
	}
	return TLS_OK;
}

void
tls_close(struct tls *t)
{
	if (t->failed || t->closed_by_us || !t->established)
		return;
	t->closed_by_us = true;
	ERR_clear_error();
	(void)SSL_shutdown(t->ssl);
	ERR_clear_error();
}

/* ---- knowing ---- */

void
tls_info(const struct tls *t, struct tls_info *out)
{
	const unsigned char *protocol = NULL;
	const char *host = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);
	unsigned length = 0;

	SSL_get0_alpn_selected(t->ssl, &protocol, &length);
	out->version = SSL_version(t->ssl) == TLS1_3_VERSION ? "1.3" : "1.2";
	out->resumed = SSL_session_reused(t->ssl) == 1;
	out->h2 = length == 2 && memcmp(protocol, "h2", 2) == 0;
	out->host = host ? host : "";
}

const char *
tls_error(const struct tls *t)
{
	return t->error ? t->error : "";
}

bool
tls_unknown_name(const struct tls *t)
{
	return t->unknown_name;
}

bool
tls_peer(const struct tls *t, struct buf *out)
{
	return tls_put_chain(SSL_get0_peer_certificate(t->ssl), SSL_get_peer_cert_chain(t->ssl),
			     out);
}

void *
tls_session(struct tls *t)
{
	SSL_SESSION *session = SSL_get0_session(t->ssl);

	return session && SSL_SESSION_is_resumable(session) ? SSL_get1_session(t->ssl) : NULL;
}

void
tls_session_free(void *session)
{
	SSL_SESSION_free(session);
}
