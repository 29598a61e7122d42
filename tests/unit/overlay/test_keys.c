/* SPDX-License-Identifier: Apache-2.0 */
/* The keys' file, and when a key is changed. */
#include "overlay/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

enum { START_S = 1700000000, DAY_S = 86400, ASKED_S = START_S - 7 };
#define SECOND_NS INT64_C(1000000000)

static struct world_seeded w;

static struct keys
begin(void)
{
	struct keys k;

	world_seeded_init(&w, 5, 0, START_S * SECOND_NS);
	keys_make(&w.world, &k);
	return k;
}

static void
pass(int64_t seconds)
{
	w.world.wall_ns += seconds * SECOND_NS;
}

static void
test_made(void **state)
{
	struct keys k = begin(), other;

	(void)state;
	keys_make(&w.world, &other);
	assert_memory_not_equal(k.key, other.key, KEYS_BYTES);
	assert_int_equal(k.key[0] & 7, 0); /* as RFC 7748 has it */
	assert_int_equal(k.key[31] & 0xc0, 0x40);
	assert_int_equal(k.since_s, START_S);
	assert_int_equal(k.next_since_s, 0);
}

static void
test_file(void **state)
{
	char text[KEYS_TEXT_BYTES];
	struct keys k = begin(), again;
	struct err err = {0};

	(void)state;
	keys_put(&k, text);
	assert_int_equal(keys_parse(text, &again, &err), 0);
	assert_memory_equal(&k, &again, sizeof(k));
	assert_int_equal(keys_turn(&k, &w.world, ASKED_S, 0, false), KEYS_ANNOUNCED);
	keys_put(&k, text);
	assert_int_equal(keys_parse(text, &again, &err), 0);
	assert_memory_equal(&k, &again, sizeof(k));
}

static void
test_damaged(void **state)
{
	char text[KEYS_TEXT_BYTES], damaged[KEYS_TEXT_BYTES];
	struct keys k = begin(), out;
	static const struct keys empty;

	(void)state;
	assert_int_equal(keys_turn(&k, &w.world, ASKED_S, 0, false), KEYS_ANNOUNCED);
	keys_put(&k, text);
	size_t first = (size_t)(strchr(text, '\n') - text) + 1;
	size_t second = first + (size_t)(strchr(text + first, '\n') - (text + first)) + 1;
	/* Cut anywhere but between lines. */
	for (size_t n = 0; n < strlen(text); n++) {
		struct err err = {0};

		memcpy(damaged, text, n);
		damaged[n] = '\0';
		if (n == first || n == second) {
			assert_int_equal(keys_parse(damaged, &out, &err), 0);
			continue;
		}
		assert_int_equal(keys_parse(damaged, &out, &err), -1);
		assert_int_equal(err.kind, ERR_CORRUPT);
		assert_true(err.fix[0] != '\0');
		assert_memory_equal(&out, &empty, sizeof(out));
	}
	static const char *const wrong[] = {"more\n", "\n",         "next 00 1\n",
					    "key ",   "heeded 1\n", "heeded "};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct err err = {0};

		snprintf(damaged, sizeof(damaged), "%s%s", text, wrong[i]);
		assert_int_equal(keys_parse(damaged, &out, &err), -1);
	}
	for (size_t n = 0; n < first - 1; n++) {
		struct err err = {0};

		memcpy(damaged, text, sizeof(text));
		damaged[n] = 'x';
		assert_int_equal(keys_parse(damaged, &out, &err), -1);
	}
}

static void
test_asked_for(void **state)
{
	struct keys k = begin();
	uint8_t first[KEYS_BYTES], second[KEYS_BYTES];

	(void)state;
	memcpy(first, k.key, sizeof(first));
	assert_int_equal(keys_turn(&k, &w.world, 0, 0, false), KEYS_STAY);
	assert_int_equal(keys_turn(&k, &w.world, ASKED_S, 0, false), KEYS_ANNOUNCED);
	memcpy(second, k.next, sizeof(second));
	assert_memory_equal(k.key, first, sizeof(first));
	/* Asked again it is the same change. */
	assert_int_equal(keys_turn(&k, &w.world, ASKED_S, 0, false), KEYS_STAY);
	assert_memory_equal(k.next, second, sizeof(second));
	assert_int_equal(keys_due_s(&k, &w.world), KEYS_HOLD_S);
	pass(KEYS_HOLD_S - 1);
	assert_int_equal(keys_turn(&k, &w.world, 0, 0, false), KEYS_STAY);
	pass(1);
	assert_int_equal(keys_due_s(&k, &w.world), 0);
	assert_int_equal(keys_turn(&k, &w.world, 0, 0, false), KEYS_CHANGED);
	assert_memory_equal(k.key, second, sizeof(second));
	assert_int_equal(k.next_since_s, 0);
	assert_int_equal(k.since_s, START_S + KEYS_HOLD_S);
	for (int i = 0; i < KEYS_BYTES; i++)
		assert_int_equal(k.next[i], 0);
	assert_int_equal(keys_turn(&k, &w.world, 0, 0, false), KEYS_STAY);
}

static void
test_by_age(void **state)
{
	struct keys k = begin();

	(void)state;
	pass(30 * DAY_S - 1);
	assert_int_equal(keys_turn(&k, &w.world, 0, 30 * DAY_S, false), KEYS_STAY);
	pass(1);
	assert_int_equal(keys_turn(&k, &w.world, 0, 0, false), KEYS_STAY);
	assert_int_equal(keys_turn(&k, &w.world, 0, 30 * DAY_S, false), KEYS_ANNOUNCED);
}

