/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PLACE_RENDEZVOUS_H
#define SCHEDULER_PLACE_RENDEZVOUS_H

/*
 * Weighted rendezvous hashing in integers: every machine and compiler gives the same scores. A key
 * (a slot, a service) has a score on each node; the lowest wins. When a node goes, only the keys
 * that it had won find another one; when one comes, it takes only what it wins.
 *
 *   score = -log2(u) / weight        u: hash of key and node in (0, 1]
 *
 * log2 is taken from a table of 64 steps with straight lines between (error below 5e-5, the same
 * everywhere), in 26 binary digits after the point. A weight is a power of the square root of 2,
 * named by its exponent, so that dividing is a shift and at most one multiplication, and a small
 * change of what a machine has changes nothing.
 *
 * Above RENDEZVOUS_LEAF_NODES nodes the search is in two steps: a walk down a binary tree of groups
 * of nodes (a node's group are the first bits of the hash of its id), at each fork by a coin with
 * the weights of both sides, then all nodes of the group.
 */

#include <stddef.h>
#include <stdint.h>

enum {
	RENDEZVOUS_STEP_BITS = 6,
	RENDEZVOUS_POINT_BITS = 26,
	RENDEZVOUS_EXPONENT_MAX = 63,
	RENDEZVOUS_LEAF_NODES = 64, /* nodes of a group, about, at most */
	RENDEZVOUS_DEPTH_MAX = 8,   /* levels of the tree: 256 groups */
};

/* Of two numbers; every bit of the result depends on every bit of both. */
uint64_t rendezvous_mix(uint64_t a, uint64_t b);
/* Of a text; the same everywhere. */
uint64_t rendezvous_text(const char *text);

/* A node's part of the hash, kept beside the node. */
static inline uint64_t
rendezvous_seed(uint32_t node)
{
	return rendezvous_mix(node, 0x6e6f6465);
}

/* Exponent of the weight that is nearest to a capacity: 2 * log2(capacity). */
unsigned rendezvous_exponent(uint64_t capacity);

/* log2(1 + i / 64), in units of 2^-26. */
extern const uint32_t rendezvous_steps[(1 << RENDEZVOUS_STEP_BITS) + 1];

/* -log2(h / 2^64) in units of 2^-26. 0 would be infinitely far: it is as far as 1. */
static inline uint64_t
rendezvous_log(uint64_t h)
{
	h |= !h;
	unsigned zeros = (unsigned)__builtin_clzll(h);
	uint64_t fraction = h << zeros << 1;
	const uint32_t *step = &rendezvous_steps[fraction >> (64 - RENDEZVOUS_STEP_BITS)];
	uint64_t within = fraction << RENDEZVOUS_STEP_BITS >> 32;
	uint64_t log = step[0] + ((step[1] - step[0]) * within >> 32);

	/* log2(h) = 63 - zeros + log; what is wanted is 64 minus that. */
	return ((uint64_t)(zeros + 1) << RENDEZVOUS_POINT_BITS) - log;
}

/* key and seed are well mixed. Lower is better; below 2^62. */
static inline uint64_t
rendezvous_score(uint64_t key, uint64_t seed, unsigned exponent)
{
	uint64_t h = (key ^ seed) * 0xbf58476d1ce4e5b9;

	h = (h ^ h >> 32) * 0x94d049bb133111eb;
	/* At most 64 units: 32 bits before the shift, 61 after it. */
	uint64_t score = rendezvous_log(h ^ h >> 29) << 29 >> exponent / 2;

	return exponent & 1 ? (score >> 16) * 46341 : score;
}

/* The tree's sums of weights: node n of level d (n < 2^d) stands at (1 << d) + n. */
struct rendezvous_tree {
	unsigned depth;
	uint64_t weight[2u << RENDEZVOUS_DEPTH_MAX];
};

/* Levels for so many nodes. */
unsigned rendezvous_depth(size_t nodes);
/* The group of a node in a tree of that depth. */
uint32_t rendezvous_leaf(uint64_t seed, unsigned depth);
void rendezvous_tree_init(struct rendezvous_tree *t, unsigned depth);
void rendezvous_tree_add(struct rendezvous_tree *t, uint64_t seed, unsigned exponent);
/* The group for the draw-th try of a key. */
uint32_t rendezvous_descend(const struct rendezvous_tree *t, uint64_t key, unsigned draw);

#endif
