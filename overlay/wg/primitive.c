/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL has all of it but HChaCha20. That one is the keystream of ChaCha20 with what the block
 * function adds at its end taken off again: of the sixteen words only 0-3 and 12-15 are wanted, and
 * to those it adds the constants, and the counter with the nonce; both are known.
 */
#include "overlay/wg/primitive.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <string.h>
#include "base/mem.h"

enum { BLOCK = 64 /* of BLAKE2s and of ChaCha20 */, NONCE = 12, KDF_MAX = 3 };

int
primitive_init(struct primitive *p, struct err *err)
{
	size_t mac_bytes = PRIMITIVE_MAC;
	OSSL_PARAM params[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &mac_bytes),
			       OSSL_PARAM_construct_end()};

	*p = (struct primitive){.blake2s = EVP_MD_fetch(NULL, "BLAKE2S-256", NULL),
				.chacha = EVP_CIPHER_fetch(NULL, "ChaCha20", NULL),
				.chacha_poly = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL),
				.hash = EVP_MD_CTX_new(),
				.aead = EVP_CIPHER_CTX_new(),
				.stream = EVP_CIPHER_CTX_new()};
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "BLAKE2SMAC", NULL);
	p->mac = mac ? EVP_MAC_CTX_new(mac) : NULL;
	EVP_MAC_free(mac);
	if (p->blake2s && p->chacha && p->chacha_poly && p->hash && p->aead && p->stream &&
	    p->mac && EVP_MAC_CTX_set_params(p->mac, params) == 1)
		return 0;
	primitive_fini(p);
	return err_set(err, ERR_NO_MEMORY, "the cryptographic library has no BLAKE2s or ChaCha20");
}

void
primitive_fini(struct primitive *p)
{
	EVP_MD_CTX_free(p->hash);
	EVP_MAC_CTX_free(p->mac);
	EVP_CIPHER_CTX_free(p->aead);
	EVP_CIPHER_CTX_free(p->stream);
	EVP_MD_free(p->blake2s);
	EVP_CIPHER_free(p->chacha);
	EVP_CIPHER_free(p->chacha_poly);
	*p = (struct primitive){0};
}

/* ---- hashes ---- */

static bool
hash3(struct primitive *p, struct primitive_bytes first, struct primitive_bytes a,
      struct primitive_bytes b, uint8_t out[PRIMITIVE_HASH])
{
	return EVP_DigestInit_ex2(p->hash, p->blake2s, NULL) == 1 &&
	       EVP_DigestUpdate(p->hash, first.data, first.length) == 1 &&
	       EVP_DigestUpdate(p->hash, a.data, a.length) == 1 &&
	       EVP_DigestUpdate(p->hash, b.data, b.length) == 1 &&
	       EVP_DigestFinal_ex(p->hash, out, NULL) == 1;
}

bool
primitive_hash(struct primitive *p, struct primitive_bytes a, struct primitive_bytes b,
	       uint8_t out[PRIMITIVE_HASH])
{
	return hash3(p, (struct primitive_bytes){0}, a, b, out);
}

bool
primitive_mac(struct primitive *p, struct primitive_bytes key, struct primitive_bytes data,
	      uint8_t out[PRIMITIVE_MAC])
{
	size_t bytes;

	return EVP_MAC_init(p->mac, key.data, key.length, NULL) == 1 &&
	       EVP_MAC_update(p->mac, data.data, data.length) == 1 &&
	       EVP_MAC_final(p->mac, out, &bytes, PRIMITIVE_MAC) == 1 && bytes == PRIMITIVE_MAC;
}

bool
primitive_hmac(struct primitive *p, const uint8_t key[PRIMITIVE_HASH], struct primitive_bytes a,
	       struct primitive_bytes b, uint8_t out[PRIMITIVE_HASH])
{
	uint8_t inner[BLOCK], outer[BLOCK], digest[PRIMITIVE_HASH];

	for (size_t i = 0; i < BLOCK; i++) {
		uint8_t k = i < PRIMITIVE_HASH ? key[i] : 0;

		inner[i] = k ^ 0x36;
		outer[i] = k ^ 0x5c;
	}
	bool ok = hash3(p, (struct primitive_bytes){inner, BLOCK}, a, b, digest) &&
		  hash3(p, (struct primitive_bytes){outer, BLOCK},
			(struct primitive_bytes){digest, sizeof(digest)},
			(struct primitive_bytes){0}, out);
	mem_wipe(inner, sizeof(inner));
	mem_wipe(outer, sizeof(outer));
	mem_wipe(digest, sizeof(digest));
	return ok;
}

bool
primitive_kdf(struct primitive *p, const uint8_t chaining[PRIMITIVE_HASH],
	      struct primitive_bytes input, unsigned count, uint8_t *const out[])
{
	uint8_t secret[PRIMITIVE_HASH], made[KDF_MAX][PRIMITIVE_HASH];
	struct primitive_bytes before = {0};
	bool ok = primitive_hmac(p, chaining, input, before, secret);

