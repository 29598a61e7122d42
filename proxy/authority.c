/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making of the authority and of leaves, with OpenSSL's X509 calls. Serial numbers are 16 random
 * bytes (RFC 5280 4.1.2.2: positive, at most 20), keys are P-256, signatures ECDSA with SHA-256.
 * Times begin an hour early, for clients whose clock is behind.
 */
#include "proxy/authority.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include "base/text.h"

enum { EARLY_S = 3600, DAY_S = 86400 };

static int
failed(struct err *err, const char *what)
{
	return err_set(err, ERR_NO_MEMORY, "the cryptographic library could not %s", what);
}

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
set_name(X509_NAME *name, const char *text)
{
	return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)text,
					  -1, -1, 0) == 1;
}

static bool
add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	bool ok = e && X509_add_ext(x, e, -1) == 1;

	X509_EXTENSION_free(e);
	return ok;
}

static bool
set_times(X509 *x, int64_t wall_s, int64_t life_s)
{
	return ASN1_TIME_set(X509_getm_notBefore(x), (time_t)(wall_s - EARLY_S)) &&
	       ASN1_TIME_set(X509_getm_notAfter(x), (time_t)(wall_s + life_s));
}

static bool
fill_authority(X509 *x, EVP_PKEY *key, const char *name, int64_t wall_s)
{
	return X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) &&
	       set_name(X509_get_subject_name(x), name) &&
	       X509_set_issuer_name(x, X509_get_subject_name(x)) == 1 &&
	       set_times(x, wall_s, (int64_t)AUTHORITY_YEARS * 365 * DAY_S) &&
	       X509_set_pubkey(x, key) == 1 &&
	       add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
	       add_extension(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") &&
	       add_extension(x, x, NID_subject_key_identifier, "hash") &&
	       X509_sign(x, key, EVP_sha256()) > 0;
}

int
authority_create(struct authority *a, const char *node, int64_t wall_s, struct err *err)
{
	char name[64];

	memset(a, 0, sizeof(*a));
	text_format(name, sizeof(name), "zlayer authority of %.40s", node);
	a->key = EVP_EC_gen("P-256");
	a->leaf = EVP_EC_gen("P-256");
	a->certificate = X509_new();
	if (a->key && a->leaf && a->certificate &&
	    fill_authority(a->certificate, a->key, name, wall_s))
		return 0;
	authority_fini(a);
	return failed(err, "make the local authority");
}

int
authority_export(const struct authority *a, struct secret *out, struct err *err)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	char *data;
	int rc = -1;

	if (bio && PEM_write_bio_PrivateKey(bio, a->key, NULL, NULL, 0, NULL, NULL) == 1 &&
	    PEM_write_bio_X509(bio, a->certificate) == 1 &&
	    PEM_write_bio_PrivateKey(bio, a->leaf, NULL, NULL, 0, NULL, NULL) == 1) {
		long n = BIO_get_mem_data(bio, &data);

		rc = secret_from(out, data, (size_t)n, err);
		mem_wipe(data, (size_t)n);
	} else {
		failed(err, "write the local authority");
	}
	BIO_free(bio);
	return rc;
}

int
authority_import(struct authority *a, const struct secret *pem, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->length);

	memset(a, 0, sizeof(*a));
	if (bio) {
		a->key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
		a->certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
		a->leaf = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
		BIO_free(bio);
	}
	if (a->key && a->leaf && a->certificate &&
	    X509_check_private_key(a->certificate, a->key) == 1)
		return 0;
	authority_fini(a);
	return err_set(err, ERR_CORRUPT, "the kept local authority is damaged");
}

void
authority_fini(struct authority *a)
{
	X509_free(a->certificate);
	EVP_PKEY_free(a->key);
	EVP_PKEY_free(a->leaf);
	memset(a, 0, sizeof(*a));
}

