/* SPDX-License-Identifier: Apache-2.0 */
/* Sealing with OpenSSL's AEAD. A nonce is random: few things are ever sealed under one key. */
#include "proxy/seal.h"

#include <openssl/evp.h>
#include <string.h>
#include "base/world.h"

static const unsigned char head[8] = {'Z', 'S', 'E', 'A', 'L', 0, 0, 1};

enum { NONCE_BYTES = 12, TAG_BYTES = 16 };

static int
crypto_failed(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "the cryptographic library could not seal");
}

static int
encrypt(EVP_CIPHER_CTX *ctx, const struct secret *key, const char *name, const void *data,
	size_t bytes, const unsigned char *nonce, unsigned char *out)
{
	int n;

	return EVP_EncryptInit_ex(ctx, EVP_chacha20_poly1305(), NULL, key->data, nonce) == 1 &&
	       EVP_EncryptUpdate(ctx, NULL, &n, head, sizeof(head)) == 1 &&
	       EVP_EncryptUpdate(ctx, NULL, &n, (const unsigned char *)name, (int)strlen(name)) ==
		       1 &&
	       EVP_EncryptUpdate(ctx, out, &n, data, (int)bytes) == 1 &&
	       EVP_EncryptFinal_ex(ctx, out + bytes, &n) == 1 &&
	       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, out + bytes) == 1;
}

int
seal_close(const struct secret *key, const char *name, const void *data, size_t bytes,
	   struct buf *out, struct err *err)
{
	struct world world;

	if (key->length != SEAL_KEY_BYTES || bytes > SEAL_BYTES_MAX)
		return err_set(err, ERR_LIMIT, "%zu bytes cannot be sealed", bytes);
	world_real(&world);
	unsigned char *at = buf_reserve(out, bytes + SEAL_OVERHEAD_BYTES);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	if (!at || !ctx) {
		EVP_CIPHER_CTX_free(ctx);
		return crypto_failed(err);
	}
	memcpy(at, head, sizeof(head));
	world_random(&world, at + sizeof(head), NONCE_BYTES);
	int ok = encrypt(ctx, key, name, data, bytes, at + sizeof(head),
			 at + sizeof(head) + NONCE_BYTES);
	EVP_CIPHER_CTX_free(ctx);
	if (!ok)
		return crypto_failed(err);
	buf_commit(out, bytes + SEAL_OVERHEAD_BYTES);
	return 0;
}

static int
decrypt(EVP_CIPHER_CTX *ctx, const struct secret *key, const char *name,
	const unsigned char *sealed, size_t bytes, unsigned char *out)
{
	unsigned char tag[TAG_BYTES];
	const unsigned char *text = sealed + sizeof(head) + NONCE_BYTES;
	int n;

	memcpy(tag, text + bytes, sizeof(tag));
	return EVP_DecryptInit_ex(ctx, EVP_chacha20_poly1305(), NULL, key->data,
				  sealed + sizeof(head)) == 1 &&
	       EVP_DecryptUpdate(ctx, NULL, &n, sealed, sizeof(head)) == 1 &&
	       EVP_DecryptUpdate(ctx, NULL, &n, (const unsigned char *)name, (int)strlen(name)) ==
		       1 &&
	       EVP_DecryptUpdate(ctx, out, &n, text, (int)bytes) == 1 &&
	       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, tag) == 1 &&
	       EVP_DecryptFinal_ex(ctx, out + bytes, &n) == 1;
}

int
seal_open(const struct secret *key, const char *name, const void *data, size_t bytes,
	  struct secret *out, struct err *err)
{
	if (key->length != SEAL_KEY_BYTES || bytes <= SEAL_OVERHEAD_BYTES ||
	    bytes > SEAL_BYTES_MAX + SEAL_OVERHEAD_BYTES || memcmp(data, head, sizeof(head)) != 0)
		return err_set(err, ERR_CORRUPT, "what was kept as \"%s\" is damaged", name);
	size_t inner = bytes - SEAL_OVERHEAD_BYTES;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	if (!ctx)
		return crypto_failed(err);
	if (secret_init(out, inner, err) < 0) {
		EVP_CIPHER_CTX_free(ctx);
		return -1;
	}
	int ok = decrypt(ctx, key, name, data, inner, out->data);
	EVP_CIPHER_CTX_free(ctx);
	if (ok)
		return 0;
	secret_fini(out);
	err_set(err, ERR_CORRUPT, "what was kept as \"%s\" cannot be opened", name);
	return err_why(err, "it is damaged, or was sealed by a node with another sealing key");
}
