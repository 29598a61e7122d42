/* SPDX-License-Identifier: Apache-2.0 */
/* The first words of a channel in every split, and their time. */
#include "scheduler/channel_head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

enum { WORDS = 48, REST = 5 };

static void
test_every_split(void **state)
{
	uint8_t said[WORDS + REST];

	(void)state;
	for (size_t i = 0; i < sizeof(said); i++)
		said[i] = (uint8_t)i;
	for (size_t piece = 1; piece <= sizeof(said); piece++) {
		struct channel_head h;
		size_t at = 0;
		bool whole = false;

		channel_head_init(&h, WORDS, 100);
		while (!whole) {
			size_t bytes = piece < sizeof(said) - at ? piece : sizeof(said) - at;
			const uint8_t *data = said + at, *end = data + bytes;

			assert_true(bytes > 0);
			whole = channel_head_take(&h, &data, &bytes);
			/* What is left over is not touched, and there is none before the end. */
			assert_ptr_equal(data + bytes, end);
			assert_int_equal(whole, data - said == WORDS);
			assert_true(whole || bytes == 0);
			at = (size_t)(data - said);
		}
		assert_int_equal(h.bytes, WORDS);
		assert_memory_equal(h.data, said, WORDS);
	}
}

static void
test_nothing_more_is_taken(void **state)
{
	uint8_t said[WORDS] = {1};
	const uint8_t *data = said;
	struct channel_head h;
	size_t bytes = sizeof(said);

	(void)state;
	channel_head_init(&h, 4, 0);
	assert_true(channel_head_take(&h, &data, &bytes));
	assert_int_equal(bytes, WORDS - 4);
	assert_true(channel_head_take(&h, &data, &bytes));
	assert_int_equal(bytes, WORDS - 4);
	assert_ptr_equal(data, said + 4);
	assert_int_equal(h.bytes, 4);
	bytes = 0;
	channel_head_init(&h, CHANNEL_HEAD_MAX, 0);
	assert_false(channel_head_take(&h, &data, &bytes));
}

static void
test_time(void **state)
{
	struct channel_head h;

	(void)state;
	channel_head_init(&h, 1, 100);
	assert_false(channel_head_is_late(&h, 99));
	assert_true(channel_head_is_late(&h, 100));
	assert_true(channel_head_is_late(&h, 101));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_split),
		cmocka_unit_test(test_nothing_more_is_taken),
		cmocka_unit_test(test_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
