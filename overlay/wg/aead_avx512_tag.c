/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Poly1305 (RFC 8439, section 2.5) on eight 64-bit lanes with the 52-bit multiplications of
 * AVX-512 IFMA; limbs as in aead_poly.h. It has two forms:
 *
 *   columns  a lane for each packet: only r and its square, no sum over lanes; it wants many
 *            packets of like length
 *   alone    a lane for each eighth block of one packet: for few packets, and long ones
 *
 * Both take two steps with one reduction: (h + a) * r^2 + b * r; a long packet alone takes four.
 * What costs less is estimated from the lengths.
 */
#include "overlay/wg/aead_group.h"

#include <immintrin.h>
#include "overlay/wg/aead_poly.h"

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512ifma,bmi2")))
#define INLINE TARGET __attribute__((always_inline)) static inline

enum {
	LANES = 8,
	STRIDE = 64,       /* bytes of each packet that are turned at once: four blocks */
	ALONE_VECTORS = 2, /* fewer are not worth their powers */
	LONG_VECTORS = 16, /* more are worth two powers more */
	/* Nanoseconds, once measured; only their ratios matter (bench/aead.md). */
	ALONE_NS = 60,
	ALONE_BLOCK_PS = 900,
	COLUMNS_NS = 85,
	COLUMN_BLOCK_PS = 8600,
};

struct limbs {
	__m512i l[3];
};

struct factor {
	__m512i r[3], s[2]; /* s: 20 * r[1], 20 * r[2] */
};

INLINE __m512i
times_5(__m512i v)
{
	return _mm512_add_epi64(v, _mm512_slli_epi64(v, 2));
}

INLINE struct factor
factor_of(struct limbs r)
{
	struct factor f = {.r = {r.l[0], r.l[1], r.l[2]},
			   .s = {_mm512_slli_epi64(times_5(r.l[1]), 2),
				 _mm512_slli_epi64(times_5(r.l[2]), 2)}};

	return f;
}

/* Sums of products, limb by limb: of each product the half below 2^52, and the one above. */
struct products {
	__m512i low[3], high[3];
};

INLINE void
three(struct products *p, unsigned limb, const struct limbs *h, __m512i x, __m512i y, __m512i z)
{
	__m512i low = p->low[limb], high = p->high[limb];

	low = _mm512_madd52lo_epu64(low, h->l[2], z);
	high = _mm512_madd52hi_epu64(high, h->l[2], z);
	low = _mm512_madd52lo_epu64(low, h->l[1], y);
	high = _mm512_madd52hi_epu64(high, h->l[1], y);
	p->low[limb] = _mm512_madd52lo_epu64(low, h->l[0], x);
	p->high[limb] = _mm512_madd52hi_epu64(high, h->l[0], x);
}

INLINE void
add_products(struct products *p, struct limbs h, const struct factor *f)
{
	three(p, 0, &h, f->r[0], f->s[1], f->s[0]);
	three(p, 1, &h, f->r[1], f->r[0], f->s[1]);
	three(p, 2, &h, f->r[2], f->r[1], f->r[0]);
}

INLINE struct products
no_products(void)
{
	const __m512i zero = _mm512_setzero_si512();

	return (struct products){{zero, zero, zero}, {zero, zero, zero}};
}

/* Of at most four factors below 2^46 with f's below 2^45 (s: 2^49). An upper half stands 8 bits
 * above the next limb, 10 above the first after the third, which has 42. The result: below 2^44,
 * 2^44 + 2^15, 2^42. */
INLINE struct limbs
reduce(const struct products *p)
{
	const __m512i mask_44 = _mm512_set1_epi64((long long)AEAD_POLY_44);
	const __m512i mask_42 = _mm512_set1_epi64((long long)AEAD_POLY_42);
	__m512i first = p->low[0], second, third, carry;
	struct limbs h;

	second = _mm512_add_epi64(p->low[1], _mm512_slli_epi64(p->high[0], 8));
	third = _mm512_add_epi64(p->low[2], _mm512_slli_epi64(p->high[1], 8));
	second = _mm512_add_epi64(second, _mm512_srli_epi64(first, 44));
	third = _mm512_add_epi64(third, _mm512_srli_epi64(second, 44));
	carry = _mm512_add_epi64(_mm512_slli_epi64(p->high[2], 10), _mm512_srli_epi64(third, 42));
	first = _mm512_add_epi64(_mm512_and_si512(first, mask_44), times_5(carry));
	h.l[0] = _mm512_and_si512(first, mask_44);
	h.l[1] = _mm512_add_epi64(_mm512_and_si512(second, mask_44), _mm512_srli_epi64(first, 44));
	h.l[2] = _mm512_and_si512(third, mask_42);
	return h;
}

