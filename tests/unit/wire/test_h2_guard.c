/* SPDX-License-Identifier: Apache-2.0 */
/* The guard: what is refused, at every split, and that honest traffic never is. */
#include "wire/h2_guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { DATA = 0, HEADERS = 1, RST = 3, SETTINGS = 4, PING = 6, CONTINUATION = 9 };
enum { END_STREAM = 1, END_HEADERS = 4 };

struct wire {
	uint8_t data[1 << 20];
	size_t length;
};

static struct wire w;

static void
begin(void)
{
	memcpy(w.data, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
	w.length = 24;
}

static void
put(uint8_t type, uint8_t flags, uint32_t stream, uint32_t length)
{
	uint8_t head[9] = {(uint8_t)(length >> 16),
			   (uint8_t)(length >> 8),
			   (uint8_t)length,
			   type,
			   flags,
			   (uint8_t)(stream >> 24),
			   (uint8_t)(stream >> 16),
			   (uint8_t)(stream >> 8),
			   (uint8_t)stream};

	assert_true(w.length + 9 + length <= sizeof(w.data));
	memcpy(w.data + w.length, head, 9);
	memset(w.data + w.length + 9, 0, length);
	w.length += 9 + length;
}

static enum h2_guard_verdict
run(size_t step, uint64_t ms_per_step)
{
	struct h2_guard g;
	uint64_t now = 1000;

	h2_guard_init(&g, NULL, now);
	for (size_t at = 0; at < w.length; at += step, now += ms_per_step) {
		size_t n = w.length - at < step ? w.length - at : step;
		enum h2_guard_verdict v = h2_guard_feed(&g, w.data + at, n, now);

		if (v != H2_GUARD_OK)
			return v;
	}
	return H2_GUARD_OK;
}

static void
expect(enum h2_guard_verdict want)
{
	assert_int_equal(run(w.length, 0), want);
	assert_int_equal(run(1, 0), want);
	assert_int_equal(run(13, 0), want);
}

static void
test_ids(void **state)
{
	(void)state;
	begin();
	put(HEADERS, END_HEADERS | END_STREAM, 1, 20);
	put(HEADERS, END_HEADERS, 5, 20);
	put(DATA, 0, 5, 100);
	put(HEADERS, END_HEADERS | END_STREAM, 5, 10); /* trailers */
	expect(H2_GUARD_OK);
	put(HEADERS, END_HEADERS, 3, 20);
	expect(H2_GUARD_PROTOCOL);
	begin();
	put(HEADERS, END_HEADERS, 2, 20);
	expect(H2_GUARD_PROTOCOL);
	begin();
	put(HEADERS, END_HEADERS, 0, 20);
	expect(H2_GUARD_PROTOCOL);
}

static void
test_blocks(void **state)
{
	(void)state;
	begin();
	put(HEADERS, 0, 1, 10);
	for (int i = 0; i < 7; i++)
		put(CONTINUATION, 0, 1, 10);
	put(CONTINUATION, END_HEADERS, 1, 10);
	expect(H2_GUARD_OK);
	begin();
	put(HEADERS, 0, 1, 10);
	for (int i = 0; i < 9; i++)
		put(CONTINUATION, 0, 1, 0);
	expect(H2_GUARD_CALM);
	begin();
	put(HEADERS, 0, 1, 16384);
	for (int i = 0; i < 4; i++)
		put(CONTINUATION, 0, 1, 16384);
	expect(H2_GUARD_CALM);
	begin();
	put(CONTINUATION, 0, 1, 10);
	expect(H2_GUARD_PROTOCOL);
	begin();
	put(HEADERS, 0, 1, 10);
	put(CONTINUATION, 0, 3, 10);
	expect(H2_GUARD_PROTOCOL);
	begin();
	put(HEADERS, 0, 1, 10);
	put(PING, 0, 0, 8);
	expect(H2_GUARD_PROTOCOL);
}

static void
test_floods(void **state)
{
	static const uint8_t kinds[] = {PING, SETTINGS, RST, DATA, 0x42};

	(void)state;
	for (size_t k = 0; k < sizeof(kinds); k++) {
		begin();
		put(HEADERS, END_HEADERS, 1, 20);
		for (int i = 0; i < 1000; i++)
			put(kinds[k], 0, kinds[k] == DATA || kinds[k] == RST,
			    kinds[k] == PING ? 8 : 0);
		expect(H2_GUARD_OK);
		while (w.length + 20 < sizeof(w.data))
			put(kinds[k], 0, kinds[k] == DATA || kinds[k] == RST,
			    kinds[k] == PING ? 8 : 0);
		expect(H2_GUARD_CALM);
		/* The same over days is no flood. */
		assert_int_equal(run(17, 10000), H2_GUARD_OK);
	}
	begin();
	put(HEADERS, END_HEADERS, 1, 20);
	for (int i = 0; i < 60; i++)
		put(DATA, 0, 1, 16000);
	expect(H2_GUARD_OK);
}

static void
test_resets(void **state)
{
	struct h2_guard g;
	enum h2_guard_verdict v = H2_GUARD_OK;

	(void)state;
	begin();
	for (uint32_t i = 0; i < 150; i++)
		put(HEADERS, END_HEADERS | END_STREAM, 2 * i + 1, 20);
	h2_guard_init(&g, NULL, 0);
	assert_int_equal(h2_guard_feed(&g, w.data, w.length, 0), H2_GUARD_OK);
	for (int i = 0; i < 100; i++) {
		v = h2_guard_reset(&g);
		assert_int_equal(v, H2_GUARD_OK);
	}
	assert_int_equal(h2_guard_reset(&g), H2_GUARD_CALM);
	begin();
	for (uint32_t i = 0; i < 1000; i++)
		put(HEADERS, END_HEADERS | END_STREAM, 2 * i + 1, 20);
	h2_guard_init(&g, NULL, 0);
	assert_int_equal(h2_guard_feed(&g, w.data, w.length, 0), H2_GUARD_OK);
	for (int i = 0; i < 500; i++)
		assert_int_equal(h2_guard_reset(&g), H2_GUARD_OK);
	assert_int_equal(h2_guard_reset(&g), H2_GUARD_CALM);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_floods),
		cmocka_unit_test(test_resets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
