/* SPDX-License-Identifier: Apache-2.0 */
/* What the rows of other nodes and the keys of pairs make of a WireGuard device. */
#include "overlay/sealed_setup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "base/text.h"
#include "tests/support/sweep.h"

static const uint8_t own_key[SETUP_KEY] = {9, 9};

static struct msg_mesh
mesh(uint32_t node)
{
	struct msg_mesh row = {.node = node, .port = 9882, .ways = MSG_WAY_SEALED};
	char text[64];

	text_format(row.name, sizeof(row.name), "n%u", node);
	text_format(text, sizeof(text), "192.0.2.%u", node);
	assert_true(addr_parse_ip(text, &row.address));
	text_format(text, sizeof(text), "10.200.%u.0/24", node);
	assert_true(addr_parse_prefix(text, &row.v4));
	text_format(text, sizeof(text), "fd00:%x::/64", node);
	assert_true(addr_parse_prefix(text, &row.v6));
	memset(row.key, (int)node, sizeof(row.key));
	return row;
}

/* Of nodes 1 .. count; each key is the node's number and 100. */
static void
give(struct sealed_pairs *p, uint32_t count)
{
	struct leash_pair pairs[8];
	struct err err = {0};

	assert_true(count <= 8);
	for (uint32_t i = 0; i < count; i++) {
		pairs[i].node = i + 1;
		memset(pairs[i].key, (int)(i + 101), sizeof(pairs[i].key));
	}
	assert_int_equal(sealed_pairs_take(p, pairs, count * sizeof(pairs[0]), &err), 0);
}

static void
make(const struct msg_mesh *rows, size_t count, const struct setup *is, bool dials_out,
     struct sealed_pairs *pairs, struct setup *out)
{
	const struct sealed_setup_in in = {own_key, rows, count, is, dials_out};
	struct err err = {0};

	setup_init(out);
	assert_int_equal(sealed_setup_make(&in, pairs, out, &err), 0);
}

static void
test_peers(void **state)
{
	struct msg_mesh rows[] = {mesh(1), mesh(2), mesh(3)};
	struct sealed_pairs pairs;
	struct setup none, s;
	char text[ADDR_TEXT_BYTES];

	(void)state;
	setup_init(&none);
	sealed_pairs_init(&pairs);
	give(&pairs, 2); /* the third one's is not known yet */
	rows[1].port = 0;
	make(rows, 3, &none, false, &pairs, &s);
	assert_true(s.has_private_key);
	assert_memory_equal(s.private_key, own_key, SETUP_KEY);
	assert_false(s.has_port);
	assert_int_equal(s.peers_count, 2);
	const struct setup_peer *p = setup_find(&s, rows[0].key);
	assert_true(p->has_psk && p->psk[0] == 101 && p->psk[31] == 101);
	assert_true(p->has_keepalive);
	assert_int_equal(p->keepalive_s, 0);
	assert_true(p->has_endpoint);
	addr_put(&p->endpoint, text, sizeof(text));
	assert_string_equal(text, "192.0.2.1:9882");
	assert_int_equal(p->prefixes_count, 2);
	assert_memory_equal(&p->prefixes[0].at, &rows[0].v4, sizeof(rows[0].v4));
	assert_memory_equal(&p->prefixes[1].at, &rows[0].v6, sizeof(rows[0].v6));
	/* It comes by itself, and its way here is kept open from both ends. */
	assert_false(setup_find(&s, rows[1].key)->has_endpoint);
	assert_int_equal(setup_find(&s, rows[1].key)->keepalive_s, SEALED_SETUP_KEEPALIVE_S);
	setup_fini(&s);
	make(rows, 3, &none, true, &pairs, &s);
	assert_int_equal(setup_find(&s, rows[0].key)->keepalive_s, SEALED_SETUP_KEEPALIVE_S);
	setup_fini(&s);
	sealed_pairs_fini(&pairs);
}

