/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_AEAD_EIGHT_H
#define OVERLAY_WG_AEAD_EIGHT_H

/*
 * ChaCha20 (RFC 8439, section 2.3) on eight blocks at once, one in each 32-bit lane. Two ways of
 * the table have it: one has only these vectors, the other takes them where there are no more than
 * eight blocks. Before it is included, AEAD_EIGHT_TARGET is to be the includer's attribute and
 * AEAD_EIGHT_ROLL(v, bits) its rotation to the left.
 */

#include <immintrin.h>
#include "overlay/wg/aead_group.h"

#define AEAD_EIGHT_INLINE AEAD_EIGHT_TARGET __attribute__((always_inline)) static inline

/* A sum, and what is turned by it, of two quarter rounds. */
AEAD_EIGHT_INLINE void
aead_eight_step(__m256i x[16], unsigned to, unsigned with, unsigned turned, unsigned to2,
		unsigned with2, unsigned turned2, int bits)
{
	x[to] = _mm256_add_epi32(x[to], x[with]);
	x[to2] = _mm256_add_epi32(x[to2], x[with2]);
	x[turned] = _mm256_xor_si256(x[turned], x[to]);
	x[turned2] = _mm256_xor_si256(x[turned2], x[to2]);
	x[turned] = AEAD_EIGHT_ROLL(x[turned], bits);
	x[turned2] = AEAD_EIGHT_ROLL(x[turned2], bits);
}

/* Two quarter rounds side by side: one alone waits for itself, four want more than 16 registers. */
AEAD_EIGHT_INLINE void
aead_eight_two(__m256i x[16], unsigned a, unsigned b, unsigned c, unsigned d, unsigned a2,
	       unsigned b2, unsigned c2, unsigned d2)
{
	aead_eight_step(x, a, b, d, a2, b2, d2, 16);
	aead_eight_step(x, c, d, b, c2, d2, b2, 12);
	aead_eight_step(x, a, b, d, a2, b2, d2, 8);
	aead_eight_step(x, c, d, b, c2, d2, b2, 7);
}

/* Four words of all lanes: afterwards x[m] has in its half j those of block 4 * j + m. */
AEAD_EIGHT_INLINE void
aead_eight_turn(__m256i x[4])
{
	__m256i a = _mm256_unpacklo_epi32(x[0], x[1]), b = _mm256_unpackhi_epi32(x[0], x[1]);
	__m256i c = _mm256_unpacklo_epi32(x[2], x[3]), d = _mm256_unpackhi_epi32(x[2], x[3]);

	x[0] = _mm256_unpacklo_epi64(a, c);
	x[1] = _mm256_unpackhi_epi64(a, c);
	x[2] = _mm256_unpacklo_epi64(b, d);
	x[3] = _mm256_unpackhi_epi64(b, d);
}

AEAD_EIGHT_INLINE void
aead_eight_add_half(uint8_t *at, __m256i stream)
{
	__m256i text = _mm256_loadu_si256((const __m256i_u *)at);

	_mm256_storeu_si256((__m256i_u *)at, _mm256_xor_si256(text, stream));
}

AEAD_EIGHT_INLINE void
aead_eight_add_lane(const struct aead_group_lanes *l, unsigned i, __m256i first, __m256i second)
{
	alignas(32) uint8_t pad[AEAD_GROUP_BLOCK] __attribute__((uninitialized));

	if (i >= l->count)
		return;
	if (l->bytes[i] == AEAD_GROUP_BLOCK) {
		aead_eight_add_half(l->data[i], first);
		aead_eight_add_half(l->data[i] + 32, second);
		return;
	}
	_mm256_store_si256((__m256i *)pad, first);
	_mm256_store_si256((__m256i *)(pad + 32), second);
	for (uint32_t at = 0; at < l->bytes[i]; at++)
		l->data[i][at] ^= pad[at];
}

AEAD_EIGHT_INLINE void
aead_eight_mix(const uint32_t key[8], const struct aead_group_lanes *l)
{
	static const uint32_t constants[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
	__m256i x[16];

	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < 4; i++)
		x[i] = _mm256_set1_epi32((int)constants[i]);
	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < 8; i++)
		x[4 + i] = _mm256_set1_epi32((int)key[i]);
	x[12] = _mm256_load_si256((const __m256i *)l->block);
	x[13] = _mm256_setzero_si256();
	x[14] = _mm256_load_si256((const __m256i *)l->low);
	x[15] = _mm256_load_si256((const __m256i *)l->high);
	for (unsigned i = 0; i < 10; i++) {
		aead_eight_two(x, 0, 4, 8, 12, 1, 5, 9, 13);
		aead_eight_two(x, 2, 6, 10, 14, 3, 7, 11, 15);
		aead_eight_two(x, 0, 5, 10, 15, 1, 6, 11, 12);
		aead_eight_two(x, 2, 7, 8, 13, 3, 4, 9, 14);
	}
	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < 4; i++)
		x[i] = _mm256_add_epi32(x[i], _mm256_set1_epi32((int)constants[i]));
	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < 8; i++)
		x[4 + i] = _mm256_add_epi32(x[4 + i], _mm256_set1_epi32((int)key[i]));
	x[12] = _mm256_add_epi32(x[12], _mm256_load_si256((const __m256i *)l->block));
	x[14] = _mm256_add_epi32(x[14], _mm256_load_si256((const __m256i *)l->low));
	x[15] = _mm256_add_epi32(x[15], _mm256_load_si256((const __m256i *)l->high));
	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < 16; i += 4)
		aead_eight_turn(x + i);
	AEAD_GROUP_UNROLL
	for (unsigned m = 0; m < 4; m++) {
		aead_eight_add_lane(l, m, _mm256_permute2x128_si256(x[m], x[4 + m], 0x20),
				    _mm256_permute2x128_si256(x[8 + m], x[12 + m], 0x20));
		aead_eight_add_lane(l, 4 + m, _mm256_permute2x128_si256(x[m], x[4 + m], 0x31),
				    _mm256_permute2x128_si256(x[8 + m], x[12 + m], 0x31));
	}
}

#endif
