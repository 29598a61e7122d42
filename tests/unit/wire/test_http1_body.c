/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies: chunked good and bad, lengths, at once and byte by byte. */
#include "wire/http1_body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

struct outcome {
	char body[4096];
	size_t length;
	size_t used;
	enum http1_body_result last;
	enum http1_error error;
	struct buf trailers;
};

static void
feed(struct outcome *o, enum http1_framing framing, uint64_t length, const char *data, size_t bytes,
     size_t step)
{
	struct http1_body b;

	memset(o, 0, sizeof(*o));
	buf_init(&o->trailers, MEM_WIRE, HTTP1_TRAILER_BYTES_MAX);
	http1_body_init(&b, framing, length, &o->trailers);
	o->last = b.ended ? HTTP1_BODY_END : HTTP1_BODY_MORE;
	while (o->used < bytes && o->last != HTTP1_BODY_END && o->last != HTTP1_BODY_BAD) {
		size_t n = bytes - o->used < step ? bytes - o->used : step, used, span_length;
		const char *span;

		o->last = http1_body_feed(&b, data + o->used, n, &used, &span, &span_length);
		if (o->last == HTTP1_BODY_DATA) {
			assert_true(o->length + span_length <= sizeof(o->body));
			memcpy(o->body + o->length, span, span_length);
			o->length += span_length;
			if (b.ended)
				o->last = HTTP1_BODY_END;
		}
		o->used += used;
	}
	o->error = b.error;
}

struct chunk_case {
	const char *in;
	const char *body; /* NULL: refused */
	const char *trailers;
	size_t rest; /* bytes of the next message */
};

static const struct chunk_case chunks[] = {
	{"0\r\n\r\n", "", "", 0},
	{"5\r\nhello\r\n0\r\n\r\n", "hello", "", 0},
	{"5\r\nhello\r\n0\r\n\r\nGET ", "hello", "", 4},
	{"005\r\nhello\r\n3\r\nabc\r\n000\r\n\r\n", "helloabc", "", 0},
	{"A\r\n0123456789\r\n0\r\n\r\n", "0123456789", "", 0},
	{"1;a=b;c=\"d e\"\r\nx\r\n0;q\r\n\r\n", "x", "", 0},
	{"1\r\nx\r\n0\r\nx-sum: 1\r\ngrpc-status:0\r\n\r\n", "x", "x-sum: 1\r\ngrpc-status:0\r\n",
	 0},
	{"\r\n", NULL, NULL, 0},
	{"g\r\n", NULL, NULL, 0},
	{"-1\r\n", NULL, NULL, 0},
	{"0x1\r\n", NULL, NULL, 0},
	{" 1\r\nx\r\n0\r\n\r\n", NULL, NULL, 0},
	{"1 \r\nx\r\n0\r\n\r\n", NULL, NULL, 0},
	{"1\nx\r\n0\r\n\r\n", NULL, NULL, 0},
	{"1\rx\r\n0\r\n\r\n", NULL, NULL, 0},
	{"1\r\nxx\r\n0\r\n\r\n", NULL, NULL, 0},
	{"1\r\nx\n0\r\n\r\n", NULL, NULL, 0},
	{"1\r\nx0\r\n\r\n", NULL, NULL, 0},
	{"1;a\nb\r\nx\r\n0\r\n\r\n", NULL, NULL, 0},
	{"ffffffffffffffff\r\n", NULL, NULL, 0},
	{"10000000000000000\r\n", NULL, NULL, 0},
	{"4000000000000000\r\n", NULL, NULL, 0},
	{"00000000000000001\r\n", NULL, NULL, 0},
	{"0\r\n\n", NULL, NULL, 0},
	{"0\r\n\rx", NULL, NULL, 0},
	{"0\r\nContent-Length: 3\r\n\r\n", NULL, NULL, 0},
	{"0\r\ntransfer-encoding: chunked\r\n\r\n", NULL, NULL, 0},
	{"0\r\nHost: a\r\n\r\n", NULL, NULL, 0},
	{"0\r\n: a\r\n\r\n", NULL, NULL, 0},
	{"0\r\nx y: a\r\n\r\n", NULL, NULL, 0},
	{"0\r\n x: a\r\n\r\n", NULL, NULL, 0},
	{"0\r\nx: a\nb: c\r\n\r\n", NULL, NULL, 0},
	{"0\r\nx: a\x01\r\n\r\n", NULL, NULL, 0},
};

