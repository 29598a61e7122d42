/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signing for TLS: ECDSA, RSASSA-PKCS1-v1_5 and RSASSA-PSS with SHA-2 (RFC 8446 4.2.3, RFC 5246
 * 7.4.1.4.1). The salt of PSS has the length of the digest, as TLS wants it.
 */
#include "proxy/keys.h"

#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>
#include "base/mem.h"

struct key {
	EVP_PKEY *key;
	uint64_t handle;
	unsigned users;      /* certificates */
	uint64_t gone_at_ns; /* 0: in use */
};

void
keys_init(struct keys *k)
{
	map_init(&k->by_handle, MEM_PROXY);
}

static void
key_free(struct key *key)
{
	EVP_PKEY_free(key->key);
	mem_free(key);
}

void
keys_fini(struct keys *k)
{
	struct map_iter it = {0};

	while (map_next(&k->by_handle, &it))
		key_free(it.value);
	map_fini(&k->by_handle);
}

/* Of the public key, so that a successor of this process knows it, too. */
static uint64_t
handle_of(EVP_PKEY *pkey)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned char *der = NULL;
	uint64_t handle = 0;
	int length = i2d_PUBKEY(pkey, &der);

	if (length > 0 && EVP_Digest(der, (size_t)length, digest, NULL, EVP_sha256(), NULL) == 1)
		memcpy(&handle, digest, sizeof(handle));
	OPENSSL_free(der);
	return handle;
}

uint64_t
keys_add(struct keys *k, EVP_PKEY *pkey)
{
	uint64_t handle = handle_of(pkey);
	struct key *key = handle ? map_get_u64(&k->by_handle, handle) : NULL;

	if (key) {
		key->users++;
		key->gone_at_ns = 0;
		return handle;
	}
	if (!handle || map_count(&k->by_handle) >= KEYS_MAX ||
	    !(key = mem_zalloc(MEM_PROXY, sizeof(*key))))
		return 0;
	key->handle = handle;
	key->users = 1;
	if (EVP_PKEY_up_ref(pkey) != 1) {
		mem_free(key);
		return 0;
	}
	key->key = pkey;
	if (map_put_u64(&k->by_handle, handle, key) < 0) {
		key_free(key);
		return 0;
	}
	return handle;
}

void
keys_retire(struct keys *k, uint64_t handle, uint64_t mono_ns)
{
	struct key *key = map_get_u64(&k->by_handle, handle);

	if (!key || key->gone_at_ns || --key->users > 0)
		return;
	key->gone_at_ns = mono_ns + KEYS_GRACE_S * UINT64_C(1000000000);
}

void
keys_sweep(struct keys *k, uint64_t mono_ns)
{
	struct map_iter it = {0};

	while (map_next(&k->by_handle, &it)) {
		struct key *key = it.value;

		if (key->gone_at_ns && key->gone_at_ns <= mono_ns) {
			map_remove_u64(&k->by_handle, key->handle);
			key_free(key);
		}
	}
}

static const EVP_MD *
digest_of(const struct msg_sign *r)
{
	const EVP_MD *md = r->digest == 256   ? EVP_sha256()
			   : r->digest == 384 ? EVP_sha384()
			   : r->digest == 512 ? EVP_sha512()
					      : NULL;

	return md && r->digest_bytes == (uint32_t)EVP_MD_get_size(md) ? md : NULL;
}

static bool
scheme_fits(const struct msg_sign *r, const EVP_PKEY *key)
{
	int type = EVP_PKEY_get_base_id(key);

	switch ((enum msg_sign_scheme)r->scheme) {
	case MSG_SIGN_ECDSA:
		return type == EVP_PKEY_EC;
	case MSG_SIGN_RSA_PKCS1:
		return type == EVP_PKEY_RSA;
	case MSG_SIGN_RSA_PSS:
		return type == EVP_PKEY_RSA && r->salt_bytes == r->digest_bytes;
	}
	return false;
}

static bool
set_up(EVP_PKEY_CTX *ctx, const struct msg_sign *r, const EVP_MD *md)
{
	if (EVP_PKEY_sign_init(ctx) != 1)
		return false;
	if (r->scheme == MSG_SIGN_RSA_PKCS1 &&
	    EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) != 1)
		return false;
	if (r->scheme == MSG_SIGN_RSA_PSS &&
	    EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) != 1)
		return false;
	if (EVP_PKEY_CTX_set_signature_md(ctx, md) != 1)
		return false;
	return r->scheme != MSG_SIGN_RSA_PSS ||
	       EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
}

int
keys_sign(const struct keys *k, const struct msg_sign *r, uint8_t *out, size_t cap,
	  size_t *bytes_out, struct err *err)
{
	const struct key *key = map_get_u64(&k->by_handle, r->key_handle);
	const EVP_MD *md = digest_of(r);

	if (!key)
		return err_set(err, ERR_NOT_FOUND, "no such key: its certificate was replaced");
	if (!md || !scheme_fits(r, key->key))
		return err_set(err, ERR_INVALID, "scheme, digest and key do not fit together");
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key->key, NULL);
	bool ok = ctx && set_up(ctx, r, md) &&
		  EVP_PKEY_sign(ctx, out, &cap, r->value, r->digest_bytes) == 1;
	EVP_PKEY_CTX_free(ctx);
	if (!ok) {
		ERR_clear_error();
		return err_set(err, ERR_INTERNAL, "the key could not sign");
	}
	*bytes_out = cap;
	return 0;
}
