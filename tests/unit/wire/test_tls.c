/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two engines in memory: versions, names, protocols, tickets, records, ends, and input in any
 * pieces. Certificates are made when the test starts.
 */
#include "wire/tls.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/buf.h"

struct identity {
	char chain[4096];
	char key[4096];
};

static struct identity shop, other;

static void
take(BIO *bio, char *out, size_t cap)
{
	int n = BIO_read(bio, out, (int)cap - 1);

	out[n] = '\0';
	BIO_free(bio);
}

static void
make_identity(struct identity *id, const char *name)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	X509_EXTENSION *san;
	BIO *bio;
	char text[128];

	snprintf(text, sizeof(text), "DNS:%s", name);
	san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, text);
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
				   (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	X509_add_ext(x, san, -1);
	X509_set_pubkey(x, key);
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	bio = BIO_new(BIO_s_mem());
	PEM_write_bio_X509(bio, x);
	take(bio, id->chain, sizeof(id->chain));
	bio = BIO_new(BIO_s_mem());
	PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
	take(bio, id->key, sizeof(id->key));
	X509_EXTENSION_free(san);
	X509_free(x);
	EVP_PKEY_free(key);
}

/* ---- both ends ---- */

struct end {
	struct tls *tls;
	struct buf out;  /* for the peer */
	struct buf text; /* what came in */
	enum tls_result last;
	size_t sink_calls;
};

struct pair {
	struct tls_server *server_rules;
	struct tls_context *shop, *other;
	struct tls_client *client_rules;
	struct end server, client;
	size_t step;
};

static bool
sink(void *arg, const void *data, size_t bytes)
{
	struct end *e = arg;

	buf_put(&e->out, data, bytes);
	e->sink_calls++;
	return buf_ok(&e->out);
}

static struct tls_context *
choose(void *arg, const char *host)
{
	struct pair *p = arg;

	if (strcmp(host, "shop.test") == 0)
		return p->shop;
	return strcmp(host, "other.test") == 0 ? p->other : NULL;
}

static void
open_rules(struct pair *p, bool h2, const char *ca)
{
	struct tls_server_config sc = {.select = choose, .select_arg = p, .h2 = h2};
	struct tls_client_config cc = {.ca_pem = ca, .h2 = h2};
	struct err err = {0};

	memset(p, 0, sizeof(*p));
	p->step = 65536;
	assert_int_equal(tls_server_new(&sc, &p->server_rules, &err), 0);
	assert_int_equal(tls_context_new_pem(p->server_rules, shop.chain, shop.key, &p->shop, &err),
			 0);
	assert_int_equal(
		tls_context_new_pem(p->server_rules, other.chain, other.key, &p->other, &err), 0);
	assert_int_equal(tls_client_new(&cc, &p->client_rules, &err), 0);
}

static void
close_rules(struct pair *p)
{
	tls_context_unref(p->shop);
	tls_context_unref(p->other);
	tls_client_free(p->client_rules);
	tls_server_free(p->server_rules);
}

static void
open_ends(struct pair *p, const char *host, void *session)
{
	struct end *ends[] = {&p->server, &p->client};

	for (int i = 0; i < 2; i++) {
		memset(ends[i], 0, sizeof(*ends[i]));
		buf_init(&ends[i]->out, MEM_WIRE, 1 << 24);
		buf_init(&ends[i]->text, MEM_WIRE, 1 << 24);
	}
	p->server.tls = tls_accept(p->server_rules, sink, &p->server);
	p->client.tls = tls_connect(p->client_rules, host, session, sink, &p->client);
	assert_true(p->server.tls && p->client.tls);
}

static void
close_ends(struct pair *p)
{
	struct end *ends[] = {&p->server, &p->client};

	for (int i = 0; i < 2; i++) {
		tls_free(ends[i]->tls);
		buf_fini(&ends[i]->out);
		buf_fini(&ends[i]->text);
	}
}

static bool
move(struct pair *p, struct end *from, struct end *to)
{
	static uint8_t plain[TLS_PLAIN_MIN];
	bool moved = from->out.length > 0;

	while (from->out.length > 0) {
		size_t n = from->out.length < p->step ? from->out.length : p->step, put;

		to->last = tls_feed(to->tls, from->out.data, n, plain, sizeof(plain), &put);
		buf_put(&to->text, plain, put);
		buf_consume(&from->out, n);
	}
	return moved;
}

