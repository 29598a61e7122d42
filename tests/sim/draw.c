/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random numbers of a simulation. Nothing here uses floating point: its results may differ between
 * compilers, and the trace of a seed must not.
 */
#include "tests/sim/draw.h"

#include <assert.h>

#define GOLDEN 0x9e3779b97f4a7c15ull

static uint64_t
finish(uint64_t z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

uint64_t
draw_mix(uint64_t a, uint64_t b)
{
	return finish(finish(a + GOLDEN) ^ (b * GOLDEN + 1));
}

struct draw
draw_of(uint64_t seed, uint64_t purpose)
{
	return (struct draw){draw_mix(seed, purpose)};
}

uint64_t
draw_u64(struct draw *d)
{
	d->state += GOLDEN;
	return finish(d->state);
}

uint64_t
draw_below(struct draw *d, uint64_t bound)
{
	assert(bound > 0);
	return (uint64_t)((unsigned __int128)draw_u64(d) * bound >> 64);
}

uint64_t
draw_between(struct draw *d, uint64_t low, uint64_t high)
{
	assert(low <= high && high - low < UINT64_MAX);
	return low + draw_below(d, high - low + 1);
}

uint64_t
draw_scale(struct draw *d, uint64_t low, uint64_t high)
{
	unsigned doublings = 0;
	uint64_t floor, ceiling;

	assert(low > 0 && low <= high);
	while (low << (doublings + 1) <= high && doublings < 62)
		doublings++;
	floor = low << draw_below(d, doublings + 1);
	ceiling = floor <= high / 2 ? floor * 2 : high;
	return draw_between(d, floor, ceiling);
}

bool
draw_chance(struct draw *d, uint32_t ppm)
{
	return ppm > 0 && draw_below(d, 1000000) < ppm;
}

/* -ln(u) in 1/65536, from the position of u's first bit and a straight line between powers of two:
 * at most 6 % off, which no test of a protocol can tell. */
uint64_t
draw_wait(struct draw *d, uint64_t mean)
{
	const uint64_t ln2 = 45426; /* of 65536 */
	uint64_t u = draw_u64(d) | 1;
	unsigned zeros = (unsigned)__builtin_clzll(u);
	uint64_t fraction = (u << zeros << 1) >> 48; /* 0..65535: of the way to the next power */
	uint64_t wait = ln2 * zeros + (ln2 * (65536 - fraction) >> 16);

	if (wait > 8 * 65536)
		wait = 8 * 65536;
	return (uint64_t)((unsigned __int128)mean * wait >> 16);
}
