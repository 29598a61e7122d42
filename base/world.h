/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_WORLD_H
#define BASE_WORLD_H

/*
 * Time and randomness as a value. Protocol cores never call the clock or the kernel's generator:
 * they are given a struct world (or just a `now`), so that the same object file runs in the
 * product, in tests and in the simulator.
 */

#include <stddef.h>
#include <stdint.h>

struct world {
	uint64_t mono_ns; /* CLOCK_BOOTTIME: does not jump, counts suspend */
	int64_t wall_ns;  /* CLOCK_REALTIME since 1970, UTC */
	void (*random)(void *arg, void *out, size_t bytes);
	void *random_arg;
};

/* The real one: clocks read now, randomness from getrandom(2), which cannot fail after start. */
void world_real(struct world *w);
/* A fixed one for tests: xoshiro256** from the seed; state is the caller's. */
struct world_seeded {
	struct world world;
	uint64_t state[4];
};
void world_seeded_init(struct world_seeded *w, uint64_t seed, uint64_t mono_ns, int64_t wall_ns);

uint64_t world_mono_ns(void);
int64_t world_wall_ns(void);

void world_random(const struct world *w, void *out, size_t bytes);
uint64_t world_random_u64(const struct world *w);
/* Uniform below `bound` (> 0), without modulo bias. */
uint64_t world_random_below(const struct world *w, uint64_t bound);

#endif
