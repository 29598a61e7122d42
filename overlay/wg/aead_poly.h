/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_AEAD_POLY_H
#define OVERLAY_WG_AEAD_POLY_H

/*
 * Poly1305 (RFC 8439, section 2.5), one block after the other: what is too short for vectors, what
 * they leave at the end, and the last sum. Numbers modulo 2^130 - 5 have three limbs, of 44, 44 and
 * 42 bits; a limb may stand a few bits above that between two steps. No branch and no index
 * depends on anything but lengths.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define AEAD_POLY_44 (((uint64_t)1 << 44) - 1)
#define AEAD_POLY_42 (((uint64_t)1 << 42) - 1)
#define AEAD_POLY_TOP ((uint64_t)1 << 40) /* 2^128, in the third limb */

struct aead_poly {
	uint64_t h[3];
	uint64_t r[3], s[2]; /* s: 20 * r[1], 20 * r[2]: what passes 2^132 comes back so */
};

static inline uint64_t
aead_poly_u64(const uint8_t *at)
{
	uint64_t v;

	memcpy(&v, at, sizeof(v)); /* little-endian: all that this is compiled for */
	return v;
}

/* key: 32 bytes, of which the first half is r, clamped here. */
static inline void
aead_poly_init(struct aead_poly *p, const uint8_t *key)
{
	uint64_t low = aead_poly_u64(key) & 0x0ffffffc0fffffff;
	uint64_t high = aead_poly_u64(key + 8) & 0x0ffffffc0ffffffc;

	*p = (struct aead_poly){
		.r = {low & AEAD_POLY_44, (low >> 44 | high << 20) & AEAD_POLY_44, high >> 24}};
	p->s[0] = p->r[1] * 20;
	p->s[1] = p->r[2] * 20;
}

/* out = a * r; out may be a. */
static inline void
aead_poly_multiply(uint64_t out[3], const uint64_t a[3], const uint64_t r[3], const uint64_t s[2])
{
	typedef unsigned __int128 wide;
	wide d0 = (wide)a[0] * r[0] + (wide)a[1] * s[1] + (wide)a[2] * s[0];
	wide d1 = (wide)a[0] * r[1] + (wide)a[1] * r[0] + (wide)a[2] * s[1];
	wide d2 = (wide)a[0] * r[2] + (wide)a[1] * r[1] + (wide)a[2] * r[0];

	d1 += (uint64_t)(d0 >> 44);
	d2 += (uint64_t)(d1 >> 44);
	uint64_t first = ((uint64_t)d0 & AEAD_POLY_44) + (uint64_t)(d2 >> 42) * 5;

	out[0] = first & AEAD_POLY_44;
	out[1] = ((uint64_t)d1 & AEAD_POLY_44) + (first >> 44);
	out[2] = (uint64_t)d2 & AEAD_POLY_42;
}

static inline void
aead_poly_square(uint64_t out[3], const uint64_t r[3])
{
	const uint64_t s[2] = {r[1] * 20, r[2] * 20};

	aead_poly_multiply(out, r, r, s);
}

/* One block of 16 bytes. */
static inline void
aead_poly_block(struct aead_poly *p, uint64_t low, uint64_t high)
{
	p->h[0] += low & AEAD_POLY_44;
	p->h[1] += (low >> 44 | high << 20) & AEAD_POLY_44;
	p->h[2] += high >> 24 | AEAD_POLY_TOP;
	aead_poly_multiply(p->h, p->h, p->r, p->s);
}

/* Any bytes; the last block is filled with zeros, as the construction wants it. */
static inline void
aead_poly_bytes(struct aead_poly *p, const uint8_t *data, size_t bytes)
{
	uint8_t last[16] = {0};

	for (; bytes >= 16; bytes -= 16, data += 16)
		aead_poly_block(p, aead_poly_u64(data), aead_poly_u64(data + 8));
	if (bytes == 0)
		return;
	memcpy(last, data, bytes);
	aead_poly_block(p, aead_poly_u64(last), aead_poly_u64(last + 8));
}

/* h, reduced, and the second half of the key. */
static inline void
aead_poly_tag(const struct aead_poly *p, const uint8_t *key, uint8_t tag[16])
{
	uint64_t h0, h1, h2, g0, g1, g2, keep;

	h2 = p->h[2] + (p->h[1] >> 44);
	h0 = p->h[0] + (h2 >> 42) * 5;
	h1 = (p->h[1] & AEAD_POLY_44) + (h0 >> 44);
	h2 = (h2 & AEAD_POLY_42) + (h1 >> 44);
	h0 &= AEAD_POLY_44;
	h1 &= AEAD_POLY_44;
	/* Less the modulus, unless that is below zero. */
	g0 = h0 + 5;
	g1 = h1 + (g0 >> 44);
	g2 = h2 + (g1 >> 44) - (AEAD_POLY_42 + 1);
	keep = 0 - (g2 >> 63);
	h0 = (h0 & keep) | (g0 & AEAD_POLY_44 & ~keep);
	h1 = (h1 & keep) | (g1 & AEAD_POLY_44 & ~keep);
	h2 = (h2 & keep) | (g2 & AEAD_POLY_42 & ~keep);

	uint64_t low = h0 | h1 << 44, high = h1 >> 20 | h2 << 24;
	uint64_t sum = low + aead_poly_u64(key + 16);

	high += aead_poly_u64(key + 24) + (sum < low);
	memcpy(tag, &sum, 8);
	memcpy(tag + 8, &high, 8);
}

/* The same behind the block of lengths (no additional data). */
static inline void
aead_poly_finish(struct aead_poly *p, uint64_t text_bytes, const uint8_t *key, uint8_t tag[16])
{
	aead_poly_block(p, 0, text_bytes);
	aead_poly_tag(p, key, tag);
}

#endif
