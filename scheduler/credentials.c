/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two authorities out of one key, and their leaves. What has to be equal on all nodes that have the
 * key (name, number, times, extensions of an authority's certificate) follows from the cluster's
 * certificate alone; Ed25519 signs the same bytes always with the same signature (RFC 8032).
 */
#include "scheduler/credentials.h"

#include <assert.h>
#include <inttypes.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "wire/x509.h"

enum {
	EARLY_S = 3600, /* x509_begin begins so much before */
	NUMBER_BYTES = 10,
	ALTERNATIVES_BYTES = 1024,
	PEM_CERTIFICATES_MAX = 64 << 10,
};

static const struct {
	const char *name;
	const char *info; /* of the key's derivation: never to be changed */
} authorities[] = {
	[CREDENTIALS_CLIENTS] = {"authority of a cluster's store", "zlayer.etcd.clients.1"},
	[CREDENTIALS_PEERS] = {"authority of a store's members", "zlayer.etcd.peers.1"},
};

static int
failed(struct err *err, const char *what)
{
	ERR_clear_error();
	return err_set(err, ERR_NO_MEMORY, "the cryptographic library could not %s", what);
}

/* ---- authorities ---- */

static bool
derive(const uint8_t seed[IDENTITY_KEY], const struct identity_authority *a, const char *info,
       uint8_t out[IDENTITY_KEY])
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)seed,
						  IDENTITY_KEY),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT,
						  (void *)(uintptr_t)a->cluster, IDENTITY_CLUSTER),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)info,
						  strlen(info)),
		OSSL_PARAM_construct_end(),
	};
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	bool ok = ctx && EVP_KDF_derive(ctx, out, IDENTITY_KEY, params) > 0;

	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return ok;
}

static EVP_PKEY *
derive_key(const struct identity_authority *a, enum credentials_authority of)
{
	uint8_t seed[IDENTITY_KEY], key[IDENTITY_KEY];
	size_t bytes = sizeof(seed);
	EVP_PKEY *out = NULL;

	if (EVP_PKEY_get_raw_private_key(a->key, seed, &bytes) == 1 && bytes == sizeof(seed) &&
	    derive(seed, a, authorities[of].info, key))
		out = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, key, sizeof(key));
	mem_wipe(seed, sizeof(seed));
	mem_wipe(key, sizeof(key));
	return out;
}

static bool
set_number(ASN1_INTEGER *out, const uint8_t *bytes, size_t count)
{
	BIGNUM *bn = BN_bin2bn(bytes, (int)count, NULL);
	bool ok = bn && BN_to_ASN1_INTEGER(bn, out);

	BN_free(bn);
	return ok;
}

static bool
same_everywhere(X509 *x, const struct identity_authority *a)
{
	uint8_t number[16];

	memcpy(number, a->cluster, sizeof(number));
	number[0] = (uint8_t)((number[0] & 0x7f) | 0x40); /* positive, of full length */
	return set_number(X509_get_serialNumber(x), number, sizeof(number)) &&
	       X509_set1_notBefore(x, X509_get0_notBefore(a->certificate)) == 1 &&
	       X509_set1_notAfter(x, X509_get0_notAfter(a->certificate)) == 1;
}

int
credentials_authority(const struct identity_authority *a, enum credentials_authority of,
		      struct identity_authority *out, struct err *err)
{
	memset(out, 0, sizeof(*out));
	if (!a->key)
		return err_set(err, ERR_DENIED, "this node does not have the authority's key");
	memcpy(out->cluster, a->cluster, sizeof(out->cluster));
	out->key = derive_key(a, of);
	if (out->key)
		out->certificate = x509_begin(authorities[of].name, a->certificate, out->key, 0, 0);
	if (out->certificate && same_everywhere(out->certificate, a) &&
	    x509_extend_authority(out->certificate) && x509_sign(out->certificate, a->key))
		return 0;
	identity_authority_fini(out);
	return failed(err, "make the authority of the store");
}

/* ---- PEM ---- */

static int
take_bio(BIO *bio, bool written, struct buf *out, struct err *err)
{
	char *data = NULL;
	long n = bio ? BIO_get_mem_data(bio, &data) : 0;

	if (written && n > 0)
		buf_put(out, data, (size_t)n);
	if (n > 0)
		mem_wipe(data, (size_t)n);
	BIO_free(bio);
	if (written && n > 0 && buf_ok(out))
		return 0;
	return failed(err, "write a certificate");
}

static int
put_pem(const X509 *x, struct buf *out, struct err *err)
{
	BIO *bio = BIO_new(BIO_s_mem());

	return take_bio(bio, bio && PEM_write_bio_X509(bio, x) == 1, out, err);
}

int
credentials_put_authority(const struct identity_authority *from, struct buf *out, struct err *err)
{
	return put_pem(from->certificate, out, err);
}

