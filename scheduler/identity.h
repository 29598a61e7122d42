/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_IDENTITY_H
#define SCHEDULER_IDENTITY_H

/*
 * Who a node is to the other nodes of its cluster. The cluster has an authority of its own (RFC
 * 5280), and its id is the SHA-256 of the authority's certificate: whoever knows the id (from a
 * ticket) can check everything else. A node has two keys: Ed25519 (RFC 8032) for its certificate,
 * with which it speaks mutual TLS, and X25519 (RFC 7748) for gossip's envelopes. Admission gives it
 * an id and a certificate that binds id, name and both keys together, in one alternative name:
 *
 *   URI:zlayer://<cluster, 64 hex>/<node id, decimal>?gossip=<X25519 key, 64 hex>
 *
 * Certificates live IDENTITY_LEAF_DAYS and are renewed after IDENTITY_RENEW_DAYS. One that has
 * ended still proves who shows it, which is enough to ask for a new one and for nothing else; who
 * is no longer admitted gets none.
 *
 * Threading: values of one owner. No clock: wall_s is now, seconds since 1970.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"

enum {
	IDENTITY_KEY = 32,
	IDENTITY_CLUSTER = 32,
	IDENTITY_NAME_BYTES = 64, /* with NUL */
	IDENTITY_AUTHORITY_YEARS = 20,
	IDENTITY_LEAF_DAYS = 14,
	IDENTITY_RENEW_DAYS = 7,
	IDENTITY_CERTIFICATE_MAX = 4096, /* DER */
};

struct x509_st;
struct evp_pkey_st;

struct identity_authority {
	struct x509_st *certificate;
	struct evp_pkey_st *key; /* NULL where it may judge but not issue */
	uint8_t cluster[IDENTITY_CLUSTER];
};

/* A new cluster. */
int identity_authority_create(struct identity_authority *a, int64_t wall_s,
			      struct err *err) MUST_CHECK;
/* PEM of key and certificate, and back. */
int identity_authority_export(const struct identity_authority *a, struct secret *out,
			      struct err *err) MUST_CHECK;
int identity_authority_import(struct identity_authority *a, const struct secret *pem,
			      struct err *err) MUST_CHECK;
/* The certificate alone (DER): appended to out, and back. With `cluster` not NULL it must be that
 * cluster's (ERR_CORRUPT). */
int identity_authority_der(const struct identity_authority *a, struct buf *out,
			   struct err *err) MUST_CHECK;
int identity_authority_of(struct identity_authority *a, const void *der, size_t bytes,
			  const uint8_t cluster[IDENTITY_CLUSTER], struct err *err) MUST_CHECK;
void identity_authority_fini(struct identity_authority *a);

struct identity_keys {
	uint8_t sign[IDENTITY_KEY]; /* private */
	uint8_t sign_public[IDENTITY_KEY];
	uint8_t gossip[IDENTITY_KEY]; /* private */
	uint8_t gossip_public[IDENTITY_KEY];
};

int identity_keys_new(struct identity_keys *keys, struct err *err) MUST_CHECK;
/* For TLS; the caller frees it with EVP_PKEY_free. NULL: out of memory. */
struct evp_pkey_st *identity_keys_pkey(const struct identity_keys *keys);

/* What a certificate says. */
struct identity {
	uint32_t node;
	char name[IDENTITY_NAME_BYTES];
	uint8_t sign_public[IDENTITY_KEY];
	uint8_t gossip_public[IDENTITY_KEY];
	int64_t not_before_s, not_after_s;
};

/* A certificate for who->node, name and keys, with the authority's behind it: appended to out as
 * tls_context_new takes it (DER, each after a u32 length). The authority must have its key. */
int identity_issue(const struct identity_authority *a, const struct identity *who, int64_t wall_s,
		   struct buf *out, struct err *err) MUST_CHECK;

enum identity_verdict {
	IDENTITY_GOOD,
	IDENTITY_OUT_OF_TIME, /* all else is right: may ask for a new one */
	IDENTITY_FOREIGN,     /* signed by another authority */
	IDENTITY_MALFORMED,
};

/* out is filled in for GOOD and OUT_OF_TIME. Never fails for hostile bytes in any other way. */
enum identity_verdict identity_judge(const struct identity_authority *a, const void *der,
				     size_t bytes, int64_t wall_s, struct identity *out);

/* The certificate of a node that is in no cluster: signed by its own key, which is all it proves.
 * Appended to out in the form of identity_issue. */
int identity_alone(const struct identity_keys *keys, int64_t wall_s, struct buf *out,
		   struct err *err) MUST_CHECK;
/* Whether it is such a one; out has the key alone. */
bool identity_is_alone(const void *der, size_t bytes, struct identity *out);

#endif
