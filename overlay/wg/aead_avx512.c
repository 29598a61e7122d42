/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ChaCha20 on 16 blocks at once, one in each 32-bit lane (RFC 8439, section 2.3); up to eight take
 * half a vector each, which is sooner done.
 *
 * Compiled for its CPUs function by function: nothing of it may run before runs_here() said so.
 */
#include "overlay/wg/aead_group.h"

#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512ifma,bmi2")))
#define INLINE TARGET __attribute__((always_inline)) static inline

INLINE void
quarter(__m512i *a, __m512i *b, __m512i *c, __m512i *d)
{
	*a = _mm512_add_epi32(*a, *b);
	*d = _mm512_rol_epi32(_mm512_xor_si512(*d, *a), 16);
	*c = _mm512_add_epi32(*c, *d);
	*b = _mm512_rol_epi32(_mm512_xor_si512(*b, *c), 12);
	*a = _mm512_add_epi32(*a, *b);
	*d = _mm512_rol_epi32(_mm512_xor_si512(*d, *a), 8);
	*c = _mm512_add_epi32(*c, *d);
	*b = _mm512_rol_epi32(_mm512_xor_si512(*b, *c), 7);
}

INLINE void
double_round(__m512i x[16])
{
	quarter(&x[0], &x[4], &x[8], &x[12]);
	quarter(&x[1], &x[5], &x[9], &x[13]);
	quarter(&x[2], &x[6], &x[10], &x[14]);
	quarter(&x[3], &x[7], &x[11], &x[15]);
	quarter(&x[0], &x[5], &x[10], &x[15]);
	quarter(&x[1], &x[6], &x[11], &x[12]);
	quarter(&x[2], &x[7], &x[8], &x[13]);
	quarter(&x[3], &x[4], &x[9], &x[14]);
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
mix_lane(const struct aead_group_lanes *l, unsigned i, __m512i stream)
{
	uint8_t *at = l->data[i];

	if (i >= l->count)
		return;
	if (l->bytes[i] == AEAD_GROUP_BLOCK) {
		_mm512_storeu_si512(at, _mm512_xor_si512(_mm512_loadu_si512(at), stream));
		return;
	}
	__mmask64 some = _bzhi_u64(~(uint64_t)0, l->bytes[i]);

	_mm512_mask_storeu_epi8(at, some,
				_mm512_xor_si512(_mm512_maskz_loadu_epi8(some, at), stream));
}

/* The quarters of group m of each four words are blocks m, 4 + m, 8 + m and 12 + m. */
INLINE void
mix_four(const struct aead_group_lanes *l, const __m512i x[16], unsigned m)
{
	__m512i a = _mm512_shuffle_i32x4(x[m], x[4 + m], 0x44);
	__m512i b = _mm512_shuffle_i32x4(x[8 + m], x[12 + m], 0x44);
	__m512i c = _mm512_shuffle_i32x4(x[m], x[4 + m], 0xee);
	__m512i d = _mm512_shuffle_i32x4(x[8 + m], x[12 + m], 0xee);

	mix_lane(l, m, _mm512_shuffle_i32x4(a, b, 0x88));
	mix_lane(l, 4 + m, _mm512_shuffle_i32x4(a, b, 0xdd));
	mix_lane(l, 8 + m, _mm512_shuffle_i32x4(c, d, 0x88));
	mix_lane(l, 12 + m, _mm512_shuffle_i32x4(c, d, 0xdd));
}

TARGET static void
mix_sixteen(const uint32_t key[8], const struct aead_group_lanes *l)
{
	static const uint32_t constants[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
	__m512i x[16], block = _mm512_load_si512(l->block);
	__m512i low = _mm512_loadu_si512(l->low), high = _mm512_loadu_si512(l->high);

	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < 4; i++)
		x[i] = _mm512_set1_epi32((int)constants[i]);
	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < 8; i++)
		x[4 + i] = _mm512_set1_epi32((int)key[i]);
	x[12] = block;
	x[13] = _mm512_setzero_si512();
	x[14] = low;
	x[15] = high;
	for (unsigned i = 0; i < 10; i++)
		double_round(x);
	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < 4; i++)
		x[i] = _mm512_add_epi32(x[i], _mm512_set1_epi32((int)constants[i]));
	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < 8; i++)
		x[4 + i] = _mm512_add_epi32(x[4 + i], _mm512_set1_epi32((int)key[i]));
	x[12] = _mm512_add_epi32(x[12], block);
	x[14] = _mm512_add_epi32(x[14], low);
	x[15] = _mm512_add_epi32(x[15], high);
	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < 16; i += 4)
		turn_words(x + i);
	AEAD_GROUP_UNROLL
	for (unsigned m = 0; m < 4; m++)
		mix_four(l, x, m);
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
	else
		mix_sixteen(key, l);
}

static bool
runs_here(void)
{
	return aead_group_state(AEAD_GROUP_STATE_512) && __builtin_cpu_supports("avx512f") &&
	       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
	       __builtin_cpu_supports("avx512ifma") && __builtin_cpu_supports("bmi2");
}

static const struct aead_group_way own = {.lanes = 16, .mix = mix, .tag = aead_avx512_tag};

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
