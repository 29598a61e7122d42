/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_X509_H
#define WIRE_X509_H

/*
 * Making certificates (RFC 5280) step by step: what the local authority of the edge and the
 * cluster's own have in common. Serial numbers are 16 random bytes (4.1.2.2), version 3; times
 * begin an hour early, for peers whose clock is behind.
 * Threading: pure functions on the caller's objects; the library's error queue is left empty.
 */

#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"

enum { X509_DAY_S = 86400, X509_NAME_BYTES = 64 /* the common name's limit, without NUL */ };

/* A certificate without extensions and signature, or NULL. name: its subject's common name, cut at
 * the limit; issuer NULL: it is its own. wall_s: now, seconds since 1970; key: the subject's, its
 * public half is enough. */
X509 *x509_begin(const char *name, const X509 *issuer, EVP_PKEY *key, int64_t wall_s,
		 int64_t life_s);
/* An extension in the syntax of x509v3_config(5). */
bool x509_extend(X509 *x, X509 *issuer, int nid, const char *value);
/* basicConstraints of one that signs leaves only, key usage, key identifier. */
bool x509_extend_authority(X509 *x);
/* Those of a leaf: key usage, the extended one ("serverAuth,clientAuth"), alternative names. */
bool x509_extend_leaf(X509 *x, X509 *issuer, const char *purposes, const char *alternatives);
bool x509_sign(X509 *x, EVP_PKEY *authority_key);
/* Its DER after a u32 length (little-endian), as chains are written (wire/tls.h); false:
 * out->failed is set, or it cannot be encoded. */
bool x509_put(const X509 *x, struct buf *out);
/* Seconds since 1970; false: unreadable. */
bool x509_times(const X509 *x, int64_t *not_before_out, int64_t *not_after_out);

#endif
