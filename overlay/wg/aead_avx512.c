/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ChaCha20 on 16 blocks at once, one in each 32-bit lane (RFC 8439, section 2.3). Each step of a
 * round waits for the one before it, and 16 blocks leave the CPU idle meanwhile: where there are
 * more, 32 go side by side, in all of its registers. Up to eight take half a vector each, which is
 * sooner done.
 *
 * Compiled for its CPUs function by function: nothing of it may run before runs_here() said so.
 */
#include "overlay/wg/aead_group.h"

#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512ifma,bmi2")))
#define INLINE TARGET __attribute__((always_inline)) static inline

/* The instruction wants a literal. */
INLINE __m512i
turned(__m512i v, int bits)
{
	switch (bits) {
	case 16:
		return _mm512_rol_epi32(v, 16);
	case 12:
		return _mm512_rol_epi32(v, 12);
	case 8:
		return _mm512_rol_epi32(v, 8);
	default:
		return _mm512_rol_epi32(v, 7);
	}
}

/* A quarter of all four quarter rounds: of each, one word is added to another, and a third turned.
 * Words that are no column's but a diagonal's stand so many columns further on. */
INLINE void
step(__m512i x[][16], unsigned states, const unsigned to[2], const unsigned with[2],
     const unsigned turn[2], int bits)
{
	AEAD_GROUP_UNROLL
	for (unsigned k = 0; k < 4 * states; k++) {
		__m512i *v = x[k / 4] + to[0] + (k + to[1]) % 4;

		*v = _mm512_add_epi32(*v, x[k / 4][with[0] + (k + with[1]) % 4]);
	}
	AEAD_GROUP_UNROLL
	for (unsigned k = 0; k < 4 * states; k++) {
		__m512i *v = x[k / 4] + turn[0] + (k + turn[1]) % 4;

		*v = turned(_mm512_xor_si512(*v, x[k / 4][to[0] + (k + to[1]) % 4]), bits);
	}
}

INLINE void
round_of(__m512i x[][16], unsigned states, unsigned diagonal)
{
	const unsigned a[] = {0, 0}, b[] = {4, diagonal}, c[] = {8, 2 * diagonal};
	const unsigned d[] = {12, 3 * diagonal};

	step(x, states, a, b, d, 16);
	step(x, states, c, d, b, 12);
	step(x, states, a, b, d, 8);
	step(x, states, c, d, b, 7);
}

/* Four words of all lanes: afterwards x[m] has in its quarter j those of block 4 * j + m. */
INLINE void
turn_words(__m512i x[4])
{
	__m512i a = _mm512_unpacklo_epi32(x[0], x[1]), b = _mm512_unpackhi_epi32(x[0], x[1]);
	__m512i c = _mm512_unpacklo_epi32(x[2], x[3]), d = _mm512_unpackhi_epi32(x[2], x[3]);

	x[0] = _mm512_unpacklo_epi64(a, c);
	x[1] = _mm512_unpackhi_epi64(a, c);
	x[2] = _mm512_unpacklo_epi64(b, d);
	x[3] = _mm512_unpackhi_epi64(b, d);
}

INLINE void
mix_lane(const struct aead_group_lanes *l, unsigned i, bool whole, __m512i stream)
{
	uint8_t *at = l->data[i];

	if (whole) {
		_mm512_storeu_si512(at, _mm512_xor_si512(_mm512_loadu_si512(at), stream));
	} else if (i < l->count) {
		__mmask64 some = _bzhi_u64(~(uint64_t)0, l->bytes[i]);

		_mm512_mask_storeu_epi8(
			at, some, _mm512_xor_si512(_mm512_maskz_loadu_epi8(some, at), stream));
	}
}

/* The quarters of group m of each four words are blocks m, 4 + m, 8 + m and 12 + m. */
INLINE void
mix_four(const struct aead_group_lanes *l, unsigned first, bool whole, const __m512i x[16],
	 unsigned m)
{
	__m512i a = _mm512_shuffle_i32x4(x[m], x[4 + m], 0x44);
	__m512i b = _mm512_shuffle_i32x4(x[8 + m], x[12 + m], 0x44);
	__m512i c = _mm512_shuffle_i32x4(x[m], x[4 + m], 0xee);
	__m512i d = _mm512_shuffle_i32x4(x[8 + m], x[12 + m], 0xee);

	mix_lane(l, first + m, whole, _mm512_shuffle_i32x4(a, b, 0x88));
	mix_lane(l, first + 4 + m, whole, _mm512_shuffle_i32x4(a, b, 0xdd));
	mix_lane(l, first + 8 + m, whole, _mm512_shuffle_i32x4(c, d, 0x88));
	mix_lane(l, first + 12 + m, whole, _mm512_shuffle_i32x4(c, d, 0xdd));
}