/* The device learns where peers are before gossip does: it is told once. */
static void
test_places(void **state)
{
	struct msg_mesh row = mesh(1);
	struct sealed_pairs pairs;
	struct setup none, is, s;

	(void)state;
	setup_init(&none);
	sealed_pairs_init(&pairs);
	give(&pairs, 1);
	make(&row, 1, &none, false, &pairs, &is);
	make(&row, 1, &is, false, &pairs, &s);
	assert_false(setup_find(&s, row.key)->has_endpoint);
	setup_fini(&s);
	give(&pairs, 1); /* the same pairs once more do not count */
	make(&row, 1, &is, false, &pairs, &s);
	assert_false(setup_find(&s, row.key)->has_endpoint);
	setup_fini(&s);
	row.port = 9999;
	make(&row, 1, &is, false, &pairs, &s);
	assert_int_equal(setup_find(&s, row.key)->endpoint.port, 9999);
	setup_fini(&s);
	make(&row, 1, &none, false, &pairs, &s); /* a peer that is not there */
	assert_true(setup_find(&s, row.key)->has_endpoint);
	setup_fini(&s);
	sealed_pairs_forget_places(&pairs);
	make(&row, 1, &is, false, &pairs, &s);
	assert_true(setup_find(&s, row.key)->has_endpoint);
	setup_fini(&s);
	setup_fini(&is);
	sealed_pairs_fini(&pairs);
}

/* Of two that only dial out each is sent to by way of a third one; which may be another one later.
 */
static void
test_by_way_of_another(void **state)
{
	struct msg_mesh rows[] = {mesh(1), mesh(2)};
	struct addr places[2] = {{.port = 0}};
	struct sealed_pairs pairs;
	struct setup none, is, s;
	struct sealed_setup_in in = {.private_key = own_key,
				     .rows = rows,
				     .rows_count = 2,
				     .is = &none,
				     .dials_out = true,
				     .places = places};
	struct err err = {0};

	(void)state;
	setup_init(&none);
	setup_init(&is);
	setup_init(&s);
	sealed_pairs_init(&pairs);
	give(&pairs, 2);
	rows[1].port = 0;
	assert_int_equal(sealed_setup_make(&in, &pairs, &is, &err), 0);
	assert_false(setup_find(&is, rows[1].key)->has_endpoint); /* nobody passes on yet */
	places[1] = rows[0].address;
	places[1].port = 9882;
	in.is = &is;
	assert_int_equal(sealed_setup_make(&in, &pairs, &s, &err), 0);
	assert_true(addr_equal(&setup_find(&s, rows[1].key)->endpoint, &places[1]));
	assert_false(setup_find(&s, rows[0].key)->has_endpoint); /* as it was */
	setup_fini(&s);
	assert_int_equal(sealed_setup_make(&in, &pairs, &s, &err), 0);
	assert_false(setup_find(&s, rows[1].key)->has_endpoint); /* said once */
	setup_fini(&s);
	places[1].port = 9999;
	assert_int_equal(sealed_setup_make(&in, &pairs, &s, &err), 0);
	assert_int_equal(setup_find(&s, rows[1].key)->endpoint.port, 9999);
	setup_fini(&s);
	setup_fini(&is);
	sealed_pairs_fini(&pairs);
}

/* Whoever has changed to its next key already is not led back. */
static void
test_followed(void **state)
{
	struct msg_mesh row = mesh(1);
	struct sealed_pairs pairs;
	struct setup is, s;
	struct setup_peer *next;

	(void)state;
	sealed_pairs_init(&pairs);
	give(&pairs, 1);
	memset(row.next_key, 77, sizeof(row.next_key));
	setup_init(&is);
	assert_int_equal(setup_add_peer(&is, row.next_key, &next), SETUP_OK);
	make(&row, 1, &is, false, &pairs, &s);
	assert_int_equal(s.peers_count, 1); /* it waits for its turn */
	assert_int_equal(setup_find(&s, row.key)->prefixes_count, 2);
	setup_fini(&s);
	assert_int_equal(setup_add_prefix(&is, next, &row.v4, false), SETUP_OK);
	make(&row, 1, &is, false, &pairs, &s);
	assert_int_equal(s.peers_count, 2);
	assert_int_equal(setup_find(&s, row.key)->prefixes_count, 0);
	const struct setup_peer *p = setup_find(&s, row.next_key);
	assert_int_equal(p->prefixes_count, 2);
	assert_int_equal(p->psk[0], 101);
	setup_fini(&s);
	setup_fini(&is);
	sealed_pairs_fini(&pairs);
}

/* A device that does not follow by itself has the next key as a peer, and a session with it tells
 * that it is used. */