	assert(count >= 1 && count <= KDF_MAX);
	for (unsigned i = 0; ok && i < count; i++) {
		const uint8_t number = (uint8_t)(i + 1);

		ok = primitive_hmac(p, secret, before, (struct primitive_bytes){&number, 1},
				    made[i]);
		before = (struct primitive_bytes){made[i], PRIMITIVE_HASH};
	}
	for (unsigned i = 0; i < count; i++) {
		if (ok)
			memcpy(out[i], made[i], PRIMITIVE_HASH);
		else
			mem_wipe(out[i], PRIMITIVE_HASH);
	}
	mem_wipe(secret, sizeof(secret));
	mem_wipe(made, sizeof(made));
	return ok;
}

/* ---- the curve ---- */

void
primitive_clamp(uint8_t key[PRIMITIVE_KEY])
{
	key[0] &= 248;
	key[31] = (uint8_t)((key[31] & 127) | 64);
}

bool
primitive_public(const uint8_t private_key[PRIMITIVE_KEY], uint8_t out[PRIMITIVE_KEY])
{
	size_t bytes = PRIMITIVE_KEY;
	EVP_PKEY *key =
		EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private_key, PRIMITIVE_KEY);
	bool ok = key && EVP_PKEY_get_raw_public_key(key, out, &bytes) == 1;

	EVP_PKEY_free(key);
	return ok;
}

/* The library works out the public half of a private key, which costs as much as the exchange,
 * unless it is given one. Nobody asks this key for it, so any will do. */
static EVP_PKEY *
key_for_exchange(const uint8_t private_key[PRIMITIVE_KEY])
{
	uint8_t key[PRIMITIVE_KEY], any[PRIMITIVE_KEY] = {9};
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, any, sizeof(any)),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PRIV_KEY, key, sizeof(key)),
		OSSL_PARAM_construct_end()};
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "X25519", NULL);
	EVP_PKEY *made = NULL;

	memcpy(key, private_key, sizeof(key));
	if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, &made, EVP_PKEY_KEYPAIR, params) != 1)
		made = NULL;
	EVP_PKEY_CTX_free(ctx);
	mem_wipe(key, sizeof(key));
	return made;
}

/* With both keys in place nothing is allocated any more: what fails then is the result. */
enum primitive_exchange
primitive_exchange(const uint8_t private_key[PRIMITIVE_KEY],
		   const uint8_t public_key[PRIMITIVE_KEY], uint8_t out[PRIMITIVE_KEY])
{
	enum primitive_exchange r = PRIMITIVE_EXCHANGE_NO_MEMORY;
	size_t bytes = PRIMITIVE_KEY;
	EVP_PKEY *own = key_for_exchange(private_key);
	EVP_PKEY *other =
		EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, public_key, PRIMITIVE_KEY);
	EVP_PKEY_CTX *ctx = own && other ? EVP_PKEY_CTX_new(own, NULL) : NULL;

	if (ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, other) == 1)
		r = EVP_PKEY_derive(ctx, out, &bytes) == 1 && bytes == PRIMITIVE_KEY
			    ? PRIMITIVE_EXCHANGE_DONE
			    : PRIMITIVE_EXCHANGE_ZERO;
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(own);
	EVP_PKEY_free(other);
	if (r != PRIMITIVE_EXCHANGE_DONE)
		mem_wipe(out, PRIMITIVE_KEY);
	return r;
}

bool
primitive_dh(const uint8_t private_key[PRIMITIVE_KEY], const uint8_t public_key[PRIMITIVE_KEY],
	     uint8_t out[PRIMITIVE_KEY])
{
	return primitive_exchange(private_key, public_key, out) == PRIMITIVE_EXCHANGE_DONE;
}

/* ---- sealed boxes: the context forgets the key of each ---- */

static void
put_u32(uint8_t *at, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		at[i] = (uint8_t)(v >> (8 * i));
}

static uint32_t
get_u32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
	       (uint32_t)at[3] << 24;
}

static void
put_counter(uint8_t nonce[NONCE], uint64_t counter)
{
	memset(nonce, 0, 4);
	put_u32(nonce + 4, (uint32_t)counter);
	put_u32(nonce + 8, (uint32_t)(counter >> 32));
}

static bool
seal(struct primitive *p, const uint8_t *key, const uint8_t nonce[NONCE],
     struct primitive_bytes also, struct primitive_bytes text, uint8_t *out)
{
	int n;
	bool ok = EVP_EncryptInit_ex2(p->aead, p->chacha_poly, key, nonce, NULL) == 1 &&
		  (!also.length ||
		   EVP_EncryptUpdate(p->aead, NULL, &n, also.data, (int)also.length) == 1) &&
		  (!text.length ||
		   EVP_EncryptUpdate(p->aead, out, &n, text.data, (int)text.length) == 1) &&
		  EVP_EncryptFinal_ex(p->aead, out + text.length, &n) == 1 &&
		  EVP_CIPHER_CTX_ctrl(p->aead, EVP_CTRL_AEAD_GET_TAG, PRIMITIVE_TAG,
				      out + text.length) == 1;

