/* SPDX-License-Identifier: Apache-2.0 */
/* What came from whom, and which node's port follows from it. Rows: 1 is this one, 2 and 3 only
 * dial out, 4 to 6 are reached by all. */
#include "overlay/relayed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/mem.h"
#include "overlay/relay_choice.h"
#include "tests/support/sweep.h"

enum { ROWS = 6, SELF = 1, PORT = 51820 };

static const uint64_t silent = RELAY_CHOICE_SILENT_MS * UINT64_C(1000000);

static struct relayed relayed;
static struct msg_mesh rows[ROWS];
static struct setup is;
static uint64_t now;

static int
setup(void **state)
{
	(void)state;
	now = silent;
	relayed_init(&relayed);
	setup_init(&is);
	memset(rows, 0, sizeof(rows));
	for (uint32_t i = 0; i < ROWS; i++) {
		struct setup_peer *peer;

		rows[i].node = 1 + i;
		rows[i].self = rows[i].node == SELF;
		rows[i].ways = MSG_WAY_SEALED;
		rows[i].key[0] = (uint8_t)(1 + i);
		rows[i].port = rows[i].node > 3 ? PORT : 0;
		addr_from_v4_be(__builtin_bswap32(0x0a080000u | rows[i].node), 0, &rows[i].address);
		if (!rows[i].self)
			assert_int_equal(setup_add_peer(&is, rows[i].key, &peer), SETUP_OK);
	}
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	relayed_fini(&relayed);
	setup_fini(&is);
	return 0;
}

static void
comes_from(uint32_t node)
{
	setup_find(&is, rows[node - 1].key)->rx_bytes += 100;
	relayed_note(&relayed, &is, rows, ROWS, now);
}

static bool
place(struct relayed *r, size_t count, const struct msg_mesh *row, struct addr *out)
{
	struct relayed_third third;

	relayed_find(r, rows, count, now, &third);
	return relayed_place(r, SELF, &third, row, now, out);
}

/* The node by way of which another one is sent to; 0: none. */
static uint32_t
way_to(uint32_t node)
{
	struct addr at = {0};

	if (!place(&relayed, ROWS, &rows[node - 1], &at)) {
		assert_int_equal(relayed_by(&relayed, node), 0);
		return 0;
	}
	assert_int_equal(at.port, PORT);
	uint32_t by = __builtin_bswap32(addr_v4_be(&at)) & 0xff;
	assert_int_equal(relayed_by(&relayed, node), by == node ? 0 : by);
	return by;
}

static void
test_who_is_there(void **state)
{
	(void)state;
	relayed_note(&relayed, &is, rows, ROWS, now);
	assert_int_equal(way_to(4), 4); /* it is reached without anybody's help */
	assert_int_equal(way_to(2), 0); /* nobody was heard yet */
	comes_from(5);
	assert_int_equal(way_to(2), 5);
	assert_int_equal(way_to(3), 5);
	comes_from(3); /* which cannot pass on */
	now += silent;
	comes_from(2);
	assert_int_equal(way_to(2), 0);
	comes_from(6);
	assert_int_equal(way_to(2), 6);
}

static void
test_silence(void **state)
{
	uint32_t first, second;

	(void)state;
	for (uint32_t i = 4; i <= ROWS; i++)
		comes_from(i);
	first = way_to(2);
	assert_true(first >= 4);
	/* While it speaks to us all stays as it is. */
	for (unsigned i = 0; i < 10; i++) {
		now += silent / 2;
		for (uint32_t k = 4; k <= ROWS; k++)
			comes_from(k);
		comes_from(2);
		assert_int_equal(way_to(2), first);
	}
	now += silent;
	for (uint32_t k = 4; k <= ROWS; k++)
		comes_from(k);
	second = way_to(2);
	assert_true(second >= 4 && second != first);
	/* The device is another one, and counts from 0: that says nothing. */
	setup_find(&is, rows[1].key)->rx_bytes = 0;
	relayed_note(&relayed, &is, rows, ROWS, now);
	assert_int_equal(way_to(2), second);
}

static void
test_next_key(void **state)
{
	struct setup_peer *peer;

	(void)state;
	memset(rows[4].next_key, 55, MSG_KEY);
	assert_int_equal(setup_add_peer(&is, rows[4].next_key, &peer), SETUP_OK);
	relayed_note(&relayed, &is, rows, ROWS, now);
	assert_int_equal(way_to(2), 0);
	peer->rx_bytes += 1;
	relayed_note(&relayed, &is, rows, ROWS, now);
	assert_int_equal(way_to(2), 5);
}

static void
test_gone(void **state)
{
	(void)state;
	comes_from(4);
	assert_int_equal(way_to(2), 4);
	relayed_note(&relayed, &is, rows, 3, now);
	assert_int_equal(map_count(&relayed.nodes), 2);
	struct addr at;
	assert_false(place(&relayed, 3, &rows[1], &at));
	rows[3].ways = MSG_WAY_PLAIN; /* it seals nothing any more */
	comes_from(4);
	assert_int_equal(way_to(2), 0);
	rows[3].ways = MSG_WAY_SEALED;
	rows[3].backend = MSG_BACKEND_KERNEL; /* which passes nothing on */
	comes_from(4);
	assert_int_equal(way_to(2), 0);
}

static void
test_keys(void **state)
{
	uint8_t keys[2 * ROWS][SETUP_KEY];

	(void)state;
	memset(rows[2].next_key, 77, MSG_KEY);
	rows[0].port = PORT; /* this one is reached: it may pass on */
	assert_int_equal(relayed_keys(rows, ROWS, keys), 3);
	assert_memory_equal(keys[0], rows[1].key, SETUP_KEY);
	assert_memory_equal(keys[1], rows[2].key, SETUP_KEY);
	assert_memory_equal(keys[2], rows[2].next_key, SETUP_KEY);
	rows[1].ways = 0;
	memset(rows[2].key, 0, MSG_KEY);
	assert_int_equal(relayed_keys(rows, ROWS, keys), 1);
}

static void
test_memory(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct relayed r;
		struct addr at;

		relayed_init(&r);
		relayed_note(&r, &is, rows, ROWS, now);
		assert_true(place(&r, ROWS, &rows[3], &at));
		assert_false(place(&r, ROWS, &rows[1], &at));
		relayed_fini(&r);
	}
}

#define RELAYED_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		RELAYED_TEST(test_who_is_there), RELAYED_TEST(test_silence),
		RELAYED_TEST(test_next_key),     RELAYED_TEST(test_gone),
		RELAYED_TEST(test_keys),         RELAYED_TEST(test_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