static void
test_follows(void **state)
{
	struct msg_mesh row = mesh(1);
	struct sealed_pairs pairs;
	struct setup is, s;
	struct sealed_setup_in in = {own_key, &row, 1, &is, .follows = true};
	struct err err = {0};

	(void)state;
	sealed_pairs_init(&pairs);
	give(&pairs, 1);
	memset(row.next_key, 77, sizeof(row.next_key));
	setup_init(&is);
	setup_init(&s);
	assert_int_equal(sealed_setup_make(&in, &pairs, &s, &err), 0);
	assert_int_equal(s.peers_count, 2);
	assert_int_equal(setup_find(&s, row.key)->prefixes_count, 2);
	const struct setup_peer *p = setup_find(&s, row.next_key);
	assert_true(p->prefixes_count == 0 && p->has_psk && p->psk[0] == 101 && !p->has_endpoint);
	setup_fini(&is);
	is = s;
	setup_find(&is, row.next_key)->handshake_s = 7;
	setup_init(&s);
	assert_int_equal(sealed_setup_make(&in, &pairs, &s, &err), 0);
	assert_int_equal(s.peers_count, 2);
	assert_int_equal(setup_find(&s, row.key)->prefixes_count, 0);
	p = setup_find(&s, row.next_key);
	assert_true(p->prefixes_count == 2 && p->psk[0] == 101 && !p->has_endpoint);
	/* It stays so, and is the only one when its owner says so itself. */
	setup_fini(&is);
	is = s;
	memcpy(row.key, row.next_key, sizeof(row.key));
	memset(row.next_key, 0, sizeof(row.next_key));
	setup_init(&s);
	assert_int_equal(sealed_setup_make(&in, &pairs, &s, &err), 0);
	assert_int_equal(s.peers_count, 1);
	assert_int_equal(s.peers[0].prefixes_count, 2);
	setup_fini(&is);
	setup_fini(&s);
	sealed_pairs_fini(&pairs);
}

static void
test_rows_that_do_not_hold(void **state)
{
	struct msg_mesh good = mesh(1), bad[8], two[] = {mesh(1), mesh(2)};
	struct sealed_pairs pairs;
	struct setup none, s;

	(void)state;
	setup_init(&none);
	sealed_pairs_init(&pairs);
	give(&pairs, 2);
	assert_true(sealed_setup_row_holds(&good));
	for (int i = 0; i < 8; i++)
		bad[i] = good;
	bad[0].self = 1;
	bad[1].ways = MSG_WAY_PLAIN | MSG_WAY_TRUSTED;
	memset(bad[2].key, 0, sizeof(bad[2].key));
	bad[3].v4.bits = 96 + 8;
	bad[4].v6.bits = 48;
	bad[5].v4 = good.v6;
	bad[6].port = 70000;
	memset(&bad[7].address, 0, sizeof(bad[7].address));
	for (int i = 0; i < 8; i++)
		assert_false(sealed_setup_row_holds(&bad[i]));
	make(bad, 8, &none, false, &pairs, &s);
	assert_int_equal(s.peers_count, 0);
	setup_fini(&s);
	/* One key is one peer, whoever else says it. */
	memcpy(two[1].key, two[0].key, sizeof(two[0].key));
	make(two, 2, &none, false, &pairs, &s);
	assert_int_equal(s.peers_count, 1);
	assert_int_equal(s.peers[0].prefixes_count, 2);
	setup_fini(&s);
	sealed_pairs_fini(&pairs);
}

static void
judge(struct sealed_pairs *pairs, struct msg_mesh *rows, size_t count)
{
	struct err err = {0};

	assert_int_equal(sealed_setup_judge(pairs, rows, count, &err), 0);
}

