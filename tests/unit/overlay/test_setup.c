/* SPDX-License-Identifier: Apache-2.0 */
/* A device's setup as a value, and what is to be said to make one of another. */
#include "overlay/wg/setup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "tests/support/sweep.h"
#include "tests/support/wg_setup.h"

static const uint8_t alice[SETUP_KEY] = {1}, bob[SETUP_KEY] = {2}, carol[SETUP_KEY] = {3};

static struct setup is, want, change;

static int
setup(void **state)
{
	(void)state;
	setup_init(&is);
	setup_init(&want);
	setup_init(&change);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	setup_fini(&is);
	setup_fini(&want);
	setup_fini(&change);
	return 0;
}

static void
diff(void)
{
	assert_int_equal(setup_diff(&is, &want, &change), SETUP_OK);
}

static void
test_nothing(void **state)
{
	(void)state;
	diff();
	assert_true(setup_says_nothing(&change));
	wg_setup_prefix(&is, wg_setup_peer(&is, alice), "10.0.0.0/8");
	wg_setup_prefix(&want, wg_setup_peer(&want, alice), "10.0.0.0/8");
	diff();
	assert_true(setup_says_nothing(&change));
}

static void
test_device(void **state)
{
	(void)state;
	want.has_private_key = want.has_port = want.has_fwmark = true;
	want.private_key[31] = 1;
	want.port = 1;
	want.fwmark = 2;
	diff();
	assert_true(change.has_private_key && change.has_port && change.has_fwmark);
	assert_memory_equal(change.private_key, want.private_key, SETUP_KEY);
	assert_int_equal(change.port, 1);
	assert_int_equal(change.fwmark, 2);
	assert_false(setup_says_nothing(&change));
	wg_setup_apply(&is, &change);
	setup_fini(&change);
	diff();
	assert_true(setup_says_nothing(&change));
}

/* One key in two forms is not another one; none is not that of the bits that are left out. */
static void
test_private_key_forms(void **state)
{
	(void)state;
	is.has_private_key = want.has_private_key = true;
	memset(is.private_key, 0x41, SETUP_KEY);
	memset(want.private_key, 0x41, SETUP_KEY);
	is.private_key[0] = 0x40;
	want.private_key[31] = 0x81;
	diff();
	assert_true(setup_says_nothing(&change));
	for (int i = 0; i < SETUP_KEY; i++) {
		want.private_key[i] ^= 8;
		diff();
		assert_true(change.has_private_key);
		want.private_key[i] ^= 8;
		setup_fini(&change);
	}
	memset(is.private_key, 0, SETUP_KEY);
	memset(want.private_key, 0, SETUP_KEY);
	want.private_key[31] = 0x40;
	diff();
	assert_true(change.has_private_key);
}

/* Each word by itself says something. */
static void
test_says(void **state)
{
	(void)state;
	assert_true(setup_says_nothing(&change));
	change.has_private_key = true;
	assert_false(setup_says_nothing(&change));
	setup_fini(&change);
	change.has_port = true;
	assert_false(setup_says_nothing(&change));
	setup_fini(&change);
	change.has_fwmark = true;
	assert_false(setup_says_nothing(&change));
	setup_fini(&change);
	change.replace_peers = true;
	assert_false(setup_says_nothing(&change));
	setup_fini(&change);
	wg_setup_peer(&change, alice);
	assert_false(setup_says_nothing(&change));
}

static void
test_new_peer(void **state)
{
	struct setup_peer *p = wg_setup_peer(&want, alice);

	(void)state;
	p->has_psk = p->has_keepalive = p->has_endpoint = true;
	p->psk[3] = 4;
	p->keepalive_s = 25;
	assert_true(addr_parse("192.0.2.1:1", &p->endpoint));
	wg_setup_prefix(&want, p, "10.0.0.0/8");
	diff();
	assert_int_equal(change.peers_count, 1);
	p = &change.peers[0];
	assert_memory_equal(p->public_key, alice, SETUP_KEY);
	assert_memory_equal(p->psk, want.peers[0].psk, SETUP_KEY);
	assert_true(p->has_psk && p->has_keepalive && p->has_endpoint);
	assert_int_equal(p->keepalive_s, 25);
	assert_true(addr_equal(&p->endpoint, &want.peers[0].endpoint));
	assert_int_equal(p->prefixes_count, 1);
	assert_false(p->replace_prefixes || p->remove || p->prefixes[0].remove);
	/* One of which nothing else is said is one all the same. */
	setup_fini(&change);
	setup_fini(&want);
	wg_setup_peer(&want, bob);
	diff();
	assert_int_equal(change.peers_count, 1);
	assert_false(change.replace_peers);
}

