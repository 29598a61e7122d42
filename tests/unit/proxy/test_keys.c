/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What signer is made of: sealing, certificate files, the local authority, signing by handle.
 */
#include "proxy/keys.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "base/text.h"
#include "proxy/authority.h"
#include "proxy/seal.h"

enum { NOW_S = 1800000000 };

/* ---- sealing ---- */

static void
test_seal(void **state)
{
	struct secret key, other, out;
	struct buf sealed;
	struct err err = {0};

	(void)state;
	assert_int_equal(secret_from(&key, "0123456789abcdef0123456789abcdef", 32, &err), 0);
	assert_int_equal(secret_from(&other, "0123456789abcdef0123456789abcdeX", 32, &err), 0);
	buf_init(&sealed, MEM_PROXY, 4096);
	assert_int_equal(seal_close(&key, "authority", "hello", 5, &sealed, &err), 0);
	assert_null(memmem(sealed.data, sealed.length, "hello", 5));
	assert_int_equal(seal_open(&key, "authority", sealed.data, sealed.length, &out, &err), 0);
	assert_true(secret_equal(&out, "hello", 5));
	secret_fini(&out);
	assert_int_equal(seal_open(&other, "authority", sealed.data, sealed.length, &out, &err),
			 -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	assert_int_equal(seal_open(&key, "another", sealed.data, sealed.length, &out, &err), -1);
	for (size_t i = 0; i < sealed.length; i++) {
		sealed.data[i] ^= 1;
		assert_int_equal(
			seal_open(&key, "authority", sealed.data, sealed.length, &out, &err), -1);
		assert_int_equal(seal_open(&key, "authority", sealed.data, i, &out, &err), -1);
		sealed.data[i] ^= 1;
	}
	buf_fini(&sealed);
	secret_fini(&key);
	secret_fini(&other);
}

/* ---- the authority ---- */

static void
check_chain(const struct authority *a, const struct cert *c)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509_VERIFY_PARAM *param;

	assert_int_equal(X509_STORE_add_cert(store, a->certificate), 1);
	assert_int_equal(X509_STORE_CTX_init(ctx, store, c->chain[0], NULL), 1);
	param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_time(param, NOW_S);
	X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
	assert_int_equal(X509_verify_cert(ctx), 1);
	assert_int_equal(X509_check_host(c->chain[0], "shop.test", 0, 0, NULL), 1);
	assert_int_equal(X509_check_host(c->chain[0], "a.wild.test", 0, 0, NULL), 1);
	assert_int_equal(X509_check_ip_asc(c->chain[0], "10.1.2.3", 0), 1);
	assert_int_equal(X509_check_host(c->chain[0], "other.test", 0, 0, NULL), 0);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
}

