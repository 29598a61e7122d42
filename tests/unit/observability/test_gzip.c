/* SPDX-License-Identifier: Apache-2.0 */
/* Who is given gzip, that it is what was put in, and what happens without memory. */
#include "observability/gzip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <cmocka.h>
#include "base/dl.h"
#include "base/mem.h"

#define INFLATE_CALLS(X) X(inflateInit2_) X(inflate) X(inflateEnd)
DL_DECLARE(test_zlib, INFLATE_CALLS);
DL_DEFINE(test_zlib, "libz.so.1", INFLATE_CALLS)

static int
load(void **state)
{
	struct err err = {0};

	(void)state;
	return gzip_load(&err) < 0 || dl_load_test_zlib(&err) < 0;
}

static void
test_accepted(void **state)
{
	static const char *const yes[] = {
		"gzip", "GZIP", "deflate, gzip;q=0.5", "*", "br , gzip ; q=1", "*;q=0, gzip"};
	static const char *const no[] = {"",          "identity", "gzip;q=0",    "gzip;q=0.000",
					 "x-gzipped", "*;q=0",    "gzip;q=0, *", "deflate",
					 ",,;"};

	(void)state;
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		assert_true(gzip_accepted(yes[i], strlen(yes[i])));
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		assert_false(gzip_accepted(no[i], strlen(no[i])));
}

static void
test_there_and_back(void **state)
{
	enum { BYTES = 200000 };
	uint8_t *text = malloc(BYTES), *back = malloc(BYTES + 1);
	struct buf out;
	z_stream z = {0};

	(void)state;
	for (size_t i = 0; i < BYTES; i++)
		text[i] = (uint8_t)("zlayer_http_requests_total 12\n"[i % 30] ^
				    (int)((i / 5000) % 3));
	buf_init(&out, MEM_OBSERVABILITY, 1 << 20);
	buf_puts(&out, "head");
	assert_true(gzip_write(text, BYTES, &out));
	assert_true(buf_ok(&out));
	assert_in_range(out.length, 20, BYTES / 10);
	assert_memory_equal(out.data, "head", 4);
	assert_int_equal(test_zlib.inflateInit2_(&z, 15 + 16, ZLIB_VERSION, sizeof(z)), Z_OK);
	z.next_in = out.data + 4;
	z.avail_in = (unsigned)out.length - 4;
	z.next_out = back;
	z.avail_out = BYTES + 1;
	assert_int_equal(test_zlib.inflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(z.total_out, BYTES);
	assert_memory_equal(back, text, BYTES);
	assert_int_equal(z.avail_in, 0);
	test_zlib.inflateEnd(&z);
	buf_fini(&out);
	free(text);
	free(back);
}

static void
test_no_memory(void **state)
{
	struct buf out;
	bool ok = false;

	(void)state;
	for (int64_t n = 0; !ok; n++) {
		buf_init(&out, MEM_OBSERVABILITY, 1 << 20);
		mem_fail_after(n);
		ok = gzip_write("text", 4, &out);
		mem_fail_after(-1);
		buf_fini(&out);
		assert_in_range(n, 0, 100);
	}
	buf_init(&out, MEM_OBSERVABILITY, 8); /* no room */
	assert_false(gzip_write("text", 4, &out));
	buf_fini(&out);
	assert_int_equal(mem_used(MEM_OBSERVABILITY), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted),
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, load, NULL);
}