INLINE struct limbs
multiply(struct limbs h, const struct factor *f)
{
	struct products p = no_products();

	add_products(&p, h, f);
	return reduce(&p);
}

/* a * f + b * g. */
INLINE struct limbs
multiply_two(struct limbs a, const struct factor *f, struct limbs b, const struct factor *g)
{
	struct products p = no_products();

	add_products(&p, b, g); /* does not wait for the step before */
	add_products(&p, a, f);
	return reduce(&p);
}

/* h * f[3] + a * f[2] + b * f[1] + c * f[0]. */
INLINE struct limbs
multiply_four(struct limbs h, struct limbs a, struct limbs b, struct limbs c,
	      const struct factor f[4])
{
	struct products p = no_products();

	add_products(&p, c, &f[0]);
	add_products(&p, b, &f[1]);
	add_products(&p, a, &f[2]);
	add_products(&p, h, &f[3]);
	return reduce(&p);
}

/* A block in each lane: its words. */
INLINE struct limbs
limbs_of(__m512i low, __m512i high)
{
	const __m512i mask_44 = _mm512_set1_epi64((long long)AEAD_POLY_44);
	__m512i middle = _mm512_or_si512(_mm512_srli_epi64(low, 44), _mm512_slli_epi64(high, 20));

	return (struct limbs){{_mm512_and_si512(low, mask_44), _mm512_and_si512(middle, mask_44),
			       _mm512_or_si512(_mm512_srli_epi64(high, 24),
					       _mm512_set1_epi64((long long)AEAD_POLY_TOP))}};
}

INLINE struct limbs
sum(struct limbs a, struct limbs b)
{
	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < 3; i++)
		a.l[i] = _mm512_add_epi64(a.l[i], b.l[i]);
	return a;
}

INLINE struct limbs
broadcast(const uint64_t r[3])
{
	struct limbs v;

	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < 3; i++)
		v.l[i] = _mm512_set1_epi64((long long)r[i]);
	return v;
}

INLINE struct limbs
blend(__mmask8 second, struct limbs a, struct limbs b)
{
	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < 3; i++)
		a.l[i] = _mm512_mask_mov_epi64(a.l[i], second, b.l[i]);
	return a;
}

/* Lane i gets lane order[i]. */
INLINE struct limbs
permute(struct limbs a, __m512i order)
{
	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < 3; i++)
		a.l[i] = _mm512_permutexvar_epi64(order, a.l[i]);
	return a;
}

/* Lane i has the power of r for the block that stands there (unpacking two vectors of four blocks
 * makes the order 0 4 1 5 2 6 3 7): 8 4 7 3 6 2 5 1. */
INLINE struct limbs
powers(const uint64_t r[3])
{
	struct limbs one = broadcast(r), two, four, eight;
	struct factor f = factor_of(one);

	two = multiply(one, &f);
	f = factor_of(two);
	four = multiply(blend(0xaa, one, two), &f); /* 3 4 3 4 ... */
	two = blend(0xaa, one, two);                /* 1 2 1 2 ... */
	four = blend(0xcc, two, four);              /* 1 2 3 4 1 2 3 4 */
	f = factor_of(permute(four, _mm512_set1_epi64(3)));
	eight = blend(0xf0, four, multiply(four, &f)); /* 1 2 ... 8 */
	return permute(eight, _mm512_setr_epi64(7, 3, 6, 2, 5, 1, 4, 0));
}

