/* SPDX-License-Identifier: Apache-2.0 */
/* The envelope of datagrams: X25519, HKDF-SHA256 and ChaCha20-Poly1305 from OpenSSL. A peer's
 * state changes only after the tag was found right, so that nobody outside can move a window. */

#include "scheduler/gossip/envelope.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>
#include "base/le.h"
#include "base/mem.h"

enum { VERSION = 1, NONCE_BYTES = 12, WORD_BITS = 64 };

static int
crypto_failed(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "the cryptographic library could not protect gossip");
}

/* ---- keys ---- */

int
envelope_key_new(uint8_t private_out[ENVELOPE_KEY], uint8_t public_out[ENVELOPE_KEY],
		 struct err *err)
{
	size_t private_bytes = ENVELOPE_KEY;
	size_t public_bytes = ENVELOPE_KEY;
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
	bool ok = key && EVP_PKEY_get_raw_private_key(key, private_out, &private_bytes) == 1 &&
		  EVP_PKEY_get_raw_public_key(key, public_out, &public_bytes) == 1;

	EVP_PKEY_free(key);
	return ok ? 0 : crypto_failed(err);
}

int
envelope_self_init(struct envelope_self *self, uint32_t node, uint64_t session,
		   const uint8_t cluster[32], const uint8_t private_key[ENVELOPE_KEY],
		   struct err *err)
{
	size_t bytes = ENVELOPE_KEY;

	assert(node != 0 && session != 0);
	memset(self, 0, sizeof(*self));
	EVP_PKEY *key =
		EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private_key, ENVELOPE_KEY);
	bool ok = key && EVP_PKEY_get_raw_public_key(key, self->public_key, &bytes) == 1;
	EVP_PKEY_free(key);
	self->cipher = ok ? EVP_CIPHER_CTX_new() : NULL;
	if (!self->cipher)
		return crypto_failed(err);
	self->node = node;
	self->session = session;
	memcpy(self->cluster, cluster, sizeof(self->cluster));
	memcpy(self->private_key, private_key, ENVELOPE_KEY);
	return 0;
}

void
envelope_self_fini(struct envelope_self *self)
{
	EVP_CIPHER_CTX_free(self->cipher);
	mem_wipe(self, sizeof(*self));
}

static int
exchange(const struct envelope_self *self, const uint8_t public_key[ENVELOPE_KEY],
	 uint8_t shared[ENVELOPE_KEY])
{
	size_t bytes = ENVELOPE_KEY;
	EVP_PKEY *own = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, self->private_key,
						     ENVELOPE_KEY);
	EVP_PKEY *other =
		EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, public_key, ENVELOPE_KEY);
	EVP_PKEY_CTX *ctx = own && other ? EVP_PKEY_CTX_new(own, NULL) : NULL;
	bool ok = ctx && EVP_PKEY_derive_init(ctx) == 1 &&
		  EVP_PKEY_derive_set_peer(ctx, other) == 1 &&
		  EVP_PKEY_derive(ctx, shared, &bytes) == 1 && bytes == ENVELOPE_KEY;

	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(own);
	EVP_PKEY_free(other);
	return ok ? 0 : -1;
}

enum { INFO_TEXT = 16, INFO_BYTES = INFO_TEXT + 16 };

/* HKDF of the shared secret; what for stands in info. */
static int
derive(const struct envelope_self *self, uint8_t shared[ENVELOPE_KEY], uint8_t info[INFO_BYTES],
       uint8_t key[ENVELOPE_KEY])
{
	uint8_t salt[sizeof(self->cluster)]; /* OpenSSL's parameters are not const */
	char digest[] = "SHA256";

	memcpy(salt, self->cluster, sizeof(salt));
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, shared, ENVELOPE_KEY),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, salt, sizeof(salt)),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, INFO_BYTES),
		OSSL_PARAM_construct_end(),
	};
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	bool ok = ctx && EVP_KDF_derive(ctx, key, ENVELOPE_KEY, params) == 1;

	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return ok ? 0 : -1;
}

/* The key of what `from` sends to `to` in its session. */
static int
derive_session(const struct envelope_self *self, const struct envelope_peer *peer, uint32_t from,
	       uint32_t to, uint64_t session, uint8_t key[ENVELOPE_KEY])
{
	uint8_t info[INFO_BYTES] = "zlayer-gossip-1";
	uint8_t shared[ENVELOPE_KEY];

	le_put(info + INFO_TEXT, from, 4);
	le_put(info + INFO_TEXT + 4, to, 4);
	le_put(info + INFO_TEXT + 8, session, 8);
	memcpy(shared, peer->shared, sizeof(shared));
	int rc = derive(self, shared, info, key);
	mem_wipe(shared, sizeof(shared));
	return rc;
}

