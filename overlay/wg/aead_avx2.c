/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ChaCha20 on eight blocks at once, one in each 32-bit lane (RFC 8439, section 2.3), and Poly1305
 * on four 64-bit lanes with multiplications of 32 by 32 bits: five limbs of 26 bits, each lane
 * every fourth block of one packet. Powers of r and the last sum are made as aead_poly.h does.
 * Long packets are left to EVP.
 *
 * Compiled for its CPUs function by function: nothing of it may run before runs_here() said so.
 */
#include "overlay/wg/aead_group.h"

#include <immintrin.h>
#include "base/mem.h"
#include "overlay/wg/aead_poly.h"

#define TARGET __attribute__((target("avx2,bmi2")))
#define INLINE TARGET __attribute__((always_inline)) static inline

enum { LIMBS = 5 };

/* ---- ChaCha20 ---- */

/* By whole bytes in one instruction. */
INLINE __m256i
roll(__m256i v, int bits)
{
	const __m256i by_16 =
		_mm256_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, 2, 3, 0, 1,
				 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
	const __m256i by_8 = _mm256_setr_epi8(3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14,
					      3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14);

	if (bits == 16)
		return _mm256_shuffle_epi8(v, by_16);
	if (bits == 8)
		return _mm256_shuffle_epi8(v, by_8);
	return _mm256_or_si256(_mm256_slli_epi32(v, bits), _mm256_srli_epi32(v, 32 - bits));
}

#define AEAD_EIGHT_TARGET TARGET
#define AEAD_EIGHT_ROLL(v, bits) roll(v, bits)
#include "overlay/wg/aead_eight.h"

TARGET static void
mix(const uint32_t key[8], const struct aead_group_lanes *l)
{
	aead_eight_mix(key, l);
}

/* ---- Poly1305 ---- */

struct limbs {
	__m256i l[LIMBS];
};

struct factor {
	__m256i r[LIMBS], s[LIMBS]; /* s: 5 * r, for what passes 2^130 */
};

/* Limbs of 26 bits. p's second one may stand above its 44 bits, and nothing else: so there are
 * sums here, no bits side by side; the fourth may stand a little above its 26 then. */
INLINE void
split(uint64_t out[LIMBS], const uint64_t p[3])
{
	const uint64_t mask = 0x3ffffff;

	out[0] = p[0] & mask;
	out[1] = (p[0] >> 26) + ((p[1] & 0xff) << 18);
	out[2] = p[1] >> 8 & mask;
	out[3] = (p[1] >> 34) + ((p[2] & 0xffff) << 10);
	out[4] = p[2] >> 16;
}

/* Each lane another power: the order that unpacking two vectors of two blocks gives. */
INLINE struct factor
factor_of(const uint64_t *const power[4])
{
	struct factor f;
	uint64_t v[4][LIMBS];

	AEAD_GROUP_UNROLL
	for (unsigned lane = 0; lane < 4; lane++)
		split(v[lane], power[lane]);
	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < LIMBS; i++) {
		f.r[i] = _mm256_setr_epi64x((long long)v[0][i], (long long)v[1][i],
					    (long long)v[2][i], (long long)v[3][i]);
		f.s[i] = _mm256_add_epi64(f.r[i], _mm256_slli_epi64(f.r[i], 2));
	}
	return f;
}

INLINE void
carry(__m256i *from, __m256i *to)
{
	const __m256i mask = _mm256_set1_epi64x(0x3ffffff);

	*to = _mm256_add_epi64(*to, _mm256_srli_epi64(*from, 26));
	*from = _mm256_and_si256(*from, mask);
}

INLINE void
add_products(struct limbs *d, struct limbs h, const struct factor *f)
{
	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < LIMBS; i++) {
		AEAD_GROUP_UNROLL
		for (unsigned j = 0; j < LIMBS; j++)
			d->l[i] = _mm256_add_epi64(
				d->l[i],
				_mm256_mul_epu32(h.l[j], j <= i ? f->r[i - j] : f->s[5 + i - j]));
	}
}

