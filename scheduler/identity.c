/* SPDX-License-Identifier: Apache-2.0 */
/* The cluster's authority and its nodes' certificates, with OpenSSL (wire/x509.h makes them). A
 * certificate is judged by its signature first; nothing of it is read before that held. */

#include "scheduler/identity.h"

#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "scheduler/gossip/envelope.h"
#include "wire/x509.h"

enum { HEX_KEY = IDENTITY_KEY * 2, URI_BYTES = 192 };

static int
failed(struct err *err, const char *what)
{
	ERR_clear_error();
	return err_set(err, ERR_NO_MEMORY, "the cryptographic library could not %s", what);
}

/* ---- the authority ---- */

static bool
set_cluster(struct identity_authority *a)
{
	unsigned char *der = NULL;
	int n = i2d_X509(a->certificate, &der);

	if (n <= 0)
		return false;
	SHA256(der, (size_t)n, a->cluster);
	OPENSSL_free(der);
	return true;
}

int
identity_authority_create(struct identity_authority *a, int64_t wall_s, struct err *err)
{
	memset(a, 0, sizeof(*a));
	a->key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	if (a->key)
		a->certificate = x509_begin("authority of a cluster", NULL, a->key, wall_s,
					    (int64_t)IDENTITY_AUTHORITY_YEARS * 365 * X509_DAY_S);
	if (a->certificate && x509_extend_authority(a->certificate) &&
	    x509_sign(a->certificate, a->key) && set_cluster(a))
		return 0;
	identity_authority_fini(a);
	return failed(err, "make the cluster's authority");
}

int
identity_authority_export(const struct identity_authority *a, struct secret *out, struct err *err)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	char *data;
	int rc = -1;

	if (bio && PEM_write_bio_PrivateKey(bio, a->key, NULL, NULL, 0, NULL, NULL) == 1 &&
	    PEM_write_bio_X509(bio, a->certificate) == 1) {
		long n = BIO_get_mem_data(bio, &data);

		rc = secret_from(out, data, (size_t)n, err);
		mem_wipe(data, (size_t)n);
	} else {
		failed(err, "write the cluster's authority");
	}
	BIO_free(bio);
	return rc;
}

int
identity_authority_import(struct identity_authority *a, const struct secret *pem, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->length);

	memset(a, 0, sizeof(*a));
	if (bio) {
		a->key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
		a->certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
		BIO_free(bio);
	}
	ERR_clear_error();
	if (a->key && a->certificate && X509_check_private_key(a->certificate, a->key) == 1 &&
	    set_cluster(a))
		return 0;
	ERR_clear_error();
	identity_authority_fini(a);
	return err_set(err, ERR_CORRUPT, "the kept authority of the cluster is damaged");
}

int
identity_authority_der(const struct identity_authority *a, struct buf *out, struct err *err)
{
	int n = i2d_X509(a->certificate, NULL);
	uint8_t *at = n > 0 ? buf_reserve(out, (size_t)n) : NULL;

	if (!at)
		return failed(err, "write the cluster's certificate");
	i2d_X509(a->certificate, &at);
	buf_commit(out, (size_t)n);
	return 0;
}

/* Of exactly these bytes: what follows a certificate would not be covered by its signature. */
static X509 *
parse(const void *der, size_t bytes)
{
	const unsigned char *at = der;
	const unsigned char *end = at + bytes;
	X509 *x = bytes <= IDENTITY_CERTIFICATE_MAX ? d2i_X509(NULL, &at, (long)bytes) : NULL;

	ERR_clear_error();
	if (x && at == end)
		return x;
	X509_free(x);
	return NULL;
}

int
identity_authority_of(struct identity_authority *a, const void *der, size_t bytes,
		      const uint8_t cluster[IDENTITY_CLUSTER], struct err *err)
{
	memset(a, 0, sizeof(*a));
	a->certificate = parse(der, bytes);
	if (!a->certificate || !set_cluster(a)) {
		identity_authority_fini(a);
		return err_set(err, ERR_CORRUPT, "the certificate of the cluster is malformed");
	}
	if (cluster && memcmp(a->cluster, cluster, IDENTITY_CLUSTER) != 0) {
		identity_authority_fini(a);
		return err_set(err, ERR_CORRUPT, "the certificate is that of another cluster");
	}
	return 0;
}

void
identity_authority_fini(struct identity_authority *a)
{
	X509_free(a->certificate);
	EVP_PKEY_free(a->key);
	memset(a, 0, sizeof(*a));
}

/* ---- keys ---- */

int
identity_keys_new(struct identity_keys *keys, struct err *err)
{
	size_t private_bytes = IDENTITY_KEY;
	size_t public_bytes = IDENTITY_KEY;
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	bool ok = key && EVP_PKEY_get_raw_private_key(key, keys->sign, &private_bytes) == 1 &&
		  EVP_PKEY_get_raw_public_key(key, keys->sign_public, &public_bytes) == 1;

	EVP_PKEY_free(key);
	if (!ok)
		return failed(err, "make a node's key");
	return envelope_key_new(keys->gossip, keys->gossip_public, err);
}

struct evp_pkey_st *
identity_keys_pkey(const struct identity_keys *keys)
{
	return EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, keys->sign, IDENTITY_KEY);
}

/* ---- certificates ---- */

static void
put_uri(const struct identity_authority *a, const struct identity *who, char *out, size_t cap)
{
	char cluster[IDENTITY_CLUSTER * 2 + 1];
	char key[HEX_KEY + 1];

	text_hex(a->cluster, IDENTITY_CLUSTER, cluster, sizeof(cluster));
	text_hex(who->gossip_public, IDENTITY_KEY, key, sizeof(key));
	text_format(out, cap, "zlayer://%s/%" PRIu32 "?gossip=%s", cluster, who->node, key);
}

