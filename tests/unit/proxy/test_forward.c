/* SPDX-License-Identifier: Apache-2.0 */
/* Heads on their way: what is dropped, what is ours, upgrades, cookies, and what can be parsed
 * again. */
#include "proxy/forward.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static struct http1_head head;
static char out[FORWARD_HEAD_MAX];
static struct forward_spans spans;

static void
parse(const char *text, struct forward_request *r)
{
	http1_head_init(&head, HTTP1_REQUEST, NULL);
	assert_int_equal(http1_head_parse(&head, text, strlen(text)), HTTP1_DONE);
	*r = (struct forward_request){
		.text = text,
		.fields = head.fields,
		.count = head.count,
		.method = head.method,
		.method_name = head.method_name,
		.authority = head.authority,
		.path = text + head.url.path.at,
		.path_length = head.url.path.length,
		.connection_names = head.connection_names,
		.websocket = head.upgrade_websocket,
		.protocol = 11,
	};
	if (head.url.has_query) {
		r->query = text + head.url.query.at;
		r->query_length = head.url.query.length;
	}
	r->client_text = "192.0.2.7";
}

static const char *
put(const struct forward_request *r, const struct route *route)
{
	static const struct route plain;
	size_t n = forward_put_request(r, route ? route : &plain, "the-id", "key", out,
				       sizeof(out) - 1, &spans);

	assert_true(n > 0);
	out[n] = '\0';
	/* What we write is what we would accept. */
	http1_head_init(&head, HTTP1_REQUEST, NULL);
	assert_int_equal(http1_head_parse(&head, out, n), HTTP1_DONE);
	assert_int_equal(head.head_bytes, n);
	return out;
}

static void
test_fields(void **state)
{
	struct forward_request r;

	(void)state;
	parse("GET /a/b?c=d HTTP/1.1\r\nHost: Shop.test:8443\r\nUser-Agent: me\r\n"
	      "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: gopher\r\nForwarded: for=6.6.6.6\r\n"
	      "X-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nX-Real-IP: 6.6.6.6\r\n"
	      "X-Request-ID: mine\r\nConnection: keep-alive, X-Secret\r\nX-Secret: s\r\n"
	      "Keep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: y\r\nTE: trailers\r\n"
	      "X_Forwarded_For: 6.6.6.6\r\nContent_Length: 5\r\nmy_own: kept\r\n"
	      "Accept: */*\r\nExpect: 100-continue\r\n\r\n",
	      &r);
	r.tls = true;
	assert_string_equal(put(&r, NULL),
			    "GET /a/b?c=d HTTP/1.1\r\nhost: Shop.test:8443\r\n"
			    "x-forwarded-host: Shop.test:8443\r\nUser-Agent: me\r\nmy_own: kept\r\n"
			    "Accept: */*\r\nx-forwarded-for: 192.0.2.7\r\n"
			    "x-forwarded-proto: https\r\nx-request-id: the-id\r\n\r\n");
	assert_memory_equal(out + spans.host.at, "Shop.test:8443", spans.host.length);
	assert_memory_equal(out + spans.path.at, "/a/b?c=d", spans.path.length);
	assert_memory_equal(out + spans.id.at, "the-id", spans.id.length);
	assert_memory_equal(out + spans.agent.at, "me", spans.agent.length);
	assert_int_equal(spans.agent.length, 2);
}

static void
test_words(void **state)
{
	struct forward_request r;
	char small[16];

	(void)state;
	parse("GET /a/b?token=s HTTP/1.1\r\nHost: Shop.test\r\nUser-Agent: me\r\n\r\n", &r);
	assert_int_equal(forward_put_words(&r, out, sizeof(out), &spans), 15);
	assert_memory_equal(out, "Shop.test/a/bme", 15);
	assert_int_equal(spans.host.length, 9);
	assert_int_equal(spans.path.length, 4);
	assert_int_equal(spans.agent.length, 2);
	assert_int_equal(spans.id.length, 0);
	/* What does not fit is cut. */
	assert_int_equal(forward_put_words(&r, small, 11, &spans), 11);
	assert_int_equal(spans.path.length, 2);
	assert_int_equal(spans.agent.length, 0);
	parse("OPTIONS * HTTP/1.0\r\n\r\n", &r);
	r.asterisk = true;
	assert_int_equal(forward_put_words(&r, small, sizeof(small), &spans), 1);
	assert_memory_equal(small + spans.path.at, "*", 1);
}

static void
test_framing(void **state)
{
	struct forward_request r;

	(void)state;
	parse("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", &r);
	r.body = FORWARD_LENGTH;
	r.content_length = 5;
	assert_non_null(strstr(put(&r, NULL), "\r\ncontent-length: 5\r\n"));
	r.content_length = 0;
	assert_non_null(strstr(put(&r, NULL), "\r\ncontent-length: 0\r\n"));
	parse("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", &r);
	r.body = FORWARD_CHUNKED;
	assert_non_null(strstr(put(&r, NULL), "\r\ntransfer-encoding: chunked\r\n"));
	assert_null(strstr(out, "content-length"));
}

