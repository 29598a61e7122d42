/* SPDX-License-Identifier: Apache-2.0 */
/* The folder of certificates: what is passed on, and when a change is told. */
#include "node/certs.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/text.h"
#include "node/folder.h"
#include "tests/support/sweep.h"

static uv_loop_t loop;
static char path[64];
static unsigned changes;

static void
changed(void *arg)
{
	(void)arg;
	changes++;
}

static void
put(const char *name, const char *text)
{
	char file[128];

	text_format(file, sizeof(file), "%s/%s", path, name);
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static int
set_up(void **state)
{
	(void)state;
	uv_loop_init(&loop);
	text_copy(path, sizeof(path), "/tmp/zlayer-certs-XXXXXX");
	assert_non_null(mkdtemp(path));
	changes = 0;
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	folder_remove(AT_FDCWD, path);
	uv_run(&loop, UV_RUN_DEFAULT);
	return uv_loop_close(&loop);
}

struct seen {
	unsigned pairs, alone;
};

static void
see(void *arg, const char *name, int certificate, int key)
{
	struct seen *seen = arg;

	assert_true(certificate >= 0);
	assert_true(text_equal(name, "a.test") || text_equal(name, "b.test"));
	if (key >= 0)
		seen->pairs++;
	else
		seen->alone++;
}

static void
test_pairs(void **state)
{
	struct seen seen = {0};
	char file[128];

	(void)state;
	put("a.test.crt", "certificate");
	put("a.test.key", "key");
	put("b.test.crt", "certificate");
	put("c.test.key", "key");
	put("empty.crt", "");
	put(".hidden.crt", "certificate");
	put("notes.txt", "text");
	text_format(file, sizeof(file), "%s/pipe.crt", path);
	assert_int_equal(mkfifo(file, 0600), 0);
	struct certs *certs = certs_new(&loop, path, changed, NULL);
	assert_non_null(certs);
	certs_each(certs, see, &seen);
	assert_int_equal(seen.pairs, 1);
	assert_int_equal(seen.alone, 1);
	certs_free(certs);
}

static void
test_changes_are_told_once(void **state)
{
	struct certs *certs = certs_new(&loop, path, changed, NULL);

	(void)state;
	put("a.test.crt", "certificate");
	put("a.test.key", "key");
	while (changes == 0)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(changes, 1);
	/* Nothing new: a look finds nothing. */
	certs_tick(certs);
	assert_int_equal(changes, 1);
	/* A folder that comes later is found by looking. */
	folder_remove(AT_FDCWD, path);
	certs_tick(certs);
	assert_int_equal(changes, 2);
	assert_int_equal(mkdir(path, 0700), 0);
	put("a.test.crt", "another");
	certs_tick(certs);
	assert_int_equal(changes, 3);
	certs_free(certs);
}

static void
test_no_memory(void **state)
{
	(void)state;
	sweep_each(run)
	{
		struct certs *certs = certs_new(&loop, path, changed, NULL);

		certs_free(certs);
		uv_run(&loop, UV_RUN_NOWAIT);
		uv_run(&loop, UV_RUN_NOWAIT);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_pairs, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_changes_are_told_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
