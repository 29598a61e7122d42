/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server sessions against the library's own client in memory: requests and answers with bodies and
 * trailers, back pressure both ways, refused requests, rapid reset, draining, RFC 8441, and memory
 * that fails.
 */
#include "wire/h2.h"

#include <nghttp2/nghttp2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/mem.h"
#include "tests/support/sweep.h"

static struct h2_engine *engine;

/* ---- both ends ---- */

struct pair {
	struct h2 *server;
	nghttp2_session *client;
	char trace[4096]; /* of the server */
	struct h2_stream *last;
	size_t unread; /* request bytes not consumed yet */
	bool consume;
	size_t answer_left; /* bytes the server still has to give */
	size_t answer_total;
	/* the client's view */
	char seen[4096];
	size_t received;
	size_t upload_left;
	uint32_t goaway;
	bool has_goaway;
};

static void
note(char *trace, const char *fmt, ...)
{
	size_t n = strlen(trace);
	va_list args;

	va_start(args, fmt);
	vsnprintf(trace + n, 4096 - n, fmt, args);
	va_end(args);
}

static void
on_request(void *arg, struct h2_stream *s, const struct h2_request *r)
{
	struct pair *p = arg;

	note(p->trace, "[%d %.*s %.*s%.*s", h2_stream_id(s), (int)r->method_name.length,
	     r->text + r->method_name.at, (int)r->authority.length, r->text + r->authority.at,
	     (int)r->path.length, r->text + r->path.at);
	for (size_t i = 0; i < r->count && i < 8; i++)
		note(p->trace, " %.*s=%.*s", (int)r->fields[i].name_length,
		     r->text + r->fields[i].name,
		     (int)(r->fields[i].value_length > 32 ? 32 : r->fields[i].value_length),
		     r->text + r->fields[i].value);
	if (r->protocol.length)
		note(p->trace, " ::%.*s", (int)r->protocol.length, r->text + r->protocol.at);
	note(p->trace, "%s%s]", r->too_long ? " long" : "", r->end ? " end" : "");
	h2_stream_set_user(s, p);
	p->last = s;
}

static void
on_data(void *arg, struct h2_stream *s, const uint8_t *data, size_t length)
{
	struct pair *p = arg;

	(void)data;
	if (p->consume)
		h2_consume(s, length);
	else
		p->unread += length;
}

static void
on_trailers(void *arg, struct h2_stream *s, const char *text, const struct http_field *f,
	    size_t count)
{
	struct pair *p = arg;

	(void)s;
	for (size_t i = 0; i < count; i++)
		note(p->trace, "(%.*s=%.*s)", (int)f[i].name_length, text + f[i].name,
		     (int)f[i].value_length, text + f[i].value);
}

static void
on_end(void *arg, struct h2_stream *s)
{
	note(((struct pair *)arg)->trace, "{%d}", h2_stream_id(s));
}

static void
on_pull(void *arg, struct h2_stream *s, uint8_t *out, size_t length)
{
	struct pair *p = arg;

	(void)s;
	assert_true(length <= p->answer_left);
	memset(out, 'b', length);
	p->answer_left -= length;
}

static void
on_closed(void *arg, struct h2_stream *s, uint32_t code, bool by_peer)
{
	struct pair *p = arg;

	note(p->trace, "<%d %u%s>", h2_stream_id(s), code, by_peer ? " peer" : "");
	if (p->last == s)
		p->last = NULL;
}

static const struct h2_handler handler = {on_request, on_data, on_trailers,
					  on_end,     on_pull, on_closed};

static int
client_header(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name, size_t n,
	      const uint8_t *value, size_t v, uint8_t flags, void *user)
{
	(void)s;
	(void)flags;
	note(((struct pair *)user)->seen, "%d:%.*s=%.*s ", f->hd.stream_id, (int)n, name, (int)v,
	     value);
	return 0;
}