static void
test_paths(void **state)
{
	struct route route = {
		.row.flags = MSG_ROUTE_STRIP_PATH, .row.path = "/api", .path_length = 4};
	struct forward_request r;

	(void)state;
	parse("GET /api/x?q HTTP/1.1\r\nHost: a\r\n\r\n", &r);
	assert_memory_equal(put(&r, &route), "GET /x?q HTTP/1.1\r\n", 19);
	parse("GET /api HTTP/1.1\r\nHost: a\r\n\r\n", &r);
	assert_memory_equal(put(&r, &route), "GET / HTTP/1.1\r\n", 16);
	parse("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", &r);
	r.asterisk = true;
	assert_memory_equal(put(&r, NULL), "OPTIONS * HTTP/1.1\r\n", 20);
	parse("GET / HTTP/1.0\r\n\r\n", &r);
	assert_non_null(strstr(put(&r, NULL), "\r\nhost: localhost\r\n"));
}

static void
test_upgrades(void **state)
{
	static const char text[] = "sec-websocket-protocolchat:authority";
	struct http_field fields[] = {{.name = 0,
				       .name_length = 22,
				       .value = 22,
				       .value_length = 4,
				       .id = HEADER_SEC_WEBSOCKET_PROTOCOL}};
	struct forward_request r;

	(void)state;
	parse("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
	      "Sec-WebSocket-Key: abc\r\nSec-WebSocket-Version: 13\r\n\r\n",
	      &r);
	put(&r, NULL);
	assert_true(head.upgrade_websocket);
	assert_non_null(strstr(out, "Sec-WebSocket-Key: abc\r\n"));
	r = (struct forward_request){.text = text,
				     .fields = fields,
				     .count = 1,
				     .method = HTTP_CONNECT,
				     .authority = {26, 10},
				     .path = "/ws",
				     .path_length = 3,
				     .websocket = true,
				     .h2 = true,
				     .client_text = "::1"};
	/* any text that is an authority serves */
	r.authority = (struct http_span){22, 4};
	put(&r, NULL);
	assert_memory_equal(out, "GET /ws HTTP/1.1\r\n", 18);
	assert_true(head.upgrade_websocket);
	assert_non_null(strstr(out, "sec-websocket-key: key\r\nsec-websocket-version: 13\r\n"));
}

static void
test_cookies(void **state)
{
	struct forward_request r;

	(void)state;
	parse("GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nX: y\r\nCookie: b=2; c=3\r\n\r\n", &r);
	assert_non_null(strstr(put(&r, NULL), "\r\ncookie: a=1; b=2; c=3\r\n"));
	assert_null(strstr(out, "Cookie"));
}

static void
test_does_not_fit(void **state)
{
	struct forward_request r;
	static const struct route route;

	(void)state;
	parse("GET /a HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n", &r);
	for (size_t cap = 0; cap < 100; cap++)
		assert_int_equal(forward_put_request(&r, &route, "id", "", out, cap, &spans), 0);
}

static void
test_answers(void **state)
{
	static const char text[] =
		"HTTP/1.1 200 OK\r\nServer: x\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n"
		"Transfer-Encoding: chunked\r\nKeep-Alive: 5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
		"X-Request-ID: theirs\r\n\r\n";
	static struct forward_answer a;
	char all[1024] = "";

	(void)state;
	http1_head_init(&head, HTTP1_RESPONSE, NULL);
	assert_int_equal(http1_head_parse(&head, text, sizeof(text) - 1), HTTP1_DONE);
	assert_int_equal(forward_answer_fields(&head, text, "ours", true, 784111777, &a), 0);
	for (size_t i = 0; i < a.count; i++)
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%.*s=%.*s;",
			 (int)a.fields[i].name_length, a.fields[i].name,
			 (int)a.fields[i].value_length, a.fields[i].value);
	assert_string_equal(all, "Server=x;Set-Cookie=a;Set-Cookie=b;"
				 "date=Sun, 06 Nov 1994 08:49:37 GMT;"
				 "strict-transport-security=max-age=31536000;x-request-id=ours;");
}

static void
test_ids(void **state)
{
	struct world_seeded w;
	char a[FORWARD_ID_BYTES], b[FORWARD_ID_BYTES];

	(void)state;
	world_seeded_init(&w, 1, 0, 1700000000000000000);
	forward_id(&w.world, a);
	forward_id(&w.world, b);
	assert_int_equal(strlen(a), 36);
	assert_memory_equal(a, "018bcfe5-6800-7", 15);
	assert_non_null(strchr("89ab", a[19]));
	assert_string_not_equal(a, b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),       cmocka_unit_test(test_words),
		cmocka_unit_test(test_framing),      cmocka_unit_test(test_paths),
		cmocka_unit_test(test_upgrades),     cmocka_unit_test(test_cookies),
		cmocka_unit_test(test_does_not_fit), cmocka_unit_test(test_answers),
		cmocka_unit_test(test_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
