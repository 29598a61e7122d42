/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heads: tables of good and bad ones (with the request-smuggling cases), each fed at once and byte
 * by byte with the same outcome.
 */
#include "wire/http1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct request_case {
	const char *text;
	enum http1_error error;
};

#define OK HTTP1_OK
#define HOST "Host: a\r\n"

static const struct request_case requests[] = {
	{"GET / HTTP/1.1\r\n" HOST "\r\n", OK},
	{"\r\nGET / HTTP/1.1\r\n" HOST "\r\n", OK},
	{"\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", HTTP1_BAD_REQUEST_LINE},
	{"GET / HTTP/1.0\r\n\r\n", OK},
	{"GET http://a/b?c HTTP/1.1\r\n" HOST "\r\n", OK},
	{"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", OK},
	{"GET * HTTP/1.1\r\n" HOST "\r\n", HTTP1_BAD_TARGET},
	{"CONNECT a:443 HTTP/1.1\r\n" HOST "\r\n", OK},
	{"CONNECT a HTTP/1.1\r\n" HOST "\r\n", HTTP1_BAD_TARGET},
	{"CONNECT /x HTTP/1.1\r\n" HOST "\r\n", HTTP1_BAD_TARGET},
	{"GET /{}|^` HTTP/1.1\r\n" HOST "\r\n", OK},
	{"PROPFIND / HTTP/1.1\r\n" HOST "X-Any: \xc3\xa4\tb\r\n\r\n", OK},
	/* request line */
	{"GET /\r\n" HOST "\r\n", HTTP1_BAD_REQUEST_LINE},
	{"GET  / HTTP/1.1\r\n" HOST "\r\n", HTTP1_BAD_REQUEST_LINE},
	{"GET / HTTP/1.1 \r\n" HOST "\r\n", HTTP1_BAD_REQUEST_LINE},
	{" GET / HTTP/1.1\r\n" HOST "\r\n", HTTP1_BAD_METHOD},
	{"GET\t/ HTTP/1.1\r\n" HOST "\r\n", HTTP1_BAD_METHOD},
	{"G\"T / HTTP/1.1\r\n" HOST "\r\n", HTTP1_BAD_METHOD},
	{"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n" HOST "\r\n", HTTP1_BAD_METHOD},
	{"GET x HTTP/1.1\r\n" HOST "\r\n", HTTP1_BAD_TARGET},
	{"GET /a\tb HTTP/1.1\r\n" HOST "\r\n", HTTP1_BAD_TARGET},
	{"GET /#f HTTP/1.1\r\n" HOST "\r\n", HTTP1_BAD_TARGET},
	{"GET /\x80 HTTP/1.1\r\n" HOST "\r\n", HTTP1_BAD_TARGET},
	{"GET /\x7f HTTP/1.1\r\n" HOST "\r\n", HTTP1_BAD_TARGET},
	{"GET ftp://a/ HTTP/1.1\r\n" HOST "\r\n", HTTP1_BAD_TARGET},
	{"GET http:///x HTTP/1.1\r\n" HOST "\r\n", HTTP1_BAD_TARGET},
	{"GET http://u@a/ HTTP/1.1\r\n" HOST "\r\n", HTTP1_BAD_TARGET},
	{"GET / HTTP/2.0\r\n" HOST "\r\n", HTTP1_BAD_VERSION},
	{"GET / HTTP/1.2\r\n" HOST "\r\n", HTTP1_BAD_VERSION},
	{"GET / HTTP/0.9\r\n\r\n", HTTP1_BAD_VERSION},
	{"GET / http/1.1\r\n" HOST "\r\n", HTTP1_BAD_REQUEST_LINE},
	{"GET / HTTP/1.10\r\n" HOST "\r\n", HTTP1_BAD_REQUEST_LINE},
	/* line ends */
	{"GET / HTTP/1.1\n" HOST "\r\n", HTTP1_BAD_LINE_END},
	{"GET / HTTP/1.1\r\nHost: a\n\r\n", HTTP1_BAD_LINE_END},
	{"GET / HTTP/1.1\r\n" HOST "\n", HTTP1_BAD_LINE_END},
	{"GET / HTTP/1.1\r\n" HOST "X: a\rb\r\n\r\n", HTTP1_BAD_LINE_END},
	{"GET / HTTP/1.1\r\n" HOST "X: a\r\r\n\r\n", HTTP1_BAD_LINE_END},
	{"GET /\r HTTP/1.1\r\n" HOST "\r\n", HTTP1_BAD_LINE_END},
	/* fields */
	{"GET / HTTP/1.1\r\n" HOST "X : a\r\n\r\n", HTTP1_BAD_FIELD_NAME},
	{"GET / HTTP/1.1\r\n" HOST ": a\r\n\r\n", HTTP1_BAD_FIELD_NAME},
	{"GET / HTTP/1.1\r\n" HOST "X\r\n\r\n", HTTP1_BAD_FIELD_NAME},
	{"GET / HTTP/1.1\r\n" HOST "X\x01: a\r\n\r\n", HTTP1_BAD_FIELD_NAME},
	{"GET / HTTP/1.1\r\n" HOST "X(y): a\r\n\r\n", HTTP1_BAD_FIELD_NAME},
	{"GET / HTTP/1.1\r\n" HOST "X: a\x01\r\n\r\n", HTTP1_BAD_FIELD_VALUE},
	{"GET / HTTP/1.1\r\n" HOST "X: a\x7f\r\n\r\n", HTTP1_BAD_FIELD_VALUE},
	{"GET / HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n", HTTP1_OBS_FOLD},
	{"GET / HTTP/1.1\r\n" HOST "X: a\r\n\tb\r\n\r\n", HTTP1_OBS_FOLD},
	{"GET / HTTP/1.1\r\n X: a\r\n" HOST "\r\n", HTTP1_OBS_FOLD},
	/* host */
	{"GET / HTTP/1.1\r\n\r\n", HTTP1_BAD_HOST},
	{"GET / HTTP/1.1\r\nHost:\r\n\r\n", HTTP1_BAD_HOST},
	{"GET / HTTP/1.1\r\n" HOST HOST "\r\n", HTTP1_BAD_HOST},
	{"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", HTTP1_BAD_HOST},
	{"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", HTTP1_BAD_HOST},
	{"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", HTTP1_BAD_HOST},
	{"GET / HTTP/1.1\r\nHost: a:0\r\n\r\n", HTTP1_BAD_HOST},
	{"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", HTTP1_BAD_HOST},
	{"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", HTTP1_BAD_HOST},
	{"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", HTTP1_BAD_HOST},
	{"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", OK},
	{"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", HTTP1_BAD_HOST},
	{"GET / HTTP/1.1\r\nHost: [zz]\r\n\r\n", HTTP1_BAD_HOST},
	/* framing */
	{"POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n", OK},
	{"POST / HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", OK},
	{"POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
	 HTTP1_BAD_CONTENT_LENGTH},
	{"POST / HTTP/1.1\r\n" HOST "Content-Length: 5, 5\r\n\r\n", HTTP1_BAD_CONTENT_LENGTH},
	{"POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\ncontent-length: 6\r\n\r\n",
	 HTTP1_BAD_CONTENT_LENGTH},
	{"POST / HTTP/1.1\r\n" HOST "Content-Length: +5\r\n\r\n", HTTP1_BAD_CONTENT_LENGTH},
	{"POST / HTTP/1.1\r\n" HOST "Content-Length: -5\r\n\r\n", HTTP1_BAD_CONTENT_LENGTH},
	{"POST / HTTP/1.1\r\n" HOST "Content-Length: 0x5\r\n\r\n", HTTP1_BAD_CONTENT_LENGTH},
	{"POST / HTTP/1.1\r\n" HOST "Content-Length: 5 5\r\n\r\n", HTTP1_BAD_CONTENT_LENGTH},
	{"POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", HTTP1_BAD_CONTENT_LENGTH},
	{"POST / HTTP/1.1\r\n" HOST "Content-Length: 9999999999999999999\r\n\r\n",
	 HTTP1_BAD_CONTENT_LENGTH},
	{"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", OK},
	{"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: CHUNKED\r\n\r\n", OK},
	{"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
	 HTTP1_LENGTH_AND_CODING},
	{"POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
	 HTTP1_LENGTH_AND_CODING},
	{"POST / HTTP/1.1\r\n" HOST "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
	 HTTP1_LENGTH_AND_CODING},
	{"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n", HTTP1_BAD_CODING},
	{"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, chunked\r\n\r\n",
	 HTTP1_BAD_CODING},
	{"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", HTTP1_BAD_CODING},
	{"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n", HTTP1_BAD_CODING},
	{"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \"chunked\"\r\n\r\n", HTTP1_BAD_CODING},
	{"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked;q=1\r\n\r\n", HTTP1_BAD_CODING},
	{"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\x0b chunked\r\n\r\n",
	 HTTP1_BAD_FIELD_VALUE},
	{"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
	 HTTP1_BAD_CODING},
	{"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding : chunked\r\n\r\n", HTTP1_BAD_FIELD_NAME},
	{"POST / HTTP/1.1\r\n" HOST "Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\n", OK},
	{"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP1_BAD_CODING},
	{"POST / HTTP/1.1\r\n" HOST "Expect: 100-Continue\r\n\r\n", OK},
	{"POST / HTTP/1.1\r\n" HOST "Expect: 200-ok\r\n\r\n", HTTP1_BAD_EXPECT},
};

static void
check_one(const char *data, size_t length, enum http1_role role, enum http1_error want)
{
	struct http1_head whole, bytes;
	enum http1_result r, rb = HTTP1_MORE;

	http1_head_init(&whole, role, NULL);
	r = http1_head_parse(&whole, data, length);
	if ((want == HTTP1_OK) != (r == HTTP1_DONE) || whole.error != want)
		fail_msg("%.*s: %s, not %s", (int)length, data, http1_error_text(whole.error),
			 http1_error_text(want));
	http1_head_init(&bytes, role, NULL);
	for (size_t n = 1; n <= length && rb == HTTP1_MORE; n++) {
		/* A block of its own each time: the address may change. */
		char *copy = malloc(n);

		memcpy(copy, data, n);
		rb = http1_head_parse(&bytes, copy, n);
		free(copy);
	}
	assert_int_equal(r, rb);
	assert_int_equal(whole.error, bytes.error);
	assert_int_equal(whole.head_bytes, bytes.head_bytes);
	assert_int_equal(whole.count, bytes.count);
	assert_int_equal(whole.framing, bytes.framing);
}

static void
test_requests(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		check_one(requests[i].text, strlen(requests[i].text), HTTP1_REQUEST,
			  requests[i].error);
	check_one("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 28, HTTP1_REQUEST, HTTP1_BAD_TARGET);
	check_one("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 33, HTTP1_REQUEST,
		  HTTP1_BAD_FIELD_VALUE);
	check_one("GET / HTTP/1.1\r\nHost: a\r\n\0: b\r\n\r\n", 33, HTTP1_REQUEST,
		  HTTP1_BAD_FIELD_NAME);
}

static const struct request_case responses[] = {
	{"HTTP/1.1 200 OK\r\n\r\n", OK},
	{"HTTP/1.1 200 \r\n\r\n", OK},
	{"HTTP/1.1 200\r\n\r\n", OK},
	{"HTTP/1.0 404 Not \xe4 Found\r\nContent-Length: 3\r\n\r\n", OK},
	{"\r\nHTTP/1.1 200 OK\r\n\r\n", HTTP1_BAD_REQUEST_LINE},
	{"HTTP/1.1 20 OK\r\n\r\n", HTTP1_BAD_STATUS_LINE},
	{"HTTP/1.1 2000 OK\r\n\r\n", HTTP1_BAD_STATUS_LINE},
	{"HTTP/1.1 099 OK\r\n\r\n", HTTP1_BAD_STATUS_LINE},
	{"HTTP/1.1 600 OK\r\n\r\n", HTTP1_BAD_STATUS_LINE},
	{"HTTP/1.1  200 OK\r\n\r\n", HTTP1_BAD_STATUS_LINE},
	{"HTTP/2.0 200 OK\r\n\r\n", HTTP1_BAD_VERSION},
	{"ICY 200 OK abcdef\r\n\r\n", HTTP1_BAD_STATUS_LINE},
	{"HTTP/1.1 200 O\x01K\r\n\r\n", HTTP1_BAD_STATUS_LINE},
	{"HTTP/1.1 200 OK\n\r\n", HTTP1_BAD_LINE_END},
	{"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
	 HTTP1_BAD_CONTENT_LENGTH},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
	 HTTP1_LENGTH_AND_CODING},
	{"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP1_BAD_CODING},
};

static void
test_responses(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(responses) / sizeof(responses[0]); i++)
		check_one(responses[i].text, strlen(responses[i].text), HTTP1_RESPONSE,
			  responses[i].error);
}

static void
test_meaning(void **state)
{
	static const char text[] = "POST http://B.example:81/p/q?x=1 HTTP/1.1\r\n"
				   "Host: other\r\nUser-Agent:  me \t\r\nX-Y:\r\n"
				   "Connection: x-y, keep-alive\r\nContent-Length: 12\r\n\r\nbody";
	struct http1_head h;
	size_t n;

	(void)state;
	http1_head_init(&h, HTTP1_REQUEST, NULL);
	assert_int_equal(http1_head_parse(&h, text, sizeof(text) - 1), HTTP1_DONE);
	assert_int_equal(h.head_bytes, sizeof(text) - 1 - 4);
	assert_int_equal(h.method, HTTP_POST);
	assert_memory_equal(text + h.authority.at, "B.example:81", h.authority.length);
	assert_memory_equal(text + h.url.path.at, "/p/q", h.url.path.length);
	assert_memory_equal(text + h.url.query.at, "x=1", h.url.query.length);
	assert_true(h.connection_names && h.keep_alive);
	assert_int_equal(h.framing, HTTP1_LENGTH);
	assert_int_equal(h.content_length, 12);
	assert_int_equal(h.count, 5);
	assert_memory_equal(http1_head_value(&h, text, HEADER_USER_AGENT, &n), "me", 2);
	assert_int_equal(n, 2);
	assert_int_equal(h.fields[2].value_length, 0);
	assert_null(http1_head_value(&h, text, HEADER_ACCEPT, &n));
}

static bool
keeps(const char *text, enum http1_role role)
{
	struct http1_head h;

	http1_head_init(&h, role, NULL);
	assert_int_equal(http1_head_parse(&h, text, strlen(text)), HTTP1_DONE);
	return h.keep_alive;
}

static void
test_keep_alive(void **state)
{
	(void)state;
	assert_true(keeps("GET / HTTP/1.1\r\nHost: a\r\n\r\n", HTTP1_REQUEST));
	assert_false(
		keeps("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", HTTP1_REQUEST));
	assert_false(keeps("GET / HTTP/1.0\r\n\r\n", HTTP1_REQUEST));
	assert_true(keeps("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", HTTP1_REQUEST));
	assert_false(
		keeps("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", HTTP1_REQUEST));
}

static void
test_upgrade(void **state)
{
	struct http1_head h;
	const char *text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n"
			   "Upgrade: WebSocket\r\n\r\n";

	(void)state;
	http1_head_init(&h, HTTP1_REQUEST, NULL);
	assert_int_equal(http1_head_parse(&h, text, strlen(text)), HTTP1_DONE);
	assert_true(h.upgrade && h.upgrade_websocket && !h.connection_names);
	text = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
	http1_head_init(&h, HTTP1_REQUEST, NULL);
	assert_int_equal(http1_head_parse(&h, text, strlen(text)), HTTP1_DONE);
	assert_false(h.upgrade || h.upgrade_websocket);
}

struct framing_case {
	const char *head;
	enum http_method method;
	enum http1_framing framing;
	bool keep;
};

static void
test_framing(void **state)
{
	static const struct framing_case cases[] = {
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", HTTP_GET, HTTP1_LENGTH, true},
		{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", HTTP_GET, HTTP1_NO_BODY, true},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", HTTP_HEAD, HTTP1_NO_BODY, true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP_GET, HTTP1_CHUNKED,
		 true},
		{"HTTP/1.1 200 OK\r\n\r\n", HTTP_GET, HTTP1_UNTIL_CLOSE, false},
		{"HTTP/1.1 204 No\r\n\r\n", HTTP_GET, HTTP1_NO_BODY, true},
		{"HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n", HTTP_GET, HTTP1_NO_BODY, false},
		{"HTTP/1.1 304 No\r\nContent-Length: 3\r\n\r\n", HTTP_GET, HTTP1_NO_BODY, true},
		{"HTTP/1.1 100 C\r\n\r\n", HTTP_POST, HTTP1_NO_BODY, true},
		{"HTTP/1.1 101 S\r\n\r\n", HTTP_GET, HTTP1_TUNNEL, false},
		{"HTTP/1.1 200 OK\r\n\r\n", HTTP_CONNECT, HTTP1_TUNNEL, false},
		{"HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\n", HTTP_CONNECT, HTTP1_LENGTH, true},
		{"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", HTTP_GET, HTTP1_LENGTH, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct http1_head h;

		http1_head_init(&h, HTTP1_RESPONSE, NULL);
		assert_int_equal(http1_head_parse(&h, cases[i].head, strlen(cases[i].head)),
				 HTTP1_DONE);
		assert_int_equal(http1_head_framing(&h, cases[i].method), cases[i].framing);
		assert_int_equal(h.keep_alive, cases[i].keep);
	}
}

static size_t
fill(char *out, const char *start, size_t pad, const char *end)
{
	size_t n = strlen(start);

	memcpy(out, start, n);
	memset(out + n, 'a', pad);
	memcpy(out + n + pad, end, strlen(end));
	return n + pad + strlen(end);
}

static void
test_limits(void **state)
{
	static char text[70000];
	size_t n;

	(void)state;
	/* "GET /" + pad + " HTTP/1.1" is 14 + pad bytes */
	n = fill(text, "GET /", 8192 - 14, " HTTP/1.1\r\nHost: a\r\n\r\n");
	check_one(text, n, HTTP1_REQUEST, HTTP1_OK);
	n = fill(text, "GET /", 8192 - 13, " HTTP/1.1\r\nHost: a\r\n\r\n");
	check_one(text, n, HTTP1_REQUEST, HTTP1_LINE_TOO_LONG);
	n = fill(text, "GET /", 60000, " HTTP/1.1\r\nHost: a\r\n\r\n");
	check_one(text, n, HTTP1_REQUEST, HTTP1_LINE_TOO_LONG);
	/* "GET / HTTP/1.1\r\nHost: a\r\nX: " is 28 bytes, the end 4 */
	n = fill(text, "GET / HTTP/1.1\r\nHost: a\r\nX: ", 32768 - 32, "\r\n\r\n");
	check_one(text, n, HTTP1_REQUEST, HTTP1_OK);
	n = fill(text, "GET / HTTP/1.1\r\nHost: a\r\nX: ", 32768 - 31, "\r\n\r\n");
	check_one(text, n, HTTP1_REQUEST, HTTP1_BLOCK_TOO_LONG);
	n = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: a\r\n");
	for (int i = 0; i < 99; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "X: %d\r\n", i);
	memcpy(text + n, "\r\n", 2);
	check_one(text, n + 2, HTTP1_REQUEST, HTTP1_OK);
	memcpy(text + n, "Y: 1\r\n\r\n", 8);
	check_one(text, n + 8, HTTP1_REQUEST, HTTP1_TOO_MANY_FIELDS);
}

static void
test_pipelining(void **state)
{
	static const char text[] =
		"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
	struct http1_head h;
	size_t at;

	(void)state;
	http1_head_init(&h, HTTP1_REQUEST, NULL);
	assert_int_equal(http1_head_parse(&h, text, sizeof(text) - 1), HTTP1_DONE);
	at = h.head_bytes;
	http1_head_init(&h, HTTP1_REQUEST, NULL);
	assert_int_equal(http1_head_parse(&h, text + at, sizeof(text) - 1 - at), HTTP1_DONE);
	assert_memory_equal(text + at + h.target.at, "/2", 2);
	assert_int_equal(at + h.head_bytes, sizeof(text) - 1);
}

static void
test_trailers(void **state)
{
	struct http_field fields[2];
	static const char good[] = "grpc-status: 0\r\nx: y\r\n";

	(void)state;
	assert_int_equal(http1_head_trailers(good, sizeof(good) - 1, fields, 2), 2);
	assert_int_equal(fields[0].id, HEADER_GRPC_STATUS);
	assert_int_equal(http1_head_trailers(good, sizeof(good) - 1, fields, 1), -1);
	assert_int_equal(http1_head_trailers("host: a\r\n", 9, fields, 2), -1);
	assert_int_equal(http1_head_trailers("x: a", 4, fields, 2), -1);
	assert_int_equal(http1_head_trailers("", 0, fields, 2), 0);
}

static void
test_texts(void **state)
{
	(void)state;
	for (int e = 0; e < HTTP1_ERRORS_; e++) {
		assert_non_null(http1_error_text((enum http1_error)e));
		assert_true(e == 0 || http1_error_status((enum http1_error)e) >= 400);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests), cmocka_unit_test(test_responses),
		cmocka_unit_test(test_meaning),  cmocka_unit_test(test_keep_alive),
		cmocka_unit_test(test_upgrade),  cmocka_unit_test(test_framing),
		cmocka_unit_test(test_limits),   cmocka_unit_test(test_pipelining),
		cmocka_unit_test(test_trailers), cmocka_unit_test(test_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
