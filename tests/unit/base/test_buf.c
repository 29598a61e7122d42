/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/arena.h"
#include "base/le.h"
#include "tests/support/sweep.h"

static void
test_text(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, MEM_WIRE, 1000);
	assert_string_equal(buf_cstr(&b), "");
	assert_int_equal(mem_used(MEM_WIRE), 0);
	buf_puts(&b, "GET");
	buf_putc(&b, ' ');
	buf_put(&b, "/index", 1);
	buf_printf(&b, " HTTP/%d.%d", 1, 1);
	assert_true(buf_ok(&b));
	assert_string_equal(buf_cstr(&b), "GET / HTTP/1.1");
	assert_int_equal(b.length, 14);
	buf_consume(&b, 4);
	assert_string_equal(buf_cstr(&b), "/ HTTP/1.1");
	buf_consume(&b, b.length);
	assert_string_equal(buf_cstr(&b), "");
	buf_fini(&b);
	assert_int_equal(mem_used_all(), 0);
}

static void
test_full_to_the_cap(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, MEM_BASE, 5);
	buf_printf(&b, "%s", "12345");
	assert_true(buf_ok(&b));
	assert_string_equal(buf_cstr(&b), "12345");
	buf_put(&b, "", 0);
	assert_true(buf_ok(&b));
	buf_putc(&b, '6');
	assert_false(buf_ok(&b));
	assert_string_equal(buf_cstr(&b), "");
	assert_null(buf_reserve(&b, 0));
	buf_reset(&b);
	buf_puts(&b, "ok");
	assert_string_equal(buf_cstr(&b), "ok");
	buf_fini(&b);
}

static void
test_failure_is_sticky(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, MEM_BASE, 5);
	buf_puts(&b, "toolong");
	buf_puts(&b, "ok");
	assert_false(buf_ok(&b));
	assert_int_equal(b.length, 0);
	buf_fini(&b);
	buf_init(&b, MEM_BASE, 0);
	assert_non_null(buf_reserve(&b, 0));
	buf_u8(&b, 1);
	assert_false(buf_ok(&b));
	buf_fini(&b);
}

static void
test_reserve_and_commit(void **state)
{
	struct buf b;
	uint8_t *at;

	(void)state;
	buf_init(&b, MEM_BASE, 1 << 16);
	for (unsigned i = 0; i < 100; i++) {
		at = buf_reserve(&b, 500);
		assert_non_null(at);
		memset(at, (int)i, 500);
		buf_commit(&b, i);
	}
	assert_int_equal(b.length, 4950);
	for (unsigned i = 0, k = 0; i < 100; i++)
		for (unsigned j = 0; j < i; j++)
			assert_int_equal(b.data[k++], i);
	assert_null(buf_reserve(&b, SIZE_MAX));
	assert_false(buf_ok(&b));
	buf_fini(&b);
}

static void
test_bytes_on_the_wire(void **state)
{
	static const uint8_t expected[] = {
		0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0f, 0x0e, 0x0d,
		0x0c, 0x0b, 0x0a, 0x09, 0x08, 2,    0,    0,    0,    'h',
		'i',  0xff, 0xff, 0xff, 0xff, 0,    0,    0,    0,
	};
	struct buf b;

	(void)state;
	buf_init(&b, MEM_BASE, 100);
	buf_u8(&b, 0x01);
	buf_u16(&b, 0x0203);
	buf_u32(&b, 0x04050607);
	buf_u64(&b, 0x08090a0b0c0d0e0f);
	buf_text(&b, "hi");
	buf_text(&b, NULL);
	buf_blob(&b, NULL, 0);
	assert_int_equal(b.length, sizeof(expected));
	assert_memory_equal(b.data, expected, sizeof(expected));
	buf_blob(&b, expected, UINT32_MAX);
	assert_false(buf_ok(&b));
	buf_fini(&b);
}

static void
test_cursor_reads(void **state)
{
	static const uint8_t data[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
				       12, 13, 14, 15, 16, 17, 18, 19, 20, 21};
	struct cursor c;

	(void)state;
	cursor_init(&c, data, sizeof(data));
	assert_int_equal(cursor_u8(&c), 1);
	assert_int_equal(cursor_u16(&c), 0x0302);
	assert_int_equal(cursor_u32(&c), 0x07060504);
	assert_true(cursor_u64(&c) == 0x0f0e0d0c0b0a0908);
	assert_int_equal(cursor_be16(&c), 0x1011);
	assert_int_equal(cursor_left(&c), 4);
	assert_false(cursor_done(&c));
	assert_int_equal(cursor_be32(&c), 0x12131415);
	assert_true(cursor_done(&c));
	assert_non_null(cursor_take(&c, 0));
	assert_true(cursor_ok(&c));
	assert_int_equal(cursor_u8(&c), 0);
	assert_false(cursor_ok(&c));
	assert_false(cursor_done(&c));
}

