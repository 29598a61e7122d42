/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_DRAW_H
#define TESTS_SIM_DRAW_H

/*
 * The only randomness of a simulation: a small generator (splitmix64) that gives the same numbers
 * everywhere, and what is drawn with it. Each purpose has a generator of its own, so that drawing
 * once more for the network does not change what the disks do.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct draw {
	uint64_t state;
};

/* Of seed and purpose; different purposes are independent. */
struct draw draw_of(uint64_t seed, uint64_t purpose);
uint64_t draw_u64(struct draw *d);
uint64_t draw_below(struct draw *d, uint64_t bound); /* bound > 0 */
/* From low to high, both included. */
uint64_t draw_between(struct draw *d, uint64_t low, uint64_t high);
/* As draw_between, but each order of magnitude is as likely as the next; low > 0. */
uint64_t draw_scale(struct draw *d, uint64_t low, uint64_t high);
/* True ppm times of a million. */
bool draw_chance(struct draw *d, uint32_t ppm);
/* Exponential around that mean, cut at eight times of it. */
uint64_t draw_wait(struct draw *d, uint64_t mean);
/* A number that depends on its arguments only. */
uint64_t draw_mix(uint64_t a, uint64_t b);

#endif