INLINE struct limbs
load_eight(const uint8_t *at)
{
	__m512i a = _mm512_loadu_si512(at), b = _mm512_loadu_si512(at + 64);

	return limbs_of(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

/* How far h is with the vectors from the second on. f: r^8, and so far as they are needed its
 * square, its third and fourth power. */
INLINE struct limbs
alone_steps(struct limbs h, const uint8_t *data, size_t vectors, struct factor f[4])
{
	struct limbs power = {{f[0].r[0], f[0].r[1], f[0].r[2]}};
	size_t i = 1;

	for (unsigned n = 1; n < (vectors > LONG_VECTORS ? 4 : vectors > 2 ? 2 : 1); n++) {
		power = multiply(power, &f[0]);
		f[n] = factor_of(power);
	}
	for (; vectors > LONG_VECTORS && i + 3 < vectors; i += 4)
		h = sum(multiply_four(h, load_eight(data + 128 * i),
				      load_eight(data + 128 * (i + 1)),
				      load_eight(data + 128 * (i + 2)), f),
			load_eight(data + 128 * (i + 3)));
	for (; i + 1 < vectors; i += 2)
		h = sum(multiply_two(h, &f[1], load_eight(data + 128 * i), &f[0]),
			load_eight(data + 128 * (i + 1)));
	for (; i < vectors; i++)
		h = sum(multiply(h, &f[0]), load_eight(data + 128 * i));
	return h;
}

/* Of one packet, what its whole vectors of eight blocks come to. */
TARGET static void
alone_sum(struct aead_poly *p, const uint8_t *data, size_t vectors)
{
	struct limbs power = powers(p->r);
	struct factor last = factor_of(power), f[4];
	struct limbs h = load_eight(data);

	f[0] = factor_of(permute(power, _mm512_setzero_si512()));
	h = alone_steps(h, data, vectors, f);
	h = multiply(h, &last);
	uint64_t a = (uint64_t)_mm512_reduce_add_epi64(h.l[0]);
	uint64_t b = (uint64_t)_mm512_reduce_add_epi64(h.l[1]) + (a >> 44);
	uint64_t c = (uint64_t)_mm512_reduce_add_epi64(h.l[2]) + (b >> 44);

	a = (a & AEAD_POLY_44) + (c >> 42) * 5;
	p->h[0] = a & AEAD_POLY_44;
	p->h[1] = (b & AEAD_POLY_44) + (a >> 44);
	p->h[2] = c & AEAD_POLY_42;
}

TARGET static void
tag_alone(const struct aead_job *j, const uint8_t *key, uint8_t *tag)
{
	struct aead_poly p;
	size_t vectors = j->length / 128;

	aead_poly_init(&p, key);
	if (vectors >= ALONE_VECTORS)
		alone_sum(&p, j->data, vectors);
	else
		vectors = 0;
	aead_poly_bytes(&p, j->data + 128 * vectors, j->length - 128 * vectors);
	aead_poly_finish(&p, j->length, key, tag);
}

/* ---- columns ---- */

struct columns {
	const uint8_t *data[LANES];
	alignas(64) uint64_t length[LANES];
	alignas(64) uint64_t r[3][LANES];
	alignas(64) uint64_t h[3][LANES];
};

/* Lanes without a packet work on the first one's, which nobody asks for. */
static void
columns_fill(struct columns *c, const struct aead_group *g, unsigned first, unsigned count)
{
	for (unsigned lane = 0; lane < LANES; lane++) {
		unsigned i = lane < count ? first + lane : first;
		struct aead_poly p;

		aead_poly_init(&p, g->keys[i]);
		c->data[lane] = g->jobs[i].data;
		c->length[lane] = g->jobs[i].length;
		for (unsigned k = 0; k < 3; k++)
			c->r[k][lane] = p.r[k];
	}
}

/* Rows: 64 bytes of each packet. Afterwards w[k] has the word k of all. */
INLINE void
turn(__m512i w[LANES])
{
	__m512i t[LANES];

	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < 4; i++) {
		t[i] = _mm512_unpacklo_epi64(w[2 * i], w[2 * i + 1]);
		t[4 + i] = _mm512_unpackhi_epi64(w[2 * i], w[2 * i + 1]);
	}
	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < 2; i++) {
		const __m512i *from = t + 4 * i;
		__m512i a = _mm512_shuffle_i64x2(from[0], from[1], 0x44);
		__m512i b = _mm512_shuffle_i64x2(from[2], from[3], 0x44);
		__m512i c = _mm512_shuffle_i64x2(from[0], from[1], 0xee);
		__m512i d = _mm512_shuffle_i64x2(from[2], from[3], 0xee);

		w[i] = _mm512_shuffle_i64x2(a, b, 0x88);
		w[2 + i] = _mm512_shuffle_i64x2(a, b, 0xdd);
		w[4 + i] = _mm512_shuffle_i64x2(c, d, 0x88);
		w[6 + i] = _mm512_shuffle_i64x2(c, d, 0xdd);
	}
}

