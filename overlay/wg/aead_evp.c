/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The AEAD table's reference: OpenSSL's ChaCha20-Poly1305, one packet after the other. The key is
 * set once for a batch; each packet costs about 500 ns beside the cipher, in the library's layers.
 */
#include "overlay/wg/aead.h"

#include <openssl/evp.h>
#include <string.h>
#include "base/mem.h"

enum { NONCE = 12 };

static bool
runs_here(void)
{
	return true;
}

static bool
init(struct aead *a)
{
	a->cipher = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
	a->ctx = EVP_CIPHER_CTX_new();
	return a->cipher && a->ctx;
}

static void
fini(struct aead *a)
{
	EVP_CIPHER_CTX_free(a->ctx); /* wipes the key */
	EVP_CIPHER_free(a->cipher);
}

static void
put_nonce(uint8_t nonce[NONCE], uint64_t counter)
{
	memset(nonce, 0, 4);
	for (unsigned i = 0; i < 8; i++)
		nonce[4 + i] = (uint8_t)(counter >> (8 * i));
}

static bool
seal(struct aead *a, const struct aead_job *j)
{
	uint8_t nonce[NONCE], *tag = j->data + j->length;
	int n;

	put_nonce(nonce, j->counter);
	return EVP_EncryptInit_ex2(a->ctx, NULL, NULL, nonce, NULL) == 1 &&
	       (!j->length ||
		EVP_EncryptUpdate(a->ctx, j->data, &n, j->data, (int)j->length) == 1) &&
	       EVP_EncryptFinal_ex(a->ctx, tag, &n) == 1 &&
	       EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG, tag) == 1;
}

static bool
unseal(struct aead *a, const struct aead_job *j)
{
	uint8_t nonce[NONCE], *tag = j->data + j->length;
	int n;

	put_nonce(nonce, j->counter);
	return EVP_DecryptInit_ex2(a->ctx, NULL, NULL, nonce, NULL) == 1 &&
	       EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG, tag) == 1 &&
	       (!j->length ||
		EVP_DecryptUpdate(a->ctx, j->data, &n, j->data, (int)j->length) == 1) &&
	       EVP_DecryptFinal_ex(a->ctx, tag, &n) == 1;
}

/* The key is wiped from the context with the last packet: it belongs to the caller. */
static void
batch(struct aead *a, const uint8_t *key, struct aead_job *jobs, size_t count, int encrypt,
      bool (*one)(struct aead *, const struct aead_job *))
{
	static const uint8_t nonce[NONCE];
	bool ready = EVP_CipherInit_ex2(a->ctx, a->cipher, key, nonce, encrypt, NULL) == 1;

	for (size_t i = 0; i < count; i++) {
		jobs[i].ok = ready && one(a, &jobs[i]);
		if (!jobs[i].ok)
			mem_wipe(jobs[i].data, jobs[i].length + AEAD_TAG);
	}
	EVP_CIPHER_CTX_reset(a->ctx);
}

static void
seal_batch(struct aead *a, const uint8_t key[AEAD_KEY], struct aead_job *jobs, size_t count)
{
	batch(a, key, jobs, count, 1, seal);
}

static void
open_batch(struct aead *a, const uint8_t key[AEAD_KEY], struct aead_job *jobs, size_t count)
{
	batch(a, key, jobs, count, 0, unseal);
}

const struct aead_way aead_evp = {.name = "evp",
				  .runs_here = runs_here,
				  .init = init,
				  .fini = fini,
				  .seal_batch = seal_batch,
				  .open_batch = open_batch};