static void
test_chunks(void **state)
{
	static struct outcome o;

	(void)state;
	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		const struct chunk_case *c = &chunks[i];

		for (size_t step = 1; step <= strlen(c->in); step++) {
			feed(&o, HTTP1_CHUNKED, 0, c->in, strlen(c->in), step);
			if ((o.last == HTTP1_BODY_END) != (c->body != NULL) ||
			    (!c->body && o.last != HTTP1_BODY_BAD))
				fail_msg("%s step %zu", c->in, step);
			if (c->body) {
				assert_int_equal(o.length, strlen(c->body));
				assert_memory_equal(o.body, c->body, o.length);
				assert_string_equal(buf_cstr(&o.trailers), c->trailers);
				assert_int_equal(o.used, strlen(c->in) - c->rest);
			}
			buf_fini(&o.trailers);
		}
	}
}

static void
test_limits(void **state)
{
	static struct outcome o;
	char text[16384];
	size_t n;

	(void)state;
	n = (size_t)snprintf(text, sizeof(text), "1;%0*d\r\nx\r\n0\r\n\r\n", HTTP1_CHUNK_EXT_MAX,
			     1);
	feed(&o, HTTP1_CHUNKED, 0, text, n, n);
	assert_int_equal(o.last, HTTP1_BODY_END);
	buf_fini(&o.trailers);
	n = (size_t)snprintf(text, sizeof(text), "1;%0*d\r\nx\r\n0\r\n\r\n",
			     HTTP1_CHUNK_EXT_MAX + 1, 1);
	feed(&o, HTTP1_CHUNKED, 0, text, n, n);
	assert_int_equal(o.last, HTTP1_BODY_BAD);
	buf_fini(&o.trailers);
	n = 0;
	for (int i = 0; i < 20; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "1;%0250d\r\nx\r\n", 1);
	feed(&o, HTTP1_CHUNKED, 0, text, n, n);
	assert_int_equal(o.last, HTTP1_BODY_BAD);
	buf_fini(&o.trailers);
	n = (size_t)snprintf(text, sizeof(text), "0\r\nx: %0*d\r\n\r\n", HTTP1_TRAILER_BYTES_MAX,
			     1);
	feed(&o, HTTP1_CHUNKED, 0, text, n, n);
	assert_int_equal(o.last, HTTP1_BODY_BAD);
	buf_fini(&o.trailers);
	n = (size_t)snprintf(text, sizeof(text), "0\r\n");
	for (int i = 0; i <= HTTP1_TRAILERS_MAX; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "x: y\r\n");
	feed(&o, HTTP1_CHUNKED, 0, text, n, n);
	assert_int_equal(o.last, HTTP1_BODY_BAD);
	buf_fini(&o.trailers);
}

static void
test_lengths(void **state)
{
	static struct outcome o;
	struct http1_body b;

	(void)state;
	for (size_t step = 1; step < 12; step++) {
		feed(&o, HTTP1_LENGTH, 5, "helloGET /", 10, step);
		assert_int_equal(o.last, HTTP1_BODY_END);
		assert_int_equal(o.used, 5);
		assert_memory_equal(o.body, "hello", 5);
	}
	feed(&o, HTTP1_NO_BODY, 0, "GET /", 5, 5);
	assert_int_equal(o.last, HTTP1_BODY_END);
	assert_int_equal(o.used, 0);
	feed(&o, HTTP1_UNTIL_CLOSE, 0, "any", 3, 2);
	assert_int_equal(o.last, HTTP1_BODY_DATA);
	assert_int_equal(o.length, 3);
	http1_body_init(&b, HTTP1_UNTIL_CLOSE, 0, NULL);
	assert_true(http1_body_finish(&b));
	http1_body_init(&b, HTTP1_LENGTH, 1, NULL);
	assert_false(http1_body_finish(&b));
	http1_body_init(&b, HTTP1_CHUNKED, 0, NULL);
	assert_false(http1_body_finish(&b));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