/* "DNS:a,IP:1.2.3.4"; a name with a byte that means something in that syntax is refused. */
static bool
put_alternatives(const char *const *names, size_t count, struct buf *out)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789-.*_";

	for (size_t i = 0; i < count; i++) {
		struct addr a;

		if (i)
			buf_putc(out, ',');
		if (addr_parse_ip(names[i], &a))
			buf_printf(out, "IP:%s", names[i]);
		else if (names[i][strspn(names[i], allowed)] == 0 && names[i][0])
			buf_printf(out, "DNS:%s", names[i]);
		else
			return false;
	}
	return buf_ok(out);
}

static bool
fill_leaf(const struct authority *a, X509 *x, EVP_PKEY *key, const char *first,
	  const char *alternatives, int64_t wall_s)
{
	char name[64]; /* the common name's limit; for people only */

	text_copy(name, sizeof(name), first);
	return X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) &&
	       set_name(X509_get_subject_name(x), name) &&
	       X509_set_issuer_name(x, X509_get_subject_name(a->certificate)) == 1 &&
	       set_times(x, wall_s, (int64_t)AUTHORITY_LEAF_DAYS * DAY_S) &&
	       X509_set_pubkey(x, key) == 1 &&
	       add_extension(x, a->certificate, NID_basic_constraints, "critical,CA:FALSE") &&
	       add_extension(x, a->certificate, NID_key_usage, "critical,digitalSignature") &&
	       add_extension(x, a->certificate, NID_ext_key_usage, "serverAuth") &&
	       add_extension(x, a->certificate, NID_subject_key_identifier, "hash") &&
	       add_extension(x, a->certificate, NID_authority_key_identifier, "keyid:always") &&
	       add_extension(x, a->certificate, NID_subject_alt_name, alternatives) &&
	       X509_sign(x, a->key, EVP_sha256()) > 0;
}

int
authority_issue(const struct authority *a, const char *const *names, size_t count, int64_t wall_s,
		struct cert *out, struct err *err)
{
	struct buf alternatives;

	memset(out, 0, sizeof(*out));
	if (count == 0 || count > AUTHORITY_NAMES_MAX)
		return err_set(err, ERR_LIMIT, "a certificate for %zu names", count);
	buf_init(&alternatives, MEM_PROXY, AUTHORITY_NAMES_MAX * (MSG_HOST + 8));
	if (!put_alternatives(names, count, &alternatives)) {
		buf_fini(&alternatives);
		return err_set(err, ERR_INVALID, "\"%s\" cannot be the name of a certificate",
			       names[0]);
	}
	out->key = EVP_PKEY_up_ref(a->leaf) == 1 ? a->leaf : NULL;
	out->chain[0] = X509_new();
	out->chain_count = out->chain[0] ? 1 : 0;
	bool ok =
		out->key && out->chain[0] &&
		fill_leaf(a, out->chain[0], out->key, names[0], buf_cstr(&alternatives), wall_s) &&
		X509_up_ref(a->certificate) == 1;
	buf_fini(&alternatives);
	if (!ok) {
		cert_fini(out);
		return failed(err, "issue a certificate");
	}
	out->chain[out->chain_count++] = a->certificate;
	return 0;
}

int
authority_row(const struct authority *a, struct msg_certificate *out, struct err *err)
{
	struct tm begin, end;
	unsigned char *at = out->chain + 4;

	memset(out, 0, sizeof(*out));
	out->source = MSG_CERT_AUTHORITY;
	out->key_type = MSG_KEY_EC;
	int n = i2d_X509(a->certificate, NULL);
	if (n <= 0 || (size_t)n + 4 > sizeof(out->chain) ||
	    ASN1_TIME_to_tm(X509_get0_notBefore(a->certificate), &begin) != 1 ||
	    ASN1_TIME_to_tm(X509_get0_notAfter(a->certificate), &end) != 1)
		return failed(err, "describe the local authority");
	uint32_t length = (uint32_t)n;
	memcpy(out->chain, &length, 4);
	i2d_X509(a->certificate, &at);
	out->chain_bytes = length + 4;
	out->not_before_s = (int64_t)timegm(&begin);
	out->not_after_s = (int64_t)timegm(&end);
	return 0;
}
