/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scores and the tree of groups. Only integers: no rounding mode, no library's log2, no order of
 * additions can make two nodes disagree. The table was made with exact arithmetic.
 */
#include "scheduler/place/rendezvous.h"

#include <assert.h>
#include <string.h>

enum { FORK = 0x666f726b, FIRST = 0x67726f75 };

/* log2(1 + i / 64), in units of 2^-26. */
const uint32_t rendezvous_steps[(1 << RENDEZVOUS_STEP_BITS) + 1] = {
	0,        1501079,  2979239,  4435170,  5869532,  7282953,  8676036,  10049359, 11403474,
	12738911, 14056177, 15355762, 16638134, 17903742, 19153019, 20386381, 21604229, 22806948,
	23994909, 25168470, 26327977, 27473761, 28606143, 29725435, 30831934, 31925930, 33007703,
	34077521, 35135648, 36182335, 37217828, 38242363, 39256169, 40259469, 41252479, 42235408,
	43208457, 44171825, 45125701, 46070271, 47005714, 47932205, 48849915, 49759007, 50659643,
	51551977, 52436163, 53312346, 54180672, 55041278, 55894303, 56739877, 57578130, 58409188,
	59233172, 60050204, 60860398, 61663868, 62460725, 63251078, 64035030, 64812686, 65584145,
	66349506, 67108864,
};

static uint64_t
spread(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

uint64_t
rendezvous_mix(uint64_t a, uint64_t b)
{
	return spread(spread(a + 0x9e3779b97f4a7c15) ^ b);
}

uint64_t
rendezvous_text(const char *text)
{
	uint64_t h = 0xcbf29ce484222325;

	while (*text)
		h = (h ^ (uint8_t)*text++) * 0x100000001b3;
	return spread(h);
}

/* ---- scores ---- */

unsigned
rendezvous_exponent(uint64_t capacity)
{
	/* The nearest half: thresholds at a quarter and three quarters of a doubling. */
	capacity |= !capacity;
	unsigned whole = 63 - (unsigned)__builtin_clzll(capacity);
	uint64_t log = ((uint64_t)64 << RENDEZVOUS_POINT_BITS) - rendezvous_log(capacity);
	uint64_t rest = log - ((uint64_t)whole << RENDEZVOUS_POINT_BITS);
	unsigned half = (unsigned)((rest + (1u << (RENDEZVOUS_POINT_BITS - 2))) >>
				   (RENDEZVOUS_POINT_BITS - 1));
	unsigned exponent = 2 * whole + half;

	return exponent < RENDEZVOUS_EXPONENT_MAX ? exponent : RENDEZVOUS_EXPONENT_MAX;
}

/* ---- the tree ---- */

unsigned
rendezvous_depth(size_t nodes)
{
	unsigned depth = 0;

	while (depth < RENDEZVOUS_DEPTH_MAX && nodes >> depth > RENDEZVOUS_LEAF_NODES)
		depth++;
	return depth;
}

uint32_t
rendezvous_leaf(uint64_t seed, unsigned depth)
{
	return depth ? (uint32_t)(rendezvous_mix(seed, FIRST) >> (64 - depth)) : 0;
}

void
rendezvous_tree_init(struct rendezvous_tree *t, unsigned depth)
{
	assert(depth <= RENDEZVOUS_DEPTH_MAX);
	memset(t, 0, sizeof(*t));
	t->depth = depth;
}

/* In units that keep a sum of many below 2^32 beside its neighbour. */
static uint64_t
weight(unsigned exponent)
{
	uint64_t w = (uint64_t)1 << exponent / 2;

	return exponent & 1 ? w * 46341 >> 15 : w;
}

void
rendezvous_tree_add(struct rendezvous_tree *t, uint64_t seed, unsigned exponent)
{
	for (unsigned at = (1u << t->depth) + rendezvous_leaf(seed, t->depth); at; at /= 2)
		t->weight[at] += weight(exponent);
}

uint32_t
rendezvous_descend(const struct rendezvous_tree *t, uint64_t key, unsigned draw)
{
	unsigned at = 1;

	key = rendezvous_mix(key, FORK + draw);
	while (at < 1u << t->depth) {
		uint64_t left = t->weight[2 * at], both = left + t->weight[2 * at + 1];
		uint64_t coin = (key ^ at * UINT64_C(0x9e3779b97f4a7c15)) * 0x94d049bb133111eb;

		at = 2 * at + ((unsigned __int128)(coin ^ coin << 32) * both >> 64 >= left);
	}
	return at - (1u << t->depth);
}
