/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_PROP_H
#define TESTS_SUPPORT_PROP_H

/*
 * Randomness of a property test: a seed from the first argument, else from ZLAYER_SEED, else a
 * fresh one, always printed; and a generator (splitmix64) that is the same everywhere.
 */

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

struct prop {
	uint64_t state;
};

static inline void
prop_init(struct prop *p, int argc, char **argv)
{
	const char *text = argc > 1 ? argv[1] : getenv("ZLAYER_SEED");
	uint64_t seed = 0;

	if (text)
		seed = strtoull(text, NULL, 0);
	else if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		abort();
	p->state = seed;
	printf("seed %" PRIu64 " (repeat with ZLAYER_SEED=%" PRIu64 ")\n", seed, seed);
	fflush(stdout);
}

static inline uint64_t
prop_u64(struct prop *p)
{
	uint64_t z = p->state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* Below bound, which is above 0 and small beside 2^64. */
static inline uint64_t
prop_below(struct prop *p, uint64_t bound)
{
	return prop_u64(p) % bound;
}

static inline void
prop_bytes(struct prop *p, void *out, size_t bytes)
{
	unsigned char *at = out;

	while (bytes--)
		*at++ = (unsigned char)prop_u64(p);
}

/* Ends the test with the line that failed; stays on in every build. */
#define prop_check(condition)                                                           \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                        \
		}                                                                       \
	} while (0)

#endif
