/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/inflate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/buf.h"
#include "tests/support/sweep.h"

enum { TEXT_BYTES = 3 << 20, OUT_MAX = 8 << 20 };

static struct buf text;  /* what was compressed */
static struct buf gz;    /* by gzip(1) */
static struct buf multi; /* two members */
static struct buf zst;

static int
take(void *arg, const void *data, size_t bytes, struct err *err)
{
	struct buf *out = arg;

	buf_put(out, data, bytes);
	return buf_ok(out) ? 0 : err_set(err, ERR_LIMIT, "too much");
}

static void
pipe_through(const char *command, const struct buf *in, size_t bytes, struct buf *out)
{
	char path[] = "inflate-XXXXXX";
	char line[256];
	int fd = mkstemp(path);
	FILE *from;
	uint8_t chunk[4096];
	size_t n;

	assert_true(fd >= 0 && write(fd, in->data, bytes) == (ssize_t)bytes);
	close(fd);
	snprintf(line, sizeof(line), "%s < %s", command, path);
	from = popen(line, "r");
	assert_non_null(from);
	while ((n = fread(chunk, 1, sizeof(chunk), from)) > 0)
		buf_put(out, chunk, n);
	pclose(from);
	unlink(path);
}

static int
setup(void **state)
{
	struct err err = {0};
	uint32_t v = 1;

	(void)state;
	assert_int_equal(inflate_load(&err), 0);
	buf_init(&text, MEM_BASE, OUT_MAX);
	buf_init(&gz, MEM_BASE, OUT_MAX);
	buf_init(&multi, MEM_BASE, OUT_MAX);
	buf_init(&zst, MEM_BASE, OUT_MAX);
	while (text.length < TEXT_BYTES) {
		v = v * 1664525 + 1013904223;
		buf_printf(&text, "%u %s\n", v >> 20, v & 1 ? "one line" : "another");
	}
	pipe_through("gzip -6", &text, text.length, &gz);
	pipe_through("gzip -1", &text, 1000, &multi);
	pipe_through("gzip -9", &text, text.length, &multi);
	pipe_through("zstd -q 2>/dev/null", &text, text.length, &zst);
	return gz.length ? 0 : -1;
}

static int
teardown(void **state)
{
	(void)state;
	buf_fini(&text);
	buf_fini(&gz);
	buf_fini(&multi);
	buf_fini(&zst);
	return 0;
}

static int
unpack(enum inflate_kind kind, const uint8_t *data, size_t bytes, size_t step, uint64_t max,
       struct buf *out, struct err *err)
{
	struct inflate *z;
	int rc = 0;

	if (inflate_new(kind, max, take, out, &z, err) < 0)
		return -1;
	for (size_t at = 0; rc == 0 && at < bytes; at += step)
		rc = inflate_feed(z, data + at, bytes - at < step ? bytes - at : step, err);
	if (rc == 0)
		rc = inflate_end(z, err);
	inflate_free(z);
	return rc;
}

static void
expect(const struct buf *in, size_t prefix)
{
	static const size_t steps[] = {OUT_MAX, 65536, 1000, 13};

	for (size_t i = 0; i < 4; i++) {
		struct buf out;
		struct err err = {0};

		buf_init(&out, MEM_BASE, OUT_MAX);
		if (unpack(inflate_detect(in->data, in->length), in->data, in->length, steps[i],
			   OUT_MAX, &out, &err) < 0)
			err_print(&err, "test", stderr);
		assert_int_equal(err.kind, 0);
		assert_int_equal(out.length, prefix + text.length);
		assert_memory_equal(out.data, text.data, prefix);
		assert_memory_equal(out.data + prefix, text.data, text.length);
		buf_fini(&out);
	}
}

static void
expect_damaged(const uint8_t *data, size_t bytes, enum err_kind kind, uint64_t max)
{
	struct buf out;
	struct err err = {0};

	buf_init(&out, MEM_BASE, OUT_MAX);
	assert_int_equal(unpack(inflate_detect(data, bytes), data, bytes, 65536, max, &out, &err),
			 -1);
	assert_int_equal(err.kind, kind);
	buf_fini(&out);
}

static void
expect_damages(struct buf *in)
{
	for (size_t n = 4; n < in->length; n += in->length / 40)
		expect_damaged(in->data, n, ERR_CORRUPT, OUT_MAX);
	expect_damaged(in->data, in->length - 1, ERR_CORRUPT, OUT_MAX);
	expect_damaged(in->data, in->length, ERR_LIMIT, 100000);
	buf_puts(in, "more");
	expect_damaged(in->data, in->length, ERR_CORRUPT, OUT_MAX);
	in->length -= 4;
}

static void
test_gzip(void **state)
{
	(void)state;
	expect(&gz, 0);
	expect(&multi, 1000);
	expect_damages(&gz);
	gz.data[gz.length - 5] ^= 1; /* of the checksum */
	expect_damaged(gz.data, gz.length, ERR_CORRUPT, OUT_MAX);
	gz.data[gz.length - 5] ^= 1;
}

static void
test_padding(void **state)
{
	struct buf padded;
	uint8_t zeros[1000] = {0};

	(void)state;
	buf_init(&padded, MEM_BASE, OUT_MAX);
	buf_put(&padded, gz.data, gz.length);
	buf_put(&padded, zeros, sizeof(zeros));
	expect(&padded, 0);
	buf_putc(&padded, 'x');
	expect_damaged(padded.data, padded.length, ERR_CORRUPT, OUT_MAX);
	buf_fini(&padded);
}

static void
test_zstd(void **state)
{
	(void)state;
	if (!zst.length)
		return;
	expect(&zst, 0);
	expect_damages(&zst);
}

static void
test_plain(void **state)
{
	(void)state;
	assert_int_equal(inflate_detect("a", 1), INFLATE_NONE);
	expect(&text, 0);
	expect_damaged(text.data, text.length, ERR_LIMIT, 1000);
}

static void
test_no_memory(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct inflate *z = NULL;
		struct err err = {0};
		int rc = inflate_new(INFLATE_GZIP, OUT_MAX, take, NULL, &z, &err);

		assert_int_equal(rc < 0, sweep_failed());
		if (rc == 0)
			inflate_free(z);
	}
}

/* The last one: from here on without libisal. */
static void
test_zlib(void **state)
{
	inflate_avoid_isal();
	test_gzip(state);
	test_padding(state);
	test_no_memory(state);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gzip),      cmocka_unit_test(test_padding),
		cmocka_unit_test(test_zstd),      cmocka_unit_test(test_plain),
		cmocka_unit_test(test_no_memory), cmocka_unit_test(test_zlib),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