/* What a process before this version kept. */
static void
test_file_of_before(void **state)
{
	char text[KEYS_TEXT_BYTES];
	struct keys k = begin(), again;
	struct err err = {0};

	(void)state;
	assert_int_equal(keys_turn(&k, &w.world, ASKED_S, 0, false), KEYS_ANNOUNCED);
	keys_put(&k, text);
	strstr(text, "heeded ")[0] = '\0';
	assert_int_equal(keys_parse(text, &again, &err), 0);
	assert_int_equal(again.heeded_s, 0);
	assert_int_equal(again.next_since_s, k.next_since_s);
}

/* The one who asks has another clock; what was heeded is known to a successor. */
static void
test_requests(void **state)
{
	char text[KEYS_TEXT_BYTES];
	struct keys k = begin(), again;
	struct err err = {0};

	(void)state;
	assert_int_equal(keys_turn(&k, &w.world, 0, 0, false), KEYS_STAY);
	assert_int_equal(keys_turn(&k, &w.world, -5, 0, false), KEYS_STAY);
	assert_int_equal(keys_turn(&k, &w.world, START_S - DAY_S, 0, false), KEYS_ANNOUNCED);
	pass(KEYS_HOLD_S);
	assert_int_equal(keys_turn(&k, &w.world, START_S - DAY_S, 0, false), KEYS_CHANGED);
	keys_put(&k, text);
	assert_int_equal(keys_parse(text, &again, &err), 0);
	assert_memory_equal(&k, &again, sizeof(k));
	assert_int_equal(keys_turn(&again, &w.world, START_S - DAY_S, 0, false), KEYS_STAY);
	/* Another one, of a clock that is further behind. */
	assert_int_equal(keys_turn(&again, &w.world, START_S - 2 * DAY_S, 0, false),
			 KEYS_ANNOUNCED);
	/* One more is for the same change, and heeded with it. */
	assert_int_equal(keys_turn(&again, &w.world, START_S + DAY_S, 0, false), KEYS_MENDED);
	pass(KEYS_HOLD_S);
	assert_int_equal(keys_turn(&again, &w.world, START_S + DAY_S, 0, false), KEYS_CHANGED);
	assert_int_equal(keys_turn(&again, &w.world, START_S + DAY_S, 0, false), KEYS_STAY);
	/* It could not be kept: the copy is dropped, the request is there as before. */
	struct keys copy = again;
	assert_int_equal(keys_turn(&copy, &w.world, START_S, 0, false), KEYS_ANNOUNCED);
	assert_int_equal(keys_turn(&again, &w.world, START_S, 0, false), KEYS_ANNOUNCED);
}

static void
test_clock_set_back(void **state)
{
	struct keys k = begin();

	(void)state;
	pass(-DAY_S);
	assert_int_equal(keys_turn(&k, &w.world, 0, 10, false), KEYS_MENDED);
	assert_int_equal(k.since_s, START_S - DAY_S);
	assert_int_equal(keys_turn(&k, &w.world, 0, 10, false), KEYS_STAY);
	pass(10); /* not a day and ten seconds */
	assert_int_equal(keys_turn(&k, &w.world, 0, 10, false), KEYS_ANNOUNCED);
	pass(-DAY_S);
	assert_int_equal(keys_turn(&k, &w.world, 0, 0, false), KEYS_MENDED);
	assert_int_equal(k.next_since_s, START_S - 2 * DAY_S + 10);
	assert_int_equal(keys_due_s(&k, &w.world), KEYS_HOLD_S);
	pass(KEYS_HOLD_S - 1);
	assert_int_equal(keys_turn(&k, &w.world, 0, 0, false), KEYS_STAY);
	pass(1);
	assert_int_equal(keys_turn(&k, &w.world, 0, 0, false), KEYS_CHANGED);
	/* A clock that knows nothing: what is written can be read again. */
	char text[KEYS_TEXT_BYTES];
	struct keys again;
	struct err err = {0};
	w.world.wall_ns = 0;
	assert_int_equal(keys_turn(&k, &w.world, ASKED_S, 0, false), KEYS_ANNOUNCED);
	keys_put(&k, text);
	assert_int_equal(keys_parse(text, &again, &err), 0);
	assert_memory_equal(&k, &again, sizeof(k));
}

/* All others wait for it: there is nothing to wait for. */
static void
test_known(void **state)
{
	struct keys k = begin();
	uint8_t second[KEYS_BYTES];

	(void)state;
	/* That of a change before says nothing of one that was not announced yet. */
	assert_int_equal(keys_turn(&k, &w.world, 0, 0, true), KEYS_STAY);
	assert_int_equal(keys_turn(&k, &w.world, ASKED_S, 0, true), KEYS_ANNOUNCED);
	memcpy(second, k.next, sizeof(second));
	pass(1);
	assert_int_equal(keys_turn(&k, &w.world, ASKED_S, 0, false), KEYS_STAY);
	assert_int_equal(keys_turn(&k, &w.world, ASKED_S, 0, true), KEYS_CHANGED);
	assert_memory_equal(k.key, second, sizeof(second));
	assert_int_equal(k.next_since_s, 0);
	assert_int_equal(keys_turn(&k, &w.world, ASKED_S, 0, true), KEYS_STAY);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_made),           cmocka_unit_test(test_file),
		cmocka_unit_test(test_damaged),        cmocka_unit_test(test_asked_for),
		cmocka_unit_test(test_file_of_before), cmocka_unit_test(test_requests),
		cmocka_unit_test(test_by_age),         cmocka_unit_test(test_clock_set_back),
		cmocka_unit_test(test_known),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}
