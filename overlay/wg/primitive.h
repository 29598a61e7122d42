/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_PRIMITIVE_H
#define OVERLAY_WG_PRIMITIVE_H

/*
 * The cryptography that WireGuard's handshake is made of, from OpenSSL: X25519 (RFC 7748), BLAKE2s
 * and keyed BLAKE2s (RFC 7693), HMAC (RFC 2104) of it and the key derivation of the Noise protocol
 * upon that, ChaCha20-Poly1305 (RFC 8439) with a counter as nonce, XChaCha20-Poly1305
 * (draft-irtf-cfrg-xchacha-03). Bulk data takes another way: aead.h.
 *
 * All that answers false failed within the library for want of memory, unless it says otherwise;
 * what it was to write is wiped then.
 * What it sealed and opened with is wiped, too, when that is done.
 * Threading: a struct primitive has one owner; it holds OpenSSL's contexts, so that nothing is
 * looked up by name in a handshake.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

enum {
	PRIMITIVE_KEY = 32,
	PRIMITIVE_HASH = 32,
	PRIMITIVE_MAC = 16,
	PRIMITIVE_TAG = 16,
	PRIMITIVE_XNONCE = 24,
};

struct primitive {
	struct evp_md_ctx_st *hash;
	struct evp_mac_ctx_st *mac; /* keyed BLAKE2s, 128 bits */
	struct evp_cipher_ctx_st *aead;
	struct evp_cipher_ctx_st *stream;
	struct evp_md_st *blake2s;
	struct evp_cipher_st *chacha, *chacha_poly;
};

struct primitive_bytes { /* borrowed */
	const void *data;
	size_t length;
};

int primitive_init(struct primitive *p, struct err *err) MUST_CHECK;
void primitive_fini(struct primitive *p); /* zeroed is fine */

/* The hash of a and b, one behind the other. */
bool primitive_hash(struct primitive *p, struct primitive_bytes a, struct primitive_bytes b,
		    uint8_t out[PRIMITIVE_HASH]);
/* key: 1 to 32 bytes. */
bool primitive_mac(struct primitive *p, struct primitive_bytes key, struct primitive_bytes data,
		   uint8_t out[PRIMITIVE_MAC]);
bool primitive_hmac(struct primitive *p, const uint8_t key[PRIMITIVE_HASH],
		    struct primitive_bytes a, struct primitive_bytes b,
		    uint8_t out[PRIMITIVE_HASH]);
/* Noise's HKDF: count (1 to 3) outputs of 32 bytes from a chaining key. Any of them may be the
 * chaining key itself. */
bool primitive_kdf(struct primitive *p, const uint8_t chaining[PRIMITIVE_HASH],
		   struct primitive_bytes input, unsigned count, uint8_t *const out[]);

/* As RFC 7748 has it: of 32 random bytes. */
void primitive_clamp(uint8_t key[PRIMITIVE_KEY]);
bool primitive_public(const uint8_t private_key[PRIMITIVE_KEY], uint8_t out[PRIMITIVE_KEY]);

enum primitive_exchange {
	PRIMITIVE_EXCHANGE_DONE,
	PRIMITIVE_EXCHANGE_NO_MEMORY,
	PRIMITIVE_EXCHANGE_ZERO, /* the result is: a point of small order */
};
enum primitive_exchange primitive_exchange(const uint8_t private_key[PRIMITIVE_KEY],
					   const uint8_t public_key[PRIMITIVE_KEY],
					   uint8_t out[PRIMITIVE_KEY]);
/* The same, where it does not matter why it failed. */
bool primitive_dh(const uint8_t private_key[PRIMITIVE_KEY], const uint8_t public_key[PRIMITIVE_KEY],
		  uint8_t out[PRIMITIVE_KEY]);

/* out: length of the text + PRIMITIVE_TAG. It may be the text itself. */
bool primitive_seal(struct primitive *p, const uint8_t key[PRIMITIVE_KEY], uint64_t counter,
		    struct primitive_bytes also, struct primitive_bytes text, uint8_t *out);
/* sealed: with its tag; out: without it. False: forged (out is wiped). */
bool primitive_open(struct primitive *p, const uint8_t key[PRIMITIVE_KEY], uint64_t counter,
		    struct primitive_bytes also, struct primitive_bytes sealed, uint8_t *out);
bool primitive_xseal(struct primitive *p, const uint8_t key[PRIMITIVE_KEY],
		     const uint8_t nonce[PRIMITIVE_XNONCE], struct primitive_bytes also,
		     struct primitive_bytes text, uint8_t *out);
bool primitive_xopen(struct primitive *p, const uint8_t key[PRIMITIVE_KEY],
		     const uint8_t nonce[PRIMITIVE_XNONCE], struct primitive_bytes also,
		     struct primitive_bytes sealed, uint8_t *out);
/* HChaCha20, the half of the above that makes a key of its own for each nonce. */
bool primitive_hchacha(struct primitive *p, const uint8_t key[PRIMITIVE_KEY],
		       const uint8_t nonce[16], uint8_t out[PRIMITIVE_KEY]);

bool primitive_equal(const void *a, const void *b, size_t bytes); /* in constant time */

#endif
