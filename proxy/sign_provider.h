/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_SIGN_PROVIDER_H
#define PROXY_SIGN_PROVIDER_H

/*
 * Keys that are elsewhere: a small OpenSSL provider whose signatures are made by signer. A key here
 * is a certificate's public half and a handle. Signing hashes, asks, and pauses the handshake
 * (SSL_MODE_ASYNC) until the answer came.
 *
 * The connection whose handshake asks is sign_provider_owner, set around every call into TLS. An
 * owner must live until its answer came (it always comes: answered, refused or timed out) and then
 * call tls_resume once more, even when its client is gone: only so the second stack is given back.
 * Threading: one thread.
 */

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "ring/msg.h"

struct evp_pkey_st;
struct sign_wait;

/* Sends the question; 0, and sign_provider_answer(wait ...) will be called later, or -1. */
typedef int (*sign_ask_fn)(void *arg, const struct msg_sign *question, struct sign_wait *wait);

extern void *sign_provider_owner;

/* Once per process, before confinement. */
int sign_provider_init(sign_ask_fn ask, void *arg, struct err *err) MUST_CHECK;
/* A key for a DER certificate (its public half) and the handle of its private half. Free with
 * EVP_PKEY_free. */
int sign_provider_key(const void *certificate, size_t bytes, uint64_t handle,
		      struct evp_pkey_st **out, struct err *err) MUST_CHECK;

/* bytes 0: refused. Gives the owner, whose handshake can go on. */
void *sign_provider_answer(struct sign_wait *wait, const void *signature, size_t bytes);

#endif