/* Of at most two factors with limbs below 2^28, with f's below 2^27 (s: 2^29.4). Two carries go
 * side by side; the result's limbs are below 2^26, but the second and the fifth, which are below
 * 2^26 + 2^10. */
INLINE struct limbs
reduce(struct limbs d)
{
	const __m256i mask = _mm256_set1_epi64x(0x3ffffff);
	__m256i top;

	carry(&d.l[0], &d.l[1]);
	carry(&d.l[3], &d.l[4]);
	carry(&d.l[1], &d.l[2]);
	top = _mm256_srli_epi64(d.l[4], 26);
	d.l[4] = _mm256_and_si256(d.l[4], mask);
	d.l[0] = _mm256_add_epi64(d.l[0], _mm256_add_epi64(top, _mm256_slli_epi64(top, 2)));
	carry(&d.l[2], &d.l[3]);
	carry(&d.l[0], &d.l[1]);
	carry(&d.l[3], &d.l[4]);
	return d;
}

INLINE struct limbs
multiply(struct limbs h, const struct factor *f)
{
	const __m256i zero = _mm256_setzero_si256();
	struct limbs d = {{zero, zero, zero, zero, zero}};

	add_products(&d, h, f);
	return reduce(d);
}

/* a * f + b * g. */
INLINE struct limbs
multiply_two(struct limbs a, const struct factor *f, struct limbs b, const struct factor *g)
{
	const __m256i zero = _mm256_setzero_si256();
	struct limbs d = {{zero, zero, zero, zero, zero}};

	add_products(&d, b, g); /* does not wait for the step before */
	add_products(&d, a, f);
	return reduce(d);
}

INLINE struct limbs
sum(struct limbs a, struct limbs b)
{
	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < LIMBS; i++)
		a.l[i] = _mm256_add_epi64(a.l[i], b.l[i]);
	return a;
}

INLINE struct limbs
load_four(const uint8_t *at)
{
	const __m256i mask = _mm256_set1_epi64x(0x3ffffff);
	__m256i a = _mm256_loadu_si256((const __m256i_u *)at);
	__m256i b = _mm256_loadu_si256((const __m256i_u *)(at + 32));
	__m256i low = _mm256_unpacklo_epi64(a, b), high = _mm256_unpackhi_epi64(a, b);
	__m256i middle = _mm256_or_si256(_mm256_srli_epi64(low, 52), _mm256_slli_epi64(high, 12));

	return (struct limbs){
		{_mm256_and_si256(low, mask), _mm256_and_si256(_mm256_srli_epi64(low, 26), mask),
		 _mm256_and_si256(middle, mask),
		 _mm256_and_si256(_mm256_srli_epi64(high, 14), mask),
		 _mm256_or_si256(_mm256_srli_epi64(high, 40), _mm256_set1_epi64x(1 << 24))}};
}

INLINE uint64_t
sum_lanes(__m256i v)
{
	__m128i two = _mm_add_epi64(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

	return (uint64_t)_mm_cvtsi128_si64(_mm_add_epi64(two, _mm_unpackhi_epi64(two, two)));
}

/* From limbs of 26 bits, a little above that, to those of aead_poly.h. */
INLINE void
gather(uint64_t h[3], const struct limbs *v)
{
	uint64_t d[LIMBS];

	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < LIMBS; i++)
		d[i] = sum_lanes(v->l[i]);
	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < LIMBS - 1; i++) {
		d[i + 1] += d[i] >> 26;
		d[i] &= 0x3ffffff;
	}
	d[0] += (d[4] >> 26) * 5;
	d[4] &= 0x3ffffff;
	d[1] += d[0] >> 26;
	d[0] &= 0x3ffffff;

	uint64_t low = d[0] + (d[1] << 26), middle = (low >> 44) + (d[2] << 8) + (d[3] << 34);

	h[0] = low & AEAD_POLY_44;
	h[1] = middle & AEAD_POLY_44;
	h[2] = (middle >> 44) + (d[4] << 16);
}

