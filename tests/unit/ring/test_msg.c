/* SPDX-License-Identifier: Apache-2.0 */
/* Errors cross the ring whole, and a lying one does no harm. */
#include "ring/msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "ring/ring.h"

_Static_assert(sizeof(struct msg_certificate) <= RING_ROW_MAX, "a certificate fits a row");
_Static_assert(sizeof(struct msg_route) <= RING_ROW_MAX, "a route fits a row");
_Static_assert(sizeof(struct msg_apply_answer) <= RING_BODY_MAX, "an answer fits its body");
_Static_assert(sizeof(struct msg_certificate) % 8 == 0, "rows are whole words");
_Static_assert(sizeof(struct msg_route) % 8 == 0, "rows are whole words");
_Static_assert(sizeof(struct msg_container) % 8 == 0, "rows are whole words");
_Static_assert(sizeof(struct msg_replica) % 8 == 0, "rows are whole words");
_Static_assert(sizeof(struct msg_etcd) % 8 == 0, "rows are whole words");
_Static_assert(sizeof(struct msg_etcd_order) % 8 == 0, "rows are whole words");
_Static_assert(sizeof(struct msg_etcd_order) <= RING_ROW_MAX, "an order fits a row");

static void
fill(struct err *err)
{
	err_set(err, ERR_NOT_FOUND, "no image \"web:1\"");
	err_where(err, "service web");
	err_why(err, "it was never imported");
	err_why(err, "and no registry is asked");
	err_fix(err, "zlayer image import web.tar");
}

static void
test_body_round_trip(void **state)
{
	struct err in = {0}, out = {0};
	uint8_t body[RING_BODY_MAX];

	(void)state;
	fill(&in);
	size_t n = msg_err_body(&in, body, sizeof(body));
	assert_true(n > 0);
	msg_err_from_body(ERR_NOT_FOUND, body, n, &out);
	assert_int_equal(out.kind, ERR_NOT_FOUND);
	assert_string_equal(out.what, in.what);
	assert_int_equal(out.whys, 2);
	assert_string_equal(out.why[1], in.why[1]);
	assert_string_equal(out.fix, in.fix);
}

static void
test_lying_body(void **state)
{
	struct err in = {0}, out = {0};
	uint8_t body[RING_BODY_MAX];

	(void)state;
	fill(&in);
	in.whys = 1000;
	size_t n = msg_err_body(&in, body, sizeof(body));
	msg_err_from_body(ERR_NOT_FOUND, body, n, &out);
	assert_int_equal(out.kind, ERR_NOT_FOUND);
	assert_int_equal(out.whys, 0);
	memset(&in, 'x', sizeof(in));
	in.kind = ERR_INVALID;
	in.whys = in.wheres = 1;
	n = msg_err_body(&in, body, sizeof(body));
	msg_err_from_body(60000, body, n, &out);
	assert_int_equal(out.kind, ERR_CORRUPT);
	msg_err_from_body(ERR_LIMIT, "x", 1, &out);
	assert_int_equal(out.kind, ERR_LIMIT);
}

static void
test_reason_round_trip(void **state)
{
	struct err in = {0}, out = {0};
	struct msg_reason reason;

	(void)state;
	fill(&in);
	msg_reason_from(&in, &reason);
	msg_reason_to(&reason, &out);
	assert_int_equal(out.kind, ERR_NOT_FOUND);
	assert_string_equal(out.what, in.what);
	assert_int_equal(out.whys, 2);
	assert_string_equal(out.fix, in.fix);
	memset(reason.why, 'y', sizeof(reason.why));
	msg_reason_to(&reason, &out);
	assert_int_equal(out.kind, ERR_CORRUPT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_body_round_trip),
		cmocka_unit_test(test_lying_body),
		cmocka_unit_test(test_reason_round_trip),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
