/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_WORD_H
#define RING_WORD_H

/*
 * Words of memory that another process reads or writes at the same time. Each is loaded with
 * acquire and stored with release order, so that a word read after another one is at least as new
 * (the readers' rule) and a word written after another one is never seen before it (the writers').
 * No fences: sequence locks built from these are correct by the language's rules alone.
 * Data is copied word by word; `words` counts uint64_t.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t
word_load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void
word_store(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static inline size_t
word_round(size_t bytes)
{
	return (bytes + 7) & ~(size_t)7;
}

/* From shared words to private memory of any alignment. */
static inline void
word_read(void *to, const uint64_t *from, size_t words)
{
	char *out = to;

	for (size_t i = 0; i < words; i++) {
		uint64_t word = word_load(&from[i]);

		memcpy(out + i * 8, &word, 8);
	}
}

/* From private memory of any alignment to shared words; the last word is padded with zeros. */
static inline void
word_write(uint64_t *to, const void *from, size_t bytes)
{
	const char *in = from;
	size_t words = bytes / 8;
	uint64_t word;

	for (size_t i = 0; i < words; i++) {
		memcpy(&word, in + i * 8, 8);
		word_store(&to[i], word);
	}
	if (bytes % 8 != 0) {
		word = 0;
		memcpy(&word, in + words * 8, bytes % 8);
		word_store(&to[words], word);
	}
}

/* A short wait inside a bounded loop. */
static inline void
word_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

#endif