/* A key that two say is that node's that it was known of first, whatever they are called. */
static void
test_whose_key(void **state)
{
	struct msg_mesh thief = mesh(1), own = mesh(2), rows[2];
	struct sealed_pairs pairs;

	(void)state;
	sealed_pairs_init(&pairs);
	give(&pairs, 2);
	judge(&pairs, &(struct msg_mesh){0}, 1);
	rows[0] = thief;
	rows[1] = own;
	judge(&pairs, rows, 2);
	assert_memory_equal(&rows[0], &thief, sizeof(thief));
	assert_memory_equal(&rows[1], &own, sizeof(own));
	/* As its next one. */
	memcpy(thief.next_key, own.key, sizeof(own.key));
	rows[0] = thief;
	judge(&pairs, rows, 2);
	assert_true(setup_key_is_zero(rows[0].next_key));
	assert_true(sealed_setup_row_holds(&rows[0]) && sealed_pairs_has(&pairs, 1));
	assert_memory_equal(&rows[1], &own, sizeof(own));
	/* As its own, and while the other one says nothing, too. */
	memset(thief.next_key, 0, sizeof(thief.next_key));
	memcpy(thief.key, own.key, sizeof(own.key));
	for (size_t count = 1; count <= 2; count++) {
		rows[0] = thief;
		judge(&pairs, rows, count);
		assert_false(sealed_setup_row_holds(&rows[0]) || sealed_pairs_has(&pairs, 1));
		assert_true(sealed_setup_row_holds(&rows[1]) && sealed_pairs_has(&pairs, 2));
	}
	/* A key that is announced is its owner's already, and is when it is used. */
	memset(own.next_key, 77, sizeof(own.next_key));
	memcpy(thief.key, own.next_key, sizeof(own.next_key));
	rows[1] = own;
	judge(&pairs, rows + 1, 1);
	assert_false(setup_key_is_zero(rows[1].next_key));
	memcpy(own.key, own.next_key, sizeof(own.key));
	memset(own.next_key, 0, sizeof(own.next_key));
	rows[0] = thief;
	rows[1] = own;
	judge(&pairs, rows, 2);
	assert_false(sealed_setup_row_holds(&rows[0]));
	assert_true(sealed_setup_row_holds(&rows[1]));
	/* With one of its own it is a peer again. */
	rows[0] = mesh(1);
	judge(&pairs, rows, 2);
	assert_true(sealed_setup_row_holds(&rows[0]) && sealed_pairs_has(&pairs, 1));
	sealed_pairs_fini(&pairs);
	/* Of two of whom nothing is known it is nobody's. */
	sealed_pairs_init(&pairs);
	give(&pairs, 2);
	rows[0] = thief;
	rows[1] = own;
	judge(&pairs, rows, 2);
	assert_false(sealed_setup_row_holds(&rows[0]) || sealed_setup_row_holds(&rows[1]));
	sealed_pairs_fini(&pairs);
}

