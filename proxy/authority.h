/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_AUTHORITY_H
#define PROXY_AUTHORITY_H

/*
 * The local authority: a certificate authority of this node (RFC 5280) that issues certificates for
 * names that have none. Its key lives in signer; what leaves is PEM to be sealed. Leaves live 90
 * days and are issued anew after 60; they share one key, which is kept with the authority, so that
 * a handshake that began before a restart can be finished after it.
 * Threading: one owner.
 */

#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"
#include "proxy/cert.h"

enum {
	AUTHORITY_YEARS = 10,
	AUTHORITY_LEAF_DAYS = 90,
	AUTHORITY_RENEW_DAYS = 60,
	AUTHORITY_NAMES_MAX = 24,
};

struct authority {
	X509 *certificate;
	EVP_PKEY *key;
	EVP_PKEY *leaf; /* of every certificate that it issues */
};

/* wall_s: now, seconds since 1970. */
int authority_create(struct authority *a, const char *node, int64_t wall_s,
		     struct err *err) MUST_CHECK;
/* PEM of key, certificate and the leaves' key together, and back. */
int authority_export(const struct authority *a, struct secret *out, struct err *err) MUST_CHECK;
int authority_import(struct authority *a, const struct secret *pem, struct err *err) MUST_CHECK;
void authority_fini(struct authority *a);

/* A leaf for these names (DNS names, "*.x", or addresses as text), with the authority
 * behind it in the chain. */
int authority_issue(const struct authority *a, const char *const *names, size_t count,
		    int64_t wall_s, struct cert *out, struct err *err) MUST_CHECK;
/* The row of the authority itself (MSG_CERT_AUTHORITY). */
int authority_row(const struct authority *a, struct msg_certificate *out,
		  struct err *err) MUST_CHECK;

#endif