static int
unusable(struct err *err, uint32_t node)
{
	err_set(err, ERR_INVALID, "the key of node %u is not usable", node);
	return err_why(err, "it is no point of X25519 that a key can be agreed on with");
}

int
envelope_pair_key(const struct envelope_self *self, uint32_t node,
		  const uint8_t public_key[ENVELOPE_KEY], const char *purpose,
		  uint8_t out[ENVELOPE_KEY], struct err *err)
{
	uint8_t shared[ENVELOPE_KEY], info[INFO_BYTES] = {0};
	bool lower = self->node < node;

	assert(node != 0 && node != self->node && strlen(purpose) < INFO_TEXT);
	memcpy(info, purpose, strlen(purpose));
	le_put(info + INFO_TEXT, lower ? self->node : node, 4);
	le_put(info + INFO_TEXT + 4, lower ? node : self->node, 4);
	if (exchange(self, public_key, shared) < 0)
		return unusable(err, node);
	int rc = derive(self, shared, info, out);
	mem_wipe(shared, sizeof(shared));
	return rc == 0 ? 0 : crypto_failed(err);
}

int
envelope_peer_init(struct envelope_peer *peer, const struct envelope_self *self, uint32_t node,
		   const uint8_t public_key[ENVELOPE_KEY], struct err *err)
{
	assert(node != 0 && node != self->node);
	memset(peer, 0, sizeof(*peer));
	peer->node = node;
	if (exchange(self, public_key, peer->shared) < 0)
		return unusable(err, node);
	if (derive_session(self, peer, self->node, node, self->session, peer->send_key) < 0) {
		envelope_peer_fini(peer);
		return crypto_failed(err);
	}
	return 0;
}

void
envelope_peer_fini(struct envelope_peer *peer)
{
	mem_wipe(peer, sizeof(*peer));
}

/* ---- the window ---- */

static bool
was_seen(const struct envelope_peer *peer, uint64_t counter)
{
	if (counter >= peer->next)
		return false;
	if (peer->next - counter > ENVELOPE_WINDOW)
		return true;
	return peer->seen[counter % ENVELOPE_WINDOW / WORD_BITS] >> (counter % WORD_BITS) & 1;
}

static void
mark(struct envelope_peer *peer, uint64_t counter)
{
	if (counter >= peer->next && counter - peer->next >= ENVELOPE_WINDOW)
		memset(peer->seen, 0, sizeof(peer->seen));
	else
		for (uint64_t c = peer->next; c < counter; c++)
			peer->seen[c % ENVELOPE_WINDOW / WORD_BITS] &=
				~(UINT64_C(1) << (c % WORD_BITS));
	peer->seen[counter % ENVELOPE_WINDOW / WORD_BITS] |= UINT64_C(1) << (counter % WORD_BITS);
	if (counter >= peer->next)
		peer->next = counter + 1;
}

/* ---- datagrams ---- */

bool
envelope_ends(const void *packet, size_t bytes, uint32_t *from_out, uint32_t *to_out)
{
	const uint8_t *p = packet;

	if (bytes < ENVELOPE_OVERHEAD || p[0] != VERSION || p[1] || p[2] || p[3] ||
	    le_get(p + 12, 8) == 0)
		return false;
	*to_out = (uint32_t)le_get(p + 4, 4);
	*from_out = (uint32_t)le_get(p + 8, 4);
	return *to_out != 0 && *from_out != 0;
}

bool
envelope_says_session(const struct envelope_peer *peer, const void *packet)
{
	return peer->session != 0 && le_get((const uint8_t *)packet + 12, 8) == peer->session;
}

uint32_t
envelope_from(const struct envelope_self *self, const void *packet, size_t bytes)
{
	uint32_t from, to;

	return envelope_ends(packet, bytes, &from, &to) && to == self->node ? from : 0;
}

