/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Poly1305 where it is hard: sums beside the modulus and limbs that are full, which no key of
 * ChaCha20 brings about. One block after the other against RFC 8439's vectors and against a slow
 * computation on bytes; the vectors' ways against that one.
 */
#include "overlay/wg/aead_poly.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/text.h"
#include "overlay/wg/aead_group.h"
#include "tests/support/prop.h"

enum {
	KEY = 32,
	LENGTH_MAX = 4000, /* a packet alone takes four steps at once beyond 2,176 */
	JOBS = AEAD_GROUP_JOBS,
	DIGITS = 17, /* bytes of a number up to 2^136 */
	ROUNDS = 400,
	OVERFLOWS = 64,
};

static void
unhex(const char *hex, void *out, size_t cap)
{
	assert_int_equal(text_unhex(hex, strlen(hex), out, cap), (long)cap);
}

/* ---- on bytes ---- */

/* Carries, and what stands above 2^130 five times at the bottom; twice, then all are bytes. */
static void
settle(uint32_t h[DIGITS])
{
	for (unsigned pass = 0; pass < 3; pass++) {
		uint32_t up = 0;

		for (unsigned i = 0; i < DIGITS - 1; i++) {
			up += h[i];
			h[i] = up & 255;
			up >>= 8;
		}
		up += h[DIGITS - 1];
		h[DIGITS - 1] = up & 3;
		h[0] += 5 * (up >> 2);
	}
}

/* h * r: 2^136 is 5 * 2^6 modulo 2^130 - 5. */
static void
times(uint32_t h[DIGITS], const uint8_t r[16])
{
	uint32_t out[DIGITS] = {0};

	for (unsigned i = 0; i < DIGITS; i++)
		for (unsigned j = 0; j < 16; j++) {
			uint32_t product = h[i] * r[j];

			if (i + j < DIGITS)
				out[i + j] += product;
			else
				out[i + j - DIGITS] += 320 * product;
		}
	memcpy(h, out, sizeof(out));
	settle(h);
}

/* The tag of blocks of 16 bytes (the last one filled up with zeros), then `lengths` if any. */
static void
slowly(const uint8_t key[KEY], const uint8_t *data, size_t bytes, const uint8_t *lengths,
       uint8_t tag[16])
{
	static const uint8_t clamp[16] = {255, 255, 255, 15, 252, 255, 255, 15,
					  252, 255, 255, 15, 252, 255, 255, 15};
	uint32_t h[DIGITS] = {0}, less[DIGITS];
	uint8_t r[16];

	for (unsigned i = 0; i < 16; i++)
		r[i] = key[i] & clamp[i];
	for (size_t at = 0; at < bytes + (lengths ? 16 : 0); at += 16) {
		size_t whole = (bytes + 15) / 16 * 16;

		for (unsigned i = 0; i < 16; i++)
			h[i] += at < whole ? (at + i < bytes ? data[at + i] : 0)
					   : lengths[at - whole + i];
		h[16] += 1;
		times(h, r);
		if (at >= whole)
			break;
	}
	/* h + 5 has the bit 2^130 set when h is at least the modulus. */
	memcpy(less, h, sizeof(h));
	less[0] += 5;
	for (unsigned i = 0; i < DIGITS - 1; i++) {
		less[i + 1] += less[i] >> 8;
		less[i] &= 255;
	}
	const uint32_t *reduced = less[16] >= 4 ? less : h;
	uint32_t up = 0;

	for (unsigned i = 0; i < 16; i++) {
		up += reduced[i] + key[16 + i];
		tag[i] = (uint8_t)up;
		up >>= 8;
	}
}

/* ---- RFC 8439, appendix A.3: 1 and 7 to 11, which are whole blocks ---- */

static const struct {
	const char *key, *data, *tag;
} published[] = {
	{"0000000000000000000000000000000000000000000000000000000000000000",
	 "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
	 "000000000000000000000000000000000000000000",
	 "00000000000000000000000000000000"},
	{"0200000000000000000000000000000000000000000000000000000000000000",
	 "ffffffffffffffffffffffffffffffff", "03000000000000000000000000000000"},
	{"02000000000000000000000000000000ffffffffffffffffffffffffffffffff",
	 "02000000000000000000000000000000", "03000000000000000000000000000000"},
	{"0100000000000000000000000000000000000000000000000000000000000000",
	 "fffffffffffffffffffffffffffffffff0ffffffffffffffffffffffffffffff"
	 "11000000000000000000000000000000",
	 "05000000000000000000000000000000"},
	{"0100000000000000000000000000000000000000000000000000000000000000",
	 "fffffffffffffffffffffffffffffffffbfefefefefefefefefefefefefefefe"
	 "01010101010101010101010101010101",
	 "00000000000000000000000000000000"},
	{"0200000000000000000000000000000000000000000000000000000000000000",
	 "fdffffffffffffffffffffffffffffff", "faffffffffffffffffffffffffffffff"},
	{"0100000000000000040000000000000000000000000000000000000000000000",
	 "e33594d7505e43b900000000000000003394d7505e4379cd0100000000000000"
	 "0000000000000000000000000000000001000000000000000000000000000000",
	 "14000000000000005500000000000000"},
	{"0100000000000000040000000000000000000000000000000000000000000000",
	 "e33594d7505e43b900000000000000003394d7505e4379cd0100000000000000"
	 "00000000000000000000000000000000",
	 "13000000000000000000000000000000"},
};

