/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of datagrams: what is written is read as the same; what nobody can have written is
 * refused; one more byte than fits is not written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "scheduler/gossip/packet.h"

static struct gossip scratch;
static struct step_actions out;

static struct cursor
begin(struct packet *p, enum gossip_message kind)
{
	struct cursor c, body;
	unsigned got;
	uint8_t flags;

	step_actions_clear(&out);
	scratch.out = &out;
	packet_send(&scratch, p, 2);
	assert_int_equal(out.count, 1);
	cursor_init(&c, out.data, out.bytes);
	assert_true(packet_head(&c));
	assert_true(packet_section(&c, &got, &flags, &body));
	assert_int_equal(got, kind + 1);
	assert_false(packet_section(&c, &got, &flags, &body) && cursor_ok(&c));
	return body;
}

static void
test_member(void **state)
{
	const struct {
		uint32_t node, accuser, status;
	} rows[] = {
		{1, 2, core_status(1, GOSSIP_ALIVE)},
		{UINT32_MAX, 0, core_status(GOSSIP_INCARNATION_MAX, GOSSIP_LEFT)},
		{7, 9, core_status(0x123456, GOSSIP_SUSPECT)},
		{7, 9, 0},
	};
	struct packet p;

	(void)state;
	packet_begin(&p);
	packet_open(&scratch, &p, GOSSIP_MEMBERS, 0);
	for (size_t i = 0; i < 4; i++)
		packet_member(&p, rows[i].node, rows[i].accuser, rows[i].status);
	struct cursor c = begin(&p, GOSSIP_MEMBERS);
	for (size_t i = 0; i < 4; i++) {
		uint32_t node, accuser, status;

		packet_get_member(&c, &node, &accuser, &status);
		assert_int_equal(node, rows[i].node);
		assert_int_equal(accuser, rows[i].accuser);
		assert_int_equal(status, rows[i].status);
	}
	assert_true(cursor_done(&c));
}

static void
test_member_malformed(void **state)
{
	const uint8_t rows[][12] = {
		{0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1}, /* nobody */
		{1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 5}, /* no such state */
		{1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1}, /* alive in no life */
		{1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0}, /* unknown, but in a life */
	};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		uint32_t node, accuser, status;
		struct cursor c;

		cursor_init(&c, rows[i], 12);
		packet_get_member(&c, &node, &accuser, &status);
		assert_false(cursor_ok(&c));
	}
}

static struct change
sample(void)
{
	return (struct change){
		.node = 3,
		.type = 9,
		.bytes = 5,
		.version = gossip_version(2, 40),
		.id = UINT64_MAX,
		.span = 40,
		.age = 77,
		.op = CHANGE_PUT,
		.value = (const uint8_t *)"value",
	};
}

static struct change
again(const struct change *in, bool *good)
{
	struct change c = {.node = 0};
	struct packet p;

	packet_begin(&p);
	packet_open(&scratch, &p, GOSSIP_CHANGES, 0);
	packet_change(&p, in);
	struct cursor body = begin(&p, GOSSIP_CHANGES);
	packet_get_change(&body, &c);
	*good = cursor_ok(&body);
	return c;
}

static void
test_change(void **state)
{
	struct change in = sample();
	bool good;

	(void)state;
	struct change got = again(&in, &good);
	assert_true(good);
	assert_int_equal(got.node, 3);
	assert_int_equal(got.type, 9);
	assert_true(got.version == in.version && got.id == in.id);
	assert_int_equal(got.span, 40);
	assert_int_equal(got.age, 77);
	assert_int_equal(got.op, CHANGE_PUT);
	assert_int_equal(got.bytes, 5);
	assert_memory_equal(got.value, "value", 5);
	/* Only a put has a value. */
	in.op = CHANGE_DROP;
	got = again(&in, &good);
	assert_true(good);
	assert_int_equal(got.bytes, 0);
}

static void
test_change_malformed(void **state)
{
	bool good;

	(void)state;
	for (int row = 0; row < 6; row++) {
		struct change c = sample();

		if (row == 0)
			c.node = 0;
		if (row == 1)
			c.span = 0;
		if (row == 2)
			c.span = 41; /* before the first */
		if (row == 3)
			c.version = gossip_version(0, 40);
		if (row == 4)
			c.op = CHANGE_NOTE;
		if (row == 5)
			c.op = 4;
		again(&c, &good);
		assert_false(good);
	}
}

static void
test_limits(void **state)
{
	uint8_t value[GOSSIP_VALUE_MAX] = {0};
	struct change c = sample();
	struct packet p;
	unsigned records = 0;
	bool good;

	(void)state;
	c.value = value;
	c.bytes = GOSSIP_VALUE_MAX;
	again(&c, &good);
	assert_true(good);
	packet_begin(&p);
	packet_open(&scratch, &p, GOSSIP_MEMBERS, 0);
	for (; packet_fits(&p, PACKET_MEMBER_BYTES); records++)
		packet_member(&p, 1, 2, core_status(1, GOSSIP_ALIVE));
	assert_int_equal(records, 97);
	assert_true(p.bytes <= STEP_DATAGRAM_MAX);
}

static void
test_head(void **state)
{
	const struct {
		uint8_t bytes[4];
		size_t count;
		bool good;
	} rows[] = {
		{{1, 1, 0, 0}, 4, true},  {{2, 1, 0, 0}, 4, true}, /* newer, but we can read it */
		{{2, 2, 0, 0}, 4, false}, {{0, 0, 0, 0}, 4, false}, {{1, 2, 0, 0}, 4, false},
		{{1, 1, 0, 0}, 3, false}, {{1, 1, 9, 9}, 4, true},  {{1, 0, 0, 0}, 4, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct cursor c;

		cursor_init(&c, rows[i].bytes, rows[i].count);
		assert_int_equal(packet_head(&c), rows[i].good);
	}
}

/* A section that says more than there is. */
static void
test_section_cut(void **state)
{
	const uint8_t bytes[] = {1, 1, 0, 0, 5, 0, 13, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
	struct cursor c, body;
	unsigned kind;
	uint8_t flags;

	(void)state;
	cursor_init(&c, bytes, sizeof(bytes));
	assert_true(packet_head(&c));
	assert_false(packet_section(&c, &kind, &flags, &body));
	assert_false(cursor_ok(&c));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_member),      cmocka_unit_test(test_member_malformed),
		cmocka_unit_test(test_change),      cmocka_unit_test(test_change_malformed),
		cmocka_unit_test(test_limits),      cmocka_unit_test(test_head),
		cmocka_unit_test(test_section_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