static void
test_peer_goes(void **state)
{
	(void)state;
	wg_setup_peer(&is, alice);
	wg_setup_peer(&is, bob);
	wg_setup_peer(&want, bob);
	diff();
	assert_int_equal(change.peers_count, 1);
	assert_memory_equal(change.peers[0].public_key, alice, SETUP_KEY);
	assert_true(change.peers[0].remove);
	assert_false(change.replace_peers);
	/* All of them: one word. */
	setup_fini(&change);
	setup_fini(&want);
	wg_setup_peer(&want, carol);
	diff();
	assert_true(change.replace_peers);
	assert_int_equal(change.peers_count, 1);
	assert_false(change.peers[0].remove);
}

/* Where somebody is now is better known than where he was to be. */
static void
test_endpoint_unsaid(void **state)
{
	struct setup_peer *p = wg_setup_peer(&is, alice);

	(void)state;
	p->has_endpoint = true;
	assert_true(addr_parse("192.0.2.1:1", &p->endpoint));
	wg_setup_peer(&want, alice);
	diff();
	assert_true(setup_says_nothing(&change));
}

static void
test_prefix_moves(void **state)
{
	(void)state;
	wg_setup_prefix(&is, wg_setup_peer(&is, alice), "10.0.0.0/8");
	wg_setup_peer(&is, bob);
	wg_setup_peer(&want, alice);
	wg_setup_prefix(&want, wg_setup_peer(&want, bob), "10.0.0.0/8");
	diff();
	assert_int_equal(change.peers_count, 1);
	assert_memory_equal(change.peers[0].public_key, bob, SETUP_KEY);
	assert_int_equal(change.prefixes_count, 1);
	assert_false(change.peers[0].prefixes[0].remove);
}

static void
test_prefix_goes(void **state)
{
	struct setup_peer *p = wg_setup_peer(&is, alice);

	(void)state;
	wg_setup_prefix(&is, p, "10.0.0.0/8");
	wg_setup_prefix(&is, p, "fd00::/8");
	p = wg_setup_peer(&want, alice);
	wg_setup_prefix(&want, p, "fd00::/8");
	diff();
	assert_int_equal(change.prefixes_count, 1);
	assert_true(change.peers[0].prefixes[0].remove);
	assert_false(change.peers[0].replace_prefixes);
	/* All of them: one word. */
	setup_fini(&change);
	setup_fini(&want);
	wg_setup_peer(&want, alice);
	diff();
	assert_int_equal(change.peers_count, 1);
	assert_int_equal(change.prefixes_count, 0);
	assert_true(change.peers[0].replace_prefixes);
}

static void
test_twice(void **state)
{
	(void)state;
	wg_setup_peer(&want, alice);
	wg_setup_peer(&want, alice);
	assert_int_equal(setup_diff(&is, &want, &change), SETUP_TWICE);
	assert_true(setup_says_nothing(&change));
	assert_int_equal(setup_diff(&want, &is, &change), SETUP_TWICE);
}

/* What two peers are to have, the last one gets, as when both are said. */
static void
test_prefix_twice(void **state)
{
	(void)state;
	wg_setup_prefix(&want, wg_setup_peer(&want, alice), "10.0.0.0/8");
	wg_setup_prefix(&want, wg_setup_peer(&want, bob), "10.0.0.0/8");
	diff();
	assert_int_equal(change.prefixes_count, 1);
	wg_setup_apply(&is, &change);
	assert_int_equal(setup_find(&is, bob)->prefixes_count, 1);
}

static void
test_host_bits(void **state)
{
	struct addr_prefix at = {.bits = 104};
	char text[ADDR_TEXT_BYTES];

	(void)state;
	assert_true(addr_parse("10.1.2.3:80", &at.base));
	struct setup_peer *p = wg_setup_peer(&is, alice);
	assert_int_equal(setup_add_prefix(&is, p, &at, false), SETUP_OK);
	addr_put_prefix(&p->prefixes[0].at, text, sizeof(text));
	assert_string_equal(text, "10.0.0.0/8");
	assert_int_equal(p->prefixes[0].at.base.port, 0);
}

static void
test_limits(void **state)
{
	struct addr_prefix at = {.bits = 128};
	struct setup_peer *p = NULL;
	uint8_t key[SETUP_KEY] = {0};

	(void)state;
	for (unsigned n = 0; n < SETUP_PEERS_MAX; n++) {
		memcpy(key, &n, sizeof(n));
		p = wg_setup_peer(&is, key);
	}
	assert_int_equal(setup_add_peer(&is, alice, &p), SETUP_TOO_MUCH);
	assert_int_equal(is.peers_count, SETUP_PEERS_MAX);
	for (unsigned n = 0; n < SETUP_PREFIXES_MAX; n++) {
		memcpy(at.base.ip, &n, sizeof(n));
		p = &is.peers[n % SETUP_PEERS_MAX];
		assert_int_equal(setup_add_prefix(&is, p, &at, false), SETUP_OK);
	}
	assert_int_equal(setup_add_prefix(&is, p, &at, false), SETUP_TOO_MUCH);
	assert_int_equal(is.prefixes_count, SETUP_PREFIXES_MAX);
	/* As large as it may be, it is compared too. */
	assert_int_equal(setup_diff(&want, &is, &change), SETUP_OK);
	assert_int_equal(change.prefixes_count, SETUP_PREFIXES_MAX);
	setup_fini(&change);
	diff();
	assert_true(change.replace_peers);
}

