/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only place that asks the kernel for time and randomness on behalf of the protocol cores.
 * world_real() reads both clocks once: a core sees one instant per step. The monotonic clock is
 * CLOCK_BOOTTIME, so that timers count a suspended machine's sleep.
 *
 * The seeded world is xoshiro256** (Blackman and Vigna, public domain) with its state filled by
 * splitmix64: the same seed gives the same bytes on every machine. It is for tests and the
 * simulator and never for keys.
 */
#include "base/world.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static int64_t
clock_ns(clockid_t clock)
{
	struct timespec t;

	int r = clock_gettime(clock, &t);
	assert(r == 0);
	(void)r;
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

uint64_t
world_mono_ns(void)
{
	return (uint64_t)clock_ns(CLOCK_BOOTTIME);
}

int64_t
world_wall_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

static void
kernel_random(void *arg, void *out, size_t bytes)
{
	unsigned char *at = out;

	(void)arg;
	while (bytes > 0) {
		ssize_t n = getrandom(at, bytes, 0);
		if (n < 0) {
			assert(errno == EINTR);
			continue;
		}
		at += n;
		bytes -= (size_t)n;
	}
}

void
world_real(struct world *w)
{
	*w = (struct world){
		.mono_ns = world_mono_ns(),
		.wall_ns = world_wall_ns(),
		.random = kernel_random,
	};
}

static uint64_t
rotate_left(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

static uint64_t
splitmix64(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static uint64_t
xoshiro_next(uint64_t s[4])
{
	uint64_t result = rotate_left(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate_left(s[3], 45);
	return result;
}

/* Bytes are taken in little-endian order, so that a seed means the same everywhere. */
static void
seeded_random(void *arg, void *out, size_t bytes)
{
	uint64_t *state = arg;
	unsigned char *at = out;
	uint64_t word = 0;

	for (size_t i = 0; i < bytes; i++) {
		if (i % 8 == 0)
			word = xoshiro_next(state);
		at[i] = (unsigned char)(word >> (8 * (i % 8)));
	}
}

void
world_seeded_init(struct world_seeded *w, uint64_t seed, uint64_t mono_ns, int64_t wall_ns)
{
	for (size_t i = 0; i < 4; i++)
		w->state[i] = splitmix64(&seed);
	w->world = (struct world){
		.mono_ns = mono_ns,
		.wall_ns = wall_ns,
		.random = seeded_random,
		.random_arg = w->state,
	};
}

void
world_random(const struct world *w, void *out, size_t bytes)
{
	w->random(w->random_arg, out, bytes);
}

uint64_t
world_random_u64(const struct world *w)
{
	unsigned char raw[8];
	uint64_t v = 0;

	world_random(w, raw, sizeof(raw));
	for (size_t i = 0; i < sizeof(raw); i++)
		v |= (uint64_t)raw[i] << (8 * i);
	return v;
}

uint64_t
world_random_below(const struct world *w, uint64_t bound)
{
	assert(bound > 0);
	/* 2^64 mod bound: below that, a value belongs to the incomplete last stretch. */
	uint64_t reject_below = (UINT64_MAX - bound + 1) % bound;

	for (;;) {
		uint64_t v = world_random_u64(w);
		if (v >= reject_below)
			return v % bound;
	}
}
