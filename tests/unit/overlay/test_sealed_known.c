/* SPDX-License-Identifier: Apache-2.0 */
/* Who knows the key that is announced, and when all of them do. */
#include "overlay/sealed_known.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"

enum { NODES = 4, NOW_S = 1700000000 };

static uint8_t next[SETUP_KEY];
static uint64_t token;

static struct msg_mesh rows[NODES];
static struct setup is;
static struct sealed_known known;
static unsigned asked[NODES];
static int64_t now_s;

static uint64_t
id_of(const char *name)
{
	return 100 + (uint64_t)(name[0] - 'a');
}

static void
ask(uint64_t id, uint64_t of)
{
	assert_int_equal(of, token);
	asked[id - 100]++;
}

/* Of each a handshake was made a moment ago. */
static int
setup(void **state)
{
	(void)state;
	memset(rows, 0, sizeof(rows));
	memset(asked, 0, sizeof(asked));
	now_s = NOW_S;
	for (unsigned i = 0; i < SETUP_KEY; i++)
		next[i] = (uint8_t)(i + 1);
	token = UINT64_C(0x0102030405060708);
	setup_init(&is);
	sealed_known_init(&known);
	for (unsigned i = 0; i < NODES; i++) {
		struct setup_peer *p;

		rows[i].name[0] = (char)('a' + i);
		rows[i].key[0] = (uint8_t)(10 + i);
		assert_int_equal(setup_add_peer(&is, rows[i].key, &p), SETUP_OK);
		p->handshake_s = NOW_S - 60;
	}
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	setup_fini(&is);
	sealed_known_fini(&known);
	assert_int_equal(mem_used_all(), 0);
	return 0;
}

static bool
by_all(const uint8_t *key)
{
	const struct sealed_known_in in = {.next = key,
					   .rows = rows,
					   .count = NODES,
					   .is = &is,
					   .wall_s = now_s,
					   .id = id_of,
					   .ask = ask};

	return sealed_known_by_all(&known, &in);
}

static void
test_all_say_so(void **state)
{
	(void)state;
	assert_int_equal(sealed_known_token(next), token);
	/* What was not asked for is no answer. */
	sealed_known_take(&known, 100, token);
	for (unsigned i = 0; i < NODES; i++) {
		assert_false(by_all(next));
		sealed_known_take(&known, 100 + i, token + 1);
		assert_false(by_all(next));
		sealed_known_take(&known, 100 + i, token);
	}
	assert_true(by_all(next));
	/* Who has said so is not asked again. */
	for (unsigned i = 0; i < NODES; i++)
		assert_int_equal(asked[i], 2 * (i + 1));
}

static void
test_another_key(void **state)
{
	(void)state;
	(void)by_all(next);
	for (unsigned i = 0; i < NODES; i++)
		sealed_known_take(&known, 100 + i, token);
	assert_true(by_all(next));
	/* What was said of the one says nothing of the other. */
	const uint64_t before = known.token;
	token = UINT64_C(0x0a02030405060708);
	next[0] = 10;
	assert_false(by_all(next));
	sealed_known_take(&known, 100, before);
	assert_false(by_all(next));
	for (unsigned i = 0; i < NODES; i++)
		sealed_known_take(&known, 100 + i, token);
	assert_true(by_all(next));
}

/* Where there is nobody else, nobody says so. */
static void
test_who_lives(void **state)
{
	(void)state;
	/* One that is changing, too, is met with its next key already. */
	memcpy(rows[2].next_key, rows[2].key, SETUP_KEY);
	rows[2].key[0] = 99;
	rows[1].key[0] = 98; /* no peer of the device: it is of no version that seals */
	assert_false(by_all(next));
	assert_int_equal(asked[1], 0);
	assert_int_equal(asked[0] + asked[2] + asked[3], 3);
	sealed_known_take(&known, 100, token);
	sealed_known_take(&known, 102, token);
	assert_false(by_all(next));
	sealed_known_take(&known, 103, token);
	assert_true(by_all(next));
	for (unsigned i = 0; i < NODES; i++)
		is.peers[i].handshake_s = 0;
	assert_false(by_all(next));
}

/* Those that were silent for long are asked, and waited for, but not as long as the others. */
static void
test_idle(void **state)
{
	(void)state;
	is.peers[0].handshake_s = NOW_S - SEALED_KNOWN_LIVE_S;
	is.peers[1].handshake_s = 0;
	assert_false(by_all(next));
	for (unsigned i = 0; i < NODES; i++)
		assert_int_equal(asked[i], 1);
	sealed_known_take(&known, 102, token);
	sealed_known_take(&known, 103, token);
	assert_false(by_all(next));
	/* The one wakes and says so; the other one is not there. */
	sealed_known_take(&known, 100, token);
	now_s += SEALED_KNOWN_IDLE_S - 1;
	assert_false(by_all(next));
	now_s -= 100; /* the clock was set back */
	assert_false(by_all(next));
	now_s += SEALED_KNOWN_IDLE_S - 1;
	assert_false(by_all(next));
	now_s++;
	assert_true(by_all(next));
	assert_int_equal(asked[0], 2);
	assert_int_equal(asked[1], 6);
	/* Nobody gives up one that lives. */
	is.peers[1].handshake_s = now_s - 1;
	now_s += SEALED_KNOWN_IDLE_S;
	assert_false(by_all(next));
	/* Another key: there is time again. */
	is.peers[1].handshake_s = 0;
	token = UINT64_C(0x0a02030405060708);
	next[0] = 10;
	for (unsigned i = 0; i < NODES; i++)
		if (i != 1) {
			assert_false(by_all(next));
			sealed_known_take(&known, 100 + i, token);
		}
	assert_false(by_all(next));
	now_s += SEALED_KNOWN_IDLE_S;
	assert_true(by_all(next));
}

static void
test_without_memory(void **state)
{
	(void)state;
	assert_false(by_all(next));
	mem_fail_after(0);
	for (unsigned i = 0; i < NODES; i++)
		sealed_known_take(&known, 100 + i, token);
	mem_fail_after(-1);
	assert_false(by_all(next));
	assert_int_equal(asked[0], 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_all_say_so), TEST(test_another_key),    TEST(test_who_lives),
		TEST(test_idle),       TEST(test_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
