/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_CHANGE_H
#define SCHEDULER_STORE_CHANGE_H

/*
 * What a committed transaction is outside of the embedded engine: a list of keys with their new
 * values, and an entry of the log that says what the whole is worth.
 *
 *   row/TABLE/ID          a row (store_row.h); ID: 16 hex digits
 *   blob/TABLE/ID/CHUNK   a part of a document; CHUNK: 4 hex digits
 *
 * Only shared kinds have keys: one of a local kind is none.
 *
 * digest: of a whole store: the sum, modulo 2^256, of the SHA-256 of every key with its value. It
 * follows a change without reading the rest and does not depend on order. It finds damage and
 * copies that differ; it is no defence against somebody who may write the store.
 * hash: the chain: SHA-256 of the hash before, the sequence, count, digest and all changes. Equal
 * hashes mean an equal history.
 * Threading: pure functions.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "scheduler/store.h"

enum {
	STORE_CHUNK_BYTES = 256 << 10, /* a blob's value in one key */
	STORE_CHUNKS_MAX = 4096,
	STORE_KEY_BYTES = 64,
	STORE_SHA256_BYTES = 32,
	STORE_TXID_BYTES = 16,
	STORE_ENTRY_BYTES = 320, /* of its text, with NUL */
};

struct store_key {
	bool blob;
	unsigned kind; /* enum store_blob or enum store_kind */
	uint64_t id;
	uint32_t chunk; /* of a blob */
};

struct store_change {
	struct store_key key;
	bool gone;
	const uint8_t *data; /* borrowed */
	size_t bytes;
};

/* NUL-terminated; out has STORE_KEY_BYTES. */
void store_key_put(const struct store_key *key, char *out);
bool store_key_get(const char *text, size_t bytes, struct store_key *out);
/* Rows before blobs, parents before what belongs to them. */
int store_key_compare(const struct store_key *a, const struct store_key *b);

/* One after the other, as they stand in staged parts. */
void store_change_put(struct buf *out, const struct store_change *change);
/* Borrows from the cursor; false: this is no change. */
bool store_change_get(struct cursor *in, struct store_change *out);

struct store_digest {
	uint64_t word[4]; /* little-endian */
};

void store_digest_add(struct store_digest *d, const struct store_key *key, const void *data,
		      size_t bytes);
void store_digest_remove(struct store_digest *d, const struct store_key *key, const void *data,
			 size_t bytes);

struct store_entry {
	uint64_t sequence;
	uint8_t txid[STORE_TXID_BYTES]; /* drawn by who wrote it */
	uint8_t hash[STORE_SHA256_BYTES];
	struct store_digest digest; /* of the store after it */
	uint64_t count;             /* keys of the store after it */
	uint32_t parts;             /* staged and not spread yet; 0: keys are as they should be */
};

/* The hash of `e` (all but hash, txid and parts is set) after `before`. */
void store_entry_chain(struct store_entry *e, const uint8_t *before,
		       const struct store_change *changes, size_t count);
/* One line of text; out has STORE_ENTRY_BYTES. */
void store_entry_put(const struct store_entry *e, char *out);
/* ERR_UNSUPPORTED: a newer zlayer wrote it. */
int store_entry_get(const char *text, size_t bytes, struct store_entry *out,
		    struct err *err) MUST_CHECK;
bool store_entry_same(const struct store_entry *a, const struct store_entry *b); /* but parts */

#endif
