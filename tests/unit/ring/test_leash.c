/* SPDX-License-Identifier: Apache-2.0 */
/* The leash takes only whole messages with the descriptors their kind allows, and its two tables
 * say what the design says. */
#include "ring/leash.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

struct pair {
	int a, b;
};

static int
setup(void **state)
{
	static struct pair p;
	int s[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s) < 0)
		return -1;
	p.a = s[0];
	p.b = s[1];
	*state = &p;
	return 0;
}

static int
teardown(void **state)
{
	struct pair *p = *state;

	fd_close(&p->a);
	fd_close(&p->b);
	return 0;
}

static size_t
open_fds(void)
{
	size_t n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void
test_carries_descriptors(void **state)
{
	struct pair *p = *state;
	struct leash_message m;
	int fds[FD_PASS_MAX], count_in = open("/dev/null", O_RDONLY | O_CLOEXEC);
	size_t count;

	leash_init(&m, LEASH_DELIVER);
	m.id = 42;
	assert_int_equal(leash_send(p->a, &m, &count_in, 1), 0);
	memset(&m, 0, sizeof(m));
	assert_int_equal(leash_recv(p->b, &m, fds, FD_PASS_MAX, &count), 0);
	assert_int_equal(m.kind, LEASH_DELIVER);
	assert_int_equal(m.id, 42);
	assert_int_equal(count, 1);
	assert_int_not_equal(fcntl(fds[0], F_GETFD) & FD_CLOEXEC, 0);
	close(fds[0]);
	close(count_in);
	assert_int_equal(leash_recv(p->b, &m, fds, FD_PASS_MAX, &count), -1);
	assert_int_equal(errno, EAGAIN);
}

static void
test_refuses_what_does_not_hold(void **state)
{
	struct pair *p = *state;
	struct leash_message m, got;
	int fds[FD_PASS_MAX], null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	size_t count, before = open_fds();

	leash_init(&m, LEASH_DELIVER); /* needs a descriptor */
	leash_send(p->a, &m, NULL, 0);
	assert_int_equal(leash_recv(p->b, &got, fds, FD_PASS_MAX, &count), -1);
	assert_int_equal(errno, EBADMSG);
	leash_init(&m, LEASH_READY); /* takes none */
	leash_send(p->a, &m, &null, 1);
	assert_int_equal(leash_recv(p->b, &got, fds, FD_PASS_MAX, &count), -1);
	assert_int_equal(errno, EBADMSG);
	leash_init(&m, LEASH_READY);
	m.magic++;
	leash_send(p->a, &m, NULL, 0);
	assert_int_equal(leash_recv(p->b, &got, fds, FD_PASS_MAX, &count), -1);
	leash_init(&m, LEASH_READY);
	memset(m.name, 'x', sizeof(m.name)); /* text without an end */
	leash_send(p->a, &m, NULL, 0);
	assert_int_equal(leash_recv(p->b, &got, fds, FD_PASS_MAX, &count), -1);
	leash_init(&m, LEASH_READY);
	m.kind = LEASH_KINDS_;
	leash_send(p->a, &m, NULL, 0);
	assert_int_equal(leash_recv(p->b, &got, fds, FD_PASS_MAX, &count), -1);
	fd_send(p->a, "short", 5, &null, 1);
	assert_int_equal(leash_recv(p->b, &got, fds, FD_PASS_MAX, &count), -1);
	assert_int_equal(open_fds(), before); /* nothing was left open */
	leash_init(&m, LEASH_READY);
	assert_int_equal(leash_send(p->a, &m, NULL, 0), 0);
	assert_int_equal(leash_recv(p->b, &got, fds, FD_PASS_MAX, &count), 0);
	close(null);
}

static void
test_end_is_seen(void **state)
{
	struct pair *p = *state;
	struct leash_message m;
	int fds[FD_PASS_MAX];
	size_t count;

	fd_close(&p->a);
	assert_int_equal(leash_recv(p->b, &m, fds, FD_PASS_MAX, &count), -1);
	assert_int_equal(errno, ECONNRESET);
	leash_init(&m, LEASH_READY);
	assert_int_equal(leash_send(p->b, &m, NULL, 0), -1);
	assert_int_equal(errno, ECONNRESET);
}

static void
test_tables(void **state)
{
	(void)state;
	assert_true(leash_allowed(ROLE_API, ROLE_SCHEDULER, LEASH_DELIVER));
	assert_true(leash_allowed(ROLE_RUNTIME, ROLE_UNPACK, LEASH_DELIVER));
	assert_true(leash_allowed(ROLE_SIGNER, ROLE_PROXY, LEASH_TICKETS));
	assert_false(leash_allowed(ROLE_PROXY, ROLE_SIGNER, LEASH_DELIVER));
	assert_false(leash_allowed(ROLE_PROXY, ROLE_RUNTIME, LEASH_DELIVER));
	assert_false(leash_allowed(ROLE_API, ROLE_PROXY, LEASH_TICKETS));
	assert_true(leash_allowed(ROLE_SCHEDULER, ROLE_NODE, LEASH_FAILED));
	assert_false(leash_allowed(ROLE_SCHEDULER, ROLE_API, LEASH_FAILED));
	assert_false(leash_allowed(ROLE_UNPACK, ROLE_API, LEASH_DELIVER));
	assert_false(leash_allowed(0, ROLE_API, LEASH_DELIVER));
	assert_false(leash_allowed(ROLE_API, ROLES_, LEASH_DELIVER));
	assert_true(leash_reads(ROLE_PROXY, ROLE_SCHEDULER));
	assert_true(leash_reads(ROLE_SIGNER, ROLE_PROXY));
	assert_false(leash_reads(ROLE_PROXY, ROLE_API));
	assert_false(leash_reads(ROLE_PROXY, ROLE_PROXY));
	assert_false(leash_reads(ROLE_UNPACK, ROLE_SCHEDULER));
	/* Whoever may deliver a request's descriptor can also be asked: it is read. */
	for (unsigned from = 1; from < ROLES_; from++) {
		for (unsigned to = 1; to < ROLES_; to++) {
			if (leash_allowed(from, to, LEASH_DELIVER))
				assert_true(leash_reads(to, from));
		}
	}
}

static void
test_roles(void **state)
{
	(void)state;
	for (unsigned role = 1; role < ROLES_; role++)
		assert_int_equal(role_of_name(role_name(role)), role);
	assert_int_equal(role_of_name("root"), 0);
	assert_null(role_name(0));
	assert_null(role_name(ROLES_));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_carries_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refuses_what_does_not_hold, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end_is_seen, setup, teardown),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_roles),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