int
credentials_put_key(const uint8_t private_key[IDENTITY_KEY], struct buf *out, struct err *err)
{
	EVP_PKEY *key =
		EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, private_key, IDENTITY_KEY);
	BIO *bio = key ? BIO_new(BIO_s_mem()) : NULL;
	bool ok = bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1;

	EVP_PKEY_free(key);
	return take_bio(bio, ok, out, err);
}

bool
credentials_key_public(const void *pem, size_t bytes, uint8_t public_out[IDENTITY_KEY])
{
	BIO *bio =
		bytes > 0 && bytes <= CREDENTIALS_PEM_MAX ? BIO_new_mem_buf(pem, (int)bytes) : NULL;
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	size_t length = IDENTITY_KEY;
	bool ok = key && EVP_PKEY_is_a(key, "ED25519") == 1 &&
		  EVP_PKEY_get_raw_public_key(key, public_out, &length) == 1;

	EVP_PKEY_free(key);
	BIO_free(bio);
	ERR_clear_error();
	return ok;
}

/* ---- leaves ---- */

static void
number_of(enum credentials_authority of, uint32_t node, int64_t day, uint8_t out[NUMBER_BYTES])
{
	out[0] = 1;
	out[1] = (uint8_t)of;
	for (int i = 0; i < 4; i++) {
		out[2 + i] = (uint8_t)(node >> (24 - 8 * i));
		out[6 + i] = (uint8_t)((uint64_t)day >> (24 - 8 * i));
	}
}

static int64_t
day_of(int64_t wall_s)
{
	return wall_s / X509_DAY_S;
}

/* "IP:10.0.0.1,URI:zlayer://..." */
static bool
put_alternatives(const struct identity_authority *from, const struct credentials_who *who,
		 char *out, size_t cap)
{
	char cluster[IDENTITY_CLUSTER * 2 + 1];
	size_t used;

	text_hex(from->cluster, IDENTITY_CLUSTER, cluster, sizeof(cluster));
	if (!text_format(out, cap, "URI:zlayer://%s/%" PRIu32, cluster, who->node))
		return false;
	for (size_t i = 0; i < who->addresses_count; i++) {
		struct addr a = who->addresses[i];
		char text[ADDR_TEXT_BYTES];

		a.port = 0;
		addr_put_ip(&a, text, sizeof(text));
		used = strlen(out);
		if (!text_format(out + used, cap - used, ",IP:%s", text))
			return false;
	}
	return true;
}

static X509 *
make_leaf(const struct identity_authority *from, enum credentials_authority of,
	  const struct credentials_who *who, EVP_PKEY *key, int64_t wall_s)
{
	char alternatives[ALTERNATIVES_BYTES];
	uint8_t number[NUMBER_BYTES];
	X509 *x = x509_begin(who->name, from->certificate, key, wall_s,
			     (int64_t)CREDENTIALS_DAYS * X509_DAY_S);

	number_of(of, who->node, day_of(wall_s), number);
	if (x && set_number(X509_get_serialNumber(x), number, sizeof(number)) &&
	    put_alternatives(from, who, alternatives, sizeof(alternatives)) &&
	    x509_extend_leaf(x, from->certificate,
			     who->addresses_count > 0 ? "serverAuth,clientAuth" : "clientAuth",
			     alternatives) &&
	    x509_sign(x, from->key))
		return x;
	X509_free(x);
	return NULL;
}

int
credentials_issue(const struct identity_authority *from, enum credentials_authority of,
		  const struct credentials_who *who, int64_t wall_s, struct buf *out,
		  struct err *err)
{
	assert(from->key && who->addresses_count <= CREDENTIALS_ADDRESSES_MAX);
	EVP_PKEY *key =
		EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, who->sign_public, IDENTITY_KEY);
	X509 *x = key ? make_leaf(from, of, who, key, wall_s) : NULL;
	int rc = x ? put_pem(x, out, err) : failed(err, "issue a certificate for the store");

	X509_free(x);
	EVP_PKEY_free(key);
	return rc;
}

/* ---- revoked ones ---- */

static bool
revoke_one(X509_CRL *crl, enum credentials_authority of, uint32_t node, int64_t day,
	   const ASN1_TIME *now)
{
	uint8_t number[NUMBER_BYTES];
	X509_REVOKED *r = X509_REVOKED_new();
	ASN1_INTEGER *serial = ASN1_INTEGER_new();

	number_of(of, node, day, number);
	bool ok = r && serial && set_number(serial, number, sizeof(number)) &&
		  X509_REVOKED_set_serialNumber(r, serial) == 1 &&
		  X509_REVOKED_set_revocationDate(r, (ASN1_TIME *)(uintptr_t)now) == 1 &&
		  X509_CRL_add0_revoked(crl, r) == 1;

	ASN1_INTEGER_free(serial);
	if (!ok)
		X509_REVOKED_free(r);
	return ok;
}

