/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of flows, what is given of them, and how it goes over the wire. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/text.h"
#include "ring/flow.h"
#include "scheduler/far_wire.h"
#include "scheduler/flows.h"
#include "tests/support/sweep.h"

/* Service 1 is shop/web, 2 is shop/db, 3 is blog/web. */
static void
name_end(void *arg, const struct msg_flow_end *end, struct msg_flow_name *out)
{
	static const struct msg_flow_name names[] = {
		{.service = ""},
		{.deployment = "shop", .service = "web", .node = "edge-1"},
		{.deployment = "shop", .service = "db", .node = "edge-2"},
		{.deployment = "blog", .service = "web", .node = "edge-1"},
	};

	(void)arg;
	*out = names[end->service];
}

static void
name_peer(void *arg, uint64_t id, char out[MSG_NAME])
{
	(void)arg;
	assert_int_equal(id, 7);
	strcpy(out, "edge-7");
}

static const struct flows_names names = {NULL, name_end, name_peer};

static struct msg_flow
flow(uint64_t from, uint64_t to, bool dropped)
{
	return (struct msg_flow){
		.wall_ns = 5,
		.verdict = dropped ? MSG_FLOW_DROPPED : MSG_FLOW_FORWARDED,
		.reason = dropped ? FLOW_ISOLATED : FLOW_PASSED,
		.source = {.service = from},
		.destination = {.service = to},
	};
}

static void
put(struct flows *f, uint64_t from, uint64_t to, bool dropped)
{
	struct msg_flow one = flow(from, to, dropped);

	flows_put(f, &one, 0);
}

/* "2 3|9+1": ids, the mark's, and how many are lost. */
static void
given(const struct flows *f, const struct msg_flows_op *op, const char *expected)
{
	struct msg_flows_op asked = *op;
	char text[256] = "";
	struct buf b;

	asked.limit = op->limit ? op->limit : 100;
	buf_init(&b, MEM_SCHEDULER, 16 << 20);
	flows_give(f, &asked, &names, &b);
	assert_true(buf_ok(&b) && b.length > 0);
	const struct msg_flow_row *rows = (const void *)b.data;
	size_t last = b.length / sizeof(*rows) - 1;
	for (size_t i = 0; i <= last; i++) {
		size_t used = strlen(text);

		assert_int_equal(rows[i].flow.verdict == 0, i == last);
		if (i == last)
			text_format(text + used, sizeof(text) - used, "|%d+%u", (int)rows[i].id,
				    rows[i].flow.lost);
		else
			text_format(text + used, sizeof(text) - used, "%s%d", i ? " " : "",
				    (int)rows[i].id);
	}
	assert_string_equal(text, expected);
	buf_fini(&b);
}

#define GIVEN(expected, ...) given(&f, &(struct msg_flows_op){__VA_ARGS__}, expected)

static void
test_filters(void **state)
{
	struct flows f;

	(void)state;
	flows_init(&f);
	GIVEN("|0+0", .since = 0);
	assert_false(flows_has(&f, 0));
	put(&f, 1, 2, true);
	put(&f, 2, 1, false);
	put(&f, 3, 2, true);
	put(&f, 0, 3, false);
	GIVEN("1 2 3 4|4+0", .since = 0);
	GIVEN("3 4|4+0", .since = 2);
	GIVEN("|4+0", .since = 4);
	GIVEN("|4+0", .since = FLOWS_NONE);
	GIVEN("1 3|4+0", .verdict = MSG_FLOW_DROPPED);
	GIVEN("2 4|4+0", .verdict = MSG_FLOW_FORWARDED);
	GIVEN("1 2 3|4+0", .service = "db");
	GIVEN("1 2 3 4|4+0", .service = "web");
	GIVEN("3 4|4+0", .deployment = "blog", .service = "web");
	/* Both of one end. */
	GIVEN("|4+0", .deployment = "blog", .service = "db");
	GIVEN("1 2 3|4+0", .peer = "edge-2");
	GIVEN("|4+0", .peer = "edge-7");
	GIVEN("3|4+0", .verdict = MSG_FLOW_DROPPED, .deployment = "blog", .service = "web");
	/* The newest of them. */
	GIVEN("3 4|4+0", .limit = 2);
	GIVEN("3|4+0", .limit = 1, .service = "db");
	assert_true(flows_has(&f, 3));
	assert_false(flows_has(&f, 4));
	struct msg_flow one = flow(0, 0, true);
	one.peer = 7;
	flows_put(&f, &one, 0);
	GIVEN("5|5+0", .peer = "edge-7");
	flows_fini(&f);
}

static void
test_what_is_lost_is_counted(void **state)
{
	struct msg_flow one = flow(1, 2, true), none = {0};
	struct flows f;

	(void)state;
	flows_init(&f);
	flows_put(&f, &one, 3); /* on the ring */
	one.lost = 4;           /* in the kernel */
	flows_put(&f, &one, 0);
	flows_put(&f, &none, 0); /* no flow */
	GIVEN("1 2|2+8", .since = 0);
	GIVEN("2|2+5", .since = 1);
	one.lost = 0;
	flows_put(&f, &one, 0);
	GIVEN("3|3+1", .since = 2);
	one.lost = UINT32_MAX;
	flows_put(&f, &one, UINT64_MAX / 2);
	GIVEN("4|4+4294967295", .since = 3);
	flows_fini(&f);
}

