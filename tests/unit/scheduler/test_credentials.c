/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates of the store: derived authorities, leaves, the list of those that count no more. */
#include "scheduler/credentials.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/mem.h"
#include "tests/support/sweep.h"

#define NOW INT64_C(1800000000)
#define DAY INT64_C(86400)

static struct identity_authority cluster;
static struct identity_keys keys;

static int
begin(void **state)
{
	struct err err = {0};

	(void)state;
	assert_int_equal(identity_authority_create(&cluster, NOW - DAY, &err), 0);
	return identity_keys_new(&keys, &err);
}

static int
end(void **state)
{
	(void)state;
	identity_authority_fini(&cluster);
	return 0;
}

static struct identity_authority
authority(enum credentials_authority of)
{
	struct identity_authority out;
	struct err err = {0};

	assert_int_equal(credentials_authority(&cluster, of, &out, &err), 0);
	return out;
}

static struct buf
pem_of(const struct identity_authority *a)
{
	struct err err = {0};
	struct buf out;

	buf_init(&out, MEM_SCHEDULER, CREDENTIALS_PEM_MAX);
	assert_int_equal(credentials_put_authority(a, &out, &err), 0);
	return out;
}

static struct buf
leaf_of(const struct identity_authority *a, enum credentials_authority of,
	const struct addr *addresses, size_t count)
{
	const struct credentials_who who = {.node = 3,
					    .name = "edge-3",
					    .sign_public = keys.sign_public,
					    .addresses = addresses,
					    .addresses_count = count};
	struct err err = {0};
	struct buf out;

	buf_init(&out, MEM_SCHEDULER, CREDENTIALS_PEM_MAX);
	assert_int_equal(credentials_issue(a, of, &who, NOW, &out, &err), 0);
	return out;
}

static X509 *
read_x509(const struct buf *pem)
{
	BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->length);
	X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(x);
	return x;
}

static enum err_kind
judge(const struct identity_authority *by, enum credentials_authority of, const struct buf *leaf,
      const struct buf *signer, int64_t wall_s)
{
	const struct credentials_pem pem = {leaf->data, leaf->length, signer->data, signer->length};
	struct err err = {0};
	int64_t since;

	if (credentials_check(by, of, &pem, keys.sign_public, wall_s, &since, &err) == 0)
		assert_int_equal(since, NOW);
	return err.kind;
}

/* Two nodes with the same key make the same authority, byte by byte; the two kinds differ. */
static void
test_derived(void **state)
{
	struct identity_authority a = authority(CREDENTIALS_CLIENTS);
	struct identity_authority b = authority(CREDENTIALS_CLIENTS);
	struct identity_authority p = authority(CREDENTIALS_PEERS);
	struct buf pa = pem_of(&a), pb = pem_of(&b), pp = pem_of(&p);
	struct identity who;
	unsigned char *der = NULL;

	(void)state;
	assert_int_equal(pa.length, pb.length);
	assert_memory_equal(pa.data, pb.data, pa.length);
	assert_int_equal(EVP_PKEY_eq(a.key, p.key), 0);
	assert_int_equal(EVP_PKEY_eq(a.key, cluster.key), 0);
	assert_true(pp.length != pa.length || memcmp(pa.data, pp.data, pa.length) != 0);
	/* None is taken for a node. */
	int n = i2d_X509(a.certificate, &der);
	assert_int_equal(identity_judge(&cluster, der, (size_t)n, NOW, &who), IDENTITY_MALFORMED);
	OPENSSL_free(der);
	buf_fini(&pa);
	buf_fini(&pb);
	buf_fini(&pp);
	identity_authority_fini(&a);
	identity_authority_fini(&b);
	identity_authority_fini(&p);
}

static void
test_needs_the_key(void **state)
{
	struct identity_authority judge_only = cluster, out;
	struct err err = {0};

	(void)state;
	judge_only.key = NULL;
	assert_int_equal(credentials_authority(&judge_only, CREDENTIALS_CLIENTS, &out, &err), -1);
	assert_int_equal(err.kind, ERR_DENIED);
}

static void
test_check(void **state)
{
	struct identity_authority a = authority(CREDENTIALS_CLIENTS), other;
	struct identity_authority p = authority(CREDENTIALS_PEERS);
	struct buf leaf = leaf_of(&a, CREDENTIALS_CLIENTS, NULL, 0);
	struct buf forged = leaf_of(&p, CREDENTIALS_PEERS, NULL, 0);
	struct buf signer = pem_of(&a), peers = pem_of(&p), nothing;
	struct err err = {0};

	(void)state;
	buf_init(&nothing, MEM_SCHEDULER, 16);
	assert_int_equal(identity_authority_create(&other, NOW, &err), 0);
	assert_int_equal(judge(&cluster, CREDENTIALS_CLIENTS, &leaf, &signer, NOW), ERR_NONE);
	assert_int_equal(judge(&cluster, CREDENTIALS_CLIENTS, &leaf, &signer, NOW + 4 * DAY),
			 ERR_TIMEOUT);
	assert_int_equal(judge(&cluster, CREDENTIALS_CLIENTS, &forged, &signer, NOW), ERR_CORRUPT);
	assert_int_equal(judge(&cluster, CREDENTIALS_CLIENTS, &forged, &peers, NOW), ERR_CORRUPT);
	assert_int_equal(judge(&other, CREDENTIALS_CLIENTS, &leaf, &signer, NOW), ERR_CORRUPT);
	assert_int_equal(judge(&cluster, CREDENTIALS_CLIENTS, &nothing, &signer, NOW), ERR_CORRUPT);
	buf_fini(&leaf);
	buf_fini(&forged);
	buf_fini(&signer);
	buf_fini(&peers);
	identity_authority_fini(&a);
	identity_authority_fini(&p);
	identity_authority_fini(&other);
}

