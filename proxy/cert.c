/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading of certificate files. They are an administrator's, yet each refusal says which part is
 * wrong, because a wrong file on a reload must be explained while the old one serves on.
 */
#include "proxy/cert.h"

#include <ctype.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include "base/text.h"

static int
no_password(char *buf, int size, int rwflag, void *arg)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	*(bool *)arg = true;
	return -1;
}

static int
parse_chain(const void *pem, size_t bytes, struct cert *out, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(pem, (int)bytes);
	bool encrypted; /* without a callback the library would ask at the terminal */

	if (!bio)
		return err_set(err, ERR_NO_MEMORY, "no memory to read a certificate");
	while (out->chain_count < CERT_CHAIN_MAX) {
		X509 *x = PEM_read_bio_X509(bio, NULL, no_password, &encrypted);

		if (!x)
			break;
		out->chain[out->chain_count++] = x;
	}
	unsigned long why = ERR_peek_last_error();
	bool at_end = ERR_GET_REASON(why) == PEM_R_NO_START_LINE;
	bool more = out->chain_count == CERT_CHAIN_MAX && BIO_pending(bio) > 0;
	ERR_clear_error();
	BIO_free(bio);
	if (out->chain_count == 0)
		return err_set(err, ERR_INVALID, "no certificate in PEM form is in it");
	if (more)
		return err_set(err, ERR_LIMIT, "it holds more than %d certificates",
			       CERT_CHAIN_MAX);
	if (!at_end)
		return err_set(err, ERR_INVALID, "certificate %zu of it is damaged",
			       out->chain_count + 1);
	return 0;
}

static int
parse_key(const void *pem, size_t bytes, struct cert *out, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(pem, (int)bytes);
	bool encrypted = false;

	if (!bio)
		return err_set(err, ERR_NO_MEMORY, "no memory to read a key");
	out->key = PEM_read_bio_PrivateKey(bio, NULL, no_password, &encrypted);
	ERR_clear_error();
	BIO_free(bio);
	if (out->key)
		return 0;
	if (encrypted) {
		err_set(err, ERR_INVALID, "the key is encrypted with a password");
		return err_fix(err, "store it without one: openssl pkey -in KEY -out KEY.new");
	}
	return err_set(err, ERR_INVALID, "no private key in PEM form is in it");
}

static int
check_key(const struct cert *c, struct err *err)
{
	int bits = EVP_PKEY_get_bits(c->key);

	if (X509_check_private_key(c->chain[0], c->key) != 1) {
		ERR_clear_error();
		err_set(err, ERR_INVALID, "the key does not belong to the first certificate");
		return err_fix(err, "put the certificate of this key first, its issuers after it");
	}
	switch (EVP_PKEY_get_base_id(c->key)) {
	case EVP_PKEY_RSA:
		if (bits >= 2048 && bits <= 8192)
			return 0;
		return err_set(err, ERR_INVALID, "an RSA key of %d bits: 2048 to 8192 are taken",
			       bits);
	case EVP_PKEY_EC:
		if (bits == 256 || bits == 384 || bits == 521)
			return 0;
		return err_set(err, ERR_INVALID,
			       "an EC key of another curve than P-256, P-384, P-521");
	default:
		return err_set(err, ERR_UNSUPPORTED, "a key that is neither RSA nor EC");
	}
}

int
cert_parse(const void *certs_pem, size_t certs_bytes, const void *key_pem, size_t key_bytes,
	   struct cert *out, struct err *err)
{
	struct msg_certificate row;

	memset(out, 0, sizeof(*out));
	if (certs_bytes > CERT_FILE_BYTES_MAX || key_bytes > CERT_FILE_BYTES_MAX)
		return err_set(err, ERR_LIMIT, "it is larger than %d bytes", CERT_FILE_BYTES_MAX);
	if (parse_chain(certs_pem, certs_bytes, out, err) < 0 ||
	    parse_key(key_pem, key_bytes, out, err) < 0 || check_key(out, err) < 0 ||
	    cert_row(out, &row, err) < 0) {
		cert_fini(out);
		return -1;
	}
	return 0;
}

void
cert_fini(struct cert *c)
{
	for (size_t i = 0; i < c->chain_count; i++)
		X509_free(c->chain[i]);
	EVP_PKEY_free(c->key);
	memset(c, 0, sizeof(*c));
}

