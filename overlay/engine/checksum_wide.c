/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As in checksum.c, eight lanes of each half at once; what is left at the end is read and written
 * under a mask. Older CPUs, which become slower for all of their code when they use such vectors,
 * have no IFMA.
 */
#include "overlay/engine/checksum_wide.h"

#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,bmi2")))

enum { STEP = 64 };

struct sums {
	__m512i even, odd;
};

TARGET __attribute__((always_inline)) static inline void
add(struct sums *s, __m512i v)
{
	const __m512i low = _mm512_set1_epi64(UINT32_MAX);

	s->even = _mm512_add_epi64(s->even, _mm512_and_si512(v, low));
	s->odd = _mm512_add_epi64(s->odd, _mm512_srli_epi64(v, 32));
}

TARGET __attribute__((always_inline)) static inline uint64_t
run(uint64_t sum, uint8_t *to, const uint8_t *from, size_t bytes, bool copy)
{
	struct sums s = {_mm512_setzero_si512(), _mm512_setzero_si512()};
	size_t at = 0;

	for (; bytes - at >= STEP; at += STEP) {
		__m512i v = _mm512_loadu_si512(from + at);

		if (copy)
			_mm512_storeu_si512(to + at, v);
		add(&s, v);
	}
	if (at < bytes) {
		__mmask64 some = _bzhi_u64(~(uint64_t)0, (unsigned)(bytes - at));
		__m512i v = _mm512_maskz_loadu_epi8(some, from + at);

		if (copy)
			_mm512_mask_storeu_epi8(to + at, some, v);
		add(&s, v);
	}
	return sum + (uint64_t)_mm512_reduce_add_epi64(_mm512_add_epi64(s.even, s.odd));
}

bool
checksum_wide_runs_here(void)
{
	return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512ifma") &&
	       __builtin_cpu_supports("bmi2");
}

TARGET uint64_t
checksum_wide_add(uint64_t sum, const void *data, size_t bytes)
{
	return run(sum, NULL, data, bytes, false);
}

TARGET uint64_t
checksum_wide_copy(uint64_t sum, void *to, const void *from, size_t bytes)
{
	return run(sum, to, from, bytes, true);
}
