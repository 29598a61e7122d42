/* SPDX-License-Identifier: Apache-2.0 */
/* What a program makes of the state that another one left. */
#include "node/upgrade.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "base/text.h"

static struct upgrade up, taken;

/* As it comes over exec: without close-on-exec, its number in the environment. */
static int
leave(const void *data, size_t bytes)
{
	char number[16];
	int fd = fd_memfd_sealed("upgrade", data, bytes);

	assert_true(fd >= 0);
	fd_cloexec(fd, false);
	text_format(number, sizeof(number), "%d", fd);
	setenv("ZLAYER_UPGRADE", number, 1);
	return fd;
}

static bool
is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void
test_nothing_was_left(void **state)
{
	(void)state;
	unsetenv("ZLAYER_UPGRADE");
	assert_false(upgrade_take(&taken));
	setenv("ZLAYER_UPGRADE", "nonsense", 1);
	assert_false(upgrade_take(&taken));
	/* A number that somebody made up: the file stays as it is. */
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	int fd = leave("abc", 3);
	assert_false(upgrade_take(&taken));
	assert_true(is_open(ends[0]) && is_open(ends[1]) && is_open(fd));
	assert_null(getenv("ZLAYER_UPGRADE"));
	close(ends[0]);
	close(ends[1]);
	close(fd);
}

/* Locks, leashes, listeners: whoever kept them open would be in his own way. */
static void
test_another_version_lets_go(void **state)
{
	int lock = open("/dev/null", O_RDONLY), own = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)state;
	memset(&up, 0, sizeof(up));
	up.magic = UPGRADE_MAGIC;
	up.version = UPGRADE_VERSION + 1;
	up.bytes = sizeof(up);
	up.data_lock = up.run_lock = up.slot_lock = lock;
	int fd = leave(&up, sizeof(up));
	assert_false(upgrade_take(&taken));
	assert_false(is_open(lock) || is_open(fd));
	assert_true(is_open(own));
	/* Shorter than ours. */
	lock = open("/dev/null", O_RDONLY);
	up.version = UPGRADE_VERSION;
	fd = leave(&up, sizeof(up) / 2);
	assert_false(upgrade_take(&taken));
	assert_false(is_open(lock) || is_open(fd));
	close(own);
}

static void
test_same_version(void **state)
{
	int lock = open("/dev/null", O_RDONLY);

	(void)state;
	memset(&up, 0, sizeof(up));
	up.magic = UPGRADE_MAGIC;
	up.version = UPGRADE_VERSION;
	up.bytes = sizeof(up);
	up.data_lock = up.run_lock = up.slot_lock = lock;
	up.tickets = -1;
	int fd = leave(&up, sizeof(up));
	assert_true(upgrade_take(&taken));
	assert_false(is_open(fd));
	assert_int_equal(fcntl(lock, F_GETFD), FD_CLOEXEC);
	close(lock);
}

/* The version before had fewer places for sockets. */
static void
test_version_before(void **state)
{
	size_t fewer = (UPGRADE_SOCKETS_MAX - UPGRADE_SOCKETS_V1) * sizeof(up.sockets[0]);
	int lock = open("/dev/null", O_RDONLY);

	(void)state;
	memset(&up, 0, sizeof(up));
	up.magic = UPGRADE_MAGIC;
	up.version = 1;
	up.bytes = sizeof(up) - fewer;
	up.data_lock = up.run_lock = up.slot_lock = lock;
	up.tickets = -1;
	leave(&up, sizeof(up) - fewer);
	assert_true(upgrade_take(&taken));
	close(lock);
	up.bytes = sizeof(up);
	leave(&up, sizeof(up));
	assert_false(upgrade_take(&taken));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_was_left),
		cmocka_unit_test(test_another_version_lets_go),
		cmocka_unit_test(test_same_version),
		cmocka_unit_test(test_version_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
