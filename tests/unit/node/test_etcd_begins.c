/* SPDX-License-Identifier: Apache-2.0 */
/* When node says that etcd does not start on it, and how long. */
#include "node/etcd_begins.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { ROOM = ETCD_BEGINS_ROOM_BYTES };

static struct err why;

/* True: it is said now. */
static bool
fails(struct etcd_begins *b, uint64_t life, unsigned times, uint64_t now_s)
{
	bool said = false;

	err_set(&why, ERR_SYSTEM, "etcd exited with status 1");
	err_why(&why, "it says: no");
	err_fix(&why, "mend it");
	for (unsigned i = 0; i < times; i++)
		said |= etcd_begins_failed(b, life, &why, ROOM, now_s);
	return said;
}

static void
test_after_some_times(void **state)
{
	struct etcd_begins b = {0};
	struct err err = {0};

	(void)state;
	assert_false(fails(&b, 7, ETCD_BEGINS_TRIES - 1, 0));
	assert_false(b.resting);
	assert_false(fails(&b, 8, ETCD_BEGINS_TRIES - 1, 0)); /* another life: from the beginning */
	assert_true(fails(&b, 8, 1, 0));
	assert_true(b.resting);
	assert_false(fails(&b, 8, 3, 1)); /* is said once */
	etcd_begins_say(&b, &err);
	assert_string_equal(err.what, "etcd does not start on this node");
	assert_string_equal(err.why[0], "etcd exited with status 1");
	assert_string_equal(err.why[1], "it says: no");
	assert_string_equal(err.fix, "mend it");
}

static void
test_it_grows(void **state)
{
	static const uint64_t minutes[] = {1, 2, 4, 8, 16, 30, 30};
	struct etcd_begins b = {0};
	uint64_t now = 100;

	(void)state;
	for (size_t i = 0; i < sizeof(minutes) / sizeof(*minutes); i++) {
		assert_true(fails(&b, i + 1, ETCD_BEGINS_TRIES, now));
		now += minutes[i] * 60;
		etcd_begins_tick(&b, ROOM, now - 1);
		assert_true(b.resting);
		etcd_begins_tick(&b, ROOM, now);
		assert_false(b.resting);
	}
	/* The same life, tried all the while: one more failure is enough. */
	assert_true(fails(&b, sizeof(minutes) / sizeof(*minutes), 1, now));
}

/* What has served is not judged, and all is forgotten by it. */
static void
test_served(void **state)
{
	struct etcd_begins b = {0};

	(void)state;
	assert_true(fails(&b, 7, ETCD_BEGINS_TRIES, 0));
	etcd_begins_served(&b, 7);
	assert_false(b.resting);
	assert_false(fails(&b, 7, 20, 0));
	etcd_begins_anew(&b);
	assert_false(fails(&b, 7, 20, 0));
	assert_true(fails(&b, 8, ETCD_BEGINS_TRIES, 0));
	assert_int_equal(b.until_s, ETCD_BEGINS_REST_S);
}

/* Only a disk that had no room is looked at for room. */
static void
test_room(void **state)
{
	struct etcd_begins b = {0};

	(void)state;
	assert_true(fails(&b, 7, ETCD_BEGINS_TRIES, 0));
	etcd_begins_tick(&b, UINT64_MAX, 1);
	assert_true(b.resting);
	assert_false(etcd_begins_failed(&b, 7, &why, ROOM - 1, 1));
	etcd_begins_tick(&b, ROOM - 1, 2);
	assert_true(b.resting);
	etcd_begins_tick(&b, ROOM, 3);
	assert_false(b.resting);
	assert_false(fails(&b, 7, ETCD_BEGINS_TRIES - 1, 4));
}

static void
test_anew(void **state)
{
	struct etcd_begins b = {0};

	(void)state;
	assert_true(fails(&b, 7, ETCD_BEGINS_TRIES, 0));
	etcd_begins_anew(&b);
	assert_false(b.resting);
	assert_false(fails(&b, 7, ETCD_BEGINS_TRIES - 1, 1));
	assert_true(fails(&b, 7, 1, 1));
	assert_int_equal(b.until_s, 1 + ETCD_BEGINS_REST_S);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_after_some_times),
		cmocka_unit_test(test_it_grows),
		cmocka_unit_test(test_served),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
