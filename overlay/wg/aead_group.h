/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_AEAD_GROUP_H
#define OVERLAY_WG_AEAD_GROUP_H

/*
 * What the own ways of the AEAD table share (aead_avx2.c, aead_avx512.c). A batch is cut into
 * groups that stay in the first cache; the blocks of a group's packets fill the lanes of a vector
 * one after the other, so that a packet of 1,420 bytes (22 blocks and some, and the one that its
 * key comes from) costs a vector and a half, not two. Beside that a way is two functions.
 */

#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include "overlay/wg/aead.h"

enum {
	AEAD_GROUP_JOBS = 16,
	AEAD_GROUP_BYTES = 24 << 10, /* or one packet */
	AEAD_GROUP_LANES = 32,
	AEAD_GROUP_BLOCK = 64, /* of ChaCha20 */
};

/* Blocks of keystream, and where each goes; lane i is data[i], of which bytes[i] (1 to 64). */
struct aead_group_lanes {
	alignas(64) uint32_t block[AEAD_GROUP_LANES]; /* the state's words 12, 14 and 15 */
	uint32_t low[AEAD_GROUP_LANES], high[AEAD_GROUP_LANES];
	uint32_t bytes[AEAD_GROUP_LANES];
	uint8_t *data[AEAD_GROUP_LANES];
	unsigned count;
};

struct aead_group {
	struct aead_job *jobs; /* in a row */
	unsigned count;
	/* Each packet's block 0: its first half is the key of its Poly1305. */
	alignas(64) uint8_t keys[AEAD_GROUP_JOBS][AEAD_GROUP_BLOCK];
	uint8_t tags[AEAD_GROUP_JOBS][AEAD_TAG];
};

/* Before a loop over an array of vectors, which only then is held in registers. */
#if defined(__clang__)
#define AEAD_GROUP_UNROLL _Pragma("unroll")
#else
#define AEAD_GROUP_UNROLL _Pragma("GCC unroll 16")
#endif

struct aead_group_way {
	unsigned lanes; /* at most AEAD_GROUP_LANES */
	/* Adds (exclusive or) the keystream to the first `count` lanes; of the rest as many as fill
	 * a vector of 8, 16 or all are zero. */
	void (*mix)(const uint32_t key[8], const struct aead_group_lanes *l);
	/* The tags of all jobs, of what is in data now, by keys. */
	void (*tag)(struct aead_group *g);
};

/* The ways' Poly1305, known to each other's file and to their test. */
void aead_avx2_tag(struct aead_group *g);
void aead_avx512_tag(struct aead_group *g);

/* Whether the operating system keeps these registers (bits of XCR0) over a change of threads. */
enum { AEAD_GROUP_STATE_256 = 0x06, AEAD_GROUP_STATE_512 = 0xe6 };
bool aead_group_state(uint64_t bits);

void aead_group_seal(const struct aead_group_way *w, const uint8_t key[AEAD_KEY],
		     struct aead_job *jobs, size_t count);
void aead_group_open(const struct aead_group_way *w, const uint8_t key[AEAD_KEY],
		     struct aead_job *jobs, size_t count);

#endif
