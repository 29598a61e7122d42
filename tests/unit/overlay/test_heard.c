/* SPDX-License-Identifier: Apache-2.0 */
/* Who is heard, and since when not. Rows: 1 to 3 are other nodes, all spoken to at first. */
#include "overlay/heard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/mem.h"
#include "tests/support/sweep.h"

enum { ROWS = 3 };

#define MS UINT64_C(1000000)
#define WALL (INT64_C(1000000000) * 1700000000)

static struct heard heard;
static struct msg_mesh rows[ROWS];
static struct setup is;
static enum heard_how how[ROWS];
static uint64_t now_ms;

static int
setup(void **state)
{
	(void)state;
	now_ms = 1000;
	heard_init(&heard);
	setup_init(&is);
	memset(rows, 0, sizeof(rows));
	for (uint32_t i = 0; i < ROWS; i++) {
		struct setup_peer *peer;

		rows[i].node = 1 + i;
		rows[i].key[0] = (uint8_t)(1 + i);
		how[i] = HEARD_SPOKEN;
		assert_int_equal(setup_add_peer(&is, rows[i].key, &peer), SETUP_OK);
	}
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	heard_fini(&heard);
	setup_fini(&is);
	return 0;
}

static void
look_after(uint64_t ms)
{
	now_ms += ms;
	const struct heard_now now = {now_ms * MS, WALL + (int64_t)(now_ms * MS)};
	heard_note(&heard, &is, rows, ROWS, how, &now);
}

static struct setup_peer *
peer(uint32_t node)
{
	return setup_find(&is, rows[node - 1].key);
}

/* With a new session. */
static void
speaks(uint32_t node)
{
	peer(node)->rx_bytes += 100;
	peer(node)->handshake_s = 1 + (int64_t)now_ms;
}

static void
test_silence(void **state)
{
	(void)state;
	look_after(0);
	uint64_t began = now_ms;
	speaks(1);
	look_after(HEARD_SILENT_MS - 1);
	assert_int_equal(heard_silent_since(&heard, 1), 0);
	assert_int_equal(heard_silent_since(&heard, 2), 0);
	look_after(1);
	assert_int_equal(heard_silent_since(&heard, 1), 0);
	/* Since it is expected, and the same at each look. */
	assert_int_equal(heard_silent_since(&heard, 2), WALL + (int64_t)(began * MS));
	look_after(5000);
	assert_int_equal(heard_silent_since(&heard, 2), WALL + (int64_t)(began * MS));
	speaks(2);
	look_after(2000);
	assert_int_equal(heard_silent_since(&heard, 2), 0);
	/* Nobody knows that one. */
	assert_int_equal(heard_silent_since(&heard, 77), 0);
}

/* What comes from it is not answered: its handshakes are never completed. */
static void
test_one_way(void **state)
{
	(void)state;
	look_after(0);
	for (uint64_t ms = 0; ms < HEARD_STALE_MS; ms += 20000) {
		assert_int_equal(heard_silent_since(&heard, 1), 0);
		peer(1)->rx_bytes += 148;
		speaks(2);
		look_after(20000);
	}
	assert_true(heard_silent_since(&heard, 1) > 0);
	assert_int_equal(heard_silent_since(&heard, 2), 0);
	peer(1)->handshake_ns++;
	look_after(2000);
	assert_int_equal(heard_silent_since(&heard, 1), 0);
}

