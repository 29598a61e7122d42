/* SPDX-License-Identifier: Apache-2.0 */
/* What a check sends, what answers mean, and how fast it asks again. */
#include "runtime/probe_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <uv.h>
#include <cmocka.h>
#include "base/text.h"

static struct msg_probe
row_http(void)
{
	struct msg_probe row = {
		.replica = 1,
		.attempt = 1,
		.check = MSG_CHECK_HTTP,
		.expect_status = 200,
		.interval_ms = 2000,
		.timeout_ms = 1000,
	};

	assert_true(addr_parse("10.200.7.2:8080", &row.addr));
	text_copy(row.path, sizeof(row.path), "/health");
	return row;
}

/* Feeds all at once, then byte by byte: both must mean the same. */
static enum msg_result_failure
judge(const char *answer, size_t length, struct msg_result *result)
{
	static struct probe_check c;
	struct msg_probe row = row_http();
	struct msg_result bytewise = {0};
	enum msg_result_failure failure = MSG_FAILURE_OTHER, again = MSG_FAILURE_OTHER;

	probe_check_init(&c);
	memset(result, 0, sizeof(*result));
	if (length == 0 ||
	    probe_check_feed(&c, &row, answer, length, result, &failure) == PROBE_MORE)
		assert_int_equal(probe_check_feed(&c, &row, NULL, 0, result, &failure), PROBE_DONE);
	probe_check_init(&c);
	enum probe_verdict verdict = PROBE_MORE;
	for (size_t i = 0; i < length && verdict == PROBE_MORE; i++)
		verdict = probe_check_feed(&c, &row, answer + i, 1, &bytewise, &again);
	if (verdict == PROBE_MORE)
		assert_int_equal(probe_check_feed(&c, &row, NULL, 0, &bytewise, &again),
				 PROBE_DONE);
	assert_int_equal(failure, again);
	assert_int_equal(result->http_status, bytewise.http_status);
	return failure;
}

static enum msg_result_failure
judge_text(const char *answer, struct msg_result *result)
{
	return judge(answer, strlen(answer), result);
}

static void
test_answers(void **state)
{
	struct msg_result r;

	(void)state;
	assert_int_equal(judge_text("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", &r),
			 MSG_FAILURE_NONE);
	assert_int_equal(judge_text("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", &r),
			 MSG_FAILURE_NONE);
	assert_int_equal(judge_text("HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnope", &r),
			 MSG_FAILURE_STATUS);
	assert_int_equal(r.http_status, 404);
	assert_string_equal(r.detail, "nope");
	assert_int_equal(judge_text("", &r), MSG_FAILURE_RESET);
	assert_int_equal(judge_text("220 mail ready\r\n", &r), MSG_FAILURE_PROTOCOL);
	assert_false(r.tls_seen);
	assert_int_equal(judge("\x15\x03\x01\x00\x02\x02\x46", 7, &r), MSG_FAILURE_PROTOCOL);
	assert_true(r.tls_seen);
}

static void
test_a_long_answer_ends(void **state)
{
	static char answer[PROBE_ANSWER_BYTES * 2];
	struct msg_result r;

	(void)state;
	memset(answer, 'x', sizeof(answer));
	memcpy(answer, "HTTP/1.1 200 OK\r\nx: ", 20);
	assert_int_equal(judge(answer, sizeof(answer), &r), MSG_FAILURE_PROTOCOL);
}

static void
test_request(void **state)
{
	struct msg_probe row = row_http();
	char out[PROBE_REQUEST_BYTES];
	size_t n = probe_check_request(&row, out, sizeof(out));

	(void)state;
	assert_true(n > 0 && n < sizeof(out));
	out[n] = 0;
	assert_true(text_starts(out, "GET /health HTTP/1.1\r\nhost: 10.200.7.2:8080\r\n"));
	assert_true(text_ends(out, "\r\n\r\n"));
	text_copy(row.path, sizeof(row.path), "/a b");
	assert_int_equal(probe_check_request(&row, out, sizeof(out)), 0);
}

static void
test_rows(void **state)
{
	struct msg_probe row = row_http();

	(void)state;
	assert_true(probe_check_row(&row));
	row.interval_ms = 0;
	assert_false(probe_check_row(&row));
	row = row_http();
	memset(row.path, '/', sizeof(row.path));
	assert_false(probe_check_row(&row));
	row = row_http();
	text_copy(row.path, sizeof(row.path), "/a b\r\nx: y");
	assert_false(probe_check_row(&row));
	row = row_http();
	text_copy(row.host, sizeof(row.host), "a\nb");
	assert_false(probe_check_row(&row));
	row = row_http();
	row.check = 77;
	assert_false(probe_check_row(&row));
	row = row_http();
	row.addr.port = 0;
	assert_false(probe_check_row(&row));
}

static void
test_pace(void **state)
{
	struct msg_probe row = row_http();
	struct msg_result r = {0};
	uint64_t sum = 0, last = 0;

	(void)state;
	for (int i = 0; i < 10; i++) {
		uint64_t wait = probe_check_wait_ms(&row, &r);

		assert_true(wait >= last && wait <= row.interval_ms);
		last = wait;
		sum += wait;
		probe_check_count(&r, MSG_FAILURE_REFUSED, 1, 1);
	}
	assert_int_equal(last, row.interval_ms);
	assert_int_equal(r.failures, 10);
	probe_check_count(&r, MSG_FAILURE_NONE, 1, 1);
	assert_int_equal(r.failures, 0);
	assert_int_equal(r.successes, 1);
	assert_true(r.ok);
	assert_int_equal(probe_check_wait_ms(&row, &r), row.interval_ms);
}

/* What this process lacks is not the replica's failure. */
static void
test_own_errors(void **state)
{
	(void)state;
	assert_true(probe_check_is_own(UV_EMFILE));
	assert_true(probe_check_is_own(UV_EADDRNOTAVAIL));
	assert_false(probe_check_is_own(UV_ECONNREFUSED));
	assert_false(probe_check_is_own(UV_ETIMEDOUT));
	assert_false(probe_check_is_own(0));
}

static void
test_datagrams(void **state)
{
	struct msg_result result = {0};
	struct msg_probe row = row_http();

	(void)state;
	row.check = MSG_CHECK_UDP;
	row.path[0] = '\0';
	assert_false(probe_check_row(&row)); /* nothing to send */
	text_copy(row.request, sizeof(row.request), "ping");
	assert_true(probe_check_row(&row));
	assert_int_equal(probe_check_datagram(&row, "", 0, &result), MSG_FAILURE_NONE);
	text_copy(row.expect, sizeof(row.expect), "pong");
	assert_int_equal(probe_check_datagram(&row, "pong and more", 13, &result),
			 MSG_FAILURE_NONE);
	assert_int_equal(probe_check_datagram(&row, "pon", 3, &result), MSG_FAILURE_PROTOCOL);
	assert_string_equal(result.detail, "pon");
	assert_int_equal(probe_check_datagram(&row, "", 0, &result), MSG_FAILURE_PROTOCOL);
	memset(row.expect, 'x', sizeof(row.expect));
	assert_false(probe_check_row(&row));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_datagrams),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_a_long_answer_ends),
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_pace),
		cmocka_unit_test(test_own_errors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
