/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_KEYS_H
#define PROXY_KEYS_H

/*
 * The private keys that signer holds, by handle. A handle is made of the public key: workers learn
 * it from the certificate table, and it is the same after a restart, for handshakes that began
 * before. They send digests, never messages, and padding is made here, so that this is no raw RSA
 * oracle. A key that was replaced signs on for a while, for handshakes that began with its
 * certificate.
 * Threading: one owner.
 */

#include <openssl/evp.h>
#include <stdint.h>
#include "base/err.h"
#include "base/map.h"
#include "ring/msg.h"

enum { KEYS_MAX = 4096, KEYS_GRACE_S = 300, KEYS_SIGNATURE_MAX = 1024 };

struct keys {
	struct map by_handle;
};

void keys_init(struct keys *k);
void keys_fini(struct keys *k);
/* Takes a reference of the key; the same key may be added more than once. 0 when there is no memory
 * or no place. */
uint64_t keys_add(struct keys *k, EVP_PKEY *key);
/* Once for each keys_add: after the last one the key goes when the grace is over. */
void keys_retire(struct keys *k, uint64_t handle, uint64_t mono_ns);
void keys_sweep(struct keys *k, uint64_t mono_ns);

/* Checks scheme, digest and lengths against the key. Gives the signature's length in *bytes_out. */
int keys_sign(const struct keys *k, const struct msg_sign *request, uint8_t *out, size_t cap,
	      size_t *bytes_out, struct err *err) MUST_CHECK;

#endif
