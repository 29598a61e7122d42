/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every way of the AEAD table that this CPU can run against primitive.h, which asks OpenSSL: all
 * lengths, alignments, batches and counters, what is forged, what is left behind.
 */
#include "overlay/wg/aead.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include "overlay/wg/primitive.h"
#include "tests/support/prop.h"

enum {
	BATCH_MAX = 64,
	EDGE = 32, /* bytes before and behind each packet, which nobody may touch */
	FILL = 0xa5,
	MEMORY = BATCH_MAX * (4096 + 2 * EDGE) + 2 * (AEAD_LENGTH_MAX + AEAD_TAG + 2 * EDGE),
};

static struct primitive primitive;
static struct aead aead;
static struct prop prop = {.state = 1};
static uint8_t key[AEAD_KEY], text[MEMORY], memory[MEMORY], sealed[MEMORY];
static struct aead_job jobs[BATCH_MAX];

/* Calls f with each way that runs here. */
static void
each_way(void (*f)(void))
{
	struct err err = {0};
	unsigned ways = 0;

	assert_int_equal(primitive_init(&primitive, &err), 0);
	for (size_t i = 0; aead_way(i); i++) {
		if (!aead_way(i)->runs_here())
			continue;
		assert_int_equal(aead_init(&aead, aead_way(i), &err), 0);
		f();
		aead_fini(&aead);
		aead_fini(&aead);
		ways++;
	}
	assert_true(ways >= 1);
	primitive_fini(&primitive);
}

static bool
all_zero(const uint8_t *at, size_t bytes)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < bytes; i++)
		sum |= at[i];
	return sum == 0;
}

/* ---- against OpenSSL ---- */

/* Packets one behind the other, `shift` bytes off; what they are to become, in `sealed`. */
static void
lay_out(size_t count, size_t shift)
{
	size_t at = shift;

	prop_bytes(&prop, key, sizeof(key));
	memset(memory, FILL, sizeof(memory));
	memset(sealed, FILL, sizeof(sealed));
	for (size_t i = 0; i < count; i++) {
		at += EDGE;
		jobs[i].data = memory + at;
		jobs[i].ok = false;
		memcpy(memory + at, text + at, jobs[i].length);
		assert_true(primitive_seal(
			&primitive, key, jobs[i].counter, (struct primitive_bytes){0},
			(struct primitive_bytes){text + at, jobs[i].length}, sealed + at));
		at += jobs[i].length + AEAD_TAG + EDGE;
		assert_true(at <= sizeof(memory));
	}
}

/* All of memory is compared: nothing beside the packets changes. */
static void
there_and_back(size_t count, size_t shift)
{
	lay_out(count, shift);
	aead_seal_batch(&aead, key, jobs, count);
	for (size_t i = 0; i < count; i++) {
		assert_true(jobs[i].ok);
		jobs[i].ok = false;
	}
	assert_memory_equal(memory, sealed, sizeof(memory));
	aead_open_batch(&aead, key, jobs, count);
	for (size_t i = 0; i < count; i++) {
		size_t at = (size_t)(jobs[i].data - memory);

		assert_true(jobs[i].ok);
		assert_memory_equal(memory + at, text + at, jobs[i].length);
		memcpy(memory + at, sealed + at, jobs[i].length);
	}
	assert_memory_equal(memory, sealed, sizeof(memory));
}

static void
job(size_t i, uint32_t length, uint64_t counter)
{
	jobs[i] = (struct aead_job){.length = length, .counter = counter};
}

/* Alone, and as neighbours in a batch. */
static void
every_length(void)
{
	prop_bytes(&prop, text, sizeof(text));
	for (uint32_t length = 0; length <= 3000; length++) {
		uint8_t data[3000 + AEAD_TAG], want[3000 + AEAD_TAG];
		struct aead_job one = {.data = data, .length = length, .counter = length};

		memcpy(data, text, length);
		assert_true(primitive_seal(&primitive, key, length, (struct primitive_bytes){0},
					   (struct primitive_bytes){text, length}, want));
		aead_seal_batch(&aead, key, &one, 1);
		assert_memory_equal(data, want, length + AEAD_TAG);
		aead_open_batch(&aead, key, &one, 1);
		assert_true(one.ok);
		assert_memory_equal(data, text, length);
	}
	for (uint32_t length = 0; length <= 3000 - BATCH_MAX; length += BATCH_MAX - 1) {
		for (uint32_t i = 0; i < BATCH_MAX; i++)
			job(i, length + i, i);
		there_and_back(BATCH_MAX, 0);
	}
}

static void
test_every_length(void **state)
{
	(void)state;
	each_way(every_length);
}

static void
every_alignment(void)
{
	static const uint32_t lengths[] = {0,  1,  15, 16,  17,  31,   32,   33,  48,
					   63, 64, 65, 127, 128, 1280, 1420, 1440};

	for (size_t shift = 0; shift < 64; shift++) {
		for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
			job(i, lengths[i], i);
		there_and_back(sizeof(lengths) / sizeof(lengths[0]), shift);
	}
}