/* By whichever of its keys; a device that counts anew; one that is not spoken to. */
static void
test_who_counts(void **state)
{
	struct setup_peer *next;

	(void)state;
	memset(rows[0].next_key, 55, MSG_KEY);
	assert_int_equal(setup_add_peer(&is, rows[0].next_key, &next), SETUP_OK);
	how[2] = HEARD_NOT;
	look_after(0);
	speaks(2);
	look_after(HEARD_SILENT_MS - 1);
	setup_find(&is, rows[0].next_key)->rx_bytes = 1;
	peer(2)->rx_bytes = 0;
	look_after(1);
	assert_int_equal(heard_silent_since(&heard, 1), 0);
	look_after(HEARD_SILENT_MS);
	assert_true(heard_silent_since(&heard, 2) > 0);
	assert_int_equal(heard_silent_since(&heard, 3), 0);
	peer(2)->rx_bytes = 1;
	look_after(1000);
	assert_int_equal(heard_silent_since(&heard, 2), 0);
	/* From now on, not from before. */
	how[2] = HEARD_SPOKEN;
	look_after(1000);
	assert_int_equal(heard_silent_since(&heard, 3), 0);
	look_after(HEARD_SILENT_MS);
	assert_true(heard_silent_since(&heard, 3) > 0);
	heard_forget(&heard);
	look_after(1000);
	assert_int_equal(heard_silent_since(&heard, 3), 0);
}

/* Who is looked at anew is neither heard nor silent until there was something: what a device of
 * before has counted is nothing, a session of it is none when it is old. */
static void
test_anew(void **state)
{
	(void)state;
	assert_false(heard_is_unsure(&heard, 1));
	peer(1)->rx_bytes = peer(2)->rx_bytes = 5000;
	peer(1)->handshake_s = WALL / 1000000000 - 20;
	peer(2)->handshake_s = WALL / 1000000000 - 600;
	look_after(0);
	for (uint32_t node = 1; node <= 3; node++)
		assert_true(heard_is_unsure(&heard, node));
	assert_false(heard_is_unsure(&heard, 77));
	peer(1)->rx_bytes++;
	peer(2)->rx_bytes++;
	look_after(2000);
	assert_false(heard_is_unsure(&heard, 1)); /* by the session that it had */
	assert_true(heard_is_unsure(&heard, 2));
	peer(2)->handshake_s = WALL / 1000000000;
	look_after(2000);
	assert_false(heard_is_unsure(&heard, 2));
	look_after(HEARD_SILENT_MS);
	for (uint32_t node = 1; node <= 3; node++) {
		assert_true(heard_silent_since(&heard, node) > 0);
		assert_false(heard_is_unsure(&heard, node));
	}
	/* Of another device nothing is known, whatever was known before. */
	heard_forget(&heard);
	look_after(1000);
	assert_true(heard_is_unsure(&heard, 3));
	assert_int_equal(heard_silent_since(&heard, 3), 0);
}

/* Who is not spoken to any more has not become reachable by that; who was heard is forgotten. */
static void
test_idle(void **state)
{
	(void)state;
	look_after(0);
	speaks(1);
	look_after(HEARD_SILENT_MS);
	int64_t since = heard_silent_since(&heard, 2);
	assert_true(since > 0);
	how[0] = how[1] = how[2] = HEARD_IDLE;
	look_after(100000);
	look_after(100000);
	assert_int_equal(heard_silent_since(&heard, 1), 0);
	assert_int_equal(heard_silent_since(&heard, 2), since);
	assert_int_equal(map_count(&heard.nodes), 2);
	speaks(2);
	look_after(1000);
	look_after(1000);
	assert_int_equal(heard_silent_since(&heard, 2), 0);
	assert_false(heard_is_unsure(&heard, 2));
	assert_int_equal(map_count(&heard.nodes), 1);
	/* Both go plain now: nothing says whether it would answer. */
	how[2] = HEARD_NOT;
	look_after(1000);
	assert_int_equal(heard_silent_since(&heard, 3), 0);
}

static void
test_no_memory(void **state)
{
	const struct heard_now now = {MS, WALL};

	(void)state;
	sweep_each(s)
	{
		struct heard h;

		heard_init(&h);
		heard_note(&h, &is, rows, ROWS, how, &now);
		assert_int_equal(heard_silent_since(&h, 1), 0);
		heard_fini(&h);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_silence, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_way, setup, teardown),
		cmocka_unit_test_setup_teardown(test_who_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_anew, setup, teardown),
		cmocka_unit_test_setup_teardown(test_idle, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
