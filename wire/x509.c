/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates with OpenSSL's X509 calls. Ed25519 signs without a digest of its own (RFC 8410), all
 * others with SHA-256. */

#include "wire/x509.h"

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <time.h>
#include "base/text.h"

enum { EARLY_S = 3600 };

static bool
set_serial(X509 *x)
{
	BIGNUM *bn = BN_new();
	bool ok = bn && BN_rand(bn, 127, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
		  BN_add_word(bn, 1) == 1 && BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(x));

	BN_free(bn);
	return ok;
}

static bool
set_name(X509 *x, const char *text)
{
	char name[X509_NAME_BYTES + 1];

	text_copy(name, sizeof(name), text);
	return X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
					  (const unsigned char *)name, -1, -1, 0) == 1;
}

static bool
set_times(X509 *x, int64_t wall_s, int64_t life_s)
{
	return ASN1_TIME_set(X509_getm_notBefore(x), (time_t)(wall_s - EARLY_S)) &&
	       ASN1_TIME_set(X509_getm_notAfter(x), (time_t)(wall_s + life_s));
}

X509 *
x509_begin(const char *name, const X509 *issuer, EVP_PKEY *key, int64_t wall_s, int64_t life_s)
{
	X509 *x = X509_new();

	if (x && X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) && set_name(x, name) &&
	    X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x)) == 1 &&
	    set_times(x, wall_s, life_s) && X509_set_pubkey(x, key) == 1)
		return x;
	X509_free(x);
	ERR_clear_error();
	return NULL;
}

bool
x509_extend(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	bool ok = e && X509_add_ext(x, e, -1) == 1;

	X509_EXTENSION_free(e);
	if (!ok)
		ERR_clear_error();
	return ok;
}

bool
x509_extend_authority(X509 *x)
{
	return x509_extend(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
	       x509_extend(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") &&
	       x509_extend(x, x, NID_subject_key_identifier, "hash");
}

bool
x509_extend_leaf(X509 *x, X509 *issuer, const char *purposes, const char *alternatives)
{
	return x509_extend(x, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
	       x509_extend(x, issuer, NID_key_usage, "critical,digitalSignature") &&
	       x509_extend(x, issuer, NID_ext_key_usage, purposes) &&
	       x509_extend(x, issuer, NID_subject_key_identifier, "hash") &&
	       x509_extend(x, issuer, NID_authority_key_identifier, "keyid:always") &&
	       x509_extend(x, issuer, NID_subject_alt_name, alternatives);
}

bool
x509_sign(X509 *x, EVP_PKEY *authority_key)
{
	bool own_digest = EVP_PKEY_is_a(authority_key, "ED25519") == 1;
	bool ok = X509_sign(x, authority_key, own_digest ? NULL : EVP_sha256()) > 0;

	if (!ok)
		ERR_clear_error();
	return ok;
}

bool
x509_put(const X509 *x, struct buf *out)
{
	int n = i2d_X509(x, NULL);

	if (n <= 0)
		return false;
	buf_u32(out, (uint32_t)n);
	uint8_t *at = buf_reserve(out, (size_t)n);
	if (!at)
		return false;
	i2d_X509(x, &at);
	buf_commit(out, (size_t)n);
	return true;
}

bool
x509_times(const X509 *x, int64_t *not_before_out, int64_t *not_after_out)
{
	struct tm begin, end;

	if (ASN1_TIME_to_tm(X509_get0_notBefore(x), &begin) != 1 ||
	    ASN1_TIME_to_tm(X509_get0_notAfter(x), &end) != 1) {
		ERR_clear_error();
		return false;
	}
	*not_before_out = (int64_t)timegm(&begin);
	*not_after_out = (int64_t)timegm(&end);
	return true;
}