static void
test_every_alignment(void **state)
{
	(void)state;
	each_way(every_alignment);
}

/* Of each size: all alike but the last, as a super-packet is cut; and mixed. */
static void
every_batch(void)
{
	for (size_t count = 1; count <= BATCH_MAX; count++) {
		for (size_t i = 0; i < count; i++)
			job(i, 1420, UINT64_MAX / 2 + i);
		job(count - 1, (uint32_t)prop_below(&prop, 1421), 7);
		there_and_back(count, count);
		for (size_t i = 0; i < count; i++)
			job(i, (uint32_t)prop_below(&prop, i % 3 == 0 ? 100 : 2500),
			    prop_u64(&prop));
		there_and_back(count, count);
	}
	there_and_back(0, 0);
}

static void
test_every_batch(void **state)
{
	(void)state;
	each_way(every_batch);
}

static void
large(void)
{
	job(0, AEAD_LENGTH_MAX, 1);
	job(1, 0, 2);
	job(2, 8908, 3);
	job(3, AEAD_LENGTH_MAX - 1, 4);
	there_and_back(4, 3);
	job(0, 16384, 1);
	job(1, 16384, 2);
	job(2, 100, 3);
	there_and_back(3, 1);
}

static void
test_large(void **state)
{
	(void)state;
	each_way(large);
}

static void
counters(void)
{
	static const uint64_t of[] = {0,
				      1,
				      UINT32_MAX - UINT64_C(1),
				      UINT32_MAX,
				      UINT64_C(1) << 32,
				      (UINT64_C(1) << 32) + 1,
				      (UINT64_C(2) << 32) - 1,
				      UINT64_C(2) << 32,
				      UINT64_C(1) << 63,
				      UINT64_MAX - 1,
				      UINT64_MAX};
	enum { COUNT = sizeof(of) / sizeof(of[0]) };

	for (size_t i = 0; i < COUNT; i++)
		job(i, 100, of[i]);
	there_and_back(COUNT, 0);
	for (size_t i = 0; i < COUNT; i++) {
		job(0, 1420, of[i]);
		there_and_back(1, 0);
	}
}

static void
test_counters(void **state)
{
	(void)state;
	each_way(counters);
}

/* ---- forged ---- */

/* One bit of packet `which` is turned: it alone is refused, and nothing of it is left. */
static void
forge(size_t count, size_t which, size_t at, uint8_t bit)
{
	memcpy(memory, sealed, sizeof(memory));
	jobs[which].data[at] ^= bit;
	aead_open_batch(&aead, key, jobs, count);
	for (size_t i = 0; i < count; i++) {
		size_t from = (size_t)(jobs[i].data - memory), end = from + jobs[i].length;

		assert_int_equal(jobs[i].ok, i != which);
		if (i == which) {
			assert_true(all_zero(memory + from, jobs[i].length + AEAD_TAG));
		} else {
			assert_memory_equal(memory + from, text + from, jobs[i].length);
			assert_memory_equal(memory + end, sealed + end, AEAD_TAG);
		}
		assert_int_equal(memory[from - 1], FILL);
		assert_int_equal(memory[end + AEAD_TAG], FILL);
	}
}

/* In a batch of unlike packets, one of like ones, and alone: each byte of the tag, and of the text
 * the ends of all blocks of 16. */
static void
forged(void)
{
	static const struct {
		size_t count;
		uint32_t length, step;
	} cases[] = {{1, 0, 0}, {1, 64, 0}, {1, 1420, 0}, {9, 150, 0}, {20, 40, 37}, {3, 300, 97}};

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		size_t count = cases[c].count;

		for (size_t i = 0; i < count; i++)
			job(i, cases[c].length + (uint32_t)i * cases[c].step, i);
		lay_out(count, c);
		for (size_t which = 0; which < count; which++) {
			uint32_t length = jobs[which].length;

			for (size_t at = 0; at < length + AEAD_TAG; at++)
				if (at >= length || at % 16 == 0 || at % 16 == 15 ||
				    at == length - 1)
					forge(count, which, at, (uint8_t)(1u << at % 8));
		}
	}
}

static void
test_forged(void **state)
{
	(void)state;
	each_way(forged);
}