static void
pump(struct pair *p)
{
	bool moved = true;

	while (moved) {
		moved = move(p, &p->client, &p->server);
		moved = move(p, &p->server, &p->client) || moved;
	}
}

/* ---- stories ---- */

static void
test_talk(void **state)
{
	static const size_t steps[] = {65536, 1, 7, 100};
	struct pair p;

	(void)state;
	open_rules(&p, true, shop.chain);
	for (size_t i = 0; i < 4; i++) {
		struct tls_info info;

		p.step = steps[i];
		open_ends(&p, "shop.test", NULL);
		pump(&p);
		assert_true(tls_established(p.server.tls) && tls_established(p.client.tls));
		tls_info(p.server.tls, &info);
		assert_string_equal(info.version, "1.3");
		assert_string_equal(info.host, "shop.test");
		assert_true(info.h2 && !info.resumed);
		assert_int_equal(tls_write(p.client.tls, "ping", 4, 0), TLS_OK);
		pump(&p);
		assert_string_equal(buf_cstr(&p.server.text), "ping");
		assert_int_equal(tls_write(p.server.tls, "pong", 4, 0), TLS_OK);
		tls_close(p.server.tls);
		pump(&p);
		assert_string_equal(buf_cstr(&p.client.text), "pong");
		assert_int_equal(p.client.last, TLS_CLOSED);
		close_ends(&p);
	}
	close_rules(&p);
}

static void
test_names(void **state)
{
	static const char *const unknown[] = {"nobody.test", "shop.test.evil", ""};
	struct pair p;

	(void)state;
	open_rules(&p, false, "");
	for (size_t i = 0; i < 3; i++) {
		open_ends(&p, unknown[i], NULL);
		pump(&p);
		assert_int_equal(p.server.last, TLS_FAILED);
		assert_true(tls_unknown_name(p.server.tls));
		assert_string_equal(tls_error(p.server.tls), "unrecognized name");
		assert_int_equal(p.client.last, TLS_FAILED);
		assert_non_null(strstr(tls_error(p.client.tls), "unrecognized name"));
		close_ends(&p);
	}
	open_ends(&p, "OTHER.test", NULL);
	pump(&p);
	assert_true(tls_established(p.server.tls));
	close_ends(&p);
	close_rules(&p);
	/* The client does not take one certificate for another name. */
	open_rules(&p, false, shop.chain);
	open_ends(&p, "other.test", NULL);
	pump(&p);
	assert_false(tls_established(p.client.tls));
	assert_int_equal(p.client.last, TLS_FAILED);
	close_ends(&p);
	close_rules(&p);
}

static void *
one_session(struct pair *p)
{
	void *session;

	open_ends(p, "shop.test", NULL);
	pump(p);
	tls_write(p->server.tls, "x", 1, 0);
	pump(p);
	session = tls_session(p->client.tls);
	assert_non_null(session);
	close_ends(p);
	return session;
}

static bool
resumes(struct pair *p, void *session)
{
	struct tls_info info;

	open_ends(p, "shop.test", session);
	pump(p);
	assert_true(tls_established(p->server.tls));
	tls_info(p->server.tls, &info);
	close_ends(p);
	return info.resumed;
}

static void
test_tickets(void **state)
{
	struct tls_ticket_key keys[4];
	struct pair a, b;
	void *session;

	(void)state;
	memset(keys, 0, sizeof(keys));
	for (unsigned i = 0; i < 4; i++) {
		memset(keys[i].name, (int)i + 1, 16);
		memset(keys[i].aes, (int)i + 11, 32);
		memset(keys[i].hmac, (int)i + 21, 32);
	}
	open_rules(&a, false, "");
	open_rules(&b, false, "");
	session = one_session(&a);
	assert_true(resumes(&a, session));
	assert_false(resumes(&b, session));
	tls_session_free(session);
	/* Shared keys: another worker resumes; two rotations later still; then no more. */
	tls_server_set_tickets(a.server_rules, keys, 1);
	session = one_session(&a);
	tls_server_set_tickets(b.server_rules, keys, 1);
	assert_true(resumes(&b, session));
	tls_server_set_tickets(b.server_rules, (struct tls_ticket_key[]){keys[2], keys[1], keys[0]},
			       3);
	assert_true(resumes(&b, session));
	tls_server_set_tickets(b.server_rules, (struct tls_ticket_key[]){keys[3], keys[2], keys[1]},
			       3);
	assert_false(resumes(&b, session));
	tls_session_free(session);
	close_rules(&a);
	close_rules(&b);
}