int
envelope_seal(const struct envelope_self *self, struct envelope_peer *peer, const void *data,
	      size_t bytes, uint8_t *out, struct err *err)
{
	uint8_t nonce[NONCE_BYTES] = {0};
	int n;

	memset(out, 0, 4);
	out[0] = VERSION;
	le_put(out + 4, peer->node, 4);
	le_put(out + 8, self->node, 4);
	le_put(out + 12, self->session, 8);
	le_put(out + 20, peer->sent, 8);
	le_put(nonce + 4, peer->sent, 8);
	peer->sent++; /* first: whatever happens, this nonce is used up */
	uint8_t *text = out + ENVELOPE_HEADER;
	if (EVP_EncryptInit_ex(self->cipher, EVP_chacha20_poly1305(), NULL, peer->send_key,
			       nonce) != 1 ||
	    EVP_EncryptUpdate(self->cipher, NULL, &n, out, ENVELOPE_HEADER) != 1 ||
	    EVP_EncryptUpdate(self->cipher, text, &n, data, (int)bytes) != 1 ||
	    EVP_EncryptFinal_ex(self->cipher, text + bytes, &n) != 1 ||
	    EVP_CIPHER_CTX_ctrl(self->cipher, EVP_CTRL_AEAD_GET_TAG, ENVELOPE_TAG, text + bytes) !=
		    1)
		return crypto_failed(err);
	return 0;
}

static bool
decrypt(const struct envelope_self *self, const uint8_t *key, const uint8_t *packet, size_t inner,
	uint8_t *out)
{
	uint8_t nonce[NONCE_BYTES] = {0};
	uint8_t tag[ENVELOPE_TAG];
	const uint8_t *text = packet + ENVELOPE_HEADER;
	int n;

	memcpy(nonce + 4, packet + 20, 8);
	memcpy(tag, text + inner, sizeof(tag));
	return EVP_DecryptInit_ex(self->cipher, EVP_chacha20_poly1305(), NULL, key, nonce) == 1 &&
	       EVP_DecryptUpdate(self->cipher, NULL, &n, packet, ENVELOPE_HEADER) == 1 &&
	       EVP_DecryptUpdate(self->cipher, out, &n, text, (int)inner) == 1 &&
	       EVP_CIPHER_CTX_ctrl(self->cipher, EVP_CTRL_AEAD_SET_TAG, ENVELOPE_TAG, tag) == 1 &&
	       EVP_DecryptFinal_ex(self->cipher, out + inner, &n) == 1;
}

enum envelope_result
envelope_open(const struct envelope_self *self, struct envelope_peer *peer, const void *packet,
	      size_t bytes, uint8_t *out, size_t *bytes_out)
{
	const uint8_t *p = packet;
	uint8_t key[ENVELOPE_KEY];

	if (envelope_from(self, packet, bytes) != peer->node)
		return ENVELOPE_MALFORMED;
	uint64_t session = le_get(p + 12, 8);
	uint64_t counter = le_get(p + 20, 8);
	if (session < peer->session || counter == UINT64_MAX ||
	    (session == peer->session && was_seen(peer, counter)))
		return ENVELOPE_REPLAYED;
	if (session == peer->session)
		memcpy(key, peer->receive_key, sizeof(key));
	else if (derive_session(self, peer, peer->node, self->node, session, key) < 0)
		return ENVELOPE_FORGED;
	size_t inner = bytes - ENVELOPE_OVERHEAD;
	bool right = decrypt(self, key, p, inner, out);
	if (right && session != peer->session) {
		peer->session = session;
		peer->next = 0;
		memset(peer->seen, 0, sizeof(peer->seen));
		memcpy(peer->receive_key, key, sizeof(key));
	}
	mem_wipe(key, sizeof(key));
	if (!right)
		return ENVELOPE_FORGED;
	mark(peer, counter);
	*bytes_out = inner;
	return ENVELOPE_OPENED;
}

bool
envelope_is_older(const struct envelope_self *self, const struct envelope_peer *peer,
		  const void *packet, size_t bytes)
{
	const uint8_t *p = packet;
	uint8_t key[ENVELOPE_KEY], plain[ENVELOPE_OLDER_MAX];

	if (bytes > ENVELOPE_OLDER_MAX || envelope_from(self, packet, bytes) != peer->node ||
	    le_get(p + 12, 8) >= peer->session ||
	    derive_session(self, peer, peer->node, self->node, le_get(p + 12, 8), key) < 0)
		return false;
	bool right = decrypt(self, key, p, bytes - ENVELOPE_OVERHEAD, plain);
	mem_wipe(key, sizeof(key));
	mem_wipe(plain, sizeof(plain));
	return right;
}
