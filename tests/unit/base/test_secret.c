/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets: content, each kind of memory, and that a child does not inherit the bytes. */
#include "base/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static void
holds_and_compares(void **state)
{
	(void)state;
	struct secret s;
	struct err err;

	assert_int_equal(secret_from(&s, "hunter22", 8, &err), 0);
	assert_true(secret_equal(&s, "hunter22", 8));
	assert_false(secret_equal(&s, "hunter23", 8));
	assert_false(secret_equal(&s, "hunter2", 7));
	assert_non_null(secret_kind_name(s.kind));
	secret_fini(&s);
	assert_null(s.data);
	secret_fini(&s);
}

static void
starts_zeroed_and_may_be_empty(void **state)
{
	(void)state;
	struct secret s;
	struct err err;

	assert_int_equal(secret_init(&s, 5000, &err), 0);
	for (size_t i = 0; i < 5000; i++)
		assert_int_equal(s.data[i], 0);
	memset(s.data, 1, 5000);
	secret_fini(&s);
	assert_int_equal(secret_from(&s, NULL, 0, &err), 0);
	assert_true(secret_equal(&s, "", 0));
	secret_fini(&s);
}

static void
too_large_is_refused(void **state)
{
	(void)state;
	struct secret s;
	struct err err;

	assert_int_equal(secret_init(&s, SIZE_MAX, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	assert_null(s.data);
}

/* Exit status of a child: 0 when it sees zeros, SIGSEGV when it sees a hole. */
static void
child_does_not_see_it(const struct secret *s)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		unsigned char first;
		int fds[2];
		if (pipe(fds) < 0)
			_exit(2);
		/* write(2) gives EFAULT for a hole, where reading would be a signal. */
		if (write(fds[1], s->data, 1) != 1)
			_exit(0);
		_exit(read(fds[0], &first, 1) == 1 && first == 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void
is_not_inherited(void **state)
{
	(void)state;
	struct secret s;
	struct err err;

	assert_int_equal(secret_from(&s, "K", 1, &err), 0);
	child_does_not_see_it(&s);
	assert_true(secret_equal(&s, "K", 1));
	secret_fini(&s);
}

/* Without a right to lock memory there is plain memory, with the same properties. (AddressSanitizer
 * makes mlock succeed without doing it: then the kind is LOCKED.) */
static void
plain_when_nothing_can_be_locked(void **state)
{
	(void)state;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct rlimit none = {0, 0};
		struct secret s;
		struct err err;
		/* root may lock regardless of the limit */
		if (setrlimit(RLIMIT_MEMLOCK, &none) < 0)
			_exit(2);
		if (geteuid() == 0 && setuid(65534) < 0)
			_exit(3);
		if (secret_from(&s, "K", 1, &err) < 0 || s.kind == SECRET_MEMFD)
			_exit(4);
		if (!secret_equal(&s, "K", 1))
			_exit(5);
		child_does_not_see_it(&s);
		secret_fini(&s);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(holds_and_compares),
		cmocka_unit_test(starts_zeroed_and_may_be_empty),
		cmocka_unit_test(too_large_is_refused),
		cmocka_unit_test(is_not_inherited),
		cmocka_unit_test(plain_when_nothing_can_be_locked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