static void
test_old_ones_go(void **state)
{
	struct flows f;

	(void)state;
	flows_init(&f);
	for (unsigned i = 0; i < FLOWS_KEPT_MAX + 10; i++)
		put(&f, 1, 2, true);
	GIVEN("2057 2058|2058+10", .limit = 2);
	GIVEN("2057 2058|2058+5", .limit = 2, .since = 5);
	GIVEN("2057 2058|2058+0", .limit = 2, .since = 10);
	GIVEN("2058|2058+0", .since = 2057);
	/* Ids of another process: all of this one's are new. */
	assert_true(flows_has(&f, 9000));
	GIVEN("2057 2058|2058+10", .limit = 2, .since = 9000);
	flows_fini(&f);
}

static void
test_questions(void **state)
{
	struct msg_flows_op good = {.limit = MSG_FLOWS_GIVEN_MAX}, op = good;

	(void)state;
	assert_true(flows_op_ok(&good));
	op.limit = 0;
	assert_false(flows_op_ok(&op));
	op.limit = MSG_FLOWS_GIVEN_MAX + 1;
	assert_false(flows_op_ok(&op));
	op = good;
	op.verdict = 3;
	assert_false(flows_op_ok(&op));
	op = good;
	memset(op.peer, 'x', sizeof(op.peer));
	assert_false(flows_op_ok(&op));
	op = good;
	memset(op.service, 'x', sizeof(op.service));
	assert_false(flows_op_ok(&op));
	op = good;
	memset(op.deployment, 'x', sizeof(op.deployment));
	assert_false(flows_op_ok(&op));
}

static void
test_no_memory(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct flows f;

		flows_init(&f);
		put(&f, 1, 2, true);
		put(&f, 1, 2, true);
		/* All of them are there, or counted. */
		assert_int_equal(f.newest + f.lost + (f.newest ? f.items[1].lost : 0), 2);
		flows_fini(&f);
	}
}

/* ---- the wire ---- */

static struct msg_flow_row
longest(uint64_t id)
{
	struct msg_flow_row row = {.id = id, .flow = flow(1, 2, true)};
	char *texts[] = {row.peer,
			 row.source.deployment,
			 row.source.service,
			 row.source.node,
			 row.destination.deployment,
			 row.destination.service,
			 row.destination.node};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		memset(texts[i], 'a' + (int)i, MSG_NAME - 1);
	row.flow.wall_ns = -5;
	row.flow.way = MSG_FLOW_SEALED;
	row.flow.place = MSG_FLOW_FABRIC;
	row.flow.ifindex = 12;
	row.flow.length = 65535;
	row.flow.protocol = 6;
	row.flow.tcp_flags = 2;
	row.flow.lost = 77;
	row.flow.peer = UINT64_MAX;
	assert_true(addr_parse("[fd00::7]:443", &row.flow.source.addr));
	assert_true(addr_parse("10.200.3.4:80", &row.flow.destination.addr));
	row.flow.source.replica = 8;
	row.flow.source.node = 9;
	row.flow.destination.deployment = 10;
	row.source.index = 11;
	row.destination.index = 13;
	return row;
}

/* As many as may be asked for have room in one answer, however long their names are. */
static void
test_rows_over_the_wire(void **state)
{
	struct msg_flow_row row;
	struct cursor in;
	struct buf b;
	bool bad;

	(void)state;
	buf_init(&b, MEM_SCHEDULER, FAR_ANSWER_MAX - 64);
	for (uint64_t i = 0; i <= MSG_FLOWS_GIVEN_MAX; i++) {
		row = longest(i);
		far_wire_put_flow(&b, &row);
	}
	assert_true(buf_ok(&b));
	cursor_init(&in, b.data, b.length);
	for (uint64_t i = 0; i <= MSG_FLOWS_GIVEN_MAX; i++) {
		const struct msg_flow_row expected = longest(i);

		assert_true(far_wire_next_flow(&in, &row, &bad));
		assert_memory_equal(&row, &expected, sizeof(row));
	}
	assert_false(far_wire_next_flow(&in, &row, &bad));
	assert_false(bad);
	/* Cut anywhere it is none. */
	size_t one = b.length / (MSG_FLOWS_GIVEN_MAX + 1);
	for (size_t n = 1; n < one; n++) {
		cursor_init(&in, b.data, n);
		assert_false(far_wire_next_flow(&in, &row, &bad));
		assert_true(bad);
	}
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_filters),     cmocka_unit_test(test_what_is_lost_is_counted),
		cmocka_unit_test(test_old_ones_go), cmocka_unit_test(test_questions),
		cmocka_unit_test(test_no_memory),   cmocka_unit_test(test_rows_over_the_wire),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
