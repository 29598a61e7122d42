/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_SEAL_H
#define PROXY_SEAL_H

/*
 * Sealing of what signer gives out to be kept: ChaCha20-Poly1305 (RFC 8439) under the node's
 * sealing key, which only signer ever has; the name it is kept under is authenticated with it, so
 * that two kept things cannot be swapped. Form: magic, version, 12 bytes of nonce, ciphertext, tag.
 * Threading: plain calls.
 */

#include <stddef.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"

enum { SEAL_KEY_BYTES = 32, SEAL_OVERHEAD_BYTES = 8 + 12 + 16, SEAL_BYTES_MAX = 1 << 16 };

/* Appends the sealed form to out. */
int seal_close(const struct secret *key, const char *name, const void *data, size_t bytes,
	       struct buf *out, struct err *err) MUST_CHECK;
/* ERR_CORRUPT: damaged, kept under another name, or sealed with another key. */
int seal_open(const struct secret *key, const char *name, const void *data, size_t bytes,
	      struct secret *out, struct err *err) MUST_CHECK;

#endif
