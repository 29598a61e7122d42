/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CREDENTIALS_H
#define SCHEDULER_CREDENTIALS_H

/*
 * Certificates with which etcd, and who calls it, know each other. etcd takes whatever its
 * authority has signed and asks nobody whether that node was sent away. So it is shown none of the
 * cluster's own certificates, which are good for two weeks, but two authorities of its own:
 *
 *   CLIENTS  signs what members of etcd show at the port for clients, and what the scheduler of
 *            each node shows there
 *   PEERS    signs what members of etcd show to each other: a node that keeps nothing of the store
 *            has none, and cannot speak in the store's elections
 *
 * Their keys follow from that of the cluster's authority (HKDF, RFC 5869), so that whoever has the
 * one has all, nothing more is to be kept or handed over, and all make the same certificate of the
 * authority, byte by byte. The cluster's authority has signed it; etcd, and libcurl, begin their
 * chains there.
 *
 * A leaf lives CREDENTIALS_DAYS and is renewed each day. Its number is its node's and the day's
 * (two of one node and day have the same, which RFC 5280 4.1.2.2 does not like and nobody minds):
 * so those of a node that was sent away can be named without a list of what was ever issued, and
 * are in the list of what is revoked.
 *
 * Threading: pure functions. No clock: wall_s is now, seconds since 1970.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "scheduler/identity.h"

enum credentials_authority { CREDENTIALS_CLIENTS, CREDENTIALS_PEERS };

enum {
	CREDENTIALS_DAYS = 3,
	CREDENTIALS_RENEW_S = 86400, /* a leaf of that age is replaced */
	CREDENTIALS_ADDRESSES_MAX = 16,
	CREDENTIALS_PEM_MAX = 16 << 10, /* bytes of a certificate or key */
	CREDENTIALS_REVOKED_MAX = 4096, /* nodes; older ones are left out */
	CREDENTIALS_REVOKED_PEM_MAX = 2 << 20,
};

/* a must have the key. out is the caller's: identity_authority_fini. */
int credentials_authority(const struct identity_authority *a, enum credentials_authority of,
			  struct identity_authority *out, struct err *err) MUST_CHECK;

/* Whose certificate it is to be. */
struct credentials_who {
	uint32_t node;
	const char *name;           /* of the node: for whoever looks at it */
	const uint8_t *sign_public; /* Ed25519 */
	/* Where it is reached, and from where it calls: etcd compares both. None: it only calls,
	 * at the port for clients. */
	const struct addr *addresses;
	size_t addresses_count;
};

/* A leaf, appended to out as PEM. from: of credentials_authority(). */
int credentials_issue(const struct identity_authority *from, enum credentials_authority of,
		      const struct credentials_who *who, int64_t wall_s, struct buf *out,
		      struct err *err) MUST_CHECK;
/* An authority's certificate, as PEM. */
int credentials_put_authority(const struct identity_authority *from, struct buf *out,
			      struct err *err) MUST_CHECK;
/* An Ed25519 key as PEM; out is wiped by whoever has it. */
int credentials_put_key(const uint8_t private_key[IDENTITY_KEY], struct buf *out,
			struct err *err) MUST_CHECK;
/* Of such a text, the public half; false: it is none. */
bool credentials_key_public(const void *pem, size_t bytes, uint8_t public_out[IDENTITY_KEY]);
/* All leaves of these nodes that may still be in time are good no more: a list for etcd (RFC 5280,
 * 5), as PEM. */
int credentials_revoke(const struct identity_authority *from, enum credentials_authority of,
		       const uint32_t *nodes, size_t count, int64_t wall_s, struct buf *out,
		       struct err *err) MUST_CHECK;

struct credentials_pem {
	const void *leaf;
	size_t leaf_bytes;
	const void *authority;
	size_t authority_bytes;
};

/* What a leaf is worth to who asked for it: that authority is the cluster's (whose certificate is
 * enough here), and has signed it for that key, and it is in time. Gives when it was issued. Never
 * fails for hostile bytes in any other way. */
int credentials_check(const struct identity_authority *a, enum credentials_authority of,
		      const struct credentials_pem *pem, const uint8_t sign_public[IDENTITY_KEY],
		      int64_t wall_s, int64_t *since_s_out, struct err *err) MUST_CHECK;

#endif