static void
test_published(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(published) / sizeof(published[0]); i++) {
		size_t bytes = strlen(published[i].data) / 2;
		uint8_t key[KEY], data[64], want[16], tag[16];
		struct aead_poly p;

		assert_true(bytes <= sizeof(data));
		unhex(published[i].key, key, sizeof(key));
		unhex(published[i].data, data, bytes);
		unhex(published[i].tag, want, sizeof(want));
		aead_poly_init(&p, key);
		aead_poly_bytes(&p, data, bytes);
		aead_poly_tag(&p, key, tag);
		assert_memory_equal(tag, want, sizeof(want));
		slowly(key, data, bytes, NULL, tag);
		assert_memory_equal(tag, want, sizeof(want));
	}
}

/* ---- the ways ---- */

/* Full, empty, one bit, beside the modulus, or anything. */
static void
extreme(struct prop *p, uint8_t *at, size_t bytes)
{
	uint64_t kind = prop_below(p, 6);

	memset(at, kind == 0 ? 0 : 255, bytes);
	if (kind == 2)
		at[prop_below(p, bytes)] = (uint8_t)prop_u64(p);
	if (kind == 3)
		memset(at, 0, bytes), at[prop_below(p, bytes)] = (uint8_t)(1u << prop_below(p, 8));
	for (size_t i = 0; kind == 4 && i < bytes; i += 16)
		at[i] = (uint8_t)(0xf9 + prop_below(p, 7));
	if (kind == 5)
		prop_bytes(p, at, bytes);
}

static uint8_t memory[JOBS][LENGTH_MAX + AEAD_TAG];
static struct aead_job jobs[JOBS];
static struct aead_group group;

static void
compare(void (*tag)(struct aead_group *g))
{
	tag(&group);
	for (unsigned i = 0; i < group.count; i++) {
		uint8_t lengths[16] = {0}, want[16];

		memcpy(lengths + 8, &(uint64_t){jobs[i].length}, 8);
		slowly(group.keys[i], memory[i], jobs[i].length, lengths, want);
		assert_memory_equal(group.tags[i], want, sizeof(want));
	}
}

static void
make(struct prop *p, unsigned count, bool alike)
{
	uint32_t length = (uint32_t)prop_below(p, LENGTH_MAX + 1);

	group.jobs = jobs;
	group.count = count;
	for (unsigned i = 0; i < count; i++) {
		if (!alike)
			length = (uint32_t)prop_below(p, LENGTH_MAX + 1);
		jobs[i] = (struct aead_job){.data = memory[i], .length = length};
		extreme(p, memory[i], LENGTH_MAX);
		extreme(p, group.keys[i], 16);
		extreme(p, group.keys[i] + 16, 16);
	}
}

static void
scalar(struct aead_group *g)
{
	for (unsigned i = 0; i < g->count; i++) {
		struct aead_poly p;

		aead_poly_init(&p, g->keys[i]);
		aead_poly_bytes(&p, g->jobs[i].data, g->jobs[i].length);
		aead_poly_finish(&p, g->jobs[i].length, g->keys[i], g->tags[i]);
	}
}

static void
with_each_way(void (*test)(struct prop *p, void (*tag)(struct aead_group *g)))
{
	struct prop p;

	prop_init(&p, 0, NULL);
	test(&p, scalar);
	if (aead_avx2.runs_here())
		test(&p, aead_avx2_tag);
	if (aead_avx512.runs_here())
		test(&p, aead_avx512_tag);
}

static void
extremes(struct prop *p, void (*tag)(struct aead_group *g))
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		make(p, 1 + i % JOBS, i % 3 != 0);
		compare(tag);
	}
}

static void
test_extremes(void **state)
{
	(void)state;
	with_each_way(extremes);
}

/* A number below 2^88 whose square has a second limb that stands above its 44 bits: by chance one
 * of 2^37 keys has such a power. 2 * r0 * r1 + (r0^2 >> 44) is made 2^44 - 2, modulo 2^44; what
 * comes back from the top is at least 4. */
static bool
overflowing(struct prop *p, uint8_t key[KEY])
{
	uint64_t r0 = (prop_u64(p) | 1) & 0xffc0fffffff, inverse = r0, out[3];
	uint64_t high = (uint64_t)((unsigned __int128)r0 * r0 >> 44), words[2];
	struct aead_poly poly;

	if (high & 1)
		return false;
	for (unsigned i = 0; i < 6; i++) /* Newton's: each time twice as many bits */
		inverse *= 2 - r0 * inverse;
	uint64_t r1 = ((UINT64_C(1) << 44) - 2 - high) / 2 * inverse & ((UINT64_C(1) << 43) - 1);

	r1 |= UINT64_C(1) << 43;
	words[0] = r0 | r1 << 44;
	words[1] = r1 >> 20;
	memcpy(key, words, sizeof(words));
	aead_poly_init(&poly, key);
	aead_poly_square(out, poly.r);
	return out[1] >= UINT64_C(1) << 44;
}

static void
overflow(struct prop *p, void (*tag)(struct aead_group *g))
{
	for (unsigned i = 0; i < OVERFLOWS; i++) {
		make(p, 1 + i % JOBS, true);
		for (unsigned k = 0; k < group.count; k++)
			while (!overflowing(p, group.keys[k]))
				;
		compare(tag);
	}
}

static void
test_overflow(void **state)
{
	(void)state;
	with_each_way(overflow);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published),
		cmocka_unit_test(test_extremes),
		cmocka_unit_test(test_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