/* Those of yesterday and tomorrow too: clocks differ. */
static bool
revoke_node(X509_CRL *crl, enum credentials_authority of, uint32_t node, int64_t wall_s,
	    const ASN1_TIME *now)
{
	for (int64_t day = day_of(wall_s) - CREDENTIALS_DAYS - 1; day <= day_of(wall_s) + 1; day++)
		if (!revoke_one(crl, of, node, day, now))
			return false;
	return true;
}

static X509_CRL *
begin_list(const struct identity_authority *from, const ASN1_TIME *now, const ASN1_TIME *next)
{
	X509_CRL *crl = X509_CRL_new();

	if (crl && X509_CRL_set_version(crl, X509_CRL_VERSION_2) == 1 &&
	    X509_CRL_set_issuer_name(crl, X509_get_subject_name(from->certificate)) == 1 &&
	    X509_CRL_set1_lastUpdate(crl, now) == 1 && X509_CRL_set1_nextUpdate(crl, next) == 1)
		return crl;
	X509_CRL_free(crl);
	return NULL;
}

int
credentials_revoke(const struct identity_authority *from, enum credentials_authority of,
		   const uint32_t *nodes, size_t count, int64_t wall_s, struct buf *out,
		   struct err *err)
{
	ASN1_TIME *now = ASN1_TIME_set(NULL, (time_t)(wall_s - EARLY_S));
	/* etcd reads no dates of it; a list that has ended would be none for a stricter reader. */
	ASN1_TIME *next = ASN1_TIME_set(NULL, (time_t)(wall_s + 365 * X509_DAY_S));
	X509_CRL *crl = now && next ? begin_list(from, now, next) : NULL;
	BIO *bio = NULL;
	bool ok = crl != NULL;

	for (size_t i = count > CREDENTIALS_REVOKED_MAX ? count - CREDENTIALS_REVOKED_MAX : 0;
	     ok && i < count; i++)
		ok = revoke_node(crl, of, nodes[i], wall_s, now);
	ok = ok && X509_CRL_sort(crl) == 1 && X509_CRL_sign(crl, from->key, NULL) > 0;
	if (ok)
		bio = BIO_new(BIO_s_mem());
	ok = bio && PEM_write_bio_X509_CRL(bio, crl) == 1;
	X509_CRL_free(crl);
	ASN1_TIME_free(now);
	ASN1_TIME_free(next);
	return take_bio(bio, ok, out, err);
}

/* ---- judging ---- */

static X509 *
read_pem(const void *pem, size_t bytes)
{
	BIO *bio = bytes > 0 && bytes <= PEM_CERTIFICATES_MAX ? BIO_new_mem_buf(pem, (int)bytes)
							      : NULL;
	X509 *x = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	ERR_clear_error();
	return x;
}

/* The cluster's own authority says so, and what for. */
static bool
is_authority(X509 *x, enum credentials_authority of, const struct identity_authority *a)
{
	char name[X509_NAME_BYTES + 1];

	return X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name,
					 sizeof(name)) > 0 &&
	       strcmp(name, authorities[of].name) == 0 && X509_check_ca(x) == 1 &&
	       X509_verify(x, X509_get0_pubkey(a->certificate)) == 1;
}

static bool
is_for(X509 *x, X509 *authority, const uint8_t sign_public[IDENTITY_KEY])
{
	uint8_t key[IDENTITY_KEY];
	size_t bytes = sizeof(key);
	EVP_PKEY *has = X509_get0_pubkey(x);
	EVP_PKEY *signer = X509_get0_pubkey(authority);

	return has && signer && EVP_PKEY_is_a(has, "ED25519") == 1 &&
	       EVP_PKEY_get_raw_public_key(has, key, &bytes) == 1 &&
	       memcmp(key, sign_public, IDENTITY_KEY) == 0 && X509_verify(x, signer) == 1;
}

int
credentials_check(const struct identity_authority *a, enum credentials_authority of,
		  const struct credentials_pem *pem, const uint8_t sign_public[IDENTITY_KEY],
		  int64_t wall_s, int64_t *since_s_out, struct err *err)
{
	X509 *x = read_pem(pem->leaf, pem->leaf_bytes);
	X509 *authority = read_pem(pem->authority, pem->authority_bytes);
	int64_t since_s = 0, until_s = 0;
	int rc = 0;

	if (!x || !authority || !is_authority(authority, of, a) ||
	    !is_for(x, authority, sign_public) || !x509_times(x, &since_s, &until_s))
		rc = err_set(err, ERR_CORRUPT, "a certificate for the store is not this node's");
	else if (wall_s < since_s || wall_s > until_s)
		rc = err_set(err, ERR_TIMEOUT, "a certificate for the store is out of time");
	*since_s_out = since_s + EARLY_S;
	X509_free(x);
	X509_free(authority);
	ERR_clear_error();
	return rc;
}