static void
test_authority(void **state)
{
	static const char *const names[] = {"shop.test", "*.wild.test", "10.1.2.3"};
	static const char *const bad[] = {"a,DNS:evil.test"};
	struct authority a, b;
	struct msg_certificate row;
	struct secret pem;
	struct cert c;
	struct err err = {0};

	(void)state;
	assert_int_equal(authority_create(&a, "edge-1", NOW_S, &err), 0);
	assert_int_equal(authority_issue(&a, names, 3, NOW_S, &c, &err), 0);
	check_chain(&a, &c);
	assert_int_equal(cert_row(&c, &row, &err), 0);
	assert_int_equal(row.names_count, 3);
	assert_true(cert_covers(&row, "shop.test"));
	assert_true(cert_covers(&row, "x.wild.test"));
	assert_false(cert_covers(&row, "wild.test"));
	assert_false(cert_covers(&row, "x.y.wild.test"));
	assert_false(cert_covers(&row, ""));
	assert_int_equal(row.not_after_s, NOW_S + AUTHORITY_LEAF_DAYS * 86400);
	cert_fini(&c);
	assert_int_equal(authority_issue(&a, bad, 1, NOW_S, &c, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	/* Out and in again, it is the same authority. */
	assert_int_equal(authority_export(&a, &pem, &err), 0);
	assert_int_equal(authority_import(&b, &pem, &err), 0);
	assert_int_equal(X509_cmp(a.certificate, b.certificate), 0);
	/* And so is the key of its leaves: handshakes outlive the process. */
	assert_int_equal(EVP_PKEY_eq(a.leaf, b.leaf), 1);
	pem.data[60] ^= 1;
	struct authority damaged;
	assert_int_equal(authority_import(&damaged, &pem, &err), -1);
	ERR_clear_error();
	secret_fini(&pem);
	assert_int_equal(authority_row(&b, &row, &err), 0);
	assert_int_equal(row.names_count, 0);
	authority_fini(&a);
	authority_fini(&b);
}

/* ---- certificate files ---- */

static size_t
pem_of(const struct cert *c, bool key, char *out, size_t cap)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data;

	if (key)
		PEM_write_bio_PrivateKey(bio, c->key, NULL, NULL, 0, NULL, NULL);
	for (size_t i = 0; !key && i < c->chain_count; i++)
		PEM_write_bio_X509(bio, c->chain[i]);
	size_t n = (size_t)BIO_get_mem_data(bio, &data);
	assert_true(n < cap);
	memcpy(out, data, n);
	BIO_free(bio);
	return n;
}

static int
parse(const char *crt, size_t crt_bytes, const char *key, size_t key_bytes, struct err *err)
{
	struct cert c;
	int rc = cert_parse(crt, crt_bytes, key, key_bytes, &c, err);

	if (rc == 0)
		cert_fini(&c);
	return rc;
}

static void
test_files(void **state)
{
	static const char *const names[] = {"shop.test"};
	static char crt[8192], key[8192], other_key[8192];
	struct authority a, b;
	struct cert c, d;
	struct err err = {0};

	(void)state;
	assert_int_equal(authority_create(&a, "edge-1", NOW_S, &err), 0);
	assert_int_equal(authority_create(&b, "edge-1", NOW_S, &err), 0);
	assert_int_equal(authority_issue(&a, names, 1, NOW_S, &c, &err), 0);
	assert_int_equal(authority_issue(&b, names, 1, NOW_S, &d, &err), 0);
	authority_fini(&b);
	size_t crt_bytes = pem_of(&c, false, crt, sizeof(crt));
	size_t key_bytes = pem_of(&c, true, key, sizeof(key));
	size_t other_bytes = pem_of(&d, true, other_key, sizeof(other_key));
	assert_int_equal(parse(crt, crt_bytes, key, key_bytes, &err), 0);
	assert_int_equal(parse(crt, crt_bytes, other_key, other_bytes, &err), -1);
	assert_non_null(strstr(err.what, "does not belong"));
	assert_int_equal(parse(key, key_bytes, key, key_bytes, &err), -1);
	assert_non_null(strstr(err.what, "no certificate"));
	assert_int_equal(parse(crt, crt_bytes, crt, crt_bytes, &err), -1);
	assert_non_null(strstr(err.what, "no private key"));
	assert_int_equal(parse("", 0, key, key_bytes, &err), -1);
	memset(crt + crt_bytes - 100, '!', 3); /* in the second certificate */
	assert_int_equal(parse(crt, crt_bytes, key, key_bytes, &err), -1);
	cert_fini(&c);
	cert_fini(&d);
	authority_fini(&a);
}

static void
test_encrypted_key(void **state)
{
	static const char *const names[] = {"shop.test"};
	static char crt[8192];
	struct authority a;
	struct cert c;
	struct err err = {0};
	char *data;

	(void)state;
	assert_int_equal(authority_create(&a, "edge-1", NOW_S, &err), 0);
	assert_int_equal(authority_issue(&a, names, 1, NOW_S, &c, &err), 0);
	size_t crt_bytes = pem_of(&c, false, crt, sizeof(crt));
	BIO *bio = BIO_new(BIO_s_mem());
	PEM_write_bio_PrivateKey(bio, c.key, EVP_aes_128_cbc(), (const unsigned char *)"pass", 4,
				 NULL, NULL);
	long n = BIO_get_mem_data(bio, &data);
	assert_int_equal(parse(crt, crt_bytes, data, (size_t)n, &err), -1);
	assert_non_null(strstr(err.what, "encrypted"));
	assert_true(err.fix[0] != 0);
	BIO_free(bio);
	cert_fini(&c);
	authority_fini(&a);
}

/* ---- signing ---- */

static bool
verify(EVP_PKEY *key, const struct msg_sign *r, const uint8_t *signature, size_t bytes)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	bool ok = EVP_PKEY_verify_init(ctx) == 1;

	if (r->scheme == MSG_SIGN_RSA_PKCS1)
		ok = ok && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1;
	if (r->scheme == MSG_SIGN_RSA_PSS)
		ok = ok && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1;
	ok = ok && EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) == 1 &&
	     EVP_PKEY_verify(ctx, signature, bytes, r->value, r->digest_bytes) == 1;
	EVP_PKEY_CTX_free(ctx);
	return ok;
}

