/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CERT_H
#define PROXY_CERT_H

/*
 * A certificate with its key: read from PEM (RFC 7468), checked, and put as the row that proxies
 * read. Used in signer only. Names are those of subjectAltName (RFC 9525: the subject's common name
 * is not looked at), lower case.
 * Threading: one owner.
 */

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "ring/msg.h"

enum { CERT_FILE_BYTES_MAX = 1 << 18, CERT_CHAIN_MAX = 8 };

struct cert {
	X509 *chain[CERT_CHAIN_MAX]; /* leaf first */
	size_t chain_count;
	EVP_PKEY *key;
};

/* Both borrowed. Refuses: no certificate, a key that is encrypted, does not belong to the leaf or
 * is of another type than RSA (2048 bits and more) and EC (P-256, P-384, P-521); a chain that does
 * not fit a row; a leaf without DNS names or addresses. Expired ones are taken (the caller warns).
 */
int cert_parse(const void *certs_pem, size_t certs_bytes, const void *key_pem, size_t key_bytes,
	       struct cert *out, struct err *err) MUST_CHECK;
void cert_fini(struct cert *c);
/* Names, times, serial, chain. id, key_handle, source and any_host are the caller's. */
int cert_row(const struct cert *c, struct msg_certificate *out, struct err *err) MUST_CHECK;
/* Whether a row serves this host name ("" never): exact, or one label below "*.". */
bool cert_covers(const struct msg_certificate *row, const char *host);

#endif