static int64_t
seconds_of(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

struct names {
	struct msg_certificate *row;
	size_t used;
	bool full;
};

/* A name with a NUL or without an end of its own cannot be matched: it is left out. */
static void
add_name(struct names *n, const char *name, size_t length)
{
	if (length == 0 || length >= MSG_HOST || memchr(name, 0, length))
		return;
	if (n->used + length + 2 > sizeof(n->row->names)) {
		n->full = true;
		return;
	}
	for (size_t i = 0; i < length; i++)
		n->row->names[n->used++] = (char)tolower((unsigned char)name[i]);
	n->row->names[n->used++] = 0;
	n->row->names_count++;
}

static void
add_address(struct names *n, const ASN1_OCTET_STRING *ip)
{
	const unsigned char *bytes = ASN1_STRING_get0_data(ip);
	int length = ASN1_STRING_length(ip);
	struct addr a = {0};
	char text[ADDR_TEXT_BYTES];

	if (length == 4) {
		uint32_t v4;

		memcpy(&v4, bytes, 4);
		addr_from_v4_be(v4, 0, &a);
	} else if (length == 16) {
		memcpy(a.ip, bytes, 16);
	} else {
		return;
	}
	addr_put_ip(&a, text, sizeof(text));
	add_name(n, text, strlen(text));
}

static int
put_names(X509 *leaf, struct msg_certificate *row, struct err *err)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	struct names n = {.row = row};

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type == GEN_DNS)
			add_name(&n, (const char *)ASN1_STRING_get0_data(name->d.dNSName),
				 (size_t)ASN1_STRING_length(name->d.dNSName));
		else if (name->type == GEN_IPADD)
			add_address(&n, name->d.iPAddress);
	}
	GENERAL_NAMES_free(names);
	if (n.full)
		return err_set(err, ERR_LIMIT, "the certificate's names are more than %d bytes",
			       MSG_CERT_NAMES_BYTES);
	if (n.row->names_count > 0)
		return 0;
	err_set(err, ERR_INVALID, "the certificate names no host");
	return err_why(err, "it has no subjectAltName with a DNS name or address");
}

static void
put_serial(X509 *leaf, struct msg_certificate *row)
{
	const ASN1_INTEGER *serial = X509_get0_serialNumber(leaf);
	size_t n = (size_t)ASN1_STRING_length(serial);

	text_hex(ASN1_STRING_get0_data(serial), n > 20 ? 20 : n, row->serial, sizeof(row->serial));
}

static int
put_chain(const struct cert *c, struct msg_certificate *row, struct err *err)
{
	size_t at = 0;

	for (size_t i = 0; i < c->chain_count; i++) {
		int n = i2d_X509(c->chain[i], NULL);

		if (n <= 0 || at + 4 + (size_t)n > sizeof(row->chain))
			return err_set(err, ERR_LIMIT,
				       "the certificates are more than %d bytes together",
				       MSG_CHAIN_BYTES);
		uint32_t length = (uint32_t)n;
		memcpy(row->chain + at, &length, 4);
		unsigned char *to = row->chain + at + 4;
		i2d_X509(c->chain[i], &to);
		at += 4 + length;
	}
	row->chain_bytes = (uint32_t)at;
	return 0;
}

int
cert_row(const struct cert *c, struct msg_certificate *out, struct err *err)
{
	memset(out, 0, sizeof(*out));
	out->key_type = EVP_PKEY_get_base_id(c->key) == EVP_PKEY_RSA ? MSG_KEY_RSA : MSG_KEY_EC;
	out->not_before_s = seconds_of(X509_get0_notBefore(c->chain[0]));
	out->not_after_s = seconds_of(X509_get0_notAfter(c->chain[0]));
	put_serial(c->chain[0], out);
	if (put_names(c->chain[0], out, err) < 0)
		return -1;
	return put_chain(c, out, err);
}

static bool
name_covers(const char *name, const char *host)
{
	if (strcmp(name, host) == 0)
		return true;
	if (name[0] != '*' || name[1] != '.')
		return false;
	const char *dot = strchr(host, '.');
	return dot && dot != host && strcmp(dot, name + 1) == 0;
}

bool
cert_covers(const struct msg_certificate *row, const char *host)
{
	size_t at = 0;

	for (const char *name; host[0] && (name = msg_certificate_name(row, &at));) {
		if (name_covers(name, host))
			return true;
	}
	return false;
}