	EVP_CIPHER_CTX_reset(p->aead);
	if (!ok)
		mem_wipe(out, text.length + PRIMITIVE_TAG);
	return ok;
}

static bool
unseal(struct primitive *p, const uint8_t *key, const uint8_t nonce[NONCE],
       struct primitive_bytes also, struct primitive_bytes sealed, uint8_t *out)
{
	size_t length = sealed.length - PRIMITIVE_TAG;
	uint8_t tag[PRIMITIVE_TAG];
	int n;

	if (sealed.length < PRIMITIVE_TAG)
		return false;
	memcpy(tag, (const uint8_t *)sealed.data + length, PRIMITIVE_TAG);
	bool ok = EVP_DecryptInit_ex2(p->aead, p->chacha_poly, key, nonce, NULL) == 1 &&
		  (!also.length ||
		   EVP_DecryptUpdate(p->aead, NULL, &n, also.data, (int)also.length) == 1) &&
		  (!length || EVP_DecryptUpdate(p->aead, out, &n, sealed.data, (int)length) == 1) &&
		  EVP_CIPHER_CTX_ctrl(p->aead, EVP_CTRL_AEAD_SET_TAG, PRIMITIVE_TAG, tag) == 1 &&
		  EVP_DecryptFinal_ex(p->aead, out + length, &n) == 1;
	EVP_CIPHER_CTX_reset(p->aead);
	if (!ok)
		mem_wipe(out, length);
	return ok;
}

bool
primitive_seal(struct primitive *p, const uint8_t key[PRIMITIVE_KEY], uint64_t counter,
	       struct primitive_bytes also, struct primitive_bytes text, uint8_t *out)
{
	uint8_t nonce[NONCE];

	put_counter(nonce, counter);
	return seal(p, key, nonce, also, text, out);
}

bool
primitive_open(struct primitive *p, const uint8_t key[PRIMITIVE_KEY], uint64_t counter,
	       struct primitive_bytes also, struct primitive_bytes sealed, uint8_t *out)
{
	uint8_t nonce[NONCE];

	put_counter(nonce, counter);
	return unseal(p, key, nonce, also, sealed, out);
}

bool
primitive_hchacha(struct primitive *p, const uint8_t key[PRIMITIVE_KEY], const uint8_t nonce[16],
		  uint8_t out[PRIMITIVE_KEY])
{
	static const uint8_t constants[16] = "expand 32-byte k", zeros[BLOCK];
	uint8_t block[BLOCK];
	int n;
	bool ok = EVP_EncryptInit_ex2(p->stream, p->chacha, key, nonce, NULL) == 1 &&
		  EVP_EncryptUpdate(p->stream, block, &n, zeros, BLOCK) == 1;

	for (unsigned i = 0; ok && i < 16; i += 4) {
		put_u32(out + i, get_u32(block + i) - get_u32(constants + i));
		put_u32(out + 16 + i, get_u32(block + 48 + i) - get_u32(nonce + i));
	}
	mem_wipe(block, sizeof(block));
	return ok;
}

/* The key of this nonce alone, and what is left of it. */
static bool
narrow(struct primitive *p, const uint8_t *key, const uint8_t *nonce,
       uint8_t key_out[PRIMITIVE_KEY], uint8_t nonce_out[NONCE])
{
	memset(nonce_out, 0, 4);
	memcpy(nonce_out + 4, nonce + 16, 8);
	return primitive_hchacha(p, key, nonce, key_out);
}

bool
primitive_xseal(struct primitive *p, const uint8_t key[PRIMITIVE_KEY],
		const uint8_t nonce[PRIMITIVE_XNONCE], struct primitive_bytes also,
		struct primitive_bytes text, uint8_t *out)
{
	uint8_t own[PRIMITIVE_KEY], rest[NONCE];
	bool ok = narrow(p, key, nonce, own, rest) && seal(p, own, rest, also, text, out);

	mem_wipe(own, sizeof(own));
	return ok;
}

bool
primitive_xopen(struct primitive *p, const uint8_t key[PRIMITIVE_KEY],
		const uint8_t nonce[PRIMITIVE_XNONCE], struct primitive_bytes also,
		struct primitive_bytes sealed, uint8_t *out)
{
	uint8_t own[PRIMITIVE_KEY], rest[NONCE];
	bool ok = narrow(p, key, nonce, own, rest) && unseal(p, own, rest, also, sealed, out);

	mem_wipe(own, sizeof(own));
	return ok;
}

bool
primitive_equal(const void *a, const void *b, size_t bytes)
{
	return CRYPTO_memcmp(a, b, bytes) == 0;
}
