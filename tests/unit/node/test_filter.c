/* SPDX-License-Identifier: Apache-2.0 */
/* Filters as the kernel sees them: each is installed in a child, which then makes a call. */
#include "node/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "node/roles.h"

static struct sock_filter program[FILTER_INSTRUCTIONS_MAX];

static void
compile(unsigned sets, struct sock_fprog *out)
{
	struct err err = {0};
	size_t count = 0;

	if (filter_compile(sets, program, &count, &err) < 0)
		fail_msg("%s: %s", err.what, err.whys ? err.why[0] : "");
	assert_in_range(count, 1, FILTER_INSTRUCTIONS_MAX);
	*out = (struct sock_fprog){.len = (unsigned short)count, .filter = program};
}

enum { KILLED = 1000 };

/* What a call comes to under a filter: 0 or an errno, KILLED. */
static int
try(unsigned sets, long nr, long a, long b, long c, long d)
{
	struct sock_fprog filter;
	int status;

	compile(sets, &filter);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) < 0)
			syscall(SYS_exit_group, 126);
		long rc = syscall(nr, a, b, c, d, 0, 0);
		syscall(SYS_exit_group, rc < 0 ? errno : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? KILLED : 2000;
	return WEXITSTATUS(status);
}

static void
test_every_role_compiles(void **state)
{
	(void)state;
	for (size_t i = 0; i < ROLES_COUNT; i++) {
		struct sock_fprog filter;

		compile(roles_at(i)->filter, &filter);
	}
}

static void
test_base_allows_little(void **state)
{
	static const char path[] = "/";

	(void)state;
	assert_int_equal(try(FILTER_BASE, SYS_getpid, 0, 0, 0, 0), 0);
	assert_int_equal(try(FILTER_BASE, SYS_execve, (long)path, 0, 0, 0), KILLED);
	assert_int_equal(try(FILTER_BASE, SYS_ptrace, 0, 0, 0, 0), KILLED);
	assert_int_equal(try(FILTER_BASE, SYS_kill, getpid(), 0, 0, 0), KILLED);
	assert_int_equal(try(FILTER_BASE, SYS_mount, 0, 0, 0, 0), KILLED);
	assert_int_equal(try(FILTER_BASE, SYS_unshare, CLONE_NEWUSER, 0, 0, 0), KILLED);
	assert_int_equal(try(FILTER_BASE, SYS_bpf, 0, 0, 0, 0), KILLED);
	assert_int_equal(try(FILTER_BASE, SYS_setuid, 0, 0, 0, 0), KILLED);
}

static void
test_what_libraries_try_is_refused(void **state)
{
	static const char path[] = "/etc/passwd";

	(void)state;
	assert_int_equal(try(FILTER_BASE, SYS_openat, AT_FDCWD, (long)path, O_RDONLY, 0), EACCES);
	assert_int_equal(try(FILTER_BASE, SYS_ioctl, 0, 0, 0, 0), ENOTTY);
	assert_int_equal(try(FILTER_BASE, SYS_clone3, 0, 0, 0, 0), ENOSYS);
	assert_int_equal(try(FILTER_BASE, SYS_socket, AF_INET, SOCK_STREAM, 0, 0), EACCES);
}

static void
test_arguments_decide(void **state)
{
	static const char path[] = "/";
	char buffer[256];

	(void)state;
	assert_int_equal(try(FILTER_BASE, SYS_mprotect, 0, 0, PROT_READ, 0), 0);
	assert_int_equal(try(FILTER_BASE, SYS_mprotect, 0, 0, PROT_EXEC, 0), KILLED);
	assert_int_equal(try(FILTER_BASE, SYS_mmap, 0, 0, PROT_READ | PROT_EXEC, MAP_PRIVATE),
			 KILLED);
	assert_int_equal(try(FILTER_BASE, SYS_clone, SIGCHLD, 0, 0, 0), KILLED);
	assert_int_equal(try(FILTER_BASE, SYS_newfstatat, 1, (long)"", (long)buffer, AT_EMPTY_PATH),
			 0);
	assert_int_equal(try(FILTER_BASE, SYS_newfstatat, AT_FDCWD, (long)path, (long)buffer, 0),
			 EACCES);
}

static void
test_sets_add(void **state)
{
	(void)state;
	assert_int_equal(try(FILTER_BASE | FILTER_CLIENT, SYS_socket, AF_INET, SOCK_STREAM, 0, 0),
			 0);
	assert_int_equal(try(FILTER_BASE | FILTER_CLIENT, SYS_socket, AF_PACKET, SOCK_RAW, 0, 0),
			 KILLED);
	assert_int_equal(try(FILTER_BASE | FILTER_CLIENT, SYS_socket, AF_NETLINK, SOCK_RAW, 0, 0),
			 KILLED);
	assert_int_equal(
		try(FILTER_BASE | FILTER_FILES, SYS_openat, AT_FDCWD, (long)"/", O_RDONLY, 0), 0);
	assert_int_equal(try(FILTER_BASE | FILTER_BPF, SYS_bpf, -1, 0, 0, 0), EINVAL);
}

static void
test_host_refuses_the_machine(void **state)
{
	(void)state;
	assert_int_equal(try(FILTER_HOST, SYS_reboot, 0, 0, 0, 0), EPERM);
	assert_int_equal(try(FILTER_HOST, SYS_init_module, 0, 0, 0, 0), EPERM);
	assert_int_equal(try(FILTER_HOST, SYS_clock_settime, 0, 0, 0, 0), EPERM);
	assert_int_equal(try(FILTER_HOST, SYS_getpid, 0, 0, 0, 0), 0);
}

/* Somebody else's program: refused as by a kernel without the call, and never killed. */
static void
test_program_is_only_refused(void **state)
{
	static const char path[] = "/";
	const unsigned f = FILTER_PROGRAM;

	(void)state;
	assert_int_equal(try(f, SYS_getpid, 0, 0, 0, 0), 0);
	assert_int_equal(try(f, SYS_execve, (long)path, 0, 0, 0), EACCES);
	assert_int_equal(try(f, SYS_ptrace, 0, 0, 0, 0), ENOSYS);
	assert_int_equal(try(f, SYS_mount, 0, 0, 0, 0), ENOSYS);
	assert_int_equal(try(f, SYS_unshare, CLONE_NEWUSER, 0, 0, 0), ENOSYS);
	assert_int_equal(try(f, SYS_bpf, 0, 0, 0, 0), ENOSYS);
	assert_int_equal(try(f, SYS_setuid, 0, 0, 0, 0), ENOSYS);
	assert_int_equal(try(f, SYS_reboot, 0, 0, 0, 0), ENOSYS);
	assert_int_equal(try(f, SYS_clone, SIGCHLD, 0, 0, 0), EPERM);
	assert_int_equal(try(f, SYS_socket, AF_PACKET, SOCK_RAW, 0, 0), ENOSYS);
	assert_int_equal(try(f, SYS_socket, AF_NETLINK, SOCK_RAW, 0, 0), ENOSYS);
	assert_int_equal(try(f, SYS_socket, AF_INET, SOCK_STREAM, 0, 0), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_role_compiles),
		cmocka_unit_test(test_base_allows_little),
		cmocka_unit_test(test_what_libraries_try_is_refused),
		cmocka_unit_test(test_arguments_decide),
		cmocka_unit_test(test_sets_add),
		cmocka_unit_test(test_host_refuses_the_machine),
		cmocka_unit_test(test_program_is_only_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
