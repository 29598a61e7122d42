/* SPDX-License-Identifier: Apache-2.0 */
/* Event streams: what is put is read back at every split; odd line ends; limits. */
#include "wire/sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void
trace(const char *in, size_t length, size_t step, size_t max, struct buf *out)
{
	struct sse s;

	buf_reset(out);
	sse_init(&s, MEM_WIRE, max);
	for (size_t at = 0; at < length;) {
		size_t n = length - at < step ? length - at : step, used;
		enum sse_result r = sse_feed(&s, in + at, n, &used);

		if (r == SSE_TOO_LONG) {
			buf_puts(out, "!");
			break;
		}
		if (r == SSE_EVENT)
			buf_printf(out, "[%s|%s|%s]", s.id, s.event, buf_cstr(&s.data));
		at += used;
	}
	if (s.retry_ms)
		buf_printf(out, "retry=%llu", (unsigned long long)s.retry_ms);
	sse_fini(&s);
}

static void
test_streams(void **state)
{
	static const char *const cases[][2] = {
		{"data: a\n\n", "[|message|a]"},
		{"data:a\r\ndata\r\ndata:  b\r\n\r\n", "[|message|a\n\n b]"},
		{"\xef\xbb\xbf"
		 "data: a\r\rdata: b\r\r",
		 "[|message|a][|message|b]"},
		{"id: 7\nevent: x\ndata: a\n\ndata: b\n\n", "[7|x|a][7|message|b]"},
		{"event: lost\n\ndata: a\n\n", "[|message|a]"},
		{"id: 1\n\ndata: a\n\n", "[1|message|a]"},
		{": comment\n\nretry: 250\nretry: x\nunknown: y\ndata: a\n\n",
		 "[|message|a]retry=250"},
		{"data: unfinished\n", ""},
	};
	struct buf out;

	(void)state;
	buf_init(&out, MEM_WIRE, 4096);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (size_t step = 1; step < 40; step++) {
			trace(cases[i][0], strlen(cases[i][0]), step, 1024, &out);
			assert_string_equal(buf_cstr(&out), cases[i][1]);
		}
	}
	trace("data: 0123456789\n\n", 18, 18, 12, &out);
	assert_string_equal(buf_cstr(&out), "!");
	trace("data: 01234\ndata: 01234\ndata: 01234\n\n", 37, 5, 12, &out);
	assert_string_equal(buf_cstr(&out), "!");
	buf_fini(&out);
}

static void
test_round_trip(void **state)
{
	struct buf wire, out;

	(void)state;
	buf_init(&wire, MEM_WIRE, 4096);
	buf_init(&out, MEM_WIRE, 4096);
	sse_put_retry(&wire, 1000);
	sse_put(&wire, "41", "status", "{\"a\":1}", 7);
	sse_put_comment(&wire, "still here");
	sse_put(&wire, "42", NULL, "two\nlines\r\nthree", 16);
	sse_put(&wire, "bad\nid", "bad\revent", "", 0);
	trace((const char *)wire.data, wire.length, 7, 1024, &out);
	assert_string_equal(buf_cstr(&out), "[41|status|{\"a\":1}][42|message|two\nlines\nthree]"
					    "[42|message|]retry=1000");
	buf_fini(&wire);
	buf_fini(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
