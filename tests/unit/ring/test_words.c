/* SPDX-License-Identifier: Apache-2.0 */
/* Words on their way: what was put in comes out, and nothing else passes for words. */
#include "ring/words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "tests/support/sweep.h"

static void
test_there_and_back(void **state)
{
	static const char *const given[] = {"a b", "", "--x=\xc3\xa9", "c"};
	struct words out, in;
	struct err err = {0};

	(void)state;
	words_init(&out, MEM_RING);
	words_init(&in, MEM_RING);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(words_add(&out, given[i], &err), 0);
	defer_close int fd = words_fd(&out);
	assert_true(fd >= 0);
	assert_int_equal(words_read(&in, fd, &err), 0);
	assert_int_equal(in.count, 4);
	for (size_t i = 0; i < 4; i++)
		assert_string_equal(in.items[i], given[i]);
	assert_null(in.items[4]);
	words_fini(&in);
	words_fini(&out);
}

static void
test_limits(void **state)
{
	static char large[WORDS_BYTES_MAX];
	struct words w;
	struct err err = {0};

	(void)state;
	words_init(&w, MEM_RING);
	for (size_t i = 0; i < WORDS_MAX; i++)
		assert_int_equal(words_add(&w, "x", &err), 0);
	assert_int_equal(words_add(&w, "x", &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	words_fini(&w);
	words_init(&w, MEM_RING);
	memset(large, 'x', sizeof(large) - 1);
	assert_int_equal(words_add(&w, large, &err), 0);
	assert_int_equal(words_add(&w, "", &err), -1);
	words_fini(&w);
}

static int
read_bytes(const void *data, size_t bytes)
{
	defer_close int fd = fd_memfd_sealed("words", data, bytes);
	struct words w;
	struct err err = {0};

	words_init(&w, MEM_RING);
	int rc = words_read(&w, fd, &err);
	words_fini(&w);
	return rc;
}

static void
test_bad(void **state)
{
	static char many[WORDS_MAX + 1], large[WORDS_BYTES_MAX + 1];
	struct words w;
	struct err err = {0};

	(void)state;
	assert_int_equal(read_bytes("", 0), 0);
	assert_int_equal(read_bytes("a\0b", 3), -1);
	assert_int_equal(read_bytes("a\0b", 4), 0);
	assert_int_equal(read_bytes(many, sizeof(many)), -1);
	assert_int_equal(read_bytes(large, sizeof(large)), -1);
	/* What its writer can still change is not read. */
	defer_close int fd = memfd_create("words", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(write(fd, "a", 2), 2);
	words_init(&w, MEM_RING);
	assert_int_equal(words_read(&w, fd, &err), -1);
	words_fini(&w);
}

static void
test_without_memory(void **state)
{
	(void)state;
	defer_close int fd = fd_memfd_sealed("words", "a\0b", 4);
	sweep_each(s)
	{
		struct words w;
		struct err err = {0};

		words_init(&w, MEM_RING);
		int rc = words_read(&w, fd, &err);
		assert_int_equal(rc, sweep_failed() ? -1 : 0);
		words_fini(&w);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