static int
verify(const struct identity_authority *a, X509 *x, int purpose, const char *ip)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509_VERIFY_PARAM *param;

	X509_STORE_add_cert(store, a->certificate);
	X509_STORE_CTX_init(ctx, store, x, NULL);
	param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_time(param, NOW + 10);
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
	X509_VERIFY_PARAM_set_purpose(param, purpose);
	if (ip)
		assert_int_equal(X509_VERIFY_PARAM_set1_ip_asc(param, ip), 1);
	int ok = X509_verify_cert(ctx) == 1;
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	return ok;
}

/* As etcd and libcurl judge it: by purpose and address. */
static void
test_leaf(void **state)
{
	struct identity_authority a = authority(CREDENTIALS_CLIENTS);
	struct identity_authority p = authority(CREDENTIALS_PEERS);
	struct addr at[2];

	(void)state;
	assert_true(addr_parse_ip("10.0.0.3", &at[0]));
	assert_true(addr_parse_ip("fd00::3", &at[1]));
	struct buf server = leaf_of(&a, CREDENTIALS_CLIENTS, at, 2);
	struct buf client = leaf_of(&a, CREDENTIALS_CLIENTS, NULL, 0);
	X509 *s = read_x509(&server), *c = read_x509(&client);
	assert_true(verify(&a, s, X509_PURPOSE_SSL_SERVER, "10.0.0.3"));
	assert_true(verify(&a, s, X509_PURPOSE_SSL_SERVER, "fd00::3"));
	assert_false(verify(&a, s, X509_PURPOSE_SSL_SERVER, "10.0.0.4"));
	assert_true(verify(&a, s, X509_PURPOSE_SSL_CLIENT, NULL));
	assert_true(verify(&a, c, X509_PURPOSE_SSL_CLIENT, NULL));
	assert_false(verify(&a, c, X509_PURPOSE_SSL_SERVER, NULL));
	assert_false(verify(&p, s, X509_PURPOSE_SSL_SERVER, NULL));
	assert_false(verify(&cluster, c, X509_PURPOSE_SSL_CLIENT, NULL));
	X509_free(s);
	X509_free(c);
	buf_fini(&server);
	buf_fini(&client);
	identity_authority_fini(&a);
	identity_authority_fini(&p);
}

static void
test_revoked(void **state)
{
	struct identity_authority a = authority(CREDENTIALS_CLIENTS);
	struct buf leaf = leaf_of(&a, CREDENTIALS_CLIENTS, NULL, 0), list;
	const uint32_t all[] = {2, 3}, others[] = {2, 4};
	X509 *x = read_x509(&leaf);
	struct err err = {0};
	X509_REVOKED *found;

	(void)state;
	for (int turn = 0; turn < 2; turn++) {
		buf_init(&list, MEM_SCHEDULER, CREDENTIALS_REVOKED_PEM_MAX);
		assert_int_equal(credentials_revoke(&a, CREDENTIALS_CLIENTS, turn ? others : all, 2,
						    NOW + 2 * DAY, &list, &err),
				 0);
		BIO *bio = BIO_new_mem_buf(list.data, (int)list.length);
		X509_CRL *crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL);
		assert_non_null(crl);
		assert_int_equal(X509_CRL_verify(crl, a.key), 1);
		assert_int_equal(X509_CRL_get0_by_cert(crl, &found, x), turn == 0);
		X509_CRL_free(crl);
		BIO_free(bio);
		buf_fini(&list);
	}
	X509_free(x);
	buf_fini(&leaf);
	identity_authority_fini(&a);
}

static void
test_no_memory(void **state)
{
	struct identity_authority a = authority(CREDENTIALS_CLIENTS);
	const struct credentials_who who = {
		.node = 3, .name = "edge-3", .sign_public = keys.sign_public};

	(void)state;
	sweep_each(s)
	{
		struct err err = {0};
		struct buf out;

		buf_init(&out, MEM_SCHEDULER, CREDENTIALS_PEM_MAX);
		int rc = credentials_issue(&a, CREDENTIALS_CLIENTS, &who, NOW, &out, &err);
		if (rc == 0)
			rc = credentials_put_key(keys.sign, &out, &err);
		assert_int_equal(rc, sweep_failed() ? -1 : 0);
		buf_fini(&out);
	}
	identity_authority_fini(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_derived), cmocka_unit_test(test_needs_the_key),
		cmocka_unit_test(test_check),   cmocka_unit_test(test_leaf),
		cmocka_unit_test(test_revoked), cmocka_unit_test(test_no_memory),
	};
	return cmocka_run_group_tests(tests, begin, end);
}
