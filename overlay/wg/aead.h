/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_AEAD_H
#define OVERLAY_WG_AEAD_H

/*
 * ChaCha20-Poly1305 (RFC 8439) for WireGuard's packets of data: nonce of four zero bytes and the
 * counter, little-endian; nothing authenticated beside the text. Whole batches, in place: packets
 * of one batch share a key and fill each other's vectors.
 *
 * A table of ways: OpenSSL's EVP, which is the reference and always there, and own ones for CPUs
 * that have the instructions. aead_choose() takes the first that the CPU can run and that agrees
 * with EVP. All ways do the same to memory, byte by byte, and in time that depends on lengths and
 * verdicts alone.
 * What a batch leaves on the stack (keys, pads, halves of a state) is wiped, by own ways at its
 * end. Threading: a struct aead has one owner; the table and what is chosen of it belong to all.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

enum {
	AEAD_KEY = 32,
	AEAD_TAG = 16,
	AEAD_LENGTH_MAX = 1 << 16, /* bytes of text in a packet */
};

/* A packet: length bytes of text at data, and room for its tag behind them (AEAD_TAG bytes, also
 * when opened; length never counts them). data needs no alignment; jobs never overlap. */
struct aead_job {
	uint8_t *data;
	uint32_t length; /* at most AEAD_LENGTH_MAX */
	uint64_t counter;
	bool ok; /* out */
};

struct aead;

extern const struct aead_way aead_evp;
#if defined(__x86_64__)
extern const struct aead_way aead_avx2, aead_avx512;
#endif

struct aead_way {
	const char *name;
	bool (*runs_here)(void);      /* CPU and operating system have what it needs */
	bool (*init)(struct aead *a); /* NULL: nothing to do */
	void (*fini)(struct aead *a); /* as init; of what init failed at, too */
	void (*seal_batch)(struct aead *a, const uint8_t key[AEAD_KEY], struct aead_job *jobs,
			   size_t count);
	void (*open_batch)(struct aead *a, const uint8_t key[AEAD_KEY], struct aead_job *jobs,
			   size_t count);
};

struct aead {
	const struct aead_way *way;
	struct evp_cipher_ctx_st *ctx; /* of ways that ask EVP */
	struct evp_cipher_st *cipher;
};

/* The rows, the fastest first, EVP last; NULL past the end. */
const struct aead_way *aead_way(size_t i);

/* Compares a way with EVP: all lengths to 2,200 in batches, what was forged among them. -1 when it
 * differs somewhere, cannot run here, or memory is out. A few milliseconds. Of EVP: whether the
 * library has it. */
int aead_check(const struct aead_way *way, struct err *err) MUST_CHECK;

/* The first row that passes; the log says which, and why others did not. name: that row and no
 * other (NULL: any); NULL with *err set when there is none of that name, or it does not pass. */
const struct aead_way *aead_choose(const char *name, struct err *err);
/* The same from other rows (tests). */
const struct aead_way *aead_choose_of(const struct aead_way *const *ways, size_t count,
				      const char *name, struct err *err);

/* Out of memory only. */
int aead_init(struct aead *a, const struct aead_way *way, struct err *err) MUST_CHECK;
void aead_fini(struct aead *a); /* zeroed is fine */

/* ok: false only when the library failed for want of memory; text and tag are zeros then. */
void aead_seal_batch(struct aead *a, const uint8_t key[AEAD_KEY], struct aead_job *jobs,
		     size_t count);
/* ok: false when forged (or as above): text and tag are zeros then. A tag that was right stays. */
void aead_open_batch(struct aead *a, const uint8_t key[AEAD_KEY], struct aead_job *jobs,
		     size_t count);

#endif