static void
test_cursor_fails_for_good(void **state)
{
	struct cursor c;

	(void)state;
	cursor_init(&c, "abc", 3);
	assert_int_equal(cursor_u32(&c), 0);
	assert_int_equal(cursor_left(&c), 0);
	assert_int_equal(cursor_u8(&c), 0);
	assert_null(cursor_take(&c, 1));
	cursor_init(&c, NULL, 0);
	assert_true(cursor_done(&c));
	assert_non_null(cursor_take(&c, 0));
	assert_null(cursor_take(&c, SIZE_MAX));
}

static void
test_cursor_blob_limits(void **state)
{
	struct cursor c;
	size_t bytes = 99;

	(void)state;
	cursor_init(&c, "\3\0\0\0abc", 7);
	assert_memory_equal(cursor_blob(&c, 3, &bytes), "abc", 3);
	assert_int_equal(bytes, 3);
	assert_true(cursor_done(&c));
	cursor_init(&c, "\3\0\0\0abc", 7);
	assert_null(cursor_blob(&c, 2, &bytes));
	assert_int_equal(bytes, 0);
	cursor_init(&c, "\4\0\0\0abc", 7);
	assert_null(cursor_blob(&c, 100, &bytes));
	cursor_init(&c, "\377\377\377\377abc", 7);
	assert_null(cursor_blob(&c, SIZE_MAX, &bytes));
	assert_false(cursor_ok(&c));
}

static void
test_cursor_text(void **state)
{
	struct arena a;
	struct cursor c;

	(void)state;
	arena_init(&a, MEM_BASE, 100);
	cursor_init(&c, "\2\0\0\0hi\0\0\0\0\377\377\377\377", 14);
	assert_string_equal(cursor_text(&c, 2, &a), "hi");
	assert_string_equal(cursor_text(&c, 2, &a), "");
	assert_null(cursor_text(&c, 2, &a));
	assert_true(cursor_done(&c));
	assert_null(cursor_text(&c, 2, &a));
	assert_false(cursor_ok(&c));
	cursor_init(&c, "\2\0\0\0h\0", 6);
	assert_null(cursor_text(&c, 2, &a));
	assert_false(cursor_ok(&c));
	cursor_init(&c, "\2\0\0\0hi", 6);
	assert_null(cursor_text(&c, 1, &a));
	assert_false(cursor_ok(&c));
	arena_fini(&a);
}

static void
test_out_of_memory(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct arena a;
		struct buf b;
		struct cursor c;
		char *text;

		arena_init(&a, MEM_BASE, 1000);
		buf_init(&b, MEM_BASE, 1000);
		for (int i = 0; i < 20; i++)
			buf_text(&b, "some text");
		assert_int_equal(buf_ok(&b), !sweep_failed());
		cursor_init(&c, b.data, b.length);
		text = cursor_text(&c, 100, &a);
		assert_int_equal(text == NULL, !cursor_ok(&c));
		arena_fini(&a);
		buf_fini(&b);
	}
}

/* At fixed places, as a buf and a cursor have them; nothing else is touched. */
static void
test_fixed_places(void **state)
{
	static const uint64_t v = UINT64_C(0x8877665544332211);
	uint8_t out[10];

	(void)state;
	for (unsigned bytes = 1; bytes <= 8; bytes++) {
		struct cursor c;

		memset(out, 0xee, sizeof(out));
		assert_ptr_equal(le_put(out + 1, v, bytes), out + 1 + bytes);
		assert_int_equal(out[0], 0xee);
		assert_int_equal(out[1 + bytes], 0xee);
		for (unsigned i = 0; i < bytes; i++)
			assert_int_equal(out[1 + i], 0x11 * (i + 1));
		assert_true(le_get(out + 1, bytes) ==
			    (bytes < 8 ? v & ((UINT64_C(1) << 8 * bytes) - 1) : v));
		cursor_init(&c, out + 1, bytes);
		if (bytes == 4)
			assert_int_equal(cursor_u32(&c), le_get(out + 1, 4));
		if (bytes == 8)
			assert_true(cursor_u64(&c) == le_get(out + 1, 8));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_fixed_places),
		cmocka_unit_test(test_full_to_the_cap),
		cmocka_unit_test(test_failure_is_sticky),
		cmocka_unit_test(test_reserve_and_commit),
		cmocka_unit_test(test_bytes_on_the_wire),
		cmocka_unit_test(test_cursor_reads),
		cmocka_unit_test(test_cursor_fails_for_good),
		cmocka_unit_test(test_cursor_blob_limits),
		cmocka_unit_test(test_cursor_text),
		cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
