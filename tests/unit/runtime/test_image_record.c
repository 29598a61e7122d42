/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/image_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/support/image.h"
#include "tests/support/sweep.h"

static int
decode(const void *data, size_t bytes, struct arena *arena, struct image_record **out)
{
	struct err err = {0};
	int rc = image_record_decode(data, bytes, arena, out, &err);

	assert_int_equal(rc < 0, err.kind != 0);
	return rc;
}

static void
test_round_trip(void **state)
{
	struct image_record from = image_sample('a');
	struct image_record *to;
	struct arena arena;
	struct buf data;

	(void)state;
	arena_init(&arena, MEM_BASE, 1 << 20);
	buf_init(&data, MEM_BASE, 1 << 20);
	image_record_encode(&from, &data);
	assert_int_equal(decode(data.data, data.length, &arena, &to), 0);
	assert_string_equal(to->digest, from.digest);
	assert_string_equal(to->name, "shop/web:1");
	assert_string_equal(to->user, "33:33");
	assert_string_equal(to->variant, "");
	assert_int_equal(to->env.count, 2);
	assert_string_equal(to->env.items[1], "EMPTY=");
	assert_int_equal(to->volumes.count, 0);
	assert_int_equal(to->layers.count, 2);
	assert_string_equal(to->layers.items[1], from.layers.items[1]);
	assert_int_equal(to->bytes, 12345);
	assert_int_equal(to->created_s, -5);
	buf_fini(&data);
	arena_fini(&arena);
}

static void
test_cut_and_changed(void **state)
{
	struct image_record from = image_sample('a');
	struct image_record *to;
	struct arena arena;
	struct buf data;

	(void)state;
	arena_init(&arena, MEM_BASE, 1 << 20);
	buf_init(&data, MEM_BASE, 1 << 20);
	image_record_encode(&from, &data);
	for (size_t n = 0; n < data.length; n++) {
		void *exact = mem_dup(MEM_BASE, data.data, n);

		assert_int_equal(decode(exact, n, &arena, &to), -1);
		mem_free(exact);
		arena_reset(&arena);
	}
	for (size_t i = 0; i < data.length; i++) {
		data.data[i] ^= 0xff;
		decode(data.data, data.length, &arena, &to);
		data.data[i] ^= 0xff;
		arena_reset(&arena);
	}
	buf_putc(&data, 0);
	assert_int_equal(decode(data.data, data.length, &arena, &to), -1);
	buf_fini(&data);
	arena_fini(&arena);
}

static void
expect_refused(const struct image_record *from)
{
	struct image_record *to;
	struct arena arena;
	struct buf data;

	arena_init(&arena, MEM_BASE, 1 << 20);
	buf_init(&data, MEM_BASE, 1 << 20);
	image_record_encode(from, &data);
	assert_int_equal(decode(data.data, data.length, &arena, &to), -1);
	buf_fini(&data);
	arena_fini(&arena);
}

/* A layer's name becomes a folder's name: nothing but 64 hex digits. */
static void
test_hostile(void **state)
{
	struct image_record r = image_sample('a');
	char *up[] = {IMAGE_TEXT("../../etc")};
	char *many[IMAGE_LAYERS_MAX + 1];

	(void)state;
	for (size_t i = 0; i <= IMAGE_LAYERS_MAX; i++)
		many[i] = r.layers.items[0];
	r.layers = (struct image_list){up, 1};
	expect_refused(&r);
	r.layers = (struct image_list){many, IMAGE_LAYERS_MAX + 1};
	expect_refused(&r);
	r = image_sample('a');
	r.digest = IMAGE_TEXT("sha256:../../x");
	expect_refused(&r);
	r = image_sample('a');
	r.config_digest = IMAGE_TEXT("md5:1");
	expect_refused(&r);
}

static void
test_no_memory(void **state)
{
	struct image_record from = image_sample('a');

	(void)state;
	sweep_each(s)
	{
		struct image_record *to;
		struct arena arena;
		struct buf data;
		struct err err = {0};
		int rc = -1;

		arena_init(&arena, MEM_BASE, 1 << 20);
		buf_init(&data, MEM_BASE, 1 << 20);
		image_record_encode(&from, &data);
		if (buf_ok(&data)) {
			rc = image_record_decode(data.data, data.length, &arena, &to, &err);
			assert_true(rc == 0 || err.kind == ERR_NO_MEMORY);
		}
		assert_int_equal(rc < 0, sweep_failed());
		buf_fini(&data);
		arena_fini(&arena);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_cut_and_changed),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