static void
sign_with(EVP_PKEY *pkey, uint32_t scheme, uint32_t wrong_scheme)
{
	struct keys k;
	struct err err = {0};
	uint8_t signature[KEYS_SIGNATURE_MAX];
	size_t n = 0;

	keys_init(&k);
	struct msg_sign r = {
		.key_handle = keys_add(&k, pkey),
		.scheme = scheme,
		.digest = 256,
		.digest_bytes = 32,
		.salt_bytes = 32,
	};
	memset(r.value, 0x5a, 32);
	assert_int_not_equal(r.key_handle, 0);
	assert_int_equal(keys_sign(&k, &r, signature, sizeof(signature), &n, &err), 0);
	assert_true(verify(pkey, &r, signature, n));
	r.scheme = wrong_scheme;
	assert_int_equal(keys_sign(&k, &r, signature, sizeof(signature), &n, &err), -1);
	r.scheme = scheme;
	r.digest_bytes = 20;
	assert_int_equal(keys_sign(&k, &r, signature, sizeof(signature), &n, &err), -1);
	r.digest_bytes = 32;
	r.digest = 160;
	assert_int_equal(keys_sign(&k, &r, signature, sizeof(signature), &n, &err), -1);
	r.digest = 256;
	r.key_handle ^= 1;
	assert_int_equal(keys_sign(&k, &r, signature, sizeof(signature), &n, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	r.key_handle ^= 1;
	/* Retired, it signs until the grace is over. */
	keys_retire(&k, r.key_handle, 1000);
	keys_sweep(&k, 2000);
	assert_int_equal(keys_sign(&k, &r, signature, sizeof(signature), &n, &err), 0);
	keys_sweep(&k, 1000 + KEYS_GRACE_S * UINT64_C(1000000000));
	assert_int_equal(keys_sign(&k, &r, signature, sizeof(signature), &n, &err), -1);
	keys_fini(&k);
}

/* Known by its public key, and there until the last certificate with it has gone. */
static void
test_handle(void **state)
{
	EVP_PKEY *one = EVP_EC_gen("P-256"), *two = EVP_EC_gen("P-256");
	struct keys k, successor;

	(void)state;
	keys_init(&k);
	keys_init(&successor);
	uint64_t handle = keys_add(&k, one);
	assert_int_not_equal(handle, 0);
	assert_int_not_equal(keys_add(&k, two), handle);
	assert_int_equal(keys_add(&k, one), handle);
	assert_int_equal(keys_add(&successor, one), handle);
	keys_retire(&k, handle, 0);
	keys_sweep(&k, UINT64_MAX);
	assert_non_null(map_get_u64(&k.by_handle, handle));
	keys_retire(&k, handle, 0);
	keys_sweep(&k, UINT64_MAX);
	assert_null(map_get_u64(&k.by_handle, handle));
	keys_fini(&k);
	keys_fini(&successor);
	EVP_PKEY_free(one);
	EVP_PKEY_free(two);
}

static void
test_sign(void **state)
{
	EVP_PKEY *ec = EVP_EC_gen("P-256");
	EVP_PKEY *rsa = EVP_RSA_gen(2048);

	(void)state;
	sign_with(ec, MSG_SIGN_ECDSA, MSG_SIGN_RSA_PSS);
	sign_with(rsa, MSG_SIGN_RSA_PKCS1, MSG_SIGN_ECDSA);
	sign_with(rsa, MSG_SIGN_RSA_PSS, 77);
	EVP_PKEY_free(ec);
	EVP_PKEY_free(rsa);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seal),   cmocka_unit_test(test_authority),
		cmocka_unit_test(test_files),  cmocka_unit_test(test_encrypted_key),
		cmocka_unit_test(test_handle), cmocka_unit_test(test_sign),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
