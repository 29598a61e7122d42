/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether the own ways of the AEAD table take time that depends on keys or text: whether a jump or
 * an address does. Key, text and sealed packets are made undefined, for a tool that follows what is
 * undefined through every instruction:
 *
 *   valgrind's memcheck  the product's own machine code; carries of a sum, too. It knows no AVX-512
 *   clang's MSan         AVX-512 as well, but as clang compiles it, and a sum is undefined only in
 *                        those bits in which one of its parts is
 *
 * The verdict on a tag alone may be known: primitive_equal() stands here in place of the library's,
 * and says so.
 */
#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#define MSAN
#endif
#endif

#ifdef MSAN
#include <sanitizer/msan_interface.h>
#else
#include <valgrind/memcheck.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "overlay/wg/aead.h"
#include "overlay/wg/primitive.h"

enum { JOBS_MAX = 20, LENGTH_MAX = 1500, ROOM = LENGTH_MAX + AEAD_TAG };

static uint8_t memory[JOBS_MAX][ROOM], key[AEAD_KEY];
static struct aead_job jobs[JOBS_MAX];
static bool refuse;

static void
hide(void *p, size_t bytes)
{
#ifdef MSAN
	__msan_poison(p, bytes);
#else
	VALGRIND_MAKE_MEM_UNDEFINED(p, bytes);
#endif
}

static void
show(void *p, size_t bytes)
{
#ifdef MSAN
	__msan_unpoison(p, bytes);
#else
	VALGRIND_MAKE_MEM_DEFINED(p, bytes);
#endif
}

static bool
hidden(uint8_t *p)
{
#ifdef MSAN
	return __msan_test_shadow(p, 1) == 0;
#else
	uint8_t bits = 0;

	return VALGRIND_GET_VBITS(p, &bits, 1) == 1 && bits == 0xff;
#endif
}

const struct aead_way aead_evp = {.name = "for long packets, of which there are none here"};

bool
primitive_equal(const void *a, const void *b, size_t bytes)
{
	const uint8_t *x = a, *y = b;
	uint8_t sum = 0;

	for (size_t i = 0; i < bytes; i++)
		sum |= x[i] ^ y[i];
	if (!hidden(&sum)) {
		fprintf(stderr, "nobody follows what is secret: nothing is tested\n");
		_Exit(1);
	}
	show(&sum, 1);
	return sum == 0 && !refuse;
}

void
mem_wipe(void *p, size_t bytes)
{
	memset(p, 0, bytes);
	__asm__ volatile("" : : "r"(p) : "memory");
}

static void
try(const struct aead_way *w, size_t count, uint32_t length, uint32_t step)
{
	for (size_t i = 0; i < count; i++) {
		jobs[i] = (struct aead_job){.data = memory[i],
					    .length = (length + step * (uint32_t)i) % LENGTH_MAX,
					    .counter = i};
		hide(memory[i], ROOM);
	}
	hide(key, sizeof(key));
	w->seal_batch(NULL, key, jobs, count);
	for (size_t i = 0; i < count; i++)
		hide(memory[i], ROOM);
	w->open_batch(NULL, key, jobs, count);
}

int
main(void)
{
	const struct aead_way *const ways[] = {&aead_avx2, &aead_avx512};
	unsigned tried = 0;

	for (size_t i = 0; i < 2; i++) {
		if (!ways[i]->runs_here())
			continue;
		for (int round = 0; round < 2; round++) {
			refuse = round > 0;
			for (uint32_t length = 0; length < LENGTH_MAX; length += 7)
				try(ways[i], 1, length, 0);
			for (size_t count = 1; count <= JOBS_MAX; count++) {
				try(ways[i], count, 1420, 0);
				try(ways[i], count, 64, 0);
				try(ways[i], count, 3, 131);
			}
		}
		printf("%s: no jump and no address depends on what is secret\n", ways[i]->name);
		tried++;
	}
	return tried ? 0 : 77; /* skipped: this CPU, or the tool's, can run none */
}