static void
test_pairs(void **state)
{
	static const uint8_t odd[sizeof(struct leash_pair) + 1];
	static struct leash_pair many[SEALED_SETUP_NODES_MAX + 1];
	struct sealed_pairs pairs;
	struct err err = {0};

	(void)state;
	sealed_pairs_init(&pairs);
	give(&pairs, 3);
	assert_true(sealed_pairs_has(&pairs, 3));
	give(&pairs, 2);
	assert_false(sealed_pairs_has(&pairs, 3));
	assert_int_equal(sealed_pairs_take(&pairs, odd, sizeof(odd), &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	err_clear(&err);
	assert_int_equal(sealed_pairs_take(&pairs, many, sizeof(many), &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	assert_true(sealed_pairs_has(&pairs, 2));
	assert_int_equal(sealed_pairs_take(&pairs, NULL, 0, &err), 0);
	assert_false(sealed_pairs_has(&pairs, 2));
	sealed_pairs_fini(&pairs);
}

/* As many as there may be, half of them about to change their keys: each is there once, and the
 * same again is no change. */
static void
test_many(void **state)
{
	enum { MANY = SEALED_SETUP_NODES_MAX };
	static struct leash_pair given[MANY];
	static struct msg_mesh rows[MANY];
	const struct msg_mesh first = mesh(1);
	struct sealed_pairs pairs;
	struct setup is, want, change;
	struct err err = {0};

	(void)state;
	for (uint32_t i = 0; i < MANY; i++) {
		given[i] = (struct leash_pair){.node = i + 1, .key = {1}};
		rows[i] = first;
		rows[i].node = i + 1;
		memcpy(rows[i].key, &rows[i].node, sizeof(rows[i].node));
		rows[i].v4.base.ip[13] = rows[i].v6.base.ip[5] = (uint8_t)(i >> 8);
		rows[i].v4.base.ip[14] = rows[i].v6.base.ip[6] = (uint8_t)i;
		memset(rows[i].next_key, i % 2 ? 9 : 0, SETUP_KEY);
		memcpy(rows[i].next_key, &rows[i].node, i % 2 ? sizeof(rows[i].node) : 0);
	}
	const struct sealed_setup_in in = {
		.private_key = own_key, .rows = rows, .rows_count = MANY, .is = &is};
	sealed_pairs_init(&pairs);
	assert_int_equal(sealed_pairs_take(&pairs, given, sizeof(given), &err), 0);
	assert_int_equal(sealed_setup_judge(&pairs, rows, MANY, &err), 0);
	setup_init(&is);
	setup_init(&change);
	for (unsigned round = 0; round < 2; round++) {
		setup_init(&want);
		assert_int_equal(sealed_setup_make(&in, &pairs, &want, &err), 0);
		assert_int_equal(want.peers_count, MANY);
		assert_int_equal(want.prefixes_count, 2 * MANY);
		assert_int_equal(setup_diff(&is, &want, &change), SETUP_OK);
		assert_int_equal(change.peers_count, round == 0 ? MANY : 0);
		setup_fini(&change);
		setup_fini(&is);
		is = want;
	}
	/* Where next keys are peers, too, all may be changing at once. */
	const struct sealed_setup_in follows = {.private_key = own_key,
						.rows = rows,
						.rows_count = MANY,
						.is = &is,
						.follows = true};
	for (uint32_t i = 0; i < MANY; i++) {
		memset(rows[i].next_key, 9, SETUP_KEY);
		memcpy(rows[i].next_key, &rows[i].node, sizeof(rows[i].node));
	}
	setup_init(&want);
	assert_int_equal(sealed_setup_make(&follows, &pairs, &want, &err), 0);
	assert_int_equal(want.peers_count, 2 * MANY);
	assert_int_equal(want.prefixes_count, 2 * MANY);
	assert_int_equal(setup_diff(&is, &want, &change), SETUP_OK);
	assert_int_equal(change.peers_count, MANY);
	setup_fini(&change);
	setup_fini(&is);
	is = want;
	/* And all but one have. */
	for (uint32_t i = 1; i < MANY; i++) {
		memcpy(rows[i].key, rows[i].next_key, SETUP_KEY);
		memset(rows[i].next_key, 0, SETUP_KEY);
	}
	setup_init(&want);
	assert_int_equal(sealed_setup_judge(&pairs, rows, MANY, &err), 0);
	assert_int_equal(sealed_setup_make(&follows, &pairs, &want, &err), 0);
	assert_int_equal(want.peers_count, MANY + 1);
	assert_int_equal(setup_diff(&is, &want, &change), SETUP_OK);
	assert_int_equal(change.peers_count, 2 * (MANY - 1)); /* half of them go */
	setup_fini(&change);
	setup_fini(&want);
	setup_fini(&is);
	sealed_pairs_fini(&pairs);
}

static void
test_no_memory(void **state)
{
	struct msg_mesh rows[] = {mesh(1), mesh(2)};
	struct setup none;

	(void)state;
	setup_init(&none);
	sweep_each(run)
	{
		struct leash_pair given[] = {{.node = 1, .key = {1}}, {.node = 2, .key = {2}}};
		const struct sealed_setup_in in = {own_key, rows, 2, &none, false};
		struct sealed_pairs pairs;
		struct err err = {0};
		struct setup s;

		sealed_pairs_init(&pairs);
		setup_init(&s);
		int rc = sealed_pairs_take(&pairs, given, sizeof(given), &err);
		if (rc == 0)
			rc = sealed_setup_judge(&pairs, rows, 2, &err);
		if (rc == 0)
			rc = sealed_setup_make(&in, &pairs, &s, &err);
		assert_true(sweep_failed() ? rc == 0 || err.kind == ERR_NO_MEMORY
					   : rc == 0 && s.peers_count == 2);
		setup_fini(&s);
		sealed_pairs_fini(&pairs);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_peers),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_by_way_of_another),
		cmocka_unit_test(test_followed),
		cmocka_unit_test(test_follows),
		cmocka_unit_test(test_rows_that_do_not_hold),
		cmocka_unit_test(test_whose_key),
		cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_no_memory),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("sealed_setup", tests, NULL, NULL);
}