static const uint32_t words[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};

INLINE void
begin(const uint32_t key[8], const struct aead_group_lanes *l, unsigned first, __m512i x[16])
{
	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < 4; i++)
		x[i] = _mm512_set1_epi32((int)words[i]);
	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < 8; i++)
		x[4 + i] = _mm512_set1_epi32((int)key[i]);
	x[12] = _mm512_load_si512(l->block + first);
	x[13] = _mm512_setzero_si512();
	x[14] = _mm512_load_si512(l->low + first);
	x[15] = _mm512_load_si512(l->high + first);
}

INLINE void
end(const uint32_t key[8], const struct aead_group_lanes *l, unsigned first, __m512i x[16])
{
	const __m512i bytes = _mm512_load_si512(l->bytes + first);
	bool whole = l->count >= first + 16 &&
		     _mm512_cmpneq_epi32_mask(bytes, _mm512_set1_epi32(AEAD_GROUP_BLOCK)) == 0;

	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < 4; i++)
		x[i] = _mm512_add_epi32(x[i], _mm512_set1_epi32((int)words[i]));
	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < 8; i++)
		x[4 + i] = _mm512_add_epi32(x[4 + i], _mm512_set1_epi32((int)key[i]));
	x[12] = _mm512_add_epi32(x[12], _mm512_load_si512(l->block + first));
	x[14] = _mm512_add_epi32(x[14], _mm512_load_si512(l->low + first));
	x[15] = _mm512_add_epi32(x[15], _mm512_load_si512(l->high + first));
	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < 16; i += 4)
		turn_words(x + i);
	if (whole) {
		AEAD_GROUP_UNROLL
		for (unsigned m = 0; m < 4; m++)
			mix_four(l, first, true, x, m);
	} else {
		AEAD_GROUP_UNROLL
		for (unsigned m = 0; m < 4; m++)
			mix_four(l, first, false, x, m);
	}
}

INLINE void
mix_states(const uint32_t key[8], const struct aead_group_lanes *l, unsigned states)
{
	__m512i x[2][16];

	begin(key, l, 0, x[0]);
	if (states == 2)
		begin(key, l, 16, x[1]);
	for (unsigned i = 0; i < 10; i++) {
		round_of(x, states, 0);
		round_of(x, states, 1);
	}
	end(key, l, 0, x[0]);
	if (states == 2)
		end(key, l, 16, x[1]);
}

TARGET static void
mix_sixteen(const uint32_t key[8], const struct aead_group_lanes *l)
{
	mix_states(key, l, 1);
}

TARGET static void
mix_thirty_two(const uint32_t key[8], const struct aead_group_lanes *l)
{
	mix_states(key, l, 2);
}

/* The instruction wants a literal. */
INLINE __m256i
roll(__m256i v, int bits)
{
	switch (bits) {
	case 16:
		return _mm256_rol_epi32(v, 16);
	case 12:
		return _mm256_rol_epi32(v, 12);
	case 8:
		return _mm256_rol_epi32(v, 8);
	default:
		return _mm256_rol_epi32(v, 7);
	}
}

#define AEAD_EIGHT_TARGET TARGET
#define AEAD_EIGHT_ROLL(v, bits) roll(v, bits)
#include "overlay/wg/aead_eight.h"

TARGET static void
mix(const uint32_t key[8], const struct aead_group_lanes *l)
{
	if (l->count <= 8)
		aead_eight_mix(key, l);
	else if (l->count <= 16)
		mix_sixteen(key, l);
	else
		mix_thirty_two(key, l);
}

static bool
runs_here(void)
{
	return aead_group_state(AEAD_GROUP_STATE_512) && __builtin_cpu_supports("avx512f") &&
	       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
	       __builtin_cpu_supports("avx512ifma") && __builtin_cpu_supports("bmi2");
}

static const struct aead_group_way own = {.lanes = 32, .mix = mix, .tag = aead_avx512_tag};

static void
seal_batch(struct aead *a, const uint8_t key[AEAD_KEY], struct aead_job *jobs, size_t count)
{
	(void)a;
	aead_group_seal(&own, key, jobs, count);
}

static void
open_batch(struct aead *a, const uint8_t key[AEAD_KEY], struct aead_job *jobs, size_t count)
{
	(void)a;
	aead_group_open(&own, key, jobs, count);
}

const struct aead_way aead_avx512 = {.name = "avx512",
				     .runs_here = runs_here,
				     .seal_batch = seal_batch,
				     .open_batch = open_batch};
