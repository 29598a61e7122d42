/* SPDX-License-Identifier: Apache-2.0 */
/* Making of the authority and of leaves (wire/x509.h). Keys are P-256, signatures ECDSA with
 * SHA-256: what every client knows. */
#include "proxy/authority.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <string.h>
#include "base/text.h"
#include "wire/x509.h"

static int
failed(struct err *err, const char *what)
{
	return err_set(err, ERR_NO_MEMORY, "the cryptographic library could not %s", what);
}

int
authority_create(struct authority *a, const char *node, int64_t wall_s, struct err *err)
{
	char name[64];

	memset(a, 0, sizeof(*a));
	text_format(name, sizeof(name), "zlayer authority of %.40s", node);
	a->key = EVP_EC_gen("P-256");
	a->leaf = EVP_EC_gen("P-256");
	if (a->key && a->leaf)
		a->certificate = x509_begin(name, NULL, a->key, wall_s,
					    (int64_t)AUTHORITY_YEARS * 365 * X509_DAY_S);
	if (a->certificate && x509_extend_authority(a->certificate) &&
	    x509_sign(a->certificate, a->key))
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

static X509 *
make_leaf(const struct authority *a, const char *first, const char *alternatives, int64_t wall_s)
{
	X509 *x = x509_begin(first, a->certificate, a->leaf, wall_s,
			     (int64_t)AUTHORITY_LEAF_DAYS * X509_DAY_S);

	if (x && x509_extend_leaf(x, a->certificate, "serverAuth", alternatives) &&
	    x509_sign(x, a->key))
		return x;
	X509_free(x);
	return NULL;
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
	out->chain[0] = make_leaf(a, names[0], buf_cstr(&alternatives), wall_s);
	out->chain_count = out->chain[0] ? 1 : 0;
	bool ok = out->key && out->chain[0] && X509_up_ref(a->certificate) == 1;
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
	unsigned char *at = out->chain + 4;

	memset(out, 0, sizeof(*out));
	out->source = MSG_CERT_AUTHORITY;
	out->key_type = MSG_KEY_EC;
	int n = i2d_X509(a->certificate, NULL);
	if (n <= 0 || (size_t)n + 4 > sizeof(out->chain) ||
	    !x509_times(a->certificate, &out->not_before_s, &out->not_after_s))
		return failed(err, "describe the local authority");
	uint32_t length = (uint32_t)n;
	memcpy(out->chain, &length, 4);
	i2d_X509(a->certificate, &at);
	out->chain_bytes = length + 4;
	return 0;
}