/* Of one packet, what its whole vectors of four blocks come to; two of them a step. */
TARGET static void
long_sum(struct aead_poly *p, const uint8_t *data, size_t vectors)
{
	uint64_t two[3], three[3], four[3], eight[3];

	aead_poly_multiply(two, p->r, p->r, p->s);
	aead_poly_multiply(three, two, p->r, p->s);
	aead_poly_multiply(four, three, p->r, p->s);
	aead_poly_square(eight, four);
	struct factor fourth = factor_of((const uint64_t *const[]){four, four, four, four});
	struct factor eighth = factor_of((const uint64_t *const[]){eight, eight, eight, eight});
	struct factor last = factor_of((const uint64_t *const[]){four, two, three, p->r});
	struct limbs h = load_four(data);
	size_t i = 1;

	for (; i + 1 < vectors; i += 2)
		h = sum(multiply_two(h, &eighth, load_four(data + 64 * i), &fourth),
			load_four(data + 64 * (i + 1)));
	for (; i < vectors; i++)
		h = sum(multiply(h, &fourth), load_four(data + 64 * i));
	h = multiply(h, &last);
	gather(p->h, &h);
}

enum { VECTORS_MIN = 4 }; /* fewer are not worth their powers */

TARGET static void
tag_one(const struct aead_job *j, const uint8_t *key, uint8_t *tag)
{
	struct aead_poly p;
	size_t vectors = j->length / 64;

	aead_poly_init(&p, key);
	if (vectors >= VECTORS_MIN)
		long_sum(&p, j->data, vectors);
	else
		vectors = 0;
	aead_poly_bytes(&p, j->data + 64 * vectors, j->length - 64 * vectors);
	aead_poly_finish(&p, j->length, key, tag);
}

void
aead_avx2_tag(struct aead_group *g)
{
	for (unsigned i = 0; i < g->count; i++)
		tag_one(&g->jobs[i], g->keys[i], g->tags[i]);
}

static bool
runs_here(void)
{
	return aead_group_state(AEAD_GROUP_STATE_256) && __builtin_cpu_supports("avx2") &&
	       __builtin_cpu_supports("bmi2");
}

static const struct aead_group_way own = {.lanes = 8, .mix = mix, .tag = aead_avx2_tag};

/* ---- the row ---- */

/* OpenSSL's costs more for each packet and less for each byte: above this it is the faster one,
 * whichever vectors it has (bench/aead.md). */
enum { OWN_LENGTH_MAX = 2048 };

static bool
init(struct aead *a)
{
	return aead_evp.init(a);
}

static void
fini(struct aead *a)
{
	aead_evp.fini(a);
}

/* Neighbours that go the same way go there together. */
static void
batch(struct aead *a, const uint8_t *key, struct aead_job *jobs, size_t count,
      void (*ours)(const struct aead_group_way *, const uint8_t *, struct aead_job *, size_t),
      void (*theirs)(struct aead *, const uint8_t *, struct aead_job *, size_t))
{
	for (size_t from = 0, to = 0; from < count; from = to) {
		bool is_long = jobs[from].length > OWN_LENGTH_MAX;

		while (to < count && (jobs[to].length > OWN_LENGTH_MAX) == is_long)
			to++;
		if (is_long)
			theirs(a, key, jobs + from, to - from);
		else
			ours(&own, key, jobs + from, to - from);
	}
}

static void
seal_batch(struct aead *a, const uint8_t key[AEAD_KEY], struct aead_job *jobs, size_t count)
{
	batch(a, key, jobs, count, aead_group_seal, aead_evp.seal_batch);
}

static void
open_batch(struct aead *a, const uint8_t key[AEAD_KEY], struct aead_job *jobs, size_t count)
{
	batch(a, key, jobs, count, aead_group_open, aead_evp.open_batch);
}

const struct aead_way aead_avx2 = {.name = "avx2",
				   .runs_here = runs_here,
				   .init = init,
				   .fini = fini,
				   .seal_batch = seal_batch,
				   .open_batch = open_batch};