static void
test_records(void **state)
{
	static char body[200000];
	struct pair p;
	size_t calls;

	(void)state;
	open_rules(&p, false, "");
	open_ends(&p, "shop.test", NULL);
	pump(&p);
	memset(body, 'x', sizeof(body));
	p.server.sink_calls = 0;
	assert_int_equal(tls_write(p.server.tls, body, sizeof(body), 5000), TLS_OK);
	calls = p.server.sink_calls;
	assert_int_equal(calls, 40 + (200000 - 40 * 1370 + 16383) / 16384);
	pump(&p);
	assert_int_equal(p.client.text.length, sizeof(body));
	p.server.sink_calls = 0;
	tls_write(p.server.tls, body, sizeof(body), 5500);
	assert_int_equal(p.server.sink_calls, 13);
	p.server.sink_calls = 0;
	tls_write(p.server.tls, body, sizeof(body), 7000);
	assert_int_equal(p.server.sink_calls, calls);
	pump(&p);
	assert_int_equal(p.client.text.length, 3 * sizeof(body));
	close_ends(&p);
	close_rules(&p);
}

/* More plaintext than the caller's buffer takes stays inside until the next call. */
static void
test_small_plain_buffer(void **state)
{
	static char body[50000];
	struct pair p;
	uint8_t plain[1000];
	size_t put, all = 0;

	(void)state;
	open_rules(&p, false, "");
	open_ends(&p, "shop.test", NULL);
	pump(&p);
	tls_write(p.server.tls, body, sizeof(body), 0);
	assert_int_equal(tls_feed(p.client.tls, p.server.out.data, p.server.out.length, plain,
				  sizeof(plain), &put),
			 TLS_OK);
	while (put > 0) {
		all += put;
		assert_int_equal(tls_feed(p.client.tls, NULL, 0, plain, sizeof(plain), &put),
				 TLS_OK);
	}
	assert_int_equal(all, sizeof(body));
	close_ends(&p);
	close_rules(&p);
}

static void
test_garbage(void **state)
{
	struct pair p;
	uint8_t plain[1000];
	size_t put;

	(void)state;
	open_rules(&p, false, "");
	open_ends(&p, "shop.test", NULL);
	assert_int_equal(
		tls_feed(p.server.tls, "GET / HTTP/1.1\r\n\r\n", 18, plain, sizeof(plain), &put),
		TLS_FAILED);
	assert_int_equal(tls_feed(p.server.tls, "x", 1, plain, sizeof(plain), &put), TLS_FAILED);
	assert_int_equal(tls_write(p.server.tls, "x", 1, 0), TLS_FAILED);
	assert_true(strlen(tls_error(p.server.tls)) > 0);
	close_ends(&p);
	close_rules(&p);
}

static void
test_bad_chains(void **state)
{
	struct pair p;
	struct tls_context *c;
	struct err err = {0};

	(void)state;
	open_rules(&p, false, "");
	assert_int_equal(tls_context_new(p.server_rules, "", 0, NULL, &c, &err), -1);
	assert_int_equal(tls_context_new(p.server_rules, "\x04\0\0\0abcd", 8, NULL, &c, &err), -1);
	assert_int_equal(tls_context_new(p.server_rules, "\xff\xff\xff\xff", 4, NULL, &c, &err),
			 -1);
	assert_int_equal(tls_context_new_pem(p.server_rules, shop.chain, other.key, &c, &err), -1);
	assert_int_equal(tls_context_new_pem(p.server_rules, "", shop.key, &c, &err), -1);
	close_rules(&p);
}

static int
set_up(void **state)
{
	(void)state;
	make_identity(&shop, "shop.test");
	make_identity(&other, "other.test");
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_talk),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_tickets),
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_small_plain_buffer),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_bad_chains),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