static int
client_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *data, size_t length,
	    void *user)
{
	(void)s;
	(void)flags;
	(void)id;
	(void)data;
	((struct pair *)user)->received += length;
	return 0;
}

static int
client_frame(nghttp2_session *s, const nghttp2_frame *f, void *user)
{
	struct pair *p = user;

	(void)s;
	if (f->hd.type == NGHTTP2_GOAWAY) {
		p->has_goaway = true;
		p->goaway = f->goaway.error_code;
	}
	if (f->hd.type == NGHTTP2_RST_STREAM)
		note(p->seen, "%d:rst=%u ", f->hd.stream_id, f->rst_stream.error_code);
	if ((f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS) &&
	    f->hd.flags & NGHTTP2_FLAG_END_STREAM)
		note(p->seen, "%d:end ", f->hd.stream_id);
	return 0;
}

static void
open_pair(struct pair *p, bool manual_window)
{
	nghttp2_session_callbacks *c;
	nghttp2_option *o;

	memset(p, 0, sizeof(*p));
	p->consume = true;
	p->server = h2_new(engine, &handler, p, NULL, 0);
	assert_non_null(p->server);
	nghttp2_session_callbacks_new(&c);
	nghttp2_session_callbacks_set_on_header_callback(c, client_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, client_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(c, client_frame);
	nghttp2_option_new(&o);
	nghttp2_option_set_no_auto_window_update(o, manual_window);
	/* The tests send what an honest client would not. */
	nghttp2_option_set_no_http_messaging(o, 1);
	nghttp2_session_client_new2(&p->client, c, p, o);
	nghttp2_option_del(o);
	nghttp2_session_callbacks_del(c);
	nghttp2_submit_settings(p->client, NGHTTP2_FLAG_NONE, NULL, 0);
}

static void
close_pair(struct pair *p)
{
	h2_free(p->server);
	nghttp2_session_del(p->client);
}

/* Moves bytes both ways until nothing moves; false when the server ended. */
static bool
pump(struct pair *p)
{
	static uint8_t out[65536];
	bool ok = true, moved = true;

	while (moved) {
		const uint8_t *data;
		ssize_t n;
		size_t m;

		moved = false;
		while ((n = nghttp2_session_mem_send(p->client, &data)) > 0) {
			moved = true;
			ok = h2_feed(p->server, data, (size_t)n, 0) && ok;
		}
		while ((m = h2_pull(p->server, out, sizeof(out))) > 0) {
			moved = true;
			nghttp2_session_mem_recv(p->client, out, m);
		}
	}
	return ok;
}

static nghttp2_nv
nv(const char *name, const char *value)
{
	return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
			    strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static ssize_t
upload(nghttp2_session *s, int32_t id, uint8_t *buf, size_t length, uint32_t *flags,
       nghttp2_data_source *source, void *user)
{
	struct pair *p = user;
	size_t n = length < p->upload_left ? length : p->upload_left;
	nghttp2_nv trailer = nv("x-sum", "1");

	memset(buf, 'u', n);
	p->upload_left -= n;
	if (p->upload_left == 0) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (source->fd) {
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			nghttp2_submit_trailer(s, id, &trailer, 1);
		}
	}
	return (ssize_t)n;
}

static int32_t
request(struct pair *p, const char *method, const char *path, const char *name, const char *value,
	size_t body, bool trailers)
{
	nghttp2_nv fields[] = {nv(":method", method), nv(":scheme", "https"),
			       nv(":authority", "a.test"), nv(":path", path),
			       nv(name ? name : "x", value ? value : "y")};
	nghttp2_data_provider provider = {.source.fd = trailers, .read_callback = upload};

	p->upload_left = body;
	return nghttp2_submit_request(p->client, NULL, fields, name ? 5 : 4,
				      body ? &provider : NULL, NULL);
}

static void
answer(struct pair *p, size_t bytes)
{
	static const struct h2_header fields[] = {{"server", 6, "zlayer", 6}};

	p->answer_left = bytes;
	assert_int_equal(h2_respond(p->last, 200, fields, 1, bytes > 0), 0);
	if (bytes > 0)
		h2_offer(p->last, bytes, true);
}

/* ---- stories ---- */

static void
test_request_and_answer(void **state)
{
	struct pair p;

	(void)state;
	open_pair(&p, false);
	request(&p, "GET", "/x?y", "x-a", "b", 0, false);
	assert_true(pump(&p));
	assert_string_equal(p.trace, "[1 GET a.test/x?y x-a=b end]{1}");
	answer(&p, 100000);
	assert_true(pump(&p));
	assert_string_equal(p.seen, "1::status=200 1:server=zlayer 1:end ");
	assert_int_equal(p.received, 100000);
	assert_string_equal(p.trace, "[1 GET a.test/x?y x-a=b end]{1}<1 0>");
	assert_int_equal(h2_streams(p.server), 0);
	close_pair(&p);
}

static void
test_answer_in_pieces_with_trailers(void **state)
{
	static const struct h2_header fields[] = {{"grpc-status", 11, "0", 1}};
	struct pair p;

	(void)state;
	open_pair(&p, false);
	request(&p, "POST", "/g", NULL, NULL, 10, true);
	assert_true(pump(&p));
	assert_string_equal(p.trace, "[1 POST a.test/g](x-sum=1){1}");
	h2_respond(p.last, 200, NULL, 0, true);
	assert_true(pump(&p));
	p.answer_left = 5;
	h2_offer(p.last, 5, false);
	assert_true(pump(&p));
	assert_int_equal(p.received, 5);
	assert_false(h2_stream_answered(p.last));
	h2_stream_trailers(p.last, fields, 1);
	h2_offer(p.last, 0, true);
	assert_true(pump(&p));
	assert_string_equal(p.seen, "1::status=200 1:grpc-status=0 1:end ");
	assert_null(p.last);
	close_pair(&p);
}

static void
test_slow_reader(void **state)
{
	struct pair p;

	(void)state;
	open_pair(&p, true);
	request(&p, "GET", "/", NULL, NULL, 0, false);
	assert_true(pump(&p));
	answer(&p, 1000000);
	assert_true(pump(&p));
	assert_int_equal(p.received, 65535);
	nghttp2_session_consume(p.client, 1, 65535);
	assert_true(pump(&p));
	assert_int_equal(p.received, 2 * 65535);
	close_pair(&p);
	assert_non_null(strstr(p.trace, "<1 8>"));
}

static void
test_slow_upstream(void **state)
{
	struct pair p;
	size_t before;

	(void)state;
	open_pair(&p, false);
	p.consume = false;
	request(&p, "POST", "/", NULL, NULL, 3000000, false);
	assert_true(pump(&p));
	before = p.unread;
	assert_int_equal(before, H2_STREAM_WINDOW);
	h2_consume(p.last, before);
	assert_true(pump(&p));
	assert_int_equal(p.unread, 2 * before);
	p.consume = true;
	h2_consume(p.last, before);
	assert_true(pump(&p));
	assert_int_equal(p.upload_left, 0);
	close_pair(&p);
}

static void
test_connection_window_survives_resets(void **state)
{
	struct pair p;

	(void)state;
	open_pair(&p, false);
	for (int i = 0; i < 20; i++) {
		p.consume = false;
		request(&p, "POST", "/", NULL, NULL, 200000, false);
		assert_true(pump(&p));
		assert_int_equal(p.upload_left, 0);
		h2_reset(p.last, H2_CANCEL);
		assert_true(pump(&p));
	}
	assert_int_equal(h2_resets(p.server), 0);
	close_pair(&p);
}

static void
test_refused_requests(void **state)
{
	static const char *const cases[][4] = {
		{"GET", "x", NULL, NULL},
		{"GET", "/a b", NULL, NULL},
		{"GET", "", NULL, NULL},
		{"G T", "/", NULL, NULL},
		{"GET", "/", "connection", "close"},
		{"GET", "/", "te", "gzip"},
		{"GET", "/", "x", "a\r\nb: c"},
		{"GET", "/", "x", " lead"},
		{"GET", "/", "transfer-encoding", "chunked"},
		{"GET", "/", "host", "other"},
		{"GET", "/", "content-length", "1"},
		{"GET", "/", "content-length", "x"},
		{"GET", "/", ":protocol", "websocket"},
		{"GET", "/", ":path", "/"},
		{"CONNECT", "/", NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pair p;

		open_pair(&p, false);
		request(&p, cases[i][0], cases[i][1], cases[i][2], cases[i][3], 0, false);
		assert_true(pump(&p));
		if (!strstr(p.seen, "1:rst=1 "))
			fail_msg("case %zu: %s / %s", i, p.trace, p.seen);
		assert_string_equal(strstr(p.trace, "[") ? "" : p.trace, p.trace);
		assert_int_equal(h2_resets(p.server), 1);
		close_pair(&p);
	}
}

static void
test_too_long(void **state)
{
	static char big[20000];
	nghttp2_nv fields[120];
	struct pair p;

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	open_pair(&p, false);
	fields[0] = nv(":method", "GET");
	fields[1] = nv(":scheme", "https");
	fields[2] = nv(":authority", "a");
	fields[3] = nv(":path", "/");
	for (int i = 4; i < 120; i++)
		fields[i] = nv("x", "y");
	nghttp2_submit_request(p.client, NULL, fields, 104, NULL, NULL);
	nghttp2_submit_request(p.client, NULL, fields, 105, NULL, NULL);
	fields[4] = nv("x", big);
	fields[5] = nv("z", big);
	nghttp2_submit_request(p.client, NULL, fields, 6, NULL, NULL);
	assert_true(pump(&p));
	assert_non_null(strstr(p.trace, "[1 GET a/ x=y x=y x=y x=y x=y x=y x=y x=y end]"));
	assert_non_null(strstr(p.trace, "[3 GET a/ x=y x=y x=y x=y x=y x=y x=y x=y long end]"));
	assert_non_null(strstr(p.trace, "long end]{5}"));
	close_pair(&p);
}

static void
test_websocket(void **state)
{
	nghttp2_nv fields[] = {nv(":method", "CONNECT"), nv(":protocol", "websocket"),
			       nv(":scheme", "https"), nv(":authority", "a"), nv(":path", "/chat")};
	struct pair p;

	(void)state;
	open_pair(&p, false);
	assert_true(pump(&p));
	assert_int_equal(nghttp2_session_get_remote_settings(
				 p.client, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL),
			 1);
	nghttp2_submit_headers(p.client, NGHTTP2_FLAG_NONE, -1, NULL, fields, 5, NULL);
	assert_true(pump(&p));
	assert_string_equal(p.trace, "[1 CONNECT a/chat ::websocket]");
	close_pair(&p);
}

static void
test_rapid_reset(void **state)
{
	struct pair p;
	bool ok = true;
	int i;

	(void)state;
	open_pair(&p, false);
	for (i = 0; i < 300 && ok; i++) {
		int32_t id = request(&p, "GET", "/", NULL, NULL, 0, false);

		ok = pump(&p);
		if (ok)
			nghttp2_submit_rst_stream(p.client, NGHTTP2_FLAG_NONE, id, H2_CANCEL);
		ok = ok && pump(&p);
	}
	assert_int_equal(i, 101);
	assert_true(p.has_goaway);
	assert_int_equal(p.goaway, H2_ENHANCE_YOUR_CALM);
	assert_int_equal(h2_error(p.server), H2_ENHANCE_YOUR_CALM);
	assert_true(h2_done(p.server));
	close_pair(&p);
}

static void
test_made_resets(void **state)
{
	struct pair p;
	bool ok = true;
	int i;

	(void)state;
	open_pair(&p, false);
	for (i = 0; i < 300 && ok; i++) {
		request(&p, "GET", "bad", NULL, NULL, 0, false);
		ok = pump(&p) && h2_error(p.server) == H2_NO_ERROR;
	}
	assert_int_equal(i, 101);
	assert_int_equal(p.goaway, H2_ENHANCE_YOUR_CALM);
	close_pair(&p);
}

static void
test_answered_resets_are_free(void **state)
{
	struct pair p;

	(void)state;
	open_pair(&p, false);
	for (int i = 0; i < 300; i++) {
		int32_t id = request(&p, "GET", "/", NULL, NULL, 0, false);

		assert_true(pump(&p));
		answer(&p, 10);
		assert_true(pump(&p));
		nghttp2_submit_rst_stream(p.client, NGHTTP2_FLAG_NONE, id, H2_CANCEL);
		assert_true(pump(&p));
	}
	assert_int_equal(h2_resets(p.server), 0);
	close_pair(&p);
}

static void
test_drain(void **state)
{
	struct pair p;

	(void)state;
	open_pair(&p, false);
	request(&p, "GET", "/", NULL, NULL, 0, false);
	assert_true(pump(&p));
	h2_drain_notice(p.server);
	assert_true(pump(&p));
	assert_true(p.has_goaway);
	h2_drain_final(p.server);
	assert_true(pump(&p));
	assert_false(h2_done(p.server));
	answer(&p, 10);
	pump(&p);
	assert_int_equal(p.received, 10);
	assert_true(h2_done(p.server));
	close_pair(&p);
}

static void
test_garbage(void **state)
{
	struct pair p;
	static uint8_t out[65536];

	(void)state;
	open_pair(&p, false);
	assert_false(
		h2_feed(p.server, (const uint8_t *)"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27, 0));
	while (h2_pull(p.server, out, sizeof(out)) > 0)
		;
	assert_true(h2_done(p.server));
	assert_false(h2_feed(p.server, (const uint8_t *)"x", 1, 0));
	close_pair(&p);
}

/* Output in the smallest pieces that are allowed, and in ones that cut frames. */
static void
test_small_output(void **state)
{
	static uint8_t out[H2_PULL_MIN];
	struct pair p;
	size_t n;

	(void)state;
	open_pair(&p, false);
	request(&p, "GET", "/", NULL, NULL, 0, false);
	assert_true(pump(&p));
	answer(&p, 50000);
	while ((n = h2_pull(p.server, out, sizeof(out))) > 0)
		nghttp2_session_mem_recv(p.client, out, n);
	assert_true(pump(&p));
	assert_int_equal(p.received, 50000);
	request(&p, "GET", "/", NULL, NULL, 0, false);
	assert_true(pump(&p));
	answer(&p, 0);
	while ((n = h2_pull(p.server, out, 3)) > 0)
		nghttp2_session_mem_recv(p.client, out, n);
	assert_non_null(strstr(p.seen, "3:end"));
	close_pair(&p);
}

static void
test_memory(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct pair p;
		struct h2 *h = h2_new(engine, &handler, &p, NULL, 0);

		if (h)
			h2_free(h);
		else
			assert_true(sweep_failed());
	}
}

static int
set_up(void **state)
{
	struct err err = {0};

	(void)state;
	return h2_engine_new(&engine, &err);
}

static int
tear_down(void **state)
{
	(void)state;
	h2_engine_free(engine);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request_and_answer),
		cmocka_unit_test(test_answer_in_pieces_with_trailers),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_slow_upstream),
		cmocka_unit_test(test_connection_window_survives_resets),
		cmocka_unit_test(test_refused_requests),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_websocket),
		cmocka_unit_test(test_rapid_reset),
		cmocka_unit_test(test_made_resets),
		cmocka_unit_test(test_answered_resets_are_free),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_small_output),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