static X509 *
make_leaf(const struct identity_authority *a, const struct identity *who, EVP_PKEY *key,
	  int64_t wall_s)
{
	char uri[4 + URI_BYTES] = "URI:";
	X509 *x = x509_begin(who->name, a->certificate, key, wall_s,
			     (int64_t)IDENTITY_LEAF_DAYS * X509_DAY_S);

	put_uri(a, who, uri + 4, sizeof(uri) - 4);
	if (x && x509_extend_leaf(x, a->certificate, "serverAuth,clientAuth", uri) &&
	    x509_sign(x, a->key))
		return x;
	X509_free(x);
	return NULL;
}

int
identity_issue(const struct identity_authority *a, const struct identity *who, int64_t wall_s,
	       struct buf *out, struct err *err)
{
	if (!a->key)
		return err_set(err, ERR_DENIED, "this node may not admit others");
	EVP_PKEY *key =
		EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, who->sign_public, IDENTITY_KEY);
	X509 *x = key ? make_leaf(a, who, key, wall_s) : NULL;
	bool ok = x && x509_put(x, out) && x509_put(a->certificate, out);

	X509_free(x);
	EVP_PKEY_free(key);
	return ok ? 0 : failed(err, "issue a node's certificate");
}

/* "zlayer://CLUSTER/ID?gossip=KEY", in exactly the form that put_uri gives. */
static bool
take_uri(const struct identity_authority *a, const char *text, size_t length, struct identity *out)
{
	char again[URI_BYTES];
	char copy[URI_BYTES];
	const char *at = copy + sizeof("zlayer://") - 1 + (size_t)IDENTITY_CLUSTER * 2 + 1;
	char *end;

	if (length >= sizeof(copy) || length <= (size_t)(at - copy) || memchr(text, 0, length))
		return false;
	memcpy(copy, text, length);
	copy[length] = '\0';
	unsigned long long node = strtoull(at, &end, 10);
	const char *key = strchr(copy, '=');
	if (node == 0 || node > UINT32_MAX || !key || strlen(key + 1) != HEX_KEY ||
	    text_unhex(key + 1, HEX_KEY, out->gossip_public, IDENTITY_KEY) != IDENTITY_KEY)
		return false;
	out->node = (uint32_t)node;
	put_uri(a, out, again, sizeof(again));
	return strcmp(again, copy) == 0;
}

static bool
take_alternatives(const struct identity_authority *a, const X509 *x, struct identity *out)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	bool ok = false;

	if (names && sk_GENERAL_NAME_num(names) == 1) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, 0);

		if (name->type == GEN_URI) {
			const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;

			ok = take_uri(a, (const char *)ASN1_STRING_get0_data(uri),
				      (size_t)ASN1_STRING_length(uri), out);
		}
	}
	GENERAL_NAMES_free(names);
	return ok;
}

static bool
take_fields(const struct identity_authority *a, X509 *x, struct identity *out)
{
	size_t bytes = IDENTITY_KEY;
	EVP_PKEY *key = X509_get0_pubkey(x);
	int n = X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, out->name,
					  sizeof(out->name));

	return n > 0 && (size_t)n == strlen(out->name) && key &&
	       EVP_PKEY_is_a(key, "ED25519") == 1 &&
	       EVP_PKEY_get_raw_public_key(key, out->sign_public, &bytes) == 1 &&
	       X509_check_ca(x) == 0 && x509_times(x, &out->not_before_s, &out->not_after_s) &&
	       take_alternatives(a, x, out);
}

enum identity_verdict
identity_judge(const struct identity_authority *a, const void *der, size_t bytes, int64_t wall_s,
	       struct identity *out)
{
	enum identity_verdict verdict = IDENTITY_MALFORMED;
	X509 *x = parse(der, bytes);

	memset(out, 0, sizeof(*out));
	if (x && X509_verify(x, X509_get0_pubkey(a->certificate)) != 1)
		verdict = IDENTITY_FOREIGN;
	else if (x && take_fields(a, x, out))
		verdict = wall_s < out->not_before_s || wall_s > out->not_after_s
				  ? IDENTITY_OUT_OF_TIME
				  : IDENTITY_GOOD;
	X509_free(x);
	ERR_clear_error();
	return verdict;
}

/* ---- without a cluster ---- */

int
identity_alone(const struct identity_keys *keys, int64_t wall_s, struct buf *out, struct err *err)
{
	EVP_PKEY *key = identity_keys_pkey(keys);
	X509 *x = key ? x509_begin("a node", NULL, key, wall_s, X509_DAY_S) : NULL;
	bool ok = x && x509_sign(x, key) && x509_put(x, out);

	X509_free(x);
	EVP_PKEY_free(key);
	return ok ? 0 : failed(err, "make a certificate to join with");
}

bool
identity_is_alone(const void *der, size_t bytes, struct identity *out)
{
	size_t key_bytes = IDENTITY_KEY;
	X509 *x = parse(der, bytes);
	EVP_PKEY *key = x ? X509_get0_pubkey(x) : NULL;

	memset(out, 0, sizeof(*out));
	bool ok = key && EVP_PKEY_is_a(key, "ED25519") == 1 && X509_verify(x, key) == 1 &&
		  EVP_PKEY_get_raw_public_key(key, out->sign_public, &key_bytes) == 1;
	X509_free(x);
	ERR_clear_error();
	return ok;
}