/* Right bytes under another counter, key or length. */
static void
another(void)
{
	job(0, 200, 5);
	lay_out(1, 0);
	memcpy(memory, sealed, sizeof(memory));
	jobs[0].counter = 6;
	aead_open_batch(&aead, key, jobs, 1);
	assert_false(jobs[0].ok);
	memcpy(memory, sealed, sizeof(memory));
	jobs[0].counter = 5 + (UINT64_C(1) << 32);
	aead_open_batch(&aead, key, jobs, 1);
	assert_false(jobs[0].ok);
	memcpy(memory, sealed, sizeof(memory));
	jobs[0].counter = 5;
	jobs[0].length = 199;
	aead_open_batch(&aead, key, jobs, 1);
	assert_false(jobs[0].ok);
	jobs[0].length = 200;
	for (size_t i = 0; i < AEAD_KEY; i++) {
		memcpy(memory, sealed, sizeof(memory));
		key[i] ^= 0x80;
		aead_open_batch(&aead, key, jobs, 1);
		assert_false(jobs[0].ok);
		key[i] ^= 0x80;
	}
	memcpy(memory, sealed, sizeof(memory));
	aead_open_batch(&aead, key, jobs, 1);
	assert_true(jobs[0].ok);
}

static void
test_another(void **state)
{
	(void)state;
	each_way(another);
}

/* ---- what stays on the stack ---- */

enum { STACK = 256 << 10, LEFT_JOBS = 20 };

static void *
seal_and_open(void *arg)
{
	(void)arg;
	aead_seal_batch(&aead, key, jobs, LEFT_JOBS);
	aead_open_batch(&aead, key, jobs, LEFT_JOBS);
	return NULL;
}

static void
stays_not(const uint8_t *stack, const void *eight)
{
	assert_null(memmem(stack, STACK, eight, 8));
}

/* A packet's r, in two limbs of three: words 0 to 3 of the keystream's block 0. HChaCha20 gives
 * them less the constants. */
static void
no_factor(const uint8_t *stack, uint64_t counter)
{
	static const uint32_t constants[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
	uint8_t nonce[16] = {0}, out[PRIMITIVE_KEY];
	uint32_t words[4];
	uint64_t r[2];

	memcpy(nonce + 8, &counter, 8);
	assert_true(primitive_hchacha(&primitive, key, nonce, out));
	memcpy(words, out, sizeof(words));
	for (size_t i = 0; i < 4; i++)
		words[i] += constants[i];
	stays_not(stack, words);
	stays_not(stack, words + 2);
	r[0] = (words[0] | (uint64_t)words[1] << 32) & 0x0ffffffc0fffffff;
	r[1] = (words[2] | (uint64_t)words[3] << 32) & 0x0ffffffc0ffffffc;
	r[1] = r[0] >> 44 | r[1] << 20;
	for (size_t i = 0; i < 2; i++) {
		r[i] &= (UINT64_C(1) << 44) - 1;
		stays_not(stack, &r[i]);
	}
}

static void
no_keystream(const uint8_t *stack, const struct aead_job *j)
{
	size_t at = (size_t)(j->data - memory);

	for (size_t k = 0; k + 8 <= j->length; k += 4) {
		uint8_t stream[8];

		for (size_t b = 0; b < 8; b++)
			stream[b] = text[at + k + b] ^ sealed[at + k + b];
		stays_not(stack, stream);
	}
}

/* Nothing of the key (in a row, or spread over the lanes of a vector), of a packet's own, or of the
 * keystream. */
static void
left_behind(void)
{
	uint8_t *stack =
		mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_attr_t attr;
	pthread_t thread;

	assert_true(stack != MAP_FAILED);
	for (size_t i = 0; i < LEFT_JOBS; i++)
		job(i, i < LEFT_JOBS / 2 ? 1420 : 70, i + 1);
	lay_out(LEFT_JOBS, 0);
	assert_int_equal(pthread_attr_init(&attr), 0);
	assert_int_equal(pthread_attr_setstack(&attr, stack, STACK), 0);
	assert_int_equal(pthread_create(&thread, &attr, seal_and_open, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	pthread_attr_destroy(&attr);
	for (size_t i = 0; i + 8 <= AEAD_KEY; i += 4) {
		uint8_t twice[8];

		stays_not(stack, key + i);
		memcpy(twice, key + i, 4);
		memcpy(twice + 4, key + i, 4);
		stays_not(stack, twice);
	}
	for (size_t i = 0; i < LEFT_JOBS; i++) {
		assert_true(jobs[i].ok);
		no_factor(stack, jobs[i].counter);
		no_keystream(stack, &jobs[i]);
	}
	munmap(stack, STACK);
}

static void
own_left_behind(void)
{
	if (aead.way != &aead_evp) /* that one is the library's own affair */
		left_behind();
}

static void
test_left_behind(void **state)
{
	(void)state;
#if defined(__SANITIZE_ADDRESS__) || !defined(__OPTIMIZE__)
	print_message("frames have another size in this build\n");
	(void)own_left_behind;
#else
	each_way(own_left_behind);
#endif
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_length), cmocka_unit_test(test_every_alignment),
		cmocka_unit_test(test_every_batch),  cmocka_unit_test(test_large),
		cmocka_unit_test(test_counters),     cmocka_unit_test(test_forged),
		cmocka_unit_test(test_another),      cmocka_unit_test(test_left_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