/* What all packets have: whole strides. */
INLINE struct limbs
columns_whole(const struct columns *c, struct limbs h, const struct factor *f, size_t bytes)
{
	struct factor square = factor_of(multiply((struct limbs){{f->r[0], f->r[1], f->r[2]}}, f));

	for (size_t at = 0; at < bytes; at += STRIDE) {
		__m512i w[LANES];

		AEAD_GROUP_UNROLL
		for (unsigned i = 0; i < LANES; i++)
			w[i] = _mm512_loadu_si512(c->data[i] + at);
		turn(w);
		h = multiply_two(sum(h, limbs_of(w[0], w[1])), &square, limbs_of(w[2], w[3]), f);
		h = multiply_two(sum(h, limbs_of(w[4], w[5])), &square, limbs_of(w[6], w[7]), f);
	}
	return h;
}

/* A stride that some packets have not, or not all of: zeros to the end of a block, and no step for
 * blocks that a packet has not. */
INLINE struct limbs
columns_rest(const struct columns *c, struct limbs h, const struct factor *f, size_t at)
{
	__m512i w[LANES], length = _mm512_load_si512(c->length);

	AEAD_GROUP_UNROLL
	for (unsigned i = 0; i < LANES; i++) {
		uint64_t left = c->length[i] > at ? c->length[i] - at : 0;
		unsigned bytes = left < STRIDE ? (unsigned)left : STRIDE;

		w[i] = _mm512_maskz_loadu_epi8(_bzhi_u64(~(uint64_t)0, bytes),
					       c->data[i] + (bytes ? at : 0));
	}
	turn(w);
	AEAD_GROUP_UNROLL
	for (unsigned k = 0; k < LANES; k += 2) {
		__mmask8 has =
			_mm512_cmpgt_epu64_mask(length, _mm512_set1_epi64((long long)(at + 8 * k)));

		if (!has)
			break;
		h = blend(has, h, multiply(sum(h, limbs_of(w[k], w[k + 1])), f));
	}
	return h;
}

TARGET static void
columns_sum(struct columns *c, size_t shortest, size_t longest)
{
	struct factor f =
		factor_of((struct limbs){{_mm512_load_si512(c->r[0]), _mm512_load_si512(c->r[1]),
					  _mm512_load_si512(c->r[2])}});
	struct limbs h = {{_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()}};
	size_t common = shortest / STRIDE * STRIDE;

	h = columns_whole(c, h, &f, common);
	for (size_t at = common; at < longest; at += STRIDE)
		h = columns_rest(c, h, &f, at);
	/* The block of lengths. */
	h = multiply(sum(h, limbs_of(_mm512_setzero_si512(), _mm512_load_si512(c->length))), &f);
	AEAD_GROUP_UNROLL
	for (unsigned k = 0; k < 3; k++)
		_mm512_store_si512(c->h[k], h.l[k]);
}

static void
tag_columns(struct aead_group *g, unsigned first, unsigned count, size_t shortest, size_t longest)
{
	struct columns c __attribute__((uninitialized));

	columns_fill(&c, g, first, count);
	columns_sum(&c, shortest, longest);
	for (unsigned i = 0; i < count; i++) {
		struct aead_poly p = {.h = {c.h[0][i], c.h[1][i], c.h[2][i]}};

		aead_poly_tag(&p, g->keys[first + i], g->tags[first + i]);
	}
}

static void
tag_some(struct aead_group *g, unsigned first, unsigned count)
{
	uint32_t shortest = UINT32_MAX, longest = 0, alone_ps = 0;

	for (unsigned i = first; i < first + count; i++) {
		uint32_t length = g->jobs[i].length;

		shortest = length < shortest ? length : shortest;
		longest = length > longest ? length : longest;
		alone_ps += 1000 * ALONE_NS + length / 16 * ALONE_BLOCK_PS;
	}
	if (1000 * COLUMNS_NS + longest / 16 * COLUMN_BLOCK_PS < alone_ps) {
		tag_columns(g, first, count, shortest, longest);
		return;
	}
	for (unsigned i = first; i < first + count; i++)
		tag_alone(&g->jobs[i], g->keys[i], g->tags[i]);
}

void
aead_avx512_tag(struct aead_group *g)
{
	for (unsigned i = 0; i < g->count; i += LANES)
		tag_some(g, i, g->count - i < LANES ? g->count - i : LANES);
}
