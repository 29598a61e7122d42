/* SPDX-License-Identifier: Apache-2.0 */
/* What is written can be read back; nothing breaks out of its line; overflow is sticky. */
#include "wire/http1_write.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void
test_messages(void **state)
{
	static const char want[] = "GET /a?b HTTP/1.1\r\nhost: x\r\ncontent-length: 1200\r\n\r\n";
	char out[256];

	(void)state;
	for (size_t cap = 0; cap < 200; cap++) {
		struct http1_writer w;

		http1_write_init(&w, out, cap);
		http1_write_request(&w, "GET", 3, "/a?b", 4);
		http1_write_header(&w, "host", "x");
		http1_write_header_u(&w, "content-length", 1200);
		http1_write_end(&w);
		if (http1_write_ok(&w)) {
			assert_int_equal(http1_write_length(&w), sizeof(want) - 1);
			assert_memory_equal(out, want, sizeof(want) - 1);
		} else {
			assert_int_equal(http1_write_length(&w), 0);
			assert_true(cap < sizeof(want) + 8);
		}
	}
}

static void
test_injection(void **state)
{
	static const char *const values[] = {"a\r\nb: c", "a\nb", "a\rb", "\x01", " a"};
	struct http1_writer w;
	char out[256];

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		http1_write_init(&w, out, sizeof(out));
		http1_write_header(&w, "x", values[i]);
		assert_false(http1_write_ok(&w));
	}
	http1_write_init(&w, out, sizeof(out));
	http1_write_header(&w, "x y", "a");
	assert_false(http1_write_ok(&w));
	http1_write_init(&w, out, sizeof(out));
	http1_write_request(&w, "GET", 3, "/ HTTP/1.1\r\n", 12);
	assert_false(http1_write_ok(&w));
	http1_write_init(&w, out, sizeof(out));
	http1_write_status(&w, 503);
	assert_memory_equal(out, "HTTP/1.1 503 Service Unavailable\r\n", http1_write_length(&w));
}

static void
test_chunk_heads(void **state)
{
	static const uint64_t sizes[] = {1, 15, 16, 255, 4096, 65535, 1ull << 40, UINT64_MAX};
	char out[HTTP1_CHUNK_HEAD_MAX + 1];

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t n = http1_write_chunk_head(sizes[i], out);

		out[n] = '\0';
		assert_true(strtoull(out, NULL, 16) == sizes[i]);
		assert_string_equal(out + n - 2, "\r\n");
		assert_true(out[0] != '0');
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_injection),
		cmocka_unit_test(test_chunk_heads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