/* Every peer but one is another one: the way there is one change, however many they are. */
static void
test_all_others(void **state)
{
	enum { ALL = SETUP_PEERS_MAX };
	uint8_t key[SETUP_KEY] = {0};

	(void)state;
	for (unsigned n = 0; n < ALL; n++) {
		memcpy(key, &n, sizeof(n));
		key[SETUP_KEY - 1] = 1;
		(void)wg_setup_peer(&is, key);
		key[SETUP_KEY - 1] = n == 0 ? 1 : 2;
		(void)wg_setup_peer(&want, key);
	}
	diff();
	assert_false(change.replace_peers);
	assert_int_equal(change.peers_count, 2 * (ALL - 1));
	for (unsigned n = 0; n < 2 * (ALL - 1); n++)
		assert_int_equal(change.peers[n].remove, n < ALL - 1);
}

static void
test_wiped(void **state)
{
	static const struct setup none;

	(void)state;
	memset(is.private_key, 5, SETUP_KEY);
	wg_setup_peer(&is, alice);
	setup_fini(&is);
	assert_memory_equal(&is, &none, sizeof(is));
	assert_true(setup_key_is_zero(is.private_key));
	assert_false(setup_key_is_zero(alice));
}

static void
test_no_memory(void **state)
{
	(void)state;
	for (uint8_t n = 0; n < 20; n++) {
		uint8_t key[SETUP_KEY] = {n, 1};

		wg_setup_prefix(n % 2 ? &is : &want, wg_setup_peer(n % 2 ? &is : &want, key),
				"10.0.0.0/8");
	}
	wg_setup_peer(&want, alice);
	wg_setup_peer(&is, alice);
	sweep_each(s)
	{
		struct setup out;

		setup_init(&out);
		enum setup_rc rc = setup_diff(&is, &want, &out);
		assert_int_equal(rc, sweep_failed() ? SETUP_NO_MEMORY : SETUP_OK);
		assert_int_equal(setup_says_nothing(&out), sweep_failed());
		setup_fini(&out);
	}
}

static void
test_copy(void **state)
{
	struct setup from, to;

	(void)state;
	setup_init(&from);
	setup_init(&to);
	assert_int_equal(setup_copy(&from, &to), SETUP_OK);
	assert_int_equal(to.peers_count, 0);
	from.has_port = true;
	from.port = 7;
	for (uint8_t i = 1; i <= 6; i++) {
		const uint8_t key[SETUP_KEY] = {i};
		struct setup_peer *p = wg_setup_peer(&from, key);

		p->handshake_s = i;
		p->rx_bytes = 100u * i;
		wg_setup_prefix(&from, p, i % 2 ? "10.0.0.0/8" : "fd00::/8");
		wg_setup_prefix(&from, p, "192.0.2.0/24");
	}
	sweep_each(sweep)
	{
		enum setup_rc rc = setup_copy(&from, &to);

		assert_int_equal(rc == SETUP_NO_MEMORY, sweep_failed());
		if (rc == SETUP_OK) {
			assert_true(to.has_port && to.port == 7);
			assert_int_equal(to.peers_count, 6);
			assert_int_equal(to.prefixes_count, 12);
			assert_true(to.peers[5].handshake_s == 6 && to.peers[5].rx_bytes == 600);
			assert_ptr_not_equal(to.peers[5].prefixes, from.peers[5].prefixes);
			assert_true(wg_setup_same_prefix(&to.peers[5].prefixes[1],
							 &from.peers[5].prefixes[1]));
		} else {
			assert_int_equal(to.peers_count, 0);
		}
		setup_fini(&to);
	}
	setup_fini(&from);
}

static void
test_no_memory_to_add(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct addr_prefix at = {.bits = 128};
		struct setup out;
		struct setup_peer *p;

		setup_init(&out);
		for (uint8_t n = 0; n < 10; n++) {
			uint8_t key[SETUP_KEY] = {n};
			size_t peers = out.peers_count, prefixes = out.prefixes_count;

			if (setup_add_peer(&out, key, &p) != SETUP_OK)
				assert_int_equal(out.peers_count, peers);
			else if (setup_add_prefix(&out, p, &at, false) != SETUP_OK)
				assert_int_equal(out.prefixes_count, prefixes);
		}
		setup_fini(&out);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_device, setup, teardown),
		cmocka_unit_test_setup_teardown(test_private_key_forms, setup, teardown),
		cmocka_unit_test_setup_teardown(test_says, setup, teardown),
		cmocka_unit_test_setup_teardown(test_new_peer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_peer_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_endpoint_unsaid, setup, teardown),
		cmocka_unit_test_setup_teardown(test_prefix_moves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_prefix_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_prefix_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_host_bits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wiped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_memory_to_add, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
